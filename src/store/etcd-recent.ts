/** The newest changes of the store on etcd, kept for watchers that resume. */
import type { History } from './fanout.ts'
import type { Revision, StoreEvent } from './store.ts'

/** More than these are forgotten, the oldest first; they are still in etcd. */
const MAX_EVENTS = 2_000
const MAX_CHARS = 8 << 20

/** A window of the newest changes without a gap. Bounded by number and size; what falls out is asked of etcd. */
export class RecentChanges {
  #events: StoreEvent[] = []
  #after: Revision = 0
  #chars = 0

  /** All that is kept came after this revision, and all that came after it is kept. */
  get after(): Revision {
    return this.#after
  }

  /** Forgets all; what is added comes after `after`. */
  restart(after: Revision): void {
    this.#events = []
    this.#chars = 0
    this.#after = after
  }

  add(events: readonly StoreEvent[]): void {
    this.#events.push(...events)
    for (const e of events) this.#chars += sizeOf(e)
    let drop = 0
    while (drop < this.#events.length && (this.#events.length - drop > MAX_EVENTS || this.#chars > MAX_CHARS)) this.#chars -= sizeOf(this.#events[drop++] as StoreEvent)
    if (drop === 0) return
    this.#after = this.#events[drop - 1]?.revision ?? this.#after
    this.#events = this.#events.slice(drop)
  }

  /** Revision of the newest change that is not newer than `revision`; undefined when that is from before what is kept. */
  newestUpTo(revision: Revision): Revision | undefined {
    return this.#events.findLast((e) => e.revision <= revision)?.revision ?? (this.#after <= revision ? this.#after : undefined)
  }

  /** Changes below `prefix`, at most `limit`, after one revision up to another; `after` must not be before {@link after}. */
  between(prefix: string, after: Revision, upTo: Revision, limit: number): History {
    let from = this.#events.length
    while (from > 0 && (this.#events[from - 1] as StoreEvent).revision > after) from--
    const events: StoreEvent[] = []
    for (let i = from; i < this.#events.length && events.length < limit; i++) {
      const e = this.#events[i] as StoreEvent
      if (e.revision <= upTo && e.key.startsWith(prefix)) events.push(e)
    }
    return { events, through: events.length < limit ? upTo : (events.at(-1)?.revision ?? upTo) }
  }
}

function sizeOf(e: StoreEvent): number {
  return e.value.length + (e.previous?.length ?? 0)
}
