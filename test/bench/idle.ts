/** Section `idle`: memory, CPU, bytes on the node's line and disk writes while nothing happens, without pods and with 20. */
import { readFileSync } from 'node:fs'
import { cpuSecondsOf, diskBytesOf, memoryOf, memoryText, type Effort, type Figures } from './measure.ts'
import { createPods } from './pods.ts'
import { BenchSite, sleep } from './site.ts'

const PODS_PER_NODE = 20
/** Ethernet addresses and type before each IP packet, bytes. */
const FRAME_HEADER = 14

interface Counts {
  readonly at: number
  readonly cpu: number
  readonly disk: number
}

/** One server, one node without pods and one with 20, left alone. */
export async function idle(effort: Effort): Promise<Figures> {
  const site = await BenchSite.create(['empty', 'full'])
  try {
    await site.startServer()
    await site.stop('server') // Making its CA needs memory that a server does not have from its second start on.
    await site.startServer()
    await sleep(effort.settleSeconds * 1000)
    const server = memoryOf(site.pid('server'))
    await site.importImage()
    for (const name of ['empty', 'full']) await site.startAgent(name, await site.token(name))
    await createPods(site, 'full', Array.from({ length: PODS_PER_NODE }, (_, i) => `p-${i}`))
    await sleep(effort.settleSeconds * 1000)

    const counted = { server: [site.pid('server')], empty: [site.pid('empty')], full: [site.pid('full')], emptyBoth: [site.pid('empty'), site.containerd('empty')], fullBoth: [site.pid('full'), site.containerd('full')] }
    const count = (pids: readonly number[]): Counts => ({ at: performance.now(), cpu: sum(pids.map(cpuSecondsOf)), disk: sum(pids.map(diskBytesOf)) })
    const before = Object.fromEntries(Object.entries(counted).map(([k, pids]) => [k, count(pids)]))
    const lines = (): { empty: number; full: number } => ({ empty: bytes(site, 'empty'), full: bytes(site, 'full') })
    const bytesBefore = lines()
    await sleep(effort.idleSeconds * 1000)
    const bytesAfter = lines()
    const rate = (name: keyof typeof counted): { cpu: string; disk: string } => {
      const now = count(counted[name])
      const was = before[name] as Counts
      const seconds = (now.at - was.at) / 1000
      return { cpu: `${(((now.cpu - was.cpu) / seconds) * 100).toFixed(2)} % of a core`, disk: `${((now.disk - was.disk) / 1000 / seconds).toFixed(3)} kB/s` }
    }
    const perHour = (from: number, to: number): string => `${Math.round(((to - from) / effort.idleSeconds) * 3.6)} kB an hour (${to - from} bytes in ${effort.idleSeconds} s)`
    const memory = (name: 'server' | 'empty' | 'full'): string => memoryText(memoryOf(...counted[name]))
    return {
      method: `bundle as separate processes, namespaces as machines; after ${effort.settleSeconds} s of rest a window of ${effort.idleSeconds} s in which nobody asks anything, hourly figures scaled from that window; memory from smaps_rollup at its ends, CPU from /proc/<pid>/stat, disk writes from /proc/<pid>/io (agent with its containerd, runtime shims apart), line bytes from the interface counters, both ways, less 14 bytes of frame header a packet; a node’s own status, some 12 kB each half hour, comes on top of the hourly figure when it is outside the window`,
      rows: [
        { what: 'server memory, no nodes', ours: memoryText(server), aim: 'RSS <= 90 MB', others: 'kube-apiserver + etcd RSS 265 + 42 MB (measured); K3s server 1428 MB (published, whole machine), 535-565 MB RSS (users)' },
        { what: 'server memory, 2 nodes, 20 pods', ours: memory('server') },
        { what: 'agent memory, no pods', ours: memory('empty'), aim: 'RSS <= 80 MB, private <= 30', others: 'kubelet 76 + kube-proxy 55 MB, EdgeCore 83-91 MB RSS (measured); K3s agent 275 MB (published)' },
        { what: 'agent memory, 20 pods', ours: memory('full'), aim: 'RSS <= 90 MB, private <= 40', others: '' },
        { what: 'containerd beside it, 20 pods', ours: memoryText(memoryOf(site.containerd('full'))) },
        { what: 'server CPU, 2 nodes', ours: rate('server').cpu, aim: '<= 0.3 %', others: 'kube-apiserver + etcd 2.3 % (measured); K3s server 5 % (published)' },
        { what: 'agent CPU, no pods', ours: rate('empty').cpu, aim: '<= 0.3 %', others: 'K3s agent 3 % (published)' },
        { what: 'agent CPU, 20 pods', ours: rate('full').cpu, aim: '<= 0.3 %', others: 'kubelet 1-3 % (measured)' },
        { what: 'bytes on the line of a node, no pods', ours: perHour(bytesBefore.empty, bytesAfter.empty), others: '' },
        { what: 'bytes on the line of a node, 20 pods', ours: perHour(bytesBefore.full, bytesAfter.full), aim: '<= 100 kB an hour', others: 'KubeEdge 0.25 kbit/s upward (published): 112 kB an hour one way' },
        { what: 'disk writes of a node, no pods', ours: rate('emptyBoth').disk, aim: '<= 0.05 kB/s', others: '' },
        { what: 'disk writes of a node, 20 pods', ours: rate('fullBoth').disk, aim: '<= 0.05 kB/s', others: 'K3s 6-11 kB/s (users, one node with its server)' },
      ],
    }
  } finally {
    await site.close()
  }
}

/** IP bytes on a node's line so far, both ways: the interface counts the frame's header too. */
function bytes(site: BenchSite, name: string): number {
  const counter = (what: string): number => Number(readFileSync(`/sys/class/net/${site.lab.host(name).device}/statistics/${what}`, 'utf8'))
  return counter('rx_bytes') + counter('tx_bytes') - FRAME_HEADER * (counter('rx_packets') + counter('tx_packets'))
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0)
}
