/** Validation of PersistentVolumeClaims, of templates of them, and of what a claim may change. */
import type { PersistentVolumeClaim, PersistentVolumeClaimSpec, TypedLocalObjectReference, TypedObjectReference } from '../gen/types.ts'
import { dnsLabelErrors, dnsSubdomainErrors, labelKeyErrors } from '../names.ts'
import { equal } from '../patch/json-patch.ts'
import { compareQuantities, tryParseQuantity } from '../quantity.ts'
import type { FieldError } from '../status.ts'
import { IMMUTABLE, findings } from './field.ts'
import type { Findings } from './field.ts'
import { annotationErrors, immutable, labelErrors } from './meta.ts'
import { selector } from './placement.ts'
import { isNative, positiveQuantity } from './quantities.ts'

export const ACCESS_MODES: readonly string[] = ['ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOnce', 'ReadWriteOncePod']
export const VOLUME_MODES: readonly string[] = ['Block', 'Filesystem']
const RESIZE_STATUSES = ['ControllerResizeInProgress', 'ControllerResizeInfeasible', 'NodeResizeInProgress', 'NodeResizeInfeasible', 'NodeResizePending']
const BETA_CLASS = 'volume.beta.kubernetes.io/storage-class'
const TEMPLATE_META = new Set(['annotations', 'labels'])

/** A claim, on create and on update. */
export const claimErrors = (c: PersistentVolumeClaim): FieldError[] => findings((e) => claimSpec(e, 'spec', c.spec ?? {}))

/** Access modes: known ones, and the exclusive one alone. */
export function accessModes(e: Findings, path: string, modes: readonly string[]): void {
  for (const mode of modes) e.chosen(path, mode, ACCESS_MODES)
  const others = modes.some((m) => m !== 'ReadWriteOncePod' && ACCESS_MODES.includes(m))
  if (modes.includes('ReadWriteOncePod') && others) e.forbidden(path, 'may not use ReadWriteOncePod with other access modes')
}

/** The spec of a claim at `path`. */
export function claimSpec(e: Findings, path: string, spec: PersistentVolumeClaimSpec): void {
  if (!spec.accessModes?.length) e.required(`${path}.accessModes`, 'at least 1 access mode is required')
  selector(e, `${path}.selector`, spec.selector)
  accessModes(e, `${path}.accessModes`, spec.accessModes ?? [])
  const size = spec.resources?.requests?.storage
  if (size === undefined) e.required(`${path}.resources[storage]`)
  else positiveQuantity(e, `${path}.resources[storage]`, size)
  e.optional(`${path}.storageClassName`, spec.storageClassName, dnsSubdomainErrors)
  e.chosen(`${path}.volumeMode`, spec.volumeMode, VOLUME_MODES)
  const { dataSource, dataSourceRef } = spec
  if (dataSource) source(e, `${path}.dataSource`, dataSource)
  if (dataSourceRef) {
    source(e, `${path}.dataSourceRef`, dataSourceRef)
    e.optional(`${path}.dataSourceRef.namespace`, dataSourceRef.namespace, dnsLabelErrors)
  }
  if (dataSource && dataSourceRef) {
    const same = dataSource.apiGroup === dataSourceRef.apiGroup && dataSource.kind === dataSourceRef.kind && dataSource.name === dataSourceRef.name
    if (dataSourceRef.namespace) e.invalid(path, `${path}.dataSource`, 'may not be specified when dataSourceRef.namespace is specified')
    else if (!same) e.invalid(path, `${path}.dataSource`, 'must match dataSourceRef')
  }
  e.optional(`${path}.volumeAttributesClassName`, spec.volumeAttributesClassName, dnsSubdomainErrors)
}

function source(e: Findings, path: string, ref: TypedLocalObjectReference | TypedObjectReference): void {
  e.named(`${path}.name`, ref.name)
  e.named(`${path}.kind`, ref.kind)
  if (!ref.apiGroup && ref.kind !== 'PersistentVolumeClaim') {
    e.invalid(path, ref.kind ?? '', "must be 'PersistentVolumeClaim' when referencing the default apiGroup")
  }
  e.optional(`${path}.apiGroup`, ref.apiGroup, dnsSubdomainErrors)
}

/** The template of a claim that lives as long as its pod. */
export function claimTemplate(e: Findings, path: string, template: unknown): void {
  const t = template as PersistentVolumeClaim | undefined
  if (!t) return e.required(path)
  e.add(annotationErrors(t.metadata?.annotations, `${path}.metadata.annotations`))
  e.add(labelErrors(t.metadata?.labels, `${path}.metadata.labels`))
  for (const key of Object.keys(t.metadata ?? {})) if (!TEMPLATE_META.has(key)) e.forbidden(`${path}.metadata.${key}`, 'cannot be set')
  claimSpec(e, `${path}.spec`, t.spec ?? {})
}

const SPEC_TEXT = 'spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims'

/** What an update of a claim may change: its volume once, its size once it is bound, a class that it lacked. */
export function claimUpdateErrors(next: PersistentVolumeClaim, old: PersistentVolumeClaim): FieldError[] {
  return findings((e) => {
    const [n, o] = [{ ...next.spec }, { ...old.spec }]
    const [after, before] = [next.metadata?.annotations?.[BETA_CLASS], old.metadata?.annotations?.[BETA_CLASS]]
    if (!o.volumeName && n.volumeName) o.volumeName = n.volumeName
    const upgraded = before !== undefined && o.storageClassName === undefined && n.storageClassName === before && (after ?? before) === before
    if (upgraded) delete n.storageClassName
    else {
      if ((after ?? '') !== (before ?? '')) e.invalid(`metadata.annotations.${BETA_CLASS}`, after ?? '', IMMUTABLE)
      if (n.storageClassName !== undefined && o.storageClassName === undefined && (before ?? n.storageClassName) === n.storageClassName) {
        delete n.storageClassName
      }
    }
    const bound = next.status?.phase === 'Bound'
    const size = (spec: PersistentVolumeClaimSpec): string | undefined => spec.resources?.requests?.storage
    const [wanted, had] = [size(n), size(o)]
    if (bound && n.resources?.requests && had !== undefined) n.resources = { ...n.resources, requests: { ...n.resources.requests, storage: had } }
    if (bound && n.volumeAttributesClassName !== undefined) {
      if (o.volumeAttributesClassName === undefined) delete n.volumeAttributesClassName
      else n.volumeAttributesClassName = o.volumeAttributesClassName
    }
    if (!equal(n, o)) e.forbidden('spec', SPEC_TEXT)
    shrink(e, wanted, had, old.status?.capacity?.storage)
    e.add(immutable('volumeMode', next.spec?.volumeMode, old.spec?.volumeMode))
    const path = 'spec.volumeAttributesClassName'
    const [classAfter, classBefore] = [next.spec?.volumeAttributesClassName, old.spec?.volumeAttributesClassName]
    if (classBefore === undefined) return
    if (classAfter === undefined) e.forbidden(path, 'update from non-nil value to nil is forbidden')
    else if (classAfter === '' && classBefore !== '') e.forbidden(path, 'update from non-nil value to an empty string is forbidden')
  })
}

/** A size may go back to what failed to grow, never below what there is. */
function shrink(e: Findings, wanted: string | undefined, had: string | undefined, capacity: string | undefined): void {
  const [a, b] = [tryParseQuantity(wanted ?? '0'), tryParseQuantity(had ?? '0')]
  const c = tryParseQuantity(capacity ?? '0')
  if (a && b && c && compareQuantities(a, b) < 0 && compareQuantities(a, c) <= 0) {
    e.forbidden('spec.resources.requests.storage', 'field can not be less than status.capacity')
  }
}

/** What a status of a claim may say. */
export function claimStatusErrors(next: PersistentVolumeClaim): FieldError[] {
  return findings((e) => {
    if (!next.spec?.accessModes?.length) e.required('Spec.accessModes')
    const { status } = next
    for (const [name, text] of Object.entries(status?.capacity ?? {})) notNegative(e, `status.capacity[${name}]`, text)
    for (const [name, state] of Object.entries(status?.allocatedResourceStatuses ?? {})) {
      claimResource(e, 'status.allocatedResourceStatuses', name)
      if (!RESIZE_STATUSES.includes(state)) e.unsupported('status.allocatedResourceStatuses', name, RESIZE_STATUSES)
    }
    for (const [name, text] of Object.entries(status?.allocatedResources ?? {})) {
      claimResource(e, 'status.allocatedResources', name)
      notNegative(e, `status.allocatedResources[${name}]`, text)
    }
  })
}

/** A quantity that is there at all: not below nothing. */
export function notNegative(e: Findings, path: string, text: string): void {
  const q = tryParseQuantity(text)
  if (q && q.nano < 0n) e.invalid(path, Number(q.nano / 1_000_000_000n), 'must be a valid resource quantity')
}

function claimResource(e: Findings, path: string, name: string): void {
  const wrong = labelKeyErrors(name)
  for (const detail of wrong) e.invalid(path, name, detail)
  if (wrong.length === 0 && isNative(name) && name !== 'storage') e.unsupported(path, name, ['storage'])
}
