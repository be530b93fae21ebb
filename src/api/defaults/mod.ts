/**
 * Defaulting by kind, in place, on an object that has decoded without errors. Runs on create, update and patch, before admission.
 * Fields that a registry allocates or a controller decides (cluster IPs, status) are not defaults and not here.
 */
import type {
  CronJob, DaemonSet, Deployment, Endpoints, Job, LimitRange, LimitRangeItem, Namespace, Node, PersistentVolume, PersistentVolumeClaim, PodTemplate,
  ReplicaSet, ReplicationController, ResourceQuota, Secret, Service, StatefulSet, V2HorizontalPodAutoscaler, V2HPAScalingRules,
} from '../gen/types.ts'
import type { KubeObject, ObjectMeta } from '../meta.ts'
import { fill, fillEmpty } from './fill.ts'
import type { Defaulter } from './fill.ts'
import { OTHER_DEFAULTERS } from './other-groups.ts'
import { defaultPod, defaultSource, defaultTemplate } from './pod.ts'
import { roundAmounts, roundRequirements } from './quantities.ts'

/** By name of the type. */
const DEFAULTERS: Readonly<Record<string, Defaulter>> = {
  ...OTHER_DEFAULTERS,
  Pod: defaultPod,
  PodTemplate: (o: PodTemplate) => defaultTemplate(o.template),
  Deployment: (o: Deployment) => {
    if (!o.spec) return
    fill(o.spec, { replicas: 1, revisionHistoryLimit: 10, progressDeadlineSeconds: 600, strategy: {} })
    const strategy = o.spec.strategy as NonNullable<typeof o.spec.strategy>
    fill(strategy, { type: 'RollingUpdate' })
    if (strategy.type === 'RollingUpdate') {
      fill(strategy, { rollingUpdate: {} })
      fill(strategy.rollingUpdate as object, { maxUnavailable: '25%', maxSurge: '25%' })
    }
    defaultTemplate(o.spec.template)
  },
  ReplicaSet: (o: ReplicaSet) => {
    if (!o.spec) return
    fill(o.spec, { replicas: 1 })
    defaultTemplate(o.spec.template)
  },
  ReplicationController: (o: ReplicationController) => {
    if (!o.spec) return
    const labels = o.spec.template?.metadata?.labels
    fill(o.spec, { replicas: 1 })
    if (labels && Object.keys(o.spec.selector ?? {}).length === 0) o.spec.selector = { ...labels }
    inheritLabels(o, labels)
    defaultTemplate(o.spec.template)
  },
  DaemonSet: (o: DaemonSet) => {
    if (!o.spec) return
    fill(o.spec, { revisionHistoryLimit: 10, updateStrategy: {} })
    const strategy = o.spec.updateStrategy as NonNullable<typeof o.spec.updateStrategy>
    fill(strategy, { type: 'RollingUpdate' })
    if (strategy.type === 'RollingUpdate') {
      fill(strategy, { rollingUpdate: {} })
      fill(strategy.rollingUpdate as object, { maxUnavailable: 1, maxSurge: 0 })
    }
    defaultTemplate(o.spec.template)
  },
  StatefulSet: (o: StatefulSet) => {
    if (!o.spec) return
    fill(o.spec, {
      replicas: 1, revisionHistoryLimit: 10, podManagementPolicy: 'OrderedReady', updateStrategy: {}, serviceName: '',
      persistentVolumeClaimRetentionPolicy: {},
    })
    fill(o.spec.persistentVolumeClaimRetentionPolicy as object, { whenDeleted: 'Retain', whenScaled: 'Retain' })
    const strategy = o.spec.updateStrategy as NonNullable<typeof o.spec.updateStrategy>
    fill(strategy, { type: 'RollingUpdate' })
    if (strategy.type === 'RollingUpdate') {
      fill(strategy, { rollingUpdate: {} })
      fill(strategy.rollingUpdate as object, { partition: 0 })
    }
    for (const claim of o.spec.volumeClaimTemplates ?? []) {
      fill(claim, { apiVersion: 'v1', kind: 'PersistentVolumeClaim', status: { phase: 'Pending' } })
      defaultClaim(claim)
    }
    defaultTemplate(o.spec.template)
  },
  Job: (o: Job) => {
    defaultJobSpec(o.spec)
    inheritLabels(o, o.spec?.template?.metadata?.labels)
  },
  CronJob: (o: CronJob) => {
    if (!o.spec) return
    fill(o.spec, { concurrencyPolicy: 'Allow', suspend: false, successfulJobsHistoryLimit: 3, failedJobsHistoryLimit: 1 })
    if (o.spec.jobTemplate?.spec) defaultTemplate(o.spec.jobTemplate.spec.template)
  },
  Service: defaultService,
  Secret: (o: Secret) => {
    fillEmpty(o, { type: 'Opaque' })
    // Write-only convenience: plain text goes into data and is never stored as such.
    if (!o.stringData) return
    o.data = { ...o.data }
    for (const [k, v] of Object.entries(o.stringData)) o.data[k] = base64(v)
    delete o.stringData
  },
  Namespace: (o: Namespace) => {
    const name = o.metadata?.name
    if (name) o.metadata = { ...o.metadata, labels: { ...o.metadata?.labels, 'kubernetes.io/metadata.name': name } }
  },
  PersistentVolume: (o: PersistentVolume) => {
    if (!o.spec) return
    fillEmpty(o.spec, { persistentVolumeReclaimPolicy: 'Retain' })
    fill(o.spec, { volumeMode: 'Filesystem' })
    roundAmounts(o.spec.capacity)
    defaultSource(o.spec)
  },
  PersistentVolumeClaim: defaultClaim,
  Endpoints: (o: Endpoints) => {
    for (const s of o.subsets ?? []) for (const p of s.ports ?? []) fillEmpty(p, { protocol: 'TCP' })
  },
  LimitRange: (o: LimitRange) => {
    for (const item of o.spec?.limits ?? []) defaultLimit(item)
  },
  ResourceQuota: (o: ResourceQuota) => roundAmounts(o.spec?.hard),
  Node: (o: Node) => {
    if (o.status?.capacity && !o.status.allocatable) o.status.allocatable = { ...o.status.capacity }
  },
  V2HorizontalPodAutoscaler: (o: V2HorizontalPodAutoscaler) => {
    if (!o.spec) return
    fill(o.spec, { minReplicas: 1 })
    if (!o.spec.metrics?.length) {
      o.spec.metrics = [{ type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 80 } } }]
    }
    if (o.spec.behavior) o.spec.behavior = { scaleUp: { ...SCALE_UP, ...o.spec.behavior.scaleUp }, scaleDown: { ...SCALE_DOWN, ...o.spec.behavior.scaleDown } }
  },
  HorizontalPodAutoscaler: (o: { spec?: { minReplicas?: number } }) => o.spec && fill(o.spec, { minReplicas: 1 }),
}

/** How fast an autoscaler that says anything of it goes. */
const SCALE_UP: V2HPAScalingRules = {
  stabilizationWindowSeconds: 0, selectPolicy: 'Max', policies: [{ type: 'Pods', value: 4, periodSeconds: 15 }, { type: 'Percent', value: 100, periodSeconds: 15 }],
}
const SCALE_DOWN: V2HPAScalingRules = { selectPolicy: 'Max', policies: [{ type: 'Percent', value: 100, periodSeconds: 15 }] }

/** Fills in the defaults of a built-in kind; `schema` is the type's name (`ResourceDef.schema`). Kinds without any are left as they are. */
export function applyDefaults(schema: string, object: KubeObject): void {
  makeWhole(object, WHOLE[schema] ?? [])
  DEFAULTERS[schema]?.(object as never)
}

/** Parts that an object always has, however little was sent: outermost first. */
const TEMPLATED = ['spec', 'template', 'spec']
const WHOLE: Readonly<Record<string, readonly string[]>> = {
  Pod: ['spec'], PodTemplate: ['template', 'spec'], Service: ['spec'], PersistentVolume: ['spec'], PersistentVolumeClaim: ['spec'], ReplicationController: ['spec'],
  Deployment: TEMPLATED, ReplicaSet: TEMPLATED, DaemonSet: TEMPLATED, StatefulSet: TEMPLATED, Job: TEMPLATED, CronJob: ['spec', 'jobTemplate', ...TEMPLATED],
  HorizontalPodAutoscaler: ['spec'], V2HorizontalPodAutoscaler: ['spec'],
}

function makeWhole(object: object, path: readonly string[]): void {
  let at = object as Record<string, unknown>
  for (const key of path) at = (at[key] ??= {}) as Record<string, unknown>
}

function defaultJobSpec(spec: Job['spec']): void {
  if (!spec) return
  // Only when neither is given does a job run one pod once; parallelism alone means a work queue.
  if (spec.completions === undefined && spec.parallelism === undefined) fill(spec, { completions: 1, parallelism: 1 })
  fill(spec, {
    parallelism: 1, backoffLimit: spec.backoffLimitPerIndex === undefined ? 6 : 2147483647, completionMode: 'NonIndexed', suspend: false,
    manualSelector: false, podReplacementPolicy: spec.podFailurePolicy ? 'Failed' : 'TerminatingOrFailed',
  })
  defaultTemplate(spec.template)
}

function defaultService(o: Service): void {
  const { spec } = o
  if (!spec) return
  fillEmpty(spec, { sessionAffinity: 'None', type: 'ClusterIP' })
  if (spec.sessionAffinity === 'None') delete spec.sessionAffinityConfig
  // Three hours, unless all of it is said.
  else if (spec.sessionAffinity === 'ClientIP' && spec.sessionAffinityConfig?.clientIP?.timeoutSeconds === undefined) {
    spec.sessionAffinityConfig = { clientIP: { timeoutSeconds: 10800 } }
  }
  for (const p of spec.ports ?? []) fillEmpty(p, { protocol: 'TCP', targetPort: p.port })
  const { type } = spec
  const exposed = type === 'NodePort' || type === 'LoadBalancer' || (type === 'ClusterIP' && (spec.externalIPs?.length ?? 0) > 0)
  if (exposed) fillEmpty(spec, { externalTrafficPolicy: 'Cluster' })
  if (type === 'LoadBalancer') {
    fill(spec, { allocateLoadBalancerNodePorts: true })
    for (const x of o.status?.loadBalancer?.ingress ?? []) if (x.ip) fill(x, { ipMode: 'VIP' })
  }
  if (type === 'NodePort' || type === 'LoadBalancer' || type === 'ClusterIP') fill(spec, { internalTrafficPolicy: 'Cluster' })
}

function defaultClaim(o: PersistentVolumeClaim): void {
  if (!o.spec) return
  fill(o.spec, { volumeMode: 'Filesystem' })
  roundRequirements(o.spec.resources)
}

/** An object without labels has those of its pods. */
function inheritLabels(o: { metadata?: ObjectMeta }, labels: Readonly<Record<string, string>> | undefined): void {
  if (labels && Object.keys(o.metadata?.labels ?? {}).length === 0) o.metadata = { ...o.metadata, labels: { ...labels } }
}

/** Containers are given what they may have at most, and ask for that, or at least for the least. */
function defaultLimit(item: LimitRangeItem): void {
  for (const map of [item.max, item.min, item.default, item.defaultRequest, item.maxLimitRequestRatio]) roundAmounts(map)
  if (item.type !== 'Container') return
  const limits = { ...item.max, ...item.default }
  const requests = { ...item.min, ...limits, ...item.defaultRequest }
  if (Object.keys(limits).length > 0) item.default = limits
  if (Object.keys(requests).length > 0) item.defaultRequest = requests
}

/** UTF-8 to base64, in a browser too. */
function base64(text: string): string {
  let binary = ''
  for (const byte of new TextEncoder().encode(text)) binary += String.fromCharCode(byte)
  return btoa(binary)
}
