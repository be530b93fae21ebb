/**
 * Memory runs out faster than anything else: between the looks at the whole machine one figure is read, and a limit that it passes has
 * the machine looked at now. (The kernel's own notices, an eventfd or a poll on pressure, are out of reach of Node's API.)
 */
import { readFileSync } from 'node:fs'
import type { Clock } from '../../base/clock.ts'
import { valueOf, type Threshold } from './eviction.ts'

/** How often, ms: one read of 15 microseconds, as measured on a machine with 2 cores. */
const LOOK_MS = 2_000

export interface MemoryWatchOptions {
  readonly clock: Clock
  readonly thresholds: readonly Threshold[]
  /** Memory of the machine, bytes. */
  readonly capacity: () => number
  /** Memory that is available now, bytes. @default the kernel's MemAvailable */
  readonly available?: () => number
  /** A limit has been passed. */
  readonly onPassed: () => void
}

/** Works until the signal aborts; at once done without a limit for memory. Says each limit once, until there is enough again. */
export async function watchMemory(o: MemoryWatchOptions, signal: AbortSignal): Promise<void> {
  const limits = o.thresholds.filter((t) => t.signal === 'memory.available').map((t) => t.limit)
  const available = o.available ?? memAvailable
  let passed = 0
  while (limits.length > 0 && !signal.aborted) {
    const [left, capacity] = [available(), o.capacity()]
    const now = limits.filter((l) => left < valueOf(l, capacity)).length
    if (now > passed) o.onPassed()
    passed = now
    await o.clock.sleep(LOOK_MS, signal).catch(() => undefined)
  }
}

function memAvailable(): number {
  try {
    return Number(/^MemAvailable:\s+(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? Infinity) * 1024
  } catch {
    return Infinity // Nothing is known: the looks at the machine count.
  }
}
