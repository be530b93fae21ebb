/** The scale subresource: an `autoscaling/v1` Scale made of an object's replica fields, and written back into them. */
import type { ApiResponse } from '../api/contract.ts'
import { badRequest, fieldInvalid, invalid, notFound } from '../api/status.ts'
import { labelSelectorText } from '../api/selectors.ts'
import { readObject } from './body.ts'
import { answer, type Call, type Core } from './core.ts'
import { objectOf, type Stored } from './encode.ts'
import { keyOf } from './resources.ts'
import type { Obj } from './stored-text.ts'
import { applyPatch } from './verbs/patch.ts'
import { changeObject } from './verbs/write.ts'

interface ScalePaths {
  readonly spec: string
  readonly status: string
  readonly selector?: string
}
const BUILTIN: ScalePaths = { spec: 'spec.replicas', status: 'status.replicas' }

/** GET of a Scale. */
export async function scaleGet(core: Core, call: Call): Promise<ApiResponse> {
  const { def, info } = call
  const { entry } = await core.store.get(keyOf(def, info.namespace, info.name))
  if (!entry) throw notFound(def, info.name as string)
  return answer(call, 200, JSON.stringify(scaleOf(call, { text: entry.value, revision: entry.revision })))
}

/** PUT of a Scale; its resourceVersion is a precondition. */
export async function scaleUpdate(core: Core, call: Call): Promise<ApiResponse> {
  const scale = (await readObject(call)).sent as (Partial<Obj> & { spec?: { replicas?: number } }) | undefined
  const metadata = scale?.metadata
  return setReplicas(core, call, () => scale?.spec?.replicas ?? 0, metadata?.resourceVersion)
}

/** PATCH of a Scale. */
export async function scalePatch(core: Core, call: Call): Promise<ApiResponse> {
  return setReplicas(core, call, async (current) => {
    const next = (await applyPatch(call, current)) as { spec?: { replicas?: number } }
    return next.spec?.replicas ?? 0
  })
}

async function setReplicas(core: Core, call: Call, wanted: (current: Obj) => number | Promise<number>, resourceVersion?: string): Promise<ApiResponse> {
  const { def, info } = call
  const paths = pathsOf(call)
  const stored = await changeObject(core, { ...call, info: { ...info, subresource: undefined } }, async (object) => {
    const replicas = await wanted(scaleObject(object, paths, def.group, def.kind))
    if (!Number.isInteger(replicas) || replicas < 0) {
      throw invalid({ group: 'autoscaling', resource: 'scales', kind: 'Scale' }, info.name as string, [fieldInvalid('spec.replicas', replicas, 'must be greater than or equal to 0')])
    }
    if (resourceVersion) object.metadata.resourceVersion = resourceVersion
    writePath(object, paths.spec, replicas)
    return object
  })
  return answer(call, 200, JSON.stringify(scaleOf(call, stored)))
}

function pathsOf(call: Call): ScalePaths {
  const paths = call.def.custom ? call.def.custom.scale : BUILTIN
  if (!paths) throw badRequest(`${call.def.resource} has no scale subresource`)
  return paths
}

function scaleOf(call: Call, stored: Stored): Obj {
  return scaleObject(objectOf(call.def, stored), pathsOf(call), call.def.group, call.def.kind)
}

function scaleObject(object: Obj, paths: ScalePaths, group: string, kind: string): Obj {
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata
  const selector = paths.selector === undefined ? selectorText(object, group, kind) : readPath(object, paths.selector)
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
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
