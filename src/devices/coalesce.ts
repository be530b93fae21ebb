/**
 * Writes the newest state of each key, not each change: a key is written when it is due, one write at a time, the same state
 * never twice, failures again with backoff. Bounded by the number of keys; while the API is away the newest state waits and
 * nothing is lost but intermediate ones. Used for Device.status and DeviceStatus.
 */
import type { Clock, Timer } from '../base/clock.ts'
import { AppError, hasCode } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { waitAfter, type RetrySchedule } from '../base/retry.ts'

const log = logger('devices.status')
const SCHEDULE: RetrySchedule = { firstMs: 500, factor: 2, maxMs: 30_000, jitter: 0.5 }

export interface CoalescerOptions<T> {
  /** The state now; undefined when the key is gone. */
  readonly read: (key: string) => T | undefined
  readonly write: (key: string, state: T) => Promise<void>
  readonly clock: Clock
  /** Writes at the same time. @default 4 */
  readonly concurrency?: number
}

interface Entry {
  /** Monotonic ms. */
  due: number
  dirty: boolean
  writing: boolean
  last: string | undefined
  lastAt: number
  failures: number
}

/** Keys that change, written as rarely as may be. */
export class Coalescer<T> {
  readonly #options: CoalescerOptions<T>
  readonly #entries = new Map<string, Entry>()
  readonly #idle = new Set<() => void>()
  #timer: Timer | undefined
  #timerAt = Infinity
  #writing = 0
  #closed = false

  constructor(options: CoalescerOptions<T>) {
    this.#options = options
  }

  /** The key has changed: write it at once, or, when it was written lately, `sinceLastMs` after that. The earliest wish counts. */
  changed(key: string, sinceLastMs = 0): void {
    if (this.#closed) return
    const now = this.#options.clock.monotonic()
    let entry = this.#entries.get(key)
    if (!entry) this.#entries.set(key, (entry = { due: now, dirty: false, writing: false, last: undefined, lastAt: -Infinity, failures: 0 }))
    const due = Math.max(now, entry.lastAt + sinceLastMs)
    if (!entry.dirty || due < entry.due) entry.due = entry.failures > 0 ? Math.max(due, entry.due) : due
    entry.dirty = true
    this.#schedule()
  }

  forget(key: string): void {
    this.#entries.delete(key)
  }

  /** The API is back: what waits after a failure is written now. */
  kick(): void {
    const now = this.#options.clock.monotonic()
    for (const entry of this.#entries.values()) {
      if (entry.failures === 0) continue
      entry.failures = 0
      entry.due = now
    }
    this.#schedule()
  }

  /** Writes no more; resolves when the writes under way have ended. */
  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.cancel()
    while (this.#writing > 0) await new Promise<void>((resolve) => this.#idle.add(resolve))
  }

  #schedule(): void {
    const { clock, concurrency = 4 } = this.#options
    const now = clock.monotonic()
    let next = Infinity
    for (const [key, entry] of this.#entries) {
      if (!entry.dirty || entry.writing) continue
      if (entry.due <= now && this.#writing < concurrency && !this.#closed) void this.#write(key, entry)
      else next = Math.min(next, entry.due)
    }
    if (this.#closed || this.#writing >= concurrency || next === this.#timerAt) return
    this.#timer?.cancel()
    this.#timerAt = next
    if (next === Infinity) return
    this.#timer = clock.timer('status write', Math.max(0, next - now), () => {
      this.#timerAt = Infinity
      this.#schedule()
    })
  }

  async #write(key: string, entry: Entry): Promise<void> {
    const { read, write, clock } = this.#options
    entry.dirty = false
    const state = read(key)
    if (state === undefined) return void this.#entries.delete(key)
    const text = JSON.stringify(state)
    if (text === entry.last) return
    entry.writing = true
    this.#writing++
    try {
      await write(key, state)
      entry.last = text
      entry.failures = 0
    } catch (error) {
      const given = hasCode(error, 'not-found') || hasCode(error, 'invalid') || hasCode(error, 'forbidden')
      if (entry.failures++ === 0 || given) log.warn('status not written', { key, error })
      if (!given || (error instanceof AppError && error.retryable)) {
        entry.dirty = true
        entry.due = clock.monotonic() + waitAfter(SCHEDULE, entry.failures)
      }
    } finally {
      entry.writing = false
      entry.lastAt = clock.monotonic()
      this.#writing--
      for (const fn of this.#idle) fn()
      this.#idle.clear()
      this.#schedule()
    }
  }
}
