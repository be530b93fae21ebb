/** Section `pods`: pod create to Ready with the image present, one after another and many at once, beside containerd alone. */
import { ms, quantile, type Effort, type Figures } from './measure.ts'
import { benchRuntime } from './runtime.ts'
import { BenchSite, eventually, IMAGE, isReady, PODS, type WithConditions } from './site.ts'

/** A pod of one container on a node. */
export function pod(name: string, node: string): WithConditions {
  const spec = { nodeName: node, terminationGracePeriodSeconds: 0, containers: [{ name: 'main', image: IMAGE, imagePullPolicy: 'IfNotPresent' }] }
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: 'default' }, spec } as WithConditions
}

/** Creates pods at once and waits until a watch has shown each Ready; how long each took, ms. */
export async function createPods(site: BenchSite, node: string, names: readonly string[]): Promise<number[]> {
  const pods = site.client.resource<WithConditions>(PODS)
  const { metadata } = await pods.list({ namespace: 'default', limit: 1 })
  const begun = new Map<string, number>()
  const took = new Map<string, number>()
  const stop = new AbortController()
  const timeout = AbortSignal.timeout(180_000)
  const watching = (async () => {
    const from = metadata?.resourceVersion
    for await (const event of pods.watch({ namespace: 'default', ...(from === undefined ? {} : { resourceVersion: from }) }, AbortSignal.any([stop.signal, timeout]))) {
      if (event.type === 'BOOKMARK' || event.type === 'DELETED') continue
      const name = event.object.metadata?.name ?? ''
      const start = begun.get(name)
      if (start !== undefined && !took.has(name) && isReady(event.object)) took.set(name, performance.now() - start)
      if (took.size === names.length) return
    }
  })()
  await pods.list({ namespace: 'default', limit: 1 }) // A second connection: the first is the watch's. A client has both before it creates.
  await Promise.all(
    names.map((name) => {
      begun.set(name, performance.now())
      return pods.create(pod(name, node))
    }),
  )
  await watching
  if (took.size < names.length) throw new Error(`create pods: ${names.length - took.size} of ${names.length} were not Ready within 180 s`)
  return [...took.values()]
}

/** Deletes all pods of the namespace and waits until they are gone. */
export async function deletePods(site: BenchSite): Promise<void> {
  const pods = site.client.resource(PODS)
  for (const p of (await pods.list({ namespace: 'default' })).items) await pods.delete(p.metadata?.name ?? '', 'default')
  await eventually('pods gone', async () => (await pods.list({ namespace: 'default' })).items.length === 0, 120_000, 50)
}

/** A node's pods, then containerd's alone. */
export async function pods(effort: Effort): Promise<Figures> {
  const site = await BenchSite.create(['n'])
  let times: number[] = []
  let burstMs = 0
  try {
    await site.startServer()
    await site.importImage()
    await site.startAgent('n', await site.token('n'))
    await createPods(site, 'n', ['first'])
    await deletePods(site)
    for (let i = 0; i < effort.pods; i++) {
      times = [...times, ...(await createPods(site, 'n', [`p-${i}`]))]
      await deletePods(site)
    }
    burstMs = Math.max(...(await createPods(site, 'n', Array.from({ length: effort.burst }, (_, i) => `b-${i}`))))
  } finally {
    await site.close()
  }
  const alone = await benchRuntime(effort.pods, effort.burst)
  const both = (p50: number, p99: number): string => `p50 ${ms(p50)}, p99 ${ms(p99)}`
  const times3 = (a: number, b: number): string => `${(a / b).toFixed(1)}x`
  const p50 = quantile(times, 0.5)
  return {
    method: `${effort.pods} pods one after another (create by a client of the API that is connected and watches, until its watch shows Ready; deleted before the next), then ${effort.burst} created at once until the last is Ready; containerd alone does sandbox, container and start through CRI with the same network plugins`,
    rows: [
      { what: 'pod create to Ready', ours: both(p50, quantile(times, 0.99)), aim: '<= 1.3x containerd alone, p99 <= 1500 ms', others: `containerd alone ${both(alone.podStartMs.p50, alone.podStartMs.p99)}: ours ${times3(p50, alone.podStartMs.p50)}; kubelet, EdgeCore, K3s 1.0-2.0 s (measured)` },
      { what: `${effort.burst} pods at once, all Ready`, ours: ms(burstMs), aim: '<= 2x containerd alone', others: `containerd alone ${ms(alone.burst.allMs)}: ours ${times3(burstMs, alone.burst.allMs)}` },
    ],
  }
}
