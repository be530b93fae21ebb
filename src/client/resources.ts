/** Typed calls on resources over any transport: paths, queries and errors in one place. Used by everyone who has a {@link Client}. */
import { AppError } from '../base/errors.ts'
import { fromStatus } from '../api/status.ts'
import type { Status } from '../api/status.ts'
import { PATCH_TYPES } from '../api/contract.ts'
import type { ApiRequest, ApiResponse } from '../api/contract.ts'
import type { KubeList, KubeObject } from '../api/meta.ts'
import { bodyLines, bodyText, resourcePath } from './transport.ts'
import type { Client, DeleteQuery, ListQuery, ResourceClient, ResourceRef, Transport, WatchEvent, WriteQuery } from './ports.ts'

const JSON_BODY = { 'content-type': 'application/json' } as const

/** A client over the given transport. Cheap: keeps nothing but a map of resource clients. */
export function createClient(transport: Transport): Client {
  const made = new Map<string, ResourceClient<KubeObject>>()
  return {
    transport,
    resource<T extends KubeObject>(ref: ResourceRef): ResourceClient<T> {
      const key = `${ref.group}/${ref.version}/${ref.resource}`
      let client = made.get(key)
      if (!client) made.set(key, (client = createResourceClient<KubeObject>(transport, ref)))
      return client as unknown as ResourceClient<T>
    },
  }
}

/**
 * One call by path whose answer is JSON, for subresources, reviews and discovery.
 * @throws ApiError when the API refuses, AppError `unavailable` when it cannot be reached
 */
export async function callJson<T>(transport: Transport, request: ApiRequest, signal?: AbortSignal): Promise<T> {
  const body = request.body
  const isObject = typeof body === 'object' && !(body instanceof Uint8Array)
  const headers = isObject ? { ...JSON_BODY, ...request.headers } : request.headers
  return parse<T>(await transport.request({ ...request, ...(headers === undefined ? {} : { headers }) }, signal))
}

function createResourceClient<T extends KubeObject>(transport: Transport, ref: ResourceRef): ResourceClient<T> {
  const call = async (request: ApiRequest): Promise<T> => await callJson<T>(transport, request)
  const query = (params: URLSearchParams): { query?: URLSearchParams } => (params.size === 0 ? {} : { query: params })
  return {
    ref,
    get: (name, namespace) => call({ method: 'GET', path: resourcePath(ref, namespace, name) }),

    list: (q = {}) => callJson<KubeList<T>>(transport, { method: 'GET', path: resourcePath(ref, q.namespace), ...query(listParams(q)) }),

    async create(object, q = {}) {
      const { namespace, name } = object.metadata ?? {}
      const path = q.subresource === undefined ? resourcePath(ref, need(ref, namespace)) : resourcePath(ref, need(ref, namespace), name, q.subresource)
      return await call({ method: 'POST', path, ...query(writeParams(q)), body: typed(ref, object, q) })
    },

    async update(object, q = {}) {
      const { namespace, name } = object.metadata ?? {}
      if (name === undefined) throw new AppError('invalid', `update ${ref.kind}: the object has no metadata.name`)
      const path = resourcePath(ref, need(ref, namespace), name, q.subresource)
      return await call({ method: 'PUT', path, ...query(writeParams(q)), body: typed(ref, object, q) })
    },

    async patch(name, namespace, patch, type, q = {}) {
      const path = resourcePath(ref, need(ref, namespace), name, q.subresource)
      const headers = { 'content-type': PATCH_TYPES[type] }
      const body = typeof patch === 'string' ? patch : JSON.stringify(patch)
      return await call({ method: 'PATCH', path, ...query(writeParams(q)), headers, body })
    },

    async delete(name, namespace, q = {}) {
      const path = resourcePath(ref, need(ref, namespace), name)
      await call({ method: 'DELETE', path, ...(Object.keys(q).length === 0 ? {} : { body: deleteOptions(q) }) })
    },

    watch: (q, signal) => watch<T>(transport, ref, q, signal),
  }
}

async function* watch<T extends KubeObject>(
  transport: Transport,
  ref: ResourceRef,
  q: ListQuery & { readonly bookmarks?: boolean },
  signal: AbortSignal,
): AsyncGenerator<WatchEvent<T>> {
  const params = listParams(q)
  params.set('watch', 'true')
  if (q.bookmarks === true) params.set('allowWatchBookmarks', 'true')
  try {
    const response = await transport.request({ method: 'GET', path: resourcePath(ref, q.namespace), query: params }, signal)
    if (response.status >= 300) throw await refusal(response)
    for await (const line of bodyLines(response.body)) {
      if (signal.aborted) return
      const event = parseLine(line)
      if (event.type === 'ERROR') throw fromStatus(event.object as Status)
      yield event as WatchEvent<T>
    }
  } catch (error) {
    if (signal.aborted) return
    throw error
  }
}

function parseLine(line: string): { type: string; object: KubeObject } {
  try {
    return JSON.parse(line) as { type: string; object: KubeObject }
  } catch (cause) {
    throw new AppError('unavailable', `read watch: "${line.slice(0, 60)}" is not an event`, { cause })
  }
}

async function parse<T>(response: ApiResponse): Promise<T> {
  if (response.status >= 300) throw await refusal(response)
  const text = await bodyText(response.body)
  try {
    return JSON.parse(text) as T
  } catch (cause) {
    throw new AppError('unavailable', `read answer: "${text.slice(0, 60)}" is not JSON`, { cause })
  }
}

async function refusal(response: ApiResponse): Promise<Error> {
  const text = await bodyText(response.body)
  let status: unknown
  try {
    status = JSON.parse(text)
  } catch {
    // A proxy on the way may answer in its own words; the code still says what to do.
  }
  if (typeof status === 'object' && status !== null && (status as { kind?: unknown }).kind === 'Status') return fromStatus(status as Status)
  return fromStatus({ kind: 'Status', apiVersion: 'v1', status: 'Failure', code: response.status, message: text.slice(0, 300) })
}

function listParams(q: ListQuery): URLSearchParams {
  const params = new URLSearchParams()
  for (const key of ['labelSelector', 'fieldSelector', 'continue', 'resourceVersion', 'resourceVersionMatch'] as const) {
    const value = q[key]
    if (value !== undefined && value !== '') params.set(key, value)
  }
  if (q.limit !== undefined) params.set('limit', String(q.limit))
  return params
}

function writeParams(q: WriteQuery): URLSearchParams {
  const params = new URLSearchParams()
  if (q.dryRun === true) params.set('dryRun', 'All')
  if (q.fieldManager !== undefined) params.set('fieldManager', q.fieldManager)
  if (q.force !== undefined) params.set('force', String(q.force))
  if (q.fieldValidation !== undefined) params.set('fieldValidation', q.fieldValidation)
  return params
}

function deleteOptions(q: DeleteQuery): object {
  return { apiVersion: 'v1', kind: 'DeleteOptions', ...q }
}

/** Objects out of lists carry no kind; the API wants one. A subresource has a kind of its own (Binding, Scale). */
function typed<T extends KubeObject>(ref: ResourceRef, object: T, q: WriteQuery): T {
  if (object.kind !== undefined && object.apiVersion !== undefined) return object
  if (q.subresource !== undefined && q.subresource !== 'status') return object
  return { apiVersion: ref.group === '' ? ref.version : `${ref.group}/${ref.version}`, kind: ref.kind, ...object }
}

function need(ref: ResourceRef, namespace: string | undefined): string | undefined {
  if (ref.namespaced && namespace === undefined) throw new AppError('invalid', `call ${ref.resource}: no namespace given for a namespaced kind`)
  return namespace
}
