/** What the benchmarks share: quantiles, what the kernel knows about a process, the machine in words, and the rows of a table. */
import { readdirSync, readFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'

/** One line of `docs/figures.md`. */
export interface Row {
  readonly what: string
  readonly ours: string
  /** What the project wants of itself; empty when nothing was set. */
  readonly aim?: string
  /** The peer in the same run, or others' measured or published number with its origin. */
  readonly others?: string
}

/** How a section of figures came about, and its rows. */
export interface Figures {
  readonly method: string
  readonly rows: readonly Row[]
}

/** Counts and windows: small ones show that a benchmark works, full ones make figures. */
export interface Effort {
  readonly starts: number
  readonly pods: number
  readonly burst: number
  readonly idleSeconds: number
  readonly settleSeconds: number
  readonly sets: number
  readonly seconds: number
  readonly tunnelMib: number
  readonly scale: { readonly objects: number; readonly watches: number }
  /** `settleSeconds`: longer than history is kept, so that what forgetting the changes before it writes is not in the hour. */
  readonly fleet: { readonly nodes: number; readonly seconds: number; readonly settleSeconds: number }
}

/** Rest of more than a minute: what is done each minute has been done once, and with it what a first read of anything writes, its access time. */
export const FULL: Effort = { starts: 5, pods: 100, burst: 30, idleSeconds: 240, settleSeconds: 70, sets: 200, seconds: 3, tunnelMib: 1024, scale: { objects: 100_000, watches: 5_000 }, fleet: { nodes: 20, seconds: 3_600, settleSeconds: 480 } }
export const QUICK: Effort = { starts: 2, pods: 8, burst: 6, idleSeconds: 20, settleSeconds: 5, sets: 20, seconds: 1, tunnelMib: 64, scale: { objects: 2_000, watches: 100 }, fleet: { nodes: 3, seconds: 20, settleSeconds: 5 } }

/** The q-th quantile (0..1) by nearest rank; NaN of none. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))] ?? Number.NaN
}

/** Milliseconds in words: one decimal under ten. */
export function ms(value: number): string {
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`
}

export interface Memory {
  readonly rss: number
  readonly pss: number
  /** Shared with no other process. */
  readonly private: number
}

/** Memory of processes together, MB of 10^6 bytes, from `/proc/<pid>/smaps_rollup`. */
export function memoryOf(...pids: readonly number[]): Memory {
  let rss = 0
  let pss = 0
  let own = 0
  for (const pid of pids) {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
    const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0)
    rss += kib('Rss')
    pss += kib('Pss')
    own += kib('Private_Clean') + kib('Private_Dirty')
  }
  const mb = (kib: number): number => Math.round((kib * 1024) / 1e6)
  return { rss: mb(rss), pss: mb(pss), private: mb(own) }
}

/** `RSS 90 MB, PSS 60, private 40`. */
export function memoryText(m: Memory): string {
  return `RSS ${m.rss} MB, PSS ${m.pss}, private ${m.private}`
}

/** CPU seconds a process has used so far, its ended children apart. Clock ticks are hundredths on Linux. */
export function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

/** Bytes a process has sent to disks so far, from `/proc/<pid>/io`: `write_bytes` less what was dropped before it was written. */
export function diskBytesOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/io`, 'utf8')
  const n = (name: string): number => Number(new RegExp(`^${name}: (\\d+)`, 'm').exec(text)?.[1] ?? 0)
  return n('write_bytes') - n('cancelled_write_bytes')
}

/** Processes whose command line contains `text`. */
export function pidsWith(text: string): number[] {
  return readdirSync('/proc')
    .filter((n) => /^\d+$/.test(n) && Number(n) !== process.pid)
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').includes(text)
      } catch {
        return false // It ended meanwhile.
      }
    })
}

/** The machine and the load it bears now. */
export function machine(): string {
  return `${cpus().length} x ${cpus()[0]?.model.trim() ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GB, Linux ${release().split('-')[0]}, Node ${process.version}`
}

/** The load average of the last minute: figures taken above about 0.5 show the neighbours too. */
export function load(): number {
  return Math.round((loadavg()[0] ?? 0) * 100) / 100
}
