/**
 * Where the generic machinery meets the rules of kinds: decoding with field validation, server-set fields, defaults,
 * validation. Everything here delegates to `src/api`; CRDs bring their rules as schemas. Used by the write verbs.
 */
import { apiVersionOf, type ResourceDef } from '../api/kinds.ts'
import { dnsSubdomainErrors, pathSegmentErrors } from '../api/names.ts'
import { badRequest, fieldInvalid, fieldRequired, invalid, type FieldError } from '../api/status.ts'
import type { Call, Core } from './core.ts'
import { hasStatus } from './verbs/write.ts'
import type { Obj } from './stored-text.ts'

/** A sent body as an object of the call's kind. @throws ApiError 400 for another kind, group or shape */
export function decodeObject(call: Call, sent: unknown): Obj {
  const { def } = call
  if (typeof sent !== 'object' || sent === null || Array.isArray(sent)) throw badRequest(`the object provided is not an object but ${sent === null ? 'null' : Array.isArray(sent) ? 'a list' : `a ${typeof sent}`}`)
  const object = sent as Obj
  const apiVersion = apiVersionOf(def)
  if (object.kind !== undefined && object.kind !== '' && object.kind !== def.kind) {
    throw badRequest(`${object.kind} in version ${JSON.stringify(object.apiVersion ?? apiVersion)} cannot be handled as a ${def.kind}: it was sent to ${def.resource}`)
  }
  if (object.apiVersion !== undefined && object.apiVersion !== '' && object.apiVersion !== apiVersion) {
    throw badRequest(`the API version in the data (${object.apiVersion}) does not match the expected API version (${apiVersion})`)
  }
  if (object.metadata !== undefined && (typeof object.metadata !== 'object' || object.metadata === null || Array.isArray(object.metadata))) {
    throw badRequest('metadata must be an object')
  }
  return { ...object, kind: def.kind, apiVersion, metadata: { ...object.metadata } }
}

/** Drops what a create may not set. */
export function resetStatus(def: ResourceDef, object: Obj): void {
  // Nodes register with their status, as kubelets do.
  if (hasStatus(def) && def.kind !== 'Node') delete object.status
}

/** Server-set fields and defaults of a new object. */
export function prepareCreate(_core: Core, def: ResourceDef, object: Obj): void {
  if (object.spec !== undefined || hasStatus(def)) object.metadata.generation = 1
}

export function prepareUpdate(_core: Core, _def: ResourceDef, _next: Obj, _old: Obj, _subresource: string | undefined): void {}

export function validateCreate(def: ResourceDef, object: Obj): void {
  const causes = metadataErrors(def, object)
  if (causes.length > 0) throw invalid(def, object.metadata.name ?? '', causes)
}

export function validateUpdate(def: ResourceDef, next: Obj, _old: Obj, _subresource: string | undefined): void {
  validateCreate(def, next)
}

function metadataErrors(def: ResourceDef, object: Obj): FieldError[] {
  const { name } = object.metadata
  if (!name) return [fieldRequired('metadata.name', 'name or generateName is required')]
  const errors = def.group === 'rbac.authorization.k8s.io' ? pathSegmentErrors(name) : dnsSubdomainErrors(name)
  return errors.map((e) => fieldInvalid('metadata.name', name, e))
}
