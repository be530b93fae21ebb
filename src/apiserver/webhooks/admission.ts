/**
 * Mutating and validating admission webhooks. Mutating ones run one after another, by the name of their configuration, and
 * once more where they ask for it (`reinvocationPolicy`) and the object changed after them; validating ones run together.
 * The server's own writes pass by, so that no webhook can keep it from starting.
 */
import type { MutatingWebhook } from '../../api/gen/types.ts'
import { KINDS, type ResourceDef } from '../../api/kinds.ts'
import { applyJsonPatch } from '../../api/patch/mod.ts'
import { ApiError, badRequest, internalError } from '../../api/status.ts'
import { messageOf } from '../../base/errors.ts'
import { cloneJson } from '../../base/json.ts'
import { logger } from '../../base/log.ts'
import { annotate } from '../audit/annotations.ts'
import { SELF } from '../bootstrap.ts'
import type { AdmissionEvent, AdmissionPlugin } from '../admission/chain.ts'
import type { Conditions, Input } from '../cel/conditions.ts'
import { convertObject } from '../conversion.ts'
import { isDryRun, type Call, type Core } from '../core.ts'
import { decodeObject } from '../kind-rules.ts'
import { keyOf, storageName } from '../resources.ts'
import type { Obj } from '../stored-text.ts'
import { post } from './call.ts'
import { concerns, type Facts } from './match.ts'
import { wayTo } from './reach.ts'
import { admissionRequest, OPERATIONS, type View } from './review.ts'

const log = logger('apiserver.webhooks')
const DEFAULT_TIMEOUT_S = 10
const MAX_WARNINGS = 20

type Kind = 'mutating' | 'validating'
const CONFIGS = { mutating: KINDS.MutatingWebhookConfiguration, validating: KINDS.ValidatingWebhookConfiguration } as const

interface Hook {
  readonly hook: MutatingWebhook
  readonly configuration: string
  conditions?: Promise<Conditions>
}
/** A hook that a write concerns, and the version it is shown in. */
interface Due {
  readonly hook: Hook
  readonly shown: ResourceDef
}
interface Response {
  readonly uid?: string
  readonly allowed?: boolean
  readonly status?: ConstructorParameters<typeof ApiError>[0]
  readonly patchType?: string
  readonly patch?: string
  readonly warnings?: string[]
  readonly auditAnnotations?: Record<string, string>
}

/** Hooks of one server by kind, remade when a configuration changed. */
const hooksOf = new WeakMap<Core, Partial<Record<Kind, { version: number; hooks: Hook[] }>>>()
/** Of the writes under way: hooks that want to see later changes, and the object as they left it. */
const seenBy = new WeakMap<object, Map<Hook, string>>()

/** The write as it shows at its door: a Scale for what is written through `scale`. */
function atDoor(event: AdmissionEvent): AdmissionEvent {
  const { call } = event
  const { door } = call
  if (!door || event.kind) return event
  const { old } = event
  return { ...event, call: { ...call, info: { ...call.info, subresource: door.subresource } }, kind: door.kind, object: door.show(event.object), old: old && door.show(old) }
}

export const mutatingWebhooks: AdmissionPlugin = {
  name: 'MutatingAdmissionWebhook',
  admit: (event, again) => (isConfigured(event, 'mutating') ? admitAtDoor(event, again) : false),
  // A delete has nothing to change, but its mutating webhooks may still refuse it.
  validate: (event) => (event.verb === 'delete' && isConfigured(event, 'mutating') ? refuseDelete(event) : undefined),
}

async function admitAtDoor(event: AdmissionEvent, again: boolean): Promise<boolean> {
  const shown = atDoor(event)
  if (shown === event) return admitAll(event, again)
  if (await admitAll(shown, again)) event.call.door?.write(event.object, shown.object)
  return false
}

async function refuseDelete(event: AdmissionEvent): Promise<void> {
  for (const [index, one] of (await concerned(event, 'mutating')).entries()) await ask(event, one, 'mutation', `round_0_index_${index}`)
}

/** All mutating webhooks that a write concerns. True: one of them changed it. */
async function admitAll(event: AdmissionEvent, again: boolean): Promise<boolean> {
  const due = await concerned(event, 'mutating')
  if (due.length === 0) return false
  const seen = again ? (seenBy.get(event.object) ?? new Map<Hook, string>()) : new Map<Hook, string>()
  seenBy.set(event.object, seen)
  const before = JSON.stringify(event.object)
  for (const [index, one] of due.entries()) {
    const known = seen.get(one.hook)
    if (again && (known === undefined || known === JSON.stringify(event.object))) continue
    await mutate(event, one, `round_${again ? 1 : 0}_index_${index}`)
    if (one.hook.hook.reinvocationPolicy === 'IfNeeded') seen.set(one.hook, JSON.stringify(event.object))
  }
  return JSON.stringify(event.object) !== before
}

export const validatingWebhooks: AdmissionPlugin = {
  name: 'ValidatingAdmissionWebhook',
  validate: (written) => (isConfigured(written, 'validating') ? validateAll(atDoor(written)) : undefined),
}

async function validateAll(event: AdmissionEvent): Promise<void> {
  const due = await concerned(event, 'validating')
  if (due.length === 0) return
  const answers = await Promise.allSettled(due.map((one, index) => ask(event, one, 'validating', `round_0_index_${index}`)))
  const refused = answers.find((a) => a.status === 'rejected')
  if (refused) throw refused.reason
}

/** False, as in most clusters: there is no webhook of this kind at all. */
function isConfigured({ core }: AdmissionEvent, kind: Kind): boolean {
  return core.cache.resource(storageName(CONFIGS[kind])).size > 0
}

/** What is created at a door and never kept: a Binding, an Eviction, a TokenRequest; webhooks may change it. @throws ApiError when one refuses */
export function admitSent(core: Core, call: Call, object: Obj, group: string, kind: string): Promise<void> {
  return admitConnect({ core, call, verb: 'create', object, old: undefined, kind: { group, version: 'v1', kind } })
}

/** A stream or a proxied request about to be opened: webhooks may refuse it. @throws ApiError */
export async function admitConnect(event: AdmissionEvent): Promise<void> {
  await mutatingWebhooks.admit?.(event, false)
  await validatingWebhooks.validate?.(event)
}

async function mutate(event: AdmissionEvent, due: Due, place: string): Promise<void> {
  const { hook, shown } = due
  const { core, call } = event
  const view = await viewOf(event, shown)
  const response = await ask(event, due, 'mutation', place, view)
  const note = (mutated: boolean): void => annotate(call.query, `mutation.webhook.admission.k8s.io/${place}`, JSON.stringify({ configuration: hook.configuration, webhook: hook.hook.name, mutated }))
  if (!response?.patch) {
    if (response) note(false)
    return
  }
  const { name } = hook.hook
  try {
    if (response.patchType !== 'JSONPatch') throw new Error(`patchType ${JSON.stringify(response.patchType)} is not "JSONPatch"`)
    const patched = applyJsonPatch(cloneJson(view.object), JSON.parse(Buffer.from(response.patch, 'base64').toString()) as unknown) as Obj
    const changed = shown === call.def || event.kind ? patched : await convertObject(core, shown, call.def, patched, call.signal)
    // What a webhook adds is no field of the caller's: it is not told of it.
    const query = new URLSearchParams({ ...Object.fromEntries(call.query), fieldValidation: 'Ignore' })
    const next = event.kind ? changed : decodeObject({ ...call, query }, changed)
    const before = JSON.stringify(event.object)
    for (const key of Object.keys(event.object)) delete event.object[key]
    Object.assign(event.object, next)
    note(JSON.stringify(event.object) !== before)
  } catch (error) {
    fails(event, hook, 'mutation', place, `failed calling webhook "${name}": the patch does not fit: ${messageOf(error)}`)
  }
}

/** The write in the version of `shown`. */
async function viewOf({ core, call, object, old, verb, kind }: AdmissionEvent, shown: ResourceDef): Promise<View> {
  // Options and Scales are the same for every version of what they belong to.
  const as = async (o: Obj | undefined): Promise<Obj | undefined> => (o && shown !== call.def && !kind ? convertObject(core, call.def, shown, cloneJson(o), call.signal) : o)
  return { def: shown, object: verb === 'delete' ? undefined : await as(object), old: await as(old) }
}

/** The hooks that a write concerns, in the order of their configurations' names. */
async function concerned(event: AdmissionEvent, kind: Kind): Promise<Due[]> {
  const { core, call, verb, object, old } = event
  const cache = core.cache.resource(storageName(CONFIGS[kind]))
  // A configuration that could refuse its own repair would lock everybody out.
  if (cache.size === 0 || call.user === SELF || call.def.group === 'admissionregistration.k8s.io') return []
  const isNamespace = call.def === KINDS.Namespace
  const namespace = isNamespace ? undefined : (call.info.namespace ?? object.metadata.namespace)
  const facts: Facts = {
    def: call.def,
    equivalents: core.resources.all.filter((d) => d !== call.def && d.storage !== '' && d.storage === call.def.storage && (call.info.subresource === undefined || d.subresources.some((s) => s.name === call.info.subresource))),
    subresource: call.info.subresource,
    operation: OPERATIONS[verb],
    labels: object.metadata?.labels,
    oldLabels: old?.metadata.labels,
    hasObject: verb !== 'delete',
    hasOld: old !== undefined,
    namespaceLabels: isNamespace ? (object.metadata.labels ?? {}) : namespace ? (core.cache.resource('namespaces').get(keyOf(KINDS.Namespace, undefined, namespace))?.parsed().metadata.labels ?? {}) : undefined,
  }
  const found: Due[] = []
  for (const [index, hook] of load(core, kind).entries()) {
    const shown = concerns(hook.hook, facts)
    if (shown && (await conditionsHold(event, hook, shown, kind, `round_0_index_${index}`))) found.push({ hook, shown })
  }
  return found
}

function load(core: Core, kind: Kind): readonly Hook[] {
  const cache = core.cache.resource(storageName(CONFIGS[kind]))
  let mine = hooksOf.get(core)
  if (!mine) hooksOf.set(core, (mine = {}))
  const known = mine[kind]
  if (known?.version === cache.version) return known.hooks
  const hooks = [...cache.scan()].flatMap((e) => ((e.parsed() as { webhooks?: MutatingWebhook[] }).webhooks ?? []).map((hook): Hook => ({ hook, configuration: e.name })))
  mine[kind] = { version: cache.version, hooks }
  return hooks
}

async function conditionsHold(event: AdmissionEvent, hook: Hook, shown: ResourceDef, kind: Kind, place: string): Promise<boolean> {
  const conditions = hook.hook.matchConditions
  if (!conditions?.length) return true
  try {
    hook.conditions ??= import('../cel/conditions.ts').then((m) => m.compileConditions(conditions))
    const view = await viewOf(event, shown)
    return (await hook.conditions).hold({ object: view.object, oldObject: view.old, request: admissionRequest(event, view, ''), ...questions(event) })
  } catch (error) {
    fails(event, hook, kind === 'mutating' ? 'mutation' : 'validating', place, `failed calling webhook "${hook.hook.name}": ${messageOf(error)}`)
    return false
  }
}

/** What conditions may ask of the authorizer, for the user of the request or a service account. */
function questions({ core, call }: AdmissionEvent): Pick<Input, 'ask' | 'requested'> {
  const { def, info, user } = call
  const part = <K extends string>(key: K, value: string | undefined): { [P in K]?: string } => (value === undefined || value === '' ? {} : ({ [key]: value } as { [P in K]: string }))
  return {
    requested: { group: def.group, resource: def.resource, ...part('subresource', info.subresource), ...part('namespace', info.namespace), ...part('name', info.name) },
    ask({ serviceAccount, path, group, resource, verb, ...rest }) {
      const who = serviceAccount === undefined ? user : { name: serviceAccount, groups: ['system:serviceaccounts', `system:serviceaccounts:${serviceAccount.split(':')[2] ?? ''}`, 'system:authenticated'] }
      const attributes = path === undefined ? { verb: verb ?? '', group: group ?? '', resource: resource ?? '', ...rest } : { verb: verb ?? '', path }
      const { allowed } = core.authorizer.authorize(who, attributes)
      return { allowed, reason: '' }
    },
  }
}

/** Calls one webhook. undefined when it failed and may fail. @throws ApiError when it denies, or fails and must not */
async function ask(event: AdmissionEvent, { hook, shown }: Due, phase: 'mutation' | 'validating', place: string, known?: View): Promise<Response | undefined> {
  const { core, call } = event
  const { name, clientConfig, sideEffects, timeoutSeconds, admissionReviewVersions } = hook.hook
  if (isDryRun(call.query) && sideEffects !== 'None' && sideEffects !== 'NoneOnDryRun') throw badRequest(`admission webhook "${name}" does not support dry run`)
  const uid = crypto.randomUUID()
  const version = admissionReviewVersions.find((v) => v === 'v1' || v === 'v1beta1') ?? 'v1'
  let response: Response | undefined
  try {
    const view = known ?? (await viewOf(event, shown))
    const review = { kind: 'AdmissionReview', apiVersion: `admission.k8s.io/${version}`, request: admissionRequest(event, view, uid) }
    const options = { timeoutMs: (timeoutSeconds ?? DEFAULT_TIMEOUT_S) * 1_000, clock: core.clock, signal: call.signal }
    const answer = (await post(wayTo(core, clientConfig), clientConfig, review, options).catch((error: unknown) => {
      throw new Error(`failed to call webhook: ${messageOf(error)}`)
    })) as { response?: Response; apiVersion?: string; kind?: string } | null
    if (answer?.kind !== 'AdmissionReview' || answer.apiVersion !== review.apiVersion) throw new Error(`expected webhook response of ${review.apiVersion}, Kind=AdmissionReview, got ${answer?.apiVersion ?? ''}, Kind=${answer?.kind ?? ''}`)
    response = answer.response
    if (!response) throw new Error('the answer has no response')
    // The old review did not have to say which request it answers.
    if (response.uid !== uid && (version === 'v1' || response.uid)) throw new Error(`expected response.uid="${uid}", got "${response.uid ?? ''}"`)
    if (typeof response.allowed !== 'boolean') throw new Error('the answer has no response.allowed')
    if (version === 'v1beta1' && response.patch && !response.patchType) response = { ...response, patchType: 'JSONPatch' }
  } catch (error) {
    call.signal.throwIfAborted()
    fails(event, hook, phase, place, `failed calling webhook "${name}": ${messageOf(error)}`)
    return undefined
  }
  for (const [key, value] of Object.entries(response.auditAnnotations ?? {})) annotate(call.query, `${name}/${key}`, String(value))
  for (const warning of (Array.isArray(response.warnings) ? response.warnings : []).slice(0, MAX_WARNINGS)) if (!call.warnings.includes(String(warning))) call.warnings.push(String(warning))
  if (response.allowed) return response
  const status = response.status ?? {}
  const why = status.message ? `: ${status.message}` : status.reason ? `: ${status.reason}` : ' without explanation'
  throw new ApiError({ ...status, kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message: `admission webhook "${name}" denied the request${why}`, code: (status.code ?? 0) < 400 ? 400 : (status.code as number) })
}

/** What a failed call means by the webhook's policy. @throws ApiError 500 unless failures are ignored */
function fails({ call }: AdmissionEvent, { hook }: Hook, phase: 'mutation' | 'validating', place: string, message: string): void {
  if (hook.failurePolicy !== 'Ignore') throw internalError(message)
  annotate(call.query, `failed-open.${phase}.webhook.admission.k8s.io/${place}`, hook.name)
  log.warn('webhook failed, ignored as it asks', { webhook: hook.name, message })
}
