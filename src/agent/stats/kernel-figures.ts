/**
 * What the kernel counts of a cgroup beyond CPU and working set, by cAdvisor's names: memory by kind, throttling, disk operations,
 * processes, and the limits that are set. One table for cgroup v1 and v2; what a kernel does not offer is left out. Read when
 * somebody asks; nothing is kept.
 */
import { readdir, readlink } from 'node:fs/promises'
import { basename } from 'node:path'

/** Reads a file of one cgroup: on v1 as `controller/file`, on v2 as `file`; empty when there is none. */
export interface CgroupFiles {
  readonly unified: boolean
  read(file: string): Promise<string>
}

export interface Figure {
  readonly name: string
  readonly type: 'counter' | 'gauge'
  readonly help: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** A file, the word before the number in it (or the number's place in the line; none: it is alone), and its unit. */
type Source = readonly [file: string, at?: string | number, unit?: number]
type Row = readonly [name: string, type: Figure['type'], help: string, v1: Source | undefined, v2: Source | undefined, labels?: Readonly<Record<string, string>>]

const failures = (kind: string, scope: 'container' | 'hierarchy', word: string): Row => {
  const own = scope === 'container' ? word : `total_${word}`
  return ['container_memory_failures_total', 'counter', 'Cumulative count of memory allocation failures.', ['memory/memory.stat', own], ['memory.stat', word], { failure_type: kind, scope }]
}

/** Nanoseconds, microseconds, and the 1/100 s in which every Linux that Node runs on counts. */
const NANO = 1e-9
const MICRO = 1e-6
const TICK = 0.01
const ROWS: readonly Row[] = [
  ['container_cpu_user_seconds_total', 'counter', 'Cumulative user cpu time consumed in seconds.', ['cpuacct/cpuacct.stat', 'user', TICK], ['cpu.stat', 'user_usec', MICRO]],
  ['container_cpu_system_seconds_total', 'counter', 'Cumulative system cpu time consumed in seconds.', ['cpuacct/cpuacct.stat', 'system', TICK], ['cpu.stat', 'system_usec', MICRO]],
  ['container_memory_cache', 'gauge', 'Number of bytes of page cache memory.', ['memory/memory.stat', 'total_cache'], ['memory.stat', 'file']],
  ['container_memory_rss', 'gauge', 'Size of RSS in bytes.', ['memory/memory.stat', 'total_rss'], ['memory.stat', 'anon']],
  ['container_memory_mapped_file', 'gauge', 'Size of memory mapped files in bytes.', ['memory/memory.stat', 'total_mapped_file'], ['memory.stat', 'file_mapped']],
  ['container_memory_swap', 'gauge', 'Container swap usage in bytes.', ['memory/memory.stat', 'total_swap'], ['memory.swap.current']],
  ['container_memory_kernel_usage', 'gauge', 'Size of kernel memory allocated in bytes.', ['memory/memory.kmem.usage_in_bytes'], ['memory.stat', 'kernel']],
  ['container_memory_usage_bytes', 'gauge', 'Current memory usage in bytes, including all memory regardless of when it was accessed', ['memory/memory.usage_in_bytes'], ['memory.current']],
  ['container_memory_max_usage_bytes', 'gauge', 'Maximum memory usage recorded in bytes', ['memory/memory.max_usage_in_bytes'], ['memory.peak']],
  ['container_memory_failcnt', 'counter', 'Number of memory usage hits limits', ['memory/memory.failcnt'], ['memory.events', 'max']],
  ['container_oom_events_total', 'counter', 'Count of out of memory events observed for the container', ['memory/memory.oom_control', 'oom_kill'], ['memory.events', 'oom_kill']],
  failures('pgfault', 'container', 'pgfault'),
  failures('pgmajfault', 'container', 'pgmajfault'),
  failures('pgfault', 'hierarchy', 'pgfault'),
  failures('pgmajfault', 'hierarchy', 'pgmajfault'),
  ['container_threads', 'gauge', 'Number of threads running inside the container', ['pids/pids.current'], ['pids.current']],
  ['container_threads_max', 'gauge', 'Maximum number of threads allowed inside the container, infinity if value is zero', ['pids/pids.max'], ['pids.max']],
  ['container_spec_memory_limit_bytes', 'gauge', 'Memory limit for the container.', ['memory/memory.limit_in_bytes'], ['memory.max']],
  ['container_spec_memory_swap_limit_bytes', 'gauge', 'Memory swap limit for the container.', ['memory/memory.memsw.limit_in_bytes'], ['memory.swap.max']],
  ['container_spec_memory_reservation_limit_bytes', 'gauge', 'Memory reservation limit for the container.', ['memory/memory.soft_limit_in_bytes'], ['memory.high']],
  ['container_spec_cpu_period', 'gauge', 'CPU period of the container.', ['cpu/cpu.cfs_period_us'], ['cpu.max', 1]],
]
/** Told of what has a limit on its CPU. */
const LIMITED: readonly Row[] = [
  ['container_spec_cpu_quota', 'gauge', 'CPU quota of the container.', ['cpu/cpu.cfs_quota_us'], ['cpu.max', 0]],
  ['container_cpu_cfs_periods_total', 'counter', 'Number of elapsed enforcement period intervals.', ['cpu/cpu.stat', 'nr_periods'], ['cpu.stat', 'nr_periods']],
  ['container_cpu_cfs_throttled_periods_total', 'counter', 'Number of throttled period intervals.', ['cpu/cpu.stat', 'nr_throttled'], ['cpu.stat', 'nr_throttled']],
  ['container_cpu_cfs_throttled_seconds_total', 'counter', 'Total time duration the container has been throttled.', ['cpu/cpu.stat', 'throttled_time', NANO], ['cpu.stat', 'throttled_usec', MICRO]],
]
/** By device: name, help, v1's file and word, v2's word. */
const DISK: readonly (readonly [name: string, help: string, file: string, word: string, key: string])[] = [
  ['container_fs_reads_total', 'Cumulative count of reads completed', 'io_serviced', 'Read', 'rios'],
  ['container_fs_reads_bytes_total', 'Cumulative count of bytes read', 'io_service_bytes', 'Read', 'rbytes'],
  ['container_fs_writes_total', 'Cumulative count of writes completed', 'io_serviced', 'Write', 'wios'],
  ['container_fs_writes_bytes_total', 'Cumulative count of bytes written', 'io_service_bytes', 'Write', 'wbytes'],
]
/** v1 says "no limit" by a number near 2^63. */
const NO_LIMIT = 2 ** 62

/** All figures of one cgroup. */
export async function kernelFigures(files: CgroupFiles): Promise<Figure[]> {
  const texts = new Map<string, Promise<string>>()
  const text = (file: string): Promise<string> => {
    let found = texts.get(file)
    if (!found) texts.set(file, (found = files.read(file)))
    return found
  }
  const figures: Figure[] = []
  const put = async ([name, type, help, v1, v2, labels = {}]: Row): Promise<void> => {
    const source = files.unified ? v2 : v1
    const value = source && numberIn(await text(source[0]), source[1])
    if (value !== undefined) figures.push({ name, type, help, labels, value: value * (source?.[2] ?? 1) })
  }
  for (const row of ROWS) await put(row)
  const quota = files.unified ? numberIn(await text('cpu.max'), 0) : numberIn(await text('cpu/cpu.cfs_quota_us'))
  if (quota !== undefined && quota > 0) for (const row of LIMITED) await put(row)
  const shares = files.unified ? sharesOf(numberIn(await text('cpu.weight'))) : numberIn(await text('cpu/cpu.shares'))
  if (shares !== undefined) figures.push({ name: 'container_spec_cpu_shares', type: 'gauge', help: 'CPU share of the container.', labels: {}, value: shares })
  for (const [name, help, file, word, key] of DISK) {
    const lines = files.unified ? await text('io.stat') : await recursive(text, file)
    for (const [device, value] of perDevice(lines, files.unified ? key : word)) figures.push({ name, type: 'counter', help, labels: { device: await deviceName(device) }, value })
  }
  const pids = (await text(files.unified ? 'cgroup.procs' : 'pids/cgroup.procs')).split('\n').filter((l) => l !== '')
  if (pids.length > 0) {
    figures.push({ name: 'container_processes', type: 'gauge', help: 'Number of processes running inside the container.', labels: {}, value: pids.length })
    const open = await Promise.all(pids.map((pid) => readdir(`/proc/${pid}/fd`).then((l) => l.length, () => 0)))
    figures.push({ name: 'container_file_descriptors', type: 'gauge', help: 'Number of open file descriptors for the container.', labels: {}, value: open.reduce((a, b) => a + b, 0) })
  }
  return figures
}

/** A number of a file; 0 for what has no limit, undefined for what is not there. */
export function numberIn(text: string, at?: string | number): number | undefined {
  const word = typeof at === 'string' ? new RegExp(`^${at} (.*)$`, 'm').exec(text)?.[1] : text.trim().split(/\s+/)[at ?? 0]
  if (word === undefined || word === '') return undefined
  if (word === 'max') return 0
  const value = Number(word)
  return Number.isNaN(value) ? undefined : value >= NO_LIMIT ? 0 : value
}

/** What the descendants did counts too, where the kernel sums it up. */
async function recursive(text: (file: string) => Promise<string>, file: string): Promise<string> {
  const all = await text(`blkio/blkio.throttle.${file}_recursive`)
  return all === '' ? await text(`blkio/blkio.throttle.${file}`) : all
}

/** `8:0 Read 512` of v1, `8:0 rbytes=512 wbytes=0` of v2. */
function perDevice(text: string, word: string): (readonly [device: string, value: number])[] {
  return text.split('\n').flatMap((line) => {
    const m = /^(\d+:\d+) (.*)$/.exec(line)
    const value = m && new RegExp(`(?:^| )${word}[ =](\\d+)`).exec(m[2] as string)?.[1]
    return m && value ? [[m[1] as string, Number(value)] as const] : []
  })
}

async function deviceName(numbers: string): Promise<string> {
  const link = await readlink(`/sys/dev/block/${numbers}`).catch(() => undefined)
  return link === undefined ? numbers : `/dev/${basename(link)}`
}

/** v1's shares of a weight: 1..10000 onto 2..262144. */
function sharesOf(weight: number | undefined): number | undefined {
  return weight === undefined ? undefined : Math.floor(2 + ((weight - 1) * 262_142) / 9999)
}
