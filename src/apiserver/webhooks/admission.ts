/**
 * Mutating and validating admission webhooks. Mutating ones run one after another, by the name of their configuration, and
 * once more where they ask for it (`reinvocationPolicy`) and the object changed after them; validating ones run together.
 * The server's own writes pass by, so that no webhook can keep it from starting.
 */
import type { MutatingWebhook } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import { applyJsonPatch } from '../../api/patch/mod.ts'
import { ApiError, badRequest, internalError } from '../../api/status.ts'
import { messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { SELF } from '../bootstrap.ts'
import type { AdmissionEvent, AdmissionPlugin } from '../admission/chain.ts'
import type { Conditions } from '../cel/conditions.ts'
import { isDryRun, type Core } from '../core.ts'
import { decodeObject } from '../kind-rules.ts'
import { keyOf, storageName } from '../resources.ts'
import type { Obj } from '../stored-text.ts'
import { post } from './call.ts'
import { concerns, type Facts } from './match.ts'

const log = logger('apiserver.webhooks')
const DEFAULT_TIMEOUT_S = 10
const MAX_WARNINGS = 20

type Kind = 'mutating' | 'validating'
const CONFIGS = { mutating: KINDS.MutatingWebhookConfiguration, validating: KINDS.ValidatingWebhookConfiguration } as const

interface Hook {
  readonly hook: MutatingWebhook
  conditions?: Promise<Conditions>
}
interface Review {
  readonly response?: { readonly uid?: string; readonly allowed?: boolean; readonly status?: ConstructorParameters<typeof ApiError>[0]; readonly patchType?: string; readonly patch?: string; readonly warnings?: string[] }
}

/** Hooks of one server by kind, remade when a configuration changed. */
const hooksOf = new WeakMap<Core, Partial<Record<Kind, { version: number; hooks: Hook[] }>>>()

export const mutatingWebhooks: AdmissionPlugin = {
  name: 'MutatingAdmissionWebhook',
  async admit(event) {
    const hooks = await concerned(event, 'mutating')
    if (hooks.length === 0) return
    const again: { hook: Hook; seen: string }[] = []
    for (const hook of hooks) {
      await mutate(event, hook)
      if (hook.hook.reinvocationPolicy === 'IfNeeded') again.push({ hook, seen: JSON.stringify(event.object) })
    }
    for (const { hook, seen } of again) if (JSON.stringify(event.object) !== seen) await mutate(event, hook)
  },
  // A delete has nothing to change, but its mutating webhooks may still refuse it.
  async validate(event) {
    if (event.verb !== 'delete') return
    for (const hook of await concerned(event, 'mutating')) await ask(event, hook)
  },
}

export const validatingWebhooks: AdmissionPlugin = {
  name: 'ValidatingAdmissionWebhook',
  async validate(event) {
    const hooks = await concerned(event, 'validating')
    const answers = await Promise.allSettled(hooks.map((hook) => ask(event, hook)))
    const refused = answers.find((a) => a.status === 'rejected')
    if (refused) throw refused.reason
  },
}

async function mutate(event: AdmissionEvent, hook: Hook): Promise<void> {
  const response = await ask(event, hook)
  if (!response?.patch) return
  const { name } = hook.hook
  try {
    if (response.patchType !== 'JSONPatch') throw new Error(`patchType ${JSON.stringify(response.patchType)} is not "JSONPatch"`)
    const patched = applyJsonPatch(structuredClone(event.object), JSON.parse(Buffer.from(response.patch, 'base64').toString()) as unknown)
    const { query } = event.call
    // What a webhook adds is no field of the caller's: it is not told of it.
    const next = decodeObject({ ...event.call, query: new URLSearchParams({ ...Object.fromEntries(query), fieldValidation: 'Ignore' }) }, patched)
    for (const key of Object.keys(event.object)) delete event.object[key]
    Object.assign(event.object, next)
  } catch (error) {
    fails(hook, `failed calling webhook "${name}": the patch does not fit: ${messageOf(error)}`)
  }
}

/** The hooks that a write concerns, in the order of their configurations' names. */
async function concerned(event: AdmissionEvent, kind: Kind): Promise<Hook[]> {
  const { core, call, verb, object, old } = event
  const cache = core.cache.resource(storageName(CONFIGS[kind]))
  // A configuration that could refuse its own repair would lock everybody out.
  if (cache.size === 0 || call.user === SELF || call.def.group === 'admissionregistration.k8s.io') return []
  const isNamespace = call.def === KINDS.Namespace
  const namespace = object.metadata.namespace
  const facts: Facts = {
    def: call.def,
    subresource: call.info.subresource,
    operation: verb === 'create' ? 'CREATE' : verb === 'update' ? 'UPDATE' : 'DELETE',
    labels: object.metadata.labels,
    oldLabels: old?.metadata.labels,
    hasObject: verb !== 'delete',
    hasOld: old !== undefined,
    namespaceLabels: isNamespace ? (object.metadata.labels ?? {}) : namespace ? (core.cache.resource('namespaces').get(keyOf(KINDS.Namespace, undefined, namespace))?.parsed().metadata.labels ?? {}) : undefined,
  }
  const found: Hook[] = []
  for (const hook of load(core, kind)) if (concerns(hook.hook, facts) && (await conditionsHold(event, hook))) found.push(hook)
  return found
}

function load(core: Core, kind: Kind): readonly Hook[] {
  const cache = core.cache.resource(storageName(CONFIGS[kind]))
  let mine = hooksOf.get(core)
  if (!mine) hooksOf.set(core, (mine = {}))
  const known = mine[kind]
  if (known?.version === cache.version) return known.hooks
  const hooks = [...cache.scan()].flatMap((e) => (e.parsed() as { webhooks?: MutatingWebhook[] }).webhooks ?? []).map((hook): Hook => ({ hook }))
  mine[kind] = { version: cache.version, hooks }
  return hooks
}

async function conditionsHold(event: AdmissionEvent, hook: Hook): Promise<boolean> {
  const conditions = hook.hook.matchConditions
  if (!conditions?.length) return true
  try {
    hook.conditions ??= import('../cel/conditions.ts').then((m) => m.compileConditions(conditions))
    return (await hook.conditions).hold({ object: event.verb === 'delete' ? undefined : event.object, oldObject: event.old, request: requestOf(event, '') })
  } catch (error) {
    fails(hook, `failed calling webhook "${hook.hook.name}": ${messageOf(error)}`)
    return false
  }
}

/** Calls one webhook. undefined when it failed and may fail. @throws ApiError when it denies, or fails and must not */
async function ask(event: AdmissionEvent, hook: Hook): Promise<Review['response']> {
  const { core, call } = event
  const { name, clientConfig, sideEffects, timeoutSeconds } = hook.hook
  if (isDryRun(call.query) && sideEffects !== 'None' && sideEffects !== 'NoneOnDryRun') throw badRequest(`admission webhook "${name}" does not support dry run`)
  const uid = crypto.randomUUID()
  let response: Review['response']
  try {
    const review = { kind: 'AdmissionReview', apiVersion: 'admission.k8s.io/v1', request: requestOf(event, uid) }
    const answer = (await post(clientConfig, review, { timeoutMs: (timeoutSeconds ?? DEFAULT_TIMEOUT_S) * 1_000, clock: core.clock, signal: call.signal })) as Review | null
    response = answer?.response
    if (response?.uid !== uid) throw new Error(`expected response.uid="${uid}", got "${response?.uid ?? ''}"`)
    if (typeof response.allowed !== 'boolean') throw new Error('the answer has no response.allowed')
  } catch (error) {
    call.signal.throwIfAborted()
    fails(hook, `failed calling webhook "${name}": ${messageOf(error)}`)
    return undefined
  }
  for (const warning of (Array.isArray(response.warnings) ? response.warnings : []).slice(0, MAX_WARNINGS)) if (!call.warnings.includes(String(warning))) call.warnings.push(String(warning))
  if (response.allowed) return response
  const status = response.status ?? {}
  const why = status.message ? `: ${status.message}` : status.reason ? `: ${status.reason}` : ' without explanation'
  throw new ApiError({ ...status, kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message: `admission webhook "${name}" denied the request${why}`, code: (status.code ?? 0) < 400 ? 400 : (status.code as number) })
}

/** What a failed call means by the webhook's policy. @throws ApiError 500 unless failures are ignored */
function fails({ hook }: Hook, message: string): void {
  if (hook.failurePolicy !== 'Ignore') throw internalError(message)
  log.warn('webhook failed, ignored as it asks', { webhook: hook.name, message })
}

function requestOf({ call, verb, object, old }: AdmissionEvent, uid: string): object {
  const { def, info, user, query } = call
  const kind = { group: def.group, version: def.version, kind: def.kind }
  const resource = { group: def.group, version: def.version, resource: def.resource }
  const sub = info.subresource === undefined ? {} : { subResource: info.subresource, requestSubResource: info.subresource }
  const gvk = (o: Obj | undefined): object | null => (o ? { apiVersion: def.group === '' ? def.version : `${def.group}/${def.version}`, ...o, kind: def.kind } : null)
  return {
    uid,
    kind,
    resource,
    ...sub,
    requestKind: kind,
    requestResource: resource,
    name: object.metadata.name ?? '',
    ...(object.metadata.namespace || def === KINDS.Namespace ? { namespace: object.metadata.namespace ?? object.metadata.name } : {}),
    operation: verb === 'create' ? 'CREATE' : verb === 'update' ? 'UPDATE' : 'DELETE',
    userInfo: { username: user.name, ...(user.uid === undefined ? {} : { uid: user.uid }), groups: user.groups, ...(user.extra ? { extra: user.extra } : {}) },
    object: verb === 'delete' ? null : gvk(object),
    oldObject: gvk(old),
    dryRun: isDryRun(query),
    options: { kind: verb === 'create' ? 'CreateOptions' : verb === 'update' ? 'UpdateOptions' : 'DeleteOptions', apiVersion: 'meta.k8s.io/v1' },
  }
}
