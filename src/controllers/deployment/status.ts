/** A Deployment's status: counts, Available, Progressing with its deadline, ReplicaFailure. Pure; texts are Kubernetes' own. */
import type { Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet } from '../../api/gen/types.ts'
import { dropCondition, findCondition, kubeTime, setCondition } from '../../control/mod.ts'
import { limits, sumOf, wantedOf } from './replicas.ts'

const NO_DEADLINE = 2 ** 31 - 1
const DONE = 'NewReplicaSetAvailable'
const LATE = 'ProgressDeadlineExceeded'
const EPOCH = '1970-01-01T00:00:00Z'
/** Reasons under which the deadline keeps running. */
const RUNNING = new Set(['NewReplicaSetCreated', 'FoundNewReplicaSet', 'ReplicaSetUpdated', 'DeploymentResumed'])

export interface StatusInput {
  readonly deployment: Readonly<Deployment>
  readonly current: Readonly<ReplicaSet> | undefined
  readonly old: readonly ReplicaSet[]
  readonly nowMs: number
  /** Count progress and time; false while scaling or paused. */
  readonly rollout: boolean
}

/** What the status should say, and when the deadline must be looked at again (ms from now). */
export function statusOf({ deployment: d, current, old, nowMs, rollout }: StatusInput): { status: DeploymentStatus; requeueAfterMs: number | undefined } {
  const all = [...old, ...(current ? [current] : [])]
  const before = d.status ?? {}
  const available = sumOf(all, (s) => s.status?.availableReplicas ?? 0)
  const now = kubeTime(nowMs)
  const enough = available >= wantedOf(d) - limits(d).maxUnavailable
  let conditions = put(before.conditions, 'Available', enough ? 'True' : 'False', (enough ? ENOUGH : TOO_FEW)[0], (enough ? ENOUGH : TOO_FEW)[1], now)
  const counts = {
    replicas: sumOf(all, (s) => s.status?.replicas ?? 0),
    updatedReplicas: current?.status?.replicas ?? 0,
    readyReplicas: sumOf(all, (s) => s.status?.readyReplicas ?? 0),
    availableReplicas: available,
    unavailableReplicas: Math.max(0, sumOf(all, wantedOf) - available),
    terminatingReplicas: sumOf(all, (s) => s.status?.terminatingReplicas ?? 0),
    observedGeneration: d.metadata?.generation ?? 0,
    ...(before.collisionCount === undefined ? {} : { collisionCount: before.collisionCount }),
  }
  if (rollout) conditions = progress(d, current, counts, conditions, nowMs)
  if (!hasDeadline(d)) conditions = dropCondition(conditions, 'Progressing')
  const failure = all.map((s) => findCondition(s.status?.conditions, 'ReplicaFailure')).find((c) => c !== undefined)
  conditions = failure
    ? put(conditions, 'ReplicaFailure', failure.status, failure.reason ?? '', failure.message ?? '', now)
    : dropCondition(conditions, 'ReplicaFailure')
  return { status: { ...counts, conditions }, requeueAfterMs: rollout ? untilDeadline(d, counts, conditions, nowMs) : undefined }
}

const ENOUGH = ['MinimumReplicasAvailable', 'Deployment has minimum availability.'] as const
const TOO_FEW = ['MinimumReplicasUnavailable', 'Deployment does not have minimum availability.'] as const

/** False when `progressDeadlineSeconds` is the largest int32, Kubernetes' way to say never. */
export function hasDeadline(d: Readonly<Deployment>): boolean {
  const deadline = d.spec?.progressDeadlineSeconds ?? 600
  return deadline !== NO_DEADLINE
}

/** True when all replicas are new and available: the rollout is over. */
export function isComplete(d: Readonly<Deployment>, status: DeploymentStatus): boolean {
  const n = wantedOf(d)
  return status.updatedReplicas === n && status.replicas === n && status.availableReplicas === n && (status.observedGeneration ?? 0) >= (d.metadata?.generation ?? 0)
}

/** Puts a Progressing condition that says why work began: a new ReplicaSet, a found one, paused, resumed. */
export function progressing(d: Readonly<Deployment>, status: 'True' | 'Unknown', reason: string, message: string, nowMs: number): DeploymentCondition[] {
  return put(d.status?.conditions, 'Progressing', status, reason, message, kubeTime(nowMs))
}

function progress(d: Readonly<Deployment>, current: Readonly<ReplicaSet> | undefined, status: DeploymentStatus, conditions: DeploymentCondition[], nowMs: number): DeploymentCondition[] {
  if (!hasDeadline(d)) return conditions
  const now = kubeTime(nowMs)
  const what = current ? `ReplicaSet "${current.metadata?.name}"` : `Deployment "${d.metadata?.name}"`
  const condition = findCondition(conditions, 'Progressing')
  if (status.replicas === status.updatedReplicas && condition?.reason === DONE) return conditions
  if (isComplete(d, status)) return put(conditions, 'Progressing', 'True', DONE, `${what} has successfully progressed.`, now)
  if (hasProgressed(d.status ?? {}, status)) return put(conditions, 'Progressing', 'True', 'ReplicaSetUpdated', `${what} is progressing.`, now, true)
  if (isLate(d, condition, nowMs)) return put(conditions, 'Progressing', 'False', LATE, `${what} has timed out progressing.`, now)
  return conditions
}

function hasProgressed(before: DeploymentStatus, now: DeploymentStatus): boolean {
  const oldOf = (s: DeploymentStatus): number => (s.replicas ?? 0) - (s.updatedReplicas ?? 0)
  return (
    (now.updatedReplicas ?? 0) > (before.updatedReplicas ?? 0) ||
    oldOf(now) < oldOf(before) ||
    (now.readyReplicas ?? 0) > (before.readyReplicas ?? 0) ||
    (now.availableReplicas ?? 0) > (before.availableReplicas ?? 0)
  )
}

function isLate(d: Readonly<Deployment>, condition: DeploymentCondition | undefined, nowMs: number): boolean {
  if (!condition || condition.reason === DONE) return false
  if (condition.reason === LATE) return true
  if (!RUNNING.has(condition.reason ?? '')) return false
  return Date.parse(condition.lastUpdateTime ?? EPOCH) + (d.spec?.progressDeadlineSeconds ?? 600) * 1000 < nowMs
}

function untilDeadline(d: Readonly<Deployment>, status: DeploymentStatus, conditions: readonly DeploymentCondition[], nowMs: number): number | undefined {
  const condition = findCondition(conditions, 'Progressing')
  if (!hasDeadline(d) || !condition || isComplete(d, status) || !RUNNING.has(condition.reason ?? '')) return undefined
  const left = Date.parse(condition.lastUpdateTime ?? EPOCH) + (d.spec?.progressDeadlineSeconds ?? 600) * 1000 - nowMs
  return Math.max(0, left) + 1000
}

/** @param touch move the update time even when nothing else changes: progress was made */
function put(conditions: readonly DeploymentCondition[] | undefined, type: string, status: string, reason: string, message: string, now: string, touch = false): DeploymentCondition[] {
  const old = findCondition(conditions, type)
  if (!touch && old?.status === status && old.reason === reason) return [...(conditions ?? [])]
  return setCondition(conditions, { type, status, reason, message, lastUpdateTime: now }, now)
}
