/**
 * The store on an etcd, which several servers may share: each sees the others' writes through one watch of its own. A write
 * is acknowledged after etcd's majority has synced it and this server's watch has brought it; a read asks etcd for the
 * newest and answers once the watch is as far, so whoever reads a revision here can wait for it here.
 *
 * Keys, below the prefix of the address: `data/…` the store's own; `mark` begins it; `beacon` is written to learn how far
 * the watch is; `record/…` what servers share beside the data. A revision is etcd's, counted from the mark: so a fresh
 * store begins at 0, and one that was moved or restored begins (`mark` says where) beyond all that clients remember.
 * Writes go out side by side, never as one: all that a transaction of etcd changes has one revision, and each change needs its own.
 * When others write to the same etcd, or a server starts, numbers are skipped; order and uniqueness stand.
 *
 * Bounds: the newest changes are kept for watchers that resume (`etcd-recent.ts`); older history is read from etcd. Values end at etcd's own limit. At most `maxQueued` writes wait for etcd.
 */
import { systemClock, type Clock } from '../base/clock.ts'
import { AppError, hasCode } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { Scope } from '../base/scope.ts'
import { runCompactor, type CompactionPolicy } from './compactor.ts'
import { endOf, EtcdClient, EtcdCompacted, leaseId, type EtcdAddress, type KeyValue, type RangeAnswer, type TxnAnswer, type WatchedEvent } from './etcd-client.ts'
import { EtcdLayout, readMark } from './etcd-layout.ts'
import { EtcdProgress } from './etcd-progress.ts'
import { RecentChanges } from './etcd-recent.ts'
import { EtcdRecords } from './etcd-records.ts'
import { Fanout, type History } from './fanout.ts'
import { mismatch } from './mismatch.ts'
import type { Entry, ListOptions, ListResult, RecordChange, Revision, Store, StoreEvent, StoreReclaim, StoreRecords, StoreStats, WriteOptions } from './store.ts'

const log = logger('store.etcd')

export interface EtcdStoreOptions {
  readonly address: EtcdAddress
  /** @default systemClock */
  readonly clock?: Clock
  /** Undelivered changes a watcher may pile up. @default 10_000 */
  readonly maxWatchLag?: number
  /** Writes that may wait for etcd. @default 10_000 */
  readonly maxQueued?: number
  readonly compaction?: CompactionPolicy
}

/** etcd takes requests of 1.5 MiB; the rest is for keys and framing. */
const MAX_VALUE_BYTES = 1_500_000
/** Revisions of history asked for at start, so that watchers of an earlier process resume. */
const REPLAY = 1_000
/** Entries in one answer when all are wanted. */
const PAGE = 500
/** The work of compaction, etcd's own, may take this long. */
const COMPACT_MS = 300_000

/** Opens the store, making its mark when it is new. @throws AppError `unavailable`, `unauthorized`, `timeout` with the way out */
export async function openEtcd(options: EtcdStoreOptions): Promise<Store & StoreStats & StoreRecords & StoreReclaim> {
  const client = new EtcdClient(options.address)
  const store = new EtcdStore(client, options)
  try {
    await store.start()
    return store
  } catch (error) {
    await store[Symbol.asyncDispose]()
    throw error
  }
}

class EtcdStore implements Store, StoreStats, StoreRecords, StoreReclaim {
  readonly #client: EtcdClient
  readonly #layout: EtcdLayout
  readonly #records: EtcdRecords
  readonly #clock: Clock
  readonly #options: EtcdStoreOptions
  readonly #scope = new Scope('store')
  readonly #fanout: Fanout
  /** Our revision less etcd's. */
  #shift = 0
  readonly #progress: EtcdProgress
  #published: Revision = 0
  #compacted: Revision = 0
  readonly #recent = new RecentChanges()
  readonly #writing = new Set<Promise<unknown>>()
  #writes = 0
  #closed: AppError | undefined

  constructor(client: EtcdClient, options: EtcdStoreOptions) {
    this.#client = client
    this.#options = options
    this.#layout = new EtcdLayout(options.address.prefix)
    this.#records = new EtcdRecords(client, this.#layout)
    this.#clock = options.clock ?? systemClock
    this.#progress = new EtcdProgress(client, this.#layout, this.#clock)
    const source = {
      revision: () => this.#published,
      compacted: () => this.#compacted,
      history: (prefix: string, after: Revision, upTo: Revision, limit: number, signal: AbortSignal) => this.#history(prefix, after, upTo, limit, signal),
    }
    this.#fanout = new Fanout(source, options.maxWatchLag ?? 10_000)
  }

  async start(): Promise<void> {
    const { base, offset, made } = await readMark(this.#client, this.#layout)
    this.#shift = offset - base
    this.#compacted = offset
    const newest = made ? base : await this.#newest()
    this.#restart(Math.max(base, newest - REPLAY))
    this.#scope.run('watch', (signal) => this.#follow(signal))
    await this.#progress.reach(newest)
    this.#scope.run('compactor', (signal) =>
      runCompactor({ revision: () => this.#published, compacted: () => this.#compacted, compact: (r) => this.compact(r) }, this.#clock, this.#options.compaction ?? {}, signal),
    )
  }

  /** The end of what has happened before us: the watch has caught up when it brings it. */
  async #newest(): Promise<number> {
    try {
      return await this.#progress.writeBeacon()
    } catch (error) {
      if (!hasCode(error, 'full')) throw error
      // An etcd without space is still read, and history compacted to make some. Nobody writes now, so this is as good.
      log.warn('etcd takes no writes, its space is used up; reads go on', { error })
      return (await this.#client.call<RangeAnswer>('Range', { key: this.#layout.mark, keysOnly: true }, { again: true })).header.revision
    }
  }

  async get(key: string, revision?: Revision): Promise<{ entry: Entry | undefined; revision: Revision }> {
    const answer = await this.#range({ key: this.#layout.data(key) }, revision, `get "${key}"`)
    const kv = answer.kvs[0]
    return { entry: kv && this.#entry(kv), revision: revision ?? (await this.#settled(answer.header.revision)) }
  }

  async list(prefix: string, options: ListOptions = {}): Promise<ListResult> {
    const start = this.#layout.data(prefix)
    const rangeEnd = endOf(start)
    const entries: Entry[] = []
    let { revision, after } = options
    for (;;) {
      const limit = Math.min(PAGE, (options.limit ?? Infinity) - entries.length)
      const behind = after === undefined ? start : Buffer.concat([this.#layout.data(after), Buffer.from([0])])
      const key = Buffer.compare(behind, start) > 0 ? behind : start
      const answer = await this.#range({ key, rangeEnd, limit }, revision, `list "${prefix}"`)
      // All further pages show what the first one showed.
      revision ??= await this.#settled(answer.header.revision)
      for (const kv of answer.kvs) entries.push(this.#entry(kv))
      after = entries.at(-1)?.key
      const remaining = answer.count - answer.kvs.length
      if (remaining <= 0 || answer.kvs.length === 0 || entries.length === options.limit) return { entries, revision, remaining: Math.max(0, remaining) }
    }
  }

  async put(key: string, value: string, expected: Revision, options: WriteOptions = {}): Promise<Revision> {
    const bytes = Buffer.from(value)
    if (bytes.length > MAX_VALUE_BYTES) throw new AppError('too-large', `put "${key}": ${bytes.length} bytes are over ${MAX_VALUE_BYTES}, what etcd takes`)
    return this.#write('put', key, expected, async () => {
      // A lease of its own for each key: keys that share one would be deleted in one revision.
      const lease = options.ttlSeconds === undefined ? 0 : leaseId()
      if (lease !== 0) await this.#client.call('LeaseGrant', { TTL: Math.ceil(options.ttlSeconds ?? 0), ID: lease })
      return { requestPut: { key: this.#layout.data(key), value: bytes, lease } }
    })
  }

  delete(key: string, expected: Revision): Promise<Revision> {
    return this.#write('delete', key, expected, async () => ({ requestDeleteRange: { key: this.#layout.data(key) } }))
  }

  watch(prefix: string, from: Revision, signal: AbortSignal): AsyncIterable<readonly StoreEvent[]> {
    return this.#fanout.watch(prefix, from, signal)
  }

  async compact(revision: Revision): Promise<void> {
    if (this.#closed) throw this.#closed
    if (!Number.isSafeInteger(revision) || (revision > this.#published && revision > (await this.get('')).revision)) {
      throw new AppError('invalid', `compact to revision ${revision}: the newest is ${this.#published}`)
    }
    if (revision <= this.#compacted) return
    try {
      await this.#client.call('Compact', { revision: revision - this.#shift, physical: true }, { timeoutMs: COMPACT_MS })
    } catch (error) {
      // Another server was faster.
      if (!hasCode(error, 'compacted')) throw error
    }
    this.#compacted = Math.max(this.#compacted, revision)
  }

  /** `syncs` is etcd's own affair and always 0; `bytes` is the size of its file, which others may share. */
  async stats(): ReturnType<StoreStats['stats']> {
    const { dbSize } = await this.#client.call<{ dbSize: number }>('Status', {}, { again: true })
    return { syncs: 0, commits: this.#writes, writes: this.#writes, revision: this.#published, compacted: this.#compacted, bytes: dbSize }
  }

  async reclaim(): Promise<void> {
    // Each member has a file of its own.
    for (const endpoint of this.#client.endpoints) await this.#client.call('Defragment', {}, { endpoint, timeoutMs: COMPACT_MS })
    await this.#client.disarm()
  }

  readRecord(name: string): Promise<string | undefined> {
    return this.#records.readRecord(name)
  }

  createRecord(name: string, value: string): Promise<string> {
    return this.#records.createRecord(name, value)
  }

  changeRecords(changes: readonly RecordChange[]): Promise<boolean> {
    return this.#records.changeRecords(changes)
  }

  onRecord(fn: () => void): () => void {
    return this.#records.onRecord(fn)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = new AppError('unavailable', 'use store: it is closed', { retryable: false })
    this.#fanout.end(this.#closed)
    // What was accepted is still written, and answered.
    await Promise.allSettled(this.#writing)
    await this.#scope.close()
    await this.#progress.end(this.#closed)
    this.#client.close()
  }

  /** A read of etcd, of the newest or of an earlier revision. */
  async #range(request: object, revision: Revision | undefined, act: string): Promise<RangeAnswer> {
    if (this.#closed) throw this.#closed
    if (revision !== undefined && revision < this.#compacted) throw this.#gone(act, revision)
    if (revision !== undefined && revision > this.#published) {
      const newest = (await this.get('')).revision
      if (revision > newest) throw new AppError('invalid', `${act}: revision ${revision} is ahead of the newest, ${newest}`)
    }
    try {
      return await this.#client.call<RangeAnswer>('Range', { ...request, ...(revision !== undefined && { revision: revision - this.#shift }) }, { again: true })
    } catch (error) {
      throw hasCode(error, 'compacted') && revision !== undefined ? this.#gone(act, revision) : error
    }
  }

  #gone(act: string, revision: Revision): AppError {
    return new AppError('compacted', `${act}: revision ${revision} is no longer kept${revision < this.#compacted ? `, the oldest is ${this.#compacted}` : ''}`)
  }

  /** One compare-and-swap; resolves when the watch has brought it. */
  #write(act: 'put' | 'delete', key: string, expected: Revision, request: () => Promise<object>): Promise<Revision> {
    if (this.#closed) return Promise.reject(this.#closed)
    if (this.#writing.size >= (this.#options.maxQueued ?? 10_000)) {
      return Promise.reject(new AppError('unavailable', `write "${key}": ${this.#writing.size} writes wait for etcd already; try again later`))
    }
    const work = this.#swap(act, key, expected, request).finally(() => this.#writing.delete(work))
    this.#writing.add(work)
    return work
  }

  async #swap(act: 'put' | 'delete', key: string, expected: Revision, request: () => Promise<object>): Promise<Revision> {
    const at = this.#layout.data(key)
    // Revision 1 is that of an empty etcd, no key has it: a revision from before the mark matches nothing.
    const modRevision = expected === 0 ? 0 : Math.max(1, expected - this.#shift)
    // A delete of what is not there must not be seen as done.
    const impossible = act === 'delete' && expected === 0
    const answer = await this.#client.call<TxnAnswer>('Txn', {
      compare: [{ result: 0, target: 2, key: at, modRevision: impossible ? 1 : modRevision }],
      success: [await request()],
      failure: [{ requestRange: { key: at, keysOnly: true } }],
    })
    if (!answer.succeeded) {
      const held = answer.responses[0]?.responseRange?.kvs[0]
      if (act === 'delete' && !held) throw new AppError('not-found', `delete "${key}": there is no such key`)
      throw new AppError(...mismatch(act, key, expected, held ? held.modRevision + this.#shift : 0))
    }
    this.#writes++
    await this.#progress.reach(answer.header.revision)
    return answer.header.revision + this.#shift
  }

  /** The revision of our newest change at etcd's revision `at`, once the watch is there. */
  async #settled(at: number): Promise<Revision> {
    await this.#progress.reach(at, true)
    const newest = at + this.#shift
    if (this.#published <= newest) return this.#published
    return this.#recent.newestUpTo(newest) ?? newest
  }

  /** Follows etcd until the signal aborts; a lost watch resumes where it was, on another endpoint when there is one. */
  async #follow(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted; ) {
      try {
        for await (const events of this.#client.watch(this.#layout.all, this.#progress.seen + 1, signal)) {
          this.#take(events)
          failures = 0
        }
      } catch (error) {
        if (signal.aborted) return
        if (error instanceof EtcdCompacted) {
          const kept = error.revision + this.#shift
          if (this.#fanout.size > 0) log.warn('history was compacted while this server could not follow; its watches start over', { revision: kept })
          this.#compacted = Math.max(this.#compacted, kept)
          this.#restart(error.revision)
          this.#fanout.end(new AppError('compacted', `watch: history before revision ${kept} is no longer kept; list again and watch from there`))
          continue
        }
        if (failures++ === 0) log.warn('watch ended, resuming', { error })
        await this.#clock.sleep(Math.min(2_000, 100 * 2 ** Math.min(failures, 5)) * (0.8 + 0.4 * Math.random()), signal).catch(() => {}) // The loop looks at the signal.
      }
    }
  }

  /** Begins to follow after etcd's revision `at`. */
  #restart(at: number): void {
    this.#progress.restart(at)
    this.#published = Math.max(this.#published, at + this.#shift)
    this.#recent.restart(at + this.#shift)
  }

  /** What the watch has brought becomes visible: to reads, watchers and waiting writers at the same moment. */
  #take(watched: readonly WatchedEvent[]): void {
    const events: StoreEvent[] = []
    for (const w of watched) {
      const event = this.#event(w)
      if (event) events.push(event)
    }
    const last = events.at(-1)
    if (last) {
      this.#published = last.revision
      this.#recent.add(events)
      this.#fanout.publish(events)
    }
    this.#records.take(watched)
    this.#progress.advance(watched.at(-1)?.kv.modRevision ?? this.#progress.seen)
  }

  /** A change of our data; undefined for marks and beacons. */
  #event({ type, kv, prevKv }: WatchedEvent): StoreEvent | undefined {
    const key = this.#layout.keyOf(kv.key)
    if (key === undefined) return undefined
    const revision = kv.modRevision + this.#shift
    const previous = prevKv?.value.toString()
    if (type === 0) return { type: 'put', key, revision, created: kv.createRevision + this.#shift, value: kv.value.toString(), previous }
    // Its text went with a compaction that was faster than the watch.
    if (previous === undefined) throw new EtcdCompacted(kv.modRevision)
    return { type: 'delete', key, revision, created: (prevKv?.createRevision ?? 0) + this.#shift, value: previous, previous }
  }

  #history(prefix: string, after: Revision, upTo: Revision, limit: number, signal: AbortSignal): History | Promise<History> {
    return after < this.#recent.after ? this.#older(prefix, after, limit, signal) : this.#recent.between(prefix, after, upTo, limit)
  }

  /** History from before what is remembered here, from etcd. */
  async #older(prefix: string, after: Revision, limit: number, signal: AbortSignal): Promise<History> {
    const until = this.#recent.after
    const events: StoreEvent[] = []
    let through = after
    try {
      // Something of ours stands behind `until` for sure, if only the beacon of the start: the loop ends.
      for await (const batch of this.#client.watch(this.#layout.all, after - this.#shift + 1, signal)) {
        for (const w of batch) {
          if (w.kv.modRevision + this.#shift > until) return { events, through: until }
          through = w.kv.modRevision + this.#shift
          const event = this.#event(w)
          if (event?.key.startsWith(prefix)) events.push(event)
        }
        if (events.length >= limit || through >= until) break
      }
    } catch (error) {
      if (!(error instanceof EtcdCompacted)) throw error
      this.#compacted = Math.max(this.#compacted, error.revision + this.#shift)
      throw new AppError('compacted', `watch "${prefix}": revision ${after} is no longer kept, the oldest is ${this.#compacted}; list again and watch from there`)
    }
    return { events, through }
  }

  #entry(kv: KeyValue): Entry {
    return { key: this.#layout.keyOf(kv.key) ?? '', value: kv.value.toString(), revision: kv.modRevision + this.#shift, created: kv.createRevision + this.#shift }
  }
}
