/** What a store that is alone on its data knows without asking; whoever keeps a copy of it compares. Used by the watch cache. */
import type { Revision, Store } from './store.ts'

/** A store that no other server writes to. */
export interface NewestRevision {
  /** The revision that a read would show now. */
  newest(): Revision
}

/** How to ask `store` for its newest revision at once; undefined when only a read can tell. */
export function newestOf(store: Store): (() => Revision) | undefined {
  const asked = store as Store & Partial<NewestRevision>
  return asked.newest === undefined ? undefined : () => (asked as NewestRevision).newest()
}
