/**
 * Validation by kind, after decoding and defaulting: what is wrong with an object, as field errors in Kubernetes' words. Pure. The
 * API server makes `invalid(...)` of status.ts from them. Kinds that nothing acts on yet are held to their schema's required fields.
 */
import { cloneJson } from '../../base/json.ts'
import type { KubeObject } from '../meta.ts'
import type { ResourceDef } from '../resource.ts'
import { walk } from '../schema.ts'
import { schemaOf } from '../schema-table.ts'
import type { FieldError } from '../status.ts'
import { CORE_RULES } from './core-rules.ts'
import { metaErrors, metaUpdateErrors } from './meta.ts'
import { OTHER_RULES } from './other-rules.ts'
import type { Rules } from './rules.ts'

/** By name of the type. */
const RULES: Readonly<Record<string, Rules>> = { ...CORE_RULES, ...OTHER_RULES }

/** What is wrong with a new object. Its name must be set (generateName resolved). */
export function validateCreate(def: ResourceDef, object: KubeObject): FieldError[] {
  const errors = metaErrors(def, object.metadata ?? {})
  if (def.custom) return errors
  const rules = RULES[def.schema]
  if (!rules) return [...errors, ...requiredErrors(def, object)]
  return [...errors, ...(rules.always?.(object as never) ?? []), ...(rules.create?.(object as never) ?? [])]
}

/**
 * What is wrong with replacing `old` by `next`. A subresource has rules of its own; one without is judged by its metadata only:
 * its writers are parts of the system, and the schema has already been checked.
 */
export function validateUpdate(def: ResourceDef, next: KubeObject, old: KubeObject, subresource?: string): FieldError[] {
  const errors = [...metaErrors(def, next.metadata ?? {}), ...metaUpdateErrors(next.metadata ?? {}, old.metadata ?? {})]
  if (def.custom) return errors
  const rules = RULES[def.schema]
  if (subresource !== undefined) return [...errors, ...(rules?.sub?.[subresource]?.(next as never, old as never) ?? [])]
  if (!rules) return [...errors, ...requiredErrors(def, next)]
  return [...errors, ...(rules.always?.(next as never) ?? []), ...(rules.update?.(next as never, old as never) ?? [])]
}

/** Texts for `Warning` headers: what of `next` is allowed but deprecated or surely not meant. `old` is undefined on create. */
export function warnings(def: ResourceDef, next: KubeObject, old: KubeObject | undefined): string[] {
  return def.custom ? [] : (RULES[def.schema]?.warn?.(next as never, old as never) ?? [])
}

/** Missing required fields by the schema, the status apart, which its writer fills in later. */
function requiredErrors(def: ResourceDef, object: KubeObject): FieldError[] {
  const { status: _status, ...rest } = object as KubeObject & { status?: unknown }
  return walk(schemaOf(def.schema), cloneJson(rest), { prune: false, required: true }).errors
}
