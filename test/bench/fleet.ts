/** Section `fleet`: what a server with 20 nodes costs for an hour in which nobody asks anything, its disk above all. */
import { cpuSecondsOf, diskBytesOf, memoryOf, memoryText, type Effort, type Figures } from './measure.ts'
import { createPods } from './pods.ts'
import { BenchSite, sleep } from './site.ts'

/** Changes made before, so that the history is as long as it gets: what a write of a young store costs is less. */
const CHANGES = 1_200

/** One server and its nodes, a pod on each, left alone. */
export async function fleet(effort: Effort): Promise<Figures> {
  const names = Array.from({ length: effort.fleet.nodes }, (_, i) => `n${i}`)
  const site = await BenchSite.create(names)
  try {
    await site.startServer()
    await site.importImage()
    for (const name of names) {
      await site.startAgent(name, await site.token(name))
      await createPods(site, name, [`on-${name}`])
    }
    const maps = site.client.resource({ group: '', version: 'v1', resource: 'configmaps', kind: 'ConfigMap', namespaced: true })
    for (let i = 0; i < CHANGES; i++) await maps.create({ metadata: { name: `c-${i}`, namespace: 'default' } })
    for (let i = 0; i < CHANGES; i++) await maps.delete(`c-${i}`, 'default')
    // They would end by themselves in the hour that is measured.
    await site.client.transport.request({ method: 'DELETE', path: '/api/v1/namespaces/default/events' }, AbortSignal.timeout(60_000))
    await sleep(effort.fleet.settleSeconds * 1000)
    const pid = site.pid('server')
    const [cpu, disk, began] = [cpuSecondsOf(pid), diskBytesOf(pid), performance.now()]
    await sleep(effort.fleet.seconds * 1000)
    const seconds = (performance.now() - began) / 1000
    const wrote = diskBytesOf(pid) - disk
    return {
      method: `the bundle's server and ${names.length} agents with a pod each, each on a machine of its own (namespace); ${CHANGES * 2} changes and ${effort.fleet.settleSeconds} s of rest, then a window of ${effort.fleet.seconds} s in which nobody asks anything: the server's CPU from /proc/<pid>/stat, disk writes from /proc/<pid>/io`,
      rows: [
        { what: `server memory, ${names.length} nodes`, ours: memoryText(memoryOf(pid)) },
        { what: `server CPU, ${names.length} nodes`, ours: `${(((cpuSecondsOf(pid) - cpu) / seconds) * 100).toFixed(2)} % of a core`, aim: '<= 0.3 %', others: 'K3s server 5 % (published)' },
        { what: `disk writes of the server, ${names.length} nodes`, ours: `${(wrote / 1000 / seconds).toFixed(3)} kB/s (${Math.round(wrote / 1000)} kB in ${effort.fleet.seconds} s)`, aim: '<= 0.2 kB/s', others: 'K3s 6-11 kB/s (users)' },
      ],
    }
  } finally {
    await site.close()
  }
}
