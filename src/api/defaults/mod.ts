/**
 * Defaulting by kind, in place, on an object that has decoded without errors. Runs on create, update and patch, before admission.
 * Fields that a registry allocates or a controller decides (cluster IPs, status) are not defaults and not here.
 */
import type {
  CronJob, DaemonSet, Deployment, Endpoints, Job, Namespace, PersistentVolume, PersistentVolumeClaim, PodTemplate, ReplicaSet,
  ReplicationController, Secret, Service, StatefulSet, V2HorizontalPodAutoscaler,
} from '../gen/types.ts'
import type { KubeObject } from '../meta.ts'
import { fill } from './fill.ts'
import type { Defaulter } from './fill.ts'
import { OTHER_DEFAULTERS } from './other-groups.ts'
import { defaultPod, defaultTemplate } from './pod.ts'

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
    fill(o.spec, { replicas: 1, ...(labels && { selector: labels }) })
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
      fill(claim, { apiVersion: 'v1', kind: 'PersistentVolumeClaim' })
      defaultClaim(claim)
    }
    defaultTemplate(o.spec.template)
  },
  Job: (o: Job) => defaultJobSpec(o.spec),
  CronJob: (o: CronJob) => {
    if (!o.spec) return
    fill(o.spec, { concurrencyPolicy: 'Allow', suspend: false, successfulJobsHistoryLimit: 3, failedJobsHistoryLimit: 1 })
    if (o.spec.jobTemplate?.spec) defaultTemplate(o.spec.jobTemplate.spec.template)
  },
  Service: defaultService,
  Secret: (o: Secret) => {
    fill(o, { type: 'Opaque' })
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
    fill(o.spec, { persistentVolumeReclaimPolicy: 'Retain', volumeMode: 'Filesystem' })
    if (o.spec.hostPath) fill(o.spec.hostPath, { type: '' })
  },
  PersistentVolumeClaim: defaultClaim,
  Endpoints: (o: Endpoints) => {
    for (const s of o.subsets ?? []) for (const p of s.ports ?? []) fill(p, { protocol: 'TCP' })
  },
  V2HorizontalPodAutoscaler: (o: V2HorizontalPodAutoscaler) => {
    if (!o.spec) return
    fill(o.spec, { minReplicas: 1 })
    if (!o.spec.metrics?.length) {
      o.spec.metrics = [{ type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 80 } } }]
    }
  },
  HorizontalPodAutoscaler: (o: { spec?: { minReplicas?: number } }) => o.spec && fill(o.spec, { minReplicas: 1 }),
}

/** Fills in the defaults of a built-in kind; `schema` is the type's name (`ResourceDef.schema`). Kinds without any are left as they are. */
export function applyDefaults(schema: string, object: KubeObject): void {
  DEFAULTERS[schema]?.(object as never)
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
  if (!o.spec) return
  fill(o.spec, { sessionAffinity: 'None', type: 'ClusterIP' })
  if (o.spec.sessionAffinity === 'None') delete o.spec.sessionAffinityConfig
  else fill(o.spec, { sessionAffinityConfig: { clientIP: { timeoutSeconds: 10800 } } })
  for (const p of o.spec.ports ?? []) fill(p, { protocol: 'TCP', targetPort: p.port })
  const { type } = o.spec
  if (type === 'NodePort' || type === 'LoadBalancer') fill(o.spec, { externalTrafficPolicy: 'Cluster' })
  if (type === 'LoadBalancer') fill(o.spec, { allocateLoadBalancerNodePorts: true })
  if (type !== 'ExternalName') fill(o.spec, { internalTrafficPolicy: 'Cluster' })
}

function defaultClaim(o: PersistentVolumeClaim): void {
  if (o.spec) fill(o.spec, { volumeMode: 'Filesystem' })
}

/** UTF-8 to base64, in a browser too. */
function base64(text: string): string {
  let binary = ''
  for (const byte of new TextEncoder().encode(text)) binary += String.fromCharCode(byte)
  return btoa(binary)
}
