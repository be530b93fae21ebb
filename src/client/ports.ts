/**
 * What every part of Skerry uses to reach the API: typed calls, watches that resume, indexed caches. Two transports stand
 * behind it: HTTP(S) and in-process (`transport.ts`); callers cannot tell which.
 */
import type { ApiRequest, ApiResponse, PatchType } from '../api/contract.ts'
import type { KubeList, KubeObject } from '../api/meta.ts'

/** Carries one call. Rejects only when the API could not be reached (AppError `unavailable`, retryable) or on abort. */
export interface Transport {
  request(request: ApiRequest, signal?: AbortSignal): Promise<ApiResponse>
}

/** Names a resource of the API; `RESOURCES` in `api/kinds.ts` has one for every built-in kind, CRDs make their own. */
export interface ResourceRef {
  readonly group: string
  readonly version: string
  /** Plural, lower case: `pods`. */
  readonly resource: string
  readonly kind: string
  readonly namespaced: boolean
}

export interface ListQuery {
  /** One namespace. @default all */
  readonly namespace?: string
  readonly labelSelector?: string
  readonly fieldSelector?: string
  readonly limit?: number
  readonly continue?: string
  readonly resourceVersion?: string
  readonly resourceVersionMatch?: 'Exact' | 'NotOlderThan'
}

export interface WriteQuery {
  readonly dryRun?: boolean
  readonly fieldManager?: string
  readonly force?: boolean
  readonly fieldValidation?: 'Ignore' | 'Warn' | 'Strict'
  readonly subresource?: string
}

export interface DeleteQuery {
  readonly gracePeriodSeconds?: number
  readonly propagationPolicy?: 'Background' | 'Foreground' | 'Orphan'
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string }
}

export type WatchEvent<T> =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: T }
  | { readonly type: 'BOOKMARK'; readonly object: KubeObject }

/**
 * Typed calls on one resource. Every method throws `ApiError` (api/status.ts, an AppError whose `status` is the Status
 * object) when the API refuses, AppError `unavailable` when it cannot be reached.
 */
export interface ResourceClient<T extends KubeObject> {
  readonly ref: ResourceRef
  get(name: string, namespace?: string): Promise<T>
  list(query?: ListQuery): Promise<KubeList<T>>
  create(object: T, query?: WriteQuery): Promise<T>
  update(object: T, query?: WriteQuery): Promise<T>
  /** With `type: 'apply'` the patch is the whole applied object and `fieldManager` is required. */
  patch(name: string, namespace: string | undefined, patch: unknown, type: PatchType, query?: WriteQuery): Promise<T>
  delete(name: string, namespace?: string, query?: DeleteQuery): Promise<void>
  /** One watch from `resourceVersion`, until the server or the signal ends it. `410 Gone` throws ApiError `compacted`. */
  watch(query: ListQuery & { readonly bookmarks?: boolean }, signal: AbortSignal): AsyncIterable<WatchEvent<T>>
}

export interface Client {
  resource<T extends KubeObject = KubeObject>(ref: ResourceRef): ResourceClient<T>
  /** Any call by path, for subresources and discovery. */
  readonly transport: Transport
}

/** An indexed, readonly copy of one resource, kept current by list and watch. Copy an object before changing it. */
export interface Cache<T extends KubeObject> {
  readonly ref: ResourceRef
  /** Resolves when the first complete list is in; rejects on abort. */
  synced(signal?: AbortSignal): Promise<void>
  readonly isSynced: boolean
  get(name: string, namespace?: string): Readonly<T> | undefined
  list(namespace?: string): readonly Readonly<T>[]
  /** Objects under an index named at making, e.g. pods by `spec.nodeName`. */
  byIndex(index: string, value: string): readonly Readonly<T>[]
  /** Calls `fn` for every change (also each object at sync). Returns how to stop. `old` is undefined on add, `now` on delete. */
  onChange(fn: (now: Readonly<T> | undefined, old: Readonly<T> | undefined) => void): () => void
}

export interface CacheOptions<T extends KubeObject> extends Pick<ListQuery, 'namespace' | 'labelSelector' | 'fieldSelector'> {
  readonly indexes?: Readonly<Record<string, (object: Readonly<T>) => readonly string[]>>
}

/** Shared caches of one process: asking twice for the same resource and selectors gives the same cache. */
export interface CacheSet {
  cache<T extends KubeObject>(ref: ResourceRef, options?: CacheOptions<T>): Cache<T>
  /** Runs all reflectors until the signal aborts. Caches asked for later start at once. */
  run(signal: AbortSignal): Promise<void>
}
