/**
 * One request from path to answer: request info, authorization, negotiation, then the verb. Identity is settled before
 * (`server.ts`). Every failure becomes a Status here, the one funnel; what is not about the caller is logged.
 */
import type { ApiRequest, ApiResponse, UserInfo } from '../api/contract.ts'
import { parseFieldSelector } from '../api/selectors.ts'
import { forbidden, methodNotAllowed, pathNotFound, toStatus } from '../api/status.ts'
import { isAbort, messageOf } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { refusal } from './authz/authorizer.ts'
import type { Call, Core } from './core.ts'
import { negotiate } from './negotiate.ts'
import type { Attributes, Decision, ProvidedResource } from './ports.ts'
import { provide } from './provided.ts'
import { requestInfo, type RequestInfo, type ResourceRequest } from './request-info.ts'
import { subresourceCall } from './subresources.ts'
import { create, update } from './verbs/write.ts'
import { deleteCollection, deleteOne } from './verbs/delete.ts'
import { patch } from './verbs/patch.ts'
import { get, list } from './verbs/read.ts'
import { watch } from './verbs/watch.ts'
import { virtualCreate } from './reviews.ts'

const log = logger('apiserver')

/** Core kinds that Kubernetes warns of whenever they are used, in its words. */
const DEPRECATED: Readonly<Record<string, string>> = {
  ComponentStatus: 'v1 ComponentStatus is deprecated in v1.19+',
  Endpoints: 'v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice',
}

/** Answers paths that are not resources; undefined when there is no such path. */
export type PathHandler = (path: string, request: ApiRequest & { readonly query: URLSearchParams }) => Promise<ApiResponse | undefined>

/** How long a request lasts. The signal is made when somebody asks for it: most requests are answered before. */
export interface Lifetime {
  readonly signal: AbortSignal
}

export interface Pipeline {
  /** @param known what the path asks for, when that has been read already */
  handle(request: ApiRequest, user: UserInfo, life: Lifetime, known?: RequestInfo): Promise<ApiResponse>
}

/**
 * @param paths answers what is not a resource, after authorization
 * @param provided answers for resources that are made when asked for
 * @param onDecision told what authorization said, for the audit log
 */
export function createPipeline(core: Core, paths: PathHandler, provided: readonly ProvidedResource[] = [], onDecision?: (query: URLSearchParams, decision: Decision) => void): Pipeline {
  const handle: Pipeline['handle'] = async (request, user, life, known) => {
    const query = request.query ?? new URLSearchParams()
    const headers = request.headers ?? {}
    const info = known ?? requestInfo(request.method, request.path, query)
    const attributes = attributesOf(info, query)
    const decision = core.authorizer.authorize(user, attributes)
    onDecision?.(query, decision)
    if (!decision.allowed) {
      throw forbidden({ group: attributes.group ?? '', resource: attributes.resource ?? '' }, attributes.name ?? '', refusal(user, attributes, decision.reason))
    }
    if (!info.isResource) {
      const found = await paths(request.path, { ...request, query })
      if (!found) throw pathNotFound()
      return found
    }
    const def = core.resources.find(info.group, info.version, info.resource)
    if (!def) throw pathNotFound()
    const old = def.group === '' ? DEPRECATED[def.kind] : def.custom?.warning
    const call: Call = { def, info, user, query, headers, body: request.body, accepted: negotiate(headers.accept), get signal() { return life.signal }, warnings: old === undefined ? [] : [old] }
    const made = provided.find((p) => p.def === def)
    return made ? await provide(made, call, core.clock.now()) : dispatch(core, call)
  }
  return {
    async handle(request, user, life, known) {
      try {
        return await handle(request, user, life, known)
      } catch (error) {
        return failure(error, request)
      }
    },
  }
}

function dispatch(core: Core, call: Call): Promise<ApiResponse> | ApiResponse {
  const { def, info } = call
  if (info.subresource !== undefined) return subresourceCall(core, call)
  if (def.served === 'virtual') return virtualCreate(core, call)
  if (!def.verbs.includes(info.verb) && info.verb !== 'watch') throw methodNotAllowed(def, info.verb)
  // A name belongs to all verbs but these, whose path is the collection's.
  if (!isCollective(info.verb) && (info.name === undefined) !== (info.verb === 'create')) throw methodNotAllowed(def, info.verb)
  // Across namespaces there are only lists and watches.
  if (def.namespaced && info.namespace === undefined && (info.verb === 'create' || info.verb === 'deletecollection')) throw methodNotAllowed(def, info.verb)
  if (def.namespaced && info.namespace === undefined && info.name !== undefined) throw pathNotFound()
  if (!def.namespaced && info.namespace !== undefined && def.resource !== 'namespaces') throw pathNotFound()
  switch (info.verb) {
    case 'get':
      return get(core, call)
    case 'list':
      return list(core, call)
    case 'watch':
      return watch(core, call)
    case 'create':
      return create(core, call)
    case 'update':
      return update(core, call)
    case 'patch':
      return patch(core, call)
    case 'delete':
      return deleteOne(core, call)
    case 'deletecollection':
      return deleteCollection(core, call)
    default: {
      const never: never = info.verb
      throw new Error(`no verb ${String(never)}`)
    }
  }
}

const isCollective = (verb: string): boolean => verb === 'list' || verb === 'watch' || verb === 'deletecollection'

/** What authorization is asked; pure. A list by name counts as naming the object, as Kubernetes has it. */
export function attributesOf(info: RequestInfo, query: URLSearchParams): Attributes {
  if (!info.isResource) return { verb: info.verb, path: info.path }
  const fieldSelector = query.get('fieldSelector') ?? undefined
  const name = info.name ?? nameSelected(info, fieldSelector)
  return {
    verb: info.verb,
    group: info.group,
    version: info.version,
    resource: info.resource,
    ...(info.subresource === undefined ? {} : { subresource: info.subresource }),
    ...(info.namespace === undefined ? {} : { namespace: info.namespace }),
    ...(name === undefined ? {} : { name }),
    ...(fieldSelector === undefined ? {} : { fieldSelector }),
    ...(query.get('labelSelector') === null ? {} : { labelSelector: query.get('labelSelector') as string }),
  }
}

function nameSelected(info: ResourceRequest, selector: string | undefined): string | undefined {
  if (!selector || (info.verb !== 'list' && info.verb !== 'watch' && info.verb !== 'deletecollection')) return undefined
  try {
    return parseFieldSelector(selector).find((r) => r.field === 'metadata.name' && r.equal)?.value || undefined
  } catch {
    // The verb tells what is wrong with it.
    return undefined
  }
}

/** The answer for anything thrown. */
export function failure(error: unknown, request: Pick<ApiRequest, 'method' | 'path'>): ApiResponse {
  const status = toStatus(error)
  const code = status.code ?? 500
  // A failure without a reason is the caller's, and only has this code because Kubernetes answers it so.
  if (code >= 500 && code !== 504 && status.reason !== undefined && !isAbort(error)) {
    const told = { method: request.method, path: request.path, code, error: messageOf(error) }
    // What is away (a node that is cut off, a full disk) is a state of the world: only what nobody thought of shows its stack.
    if (code === 500) log.error('request failed', { ...told, stack: error instanceof Error ? error.stack : undefined })
    else log.warn('request refused', told)
  }
  const retry = status.details?.retryAfterSeconds
  return {
    status: code,
    headers: { 'content-type': 'application/json', 'cache-control': 'no-cache, private', ...(retry ? { 'retry-after': String(retry) } : {}) },
    body: JSON.stringify(status),
  }
}

