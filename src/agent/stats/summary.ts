/**
 * What this node and its containers use, as the kubelet tells it: `/stats/summary` and `/metrics/resource`. CPU rates are
 * between two samples: the last one when it is young enough, else one taken {@link LEAST_WINDOW_MS} earlier; nothing is
 * sampled while nobody asks. Pure but for {@link Stats}.
 */
import { readFile, statfs } from 'node:fs/promises'
import type { Clock } from '../../base/clock.ts'
import type { Container } from '../../cri/mod.ts'

/** Shortest time between two samples of a rate, ms: the kernel's own accounting is good to a few. */
const LEAST_WINDOW_MS = 1_000
/** An earlier sample is used up to this age, ms. */
const MOST_WINDOW_MS = 60_000
/** An answer younger than this is given again, ms: several askers cost one look. */
const SHARED_MS = 5_000

/** One look at everything. */
export interface Sample {
  /** Wall clock, ms. */
  readonly at: number
  readonly monotonicMs: number
  readonly cpuNanos: number
  readonly memoryAvailable: number
  readonly memoryTotal: number
  readonly disk: { readonly total: number; readonly free: number; readonly inodes: number; readonly inodesFree: number } | undefined
  readonly containers: readonly ContainerSample[]
}

export interface ContainerSample {
  readonly id: string
  readonly cpuNanos: number
  readonly memoryBytes: number
  readonly writableBytes: number
}

/** Names of a running container of this node. */
export interface Running extends Pick<Container, 'id' | 'name' | 'startedAtMs' | 'image'> {
  readonly pod: { readonly namespace: string; readonly name: string; readonly uid: string }
}

interface Cpu {
  readonly time: string
  readonly usageNanoCores: number
  readonly usageCoreNanoSeconds: number
}
interface Memory {
  readonly time: string
  readonly availableBytes?: number
  readonly usageBytes?: number
  readonly workingSetBytes: number
}
interface Fs {
  readonly time: string
  readonly availableBytes: number
  readonly capacityBytes: number
  readonly usedBytes: number
  readonly inodes: number
  readonly inodesFree: number
  readonly inodesUsed: number
}

/** `stats.k8s.io` Summary, the part that CRI runtimes can fill. */
export interface Summary {
  readonly node: { readonly nodeName: string; readonly startTime: string; readonly cpu: Cpu; readonly memory: Memory; readonly fs?: Fs }
  readonly pods: readonly {
    readonly podRef: { readonly name: string; readonly namespace: string; readonly uid: string }
    readonly startTime: string
    readonly containers: readonly { readonly name: string; readonly startTime: string; readonly cpu: Cpu; readonly memory: Memory; readonly rootfs: { readonly time: string; readonly usedBytes: number } }[]
    readonly cpu: Cpu
    readonly memory: Memory
  }[]
  /** Between the two samples of the rates, ms. */
  readonly windowMs: number
}

const iso = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z')

/** The summary of two looks; a container that began between them has a rate from its beginning. */
export function summarize(nodeName: string, before: Sample, after: Sample, running: readonly Running[], bootMs: number): Summary {
  const windowMs = Math.max(1, after.monotonicMs - before.monotonicMs)
  const time = iso(after.at)
  const cpu = (now: number, then: number, ms = windowMs): Cpu => ({ time, usageNanoCores: Math.max(0, Math.round(((now - then) / ms) * 1000)), usageCoreNanoSeconds: now })
  const former = new Map(before.containers.map((c) => [c.id, c]))
  const current = new Map(after.containers.map((c) => [c.id, c]))
  const pods = new Map<string, { -readonly [K in keyof Summary['pods'][number]]: K extends 'containers' ? Summary['pods'][number]['containers'][number][] : Summary['pods'][number][K] }>()
  for (const r of running) {
    const c = current.get(r.id)
    if (!c) continue
    const then = former.get(r.id)
    const used = then === undefined || then.cpuNanos > c.cpuNanos ? cpu(c.cpuNanos, 0, Math.max(LEAST_WINDOW_MS, after.at - r.startedAtMs)) : cpu(c.cpuNanos, then.cpuNanos)
    let pod = pods.get(r.pod.uid)
    if (!pod) pods.set(r.pod.uid, (pod = { podRef: { ...r.pod }, startTime: iso(r.startedAtMs), containers: [], cpu: cpu(0, 0), memory: { time, workingSetBytes: 0 } }))
    pod.containers.push({ name: r.name, startTime: iso(r.startedAtMs), cpu: used, memory: { time, workingSetBytes: c.memoryBytes }, rootfs: { time, usedBytes: c.writableBytes } })
    pod.cpu = { time, usageNanoCores: pod.cpu.usageNanoCores + used.usageNanoCores, usageCoreNanoSeconds: pod.cpu.usageCoreNanoSeconds + used.usageCoreNanoSeconds }
    pod.memory = { time, workingSetBytes: pod.memory.workingSetBytes + c.memoryBytes }
  }
  const { disk } = after
  const fs: Fs | undefined = disk && { time, availableBytes: disk.free, capacityBytes: disk.total, usedBytes: disk.total - disk.free, inodes: disk.inodes, inodesFree: disk.inodesFree, inodesUsed: disk.inodes - disk.inodesFree }
  const used = after.memoryTotal - after.memoryAvailable
  return {
    node: { nodeName, startTime: iso(bootMs), cpu: cpu(after.cpuNanos, before.cpuNanos), memory: { time, availableBytes: after.memoryAvailable, usageBytes: used, workingSetBytes: used }, ...(fs ? { fs } : {}) },
    pods: [...pods.values()],
    windowMs,
  }
}

/** `/metrics/resource`: the same numbers in Prometheus' text form, with the kubelet's names. */
export function resourceMetrics(summary: Summary): string {
  const lines: string[] = []
  const stamp = Date.parse(summary.node.cpu.time)
  const put = (name: string, help: string, type: string, rows: readonly (readonly [labels: string, value: number])[]): void => {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...rows.map(([labels, value]) => `${name}${labels} ${value} ${stamp}`))
  }
  const containers = summary.pods.flatMap((p) => p.containers.map((c) => ({ c, labels: `{container="${c.name}",namespace="${p.podRef.namespace}",pod="${p.podRef.name}"}` })))
  const pods = summary.pods.map((p) => ({ p, labels: `{namespace="${p.podRef.namespace}",pod="${p.podRef.name}"}` }))
  put('node_cpu_usage_seconds_total', 'Cumulative cpu time consumed by the node in core-seconds', 'counter', [['', summary.node.cpu.usageCoreNanoSeconds / 1e9]])
  put('node_memory_working_set_bytes', 'Current working set of the node in bytes', 'gauge', [['', summary.node.memory.workingSetBytes]])
  put('container_cpu_usage_seconds_total', 'Cumulative cpu time consumed by the container in core-seconds', 'counter', containers.map(({ c, labels }) => [labels, c.cpu.usageCoreNanoSeconds / 1e9]))
  put('container_memory_working_set_bytes', 'Current working set of the container in bytes', 'gauge', containers.map(({ c, labels }) => [labels, c.memory.workingSetBytes]))
  put('pod_cpu_usage_seconds_total', 'Cumulative cpu time consumed by the pod in core-seconds', 'counter', pods.map(({ p, labels }) => [labels, p.cpu.usageCoreNanoSeconds / 1e9]))
  put('pod_memory_working_set_bytes', 'Current working set of the pod in bytes', 'gauge', pods.map(({ p, labels }) => [labels, p.memory.workingSetBytes]))
  return `${lines.join('\n')}\n`
}

export interface StatsOptions {
  readonly nodeName: string
  readonly clock: Clock
  readonly look: () => Promise<Sample>
  readonly running: () => readonly Running[]
}

/** Summaries on demand; see the header. */
export class Stats {
  readonly #o: StatsOptions
  #last: Sample | undefined
  #shared: { at: number; summary: Promise<Summary> } | undefined

  constructor(options: StatsOptions) {
    this.#o = options
  }

  /** @throws AppError of the runtime when it does not answer */
  summary(): Promise<Summary> {
    const now = this.#o.clock.monotonic()
    if (this.#shared && now - this.#shared.at < SHARED_MS) return this.#shared.summary
    const summary = this.#make()
    this.#shared = { at: now, summary }
    summary.catch(() => (this.#shared = undefined))
    return summary
  }

  async #make(): Promise<Summary> {
    let before = this.#last
    const age = before ? this.#o.clock.monotonic() - before.monotonicMs : Number.POSITIVE_INFINITY
    if (!before || age > MOST_WINDOW_MS || age < LEAST_WINDOW_MS) {
      before = await this.#o.look()
      await this.#o.clock.sleep(LEAST_WINDOW_MS, NEVER)
    }
    const after = await this.#o.look()
    this.#last = after
    return summarize(this.#o.nodeName, before, after, this.#o.running(), this.#o.clock.now() - this.#o.clock.monotonic())
  }
}

const NEVER = new AbortController().signal

/** Looks at this machine by /proc and the file system; containers by the runtime. */
export async function lookAtMachine(dataDir: string, clock: Clock, containers: () => Promise<readonly ContainerSample[]>): Promise<Sample> {
  const [stat, meminfo, disk, seen] = await Promise.all([
    readFile('/proc/stat', 'utf8').catch(() => ''),
    readFile('/proc/meminfo', 'utf8').catch(() => ''),
    statfs(dataDir).catch(() => undefined),
    containers(),
  ])
  const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(meminfo)?.[1] ?? 0) * 1024
  return {
    at: clock.now(),
    monotonicMs: clock.monotonic(),
    cpuNanos: busyNanos(stat),
    memoryTotal: kib('MemTotal'),
    memoryAvailable: kib('MemAvailable'),
    disk: disk && { total: disk.blocks * disk.bsize, free: disk.bavail * disk.bsize, inodes: disk.files, inodesFree: disk.ffree },
    containers: seen,
  }
}

/** Time that processors were not idle, from /proc/stat; its unit is 1/100 s on every Linux that Node runs on. */
export function busyNanos(stat: string): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = (/^cpu +(.*)$/m.exec(stat)?.[1] ?? '').split(' ').map(Number)
  return (user + nice + system + irq + softirq + steal) * 10_000_000
}
