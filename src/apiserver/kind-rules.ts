/**
 * Where the generic machinery meets the rules of kinds: decoding with field validation, defaults, validation. The rules
 * themselves stand in `src/api`; CRDs bring theirs as schemas. Used by the write verbs.
 */
import { applyDefaults } from '../api/defaults/mod.ts'
import { duplicateFields } from '../api/duplicates.ts'
import { apiVersionOf, type ResourceDef } from '../api/kinds.ts'
import { dnsSubdomainErrors, pathSegmentErrors } from '../api/names.ts'
import { decodeError, strictError, strictTexts, walk } from '../api/schema.ts'
import { schemaOf } from '../api/schema-table.ts'
import type { Schema } from '../api/schema-types.ts'
import { badRequest, fieldInvalid, fieldRequired, invalid, type FieldError } from '../api/status.ts'
import type { Call } from './core.ts'
import type { Obj } from './stored-text.ts'

/** At most this many warnings of unknown fields a write. */
const MAX_WARNINGS = 50

/**
 * A sent body as an object of the call's kind, unknown fields removed and told as `fieldValidation` says.
 * @param text the body as sent, for duplicate fields; undefined after a patch
 * @throws ApiError 400 for another kind, group or shape, wrong types, or (Strict) unknown fields
 */
export function decodeObject(call: Call, sent: unknown, text?: string): Obj {
  const { def } = call
  const apiVersion = apiVersionOf(def)
  if (typeof sent !== 'object' || sent === null || Array.isArray(sent)) {
    const what = sent === null ? 'null' : Array.isArray(sent) ? 'a list' : `a ${typeof sent}`
    throw badRequest(`${def.kind} in version "${def.version}" cannot be handled as a ${def.kind}: the body is ${what}, not an object`)
  }
  const object = sent as Obj
  if (object.kind !== undefined && object.kind !== '' && object.kind !== def.kind) {
    throw badRequest(`${object.kind} in version ${JSON.stringify(object.apiVersion ?? apiVersion)} cannot be handled as a ${def.kind}: it was sent to ${def.resource}`)
  }
  if (object.apiVersion !== undefined && object.apiVersion !== '' && object.apiVersion !== apiVersion) {
    throw badRequest(`the API version in the data (${object.apiVersion}) does not match the expected API version (${apiVersion})`)
  }
  const result = walk(schemaFor(def), object, def.custom ? { dialect: 'custom', defaults: false, required: false } : { defaults: false })
  if (!def.custom) {
    const error = decodeError(result, def.kind, def.version)
    if (error) throw error
  }
  const mode = call.query.get('fieldValidation') ?? 'Warn'
  if (mode !== 'Ignore') {
    const texts = strictTexts(result.unknown, text === undefined ? [] : duplicateFields(text))
    if (texts.length > 0 && mode === 'Strict') throw strictError(texts, def.kind, def.version)
    call.warnings.push(...texts.slice(0, MAX_WARNINGS))
  }
  if (object.metadata !== undefined && (typeof object.metadata !== 'object' || object.metadata === null || Array.isArray(object.metadata))) throw badRequest('metadata must be an object')
  return { ...object, kind: def.kind, apiVersion, metadata: { ...object.metadata } }
}

/** The schema of whole objects of a resource. */
export function schemaFor(def: ResourceDef): Schema {
  return def.custom?.schema ?? schemaOf(def.schema)
}

/** Fills in defaults, in place. */
export function setDefaults(def: ResourceDef, object: Obj): void {
  if (def.custom) walk(def.custom.schema, object, { dialect: 'custom', prune: false, required: false })
  else applyDefaults(def.schema, object)
}

/** @throws ApiError 422 */
export function validateCreate(def: ResourceDef, object: Obj): void {
  refuse(def, object, [...validateObject(def, object), ...schemaErrors(def, object)])
}

/** @throws ApiError 422 */
export function validateUpdate(def: ResourceDef, next: Obj, old: Obj, subresource: string | undefined): void {
  refuse(def, next, [...validateObjectUpdate(def, next, old, subresource), ...schemaErrors(def, next)])
}

function schemaErrors(def: ResourceDef, object: Obj): FieldError[] {
  return def.custom ? walk(def.custom.schema, object, { dialect: 'custom', prune: false, defaults: false }).errors : []
}

function refuse(def: ResourceDef, object: Obj, causes: readonly FieldError[]): void {
  if (causes.length > 0) throw invalid(def, object.metadata.name ?? '', causes)
}

function validateObject(def: ResourceDef, object: Obj): FieldError[] {
  const { name } = object.metadata
  if (!name) return [fieldRequired('metadata.name', 'name or generateName is required')]
  const errors = def.group === 'rbac.authorization.k8s.io' ? pathSegmentErrors(name) : dnsSubdomainErrors(name)
  return errors.map((e) => fieldInvalid('metadata.name', name, e))
}

function validateObjectUpdate(def: ResourceDef, next: Obj, _old: Obj, _subresource: string | undefined): FieldError[] {
  return validateObject(def, next)
}
