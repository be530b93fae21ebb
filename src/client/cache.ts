/**
 * Shared, indexed copies of resources. One reflector feeds one cache; asking twice for the same resource and selectors
 * gives the same cache. With a {@link Stash} a cache is filled from disk first and is synced at once, so a node that boots
 * without a server knows what it last knew, and the watch resumes from the stored revision.
 *
 * Invariants: objects in a cache are never changed in place; listeners see each change once, in order, after the cache
 * shows it; a listener that throws is logged and does not stop the others. Bounded by the content of the API.
 */
import { messageOf } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { Scope } from '../base/scope.ts'
import { systemClock, type Clock } from '../base/clock.ts'
import type { RetrySchedule } from '../base/retry.ts'
import type { KubeObject } from '../api/meta.ts'
import { keyOf } from './keys.ts'
import { runReflector, type ReflectorSink } from './reflector.ts'
import type { Cache, CacheOptions, CacheSet, Client, ResourceRef } from './ports.ts'
import type { Stash } from './stash.ts'

const log = logger('client.cache')

export interface CachesOptions {
  readonly clock?: Clock
  /** Where copies outlive the process. @default none */
  readonly stash?: Stash
  readonly schedule?: RetrySchedule
}

/** What this implementation offers beyond the port. */
export interface Caches extends CacheSet {
  /** Tries at once whatever waits to reconnect; for a link that came back. */
  retryNow(): void
  /** All caches made so far, with what each was asked to hold. */
  held(): readonly HeldCache[]
}

/** A cache of the set and its selection. */
export interface HeldCache {
  readonly ref: ResourceRef
  readonly query: Pick<CacheOptions<KubeObject>, 'namespace' | 'labelSelector' | 'fieldSelector'>
  readonly cache: Cache<KubeObject>
}

type Listener<T> = (now: Readonly<T> | undefined, old: Readonly<T> | undefined) => void

/** The shared caches of one process over `client`; nothing is read before `run`. Reading never fails: reflectors retry for ever. */
export function createCaches(client: Client, options: CachesOptions = {}): Caches {
  const clock = options.clock ?? systemClock
  const made = new Map<string, IndexedCache<KubeObject>>()
  let scope: Scope | undefined
  let wake = new AbortController()

  const start = (id: string, cache: IndexedCache<KubeObject>): void => {
    scope?.run(id, async (signal) => {
      const stashed = await options.stash?.load(id)
      if (stashed) cache.replace(stashed.objects as KubeObject[], stashed.resourceVersion)
      signal.throwIfAborted()
      await runReflector(
        {
          resource: client.resource(cache.ref),
          query: cache.query,
          sink: options.stash ? stashing(id, cache, options.stash) : cache,
          clock,
          wake: () => wake.signal,
          ...(options.schedule === undefined ? {} : { schedule: options.schedule }),
          ...(stashed ? { resourceVersion: stashed.resourceVersion } : {}),
        },
        signal,
      )
    })
  }

  return {
    cache<T extends KubeObject>(ref: ResourceRef, want: CacheOptions<T> = {}): Cache<T> {
      const { indexes = {}, ...query } = want
      const id = cacheId(ref, query)
      let cache = made.get(id)
      if (!cache) {
        made.set(id, (cache = new IndexedCache<KubeObject>(ref, query)))
        if (scope) start(id, cache)
      }
      const typed = cache as unknown as IndexedCache<T>
      typed.addIndexes(indexes)
      return typed
    },
    async run(signal) {
      if (scope) throw new Error('run caches: already running')
      scope = new Scope('caches', signal)
      for (const [id, cache] of made) start(id, cache)
      // The set stays open for caches asked for later, so it ends with the signal and not with its tasks.
      await new Promise<void>((resolve) => {
        if (scope?.signal.aborted === true) resolve()
        scope?.signal.addEventListener('abort', () => resolve(), { once: true })
      })
      await scope.close()
    },
    held: () => [...made.values()].map((cache) => ({ ref: cache.ref, query: cache.query, cache })),
    retryNow() {
      wake.abort()
      wake = new AbortController()
    },
  }
}

/** Names what a cache holds, stable over restarts: `apps/v1/deployments?namespace=..`. */
function cacheId(ref: ResourceRef, query: object): string {
  const params = new URLSearchParams(Object.entries(query as Record<string, string>).filter(([, v]) => v !== undefined))
  params.sort()
  return `${ref.group === '' ? 'core' : ref.group}/${ref.version}/${ref.resource}?${params}`
}

function stashing(id: string, cache: IndexedCache<KubeObject>, stash: Stash): ReflectorSink<KubeObject> {
  return {
    replace(objects, resourceVersion) {
      cache.replace(objects, resourceVersion)
      stash.replace(id, { objects, resourceVersion })
    },
    apply(type, object) {
      cache.apply(type, object)
      stash.append(id, keyOf(object), type === 'DELETED' ? undefined : object)
    },
    progress: (resourceVersion) => stash.progress(id, resourceVersion),
  }
}

class IndexedCache<T extends KubeObject> implements Cache<T>, ReflectorSink<T> {
  readonly ref: ResourceRef
  readonly query: Pick<CacheOptions<T>, 'namespace' | 'labelSelector' | 'fieldSelector'>
  isSynced = false
  readonly #objects = new Map<string, T>()
  readonly #indexes = new Map<string, { valuesOf: (object: Readonly<T>) => readonly string[]; entries: Map<string, Map<string, T>> }>()
  readonly #listeners = new Set<Listener<T>>()
  readonly #waiting = new Set<() => void>()

  constructor(ref: ResourceRef, query: Pick<CacheOptions<T>, 'namespace' | 'labelSelector' | 'fieldSelector'>) {
    this.ref = ref
    this.query = query
    this.addIndexes({ [NAMESPACE_INDEX]: (o) => [o.metadata?.namespace ?? ''] })
  }

  addIndexes(indexes: NonNullable<CacheOptions<T>['indexes']>): void {
    for (const [name, valuesOf] of Object.entries(indexes)) {
      if (this.#indexes.has(name)) continue
      this.#indexes.set(name, { valuesOf, entries: new Map() })
      for (const [key, object] of this.#objects) this.#index(name, key, undefined, object)
    }
  }

  synced(signal?: AbortSignal): Promise<void> {
    if (this.isSynced) return Promise.resolve()
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const onAbort = (): void => {
        this.#waiting.delete(onSynced)
        reject(signal?.reason)
      }
      const onSynced = (): void => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      }
      this.#waiting.add(onSynced)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  get(name: string, namespace?: string): Readonly<T> | undefined {
    return this.#objects.get(namespace === undefined || namespace === '' ? name : `${namespace}/${name}`)
  }

  list(namespace?: string): readonly Readonly<T>[] {
    return namespace === undefined ? [...this.#objects.values()] : this.byIndex(NAMESPACE_INDEX, namespace)
  }

  byIndex(index: string, value: string): readonly Readonly<T>[] {
    const found = this.#indexes.get(index)
    if (!found) throw new Error(`look up ${this.ref.resource}: no index "${index}", give it when asking for the cache`)
    return [...(found.entries.get(value)?.values() ?? [])]
  }

  onChange(fn: Listener<T>): () => void {
    this.#listeners.add(fn)
    for (const object of [...this.#objects.values()]) this.#call(fn, object, undefined)
    return () => void this.#listeners.delete(fn)
  }

  replace(objects: T[], _resourceVersion: string): void {
    const seen = new Set<string>()
    for (const object of objects) {
      const key = keyOf(object)
      seen.add(key)
      const old = this.#objects.get(key)
      const same = old?.metadata?.uid === object.metadata?.uid && old?.metadata?.resourceVersion === object.metadata?.resourceVersion
      if (old === undefined || !same) this.#set(key, object)
    }
    for (const key of [...this.#objects.keys()]) if (!seen.has(key)) this.#set(key, undefined)
    this.isSynced = true
    for (const resolve of this.#waiting) resolve()
    this.#waiting.clear()
  }

  apply(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: T): void {
    this.#set(keyOf(object), type === 'DELETED' ? undefined : object)
  }

  progress(): void {}

  #set(key: string, now: T | undefined): void {
    const old = this.#objects.get(key)
    if (now === undefined) this.#objects.delete(key)
    else this.#objects.set(key, now)
    if (now === undefined && old === undefined) return
    for (const name of this.#indexes.keys()) this.#index(name, key, old, now)
    for (const fn of [...this.#listeners]) this.#call(fn, now, old)
  }

  #index(name: string, key: string, old: T | undefined, now: T | undefined): void {
    const index = this.#indexes.get(name)
    if (!index) return
    for (const value of old === undefined ? [] : index.valuesOf(old)) {
      const entry = index.entries.get(value)
      entry?.delete(key)
      if (entry?.size === 0) index.entries.delete(value)
    }
    for (const value of now === undefined ? [] : index.valuesOf(now)) {
      let entry = index.entries.get(value)
      if (!entry) index.entries.set(value, (entry = new Map()))
      entry.set(key, now as T)
    }
  }

  #call(fn: Listener<T>, now: T | undefined, old: T | undefined): void {
    try {
      fn(now, old)
    } catch (error) {
      log.error('listener failed', { resource: this.ref.resource, error: messageOf(error) })
    }
  }
}

const NAMESPACE_INDEX = 'namespace'
