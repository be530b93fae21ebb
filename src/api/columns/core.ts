/** Printed columns of core kinds, as kubectl users know them. */
import type {
  ComponentStatus, ConfigMap, ContainerStatus, Endpoints, Event, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, PodTemplate, ReplicationController,
  ResourceQuota, Secret, Service, ServiceAccount,
} from '../gen/types.ts'
import { age, atMost, conditionOf, labelsText, nameOf, orNone, printer, since } from './column.ts'
import type { Printer, RowCondition } from './column.ts'

const ROLE_PREFIX = 'node-role.kubernetes.io/'

export const pods: Printer = printer<Pod>(
  [
    'Name', 'Ready | The aggregate readiness state of this pod for accepting traffic.', 'Status | The aggregate status of the containers in this pod.',
    'n:Restarts | The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.', 'Age',
    'IP+ | PodStatus.podIP', 'Node+ | PodSpec.nodeName', 'Nominated Node+ | PodStatus.nominatedNodeName', 'Readiness Gates+ | PodSpec.readinessGates',
  ],
  (pod, now) => {
    const s = podSummary(pod)
    const restarts = s.restarts > 0 && s.lastRestart ? `${s.restarts} (${since(s.lastRestart, now)} ago)` : String(s.restarts)
    const gates = pod.spec?.readinessGates ?? []
    const passed = gates.filter((g) => conditionOf(pod.status?.conditions, g.conditionType)?.status === 'True').length
    return [
      nameOf(pod),
      `${s.ready}/${s.total}`,
      s.reason,
      restarts,
      age(pod, now),
      pod.status?.podIPs?.[0]?.ip || pod.status?.podIP || '<none>',
      pod.spec?.nodeName || '<none>',
      pod.status?.nominatedNodeName || '<none>',
      gates.length === 0 ? '<none>' : `${passed}/${gates.length}`,
    ]
  },
  { conditions: (pod) => ENDED[(pod as Pod).status?.phase ?? ''] },
)

const ENDED: Readonly<Record<string, readonly RowCondition[]>> = {
  Succeeded: [{ type: 'Completed', status: 'True', reason: 'Succeeded', message: 'The pod has completed successfully.' }],
  Failed: [{ type: 'Completed', status: 'True', reason: 'Failed', message: 'The pod failed.' }],
}

export interface PodSummary {
  /** The word under STATUS: `Running`, `CrashLoopBackOff`, `Init:0/1`, `Terminating`. */
  readonly reason: string
  readonly ready: number
  readonly total: number
  readonly restarts: number
  readonly lastRestart: string | undefined
}

/** What one line says of a pod; also used by the dashboard and by `describe`-like output. */
export function podSummary(pod: Readonly<Pod>): PodSummary {
  const status = pod.status ?? {}
  const restartable = new Set((pod.spec?.initContainers ?? []).filter((c) => c.restartPolicy === 'Always').map((c) => c.name))
  const total = (pod.spec?.containers.length ?? 0) + restartable.size
  let reason = status.reason || status.phase || ''
  if (conditionOf(status.conditions, 'PodScheduled')?.reason === 'SchedulingGated') reason = 'SchedulingGated'
  let ready = 0
  let initializing = false
  const inits = status.initContainerStatuses ?? []
  for (const [i, c] of inits.entries()) {
    if (c.state?.terminated?.exitCode === 0) continue
    if (restartable.has(c.name) && c.started) {
      if (c.ready) ready++
      continue
    }
    reason = `Init:${initReason(c, i, pod.spec?.initContainers?.length ?? 0)}`
    initializing = true
    break
  }
  let counted = inits
  if (!initializing || conditionOf(status.conditions, 'Initialized')?.status === 'True') {
    const containers = status.containerStatuses ?? []
    let running = false
    for (const c of containers.toReversed()) {
      if (c.state?.waiting?.reason) reason = c.state.waiting.reason
      else if (c.state?.terminated) reason = terminatedReason(c)
      else if (c.ready && c.state?.running) {
        running = true
        ready++
      }
    }
    if (reason === 'Completed' && running) reason = conditionOf(status.conditions, 'Ready')?.status === 'True' ? 'Running' : 'NotReady'
    counted = [...inits.filter((c) => restartable.has(c.name)), ...containers]
  }
  if (pod.metadata?.deletionTimestamp) {
    if (status.reason === 'NodeLost') reason = 'Unknown'
    else if (status.phase !== 'Succeeded' && status.phase !== 'Failed') reason = 'Terminating'
  }
  const finished = counted.flatMap((c) => c.lastState?.terminated?.finishedAt ?? [])
  const lastRestart = finished.length === 0 ? undefined : finished.reduce((a, b) => (Date.parse(a) > Date.parse(b) ? a : b))
  return { reason, ready, total, restarts: counted.reduce((n, c) => n + c.restartCount, 0), lastRestart }
}

function initReason(c: ContainerStatus, index: number, count: number): string {
  if (c.state?.terminated) return terminatedReason(c)
  const waiting = c.state?.waiting?.reason
  return waiting && waiting !== 'PodInitializing' ? waiting : `${index}/${count}`
}

function terminatedReason(c: ContainerStatus): string {
  const t = c.state?.terminated
  return t?.reason || (t?.signal ? `Signal:${t.signal}` : `ExitCode:${t?.exitCode ?? 0}`)
}

export const nodes: Printer = printer<Node>(
  [
    'Name', 'Status | The status of the node', 'Roles | The roles of the node', 'Age', 'Version | NodeSystemInfo.kubeletVersion', 'Internal-IP+ | NodeStatus.addresses',
    'External-IP+ | NodeStatus.addresses', 'OS-Image+ | NodeSystemInfo.osImage', 'Kernel-Version+ | NodeSystemInfo.kernelVersion',
    'Container-Runtime+ | NodeSystemInfo.containerRuntimeVersion',
  ],
  (node, now) => {
    const ready = conditionOf(node.status?.conditions, 'Ready')
    const status = [ready === undefined ? 'Unknown' : ready.status === 'True' ? 'Ready' : 'NotReady']
    if (node.spec?.unschedulable) status.push('SchedulingDisabled')
    const roles = new Set<string>()
    for (const [k, v] of Object.entries(node.metadata?.labels ?? {})) {
      if (k.startsWith(ROLE_PREFIX) && k.length > ROLE_PREFIX.length) roles.add(k.slice(ROLE_PREFIX.length))
      else if (k === 'kubernetes.io/role' && v !== '') roles.add(v)
    }
    const address = (type: string): string => node.status?.addresses?.find((a) => a.type === type)?.address ?? '<none>'
    const info = node.status?.nodeInfo
    return [
      nameOf(node),
      status.join(','),
      orNone([...roles].sort()),
      age(node, now),
      info?.kubeletVersion ?? '',
      address('InternalIP'),
      address('ExternalIP'),
      info?.osImage || '<unknown>',
      info?.kernelVersion || '<unknown>',
      info?.containerRuntimeVersion || '<unknown>',
    ]
  },
)

export const namespaces: Printer = printer<Namespace>(['Name', 'Status | The status of the namespace', 'Age'], (ns, now) => [nameOf(ns), ns.status?.phase ?? '', age(ns, now)])

export const configMaps: Printer = printer<ConfigMap>(['Name', 'Data | ConfigMap.data', 'Age'], (c, now) => [
  nameOf(c),
  Object.keys(c.data ?? {}).length + Object.keys(c.binaryData ?? {}).length,
  age(c, now),
])

export const secrets: Printer = printer<Secret>(['Name', 'Type | Secret.type', 'Data | Secret.data', 'Age'], (s, now) => [
  nameOf(s),
  s.type ?? '',
  Object.keys(s.data ?? {}).length,
  age(s, now),
])

export const serviceAccounts: Printer = printer<ServiceAccount>(['Name', 'Secrets | ServiceAccount.secrets', 'Age'], (s, now) => [nameOf(s), s.secrets?.length ?? 0, age(s, now)])

export const services: Printer = printer<Service>([
  'Name', 'Type | ServiceSpec.type', 'Cluster-IP | ServiceSpec.clusterIP', 'External-IP | ServiceSpec.externalIPs', 'Port(s) | ServiceSpec.ports', 'Age',
  'Selector+ | ServiceSpec.selector',
], (s, now) => {
  const ports = (s.spec?.ports ?? []).map((p) => `${p.port}${p.nodePort ? `:${p.nodePort}` : ''}/${p.protocol ?? 'TCP'}`)
  return [
    nameOf(s),
    s.spec?.type ?? 'ClusterIP',
    s.spec?.clusterIPs?.[0] || s.spec?.clusterIP || '<none>',
    externalIp(s),
    orNone(ports),
    age(s, now),
    labelsText(s.spec?.selector),
  ]
})

function externalIp(s: Service): string {
  if (s.spec?.type === 'ExternalName') return s.spec.externalName ?? ''
  const ips = [...(s.spec?.externalIPs ?? [])]
  if (s.spec?.type !== 'LoadBalancer') return orNone(ips)
  const balanced = balancerAddresses(s.status?.loadBalancer?.ingress)
  return [...(balanced === '' ? [] : [balanced]), ...ips].join(',') || '<pending>'
}

/** Addresses of a load balancer, each once and sorted; empty when it has none. */
export function balancerAddresses(ingress: readonly { readonly ip?: string; readonly hostname?: string }[] | undefined): string {
  return [...new Set((ingress ?? []).flatMap((i) => i.ip || i.hostname || []))].sort().join(',')
}

export const events: Printer = printer<Event>(
  [
    'Last Seen | Event.lastTimestamp', 'Type | Event.type', 'Reason | Event.reason', 'Object | Event.involvedObject', 'Subobject+ | ObjectReference.fieldPath',
    'Source+ | Event.source', 'Message | Event.message', 'First Seen+ | Event.firstTimestamp', 'Count+ | Event.count', 'Name+',
  ],
  (e, now) => {
    const first = e.firstTimestamp ?? e.eventTime
    const last = e.series?.lastObservedTime ?? e.lastTimestamp ?? first
    const involved = e.involvedObject
    return [
      since(last, now),
      e.type ?? '',
      e.reason ?? '',
      involved.name ? `${(involved.kind ?? '').toLowerCase()}/${involved.name}` : (involved.kind ?? '').toLowerCase(),
      involved.fieldPath ?? '',
      eventSource(e),
      (e.message ?? '').trim(),
      since(first, now),
      e.series ? (e.series.count ?? 0) : e.count || 1,
      nameOf(e),
    ]
  },
)

function eventSource(e: Event): string {
  const instance = e.source?.host || e.reportingInstance
  return `${e.source?.component || e.reportingComponent || ''}${instance ? `, ${instance}` : ''}`
}

/** The annotation that named a storage class before there was a field for it; it still wins. */
const OLD_CLASS = 'volume.beta.kubernetes.io/storage-class'

export const persistentVolumes: Printer = printer<PersistentVolume>(
  [
    'Name', 'Capacity | PersistentVolumeSpec.capacity', 'Access Modes | PersistentVolumeSpec.accessModes',
    'Reclaim Policy | PersistentVolumeSpec.persistentVolumeReclaimPolicy', 'Status | PersistentVolumeStatus.phase', 'Claim | PersistentVolumeSpec.claimRef',
    'StorageClass | StorageClass of the pv', 'VolumeAttributesClass | VolumeAttributesClass of the pv', 'Reason | PersistentVolumeStatus.reason', 'Age',
    'VolumeMode+ | PersistentVolumeSpec.volumeMode',
  ],
  (v, now) => [
    nameOf(v),
    v.spec?.capacity?.storage ?? '0',
    accessModes(v.spec?.accessModes),
    v.spec?.persistentVolumeReclaimPolicy ?? '',
    v.metadata?.deletionTimestamp ? 'Terminating' : (v.status?.phase ?? ''),
    v.spec?.claimRef ? `${v.spec.claimRef.namespace ?? ''}/${v.spec.claimRef.name ?? ''}` : '',
    v.metadata?.annotations?.[OLD_CLASS] ?? v.spec?.storageClassName ?? '',
    v.spec?.volumeAttributesClassName ?? '<unset>',
    v.status?.reason ?? '',
    age(v, now),
    v.spec?.volumeMode ?? '<unset>',
  ],
)

export const persistentVolumeClaims: Printer = printer<PersistentVolumeClaim>(
  [
    'Name', 'Status | PersistentVolumeClaimStatus.phase', 'Volume | PersistentVolumeClaimSpec.volumeName', 'Capacity | PersistentVolumeClaimStatus.capacity',
    'Access Modes | PersistentVolumeClaimStatus.accessModes', 'StorageClass | StorageClass of the pvc', 'VolumeAttributesClass | VolumeAttributesClass of the pvc', 'Age',
    'VolumeMode+ | PersistentVolumeClaimSpec.volumeMode',
  ],
  (c, now) => [
    nameOf(c),
    c.metadata?.deletionTimestamp ? 'Terminating' : (c.status?.phase ?? ''),
    c.spec?.volumeName ?? '',
    c.spec?.volumeName ? (c.status?.capacity?.storage ?? '0') : '',
    c.spec?.volumeName ? accessModes(c.status?.accessModes) : '',
    c.metadata?.annotations?.[OLD_CLASS] ?? c.spec?.storageClassName ?? '',
    c.spec?.volumeAttributesClassName ?? '<unset>',
    age(c, now),
    c.spec?.volumeMode ?? '<unset>',
  ],
)

const MODES: Readonly<Record<string, string>> = { ReadWriteOnce: 'RWO', ReadOnlyMany: 'ROX', ReadWriteMany: 'RWX', ReadWriteOncePod: 'RWOP' }
function accessModes(modes: readonly string[] | undefined): string {
  return Object.keys(MODES).filter((m) => modes?.includes(m)).map((m) => MODES[m]).join(',')
}

export const endpoints: Printer = printer<Endpoints>(['Name', 'Endpoints | Endpoints.subsets', 'Age'], (e, now) => {
  const all = (e.subsets ?? []).flatMap((s) =>
    s.ports?.length ? s.ports.flatMap((p) => (s.addresses ?? []).map((a) => (a.ip.includes(':') ? `[${a.ip}]:${p.port}` : `${a.ip}:${p.port}`))) : (s.addresses ?? []).map((a) => a.ip),
  )
  return [nameOf(e), e.subsets?.length ? atMost(3, all) : '<none>', age(e, now)]
})

export const replicationControllers: Printer = printer<ReplicationController>(
  [
    'Name', 'n:Desired | ReplicationControllerSpec.replicas', 'n:Current | ReplicationControllerStatus.replicas', 'n:Ready | ReplicationControllerStatus.readyReplicas',
    'Age', 'Containers+', 'Images+', 'Selector+ | ReplicationControllerSpec.selector',
  ],
  (r, now) => [
    nameOf(r), r.spec?.replicas ?? 0, r.status?.replicas ?? 0, r.status?.readyReplicas ?? 0, age(r, now),
    ...containerCells(r.spec?.template?.spec?.containers), labelsText(r.spec?.selector),
  ],
)

export const podTemplates: Printer = printer<PodTemplate>(['Name', 'Containers', 'Images', 'Pod Labels | The labels for the pod template.'], (t) => [
  nameOf(t),
  ...containerCells(t.template?.spec?.containers),
  labelsText(t.template?.metadata?.labels),
])

export const resourceQuotas: Printer = printer<ResourceQuota>([
  'Name', 'Request | Request represents a minimum amount of cpu/memory that a container may consume.',
  'Limit | Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.', 'Age',
], (q, now) => {
  const text = (limits: boolean): string =>
    Object.entries(q.status?.hard ?? {})
      .filter(([k]) => k.startsWith('limits.') === limits)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([k, v]) => `${k}: ${q.status?.used?.[k] ?? '0'}/${v}`)
      .join(', ')
  return [nameOf(q), text(false), text(true), age(q, now)]
})

export const componentStatuses: Printer = printer<ComponentStatus>(
  ['Name', 'Status | Status of the component conditions', 'Message | Message of the component conditions', 'Error | Error of the component conditions'],
  (c) => {
    const healthy = c.conditions?.find((x) => x.type === 'Healthy')
    return [nameOf(c), healthy ? (healthy.status === 'True' ? 'Healthy' : 'Unhealthy') : 'Unknown', healthy?.message ?? '', healthy?.error ?? '']
  },
)

/** Names and images of containers, the two wide cells of every workload. */
export function containerCells(containers: readonly { readonly name: string; readonly image?: string }[] | undefined): [string, string] {
  return [(containers ?? []).map((c) => c.name).join(','), (containers ?? []).map((c) => c.image ?? '').join(',')]
}

