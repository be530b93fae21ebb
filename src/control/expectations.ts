/**
 * What a controller has done that its cache may not show yet. A controller that counts (so many pods) must not count again
 * before it sees its own creates and deletes, or it makes them twice.
 *
 * Keyed by the owner's key, bounded by owners; an expectation not met within {@link EXPECT_MS} is let go, so a lost event
 * delays but never blocks.
 */
import type { Clock } from '../base/clock.ts'

/** Kubernetes' own limit, ms. */
export const EXPECT_MS = 5 * 60_000

/** Creates and deletes on their way to the cache, by owner key. Raise before acting, lower as the cache shows it. */
export class Expectations {
  readonly #clock: Clock
  readonly #entries = new Map<string, { creates: number; deletes: Set<string>; since: number }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Call before creating `count` objects. */
  expectCreates(key: string, count: number): void {
    this.#entry(key).creates += count
  }

  /** Call before deleting these, by uid. */
  expectDeletes(key: string, uids: readonly string[]): void {
    const { deletes } = this.#entry(key)
    for (const uid of uids) deletes.add(uid)
  }

  /** The cache shows a new object, or a create failed. */
  sawCreate(key: string, count = 1): void {
    const entry = this.#entries.get(key)
    if (entry) entry.creates = Math.max(0, entry.creates - count)
  }

  /** The cache shows it as going or gone, or the delete failed. */
  sawDelete(key: string, uid: string): void {
    this.#entries.get(key)?.deletes.delete(uid)
  }

  /** True when counting is safe. */
  met(key: string): boolean {
    const entry = this.#entries.get(key)
    if (!entry) return true
    const done = entry.creates === 0 && entry.deletes.size === 0
    if (!done && this.#clock.monotonic() - entry.since < EXPECT_MS) return false
    this.#entries.delete(key)
    return true
  }

  /** Forgets an owner that is gone. */
  forget(key: string): void {
    this.#entries.delete(key)
  }

  #entry(key: string): { creates: number; deletes: Set<string>; since: number } {
    let entry = this.#entries.get(key)
    if (!entry) this.#entries.set(key, (entry = { creates: 0, deletes: new Set(), since: 0 }))
    entry.since = this.#clock.monotonic()
    return entry
  }
}
