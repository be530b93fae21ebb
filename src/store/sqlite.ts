/**
 * The store in one SQLite file: an append log, a row a revision. Writes go in groups to a thread of their own
 * (`sqlite-writer.ts`), one transaction and one fsync a group, so the event loop never waits for the disk; reads go to the
 * same file here. What the thread has committed becomes visible ("published") here in order of revision, to readers and
 * watchers at the same moment, and only then is the write acknowledged.
 *
 * Bounds: at most `maxQueued` writes (and QUEUE_CHARS of text) wait for the disk, more are refused with `unavailable`; the
 * file holds `maxBytes`, then puts fail with `full` while reads and deletes go on. If the thread dies it is started again.
 */
import type { DatabaseSync } from 'node:sqlite'
import { systemClock, type Clock } from '../base/clock.ts'
import { AppError } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { Scope } from '../base/scope.ts'
import { runCompactor, type CompactionPolicy } from './compactor.ts'
import { Fanout } from './fanout.ts'
import type { NewestRevision } from './newest.ts'
import { ExpiryClock } from './sqlite-expiry.ts'
import { lockStore, type Op, type OpResult } from './sqlite-log.ts'
import { SqliteReader } from './sqlite-reader.ts'
import { REST_MS, WriterThread } from './sqlite-thread.ts'
import type { Failure } from './sqlite-writer.ts'
import type { Entry, ListOptions, ListResult, Revision, Store, StoreEvent, StoreReclaim, StoreStats, WriteOptions } from './store.ts'

const log = logger('store.sqlite')

export interface SqliteStoreOptions {
  /** The file; made with its directory when missing. Beside it live `-wal`, `-shm` and `.lock`. */
  readonly path: string
  /** @default systemClock */
  readonly clock?: Clock
  /** Limit of the file, bytes. @default 2 GiB */
  readonly maxBytes?: number
  /** Writes that may wait for the disk. @default 10_000 */
  readonly maxQueued?: number
  /** Undelivered changes a watcher may pile up. @default 10_000 */
  readonly maxWatchLag?: number
  readonly compaction?: CompactionPolicy
  /** How often keys whose time is over are looked for, ms. @default 10_000 */
  readonly expireEveryMs?: number
  /** After so long without a write the writer thread ends until the next one, ms. @default 20_000 */
  readonly restMs?: number
}

/** Largest value of one key, UTF-16 units; etcd's default limit is 1.5 MiB. */
const MAX_VALUE = 3 << 20
/** Text that may wait for the disk, UTF-16 units. */
const QUEUE_CHARS = 64 << 20
/** A group has at most so many writes and so much text: enough to make the fsync cheap, and a few ms of work. */
const GROUP_OPS = 512
const GROUP_CHARS = 4 << 20

interface Waiting {
  readonly op: Op
  readonly resolve: (revision: Revision) => void
  readonly reject: (error: AppError) => void
}

/**
 * Opens the store, alone: a second process on the same file is refused.
 * @throws AppError `corrupt` (names the file and the way out), `unavailable`, `unsupported`, `full`
 */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<Store & StoreStats & StoreReclaim> {
  // Held by this thread, as the writer's comes and goes.
  const lock = lockStore(options.path)
  try {
    const store = new SqliteStore(options, lock)
    await store.start()
    return store
  } catch (error) {
    lock.close()
    throw error
  }
}

class SqliteStore implements Store, StoreStats, StoreReclaim, NewestRevision {
  readonly #options: SqliteStoreOptions
  readonly #clock: Clock
  readonly #scope = new Scope('store')
  readonly #fanout: Fanout
  readonly #lock: DatabaseSync
  readonly #thread: WriterThread
  #reader: SqliteReader | undefined
  /** The newest revision readers and watchers may see. */
  #published: Revision = 0
  #compacted: Revision = 0
  #queue: Waiting[] = []
  #queuedChars = 0
  #inFlight: Waiting[] | undefined
  #kicked = false
  #idle: (() => void) | undefined
  #closed: AppError | undefined

  constructor(options: SqliteStoreOptions, lock: DatabaseSync) {
    this.#options = options
    this.#lock = lock
    this.#clock = options.clock ?? systemClock
    this.#thread = new WriterThread(
      { path: options.path, maxBytes: options.maxBytes ?? 2 ** 31 },
      this.#clock,
      this.#scope,
      {
        ready: (state) => this.#ready(state),
        written: (results) => this.#written(results),
        expired: (results) => ('code' in results ? log.warn('expiry failed, will try again', { error: results.message }) : this.#publish(results)),
        lost: (error) => this.#failAll(error),
        idle: () => !this.#inFlight && this.#queue.length === 0,
      },
      options.restMs ?? REST_MS,
    )
    this.#fanout = new Fanout(
      {
        revision: () => this.#published,
        compacted: () => this.#compacted,
        history: (prefix, after, upTo, limit) => this.#read().history(prefix, after, upTo, limit),
      },
      options.maxWatchLag ?? 10_000,
    )
  }

  async start(): Promise<void> {
    await this.#thread.start()
    this.#scope.run('compactor', (signal) =>
      runCompactor(
        { revision: () => this.#published, compacted: () => this.#compacted, compact: (r) => this.compact(r) },
        this.#clock,
        this.#options.compaction ?? {},
        signal,
      ),
    )
    this.#scope.run('expiry', async (signal) => {
      const times = new ExpiryClock(this.#published)
      for (;;) {
        // A jump that happens while no thread can be had is seen when one can.
        if (this.#thread.usable) {
          const wall = this.#clock.now()
          const moved = times.tick(wall, this.#clock.monotonic(), this.#published)
          if (moved || this.#isDue(wall)) this.#thread.post({ type: 'expire', wall, moved })
        }
        await this.#clock.sleep(this.#options.expireEveryMs ?? 10_000, signal)
      }
    })
  }

  newest(): Revision {
    return this.#published
  }

  async get(key: string, revision?: Revision): Promise<{ entry: Entry | undefined; revision: Revision }> {
    const at = this.#at(revision, `get "${key}"`)
    return { entry: this.#read().get(key, at), revision: at }
  }

  async list(prefix: string, options: ListOptions = {}): Promise<ListResult> {
    const at = this.#at(options.revision, `list "${prefix}"`)
    return { ...this.#read().list(prefix, at, options.limit, options.after), revision: at }
  }

  put(key: string, value: string, expected: Revision, options: WriteOptions = {}): Promise<Revision> {
    const expires = options.ttlSeconds === undefined ? null : this.#clock.now() + options.ttlSeconds * 1000
    return this.#write({ key, value, expected, expires })
  }

  delete(key: string, expected: Revision): Promise<Revision> {
    return this.#write({ key, value: null, expected, expires: null })
  }

  watch(prefix: string, from: Revision, signal: AbortSignal): AsyncIterable<readonly StoreEvent[]> {
    return this.#fanout.watch(prefix, from, signal)
  }

  async compact(revision: Revision): Promise<void> {
    if (!Number.isSafeInteger(revision) || revision > this.#published) {
      throw new AppError('invalid', `compact to revision ${revision}: the newest is ${this.#published}`)
    }
    // From here on no reader starts below it; the rows themselves go later, in the thread.
    this.#compacted = Math.max(this.#compacted, revision)
    await this.#thread.call((id) => ({ type: 'compact', id, revision }))
  }

  /** Writes wait meanwhile; reads go on. */
  async reclaim(): Promise<void> {
    if (this.#closed) throw this.#closed
    await this.#thread.call((id) => ({ type: 'vacuum', id }))
  }

  async stats(): ReturnType<StoreStats['stats']> {
    if (this.#closed) throw this.#closed
    return (await this.#thread.call((id) => ({ type: 'stats', id }))) as Awaited<ReturnType<StoreStats['stats']>>
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = new AppError('unavailable', 'use store: it is closed', { retryable: false })
    this.#fanout.end(this.#closed)
    // What was accepted is still written, and answered.
    if (this.#thread.usable && (this.#inFlight || this.#queue.length > 0)) await new Promise<void>((resolve) => (this.#idle = resolve))
    await this.#scope.close()
    // The reader first: the last connection to close puts the write-ahead log away, and a reader may not.
    this.#reader?.close()
    await this.#thread.close()
    this.#lock.close()
    this.#thread.refuse(this.#closed)
    this.#failAll(this.#closed)
  }

  #read(): SqliteReader {
    if (this.#closed || !this.#reader) throw this.#closed ?? new AppError('unavailable', 'read store: it is not open yet')
    return this.#reader
  }

  /** The revision a read shall see. */
  #at(revision: Revision | undefined, act: string): Revision {
    if (revision === undefined) return this.#published
    if (revision > this.#published) throw new AppError('invalid', `${act}: revision ${revision} is ahead of the newest, ${this.#published}`)
    if (revision < this.#compacted) throw new AppError('compacted', `${act}: revision ${revision} is no longer kept, the oldest is ${this.#compacted}`)
    return revision
  }

  #write(op: Op): Promise<Revision> {
    if (this.#closed) return Promise.reject(this.#closed)
    const size = op.value?.length ?? 0
    if (size > MAX_VALUE) return Promise.reject(new AppError('too-large', `put "${op.key}": ${size} characters are over ${MAX_VALUE}`))
    if (this.#queue.length >= (this.#options.maxQueued ?? 10_000) || this.#queuedChars > QUEUE_CHARS) {
      return Promise.reject(new AppError('unavailable', `write "${op.key}": ${this.#queue.length} writes wait for the disk already; try again later`))
    }
    this.#queuedChars += size
    return new Promise((resolve, reject) => {
      this.#queue.push({ op, resolve, reject })
      if (this.#kicked) return
      this.#kicked = true
      // Writes started by the same piece of work share one fsync.
      queueMicrotask(() => {
        this.#kicked = false
        this.#kick()
      })
    })
  }

  /** Hands the next group to the thread when it has none. */
  #kick(): void {
    if (this.#inFlight || !this.#reader) return
    if (this.#queue.length === 0) return this.#idle?.()
    if (!this.#thread.running) return this.#thread.wake()
    let chars = 0
    let n = 0
    while (n < this.#queue.length && n < GROUP_OPS && chars <= GROUP_CHARS) chars += this.#queue[n++]?.op.value?.length ?? 0
    const group = this.#queue.splice(0, n)
    this.#queuedChars -= chars
    this.#inFlight = group
    this.#thread.post({ type: 'write', ops: group.map((w) => w.op) })
  }

  #isDue(wall: number): boolean {
    try {
      return this.#reader?.due(wall) === true
    } catch (error) {
      log.warn('expiry failed, will try again', { error })
      return false
    }
  }

  #ready(state: { revision: Revision; compacted: Revision }): void {
    this.#compacted = Math.max(this.#compacted, state.compacted)
    if (this.#reader) {
      // After a death: the former thread may have committed what it could no longer report.
      while (this.#published < state.revision) {
        const { events, through } = this.#reader.history('', this.#published, state.revision, 500)
        this.#published = through
        this.#fanout.publish(events)
      }
    } else {
      this.#reader = new SqliteReader(this.#options.path)
      this.#published = state.revision
    }
    this.#kick()
  }

  #failAll(error: AppError): void {
    for (const waiting of [...(this.#inFlight ?? []), ...this.#queue.splice(0)]) waiting.reject(error)
    this.#inFlight = undefined
    this.#queuedChars = 0
    this.#idle?.()
  }

  #written(results: readonly OpResult[] | Failure): void {
    const group = this.#inFlight ?? []
    this.#inFlight = undefined
    if ('code' in results) {
      for (const waiting of group) waiting.reject(errorOf(results))
    } else {
      this.#publish(results, group)
      results.forEach((r, i) => (r.ok ? group[i]?.resolve(r.revision) : group[i]?.reject(errorOf(r))))
    }
    this.#kick()
  }

  /** Shows committed changes to readers and watchers. `group` holds the texts, in the order of `results`. */
  #publish(results: readonly OpResult[], group?: readonly Waiting[]): void {
    const events: StoreEvent[] = []
    results.forEach((r, i) => {
      if (!r.ok) return
      this.#published = r.revision
      if (!this.#fanout.wants(r.key)) return
      const value = group?.[i]?.op.value
      const previous = once(() => (r.prev === 0 ? undefined : this.#reader?.valueAt(r.prev)))
      const { key, revision, created } = r
      // Most watchers know the text before the change themselves; it is read when someone asks.
      events.push({ type: r.deleted ? 'delete' : 'put', key, revision, created, value: value ?? previous() ?? '', get previous() { return previous() } })
    })
    if (events.length > 0) this.#fanout.publish(events)
  }
}

/** `read`, called at most once. */
function once<T>(read: () => T): () => T {
  let known: { readonly value: T } | undefined
  return () => (known ??= { value: read() }).value
}

function errorOf(failure: Failure): AppError {
  return new AppError(failure.code, failure.message)
}
