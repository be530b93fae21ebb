/**
 * The scale subresource: an `autoscaling/v1` Scale made of an object's replica fields, and written back into them. Who writes
 * through it owns the replicas in the object's own managedFields, under the name of this door.
 */
import type { ApiResponse } from '../api/contract.ts'
import { PATCH_TYPES } from '../api/contract.ts'
import { decode } from '../api/decode.ts'
import { apiVersionOf } from '../api/kinds.ts'
import { managedAfterUpdate, serverSideApply } from '../api/patch/mod.ts'
import { schemaOf } from '../api/schema-table.ts'
import { badRequest, fieldInvalid, invalid, notFound } from '../api/status.ts'
import { labelSelectorText } from '../api/selectors.ts'
import { since } from '../api/columns/column.ts'
import { cloneJson } from '../base/json.ts'
import { metaVersion } from './negotiate.ts'
import { mediaType, readObject } from './body.ts'
import { answer, stamp, type Call, type Core } from './core.ts'
import { inVersion } from './conversion.ts'
import { objectOf, type Stored } from './encode.ts'
import { schemaFor, versionsOf, writerOf } from './managed-fields.ts'
import { keyOf } from './resources.ts'
import type { Obj } from './stored-text.ts'
import { appliedBody, checkTyped } from './verbs/apply.ts'
import { checkWriteOptions, flag } from './verbs/options.ts'
import { patchOf } from './verbs/patch.ts'
import { changeObject } from './verbs/write.ts'

interface ScalePaths {
  readonly spec: string
  readonly status: string
  readonly selector?: string
}
const BUILTIN: ScalePaths = { spec: 'spec.replicas', status: 'status.replicas' }
const SCALE = { group: 'autoscaling', resource: 'scales', kind: 'Scale' }
const SCALE_VERSION = 'autoscaling/v1'

type Scale = Obj & { readonly spec?: { readonly replicas?: number } }

/** GET of a Scale. */
export async function scaleGet(core: Core, call: Call): Promise<ApiResponse> {
  const { def, info } = call
  const stored = await core.cache.read(keyOf(def, info.namespace, info.name))
  if (!stored) throw notFound(def, info.name as string)
  const [shown] = await inVersion(core, def, [stored], call.signal)
  return scaleAnswer(core, call, shown as Stored)
}

/** PUT of a Scale; its resourceVersion and uid are preconditions. */
export async function scaleUpdate(core: Core, call: Call): Promise<ApiResponse> {
  checkWriteOptions(call, 'UpdateOptions')
  const { sent, text } = await readObject(call)
  const scale = settled(call, sent, text)
  if (scale.metadata.name !== call.info.name) throw badRequest(`the name of the object (${scale.metadata.name ?? ''}) does not match the name on the URL (${call.info.name})`)
  return setReplicas(core, call, () => scale)
}

/** PATCH of a Scale, applies included. */
export async function scalePatch(core: Core, call: Call): Promise<ApiResponse> {
  if (mediaType(call.headers) === PATCH_TYPES.apply) return scaleApply(core, call)
  checkWriteOptions(call, 'PatchOptions')
  const change = await patchOf(call, schemaOf('Scale'))
  return setReplicas(core, call, (current) => settled(call, change(current)))
}

async function scaleApply(core: Core, call: Call): Promise<ApiResponse> {
  const { def, query } = call
  checkWriteOptions(call, 'PatchOptions', true)
  const scale = (await appliedBody(call, SCALE_VERSION, 'Scale')) as Scale
  checkTyped(call, scale, schemaOf('Scale'))
  const paths = pathsOf(call)
  // What a Scale says of its object is its replicas: the rest of it is the object's own.
  const part: Obj = { apiVersion: apiVersionOf(def), kind: def.kind, metadata: { name: call.info.name as string } }
  const { resourceVersion, uid } = scale.metadata
  if (scale.spec?.replicas !== undefined) writePath(part, paths.spec, checkedReplicas(call, scale.spec.replicas))
  const stored = await changeObject(core, throughMain(call), async (current) => {
    const next = serverSideApply(current, cloneJson(part), schemaFor(def), writerOf(call, stamp(core)), flag(query, 'force') ?? false, versionsOf(core.resources, def)) as Obj
    if (readPath(next, paths.spec) === undefined) writePath(next, paths.spec, readPath(current, paths.spec))
    return withPreconditions(next, resourceVersion, uid)
  }, { applied: true })
  return scaleAnswer(core, call, stored)
}

async function setReplicas(core: Core, call: Call, wanted: (current: Obj) => Scale): Promise<ApiResponse> {
  const { def } = call
  const paths = pathsOf(call)
  const stored = await changeObject(core, throughMain(call), async (object) => {
    const scale = wanted(scaleObject(object, paths, def.group, def.kind))
    const next = cloneJson(object)
    writePath(next, paths.spec, checkedReplicas(call, scale.spec?.replicas ?? 0))
    next.metadata.managedFields = managedAfterUpdate(object, next, schemaFor(def), writerOf(call, stamp(core)), versionsOf(core.resources, def))
    return withPreconditions(next, scale.metadata.resourceVersion, scale.metadata.uid)
  }, { applied: true })
  return scaleAnswer(core, call, stored)
}

/** The replicas are a field of the object like any other: its own rules hold. Webhooks are shown the Scale. */
function throughMain(call: Call): Call {
  const paths = pathsOf(call)
  const { def, info } = call
  return {
    ...call,
    info: { ...info, subresource: undefined },
    door: {
      subresource: 'scale',
      kind: { group: 'autoscaling', version: 'v1', kind: 'Scale' },
      show: (object) => scaleObject(object, paths, def.group, def.kind),
      write: (object, shown) => writePath(object, paths.spec, checkedReplicas(call, (shown as Scale).spec?.replicas ?? 0)),
    },
  }
}

function withPreconditions(next: Obj, resourceVersion: string | undefined, uid: string | undefined): Obj {
  if (resourceVersion) next.metadata.resourceVersion = resourceVersion
  if (uid) next.metadata.uid = uid
  return next
}

/** A sent or patched Scale, its types and fields checked. @throws ApiError 400, 422 */
function settled(call: Call, sent: unknown, text?: string): Scale {
  if (typeof sent !== 'object' || sent === null || Array.isArray(sent)) throw badRequest('Scale in version "v1" cannot be handled as a Scale: the body is not an object')
  const scale = sent as Scale
  if ((scale.kind ?? 'Scale') !== 'Scale') throw badRequest(`${scale.kind} in version ${JSON.stringify(scale.apiVersion ?? '')} cannot be handled as a Scale`)
  scale.metadata ??= {}
  const mode = call.query.get('fieldValidation') || 'Warn'
  const warnings = decode({ ...call.def, kind: 'Scale', version: 'v1' }, scale, { schema: 'Scale', validation: mode as 'Warn', text })
  for (const warning of warnings) if (!call.warnings.includes(warning)) call.warnings.push(warning)
  return scale
}

function checkedReplicas(call: Call, replicas: number): number {
  if (!(replicas >= 0)) throw invalid(SCALE, call.info.name as string, [fieldInvalid('spec.replicas', replicas, 'must be greater than or equal to 0')])
  return replicas
}

function pathsOf(call: Call): ScalePaths {
  const paths = call.def.custom ? call.def.custom.scale : BUILTIN
  if (!paths) throw badRequest(`${call.def.resource} has no scale subresource`)
  return paths
}

const COLUMNS = [
  { name: 'Name', type: 'string', format: 'name', description: 'Name of the object', priority: 0 },
  { name: 'Desired', type: 'integer', format: '', description: 'Desired number of replicas', priority: 0 },
  { name: 'Available', type: 'integer', format: '', description: 'Number of replicas there are', priority: 0 },
  { name: 'Age', type: 'string', format: '', description: 'Time since the object was created', priority: 0 },
]

function scaleAnswer(core: Core, call: Call, stored: Stored): ApiResponse {
  const scale = scaleObject(objectOf(call.def, stored), pathsOf(call), call.def.group, call.def.kind)
  if (call.accepted.shape === 'object') return answer(call, 200, JSON.stringify(scale))
  const partial = { kind: 'PartialObjectMetadata', apiVersion: metaVersion(call.accepted), metadata: scale.metadata }
  if (call.accepted.shape === 'meta') return answer(call, 200, JSON.stringify(partial))
  const { spec, status } = scale as unknown as { spec: { replicas: number }; status: { replicas: number } }
  const cells = [scale.metadata.name, spec.replicas, status.replicas, since(scale.metadata.creationTimestamp, core.clock.now())]
  return answer(call, 200, JSON.stringify({ kind: 'Table', apiVersion: metaVersion(call.accepted), metadata: { resourceVersion: scale.metadata.resourceVersion }, columnDefinitions: COLUMNS, rows: [{ cells, object: partial }] }))
}

function scaleObject(object: Obj, paths: ScalePaths, group: string, kind: string): Obj {
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata
  const selector = paths.selector === undefined ? selectorText(object, group, kind) : readPath(object, paths.selector)
  return {
    kind: 'Scale',
    apiVersion: SCALE_VERSION,
    metadata: JSON.parse(JSON.stringify({ name, namespace, uid, resourceVersion, creationTimestamp })) as Obj['metadata'],
    spec: { replicas: Number(readPath(object, paths.spec) ?? 0) },
    status: { replicas: Number(readPath(object, paths.status) ?? 0), ...(typeof selector === 'string' && selector !== '' ? { selector } : {}) },
  }
}

function selectorText(object: Obj, group: string, kind: string): string {
  const selector = (object.spec as { selector?: object } | undefined)?.selector
  if (!selector) return ''
  if (group === '' && kind === 'ReplicationController') return Object.entries(selector).map(([k, v]) => `${k}=${String(v)}`).join(',')
  return labelSelectorText(selector)
}

function readPath(object: Obj, path: string): unknown {
  let value: unknown = object
  for (const key of path.replace(/^\./, '').split('.')) value = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined
  return value
}

function writePath(object: Obj, path: string, value: unknown): void {
  const keys = path.replace(/^\./, '').split('.')
  let at: Record<string, unknown> = object
  for (const key of keys.slice(0, -1)) at = (at[key] ??= {}) as Record<string, unknown>
  at[keys.at(-1) as string] = value
}
