/**
 * Hands committed changes to watchers. A watcher first reads history in batches, then joins the live stream at the very
 * revision where history ended: both happen on one thread, so nothing falls between.
 * Bounds: a live watcher may fall `maxEvents` behind; then it alone is closed with `unavailable` and may resume.
 * Used by every store implementation.
 */
import { AppError } from '../base/errors.ts'
import type { Revision, StoreEvent } from './store.ts'

/** Where a watcher finds what happened before it joined. */
export interface WatchSource {
  /** The newest revision that was published. */
  revision(): Revision
  /** History before this is gone. */
  compacted(): Revision
  /** Up to `limit` changes of `prefix` with `after` < revision <= `upTo`, in order, and how far the search came. */
  history(prefix: string, after: Revision, upTo: Revision, limit: number, signal: AbortSignal): History | Promise<History>
}

/** A piece of the past. */
export interface History {
  readonly events: readonly StoreEvent[]
  readonly through: Revision
}

interface Watcher {
  readonly prefix: string
  readonly from: Revision
  pending: StoreEvent[]
  wake: () => void
  ended: AppError | undefined
}

/** Changes read from history at a time. */
const HISTORY_BATCH = 500

/** All watchers of one store. */
export class Fanout {
  readonly #source: WatchSource
  readonly #maxEvents: number
  readonly #watchers = new Set<Watcher>()

  /** @param maxEvents how many undelivered changes a live watcher may pile up before it is closed */
  constructor(source: WatchSource, maxEvents: number) {
    this.#source = source
    this.#maxEvents = maxEvents
  }

  /** Number of live watchers. */
  get size(): number {
    return this.#watchers.size
  }

  /** True when some live watcher wants this key; lets a store skip work for changes nobody sees. */
  wants(key: string): boolean {
    for (const w of this.#watchers) if (key.startsWith(w.prefix)) return true
    return false
  }

  /** Queues changes, in revision order, for everyone they concern. Never waits. */
  publish(events: readonly StoreEvent[]): void {
    for (const watcher of this.#watchers) {
      if (watcher.ended) continue
      let grew = false
      for (const event of events) {
        if (event.revision <= watcher.from || !event.key.startsWith(watcher.prefix)) continue
        watcher.pending.push(event)
        grew = true
      }
      if (watcher.pending.length > this.#maxEvents) {
        watcher.pending = []
        watcher.ended = new AppError('unavailable', `watch "${watcher.prefix}": the reader is over ${this.#maxEvents} changes behind; watch again from the last revision seen`)
        grew = true
      }
      if (grew) watcher.wake()
    }
  }

  /** Ends every watch with `error`. */
  end(error: AppError): void {
    for (const watcher of this.#watchers) {
      watcher.ended ??= error
      watcher.wake()
    }
  }

  /** See {@link Store.watch}. */
  async *watch(prefix: string, from: Revision, signal: AbortSignal): AsyncGenerator<readonly StoreEvent[], void, undefined> {
    let cursor = from
    // Read history until none is left; from the last check to `add` below nothing else can run.
    while (!signal.aborted && cursor < this.#source.revision()) {
      if (cursor < this.#source.compacted()) {
        throw new AppError('compacted', `watch "${prefix}": revision ${cursor} is no longer kept, the oldest is ${this.#source.compacted()}; list again and watch from there`)
      }
      const { events, through } = await this.#source.history(prefix, cursor, this.#source.revision(), HISTORY_BATCH, signal)
      cursor = through
      if (events.length > 0) yield events
    }
    if (signal.aborted) return
    const watcher: Watcher = { prefix, from: cursor, pending: [], wake: () => {}, ended: undefined }
    const onAbort = (): void => watcher.wake()
    this.#watchers.add(watcher)
    signal.addEventListener('abort', onAbort)
    try {
      while (!signal.aborted) {
        if (watcher.pending.length > 0) {
          const batch = watcher.pending
          watcher.pending = []
          yield batch
        } else if (watcher.ended) {
          throw watcher.ended
        } else {
          await new Promise<void>((resolve) => (watcher.wake = resolve))
        }
      }
    } finally {
      this.#watchers.delete(watcher)
      signal.removeEventListener('abort', onAbort)
    }
  }
}
