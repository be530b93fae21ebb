/** What controllers and the scheduler ask of a pod. */
import type { Pod, PodCondition } from '../api/gen/types.ts'

/** Neither finished nor going away: counts as a replica. */
export function isActive(pod: Readonly<Pod>): boolean {
  const phase = pod.status?.phase
  return phase !== 'Succeeded' && phase !== 'Failed' && pod.metadata?.deletionTimestamp === undefined
}

/** Asked to go, but not gone: its node has not confirmed yet. */
export function isTerminating(pod: Readonly<Pod>): boolean {
  const phase = pod.status?.phase
  return phase !== 'Succeeded' && phase !== 'Failed' && pod.metadata?.deletionTimestamp !== undefined
}

/** The pod's Ready condition, if its node has reported one. */
export function readyCondition(pod: Readonly<Pod>): Readonly<PodCondition> | undefined {
  return pod.status?.conditions?.find((c) => c.type === 'Ready')
}

/** True when the pod's Ready condition says so. */
export function isReady(pod: Readonly<Pod>): boolean {
  return readyCondition(pod)?.status === 'True'
}

/** When a ready pod counts as available, ms wall clock; undefined when it is not ready. */
export function availableAt(pod: Readonly<Pod>, minReadySeconds: number): number | undefined {
  const ready = readyCondition(pod)
  if (ready?.status !== 'True') return undefined
  return minReadySeconds === 0 ? -Infinity : Date.parse(ready.lastTransitionTime ?? '') + minReadySeconds * 1000
}

/** True when the pod has been ready for at least `minReadySeconds`. */
export function isAvailable(pod: Readonly<Pod>, minReadySeconds: number, nowMs: number): boolean {
  const at = availableAt(pod, minReadySeconds)
  return at !== undefined && at <= nowMs
}

/** Restarts over all containers. */
export function restartsOf(pod: Readonly<Pod>): number {
  return (pod.status?.containerStatuses ?? []).reduce((sum, c) => sum + (c.restartCount ?? 0), 0)
}
