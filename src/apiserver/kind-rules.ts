/**
 * Where the generic machinery meets the rules of kinds: a body becomes an object of the call's kind, and an object to be
 * stored is validated. The rules themselves stand in `src/api`; CRDs bring theirs as schemas. Used by the write verbs.
 */
import { decode } from '../api/decode.ts'
import { apiVersionOf, type ResourceDef } from '../api/kinds.ts'
import { badRequest, invalid, type FieldError } from '../api/status.ts'
import { validateCreate, validateUpdate, warnings } from '../api/validate/mod.ts'
import type { Call } from './core.ts'
import type { Obj } from './stored-text.ts'

/** At most this many warnings of one sort a write. */
const MAX_WARNINGS = 50

/**
 * A sent body (changed in place) as an object of the call's kind: types checked, defaults filled in, unknown fields removed
 * and told as `fieldValidation` says. Empty lists and maps of metadata are as good as absent, as they are in Kubernetes.
 * @param text the JSON as sent, for duplicate fields; undefined after a patch
 * @param found what strict reading found before
 * @throws ApiError 400 for another kind, group or shape, wrong types, or (Strict) unknown fields; 422 by a CRD's schema
 */
export function decodeObject(call: Call, sent: unknown, text?: string, found: readonly string[] = []): Obj {
  const { def } = call
  const apiVersion = apiVersionOf(def)
  if (typeof sent !== 'object' || sent === null || Array.isArray(sent)) {
    const what = sent === undefined ? 'empty' : sent === null ? 'null' : Array.isArray(sent) ? 'a list' : `a ${typeof sent}`
    throw badRequest(`${def.kind} in version "${def.version}" cannot be handled as a ${def.kind}: the body is ${what}, not an object`)
  }
  const object = sent as Obj
  if (object.kind !== undefined && object.kind !== '' && object.kind !== def.kind) {
    throw badRequest(`${object.kind} in version ${JSON.stringify(object.apiVersion ?? apiVersion)} cannot be handled as a ${def.kind}: it was sent to ${def.resource}`)
  }
  if (object.apiVersion !== undefined && object.apiVersion !== '' && object.apiVersion !== apiVersion) {
    throw badRequest(`the API version in the data (${object.apiVersion}) does not match the expected API version (${apiVersion})`)
  }
  object.kind = def.kind
  object.apiVersion = apiVersion
  object.metadata ??= {}
  const mode = call.query.get('fieldValidation') || 'Warn'
  if (mode !== 'Ignore' && mode !== 'Warn' && mode !== 'Strict') throw badRequest(`fieldValidation: Unsupported value: "${mode}": supported values: "Ignore", "Strict", "Warn"`)
  warn(call, decode(def, object, { validation: mode, text, found }))
  for (const field of ['labels', 'annotations', 'ownerReferences', 'finalizers'] as const) {
    const value = object.metadata[field]
    if (value !== undefined && value !== null && Object.keys(value).length === 0) delete object.metadata[field]
  }
  return object
}

function warn(call: Call, texts: readonly string[]): void {
  for (const text of texts.slice(0, MAX_WARNINGS)) if (!call.warnings.includes(text)) call.warnings.push(text)
}

/** Warns of what is allowed but not meant. @throws ApiError 422 */
export function checkCreate(call: Call, object: Obj): void {
  refuse(call.def, object, validateCreate(call.def, object))
  warn(call, warnings(call.def, object, undefined))
}

/** The same for an update; only the main door warns. @throws ApiError 422 */
export function checkUpdate(call: Call, next: Obj, old: Obj): void {
  const { def, info: { subresource } } = call
  refuse(def, next, validateUpdate(def, next, old, subresource))
  if (subresource === undefined) warn(call, warnings(def, next, old))
}

function refuse(def: ResourceDef, object: Obj, causes: readonly FieldError[]): void {
  if (causes.length > 0) throw invalid(def, object.metadata.name ?? '', causes)
}
