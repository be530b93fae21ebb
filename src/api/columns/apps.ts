/** Printed columns of workloads and batch kinds. */
import { labelSelectorText } from '../selectors.ts'
import type { ControllerRevision, CronJob, DaemonSet, Deployment, Job, ReplicaSet, StatefulSet, V2HorizontalPodAutoscaler } from '../gen/types.ts'
import { age, conditionOf, humanDuration, labelsText, nameOf, printer, since } from './column.ts'
import type { Printer } from './column.ts'
import { containerCells } from './core.ts'

export const deployments: Printer = printer<Deployment>(
  ['Name', 'Ready', 'n:Up-to-date', 'n:Available', 'Age', 'Containers+', 'Images+', 'Selector+'],
  (d, now) => [
    nameOf(d), `${d.status?.readyReplicas ?? 0}/${d.spec?.replicas ?? 1}`, d.status?.updatedReplicas ?? 0, d.status?.availableReplicas ?? 0, age(d, now),
    ...containerCells(d.spec?.template.spec?.containers), labelSelectorText(d.spec?.selector),
  ],
)

export const replicaSets: Printer = printer<ReplicaSet>(
  ['Name', 'n:Desired', 'n:Current', 'n:Ready', 'Age', 'Containers+', 'Images+', 'Selector+'],
  (r, now) => [
    nameOf(r), r.spec?.replicas ?? 1, r.status?.replicas ?? 0, r.status?.readyReplicas ?? 0, age(r, now),
    ...containerCells(r.spec?.template?.spec?.containers), labelSelectorText(r.spec?.selector),
  ],
)

export const statefulSets: Printer = printer<StatefulSet>(['Name', 'Ready', 'Age', 'Containers+', 'Images+'], (s, now) => [
  nameOf(s), `${s.status?.readyReplicas ?? 0}/${s.spec?.replicas ?? 1}`, age(s, now), ...containerCells(s.spec?.template.spec?.containers),
])

export const daemonSets: Printer = printer<DaemonSet>(
  ['Name', 'n:Desired', 'n:Current', 'n:Ready', 'n:Up-to-date', 'n:Available', 'Node Selector', 'Age', 'Containers+', 'Images+', 'Selector+'],
  (d, now) => [
    nameOf(d), d.status?.desiredNumberScheduled ?? 0, d.status?.currentNumberScheduled ?? 0, d.status?.numberReady ?? 0,
    d.status?.updatedNumberScheduled ?? 0, d.status?.numberAvailable ?? 0, labelsText(d.spec?.template.spec?.nodeSelector), age(d, now),
    ...containerCells(d.spec?.template.spec?.containers), labelSelectorText(d.spec?.selector),
  ],
)

export const jobs: Printer = printer<Job>(['Name', 'Status', 'Completions', 'Duration', 'Age', 'Containers+', 'Images+', 'Selector+'], (j, now) => {
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
  ['Name', 'Schedule', 'Timezone', 'Suspend', 'n:Active', 'Last Schedule', 'Age', 'Containers+', 'Images+', 'Selector+'],
  (c, now) => [
    nameOf(c), c.spec?.schedule ?? '', c.spec?.timeZone ?? '<none>', c.spec?.suspend ? 'True' : 'False', c.status?.active?.length ?? 0,
    c.status?.lastScheduleTime ? since(c.status.lastScheduleTime, now) : '<none>', age(c, now),
    ...containerCells(c.spec?.jobTemplate.spec?.template.spec?.containers), labelSelectorText(c.spec?.jobTemplate.spec?.selector),
  ],
)

export const controllerRevisions: Printer = printer<ControllerRevision>(['Name', 'Controller', 'n:Revision', 'Age'], (r, now) => {
  const owner = r.metadata?.ownerReferences?.find((o) => o.controller)
  const group = owner?.apiVersion.includes('/') ? `.${owner.apiVersion.split('/')[0]}` : ''
  return [nameOf(r), owner ? `${owner.kind.toLowerCase()}${group}/${owner.name}` : '<none>', r.revision, age(r, now)]
})

export const autoscalers: Printer = printer<V2HorizontalPodAutoscaler>(
  ['Name', 'Reference', 'Targets', 'MinPods', 'MaxPods', 'n:Replicas', 'Age'],
  (h, now) => {
    const targets = (h.spec?.metrics ?? []).map((m) => {
      const target = (m.resource ?? m.containerResource ?? m.pods ?? m.object ?? m.external)?.target
      const current = h.status?.currentMetrics?.find((c) => c.type === m.type && c.resource?.name === m.resource?.name)
      const now = current?.resource?.current
      const percent = target?.averageUtilization !== undefined
      const show = percent ? now?.averageUtilization : (now?.averageValue ?? now?.value)
      const name = m.resource?.name ? `${m.resource.name}: ` : ''
      return `${name}${show === undefined ? '<unknown>' : `${show}${percent ? '%' : ''}`}/${percent ? `${target?.averageUtilization}%` : (target?.averageValue ?? target?.value ?? '<auto>')}`
    })
    const ref = h.spec?.scaleTargetRef
    return [
      nameOf(h), ref ? `${ref.kind}/${ref.name}` : '', targets.length === 0 ? '<none>' : targets.join(', '), String(h.spec?.minReplicas ?? '<unset>'),
      String(h.spec?.maxReplicas ?? ''), h.status?.currentReplicas ?? 0, age(h, now),
    ]
  },
)
