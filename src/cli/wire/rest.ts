/**
 * Gives memory back when there is nothing to do. The engine collects garbage when it allocates: a process that has become
 * quiet keeps what it last left lying, for days. Once a minute of rest has passed and the heap has grown since, or ten seconds
 * when it has grown much, one collection is made; it stops the process for 10 to 30 ms (a server that holds 25,000 ConfigMaps: 120), and a
 * busy one is left alone. Needs `--expose-gc`.
 */
import { performance, type EventLoopUtilization } from 'node:perf_hooks'
import type { Clock } from '../../base/clock.ts'

/** How often it is looked, and so the shortest rest that counts, ms. */
export const LOOK_MS = 10_000
/** The rest that a little growth asks for, ms. */
export const REST_MS = 60_000
/** The first look: a start leaves the most behind. */
export const FIRST_MS = 15_000
/** Part of its time that a process at rest may be busy. */
const BUSY = 0.02
/** Growth of the heap that is worth a collection, bytes. */
const WORTH = 2 << 20
/** Growth that is worth one after a short rest, bytes, and as part of the heap: what a load left. */
const MUCH = 16 << 20
const MUCH_OF = 1 / 4

export interface Resting {
  /** @default the engine's, undefined without `--expose-gc` */
  readonly collect?: (() => void) | undefined
  /** Bytes in use. @default of this process's heap */
  readonly used?: () => number
  /** Share of the time since the last call in which the process was busy. @default of this thread's event loop */
  readonly busy?: () => number
}

/** Looks until the signal aborts. */
export async function collectAtRest(clock: Clock, signal: AbortSignal, parts: Resting = {}): Promise<void> {
  const collect = 'collect' in parts ? parts.collect : engineCollect()
  const used = parts.used ?? (() => process.memoryUsage().heapUsed)
  const busy = parts.busy ?? loopBusy()
  if (!collect) return
  busy()
  let after = 0
  let rested = REST_MS
  for (let wait = FIRST_MS; !signal.aborted; wait = LOOK_MS) {
    await clock.sleep(wait, signal).catch(() => undefined) // aborted
    if (signal.aborted) return
    rested = busy() > BUSY ? 0 : rested + wait
    if (rested === 0 || used() - after < (rested < REST_MS ? Math.max(MUCH, after * MUCH_OF) : WORTH)) continue
    collect()
    after = used()
    rested = 0
  }
}

function engineCollect(): (() => void) | undefined {
  const gc = (globalThis as { gc?: (options?: object) => void }).gc
  return gc && (() => gc({ type: 'major', execution: 'sync', flavor: 'last-resort' }))
}

function loopBusy(): () => number {
  let last: EventLoopUtilization | undefined
  return () => {
    const now = performance.eventLoopUtilization()
    const { utilization } = last ? performance.eventLoopUtilization(now, last) : now
    last = now
    return utilization
  }
}
