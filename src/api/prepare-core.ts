/**
 * What the server sets by itself on objects of core, apps and batch when they are written: selectors of Jobs, addresses of Services
 * in both their fields, what a pod's doors let through. Pure and in place; `prepare.ts` calls it before validation.
 */
import type {
  Container, DaemonSet, Job, LabelSelector, Namespace, PersistentVolumeClaim, PersistentVolumeClaimSpec, Pod, PodSpec, Service, ServiceSpec,
} from './gen/types.ts'
import type { KubeObject } from './meta.ts'
import { equal } from './patch/json-patch.ts'
import { qosClass } from './qos.ts'
import { needsHealthCheck } from './validate/service.ts'

/** Of old, apps/v1 has no field for it; controllers and people read it here. */
const TEMPLATE_GENERATION = 'deprecated.daemonset.template.generation'

type Creator = (object: never) => void
type Updater = (next: never, old: never, subresource: string | undefined) => void

const CREATE: Readonly<Record<string, Creator>> = {
  Pod: createPod,
  Job: generateSelector,
  Namespace: (n: Namespace) => {
    const { name } = n.metadata ?? {}
    if (name) n.metadata = { ...n.metadata, labels: { ...n.metadata?.labels, 'kubernetes.io/metadata.name': name } }
  },
  DaemonSet: (d: DaemonSet) => annotate(d, d.metadata?.annotations?.[TEMPLATE_GENERATION] ?? '1'),
  PersistentVolumeClaim: (c: PersistentVolumeClaim) => {
    if (c.spec) dataSources(c.spec)
  },
  Service: (s: Service) => bothAddresses(s.spec ?? {}, {}),
}

const UPDATE: Readonly<Record<string, Updater>> = {
  Pod: updatePod,
  DaemonSet: (next: DaemonSet, old: DaemonSet) => {
    const before = Number(old.metadata?.annotations?.[TEMPLATE_GENERATION] ?? '0')
    annotate(next, String(equal(next.spec?.template ?? null, old.spec?.template ?? null) ? Math.max(1, before) : before + 1))
  },
  Service: (next: Service, old: Service, subresource) => {
    if (subresource !== undefined || !next.spec) return
    const before = old.spec ?? {}
    bothAddresses(next.spec, before)
    dropUnused(next.spec, before)
    if (next.spec.type !== 'LoadBalancer') next.status = { ...next.status, loadBalancer: {} }
  },
}

/** A new object of a kind, by the name of its type; status and generation have been set. */
export function prepareCoreCreate(schema: string, object: KubeObject): void {
  CREATE[schema]?.(object as never)
}

/** An update of one, after the door has put back what it does not own. */
export function prepareCoreUpdate(schema: string, next: KubeObject, old: KubeObject, subresource: string | undefined): void {
  UPDATE[schema]?.(next as never, old as never, subresource)
}

function createPod(pod: Pod): void {
  const { spec } = pod
  if (!spec) return
  pod.status = { phase: 'Pending', qosClass: qosClass(spec) }
  if (spec.schedulingGates?.length) {
    const message = 'Scheduling is blocked due to non-empty scheduling gates'
    pod.status.conditions = [{ type: 'PodScheduled', status: 'False', reason: 'SchedulingGated', message }]
  }
  const labels = pod.metadata?.labels ?? {}
  for (const which of ['podAffinity', 'podAntiAffinity'] as const) {
    const terms = spec.affinity?.[which]
    const all = [
      ...(terms?.requiredDuringSchedulingIgnoredDuringExecution ?? []),
      ...(terms?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map((t) => t.podAffinityTerm),
    ]
    for (const t of all) {
      addKeys(t.labelSelector, t.matchLabelKeys, 'In', labels)
      addKeys(t.labelSelector, t.mismatchLabelKeys, 'NotIn', labels)
    }
  }
  for (const c of spec.topologySpreadConstraints ?? []) addKeys(c.labelSelector, c.matchLabelKeys, 'In', labels)
}

/** The keys of labels that a pod shares (or not) with others become requirements with its own values. */
function addKeys(selector: LabelSelector | undefined, keys: readonly string[] | undefined, operator: string, labels: Readonly<Record<string, string>>): void {
  if (!selector) return
  for (const key of keys ?? []) {
    const value = labels[key]
    if (value === undefined) continue
    const requirement = { key, operator, values: [value] }
    const there = selector.matchExpressions?.some((r) => equal(r, requirement)) ?? false
    if (!there) selector.matchExpressions = [...(selector.matchExpressions ?? []), requirement]
  }
}

/** Each door of a pod lets its own part through; the rest is as it was. */
function updatePod(next: Pod, old: Pod, subresource: string | undefined): void {
  if (subresource === 'status') {
    // Kubelets of old leave it out.
    if (next.status && !next.status.qosClass && old.status?.qosClass) next.status.qosClass = old.status.qosClass
  } else if (subresource === 'ephemeralcontainers') {
    const { ephemeralContainers } = next.spec ?? {}
    next.spec = { ...(old.spec as PodSpec), ...(ephemeralContainers && { ephemeralContainers }) }
    if (!ephemeralContainers) delete next.spec.ephemeralContainers
    keepMeta(next, old)
  } else if (subresource === 'resize') {
    const asked = next.spec
    const parts = (field: 'containers' | 'initContainers'): Container[] | undefined => sized(asked?.[field], old.spec?.[field])
    const [containers, initContainers] = [parts('containers') ?? [], parts('initContainers')]
    next.spec = { ...(old.spec as PodSpec), containers, ...(initContainers && { initContainers }) }
    keepMeta(next, old)
  }
}

/** Labels and the like come in by the pod's own door. */
function keepMeta(next: Pod, old: Pod): void {
  const { resourceVersion, managedFields } = next.metadata ?? {}
  next.metadata = { ...old.metadata, ...(resourceVersion !== undefined && { resourceVersion }), ...(managedFields && { managedFields }) }
}

/** The old containers with the resources and resize policies asked for; another list is left for validation to refuse. */
function sized(asked: readonly Container[] | undefined, old: readonly Container[] | undefined): Container[] | undefined {
  if (!asked || asked.length !== (old?.length ?? 0)) return asked && [...asked]
  return asked.map((c, i) => {
    const was = old?.[i] as Container
    if (was.name !== c.name) return c
    const { resources: _resources, resizePolicy: _policy, ...rest } = was
    return { ...rest, ...(c.resources && { resources: c.resources }), ...(c.resizePolicy && { resizePolicy: c.resizePolicy }) }
  })
}

/** A selector that meets the pods of this Job and no others, unless its author sees to that. */
function generateSelector(job: Job): void {
  const { spec, metadata } = job
  if (!spec?.template || spec.manualSelector) return
  const [uid, name] = [metadata?.uid ?? '', metadata?.name ?? '']
  const generated = { 'job-name': name, 'batch.kubernetes.io/job-name': name, 'controller-uid': uid, 'batch.kubernetes.io/controller-uid': uid }
  // What the author set stands, and is refused when it does not fit.
  spec.template.metadata = { ...spec.template.metadata, labels: { ...generated, ...spec.template.metadata?.labels } }
  spec.selector = { ...spec.selector, matchLabels: { 'batch.kubernetes.io/controller-uid': uid, ...spec.selector?.matchLabels } }
  // Kubernetes' default of a Job without labels, which it applies when it reads: those of its pods.
  if (Object.keys(metadata?.labels ?? {}).length === 0) job.metadata = { ...metadata, labels: spec.template.metadata.labels as Record<string, string> }
}

function annotate(d: DaemonSet, generation: string): void {
  d.metadata = { ...d.metadata, annotations: { ...d.metadata?.annotations, [TEMPLATE_GENERATION]: generation } }
}

/** The old field for where a claim's data comes from and the new one say the same; only claims and snapshots go by the old one. */
function dataSources(spec: PersistentVolumeClaimSpec): void {
  const { dataSource: o, dataSourceRef: n } = spec
  if (n) {
    if (!o && !n.namespace) spec.dataSource = { ...(n.apiGroup !== undefined && { apiGroup: n.apiGroup }), kind: n.kind, name: n.name }
    return
  }
  if (!o) return
  const known = (o.kind === 'PersistentVolumeClaim' && !o.apiGroup) || (o.kind === 'VolumeSnapshot' && o.apiGroup === 'snapshot.storage.k8s.io')
  if (known) spec.dataSourceRef = { ...o }
  else delete spec.dataSource
}

/** `clusterIP` is the first of `clusterIPs`, whichever of the two a client speaks. */
function bothAddresses(spec: ServiceSpec, old: ServiceSpec): void {
  const given = spec.clusterIPs ?? []
  const before = old.clusterIPs ?? []
  if (spec.clusterIP && given.length === 0) spec.clusterIPs = [spec.clusterIP]
  // A client that knows one of the fields changed that one alone.
  else if (given.length > 0 && equal(given, before) && (spec.clusterIP ?? '') !== (old.clusterIP ?? '')) {
    if (spec.clusterIP) spec.clusterIPs = [spec.clusterIP]
    else delete spec.clusterIPs
  }
}

const needsAddress = (s: ServiceSpec): boolean => s.type !== 'ExternalName'
const needsNodePort = (s: ServiceSpec): boolean => s.type === 'NodePort' || (s.type === 'LoadBalancer' && s.allocateLoadBalancerNodePorts !== false)
const isBalanced = (s: ServiceSpec): boolean => s.type === 'LoadBalancer'
const hasExternal = (s: ServiceSpec): boolean => s.type === 'NodePort' || isBalanced(s) || (s.type === 'ClusterIP' && (s.externalIPs?.length ?? 0) > 0)

/** Fields that only the old type had and that the author did not touch go with it. */
const DEPENDENT: readonly (readonly [needs: (s: ServiceSpec) => boolean, ...fields: (keyof ServiceSpec)[]])[] = [
  [needsAddress, 'clusterIP', 'clusterIPs'],
  [needsAddress, 'ipFamilies'],
  [needsAddress, 'ipFamilyPolicy'],
  [needsHealthCheck, 'healthCheckNodePort'],
  [isBalanced, 'allocateLoadBalancerNodePorts'],
  [isBalanced, 'loadBalancerClass'],
  [hasExternal, 'externalTrafficPolicy'],
]

function dropUnused(spec: ServiceSpec, old: ServiceSpec): void {
  for (const [needs, ...fields] of DEPENDENT) {
    if (!needs(old) || needs(spec) || !fields.every((f) => equal(spec[f] ?? null, old[f] ?? null))) continue
    for (const f of fields) delete spec[f]
  }
  const numbers = (s: ServiceSpec): unknown => (s.ports ?? []).map((p) => p.nodePort ?? 0)
  if (needsNodePort(old) && !needsNodePort(spec) && equal(numbers(spec), numbers(old))) for (const p of spec.ports ?? []) delete p.nodePort
}
