/**
 * A tiny in-memory API for tests of `client` and `control` that need to break it: objects by path, revisions, watches,
 * and faults on demand. Not the API server: no validation, no defaulting, no selectors but `metadata.name`-free equality
 * on fields named in `fieldSelector`. Whole-cluster tests use the real server through `cluster.ts`.
 */
import { AppError } from '../../src/base/errors.ts'
import type { ApiRequest, ApiResponse } from '../../src/api/contract.ts'
import type { KubeObject, ObjectMeta } from '../../src/api/meta.ts'
import type { Transport } from '../../src/client/mod.ts'

type Stored = KubeObject & { metadata: ObjectMeta }
interface Change {
  readonly revision: number
  readonly path: string
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly object: Stored
}

export class FakeApi implements Transport {
  readonly objects = new Map<string, Stored>()
  readonly calls: string[] = []
  /** While set, every call rejects as unreachable and open watches break. */
  #away = false
  #revision = 10
  #changes: Change[] = []
  #wakers = new Set<() => void>()
  #compacted = 0
  #epoch = 0

  /** Cuts or restores the connection; cutting breaks open watches. */
  setAway(away: boolean): void {
    this.#away = away
    this.#epoch++
    for (const wake of this.#wakers) wake()
  }

  /** Forgets history, so that watches from earlier revisions get 410, and breaks open watches. */
  compact(): void {
    this.#compacted = this.#revision
    this.#changes = []
    this.#epoch++
    for (const wake of this.#wakers) wake()
  }

  async request(request: ApiRequest, signal?: AbortSignal): Promise<ApiResponse> {
    signal?.throwIfAborted()
    const query = request.query?.toString() ?? ''
    this.calls.push(`${request.method} ${request.path}${query === '' ? '' : `?${query}`}`)
    if (this.#away) throw new AppError('unavailable', `${request.method} ${request.path}: the API cannot be reached`)
    const body = typeof request.body === 'string' ? (JSON.parse(request.body) as Stored) : (structuredClone(request.body) as Stored | undefined)
    switch (request.method) {
      case 'GET':
        return request.query?.get('watch') === 'true' ? this.#watch(request, signal) : this.#read(request)
      case 'POST': {
        const name = body?.metadata.name ?? `${body?.metadata.generateName}${(++this.#revision).toString(36)}`
        const path = `${request.path}/${name}`
        if (this.objects.has(path)) return refuse(409, 'AlreadyExists', `"${name}" already exists`)
        const stamp = { name, uid: `uid-${this.#revision + 1}`, creationTimestamp: '2026-01-01T00:00:00Z' }
        return answer(201, this.#put(path, 'ADDED', { ...body, metadata: { ...body?.metadata, ...stamp } }))
      }
      case 'PUT':
      case 'PATCH': {
        const path = request.path.replace(/\/status$/, '')
        const old = this.objects.get(path)
        if (!old) return refuse(404, 'NotFound', `${path} not found`)
        const wanted = body?.metadata?.resourceVersion
        if (request.method === 'PUT' && wanted !== undefined && wanted !== old.metadata.resourceVersion) return refuse(409, 'Conflict', 'the object has been modified')
        const next = request.method === 'PUT' ? (body as Stored) : (merge(old, body) as Stored)
        return answer(200, this.#put(path, 'MODIFIED', next))
      }
      case 'DELETE': {
        const old = this.objects.get(request.path)
        if (!old) return refuse(404, 'NotFound', `${request.path} not found`)
        return answer(200, this.#put(request.path, 'DELETED', old))
      }
    }
  }

  #put(path: string, type: Change['type'], object: Stored): Stored {
    const stored = structuredClone({ ...object, metadata: { ...object.metadata, resourceVersion: String(++this.#revision) } })
    if (type === 'DELETED') this.objects.delete(path)
    else this.objects.set(path, stored)
    this.#changes.push({ revision: this.#revision, path, type, object: stored })
    for (const wake of this.#wakers) wake()
    return stored
  }

  #read(request: ApiRequest): ApiResponse {
    const one = this.objects.get(request.path)
    if (one) return answer(200, one)
    if (!isCollection(request.path)) return refuse(404, 'NotFound', `${request.path} not found`)
    const items = [...this.objects].filter(([path]) => inCollection(path, request.path)).map(([, o]) => o)
    return answer(200, { apiVersion: 'v1', kind: 'List', metadata: { resourceVersion: String(this.#revision) }, items })
  }

  #watch(request: ApiRequest, signal: AbortSignal | undefined): ApiResponse {
    const from = Number(request.query?.get('resourceVersion') ?? '0')
    if (from < this.#compacted) return refuse(410, 'Expired', 'too old resource version')
    return { status: 200, headers: {}, body: this.#stream(request.path, from, signal) }
  }

  async *#stream(collection: string, from: number, signal: AbortSignal | undefined): AsyncGenerator<string> {
    const epoch = this.#epoch
    for (let seen = from; ; ) {
      for (const change of this.#changes) {
        if (change.revision <= seen) continue
        seen = change.revision
        if (inCollection(change.path, collection)) yield `${JSON.stringify({ type: change.type, object: change.object })}\n`
      }
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.#wakers.delete(wake)
          signal?.removeEventListener('abort', wake)
          resolve()
        }
        this.#wakers.add(wake)
        signal?.addEventListener('abort', wake, { once: true })
        if (signal?.aborted) wake()
      })
      signal?.throwIfAborted()
      if (epoch !== this.#epoch) throw new AppError('unavailable', 'read stream: the connection broke')
    }
  }
}

function isCollection(path: string): boolean {
  const parts = path.split('/').slice(path.startsWith('/api/') ? 3 : 4)
  return parts.length === 1 || (parts[0] === 'namespaces' && parts.length === 3)
}

/** True when the object's path lies in the collection, or in the same collection over all namespaces. */
function inCollection(path: string, collection: string): boolean {
  const parent = path.slice(0, path.lastIndexOf('/'))
  return parent === collection || parent.replace(/\/namespaces\/[^/]+(?=\/)/, '') === collection
}

function merge(into: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch
  const out: Record<string, unknown> = { ...(into as Record<string, unknown>) }
  for (const [k, v] of Object.entries(patch)) {
    if (v === null) delete out[k]
    else out[k] = merge(out[k], v)
  }
  return out
}

function answer(status: number, body: object): ApiResponse {
  return { status, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
}

function refuse(code: number, reason: string, message: string): ApiResponse {
  return answer(code, { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', code, reason, message })
}
