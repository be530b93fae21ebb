/** Printed columns of workloads and batch kinds. */
import { labelSelectorText } from '../selectors.ts'
import type { ControllerRevision, CronJob, DaemonSet, Deployment, Job, ReplicaSet, StatefulSet, V2HorizontalPodAutoscaler } from '../gen/types.ts'
import { age, atMost, conditionOf, humanDuration, labelsText, nameOf, printer, since } from './column.ts'
import type { Printer } from './column.ts'
import { containerCells } from './core.ts'

export const deployments: Printer = printer<Deployment>(
  [
    'Name', 'Ready | Number of the pod with ready state', 'Up-to-date | DeploymentStatus.updatedReplicas', 'Available | DeploymentStatus.availableReplicas', 'Age',
    'Containers+', 'Images+', 'Selector+ | DeploymentSpec.selector',
  ],
  (d, now) => [
    nameOf(d), `${d.status?.readyReplicas ?? 0}/${d.spec?.replicas ?? 1}`, d.status?.updatedReplicas ?? 0, d.status?.availableReplicas ?? 0, age(d, now),
    ...containerCells(d.spec?.template.spec?.containers), labelSelectorText(d.spec?.selector),
  ],
)

export const replicaSets: Printer = printer<ReplicaSet>(
  [
    'Name', 'n:Desired | ReplicaSetSpec.replicas', 'n:Current | ReplicaSetStatus.replicas', 'n:Ready | ReplicaSetStatus.readyReplicas', 'Age', 'Containers+', 'Images+',
    'Selector+ | ReplicaSetSpec.selector',
  ],
  (r, now) => [
    nameOf(r), r.spec?.replicas ?? 1, r.status?.replicas ?? 0, r.status?.readyReplicas ?? 0, age(r, now),
    ...containerCells(r.spec?.template?.spec?.containers), labelSelectorText(r.spec?.selector),
  ],
)

export const statefulSets: Printer = printer<StatefulSet>(['Name', 'Ready | Number of the pod with ready state', 'Age', 'Containers+', 'Images+'], (s, now) => [
  nameOf(s), `${s.status?.readyReplicas ?? 0}/${s.spec?.replicas ?? 1}`, age(s, now), ...containerCells(s.spec?.template.spec?.containers),
])

export const daemonSets: Printer = printer<DaemonSet>(
  [
    'Name', 'n:Desired | DaemonSetStatus.desiredNumberScheduled', 'n:Current | DaemonSetStatus.currentNumberScheduled', 'n:Ready | DaemonSetStatus.numberReady',
    'n:Up-to-date | DaemonSetStatus.updatedNumberScheduled', 'n:Available | DaemonSetStatus.numberAvailable', 'Node Selector | PodSpec.nodeSelector', 'Age',
    'Containers+', 'Images+', 'Selector+ | DaemonSetSpec.selector',
  ],
  (d, now) => [
    nameOf(d), d.status?.desiredNumberScheduled ?? 0, d.status?.currentNumberScheduled ?? 0, d.status?.numberReady ?? 0,
    d.status?.updatedNumberScheduled ?? 0, d.status?.numberAvailable ?? 0, labelsText(d.spec?.template.spec?.nodeSelector), age(d, now),
    ...containerCells(d.spec?.template.spec?.containers), labelSelectorText(d.spec?.selector),
  ],
)

export const jobs: Printer = printer<Job>([
  'Name', 'Status | Status of the job.', 'Completions | JobStatus.succeeded', 'Duration | Time required to complete the job.', 'Age', 'Containers+', 'Images+',
  'Selector+ | JobSpec.selector',
], (j, now) => {
  const succeeded = j.status?.succeeded ?? 0
  const parallelism = j.spec?.parallelism ?? 0
  const completions =
    j.spec?.completions !== undefined ? `${succeeded}/${j.spec.completions}` : parallelism > 1 ? `${succeeded}/1 of ${parallelism}` : `${succeeded}/1`
  const start = j.status?.startTime
  const end = j.status?.completionTime
  const duration = start === undefined ? '' : humanDuration((end === undefined ? now : Date.parse(end)) - Date.parse(start))
  return [
    nameOf(j), jobStatus(j), completions, duration, age(j, now),
    ...containerCells(j.spec?.template.spec?.containers), labelSelectorText(j.spec?.selector),
  ]
})

function jobStatus(j: Job): string {
  const is = (type: string): boolean => conditionOf(j.status?.conditions, type)?.status === 'True'
  if (is('Complete')) return 'Complete'
  if (is('Failed')) return 'Failed'
  if (j.metadata?.deletionTimestamp) return 'Terminating'
  if (is('Suspended')) return 'Suspended'
  if (is('FailureTarget')) return 'FailureTarget'
  return is('SuccessCriteriaMet') ? 'SuccessCriteriaMet' : 'Running'
}

export const cronJobs: Printer = printer<CronJob>(
  [
    'Name', 'Schedule | CronJobSpec.schedule', 'Timezone | CronJobSpec.timeZone', 'b:Suspend | CronJobSpec.suspend', 'n:Active | CronJobStatus.active',
    'Last Schedule | CronJobStatus.lastScheduleTime', 'Age', 'Containers+', 'Images+', 'Selector+ | JobSpec.selector',
  ],
  (c, now) => [
    nameOf(c), c.spec?.schedule ?? '', c.spec?.timeZone ?? '<none>', c.spec?.suspend === undefined ? '<unset>' : c.spec.suspend ? 'True' : 'False', c.status?.active?.length ?? 0,
    c.status?.lastScheduleTime ? since(c.status.lastScheduleTime, now) : '<none>', age(c, now),
    ...containerCells(c.spec?.jobTemplate.spec?.template.spec?.containers), labelSelectorText(c.spec?.jobTemplate.spec?.selector),
  ],
)

export const controllerRevisions: Printer = printer<ControllerRevision>(['Name', 'Controller | Controller of the object', 'Revision | ControllerRevision.revision', 'Age'], (r, now) => {
  const owner = r.metadata?.ownerReferences?.find((o) => o.controller)
  const group = owner?.apiVersion.includes('/') ? `.${owner.apiVersion.split('/')[0]}` : ''
  return [nameOf(r), owner ? `${owner.kind.toLowerCase()}${group}/${owner.name}` : '<none>', r.revision, age(r, now)]
})

type Metrics = NonNullable<NonNullable<V2HorizontalPodAutoscaler['spec']>['metrics']>
type Statuses = NonNullable<NonNullable<V2HorizontalPodAutoscaler['status']>['currentMetrics']>

/** The field of a metric by its type, and whether it names the resource it measures. */
const METRIC_FIELDS = {
  External: ['external', false], Pods: ['pods', false], Object: ['object', false], Resource: ['resource', true], ContainerResource: ['containerResource', true],
} as const

function metricText(metric: Metrics[number], status: Statuses[number] | undefined): string {
  const found = METRIC_FIELDS[metric.type as keyof typeof METRIC_FIELDS]
  if (!found) return '<unknown type>'
  const [field, named] = found
  const target = metric[field]?.target
  const current = status?.[field]?.current
  const name = named ? `${(metric[field] as { name?: string } | undefined)?.name ?? ''}: ` : ''
  if (target?.averageValue !== undefined) {
    const suffix = field === 'external' || field === 'object' ? ' (avg)' : ''
    return `${name}${current?.averageValue ?? '<unknown>'}/${target.averageValue}${suffix}`
  }
  if (!named) return `${current?.value ?? current?.averageValue ?? '<unknown>'}/${target?.value ?? '0'}`
  const percent = (n: number | undefined, none: string): string => (n === undefined ? none : `${n}%`)
  return `${name}${percent(current?.averageUtilization, '<unknown>')}/${percent(target?.averageUtilization, '<auto>')}`
}

export const autoscalers: Printer = printer<V2HorizontalPodAutoscaler>(
  [
    'Name', 'Reference | V2HorizontalPodAutoscalerSpec.scaleTargetRef', 'Targets | V2HorizontalPodAutoscalerSpec.metrics', 'MinPods | V2HorizontalPodAutoscalerSpec.minReplicas',
    'MaxPods | V2HorizontalPodAutoscalerSpec.maxReplicas', 'Replicas | V2HorizontalPodAutoscalerStatus.currentReplicas', 'Age',
  ],
  (h, now) => {
    const targets = (h.spec?.metrics ?? []).map((m, i) => metricText(m, h.status?.currentMetrics?.[i]))
    const ref = h.spec?.scaleTargetRef
    return [
      nameOf(h), `${ref?.kind ?? ''}/${ref?.name ?? ''}`, targets.length === 0 ? '<none>' : atMost(2, targets, ', '), String(h.spec?.minReplicas ?? '<unset>'),
      h.spec?.maxReplicas ?? 0, h.status?.currentReplicas ?? 0, age(h, now),
    ]
  },
)
