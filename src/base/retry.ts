/** Retry schedules as data, and the one loop that follows them. The error says whether to retry; the schedule says when. */
import type { Clock } from './clock.ts'
import { AppError, isAbort } from './errors.ts'

export interface RetrySchedule {
  /** First wait, ms. */
  readonly firstMs: number
  /** Growth per failure. */
  readonly factor: number
  /** Cap of a wait before jitter, ms. */
  readonly maxMs: number
  /** Share of the wait that is random, 0..1; applied after the cap, so a fleet at the cap stays spread. */
  readonly jitter: number
  /** Give up after this many failures. @default never */
  readonly attempts?: number
}

/** Wait before try number `failures + 1`, ms. */
export function waitAfter(schedule: RetrySchedule, failures: number, random: () => number = Math.random): number {
  const capped = Math.min(schedule.maxMs, schedule.firstMs * schedule.factor ** Math.max(0, failures - 1))
  return capped * (1 - schedule.jitter * random())
}

/** Runs `fn` until it succeeds, throws a terminal error, the schedule ends, or the signal aborts. */
export async function retry<T>(
  fn: (attempt: number) => Promise<T>,
  options: { schedule: RetrySchedule; clock: Clock; signal?: AbortSignal; onRetry?: (error: unknown, waitMs: number) => void },
): Promise<T> {
  const { schedule, clock, signal } = options
  for (let failures = 0; ; ) {
    signal?.throwIfAborted()
    try {
      return await fn(failures)
    } catch (error) {
      failures++
      if (isAbort(error) || (error instanceof AppError && !error.retryable)) throw error
      if (schedule.attempts !== undefined && failures >= schedule.attempts) throw error
      const wait = waitAfter(schedule, failures)
      options.onRetry?.(error, wait)
      await clock.sleep(wait, signal)
    }
  }
}
