/**
 * Validation by kind, after decoding and defaulting: what is wrong with an object, as field errors in Kubernetes' words. Pure. The
 * API server makes `invalid(...)` of status.ts from them. Kinds that nothing acts on yet are held to their schema's required fields.
 */
import { cloneJson } from '../../base/json.ts'
import { toStored } from '../convert.ts'
import type { KubeObject } from '../meta.ts'
import type { CustomParts, ResourceDef } from '../resource.ts'
import { walk } from '../schema.ts'
import { schemaOf } from '../schema-table.ts'
import { fieldInvalid } from '../status.ts'
import type { FieldError } from '../status.ts'
import { CORE_RULES } from './core-rules.ts'
import { metaErrors, metaUpdateErrors } from './meta.ts'
import { OTHER_RULES } from './other-rules.ts'
import type { Rules } from './rules.ts'

/** By name of the type. */
const RULES: Readonly<Record<string, Rules>> = { ...CORE_RULES, ...OTHER_RULES }

/** An older version of a kind is judged in the shape that is stored. */
const stored = (def: ResourceDef, object: KubeObject): KubeObject => (def.schema === 'HorizontalPodAutoscaler' ? toStored(def, object) : object)
const rulesOf = (def: ResourceDef): Rules | undefined => RULES[def.schema === 'HorizontalPodAutoscaler' ? 'V2HorizontalPodAutoscaler' : def.schema]

/** What is wrong with a new object. Its name must be set (generateName resolved). */
export function validateCreate(def: ResourceDef, sent: KubeObject): FieldError[] {
  const errors = metaErrors(def, sent.metadata ?? {})
  if (def.custom) return [...errors, ...customErrors(def.custom, sent, undefined)]
  const rules = rulesOf(def)
  const object = stored(def, sent)
  if (!rules) return [...errors, ...requiredErrors(def, object)]
  return [...errors, ...(rules.always?.(object as never) ?? []), ...(rules.create?.(object as never) ?? [])]
}

/**
 * What is wrong with replacing `before` by `sent`. A subresource has rules of its own; one without is judged by its metadata only:
 * its writers are parts of the system, and the schema has already been checked.
 */
export function validateUpdate(def: ResourceDef, sent: KubeObject, before: KubeObject, subresource?: string): FieldError[] {
  const errors = [...metaErrors(def, sent.metadata ?? {}), ...metaUpdateErrors(sent.metadata ?? {}, before.metadata ?? {})]
  if (def.custom) return [...errors, ...customErrors(def.custom, sent, before)]
  const rules = rulesOf(def)
  const [next, old] = [stored(def, sent), stored(def, before)]
  if (subresource !== undefined) return [...errors, ...(rules?.sub?.[subresource]?.(next as never, old as never) ?? [])]
  if (!rules) return [...errors, ...requiredErrors(def, next)]
  return [...errors, ...(rules.always?.(next as never) ?? []), ...(rules.update?.(next as never, old as never) ?? [])]
}

/** Faults behind which CEL rules cannot tell anything: they are not asked. */
const BLOCKING = new Set(['FieldValueRequired', 'FieldValueTypeInvalid', 'FieldValueNotSupported', 'FieldValueTooLong', 'FieldValueTooMany'])

/** What the schema of a custom resource says; of an update, only of what changed. */
function customErrors({ schema, metadata }: CustomParts, object: KubeObject, old: KubeObject | undefined): FieldError[] {
  const { errors } = walk(schema, object, { dialect: 'custom', prune: false, defaults: false, old })
  if (metadata) errors.push(...walk(metadata, { ...object.metadata }, { dialect: 'custom', prune: false, defaults: false, old: old?.metadata }, 'metadata').errors)
  if (!errors.some((e) => BLOCKING.has(e.reason)) || !JSON.stringify(schema).includes('"x-kubernetes-validations":')) return errors
  return [...errors, fieldInvalid('<nil>', 'null', 'some validation rules were not checked because the object was invalid; correct the existing errors to complete validation')]
}

/**
 * Texts for `Warning` headers: what of `next` is allowed but deprecated or surely not meant. `old` is undefined on create; a write
 * that leaves the content alone is not warned of again.
 */
export function warnings(def: ResourceDef, next: KubeObject, old: KubeObject | undefined): string[] {
  const same = old?.metadata?.generation !== undefined && old.metadata.generation === next.metadata?.generation
  return def.custom || same ? [] : (RULES[def.schema]?.warn?.(next as never, old as never) ?? [])
}

/** Missing required fields by the schema, the status apart, which its writer fills in later. */
function requiredErrors(def: ResourceDef, object: KubeObject): FieldError[] {
  const { status: _status, ...rest } = object as KubeObject & { status?: unknown }
  return walk(schemaOf(def.schema), cloneJson(rest), { prune: false, required: true }).errors
}
