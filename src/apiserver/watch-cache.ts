/**
 * The server's memory of the store: per resource the current state and a window of recent changes, fed by ONE store watch.
 * Lists are read from here (after waiting for the store's own revision, so they are consistent); watches replay the window
 * and then follow live.
 *
 * Invariants: `revision` never goes back; events reach subscribers in revision order, each once; a watch from R is served
 * iff no change of its resource after R has left the window (an idle resource therefore never answers 410).
 * Bounds: a window keeps {@link WINDOW_EVENTS} events and {@link WINDOW_CHARS} characters a resource, oldest out first.
 */
import type { Clock } from '../base/clock.ts'
import { AppError, hasCode, isAbort } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { shareNext } from '../base/share-next.ts'
import { newestOf } from '../store/mod.ts'
import type { Store, StoreEvent } from '../store/store.ts'
import { cachePage, lowerBound, type CachePage, type PageOptions } from './cache-page.ts'
import type { Obj } from './stored-text.ts'

const log = logger('apiserver.cache')
/** All keys live below this. */
export const ROOT = '/registry/'
const WINDOW_EVENTS = 1_000
const WINDOW_CHARS = 4 << 20
/** History asked of the store at start, revisions: watchers that reconnect after a restart resume instead of relisting. */
const REPLAY = 1_000

/** One object as of one revision. Never changed after it was made; memos aside. */
export class CacheEntry {
  readonly key: string
  readonly text: string
  readonly revision: number
  readonly created: number
  /** Kept for good, or as long as memory is not needed otherwise: selectors of many watchers read the same entry. */
  #object: Readonly<Obj> | WeakRef<Readonly<Obj>> | undefined

  constructor(key: string, text: string, revision: number, created: number) {
    this.key = key
    this.text = text
    this.revision = revision
    this.created = created
  }

  /** The parsed stored form (no kind, apiVersion, resourceVersion): shared, so readonly. `keep` remembers it for next time. */
  parsed(keep = false): Readonly<Obj> {
    const known = this.#object instanceof WeakRef ? this.#object.deref() : this.#object
    const object = known ?? (JSON.parse(this.text) as Obj)
    if (keep) this.#object = object
    else if (!known) this.#object = new WeakRef(object)
    return object
  }

  /** Empty for a cluster-scoped object. */
  get namespace(): string {
    const parts = this.key.split('/')
    return parts.length > 4 ? (parts[3] as string) : ''
  }

  get name(): string {
    return this.key.slice(this.key.lastIndexOf('/') + 1)
  }
}

/** One change of one resource. `entry` is the new state, or for a delete the last one under the delete's revision. */
export interface CacheEvent {
  readonly type: 'put' | 'delete'
  readonly revision: number
  readonly entry: CacheEntry
  readonly previous: CacheEntry | undefined
  /** Encoded forms, shared by all watchers that want the same; kept only while the event is being handed out. */
  memo: Map<string, Uint8Array> | undefined
}

/** State and window of one resource, e.g. `pods` or `deployments.apps`. */
export class ResourceCache {
  readonly name: string
  readonly prefix: string
  /** Counts changes; what is derived from this resource compares it to know whether it is stale. */
  version = 0
  #entries = new Map<string, CacheEntry>()
  /** All keys in order, made on first need and then kept so. */
  #sorted: string[] | undefined
  #window: CacheEvent[] = []
  #windowChars = 0
  /** The revision whose state was read whole; before it only changes are known. */
  #loaded: number
  /** Changes at or before this revision may be missing from the window. */
  #floor: number
  #dropped = 0
  readonly #subscribers = new Set<(event: CacheEvent | 'reset') => void>()

  constructor(name: string, floor: number) {
    this.name = name
    this.prefix = `${ROOT}${name}/`
    this.#floor = this.#loaded = floor
  }

  get size(): number {
    return this.#entries.size
  }

  get(key: string): CacheEntry | undefined {
    return this.#entries.get(key)
  }

  /** Entries below `prefix` behind key `after`, in key order. */
  *scan(prefix = this.prefix, after = ''): Generator<CacheEntry> {
    const keys = this.#keys()
    for (let i = lowerBound(keys, after > prefix ? after : prefix); i < keys.length; i++) {
      const key = keys[i] as string
      if (!key.startsWith(prefix)) break
      if (key === after) continue
      const entry = this.#entries.get(key)
      if (entry) yield entry
    }
  }

  /** A page of the newest state. */
  page(options: PageOptions): CachePage {
    return cachePage(this.#keys(), (key) => this.#entries.get(key), new Map(), options)
  }

  /** A page of the state as of an earlier revision; undefined when too much has changed since. */
  pageAt(revision: number, options: PageOptions): CachePage | undefined {
    const changes = revision < this.#loaded ? undefined : this.since(revision)
    if (!changes) return undefined
    const past = new Map<string, CacheEntry | undefined>()
    for (const { entry, previous } of changes) if (!past.has(entry.key)) past.set(entry.key, previous)
    return cachePage(this.#keys(), (key) => this.#entries.get(key), past, options)
  }

  #keys(): string[] {
    return (this.#sorted ??= [...this.#entries.keys()].sort())
  }

  /** Changes after `revision`; undefined when some of them have left the window. */
  since(revision: number): readonly CacheEvent[] | undefined {
    if (revision < Math.max(this.#floor, this.#dropped)) return undefined
    let i = this.#window.length
    while (i > 0 && (this.#window[i - 1] as CacheEvent).revision > revision) i--
    return this.#window.slice(i)
  }

  /** Calls `fn` for each later change, or `reset` when continuity is lost. Returns how to stop. */
  subscribe(fn: (event: CacheEvent | 'reset') => void): () => void {
    this.#subscribers.add(fn)
    return () => void this.#subscribers.delete(fn)
  }

  /** Feeds one change. `live` false: history before the listed state, for the window only. */
  apply(change: StoreEvent, live: boolean): void {
    const before = live ? this.#entries.get(change.key) : undefined
    // One copy of what goes.
    const text = change.type === 'delete' && before ? before.text : change.value
    const entry = new CacheEntry(before?.key ?? change.key, text, change.revision, change.created)
    const previous = before ?? (change.previous === undefined ? undefined : new CacheEntry(change.key, change.previous, change.revision - 1, change.created))
    const event: CacheEvent = { type: change.type, revision: change.revision, entry, previous, memo: undefined }
    if (live) {
      this.version++
      if (change.type === 'delete') {
        this.#entries.delete(change.key)
        if (before && this.#sorted) this.#sorted.splice(lowerBound(this.#sorted, change.key), 1)
      } else {
        if (!before && this.#sorted) this.#sorted.splice(lowerBound(this.#sorted, change.key), 0, change.key)
        this.#entries.set(entry.key, entry)
      }
    }
    this.#window.push(event)
    this.#windowChars += entry.text.length
    let drop = 0
    while (this.#window.length - drop > WINDOW_EVENTS || this.#windowChars > WINDOW_CHARS) {
      const old = this.#window[drop++] as CacheEvent
      this.#windowChars -= old.entry.text.length
      this.#dropped = old.revision
    }
    if (drop > 0) this.#window.splice(0, drop)
    if (live) for (const fn of this.#subscribers) fn(event)
    event.memo = undefined
  }

  /** Says that the window holds every change after `revision` that it did not drop. */
  openWindow(revision: number): void {
    this.#floor = revision
  }

  /** Replaces the state after continuity was lost: watchers are told to start over. */
  reset(entries: Map<string, CacheEntry>, revision: number): void {
    this.version++
    this.#entries = entries
    this.#sorted = undefined
    this.#window = []
    this.#windowChars = 0
    this.#floor = this.#loaded = revision
    for (const fn of this.#subscribers) fn('reset')
  }
}

/** All resources' memory; `load` once, then `run`. */
export class WatchCache {
  readonly #store: Store
  readonly #clock: Clock
  readonly #resources = new Map<string, ResourceCache>()
  readonly #newest: (() => number) | undefined
  /** The store's newest revision. */
  readonly #ask: () => Promise<number>
  readonly #waiters = new Set<{ revision: number; resolve: () => void }>()
  #floor = 0
  #revision = 0

  constructor(store: Store, clock: Clock) {
    this.#store = store
    this.#clock = clock
    this.#newest = newestOf(store)
    this.#ask = shareNext(async () => (await store.get(ROOT)).revision)
  }

  /** The newest revision whose changes are all applied here. */
  get revision(): number {
    return this.#revision
  }

  resource(name: string): ResourceCache {
    let found = this.#resources.get(name)
    if (!found) this.#resources.set(name, (found = new ResourceCache(name, this.#floor)))
    return found
  }

  /** Resolves when everything up to `revision` is applied. @throws AppError `timeout` after `ms` */
  async waitFor(revision: number, ms = 3_000): Promise<void> {
    if (this.#revision >= revision) return
    await new Promise<void>((resolve, reject) => {
      const waiter = { revision, resolve: () => (timer.cancel(), resolve()) }
      const timer = this.#clock.timer('cache-wait', ms, () => {
        this.#waiters.delete(waiter)
        reject(new AppError('timeout', `wait for revision ${revision}: the server has seen ${this.#revision}, try again`))
      })
      this.#waiters.add(waiter)
    })
  }

  /** Waits until the cache shows at least what the store shows now; the way to a consistent read. */
  async refresh(): Promise<number> {
    if (this.#isCurrent) return this.#revision
    await this.waitFor(await this.#ask(), 10_000)
    return this.#revision
  }

  /** The newest state of one key; from memory when that is known to be current, else the store is asked for it or how far it is. */
  async read(key: string): Promise<{ readonly text: string; readonly revision: number } | undefined> {
    // With others at the store each read asks it: many ask together, and find the answer here.
    if (!this.#newest) await this.refresh()
    if (!this.#newest || this.#isCurrent) return this.resource(resourceOf(key)).get(key)
    const { entry } = await this.#store.get(key)
    return entry && { text: entry.value, revision: entry.revision }
  }

  /** True when a read of the store could show nothing that is not here. */
  get #isCurrent(): boolean {
    return this.#newest !== undefined && this.#revision >= this.#newest()
  }

  /** Loads the state; afterwards `run` keeps it current. */
  async load(): Promise<void> {
    const { entries, revision } = await this.#store.list(ROOT)
    const byResource = new Map<string, Map<string, CacheEntry>>()
    for (const e of entries) {
      const name = resourceOf(e.key)
      let group = byResource.get(name)
      if (!group) byResource.set(name, (group = new Map()))
      group.set(e.key, new CacheEntry(e.key, e.value, e.revision, e.created))
    }
    for (const name of new Set([...byResource.keys(), ...this.#resources.keys()])) {
      this.resource(name).reset(byResource.get(name) ?? new Map(), revision)
    }
    this.#floor = revision
    this.#advance(revision)
    await this.#replay(revision)
  }

  /** Fills the windows with recent history; when the store has compacted it away, watchers simply relist. */
  async #replay(revision: number): Promise<void> {
    const from = Math.max(0, revision - REPLAY)
    if (revision === 0) return
    const stop = new AbortController()
    const guard = this.#clock.timer('cache-replay', 2_000, () => stop.abort())
    const history: StoreEvent[] = []
    try {
      for await (const batch of this.#store.watch(ROOT, from, stop.signal)) {
        history.push(...batch.filter((e) => e.revision <= revision))
        // Every revision is a change below ROOT, so the listed one is in the history too.
        if ((batch.at(-1)?.revision ?? 0) >= revision) break
      }
      if (history.at(-1)?.revision !== revision) return
    } catch (error) {
      if (hasCode(error, 'compacted') || isAbort(error)) return
      throw error
    } finally {
      guard.cancel()
      stop.abort()
    }
    for (const event of history) this.resource(resourceOf(event.key)).apply(event, false)
    this.#floor = from
    for (const resource of this.#resources.values()) resource.openWindow(from)
  }

  /** Follows the store until the signal aborts. A lost watch resumes where it ended; a compacted one loads anew. */
  async run(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted; ) {
      try {
        for await (const batch of this.#store.watch(ROOT, this.#revision, signal)) {
          for (const event of batch) this.resource(resourceOf(event.key)).apply(event, true)
          const last = batch.at(-1)
          if (last) this.#advance(last.revision)
          failures = 0
        }
      } catch (error) {
        if (signal.aborted || isAbort(error)) return
        log.warn('store watch ended, resuming', { error, revision: this.#revision })
        if (hasCode(error, 'compacted')) await this.load()
        else await this.#clock.sleep(Math.min(5_000, 50 * 2 ** Math.min(failures++, 7)), signal).catch(() => undefined)
      }
    }
  }

  #advance(revision: number): void {
    this.#revision = revision
    for (const waiter of this.#waiters) {
      if (waiter.revision > revision) continue
      this.#waiters.delete(waiter)
      waiter.resolve()
    }
  }
}

function resourceOf(key: string): string {
  return key.slice(ROOT.length, key.indexOf('/', ROOT.length))
}
