/** Section `starts`: server start to ready, agent start to node Ready, on a fresh disk and again. */
import { rmSync } from 'node:fs'
import { ms, quantile, type Effort, type Figures } from './measure.ts'
import { BenchSite, isReady, NODES, eventually, type WithConditions } from './site.ts'

/** Starts server and agent `effort.starts` times each way. */
export async function starts(effort: Effort): Promise<Figures> {
  const site = await BenchSite.create(['n'])
  try {
    const fresh: number[] = []
    const again: number[] = []
    for (let i = 0; i < effort.starts; i++) {
      rmSync(site.data('server'), { recursive: true, force: true })
      fresh.push(await site.startServer())
      await site.stop('server')
      again.push(await site.startServer())
      if (i < effort.starts - 1) await site.stop('server')
    }
    const joined: number[] = []
    const rebooted: number[] = []
    for (let i = 0; i < effort.starts; i++) {
      rmSync(site.data('n'), { recursive: true, force: true })
      joined.push(await site.startAgent('n', await site.token('n')))
      await site.losePower('n')
      await notReady(site)
      rebooted.push(await site.startAgent('n'))
      await site.losePower('n')
      await site.client.resource(NODES).delete('n')
      await eventually('node gone', async () => (await site.client.resource(NODES).list()).items.length === 0)
    }
    const row = (times: readonly number[]): string => `${ms(quantile(times, 0.5))} (slowest ${ms(quantile(times, 1))})`
    return {
      method: `median of ${effort.starts} starts of the bundle as separate processes, containerd's own start included for the node; a server is ready when GET /readyz over TLS says so, a node when a watch shows its Ready condition true`,
      rows: [
        { what: 'server start to ready, empty disk (makes its CA)', ours: row(fresh), aim: '<= 800 ms', others: 'kube-apiserver 1.32 + etcd 2.8 s (measured)' },
        { what: 'server start to ready, again', ours: row(again), aim: '<= 800 ms', others: '' },
        { what: 'agent start to node Ready, joining', ours: row(joined), aim: '<= 1500 ms', others: 'reference cluster 6.3 s, EdgeCore 31 s, K3s 19 s (measured)' },
        { what: 'agent start to node Ready, after power loss', ours: row(rebooted), aim: '<= 1500 ms', others: '' },
      ],
    }
  } finally {
    await site.close()
  }
}

/** The API shows a dead node Ready until its grace is over: said at once here, so that the next Ready is the new start's own. */
async function notReady(site: BenchSite): Promise<void> {
  const nodes = site.client.resource<WithConditions>(NODES)
  await nodes.patch('n', undefined, { status: { conditions: [{ type: 'Ready', status: 'False', reason: 'PowerLost' }] } }, 'strategic', { subresource: 'status' })
  await eventually('node not Ready', async () => !isReady(await nodes.get('n')))
}
