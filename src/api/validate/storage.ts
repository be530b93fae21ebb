/** Validation of storage kinds. */
import type { CSIDriver, CSINode, CSIStorageCapacity, StorageClass, TopologySelectorTerm, VolumeAttachment, VolumeAttributesClass } from '../gen/types.ts'
import { dnsSubdomainErrors, labelKeyErrors } from '../names.ts'
import { equal } from '../patch/json-patch.ts'
import { fieldForbidden } from '../status.ts'
import type { FieldError } from '../status.ts'
import { findings, NOT_NEGATIVE } from './field.ts'
import type { Findings } from './field.ts'
import { immutable } from './meta.ts'
import { volumeSpec } from './persistent-volume.ts'
import { selector } from './placement.ts'

const MAX_PARAMETERS = 512
const MAX_PARAMETER_BYTES = 256 * 1024
const MAX_ATTACHMENT_BYTES = 256 * 1024
const MAX_ERROR_BYTES = 1024 * 1024
const MAX_NODE_ID = 192
const RECLAIM = ['Delete', 'Retain']
const BINDING = ['Immediate', 'WaitForFirstConsumer']

/** StorageClass: who provisions, and how. */
export function storageClassErrors(s: StorageClass): FieldError[] {
  return findings((e) => {
    provisioner(e, 'provisioner', s.provisioner)
    parameters(e, s.parameters)
    if (s.reclaimPolicy) e.chosen('reclaimPolicy', s.reclaimPolicy, RECLAIM)
    e.chosen('volumeBindingMode', s.volumeBindingMode, BINDING)
    topologies(e, 'allowedTopologies', s.allowedTopologies ?? [])
  })
}

/** What volumes were made by is fixed. */
export function storageClassUpdateErrors(next: StorageClass, old: StorageClass): FieldError[] {
  return [...fixed(next, old, ['parameters', 'provisioner', 'reclaimPolicy']), ...immutable('volumeBindingMode', next.volumeBindingMode, old.volumeBindingMode)]
}

function fixed<T extends object>(next: T, old: T, keys: readonly (keyof T & string)[]): FieldError[] {
  return keys.filter((k) => !equal(next[k] ?? null, old[k] ?? null)).map((k) => fieldForbidden(k, `updates to ${k} are forbidden.`))
}

function provisioner(e: Findings, at: string, name: string | undefined): void {
  if (!name) e.required(at)
  else for (const why of labelKeyErrors(name.toLowerCase())) e.invalid(at, name.toLowerCase(), why)
}

function parameters(e: Findings, values: Readonly<Record<string, string>> | undefined, needed = false): void {
  const entries = Object.entries(values ?? {})
  if (entries.length > MAX_PARAMETERS) return e.tooLong('parameters', MAX_PARAMETERS)
  if (values?.[''] !== undefined) e.invalid('parameters', '', 'field can not be empty.')
  if (entries.reduce((n, [k, v]) => n + k.length + v.length, 0) > MAX_PARAMETER_BYTES) e.tooLong('parameters', MAX_PARAMETER_BYTES)
  if (needed && entries.length === 0) e.required('parameters', 'must contain at least one key/value pair')
}

function topologies(e: Findings, at: string, terms: readonly TopologySelectorTerm[]): void {
  const seen: Record<string, string[]>[] = []
  for (const [i, term] of terms.entries()) {
    const found: Record<string, string[]> = {}
    for (const [j, r] of (term.matchLabelExpressions ?? []).entries()) {
      const path = `${at}[${i}].matchLabelExpressions[${j}]`
      const values = r.values ?? []
      if (values.length === 0) e.required(`${path}.values`)
      for (const [k, v] of values.entries()) if (values.indexOf(v) < k) e.duplicate(`${path}.values[${k}]`, v)
      e.text(`${path}.key`, r.key ?? '', labelKeyErrors)
      if (found[r.key]) e.duplicate(`${path}.key`, r.key)
      found[r.key] = [...new Set(values)].sort()
    }
    if (seen.some((s) => equal(s, found))) e.duplicate(`${at}[${i}].matchLabelExpressions`, '')
    seen.push(found)
  }
}

/** VolumeAttributesClass: driver and what it is told. */
export function attributesClassErrors(c: VolumeAttributesClass): FieldError[] {
  return findings((e) => {
    provisioner(e, 'driverName', c.driverName)
    parameters(e, c.parameters, true)
  })
}

export const attributesClassUpdateErrors = (next: VolumeAttributesClass, old: VolumeAttributesClass): FieldError[] => fixed(next, old, ['driverName', 'parameters'])

/** A CSI driver's name. */
export function csiName(e: Findings, at: string, name: string | undefined): void {
  if (!name) return e.required(at)
  if (name.length > 63) e.tooLong(at, 63)
  for (const why of dnsSubdomainErrors(name.toLowerCase())) e.invalid(at, name, why)
}

/** CSIDriver: how its volumes are attached and mounted. */
export function csiDriverErrors(d: CSIDriver): FieldError[] {
  return findings((e) => {
    const { fsGroupPolicy, tokenRequests = [], volumeLifecycleModes = [], nodeAllocatableUpdatePeriodSeconds: period } = d.spec ?? {}
    e.chosen('spec.fsGroupPolicy', fsGroupPolicy, ['File', 'None', 'ReadWriteOnceWithFSType'])
    const audiences = new Set<string>()
    for (const [i, t] of tokenRequests.entries()) {
      const at = `spec.tokenRequests[${i}]`
      const audience = t.audience ?? ''
      if (audiences.has(audience)) e.duplicate(`${at}.audience`, audience)
      else if ((t.expirationSeconds ?? 600) < 600) e.invalid(`${at}.expirationSeconds`, t.expirationSeconds, 'may not specify a duration less than 10 minutes')
      else if ((t.expirationSeconds ?? 600) > 2 ** 32) e.invalid(`${at}.expirationSeconds`, t.expirationSeconds, 'may not specify a duration larger than 2^32 seconds')
      audiences.add(audience)
    }
    for (const mode of volumeLifecycleModes) e.chosen('spec.volumeLifecycleModes', mode, ['Persistent', 'Ephemeral'])
    if (period !== undefined && period < 10) e.invalid('spec.nodeAllocatableUpdatePeriodSeconds', period, 'must be greater than or equal to 10 seconds')
  })
}

export const csiDriverUpdateErrors = (next: CSIDriver, old: CSIDriver): FieldError[] => [
  // Spelled with the extra letters everywhere this is reported.
  ...immutable('spec.attachedRequired', next.spec?.attachRequired, old.spec?.attachRequired),
  ...immutable('spec.volumeLifecycleModes', next.spec?.volumeLifecycleModes, old.spec?.volumeLifecycleModes),
]

/** CSINode: the drivers of a node. */
export function csiNodeErrors(n: CSINode): FieldError[] {
  return findings((e) => {
    const names = new Set<string>()
    for (const [i, d] of (n.spec?.drivers ?? []).entries()) {
      const at = `spec.drivers[${i}]`
      csiName(e, `${at}.name`, d.name)
      if (!d.nodeID) e.required(`${at}.nodeID`)
      else if (d.nodeID.length > MAX_NODE_ID) e.invalid(`${at}.nodeID`, d.nodeID, `must be ${MAX_NODE_ID} characters or less`)
      e.notNegative(`${at}.allocatable.count`, d.allocatable?.count)
      if (names.has(d.name)) e.duplicate(`${at}.name`, d.name)
      names.add(d.name)
      const keys = d.topologyKeys ?? []
      for (const [k, key] of keys.entries()) {
        if (key === '') e.required(at)
        if (keys.indexOf(key) < k) e.duplicate(at, key)
        e.text(at, key, labelKeyErrors)
      }
    }
  })
}

/** A driver that stays keeps all but how many volumes it can attach. */
export function csiNodeUpdateErrors(next: CSINode, old: CSINode): FieldError[] {
  return (old.spec?.drivers ?? []).flatMap((before) =>
    (next.spec?.drivers ?? [])
      .filter((d) => d.name === before.name)
      .flatMap((d) => {
        const { allocatable: _a, ...now } = d
        const { allocatable: _b, ...was } = before
        return immutable('spec.drivers', now, was)
      }),
  )
}

/** VolumeAttachment: which volume, by whom, to which node. */
export function attachmentErrors(v: VolumeAttachment): FieldError[] {
  return findings((e) => {
    const { attacher, nodeName, source = {} } = v.spec ?? {}
    csiName(e, 'spec.attacher', attacher)
    const { inlineVolumeSpec, persistentVolumeName } = source
    const text = 'must specify exactly one of inlineVolumeSpec and persistentVolumeName'
    if (inlineVolumeSpec === undefined && persistentVolumeName === undefined) e.required('spec.source', text)
    else if (inlineVolumeSpec !== undefined && persistentVolumeName !== undefined) e.forbidden('spec.source', text)
    else if (persistentVolumeName === '') e.required('spec.source.persistentVolumeName', 'must specify non empty persistentVolumeName')
    else if (persistentVolumeName !== undefined) e.text('spec.source.persistentVolumeName', persistentVolumeName, dnsSubdomainErrors)
    else if (inlineVolumeSpec !== undefined) volumeSpec(e, 'spec.source.inlineVolumeSpec', inlineVolumeSpec, '', true)
    e.text('spec.nodeName', nodeName ?? '', dnsSubdomainErrors)
  })
}

export const attachmentUpdateErrors = (next: VolumeAttachment, old: VolumeAttachment): FieldError[] => immutable('spec', next.spec, old.spec)

/** Through the status door: what the driver said. */
export function attachmentStatusErrors(v: VolumeAttachment): FieldError[] {
  return findings((e) => {
    const { attachmentMetadata = {}, attachError, detachError } = v.status ?? {}
    const size = Object.entries(attachmentMetadata).reduce((n, [k, x]) => n + k.length + x.length, 0)
    if (size > MAX_ATTACHMENT_BYTES) e.tooLong('status.attachmentMetadata', MAX_ATTACHMENT_BYTES)
    for (const [at, error] of [['status.attachError', attachError], ['status.detachError', detachError]] as const) {
      if ((error?.message?.length ?? 0) > MAX_ERROR_BYTES) e.tooLong(`${at}.message`, MAX_ERROR_BYTES)
      e.between(`${at}.errorCode`, error?.errorCode, 0, 2147483647)
    }
  })
}

/** CSIStorageCapacity: how much of a class is left where. */
export function capacityErrors(c: CSIStorageCapacity): FieldError[] {
  return findings((e) => {
    selector(e, 'nodeTopology', c.nodeTopology)
    e.text('storageClassName', c.storageClassName ?? '', dnsSubdomainErrors)
    for (const key of ['capacity', 'maximumVolumeSize'] as const) if (c[key]?.startsWith('-')) e.invalid(key, c[key], NOT_NEGATIVE)
  })
}

export const capacityUpdateErrors = (next: CSIStorageCapacity, old: CSIStorageCapacity): FieldError[] => [
  ...immutable('nodeTopology', next.nodeTopology, old.nodeTopology),
  ...immutable('storageClassName', next.storageClassName, old.storageClassName),
]
