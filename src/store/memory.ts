/** The store in memory: for tests and the kit. Same contract as the others; durable for as long as the process lives. */
import { systemClock, type Clock } from '../base/clock.ts'
import { AppError } from '../base/errors.ts'
import { Scope } from '../base/scope.ts'
import { runCompactor, type CompactionPolicy } from './compactor.ts'
import { Fanout } from './fanout.ts'
import { mismatch } from './mismatch.ts'
import type { NewestRevision } from './newest.ts'
import type { Entry, ListOptions, ListResult, Revision, Store, StoreEvent, StoreStats, WriteOptions } from './store.ts'

export interface MemoryStoreOptions {
  /** @default systemClock */
  readonly clock?: Clock
  /** Undelivered changes a watcher may pile up. @default 10_000 */
  readonly maxWatchLag?: number
  readonly compaction?: CompactionPolicy
  /** How often keys whose time is over are looked for, ms. @default 10_000 */
  readonly expireEveryMs?: number
}

/** One revision of a key; `value` undefined is a delete. */
interface Version {
  readonly revision: Revision
  readonly created: Revision
  readonly value: string | undefined
  readonly expires: number | undefined
}

/** Makes an empty store; its history is compacted and its keys expire like any other's. */
export function createMemoryStore(options: MemoryStoreOptions = {}): Store & StoreStats {
  return new MemoryStore(options)
}

class MemoryStore implements Store, StoreStats, NewestRevision {
  readonly #clock: Clock
  readonly #scope = new Scope('store')
  readonly #fanout: Fanout
  /** Versions of each key, oldest first. */
  readonly #keys = new Map<string, Version[]>()
  /** Kept changes, oldest first. */
  #events: StoreEvent[] = []
  #revision: Revision = 0
  #compacted: Revision = 0
  #closed = false

  constructor(options: MemoryStoreOptions) {
    this.#clock = options.clock ?? systemClock
    this.#fanout = new Fanout(
      {
        revision: () => this.#revision,
        compacted: () => this.#compacted,
        history: (prefix, after, upTo, limit) => {
          const events = this.#events.slice(this.#indexAfter(after)).filter((e) => e.revision <= upTo && e.key.startsWith(prefix)).slice(0, limit)
          return { events, through: events.length < limit ? upTo : (events.at(-1)?.revision ?? upTo) }
        },
      },
      options.maxWatchLag ?? 10_000,
    )
    this.#scope.run('compactor', (signal) =>
      runCompactor(
        { revision: () => this.#revision, compacted: () => this.#compacted, compact: (r) => this.compact(r) },
        this.#clock,
        options.compaction ?? {},
        signal,
      ),
    )
    this.#scope.run('expiry', async (signal) => {
      for (;;) {
        await this.#clock.sleep(options.expireEveryMs ?? 10_000, signal)
        for (const [key, versions] of this.#keys) {
          const newest = versions.at(-1)
          if (newest?.expires !== undefined && newest.expires <= this.#clock.now()) this.#append(key, undefined, undefined)
        }
      }
    })
  }

  newest(): Revision {
    return this.#revision
  }

  async get(key: string, revision?: Revision): Promise<{ entry: Entry | undefined; revision: Revision }> {
    const at = this.#at(revision, `get "${key}"`)
    return { entry: this.#entry(key, at), revision: at }
  }

  async list(prefix: string, options: ListOptions = {}): Promise<ListResult> {
    const at = this.#at(options.revision, `list "${prefix}"`)
    const { after, limit } = options
    const keys = [...this.#keys.keys()].filter((k) => k.startsWith(prefix) && (after === undefined || k > after)).sort()
    const all = keys.flatMap((key) => this.#entry(key, at) ?? [])
    const entries = limit === undefined ? all : all.slice(0, limit)
    return { entries, revision: at, remaining: all.length - entries.length }
  }

  async put(key: string, value: string, expected: Revision, options: WriteOptions = {}): Promise<Revision> {
    this.#checkOpen()
    const actual = this.#entry(key, this.#revision)?.revision ?? 0
    if (actual !== expected) throw new AppError(...mismatch('put', key, expected, actual))
    return this.#append(key, value, options.ttlSeconds === undefined ? undefined : this.#clock.now() + options.ttlSeconds * 1000)
  }

  async delete(key: string, expected: Revision): Promise<Revision> {
    this.#checkOpen()
    const entry = this.#entry(key, this.#revision)
    if (!entry) throw new AppError('not-found', `delete "${key}": there is no such key`)
    if (entry.revision !== expected) throw new AppError(...mismatch('delete', key, expected, entry.revision))
    return this.#append(key, undefined, undefined)
  }

  watch(prefix: string, from: Revision, signal: AbortSignal): AsyncIterable<readonly StoreEvent[]> {
    return this.#fanout.watch(prefix, from, signal)
  }

  async compact(revision: Revision): Promise<void> {
    if (!Number.isSafeInteger(revision) || revision > this.#revision) {
      throw new AppError('invalid', `compact to revision ${revision}: the newest is ${this.#revision}`)
    }
    if (revision <= this.#compacted) return
    this.#compacted = revision
    this.#events = this.#events.slice(this.#indexAfter(revision))
    for (const [key, versions] of this.#keys) {
      const keep = versions.findLastIndex((v) => v.revision <= revision)
      const from = keep >= 0 && versions[keep]?.value === undefined ? keep + 1 : Math.max(keep, 0)
      if (from >= versions.length) this.#keys.delete(key)
      else if (from > 0) versions.splice(0, from)
    }
  }

  async stats(): ReturnType<StoreStats['stats']> {
    let bytes = 0
    for (const versions of this.#keys.values()) for (const v of versions) bytes += v.value?.length ?? 0
    return { syncs: 0, commits: this.#revision, writes: this.#revision, revision: this.#revision, compacted: this.#compacted, bytes }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#fanout.end(new AppError('unavailable', 'use store: it is closed', { retryable: false }))
    await this.#scope.close()
  }

  #append(key: string, value: string | undefined, expires: number | undefined): Revision {
    const versions = this.#keys.get(key) ?? []
    const before = versions.at(-1)
    const revision = ++this.#revision
    const created = before?.value === undefined ? revision : before.created
    versions.push({ revision, created, value, expires })
    this.#keys.set(key, versions)
    const previous = before?.value
    const event: StoreEvent = { type: value === undefined ? 'delete' : 'put', key, revision, created, value: value ?? previous ?? '', previous }
    this.#events.push(event)
    this.#fanout.publish([event])
    return revision
  }

  #entry(key: string, at: Revision): Entry | undefined {
    const version = this.#keys.get(key)?.findLast((v) => v.revision <= at)
    return version?.value === undefined ? undefined : { key, value: version.value, revision: version.revision, created: version.created }
  }

  /** Where in the events those after `revision` begin; events have consecutive revisions. */
  #indexAfter(revision: Revision): number {
    const first = this.#events[0]?.revision ?? 0
    return Math.max(0, revision - first + 1)
  }

  #at(revision: Revision | undefined, act: string): Revision {
    this.#checkOpen()
    if (revision === undefined) return this.#revision
    if (revision > this.#revision) throw new AppError('invalid', `${act}: revision ${revision} is ahead of the newest, ${this.#revision}`)
    if (revision < this.#compacted) throw new AppError('compacted', `${act}: revision ${revision} is no longer kept, the oldest is ${this.#compacted}`)
    return revision
  }

  #checkOpen(): void {
    if (this.#closed) throw new AppError('unavailable', 'use store: it is closed', { retryable: false })
  }
}
