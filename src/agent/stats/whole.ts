/**
 * The parts of `/stats/summary` that cost a walk, and cAdvisor's page of the same numbers and the kernel's: network of node and pods, volumes, logs.
 * Loaded when somebody asks; nothing is kept.
 */
import { readFile, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { Pod } from '../../api/gen/types.ts'
import { qosOf, type Qos } from '../pods/quantities.ts'
import { entries, usage } from '../pods/storage-limits.ts'
import { kernelFigures, type CgroupFiles } from './kernel-figures.ts'
import type { Running, Summary } from './summary.ts'

export interface Interface {
  readonly name: string
  readonly rxBytes: number
  readonly rxPackets: number
  readonly rxErrors: number
  readonly rxDropped: number
  readonly txBytes: number
  readonly txPackets: number
  readonly txErrors: number
  readonly txDropped: number
}

/** Where what belongs to a pod is found. */
export interface PodPlaces {
  readonly pod: Readonly<Pod>
  /** Volumes that hold what the pod writes, by name. */
  readonly volumes: readonly { readonly name: string; readonly path: string; readonly claim?: string | undefined; readonly owned: boolean }[]
  readonly logs: string
  /** A process of the pod; undefined on the host's network, or when none runs. */
  readonly pid: number | undefined
}

/** The interfaces in the text of a `/proc/<pid>/net/dev`, without the loopback. */
export function parseInterfaces(text: string): Interface[] {
  return text.split('\n').flatMap((line) => {
    const m = /^\s*([^\s:]+):\s*(.*)$/.exec(line)
    if (!m || m[1] === 'lo') return []
    const n = (m[2] as string).trim().split(/\s+/).map(Number)
    const at = (i: number): number => n[i] ?? 0
    return [{ name: m[1] as string, rxBytes: at(0), rxPackets: at(1), rxErrors: at(2), rxDropped: at(3), txBytes: at(8), txPackets: at(9), txErrors: at(10), txDropped: at(11) }]
  })
}

const interfacesOf = async (pid: number | 'self'): Promise<Interface[]> => parseInterfaces(await readFile(`/proc/${pid}/net/dev`, 'utf8').catch(() => ''))

/** What the kubelet says of a network: its first interface, and all. */
function network(time: string, all: readonly Interface[]): object | undefined {
  const told = all.map(({ name, rxBytes, rxErrors, txBytes, txErrors }) => ({ name, rxBytes, rxErrors, txBytes, txErrors }))
  const main = told.find((i) => i.name === 'eth0') ?? told[0]
  return main && { time, ...main, interfaces: told }
}

async function fileSystem(time: string, path: string): Promise<{ time: string; availableBytes: number; capacityBytes: number; inodes: number; inodesFree: number; usedBytes: number; inodesUsed: number } | undefined> {
  const s = await statfs(path).catch(() => undefined)
  return s && { time, availableBytes: s.bavail * s.bsize, capacityBytes: s.blocks * s.bsize, usedBytes: (s.blocks - s.bfree) * s.bsize, inodes: s.files, inodesFree: s.ffree, inodesUsed: s.files - s.ffree }
}

/** The summary with network, volumes, logs and what each pod has on the node's disk. */
export async function wholeSummary(summary: Summary, places: (uid: string) => Promise<PodPlaces | undefined>): Promise<object> {
  const { time } = summary.node.cpu
  const pods = []
  for (const p of summary.pods) {
    const where = await places(p.podRef.uid)
    if (!where) continue
    const volume = []
    let ephemeral = 0
    for (const v of where.volumes) {
      const fs = await fileSystem(time, v.path)
      if (!fs) continue
      const claim = v.claim === undefined ? {} : { pvcRef: { name: v.claim, namespace: p.podRef.namespace } }
      // A directory on a disk that others use too: what is in it counts.
      const [usedBytes, inodesUsed] = v.owned ? [await usage(v.path), await entries(v.path)] : [fs.usedBytes, fs.inodesUsed]
      if (v.owned && v.claim === undefined) ephemeral += usedBytes
      volume.push({ ...fs, usedBytes, inodesUsed, name: v.name, ...claim })
    }
    const containers = []
    for (const c of p.containers) {
      const logs = { time, usedBytes: await usage(join(where.logs, c.name)) }
      ephemeral += logs.usedBytes + c.rootfs.usedBytes
      containers.push({ ...c, logs })
    }
    const net = where.pid === undefined ? undefined : network(time, await interfacesOf(where.pid))
    pods.push({ ...p, containers, ...(net && { network: net }), ...(volume.length > 0 && { volume }), 'ephemeral-storage': { time, usedBytes: ephemeral } })
  }
  const net = network(time, await interfacesOf('self'))
  return { node: { ...summary.node, ...(net && { network: net }) }, pods, windowMs: summary.windowMs }
}

/** Where the kernel counts; the node's tree of cgroups is one. */
export interface CgroupTree {
  parentOf(uid: string, qos: Qos): string
  files(path: string): Promise<CgroupFiles>
}

/** cAdvisor's page, with its names and labels. */
export async function cadvisorPage(
  summary: Summary,
  running: readonly Running[],
  machine: { readonly cores: number; readonly memory: number },
  places: (uid: string) => Promise<PodPlaces | undefined>,
  tree: CgroupTree | undefined,
): Promise<string> {
  const stamp = Date.parse(summary.node.cpu.time)
  const rows = new Map<string, { type: string; help: string; lines: string[] }>()
  const put = (name: string, type: string, help: string, labels: Readonly<Record<string, string>>, value: number): void => {
    const text = Object.entries(labels).map(([k, v]) => `${k}="${v.replaceAll(/["\\\n]/g, '_')}"`).join(',')
    let row = rows.get(name)
    if (!row) rows.set(name, (row = { type, help, lines: [] }))
    row.lines.push(`${name}{${text}} ${value} ${stamp}`)
  }
  put('machine_cpu_cores', 'gauge', 'Number of logical CPU cores.', {}, machine.cores)
  put('machine_memory_bytes', 'gauge', 'Amount of memory installed on the machine.', {}, machine.memory)
  const root = { container: '', id: '/', image: '', name: '', namespace: '', pod: '' }
  put('container_cpu_usage_seconds_total', 'counter', CPU, { ...root, cpu: 'total' }, summary.node.cpu.usageCoreNanoSeconds / 1e9)
  put('container_memory_working_set_bytes', 'gauge', MEMORY, root, summary.node.memory.workingSetBytes)
  const networks = (labels: Readonly<Record<string, string>>, all: readonly Interface[]): void => {
    for (const i of all) for (const [field, word] of NETWORK) put(`container_network_${word}_total`, 'counter', `Cumulative count of ${word.replaceAll('_', ' ')}`, { ...labels, interface: i.name }, i[field])
  }
  const counted = async (labels: Readonly<Record<string, string>>, path: string): Promise<void> => {
    if (tree) for (const f of await kernelFigures(await tree.files(path))) put(f.name, f.type, f.help, { ...labels, ...f.labels }, f.value)
  }
  networks(root, await interfacesOf('self'))
  await counted(root, '/')
  for (const p of summary.pods) {
    const { namespace, name: pod, uid } = p.podRef
    const whole = { container: '', id: `/pod${uid}`, image: '', name: '', namespace, pod }
    put('container_cpu_usage_seconds_total', 'counter', CPU, { ...whole, cpu: 'total' }, p.cpu.usageCoreNanoSeconds / 1e9)
    put('container_memory_working_set_bytes', 'gauge', MEMORY, whole, p.memory.workingSetBytes)
    const where = await places(uid)
    const cgroup = where && tree?.parentOf(uid, qosOf(where.pod.spec))
    if (cgroup !== undefined) await counted(whole, cgroup)
    for (const c of p.containers) {
      const r = running.find((x) => x.pod.uid === uid && x.name === c.name)
      const labels = { container: c.name, id: `/pod${uid}/${r?.id ?? ''}`, image: r?.image ?? '', name: r?.id ?? '', namespace, pod }
      put('container_cpu_usage_seconds_total', 'counter', CPU, { ...labels, cpu: 'total' }, c.cpu.usageCoreNanoSeconds / 1e9)
      put('container_memory_working_set_bytes', 'gauge', MEMORY, labels, c.memory.workingSetBytes)
      put('container_fs_usage_bytes', 'gauge', 'Number of bytes that are consumed by the container on this filesystem.', labels, c.rootfs.usedBytes)
      put('container_start_time_seconds', 'gauge', 'Start time of the container since unix epoch in seconds.', labels, Date.parse(c.startTime) / 1000)
      put('container_last_seen', 'gauge', 'Last time a container was seen by the exporter', labels, stamp / 1000)
      if (cgroup !== undefined && r) await counted(labels, join(cgroup, r.id))
    }
    const pid = where?.pid
    if (pid !== undefined) networks(whole, await interfacesOf(pid))
  }
  return `${[...rows].flatMap(([name, { type, help, lines }]) => [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines.map((l) => l.replace('{}', ''))]).join('\n')}\n`
}

const CPU = 'Cumulative cpu time consumed in seconds.'
const MEMORY = 'Current working set in bytes.'
const NETWORK: readonly (readonly [Exclude<keyof Interface, 'name'>, string])[] = [
  ['rxBytes', 'receive_bytes'], ['rxPackets', 'receive_packets'], ['rxErrors', 'receive_errors'], ['rxDropped', 'receive_packets_dropped'],
  ['txBytes', 'transmit_bytes'], ['txPackets', 'transmit_packets'], ['txErrors', 'transmit_errors'], ['txDropped', 'transmit_packets_dropped'],
]
