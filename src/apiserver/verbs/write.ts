/**
 * create, update and patch, for objects and their `status`-like subresources: decode, prepare metadata, default, admit,
 * validate, store by compare-and-swap. A write that changes nothing writes nothing. Patches are applied again on the newest
 * state when another writer came first.
 */
import type { ApiResponse } from '../../api/contract.ts'
import type { ManagedFieldsEntry } from '../../api/meta.ts'
import { alreadyExists, ApiError, badRequest, conflict, fieldInvalid, invalid, notFound } from '../../api/status.ts'
import { equal } from '../../api/patch/json-patch.ts'
import { hasCode } from '../../base/errors.ts'
import { cloneJson } from '../../base/json.ts'
import type { ResourceDef } from '../../api/kinds.ts'
import { bodyText, duplicateKeys, mediaType, readObject } from '../body.ts'
import { answer, isDryRun, stamp, type Call, type Core } from '../core.ts'
import { removable } from '../deletion.ts'
import { hasConverter, inVersion, textsOf } from '../conversion.ts'
import { encodeOne, objectOf, type Stored } from '../encode.ts'
import { checkCreate, checkUpdate, decodeObject } from '../kind-rules.ts'
import { beforeCreate, beforeUpdate } from '../strategies.ts'
import { keyOf } from '../resources.ts'
import type { Obj } from '../stored-text.ts'
import { managedAfterWrite } from '../managed-fields.ts'
import { checkWriteOptions } from './options.ts'

/** Random part of a generated name, as Kubernetes makes it: no vowels, no look-alikes. */
const NAME_LETTERS = 'bcdfghjklmnpqrstvwxz2456789'
const NAME_TRIES = 8
const WRITE_TRIES = 12
/** Events vanish after this long. */
const EVENT_TTL_SECONDS = 3_600
/** ... and until the next of these moments: those of a while end together, as each one by itself costs the disk several pages. */
const EVENT_STEP_SECONDS = 300
/** A longer text is stored without its managedFields, which can be as large as the object itself; characters. */
const MAX_OWNED = 1 << 20

/** Kinds that a PUT creates when they are missing, as Kubernetes has it. */
const CREATED_BY_UPDATE = new Set(['Endpoints', 'Event', 'EventsEvent', 'LimitRange', 'Service', 'Lease', 'Role', 'RoleBinding', 'ClusterRole', 'ClusterRoleBinding'])
/** Kinds whose PUT must name the resourceVersion it changes; so must those of all custom resources. */
const NEVER_UNCONDITIONAL = new Set([
  'Lease', 'PodDisruptionBudget', 'APIService', 'CustomResourceDefinition', 'FlowSchema', 'PriorityLevelConfiguration', 'CSINode', 'CSIDriver', 'VolumeAttachment',
  'RuntimeClass', 'ValidatingWebhookConfiguration', 'MutatingWebhookConfiguration', 'ValidatingAdmissionPolicy', 'ValidatingAdmissionPolicyBinding',
])

/** Read, change, write again while others write in between. */
export interface Change {
  /** The next state from the newest; the same object back (or `undefined`) means nothing to do. */
  (current: Obj): Promise<Obj | undefined>
}

export interface ChangeOptions {
  /** The change is a server-side apply: its managedFields are already right. */
  readonly applied?: boolean
  /** The change is the server's own and complete: no part of the old state is put back, no rule of updates applies, no field changes its owner. */
  readonly whole?: boolean
}

/** POST of one object. */
export async function create(core: Core, call: Call): Promise<ApiResponse> {
  const { def, info } = call
  checkWriteOptions(call, 'CreateOptions')
  const object = await sentObject(call)
  if (info.name !== undefined && info.subresource === undefined) throw badRequest('name must not be given in the path of a create')
  const stored = await createObject(core, call, object)
  if (def.served === 'stored') call.warnings.push(`${def.kind} is stored and served, but no controller of this server acts on it yet`)
  return answer(call, 201, encodeOne(call, stored, core.clock.now()))
}

/** The body of a write as an object of the call's kind. */
async function sentObject(call: Call): Promise<Obj> {
  const { sent, text } = await readObject(call)
  const { query, warnings } = call
  if (mediaType(call.headers).endsWith('yaml') && query.get('fieldValidation') !== 'Ignore') {
    const doubled = await duplicateKeys(bodyText(call.body))
    if (doubled !== undefined && query.get('fieldValidation') === 'Strict') return decodeObject(call, sent, text, [doubled])
    if (doubled !== undefined) warnings.push(doubled)
  }
  return decodeObject(call, sent, text)
}

/** @throws ApiError 400 when an object to be stored is of another name or namespace than the path */
export function checkNames(call: Call, object: Obj): void {
  const { info, def } = call
  const { name, namespace } = object.metadata
  if (!name) throw badRequest(`the name of the object (${info.name} based on URL) was undeterminable: name must be provided`)
  if (name !== info.name) throw badRequest(`the name of the object (${name}) does not match the name on the URL (${info.name})`)
  if (def.namespaced && namespace && namespace !== info.namespace) throw badRequest(`the namespace of the object (${namespace}) does not match the namespace on the request (${info.namespace})`)
}

/** Creates `object` (already decoded) as the caller; for create, apply and the server's own first objects. */
export async function createObject(core: Core, call: Call, object: Obj, options: Pick<ChangeOptions, 'applied'> = {}): Promise<Stored> {
  const { def, info, query } = call
  const meta = object.metadata
  if (meta.resourceVersion) throw badRequest('resourceVersion should not be set on objects to be created')
  if (def.namespaced) {
    if (meta.namespace !== undefined && meta.namespace !== '' && meta.namespace !== info.namespace) {
      throw badRequest('the namespace of the provided object does not match the namespace sent on the request')
    }
    if (!info.namespace) throw badRequest('an empty namespace may not be set during creation')
    meta.namespace = info.namespace
  } else delete meta.namespace
  const generated = !meta.name && !!meta.generateName
  const now = stamp(core)
  for (let attempt = 0; ; attempt++) {
    if (generated) meta.name = generateName(meta.generateName as string)
    // A generated name may be taken, and then all begins anew from what was sent.
    const next: Obj = generated ? cloneJson(object) : object
    next.metadata.uid = crypto.randomUUID()
    next.metadata.creationTimestamp = now
    delete next.metadata.deletionTimestamp
    delete next.metadata.deletionGracePeriodSeconds
    delete next.metadata.selfLink
    beforeCreate(core, call, next)
    // What admission adds is nobody's.
    const owners = options.applied ? (object.metadata.managedFields ?? []) : managedAfterWrite(core, call, undefined, next, now)
    setManaged(next, owners)
    await core.admission.admit({ core, call, verb: 'create', object: next, old: undefined })
    checkCreate(call, next)
    await core.admission.validate({ core, call, verb: 'create', object: next, old: undefined })
    setManaged(next, owners)
    const key = keyOf(def, info.namespace, next.metadata.name as string)
    const { text, shown } = await boundedTexts(core, call, next)
    if (isDryRun(query)) {
      if ((await core.store.get(key)).entry) throw alreadyExists(def, next.metadata.name as string)
      return { text: shown, revision: 0 }
    }
    try {
      const revision = await core.store.put(key, text, 0, lifeOf(core, def))
      await core.admission.after({ core, call, verb: 'create', object: next, old: undefined }, revision)
      return { text: shown, revision }
    } catch (error) {
      if (!hasCode(error, 'exists')) throw error
      if (!generated) throw alreadyExists(def, next.metadata.name as string)
      if (attempt >= NAME_TRIES) throw noUniqueName(def, next.metadata.name as string)
    }
  }
}

/** PUT of one object or of one of its status-like parts. */
export async function update(core: Core, call: Call): Promise<ApiResponse> {
  const { def, info } = call
  checkWriteOptions(call, 'UpdateOptions')
  const sent = await sentObject(call)
  checkNames(call, sent)
  const { resourceVersion } = sent.metadata
  const blind = resourceVersion === undefined || resourceVersion === '' || resourceVersion === '0'
  try {
    const stored = await changeObject(core, call, async () => {
      if (blind && (def.custom !== undefined || NEVER_UNCONDITIONAL.has(def.schema))) {
        throw invalid({ ...def, kind: def.resource }, info.name as string, [fieldInvalid('metadata.resourceVersion', 0, 'must be specified for an update')])
      }
      return cloneJson(sent)
    })
    return answer(call, 200, encodeOne(call, stored, core.clock.now()))
  } catch (error) {
    const absent = error instanceof ApiError && error.status.reason === 'NotFound' && error.status.details?.name === info.name
    // As if there were one without a uid.
    if (absent && sent.metadata.uid) throw conflict(def, info.name as string, `Precondition failed: UID in precondition: ${sent.metadata.uid}, UID in object meta: `)
    if (!absent || def.custom || info.subresource !== undefined || !CREATED_BY_UPDATE.has(def.schema) || !blind) throw error
  }
  const { uid: _uid, ...metadata } = sent.metadata
  delete metadata.resourceVersion
  const stored = await createObject(core, { ...call, info: { ...info, verb: 'create' } }, { ...sent, metadata })
  return answer(call, 201, encodeOne(call, stored, core.clock.now()))
}

/**
 * Applies `change` to the newest state and stores the result. A resourceVersion or uid in the result is a precondition.
 * @throws ApiError 404, 409 (precondition, or {@link WRITE_TRIES} other writers in a row), 422
 */
export async function changeObject(core: Core, call: Call, change: Change, options: ChangeOptions = {}): Promise<Stored> {
  const { def, info, query } = call
  const name = info.name as string
  const key = keyOf(def, info.namespace, name)
  for (let attempt = 0; ; attempt++) {
    const current = await core.cache.read(key)
    if (!current) throw notFound(def, name)
    const seen = hasConverter(def) ? ((await inVersion(core, def, [current], call.signal))[0] as Stored) : current
    const old = objectOf(def, seen)
    const sent = await change(cloneJson(old))
    if (!sent) return seen
    const wanted = sent.metadata.resourceVersion
    if (wanted !== undefined && wanted !== '' && wanted !== '0' && wanted !== old.metadata.resourceVersion) throw conflict(def, name)
    if (sent.metadata.uid && sent.metadata.uid !== old.metadata.uid) {
      throw conflict(def, name, `Precondition failed: UID in precondition: ${sent.metadata.uid}, UID in object meta: ${old.metadata.uid}`)
    }
    const now = stamp(core)
    const ownersOf = (next: Obj): ManagedFieldsEntry[] =>
      options.applied ? (sent.metadata.managedFields ?? []) : options.whole ? (old.metadata.managedFields ?? []) : managedAfterWrite(core, call, old, next, now)
    const next = await nextState(core, call, old, sent, options.whole ?? false, ownersOf)
    const { text, shown } = await boundedTexts(core, call, next)
    if (text === current.text || isReordered(text, current.text)) return seen
    if (isDryRun(query)) return { text: shown, revision: current.revision }
    const event = { core, call, verb: 'update' as const, object: next, old }
    try {
      if (removable(def, next)) {
        const revision = await core.store.delete(key, current.revision)
        await core.admission.after({ ...event, verb: 'delete' }, revision)
        return { text: shown, revision }
      }
      const revision = await core.store.put(key, text, current.revision, lifeOf(core, def))
      await core.admission.after(event, revision)
      return { text: shown, revision }
    } catch (error) {
      if (hasCode(error, 'not-found')) throw notFound(def, name)
      if (!hasCode(error, 'conflict')) throw error
      if (attempt >= WRITE_TRIES) throw conflict(def, name)
    }
  }
}

/** How long an object is kept by itself: Events are, an hour at least. */
function lifeOf({ clock }: Core, def: ResourceDef): { ttlSeconds?: number } {
  if (def.storage !== 'events') return {}
  const end = Math.ceil(clock.now() / 1000) + EVENT_TTL_SECONDS
  return { ttlSeconds: EVENT_TTL_SECONDS + ((EVENT_STEP_SECONDS - (end % EVENT_STEP_SECONDS)) % EVENT_STEP_SECONDS) }
}

/** Whether two texts say the same in another order of keys: what other clients send is no change either. Neither text has spaces. */
function isReordered(a: string, b: string): boolean {
  return a.length === b.length && equal(JSON.parse(a), JSON.parse(b))
}

/** The state to store: server-owned fields from the old one, the part that the door (subresource) owns from the new one. */
async function nextState(core: Core, call: Call, old: Obj, next: Obj, whole: boolean, ownersOf: (next: Obj) => ManagedFieldsEntry[]): Promise<Obj> {
  const keep = old.metadata
  const meta = next.metadata
  for (const field of ['name', 'namespace', 'uid', 'creationTimestamp', 'deletionTimestamp', 'deletionGracePeriodSeconds', 'generation', 'generateName'] as const) {
    if (keep[field] === undefined) delete meta[field]
    else Object.assign(meta, { [field]: keep[field] })
  }
  delete meta.selfLink
  if (!whole) beforeUpdate(core, call, next, old)
  // What admission adds is nobody's.
  const owners = ownersOf(next)
  setManaged(next, owners)
  await core.admission.admit({ core, call, verb: 'update', object: next, old })
  if (!whole) checkUpdate(call, next, old)
  await core.admission.validate({ core, call, verb: 'update', object: next, old })
  setManaged(next, owners)
  return next
}

function setManaged(object: Obj, entries: ManagedFieldsEntry[]): void {
  if (entries.length > 0) object.metadata.managedFields = entries
  else delete object.metadata.managedFields
}

/** The texts to store and to answer with, without the owners of fields when these make it too long. */
async function boundedTexts(core: Core, { def, signal }: Call, object: Obj): ReturnType<typeof textsOf> {
  const texts = await textsOf(core, def, object, signal)
  if (texts.text.length <= MAX_OWNED || object.metadata.managedFields === undefined) return texts
  delete object.metadata.managedFields
  return textsOf(core, def, object, signal)
}

function noUniqueName(def: ResourceDef, name: string): ApiError {
  const { status } = alreadyExists(def, name)
  return new ApiError({ ...status, message: `${status.message}, the server was not able to generate a unique name for the object`, details: { ...status.details, retryAfterSeconds: 1 } })
}

function generateName(base: string): string {
  const random = crypto.getRandomValues(new Uint8Array(5))
  return base.slice(0, 58) + [...random].map((n) => NAME_LETTERS[n % NAME_LETTERS.length]).join('')
}
