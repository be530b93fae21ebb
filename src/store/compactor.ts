/**
 * Decides how much history to keep and asks the store to forget the rest, every minute or so. The work itself is done by
 * the store in small steps. History is kept for `keepMs`, and for the newest `keepRevisions` however old they are, but
 * never over `maxRevisions`, so that a storm of writes cannot fill the disk with the past. A few revisions are not worth the pages
 * that forgetting them rewrites: it waits until there are `stepRevisions` of them.
 */
import type { Clock } from '../base/clock.ts'
import { hasCode } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import type { Revision } from './store.ts'

const log = logger('store.compactor')

export interface CompactionPolicy {
  /** @default 60_000 */
  readonly intervalMs?: number
  /** @default 300_000 */
  readonly keepMs?: number
  /** @default 1000 */
  readonly keepRevisions?: number
  /** @default 100_000 */
  readonly maxRevisions?: number
  /** @default 100 */
  readonly stepRevisions?: number
}

/** A revision and when, on the monotonic clock, it was the newest. */
export interface Sample {
  readonly atMs: number
  readonly revision: Revision
}

/** The revision to compact to, given past samples (oldest first); undefined when there is nothing to forget. Pure. */
export function compactionTarget(samples: readonly Sample[], now: Sample, compacted: Revision, policy: Required<CompactionPolicy>): Revision | undefined {
  let old = 0
  for (const s of samples) if (s.atMs <= now.atMs - policy.keepMs) old = Math.max(old, s.revision)
  const target = Math.max(Math.min(old, now.revision - policy.keepRevisions), now.revision - policy.maxRevisions)
  return target > 0 && target - compacted >= policy.stepRevisions ? target : undefined
}

/** Runs until the signal aborts. A failed compaction is logged and tried again at the next turn. */
export async function runCompactor(
  store: { revision(): Revision; compacted(): Revision; compact(revision: Revision): Promise<void> },
  clock: Clock,
  policy: CompactionPolicy,
  signal: AbortSignal,
): Promise<void> {
  const full = { intervalMs: 60_000, keepMs: 300_000, keepRevisions: 1000, maxRevisions: 100_000, stepRevisions: 100, ...policy }
  let samples: Sample[] = []
  while (!signal.aborted) {
    // Jitter so that several stores on one disk do not work at the same moment.
    await clock.sleep(full.intervalMs * (0.9 + 0.2 * Math.random()), signal)
    const now = { atMs: clock.monotonic(), revision: store.revision() }
    const target = compactionTarget(samples, now, store.compacted(), full)
    samples.push(now)
    // Keep the newest sample that is old enough, and all younger ones: about keepMs / intervalMs of them.
    samples = samples.filter((s, i) => (samples[i + 1]?.atMs ?? Infinity) > now.atMs - full.keepMs)
    if (target === undefined) continue
    try {
      await store.compact(target)
    } catch (error) {
      if (signal.aborted || hasCode(error, 'compacted')) continue
      log.warn('compaction failed, will try again', { target, error })
    }
  }
}
