/**
 * The pure part of the Deployment controller: given a Deployment, its ReplicaSets and whether old pods still run, the next
 * steps and the status. One kind of step at a time, as Kubernetes does: grow the new, else shrink the old, else clean up;
 * the change that follows each step brings the next.
 */
import type { Deployment, DeploymentStatus, ReplicaSet } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import { controllerRef, findCondition } from '../../control/mod.ts'
import { annotationsFor, nextRevision, outdated, REVISION, revisionOf, sizeAnnotations, splitSets } from './revisions.ts'
import { DESIRED, isRolling, newSize, scaleProportionally, shrinkOld, wantedOf } from './replicas.ts'
import { hasDeadline, isComplete, progressing, statusOf } from './status.ts'
import { canonical, HASH_LABEL, templateHash } from './template.ts'

export type Step =
  | { readonly do: 'create'; readonly set: ReplicaSet }
  | { readonly do: 'scale'; readonly set: ReplicaSet; readonly from: number; readonly to: number; readonly annotations: Record<string, string> }
  | { readonly do: 'annotate'; readonly set: ReplicaSet; readonly annotations: Record<string, string>; readonly minReadySeconds: number }
  | { readonly do: 'delete'; readonly set: ReplicaSet }

export interface DeploymentPlan {
  /** In order; the status is written after them. */
  readonly steps: readonly Step[]
  readonly status: DeploymentStatus
  /** The deployment's own revision annotation, when it must change. */
  readonly revision: string | undefined
  readonly requeueAfterMs: number | undefined
}

export interface DeploymentInput {
  readonly deployment: Readonly<Deployment>
  /** Its own ReplicaSets. */
  readonly sets: readonly ReplicaSet[]
  /** True while a pod of an old ReplicaSet has not finished; Recreate waits for it. */
  readonly oldPodsRun: (old: readonly ReplicaSet[]) => boolean
  readonly nowMs: number
}

/** The next steps of a Deployment; none when it is as it should be. */
export function planDeployment({ deployment, sets, oldPodsRun, nowMs }: DeploymentInput): DeploymentPlan {
  let d = withPause(deployment, nowMs)
  const { current, old } = splitSets(d, sets)
  const revision = nextRevision(old)
  const scaling = sets.some((s) => wantedOf(s) > 0 && s.metadata?.annotations?.[DESIRED] !== undefined && Number(s.metadata.annotations[DESIRED]) !== wantedOf(d))
  const paused = d.spec?.paused === true
  const steps: Step[] = []

  if (current) {
    const step = annotate(d, current, revision)
    if (step) steps.push(step)
    if (hasDeadline(d) && !findCondition(d.status?.conditions, 'Progressing')) {
      d = withConditions(d, progressing(d, 'True', 'FoundNewReplicaSet', `Found new replica set "${current.metadata?.name}"`, nowMs))
    }
  }

  const finish = (rollout: boolean): DeploymentPlan => {
    const { status, requeueAfterMs } = statusOf({ deployment: d, current, old, nowMs, rollout })
    const shown = current || steps.some((s) => s.do === 'create') ? String(Math.max(revision, current ? revisionOf(current) : 0)) : undefined
    const had = d.metadata?.annotations?.[REVISION]
    return { steps, status, requeueAfterMs, revision: shown !== undefined && shown !== had ? shown : undefined }
  }

  if (deployment.metadata?.deletionTimestamp !== undefined) return { ...finish(false), steps: [] }
  if (paused || scaling) {
    for (const [set, to] of scaleProportionally(d, current, old)) addScale(steps, d, set, to, true)
    if (paused) steps.push(...cleanup(d, old))
    return finish(false)
  }

  if (isRolling(d)) {
    if (!current) {
      const made = newSet(d, revision, newSize(d, sets, 0))
      d = created(d, made, nowMs)
      steps.push({ do: 'create', set: made })
      return finish(true)
    }
    addScale(steps, d, current, Math.min(wantedOf(d), wantedOf(current) < wantedOf(d) ? newSize(d, sets, wantedOf(current)) : wantedOf(d)))
    if (!steps.some((s) => s.do === 'scale')) for (const [set, to] of shrinkOld(d, current, old)) addScale(steps, d, set, to)
  } else {
    for (const set of old) addScale(steps, d, set, 0)
    if (steps.some((s) => s.do === 'scale') || oldPodsRun(old)) return finish(true)
    if (!current) {
      const made = newSet(d, revision, wantedOf(d))
      d = created(d, made, nowMs)
      steps.push({ do: 'create', set: made })
      return finish(true)
    }
    addScale(steps, d, current, wantedOf(d))
  }
  if (isComplete(d, d.status ?? {})) steps.push(...cleanup(d, old))
  return finish(true)
}

/** Adds a step when size (or, with `annotate`, what the size is relative to) would change. */
function addScale(steps: Step[], d: Readonly<Deployment>, set: ReplicaSet, to: number, annotateToo = false): void {
  const from = wantedOf(set)
  const annotations = sizeAnnotations(d)
  const stale = Object.entries(annotations).some(([k, v]) => set.metadata?.annotations?.[k] !== v)
  if (from !== to || (annotateToo && stale)) steps.push({ do: 'scale', set, from, to, annotations })
}

function annotate(d: Readonly<Deployment>, set: ReplicaSet, revision: number): Step | undefined {
  const annotations = annotationsFor(d, set, revision)
  const minReadySeconds = d.spec?.minReadySeconds ?? 0
  const same = canonical(annotations) === canonical(set.metadata?.annotations ?? {}) && minReadySeconds === (set.spec?.minReadySeconds ?? 0)
  return same ? undefined : { do: 'annotate', set, annotations, minReadySeconds }
}

function cleanup(d: Readonly<Deployment>, old: readonly ReplicaSet[]): Step[] {
  return outdated(d, old).map((set) => ({ do: 'delete', set }))
}

function newSet(d: Readonly<Deployment>, revision: number, replicas: number): ReplicaSet {
  const hash = templateHash(d.spec?.template, d.status?.collisionCount ?? 0)
  const { name = '', namespace = '' } = d.metadata ?? {}
  const labels = { ...d.spec?.template.metadata?.labels, [HASH_LABEL]: hash }
  const template = { ...d.spec?.template, metadata: { ...d.spec?.template.metadata, labels } }
  const selector = { ...d.spec?.selector, matchLabels: { ...d.spec?.selector.matchLabels, [HASH_LABEL]: hash } }
  const ownerReferences = [controllerRef(d, KINDS.Deployment)]
  return {
    metadata: { name: `${name}-${hash}`, namespace, labels, annotations: annotationsFor(d, undefined, revision), ownerReferences },
    spec: { replicas, minReadySeconds: d.spec?.minReadySeconds ?? 0, selector, template },
  }
}

function created(d: Readonly<Deployment>, set: ReplicaSet, nowMs: number): Deployment {
  if (!hasDeadline(d)) return d
  return withConditions(d, progressing(d, 'True', 'NewReplicaSetCreated', `Created new replica set "${set.metadata?.name}"`, nowMs))
}

/** The deadline does not run while paused: pausing and resuming each leave their mark. */
function withPause(d: Readonly<Deployment>, nowMs: number): Deployment {
  if (!hasDeadline(d)) return d
  const reason = findCondition(d.status?.conditions, 'Progressing')?.reason
  if (reason === 'ProgressDeadlineExceeded') return d
  if (d.spec?.paused === true && reason !== 'DeploymentPaused') return withConditions(d, progressing(d, 'Unknown', 'DeploymentPaused', 'Deployment is paused', nowMs))
  if (d.spec?.paused !== true && reason === 'DeploymentPaused') return withConditions(d, progressing(d, 'Unknown', 'DeploymentResumed', 'Deployment is resumed', nowMs))
  return d
}

function withConditions(d: Readonly<Deployment>, conditions: NonNullable<DeploymentStatus['conditions']>): Deployment {
  return { ...d, status: { ...d.status, conditions } }
}
