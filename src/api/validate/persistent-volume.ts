/** Validation of PersistentVolumes. */
import type { NodeSelectorRequirement, PersistentVolume, PersistentVolumeSpec } from '../gen/types.ts'
import { dnsSubdomainErrors } from '../names.ts'
import { equal } from '../patch/json-patch.ts'
import type { FieldError } from '../status.ts'
import { VOLUME_MODES, accessModes, notNegative } from './claim.ts'
import { IMMUTABLE, findings } from './field.ts'
import type { Findings } from './field.ts'
import { immutable } from './meta.ts'
import { nodeSelector } from './placement.ts'
import { positiveQuantity } from './quantities.ts'
import { iscsiLength, oneSource, sourceRows } from './volume-sources.ts'

const KEYS =
  'hostPath gcePersistentDisk awsElasticBlockStore glusterfs flocker nfs rbd quobyte cephfs iscsi cinder fc flexVolume azureFile vsphereVolume ' +
  'photonPersistentDisk portworxVolume azureDisk scaleIO local storageos csi'
const ROWS = sourceRows(KEYS)
const RECLAIM = ['Delete', 'Recycle', 'Retain']

/** A PersistentVolume, on create and on update. */
export const volumeErrors = (v: PersistentVolume): FieldError[] => findings((e) => volumeSpec(e, 'spec', v.spec ?? {}, v.metadata?.name ?? ''))

/** What a spec inside a VolumeAttachment leaves to the pod that it stands in for. */
const NOT_INLINE = 'may not be specified in the context of inline volumes'

/** The spec of a PersistentVolume; `inline` without one of its own, as a VolumeAttachment carries it. */
export function volumeSpec(e: Findings, at: string, spec: PersistentVolumeSpec, name: string, inline = false): void {
  const own = (key: keyof PersistentVolumeSpec & string, rule: () => void): void => {
    if (!inline) rule()
    else if (spec[key]) e.forbidden(`${at}.${key}`, NOT_INLINE)
  }
  if (inline) {
    if (spec.claimRef) e.forbidden(`${at}.claimRef`, NOT_INLINE)
    if (Object.keys(spec.capacity ?? {}).length > 0) e.forbidden(`${at}.capacity`, NOT_INLINE)
    if (!spec.csi) e.required(`${at}.csi`, 'has to be specified in the context of inline volumes')
  }
  if (!spec.accessModes?.length) e.required(`${at}.accessModes`)
  accessModes(e, `${at}.accessModes`, spec.accessModes ?? [])
  if (!inline) volumeCapacity(e, `${at}.capacity`, spec.capacity)
  own('persistentVolumeReclaimPolicy', () => {
    if (spec.persistentVolumeReclaimPolicy) e.chosen(`${at}.persistentVolumeReclaimPolicy`, spec.persistentVolumeReclaimPolicy, RECLAIM)
  })
  if (spec.nodeAffinity) {
    if (spec.nodeAffinity.required) nodeSelector(e, `${at}.nodeAffinity.required`, spec.nodeAffinity.required)
    else e.required(`${at}.nodeAffinity.required`, 'must specify required node constraints')
    if (inline) e.forbidden(`${at}.nodeAffinity`, NOT_INLINE)
  }
  const source = oneSource(e, at, spec, ROWS, true)
  if (source === 'iscsi') iscsiLength(e, `${at}.iscsi.targetportal`, name, spec.iscsi, spec.iscsi?.targetPortal ?? '')
  if (source === 'local' && !spec.nodeAffinity) e.required(`${at}.nodeAffinity`, 'Local volume requires node affinity')
  if (/^\/+(\.?\/*)*$/.test(spec.hostPath?.path ?? '') && spec.persistentVolumeReclaimPolicy === 'Recycle') {
    e.forbidden(`${at}.persistentVolumeReclaimPolicy`, "may not be 'recycle' for a hostPath mount of '/'")
  }
  own('storageClassName', () => e.optional(`${at}.storageClassName`, spec.storageClassName, dnsSubdomainErrors))
  own('volumeMode', () => e.chosen(`${at}.volumeMode`, spec.volumeMode, VOLUME_MODES))
  if (spec.volumeAttributesClassName === undefined) return
  const path = `${at}.volumeAttributesClassName`
  if (spec.volumeAttributesClassName === '') e.required(path, 'an empty string is disallowed')
  else e.text(path, spec.volumeAttributesClassName, dnsSubdomainErrors)
  if (!spec.csi) e.required(`${at}.csi`, 'has to be specified when using volumeAttributesClassName')
}

function volumeCapacity(e: Findings, at: string, amounts: Readonly<Record<string, string>> | undefined): void {
  const capacity = Object.entries(amounts ?? {})
  if (capacity.length === 0) e.required(at)
  if (amounts?.storage === undefined || capacity.length > 1) e.unsupported(at, amounts ?? null, ['storage'])
  for (const [name, text] of capacity) {
    notNegative(e, `${at}[${name}]`, text)
    positiveQuantity(e, `${at}[${name}]`, text)
  }
}

/** Labels that nodes had before they had these. */
const GA_LABELS: Readonly<Record<string, string>> = {
  'failure-domain.beta.kubernetes.io/zone': 'topology.kubernetes.io/zone', 'failure-domain.beta.kubernetes.io/region': 'topology.kubernetes.io/region',
  'beta.kubernetes.io/os': 'kubernetes.io/os', 'beta.kubernetes.io/arch': 'kubernetes.io/arch', 'beta.kubernetes.io/instance-type': 'node.kubernetes.io/instance-type',
}

/** A volume keeps where it comes from, its mode and the nodes it is on. */
export function volumeUpdateErrors(next: PersistentVolume, old: PersistentVolume): FieldError[] {
  return findings((e) => {
    const [n, o]: [PersistentVolumeSpec, PersistentVolumeSpec] = [next.spec ?? {}, old.spec ?? {}]
    const sources = (spec: PersistentVolumeSpec): unknown => {
      const csi = spec.csi && { ...spec.csi }
      // A secret for expanding may come later.
      if (csi && o.csi?.controllerExpandSecretRef === undefined) delete csi.controllerExpandSecretRef
      return Object.fromEntries(KEYS.split(' ').map((key) => [key, (key === 'csi' ? csi : spec[key as keyof PersistentVolumeSpec]) ?? null]))
    }
    if (!equal(sources(n), sources(o))) e.forbidden('spec.persistentvolumesource', 'spec.persistentvolumesource is immutable after creation')
    e.add(immutable('volumeMode', n.volumeMode, o.volumeMode))
    if (o.nodeAffinity && !sameNodes(n, o)) e.invalid('nodeAffinity', n.nodeAffinity ?? null, `${IMMUTABLE}, except for updating from beta label to GA`)
    if (o.volumeAttributesClassName !== undefined && n.volumeAttributesClassName === undefined) {
      e.forbidden('spec.volumeAttributesClassName', 'update from non-nil value to nil is forbidden')
    }
  })
}

function sameNodes(next: PersistentVolumeSpec, old: PersistentVolumeSpec): boolean {
  const renamed = (spec: PersistentVolumeSpec): unknown =>
    (spec.nodeAffinity?.required?.nodeSelectorTerms ?? []).map((t) => ({
      ...t,
      matchExpressions: (t.matchExpressions ?? []).map((r: NodeSelectorRequirement) => ({ ...r, key: GA_LABELS[r.key] ?? r.key })),
    }))
  return equal(renamed(next), renamed(old))
}
