/**
 * What the server itself sets when an object is written: the status a new object begins with, the part that a write through this
 * door may not touch, and `metadata.generation`. In place, before validation.
 */
import type { Namespace } from './gen/types.ts'
import type { KubeObject } from './meta.ts'
import { equal } from './patch/json-patch.ts'
import { prepareCoreCreate, prepareCoreUpdate } from './prepare-core.ts'
import type { ResourceDef } from './resource.ts'

type Loose = KubeObject & { spec?: unknown; status?: unknown }

/** True when the status has a door of its own, so that the main one leaves it alone. */
export function hasStatus(def: ResourceDef): boolean {
  return def.subresources.some((s) => s.name === 'status')
}

/** A new object: status reset (a Node brings its own, as kubelets send it), generation 1, what the registry of a kind begins with. */
export function prepareCreate(def: ResourceDef, object: KubeObject): void {
  const o = object as Loose
  if (hasStatus(def) && def.schema !== 'Node') delete o.status
  if (counts(def, o)) o.metadata = { ...o.metadata, generation: 1 }
  else if (o.metadata) delete o.metadata.generation
  if (def.custom) return
  switch (def.schema) {
    case 'Namespace': {
      const namespace = o as Namespace
      namespace.spec = { finalizers: [...new Set([...(namespace.spec?.finalizers ?? []), 'kubernetes'])] }
      namespace.status = { phase: 'Active' }
      break
    }
    case 'PersistentVolume':
    case 'PersistentVolumeClaim':
      o.status = { phase: 'Pending' }
      break
    default:
      if (FIRST_STATUS[def.schema]) o.status = { ...FIRST_STATUS[def.schema] }
  }
  prepareCoreCreate(def.schema, object)
}

/** What the status of a kind says before anybody has looked at the object, and at least afterwards: the numbers that Kubernetes' types never leave out. */
const FIRST_STATUS: Readonly<Record<string, object>> = {
  APIService: {}, CertificateSigningRequest: {}, CronJob: {}, Deployment: {}, FlowSchema: {}, Job: {}, PriorityLevelConfiguration: {}, ResourceQuota: {}, ResourceResourceClaim: {},
  ServiceCIDR: {}, ValidatingAdmissionPolicy: {},
  DaemonSet: { currentNumberScheduled: 0, numberMisscheduled: 0, desiredNumberScheduled: 0, numberReady: 0 },
  HorizontalPodAutoscaler: { currentReplicas: 0, desiredReplicas: 0 },
  Ingress: { loadBalancer: {} },
  PodDisruptionBudget: { disruptionsAllowed: 0, currentHealthy: 0, desiredHealthy: 0, expectedPods: 0 },
  ReplicaSet: { replicas: 0 },
  ReplicationController: { replicas: 0 },
  StatefulSet: { replicas: 0, availableReplicas: 0 },
  V2HorizontalPodAutoscaler: { desiredReplicas: 0 },
  VolumeAttachment: { attached: false },
}

/**
 * An update through the main door (`subresource` undefined) keeps the old status; through `status` it keeps everything else of the
 * content. The generation grows when the content other than metadata and status changed.
 */
export function prepareUpdate(def: ResourceDef, next: KubeObject, old: KubeObject, subresource?: string): void {
  const [n, o] = [next as Loose, old as Loose]
  if (subresource === 'status' || subresource === 'approval') keepContent(def, n, o)
  else if (hasStatus(def)) keep(n, o, 'status')
  if (subresource === 'approval') keepCertificate(n, o)
  const least = subresource === 'status' && !def.custom ? FIRST_STATUS[def.schema] : undefined
  if (least) n.status = { ...least, ...(n.status as object | undefined) }
  // Only `finalize` empties a namespace's finalizers.
  if (def.schema === 'Namespace' && !def.custom && subresource !== 'finalize') keep(n, o, 'spec')
  if (!def.custom) prepareCoreUpdate(def.schema, next, old, subresource)
  const generation = old.metadata?.generation
  if (generation === undefined && !counts(def, n)) return
  const relabelled = def.schema === 'EndpointSlice' && !def.custom && !equal(n.metadata?.labels ?? {}, o.metadata?.labels ?? {})
  const changed = relabelled || (!equal(content(n), content(o)) && (def.custom !== undefined || !FIXED.has(def.schema)))
  n.metadata = { ...n.metadata, generation: (generation ?? 0) + (changed ? 1 : 0) }
}

/** Kinds whose changes are counted: those with a spec and a few without, as far as Kubernetes counts them. */
function counts(def: ResourceDef, object: Loose): boolean {
  if (def.custom || COUNTED.has(def.schema)) return true
  return object.spec !== undefined && !UNCOUNTED.has(def.schema)
}

/** Kinds without a spec that count. */
const COUNTED = new Set(['EndpointSlice', 'MutatingWebhookConfiguration', 'PodTemplate', 'PriorityClass', 'ValidatingWebhookConfiguration'])
/** Kinds that begin to count and never go on. */
const FIXED = new Set(['PriorityClass'])

const UNCOUNTED = new Set([
  'Node', 'Namespace', 'Service', 'ServiceAccount', 'PersistentVolume', 'PersistentVolumeClaim', 'Lease', 'CertificateSigningRequest',
  'ResourceQuota', 'LimitRange', 'VolumeAttachment', 'CSINode', 'CSIDriver', 'APIService', 'HorizontalPodAutoscaler', 'V2HorizontalPodAutoscaler',
  'IPAddress', 'ServiceCIDR', 'ResourceResourceClaim', 'ResourceClaimTemplate',
])

function keepContent(def: ResourceDef, next: Loose, old: Loose): void {
  for (const key of new Set([...Object.keys(next), ...Object.keys(old)])) {
    if (key === 'status' || key === 'metadata' || key === 'apiVersion' || key === 'kind') continue
    keep(next, old, key as keyof Loose)
  }
  // A status writer of a custom object changes nothing of its metadata; the built-in kinds let labels and annotations through.
  if (def.custom) {
    const { resourceVersion, managedFields } = next.metadata ?? {}
    next.metadata = { ...old.metadata, ...(resourceVersion !== undefined && { resourceVersion }), ...(managedFields && { managedFields }) }
  } else if (next.metadata) {
    keep(next.metadata, old.metadata ?? {}, 'ownerReferences')
    keep(next.metadata, old.metadata ?? {}, 'deletionTimestamp')
  }
}

/** The approval door writes conditions only. */
function keepCertificate(next: Loose, old: Loose): void {
  const before = (old.status ?? {}) as { certificate?: string }
  const { certificate: _ignored, ...rest } = (next.status ?? {}) as { certificate?: string }
  next.status = before.certificate === undefined ? rest : { ...rest, certificate: before.certificate }
}

function keep<T extends object>(next: T, old: T, key: keyof T): void {
  if (old[key] === undefined) delete next[key]
  else next[key] = old[key]
}

function content(o: Loose): unknown {
  return Object.fromEntries(Object.entries(o).filter(([k]) => k !== 'metadata' && k !== 'status' && k !== 'apiVersion' && k !== 'kind'))
}
