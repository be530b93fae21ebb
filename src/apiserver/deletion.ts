/**
 * Deletion decided: when an object may go, what marks it until then, how long a pod gets. Pure. Propagation policies become
 * finalizers; the garbage collector does the rest. Used by the write and delete verbs.
 */
import type { ResourceDef } from '../api/kinds.ts'
import { cloneJson } from '../base/json.ts'
import type { Obj } from './stored-text.ts'

const ORPHAN = 'orphan'
const FOREGROUND = 'foregroundDeletion'
/** Kinds whose dependents stay unless the caller says otherwise, as Kubernetes' first versions had it for them. */
const ORPHANED_BY_DEFAULT = new Set(['Job', 'ReplicationController'])
/** `meta/v1 DeleteOptions`, as far as it acts. */
export interface DeleteOptions {
  readonly gracePeriodSeconds?: number
  readonly propagationPolicy?: string
  readonly orphanDependents?: boolean
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string }
  readonly dryRun?: readonly string[]
}

/** True when nothing holds an object back any more that is marked for deletion; pure. */
export function removable(def: ResourceDef, object: Obj): boolean {
  if (object.metadata.deletionTimestamp === undefined) return false
  if ((object.metadata.finalizers ?? []).length > 0) return false
  if (def.resource === 'namespaces' && def.group === '') return ((object.spec as { finalizers?: string[] } | undefined)?.finalizers ?? []).length === 0
  return (object.metadata.deletionGracePeriodSeconds ?? 0) === 0
}

/** The next state of an object asked to be deleted; the same object back when it is already on its way; pure. */
export function markDeleted(def: ResourceDef, object: Obj, options: DeleteOptions, nowMs: number): Obj {
  const next = cloneJson(object)
  const meta = next.metadata
  const asked = options.propagationPolicy ?? (typeof options.orphanDependents === 'boolean' ? (options.orphanDependents ? 'Orphan' : 'Background') : undefined)
  const policy = asked ?? ((meta.finalizers ?? []).some((f) => f === ORPHAN || f === FOREGROUND) ? undefined : ORPHANED_BY_DEFAULT.has(def.schema) ? 'Orphan' : undefined)
  if (policy !== undefined) {
    const others = (meta.finalizers ?? []).filter((f) => f !== ORPHAN && f !== FOREGROUND)
    if (policy === 'Orphan') others.push(ORPHAN)
    if (policy === 'Foreground') others.push(FOREGROUND)
    if (others.length > 0 || meta.finalizers) meta.finalizers = others
  }
  const grace = graceSeconds(def, object, options)
  if (meta.deletionTimestamp === undefined) {
    meta.deletionTimestamp = new Date(nowMs + grace * 1_000).toISOString().replace(/\.\d+Z$/, 'Z')
    meta.deletionGracePeriodSeconds = grace
    if (meta.generation !== undefined) meta.generation++
  } else if (grace < (meta.deletionGracePeriodSeconds ?? 0)) {
    // Grace may be shortened, never extended: counted from when the deletion began.
    const began = Date.parse(meta.deletionTimestamp) - (meta.deletionGracePeriodSeconds ?? 0) * 1_000
    meta.deletionTimestamp = new Date(began + grace * 1_000).toISOString().replace(/\.\d+Z$/, 'Z')
    meta.deletionGracePeriodSeconds = grace
  }
  if (def.resource === 'namespaces' && def.group === '') next.status = { ...(object.status as object | undefined), phase: 'Terminating' }
  return next
}

function graceSeconds(def: ResourceDef, object: Obj, options: DeleteOptions): number {
  if (def.resource !== 'pods' || def.group !== '') return 0
  const spec = (object.spec ?? {}) as { nodeName?: string; terminationGracePeriodSeconds?: number }
  const phase = (object.status as { phase?: string } | undefined)?.phase
  if (!spec.nodeName || phase === 'Succeeded' || phase === 'Failed') return 0
  const grace = options.gracePeriodSeconds ?? spec.terminationGracePeriodSeconds ?? 30
  return grace < 0 ? 1 : grace
}
