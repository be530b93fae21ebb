/** Validation of PersistentVolumes. */
import type { NodeSelectorRequirement, PersistentVolume, PersistentVolumeSpec } from '../gen/types.ts'
import { dnsSubdomainErrors } from '../names.ts'
import { equal } from '../patch/json-patch.ts'
import type { FieldError } from '../status.ts'
import { VOLUME_MODES, accessModes, notNegative } from './claim.ts'
import { IMMUTABLE, findings } from './field.ts'
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
export function volumeErrors(v: PersistentVolume): FieldError[] {
  return findings((e) => {
    const spec: PersistentVolumeSpec = v.spec ?? {}
    if (!spec.accessModes?.length) e.required('spec.accessModes')
    accessModes(e, 'spec.accessModes', spec.accessModes ?? [])
    const capacity = Object.entries(spec.capacity ?? {})
    if (capacity.length === 0) e.required('spec.capacity')
    if (spec.capacity?.storage === undefined || capacity.length > 1) e.unsupported('spec.capacity', spec.capacity ?? null, ['storage'])
    for (const [name, text] of capacity) {
      notNegative(e, `spec.capacity[${name}]`, text)
      positiveQuantity(e, `spec.capacity[${name}]`, text)
    }
    if (spec.persistentVolumeReclaimPolicy) e.chosen('spec.persistentVolumeReclaimPolicy', spec.persistentVolumeReclaimPolicy, RECLAIM)
    if (spec.nodeAffinity) {
      if (spec.nodeAffinity.required) nodeSelector(e, 'spec.nodeAffinity.required', spec.nodeAffinity.required)
      else e.required('spec.nodeAffinity.required', 'must specify required node constraints')
    }
    const source = oneSource(e, 'spec', spec, ROWS, true)
    if (source === 'iscsi') iscsiLength(e, 'spec.iscsi.targetportal', v.metadata?.name ?? '', spec.iscsi, spec.iscsi?.targetPortal ?? '')
    if (source === 'local' && !spec.nodeAffinity) e.required('spec.nodeAffinity', 'Local volume requires node affinity')
    if (/^\/+(\.?\/*)*$/.test(spec.hostPath?.path ?? '') && spec.persistentVolumeReclaimPolicy === 'Recycle') {
      e.forbidden('spec.persistentVolumeReclaimPolicy', "may not be 'recycle' for a hostPath mount of '/'")
    }
    e.optional('spec.storageClassName', spec.storageClassName, dnsSubdomainErrors)
    e.chosen('spec.volumeMode', spec.volumeMode, VOLUME_MODES)
    if (spec.volumeAttributesClassName === undefined) return
    const path = 'spec.volumeAttributesClassName'
    if (spec.volumeAttributesClassName === '') e.required(path, 'an empty string is disallowed')
    else e.text(path, spec.volumeAttributesClassName, dnsSubdomainErrors)
    if (!spec.csi) e.required('spec.csi', 'has to be specified when using volumeAttributesClassName')
  })
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
