/**
 * Crash and pull backoff as pure functions. The crash delay travels in an annotation of each container, so a restarted
 * agent waits no more and no less than the one before it.
 */
import type { Container } from '../../cri/mod.ts'
import { ANNOTATION_DELAY } from './names.ts'

/** First wait after a second crash in a row, doubling to the cap: the kubelet's figures, ms. */
export const CRASH_FIRST_MS = 10_000
export const CRASH_CAP_MS = 300_000
/** A container that ran this long starts afresh, ms. */
export const CRASH_RESET_MS = 600_000

/** Delay written on the first container of a name: its end is followed by an immediate restart. */
export const FIRST_DELAY_MS = 0

/** The wait written on a container, ms, 0 when none; never over {@link CRASH_CAP_MS}. */
export function delayOf(container: Container): number {
  const ms = Number(container.annotations[ANNOTATION_DELAY] ?? 0)
  return Number.isFinite(ms) && ms > 0 ? Math.min(ms, CRASH_CAP_MS) : 0
}

function ranLong(container: Container): boolean {
  return container.startedAtMs > 0 && container.finishedAtMs - container.startedAtMs > CRASH_RESET_MS
}

/** More than the end of a container can be ahead of a clock that was not set back, ms: it is told in parts of a millisecond. */
const ROUNDING_MS = 1000

/** Whether a wait until then is still on. One that is longer than any can be was begun by a clock that has been set back since. */
export function isWait(untilMs: number, now: number): boolean {
  return untilMs > now && untilMs - now <= CRASH_CAP_MS
}

/** When a successor of `ended` may start, ms; now, when it ended in time to come: the clock was set back. */
export function restartAt(ended: Container, now: number): number {
  return ranLong(ended) || ended.finishedAtMs > now + ROUNDING_MS ? now : Math.min(ended.finishedAtMs, now) + delayOf(ended)
}

/** The delay to write on the successor of `ended`. */
export function nextDelay(ended: Container): number {
  const delay = ranLong(ended) ? 0 : delayOf(ended)
  return delay === 0 ? CRASH_FIRST_MS : Math.min(delay * 2, CRASH_CAP_MS)
}

/** Wait after failure number `failures` of a pull or another repeated step, ms: 10 s doubling to 5 min. */
export function stepDelay(failures: number): number {
  return Math.min(CRASH_FIRST_MS * 2 ** Math.max(0, failures - 1), CRASH_CAP_MS)
}
