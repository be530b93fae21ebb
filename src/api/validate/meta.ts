/** Validation of `metadata`: names by kind, labels, annotations, owners, and what an update may not change. */
import { isIpv4, isIpv6 } from '../formats.ts'
import type { ObjectMeta } from '../meta.ts'
import { dns1035Errors, dnsLabelErrors, dnsSubdomainErrors, labelKeyErrors, labelValueErrors, pathSegmentErrors } from '../names.ts'
import { equal } from '../patch/json-patch.ts'
import type { ResourceDef } from '../resource.ts'
import { fieldForbidden, fieldInvalid, fieldRequired, fieldTooLong } from '../status.ts'
import type { FieldError } from '../status.ts'
import { byteLength } from './field.ts'

const MAX_ANNOTATION_BYTES = 256 * 1024
const STANDARD_FINALIZERS = new Set(['kubernetes', 'orphan', 'foregroundDeletion'])

const IP_NAME_TEXT = 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'

/** An address as it is written when nothing more can be left out. */
function isCanonicalIp(text: string): boolean {
  if (!text.includes(':')) return isIpv4(text)
  return isIpv6(text) && new URL(`http://[${text}]/`).hostname === `[${text}]`
}

/** The name rule of a kind. */
export function nameErrors(def: ResourceDef, name: string): string[] {
  if (def.custom) return dnsSubdomainErrors(name)
  switch (def.schema) {
    case 'Namespace':
    case 'StatefulSet':
      return dnsLabelErrors(name)
    case 'Service':
      return dns1035Errors(name)
    case 'Role':
    case 'ClusterRole':
    case 'RoleBinding':
    case 'ClusterRoleBinding':
    case 'APIService':
      return pathSegmentErrors(name)
    case 'IPAddress':
      return isCanonicalIp(name) ? [] : [IP_NAME_TEXT]
    case 'CertificateSigningRequest':
      // Anything goes that can stand in a path, which the key it is kept under needs.
      return pathSegmentErrors(name)
    default:
      return dnsSubdomainErrors(name)
  }
}

/** Labels at `path`, e.g. `metadata.labels` or `spec.template.metadata.labels`. */
export function labelErrors(labels: Readonly<Record<string, string>> | undefined, path: string): FieldError[] {
  const errors: FieldError[] = []
  for (const k in labels) {
    const v = labels[k] as string
    for (const e of labelKeyErrors(k)) errors.push(fieldInvalid(path, k, e))
    for (const e of labelValueErrors(v)) errors.push(fieldInvalid(path, v, e))
  }
  return errors
}

/** Annotations at `path`: keys, and their size together. */
export function annotationErrors(annotations: Readonly<Record<string, string>> | undefined, path: string): FieldError[] {
  const errors: FieldError[] = []
  let size = 0
  for (const k in annotations) {
    for (const e of labelKeyErrors(k.toLowerCase())) errors.push(fieldInvalid(path, k, e))
    size += byteLength(k) + byteLength(annotations[k] as string)
  }
  if (size > MAX_ANNOTATION_BYTES) errors.push(fieldTooLong(path, MAX_ANNOTATION_BYTES))
  return errors
}

/** Metadata of a whole object, on create and on update. */
export function metaErrors(def: ResourceDef, meta: ObjectMeta): FieldError[] {
  const errors: FieldError[] = []
  if (meta.generateName) {
    const prefix = meta.generateName.replace(/[-.]$/, '')
    errors.push(...nameErrors(def, prefix).map((e) => fieldInvalid('metadata.generateName', meta.generateName, e)))
  }
  if (!meta.name) errors.push(fieldRequired('metadata.name', 'name or generateName is required'))
  else errors.push(...nameErrors(def, meta.name).map((e) => fieldInvalid('metadata.name', meta.name, e)))
  if (def.namespaced) {
    if (!meta.namespace) errors.push(fieldRequired('metadata.namespace'))
    else errors.push(...dnsLabelErrors(meta.namespace).map((e) => fieldInvalid('metadata.namespace', meta.namespace, e)))
  } else if (meta.namespace) {
    errors.push(fieldForbidden('metadata.namespace', 'not allowed on this type'))
  }
  errors.push(...labelErrors(meta.labels, 'metadata.labels'), ...annotationErrors(meta.annotations, 'metadata.annotations'), ...ownerErrors(meta))
  const { finalizers = [] } = meta
  for (const f of finalizers) errors.push(...labelKeyErrors(f).map((e) => fieldInvalid('metadata.finalizers', f, e)))
  if (finalizers.includes('orphan') && finalizers.includes('foregroundDeletion')) {
    errors.push(fieldInvalid('metadata.finalizers', finalizers, 'finalizer orphan and foregroundDeletion cannot be both set'))
  }
  // Kubernetes holds only its own kinds to this; definitions and their objects may carry any qualified name.
  if (def.custom || def.group === 'apiextensions.k8s.io') return errors
  for (const [i, f] of finalizers.entries()) errors.push(...finalizerErrors(f, `metadata.finalizers[${i}]`))
  return errors
}

/** A finalizer of a kind of Kubernetes' own: a standard name, or a qualified one. */
export function finalizerErrors(name: string, path: string): FieldError[] {
  if (name.includes('/') || STANDARD_FINALIZERS.has(name)) return []
  return [fieldInvalid(path, name, 'name is neither a standard finalizer name nor is it fully qualified')]
}

/** Findings about owners are told of the list, not of its items, as Kubernetes does. */
function ownerErrors(meta: ObjectMeta): FieldError[] {
  const errors: FieldError[] = []
  const path = 'metadata.ownerReferences'
  const owners = meta.ownerReferences ?? []
  if (owners.length === 0) return errors
  for (const o of owners) {
    if (!/^([^/]*\/)?[^/]+$/.test(o.apiVersion ?? '')) errors.push(fieldInvalid(`${path}.apiVersion`, o.apiVersion ?? '', 'version must not be empty'))
    for (const key of ['kind', 'name', 'uid'] as const) {
      if (!o[key]) errors.push(fieldInvalid(`${path}.${key}`, o[key] ?? '', `${key} must not be empty`))
    }
    if (o.apiVersion === 'v1' && o.kind === 'Event') errors.push(fieldInvalid(path, o, '/v1, Kind=Event is disallowed from being an owner'))
  }
  const [first, second] = owners.filter((o) => o.controller)
  if (first && second) {
    const text = `Only one reference can have Controller set to true. Found "true" in references for ${first.name} and ${second.name}`
    errors.push(fieldInvalid(path, owners, text))
  }
  return errors
}

const FIXED = ['name', 'namespace', 'uid', 'creationTimestamp', 'deletionTimestamp', 'deletionGracePeriodSeconds'] as const

/** Metadata fields that no update may change. A missing one means "as it is" and is not judged. */
export function metaUpdateErrors(next: ObjectMeta, old: ObjectMeta): FieldError[] {
  const errors: FieldError[] = []
  for (const key of FIXED) {
    if (next[key] !== undefined && next[key] !== old[key]) errors.push(fieldInvalid(`metadata.${key}`, next[key], 'field is immutable'))
  }
  if (old.deletionTimestamp) {
    const added = (next.finalizers ?? []).filter((f) => !old.finalizers?.includes(f))
    if (added.length > 0) {
      const text = `no new finalizers can be added if the object is being deleted, found new finalizers []string{${added.map((f) => JSON.stringify(f)).join(', ')}}`
      errors.push(fieldForbidden('metadata.finalizers', text))
    }
  }
  return errors
}

/** `field is immutable` unless both are the same JSON. */
export function immutable(path: string, next: unknown, old: unknown): FieldError[] {
  return equal(next ?? null, old ?? null) ? [] : [fieldInvalid(path, next, 'field is immutable')]
}
