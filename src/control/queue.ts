/**
 * The work queue of a controller: keys, each at most once in it and at most once in work, delayed and with a backoff of its
 * own after failures. Bounded by the number of keys that exist; nothing is dropped.
 *
 * Invariants: a key added while in work is handed out again after `done`; of several delays for a key the earliest counts.
 */
import type { Clock, Timer } from '../base/clock.ts'
import { waitAfter, type RetrySchedule } from '../base/retry.ts'

/** controller-runtime's figures (5 ms doubling), with a cap that still feels alive to a person who waits. */
export const RECONCILE_SCHEDULE: RetrySchedule = { firstMs: 5, factor: 2, maxMs: 60_000, jitter: 0.1 }

/** See the file's header. `next` and `done` frame the work on one key. */
export class WorkQueue {
  readonly #name: string
  readonly #clock: Clock
  readonly #schedule: RetrySchedule
  readonly #ready = new Set<string>()
  readonly #working = new Set<string>()
  readonly #again = new Set<string>()
  readonly #delayed = new Map<string, { timer: Timer; at: number }>()
  readonly #failures = new Map<string, number>()
  readonly #waiters: (() => void)[] = []

  constructor(name: string, clock: Clock, schedule: RetrySchedule = RECONCILE_SCHEDULE) {
    this.#name = name
    this.#clock = clock
    this.#schedule = schedule
  }

  /** Keys that are ready or in work; delayed ones do not count. */
  get length(): number {
    return this.#ready.size + this.#working.size
  }

  add(key: string): void {
    this.#delayed.get(key)?.timer.cancel()
    this.#delayed.delete(key)
    if (this.#working.has(key)) {
      this.#again.add(key)
      return
    }
    this.#ready.add(key)
    this.#waiters.shift()?.()
  }

  /** Adds the key after `ms`, unless it is due sooner. */
  addAfter(key: string, ms: number): void {
    if (ms <= 0) return this.add(key)
    const at = this.#clock.monotonic() + ms
    const former = this.#delayed.get(key)
    if (former && former.at <= at) return
    former?.timer.cancel()
    const timer = this.#clock.timer(`${this.#name} ${key}`, ms, () => this.add(key))
    this.#delayed.set(key, { timer, at })
  }

  /** Adds the key after its own backoff, one failure more; returns the failures so far. */
  retry(key: string): number {
    const failures = (this.#failures.get(key) ?? 0) + 1
    this.#failures.set(key, failures)
    this.addAfter(key, waitAfter(this.#schedule, failures))
    return failures
  }

  /** Its next failure counts as the first. */
  forget(key: string): void {
    this.#failures.delete(key)
  }

  /** The next ready key, marked as in work until `done`. Rejects with the signal's reason. */
  async next(signal: AbortSignal): Promise<string> {
    for (;;) {
      signal.throwIfAborted()
      for (const key of this.#ready) {
        this.#ready.delete(key)
        this.#working.add(key)
        return key
      }
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          signal.removeEventListener('abort', wake)
          const at = this.#waiters.indexOf(wake)
          if (at >= 0) this.#waiters.splice(at, 1)
          resolve()
        }
        this.#waiters.push(wake)
        signal.addEventListener('abort', wake, { once: true })
      })
    }
  }

  done(key: string): void {
    this.#working.delete(key)
    if (this.#again.delete(key)) this.add(key)
  }

  /** Cancels what is delayed. */
  close(): void {
    for (const { timer } of this.#delayed.values()) timer.cancel()
    this.#delayed.clear()
  }
}
