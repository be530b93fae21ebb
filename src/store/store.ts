/**
 * The store port: a small etcd. Keys, opaque text, one global revision, compare-and-swap on an entry's revision, watch from
 * a revision without gaps, compaction in small steps. Knows no kinds. Only `apiserver` uses it.
 *
 * Invariants every implementation keeps (`test/suites/store.ts` proves them on each):
 * - every change gets its own revision, one higher than the last; a write resolves only after it is durable (fsynced)
 * - a watch from revision R delivers each change of its prefix after R exactly once, in order, or ends with `compacted`
 * - reads at an earlier revision see exactly the state of that revision, or fail with `compacted`
 */

/** A global revision; 0 is the empty store. Fits a double exactly up to 2^53. */
export type Revision = number

export interface Entry {
  readonly key: string
  readonly value: string
  /** Revision of the last change. */
  readonly revision: Revision
  /** Revision at which the key came to be. */
  readonly created: Revision
}

export interface ListOptions {
  /** At most this many entries. @default all */
  readonly limit?: number
  /** Start behind this key (exclusive); for the next page. */
  readonly after?: string
  /** Read the state as of this revision. @default the newest */
  readonly revision?: Revision
}

export interface ListResult {
  readonly entries: readonly Entry[]
  /** The revision the list shows. */
  readonly revision: Revision
  /** Entries behind the last one returned; 0 when complete. */
  readonly remaining: number
}

export interface StoreEvent {
  readonly type: 'put' | 'delete'
  readonly key: string
  readonly revision: Revision
  readonly created: Revision
  /** The new text; for a delete the last one. */
  readonly value: string
  /** The text before this change; undefined on create, or when it is already compacted away. */
  readonly previous: string | undefined
}

export interface WriteOptions {
  /** The key disappears about this many seconds later (within a minute), as a delete with its own revision. */
  readonly ttlSeconds?: number
}

export interface Store extends AsyncDisposable {
  /** The newest entry, or the one as of `revision`; undefined when absent. Also says the store's revision. */
  get(key: string, revision?: Revision): Promise<{ entry: Entry | undefined; revision: Revision }>
  /** Entries whose key starts with `prefix`, in key order. */
  list(prefix: string, options?: ListOptions): Promise<ListResult>
  /**
   * Writes `key` when its revision is `expected`: 0 means it must not exist.
   * @throws AppError `exists` (expected 0) or `conflict` (other revision, or gone), `full`/`unavailable` when the disk refuses
   */
  put(key: string, value: string, expected: Revision, options?: WriteOptions): Promise<Revision>
  /** Deletes `key` when its revision is `expected`. @throws AppError `not-found` or `conflict` */
  delete(key: string, expected: Revision): Promise<Revision>
  /**
   * Changes with revision > `from` whose key starts with `prefix`, in batches, then live, until the signal aborts (a clean end).
   * @throws AppError `compacted` when `from` is no longer kept; `unavailable` when this watcher fell too far behind (it may resume)
   */
  watch(prefix: string, from: Revision, signal: AbortSignal): AsyncIterable<readonly StoreEvent[]>
  /** Forgets history before `revision` (in small steps); the newest state of each key stays. Resolves when done. */
  compact(revision: Revision): Promise<void>
}

/** What else a store may be able to do; detected once at wiring. */
export interface StoreStats {
  /** Syncs to disk, commits, and bytes since start; a test counts them. */
  stats(): Promise<{ syncs: number; commits: number; writes: number; revision: Revision; compacted: Revision; bytes: number }>
}

/** A store whose file does not give room back by itself. */
export interface StoreReclaim {
  /** Gives the room of forgotten history back, and lifts the refusal of writes that its lack caused. The store may stall meanwhile. */
  reclaim(): Promise<void>
}

/** What a store that several servers share can keep for them beside the data: small texts that change rarely. */
export interface StoreRecords {
  readRecord(name: string): Promise<string | undefined>
  /** Keeps `value` under `name` unless there is one; resolves to what stands there now. */
  createRecord(name: string, value: string): Promise<string>
  /** Makes all of the changes at once, or none and resolves to false when something else stands in the place of a `former`. */
  changeRecords(changes: readonly RecordChange[]): Promise<boolean>
  /** Calls `fn` when a record was changed, by whomever. Returns how to stop. */
  onRecord(fn: () => void): () => void
}

/** A record's text as it must be, undefined for none, and what it becomes; without `value` it stays. */
export interface RecordChange {
  readonly name: string
  readonly former: string | undefined
  readonly value?: string | undefined
}
