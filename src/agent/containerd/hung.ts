/** Tells a daemon that hangs from one that is slow or away. Used by the supervisor of containerd. */
import type { Clock } from '../../base/clock.ts'
import { hasCode } from '../../base/errors.ts'

/** How often it is asked, and how often in a row it must say nothing: a kubelet calls a runtime dead after three minutes, ms. */
export const LOOK_MS = 60_000
export const MOST_SILENT = 4

/**
 * Resolves when `answers` has come to nothing within its time {@link MOST_SILENT} times in a row. Any other answer, an error too, shows that
 * something listens, or that nothing is there: its end is told otherwise. Rejects with the signal's reason.
 */
export async function untilHung(answers: () => Promise<unknown>, clock: Clock, signal: AbortSignal): Promise<void> {
  for (let silent = 0; silent < MOST_SILENT; ) {
    await clock.sleep(LOOK_MS, signal)
    try {
      await answers()
      silent = 0
    } catch (error) {
      silent = hasCode(error, 'timeout') ? silent + 1 : 0
    }
  }
}
