/** Subresources: status and its like, scale, binding, token, approval, eviction, and the streams of pods. Used by the pipeline. */
import type { ApiResponse } from '../api/contract.ts'
import { KINDS } from '../api/kinds.ts'
import { badRequest, conflict, fieldNotSupported, fieldRequired, invalid, methodNotAllowed, notFound, pathNotFound, unavailable } from '../api/status.ts'
import { requestToken } from './authn/token-request.ts'
import { readObject } from './body.ts'
import { SELF } from './bootstrap.ts'
import { answer, type Call, type Core } from './core.ts'
import { objectOf } from './encode.ts'
import type { PodTarget } from './ports.ts'
import { proxy } from './proxy.ts'
import { keyOf } from './resources.ts'
import { scaleGet, scalePatch, scaleUpdate } from './scale.ts'
import type { Obj } from './stored-text.ts'
import { admitSent } from './webhooks/admission.ts'
import { patch } from './verbs/patch.ts'
import { get } from './verbs/read.ts'
import { changeObject, update } from './verbs/write.ts'

const STATUS_LIKE = new Set(['status', 'ephemeralcontainers', 'resize', 'approval', 'finalize'])
const NODE_PAGES = new Set(['/metrics', '/metrics/resource', '/metrics/cadvisor', '/metrics/probes', '/stats/summary', '/pods', '/runningpods', '/configz', '/healthz'])
/** A kubelet's port, which clients name by heart. */
const AGENT_PORT = 10250
const STREAMS = new Set(['log', 'exec', 'attach', 'portforward'])

/** Answers a request below an object. @throws ApiError 404 for a subresource the kind has not, 405 for a verb it has not */
export async function subresourceCall(core: Core, call: Call): Promise<ApiResponse> {
  const { def, info } = call
  const name = info.subresource as string
  const sub = def.subresources.find((s) => s.name === name)
  // Only a proxy has anything below it.
  if (!sub || info.name === undefined || (name !== 'proxy' && info.rest !== '' && info.rest !== '/')) throw pathNotFound()
  const { verb } = info
  if (STATUS_LIKE.has(name)) {
    if (verb === 'get' && name !== 'finalize') return get(core, call)
    if (verb === 'update') return update(core, call)
    if (verb === 'patch' && name !== 'finalize') return patch(core, call)
  } else if (name === 'scale') {
    if (verb === 'get') return scaleGet(core, call)
    if (verb === 'update') return scaleUpdate(core, call)
    if (verb === 'patch') return scalePatch(core, call)
  } else if (name === 'binding' && verb === 'create') return bind(core, call)
  else if (name === 'token' && verb === 'create') return requestToken(core, call)
  else if (name === 'eviction' && verb === 'create') return (await import('./eviction.ts')).evict(core, call)
  else if (name === 'log' && verb === 'get') return podLog(core, call)
  else if (name === 'proxy') return (await nodePage(core, call)) ?? proxy(core, call)
  else if (STREAMS.has(name)) {
    // What is missing is told before how it is to be asked for.
    if (def.resource === 'pods') await podTarget(core, call, name as PodTarget['kind'])
    throw badRequest('Upgrade request required')
  }
  throw methodNotAllowed(def, verb)
}

/** A binding sent to the namespace is one of the pod that it names: the older door of schedulers. @throws as {@link bind} */
export function bindNamed(core: Core, call: Call, name: string | undefined): Promise<ApiResponse> {
  if (!name) throw badRequest('name must be provided')
  return bind(core, { ...call, def: KINDS.Pod, info: { ...call.info, resource: 'pods', name, subresource: 'binding' } })
}

/** Binds a pod to a node, once: the scheduler's one write. */
async function bind(core: Core, call: Call): Promise<ApiResponse> {
  const { def, info } = call
  const sent = (await readObject(call)).sent as Partial<Obj> | undefined
  const metadata = { ...sent?.metadata, name: info.name as string, namespace: info.namespace as string }
  const binding: Obj & { target?: { kind?: string; name?: string } } = { ...sent, kind: 'Binding', apiVersion: 'v1', metadata }
  await admitSent(core, call, binding, '', 'Binding')
  const { kind = '', name: node = '' } = binding.target ?? {}
  const wrong = [...(kind === '' || kind === 'Node' ? [] : [fieldNotSupported('target.kind', kind, ['Node', '<empty>'])]), ...(node === '' ? [fieldRequired('target.name')] : [])]
  if (wrong.length > 0) throw invalid({ group: '', resource: 'bindings', kind: 'Binding' }, info.name as string, wrong)
  const at = new Date(core.clock.now()).toISOString().replace(/\.\d+Z$/, 'Z')
  // Its webhooks have seen the binding; the write to the pod is the server's own.
  await changeObject(core, { ...call, user: SELF }, async (pod) => {
    const spec = pod.spec as { nodeName?: string; schedulingGates?: unknown[] }
    if (pod.metadata.deletionTimestamp) throw conflict(def, info.name as string, `pod ${info.name} is being deleted, cannot be assigned to a host`)
    if (spec.nodeName) throw conflict(def, info.name as string, `pod ${info.name} is already assigned to node "${spec.nodeName}"`)
    if (spec.schedulingGates?.length) throw conflict(def, info.name as string, `pod ${info.name} has non-empty .spec.schedulingGates`)
    const { uid } = binding.metadata
    if (uid && uid !== pod.metadata.uid) throw conflict(def, info.name as string, `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${pod.metadata.uid}`)
    const status = (pod.status ?? {}) as { conditions?: { type: string }[] }
    const conditions = (status.conditions ?? []).filter((c) => c.type !== 'PodScheduled')
    return {
      ...pod,
      metadata: { ...pod.metadata, annotations: { ...pod.metadata.annotations, ...binding.metadata.annotations } },
      spec: { ...spec, nodeName: node },
      status: { ...status, conditions: [...conditions, { type: 'PodScheduled', status: 'True', lastProbeTime: null, lastTransitionTime: at }] },
    }
  }, { whole: true })
  return answer(call, 201, JSON.stringify({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 }))
}

async function podLog(core: Core, call: Call): Promise<ApiResponse> {
  const streams = core.podStreams
  if (!streams) throw unavailable('this server carries no pod streams')
  const target = await podTarget(core, call, 'log')
  return streams.log(target, call.signal)
}

/** What a node says about itself: by its name alone, or with the port at which the cluster knows its agent. undefined: another port, or no node. */
async function nodePage(core: Core, call: Call): Promise<ApiResponse | undefined> {
  const { def, info, signal } = call
  if (def.resource !== 'nodes') return undefined
  const [, node = '', port] = /^(?:https?:)?([^:]+)(?::([^:]*))?$/.exec(info.name ?? '') ?? []
  const { entry } = await core.store.get(keyOf(def, undefined, node))
  if (!entry) throw notFound(def, node || (info.name as string))
  const { status } = objectOf(def, { text: entry.value, revision: entry.revision }) as { status?: { daemonEndpoints?: { kubeletEndpoint?: { Port?: number } } } }
  if (port && ![AGENT_PORT, status?.daemonEndpoints?.kubeletEndpoint?.Port].includes(Number(port))) return undefined
  if (info.verb !== 'get') throw methodNotAllowed(def, info.verb)
  if (!core.podStreams) throw unavailable('this server carries no pod streams')
  const page = info.rest.replace(/\/$/, '')
  if (!NODE_PAGES.has(page)) throw badRequest(`a node has no page "${page}", only ${[...NODE_PAGES].join(', ')}`)
  return core.podStreams.nodePage(node, page, signal)
}

/** Where a stream request goes. @throws ApiError 404, 400 for an unbound pod or an unclear container */
export async function podTarget(core: Core, call: Pick<Call, 'def' | 'info' | 'query'>, kind: PodTarget['kind']): Promise<PodTarget> {
  const { def, info, query } = call
  const { entry } = await core.store.get(keyOf(def, info.namespace, info.name))
  if (!entry) throw notFound(def, info.name as string)
  const pod = objectOf(def, { text: entry.value, revision: entry.revision })
  const spec = (pod.spec ?? {}) as Record<'containers' | 'initContainers' | 'ephemeralContainers', { name: string }[] | undefined> & { nodeName?: string }
  if (!spec.nodeName) throw badRequest(`pod ${info.name} does not have a host assigned`)
  const target = { kind, namespace: info.namespace as string, pod: info.name as string, node: spec.nodeName, query }
  if (kind === 'portforward') return { ...target, container: undefined }
  const names = [...(spec.containers ?? []), ...(spec.initContainers ?? []), ...(spec.ephemeralContainers ?? [])].map((c) => c.name)
  const asked = query.get('container')
  if (asked) {
    if (!names.includes(asked)) throw badRequest(`container ${asked} is not valid for pod ${info.name}`)
    return { ...target, container: asked }
  }
  const preferred = pod.metadata.annotations?.['kubectl.kubernetes.io/default-container']
  if (preferred && names.includes(preferred)) return { ...target, container: preferred }
  if ((spec.containers ?? []).length > 1) {
    throw badRequest(`a container name must be specified for pod ${info.name}, choose one of: [${(spec.containers ?? []).map((c) => c.name).join(' ')}]`)
  }
  return { ...target, container: spec.containers?.[0]?.name }
}

