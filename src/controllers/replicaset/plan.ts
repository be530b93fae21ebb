/**
 * The pure part of the ReplicaSet controller: how many pods to make, which to delete, what the status says.
 *
 * A pod on a node that is cut off is not ready, but it is there: it counts and is not replaced, unless its policy for that
 * time says so (`api/on-disconnect.ts`). A terminating pod does not count, whether its node can confirm or not.
 */
import type { Pod, ReplicaSet, ReplicaSetStatus } from '../../api/gen/types.ts'
import { ON_DISCONNECT, REPLACED } from '../../api/on-disconnect.ts'
import { labelSelectorOf, matchesLabels } from '../../api/selectors.ts'
import { availableAt, findCondition, isActive, isAvailable, isReady, isTerminating, readyCondition, restartsOf } from '../../control/mod.ts'

/** Kubernetes' own limit on what one reconcile makes or deletes. */
export const BURST = 500
const DELETION_COST = 'controller.kubernetes.io/pod-deletion-cost'

export interface ReplicaSetPlan {
  readonly create: number
  /** In the order of deletion. */
  readonly remove: readonly Pod[]
  readonly status: ReplicaSetStatus
  /** When the next ready pod becomes available, ms from now. */
  readonly requeueAfterMs: number | undefined
}

/** @param pods the set's own pods, finished and terminating ones included */
export function planReplicaSet(set: Readonly<ReplicaSet>, pods: readonly Pod[], nowMs: number): ReplicaSetPlan {
  const wanted = set.spec?.replicas ?? 1
  const minReady = set.spec?.minReadySeconds ?? 0
  const active = pods.filter((p) => isActive(p) && hadStandIn(p) !== 'True')
  const labels = labelSelectorOf({ matchLabels: set.spec?.template?.metadata?.labels ?? {} })
  const waits = active.map((p) => (availableAt(p, minReady) ?? 0) - nowMs).filter((ms) => ms > 0)
  const { conditions } = set.status ?? {}
  return {
    create: Math.min(BURST, Math.max(0, wanted - active.length)),
    remove: rankForDeletion(active, nowMs).slice(0, Math.min(BURST, Math.max(0, active.length - wanted))),
    requeueAfterMs: waits.length === 0 ? undefined : Math.min(...waits) + 50,
    status: {
      replicas: active.length,
      fullyLabeledReplicas: active.filter((p) => matchesLabels(labels, p.metadata?.labels)).length,
      readyReplicas: active.filter(isReady).length,
      availableReplicas: active.filter((p) => isAvailable(p, minReady, nowMs)).length,
      terminatingReplicas: pods.filter(isTerminating).length,
      observedGeneration: set.metadata?.generation ?? 0,
      ...(conditions === undefined ? {} : { conditions }),
    },
  }
}

/** Pods in the order in which Kubernetes would delete them: the least useful first. */
export function rankForDeletion(pods: readonly Pod[], nowMs: number): Pod[] {
  const onNode = new Map<string, number>()
  for (const pod of pods) if (pod.spec?.nodeName !== undefined) onNode.set(pod.spec.nodeName, (onNode.get(pod.spec.nodeName) ?? 0) + 1)
  const phases: Record<string, number> = { Pending: 0, Unknown: 1, Running: 2 }
  const ranks = new Map(
    pods.map((pod) => [
      pod,
      [
        pod.spec?.nodeName === undefined ? 0 : 1,
        phases[pod.status?.phase ?? 'Pending'] ?? 2,
        isReady(pod) ? 1 : 0,
        hadStandIn(pod) === undefined ? 0 : keepsReplacement(pod) ? -1 : 1,
        Number(pod.metadata?.annotations?.[DELETION_COST] ?? 0),
        -(onNode.get(pod.spec?.nodeName ?? '') ?? 0),
        // Times are compared by order of magnitude of age, so that near equals do not always hit the same pods.
        logAge(isReady(pod) ? readyCondition(pod)?.lastTransitionTime : undefined, nowMs),
        -restartsOf(pod),
        logAge(pod.metadata?.creationTimestamp, nowMs),
      ],
    ]),
  )
  return pods.toSorted((a, b) => {
    const x = ranks.get(a) ?? []
    const y = ranks.get(b) ?? []
    for (const [i, v] of x.entries()) if (v !== y[i]) return v - (y[i] ?? 0)
    return (a.metadata?.uid ?? '') < (b.metadata?.uid ?? '') ? -1 : 1
  })
}

/** `True` while somebody else stands in for a pod that is cut off, `False` for a while after its return. */
const hadStandIn = (pod: Readonly<Pod>): string | undefined => findCondition(pod.status?.conditions, REPLACED)?.status
const keepsReplacement = (pod: Readonly<Pod>): boolean => pod.metadata?.annotations?.[ON_DISCONNECT]?.includes('keep=replacement') ?? false

function logAge(time: string | undefined, nowMs: number): number {
  return time === undefined ? 0 : Math.floor(Math.log2(Math.max(1, nowMs - Date.parse(time))))
}

/** True when a status write would say nothing new. */
export function sameStatus(a: ReplicaSetStatus | undefined, b: ReplicaSetStatus): boolean {
  const text = (s: ReplicaSetStatus | undefined): string =>
    JSON.stringify([s?.replicas ?? -1, s?.fullyLabeledReplicas ?? 0, s?.readyReplicas ?? 0, s?.availableReplicas ?? 0, s?.terminatingReplicas ?? 0, s?.observedGeneration ?? 0, s?.conditions ?? []])
  return text(a) === text(b)
}
