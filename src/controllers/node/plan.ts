/**
 * The pure part of the node lifecycle: what a node's silence means.
 *
 * A cut-off edge node is on its own, not dead: it gets no new pods (one NoSchedule taint), its Ready turns Unknown and its
 * pods' Ready turns False, so that nobody counts on them. Nothing is evicted or deleted for it, and all of it clears
 * when the node is back. A pod may say that somebody else stands in for it meanwhile (`api/on-disconnect.ts`); deleted it is only
 * where it says so and its owner makes no other one before.
 */
import type { Node, NodeCondition, Pod, PodCondition, Taint } from '../../api/gen/types.ts'
import { REPLACED, replacingOf, type OnDisconnect } from '../../api/on-disconnect.ts'
import { findCondition, isActive } from '../../control/mod.ts'

/** A node without proof of life for this long is cut off, ms, when no other time is set. */
export const GRACE_MS = 40_000
export const UNREACHABLE = 'node.kubernetes.io/unreachable'
export const NOT_READY = 'node.kubernetes.io/not-ready'
/** Reason on a pod's Ready condition that this controller wrote, and that it may therefore clear. */
export const POD_REASON = 'NodeUnreachable'

/** Conditions of a node that keep new pods off it while they hold. */
const PRESSURES: Readonly<Record<string, string>> = {
  MemoryPressure: 'node.kubernetes.io/memory-pressure',
  DiskPressure: 'node.kubernetes.io/disk-pressure',
  PIDPressure: 'node.kubernetes.io/pid-pressure',
}
const OURS = new Set([UNREACHABLE, NOT_READY, ...Object.values(PRESSURES)])

export interface NodePlan {
  /** The Ready condition to write. */
  readonly ready: NodeCondition | undefined
  /** The whole list of taints to write. */
  readonly taints: Taint[] | undefined
}

/**
 * @param now `metav1.Time` of this moment
 * @param graceMs the silence that means cut off, for the words
 */
export function planNode(node: Readonly<Node>, alive: boolean, now: string, graceMs: number = GRACE_MS): NodePlan {
  const old = findCondition(node.status?.conditions, 'Ready')
  let ready: NodeCondition | undefined
  if (!alive && old?.status !== 'Unknown') {
    const never = old === undefined
    ready = {
      type: 'Ready',
      status: 'Unknown',
      reason: never ? 'NodeStatusNeverUpdated' : 'NodeStatusUnknown',
      message: never ? 'The node has never reported its status.' : `The node has had no link to the server for ${graceMs / 1000} s; its pods keep running there.`,
      lastHeartbeatTime: old?.lastHeartbeatTime ?? node.metadata?.creationTimestamp ?? now,
      lastTransitionTime: now,
    }
  } else if (alive && old?.status === 'Unknown' && old.reason === 'NodeStatusUnknown') {
    // It was ready when it was lost; should that have changed, the node says so itself in a moment.
    ready = { type: 'Ready', status: 'True', reason: 'KubeletReady', message: 'The link to the node is back.', lastHeartbeatTime: now, lastTransitionTime: now }
  }
  const status = ready?.status ?? old?.status
  const wanted = new Set<string>()
  if (status === 'Unknown') wanted.add(UNREACHABLE)
  else if (status !== 'True') wanted.add(NOT_READY)
  for (const [type, key] of Object.entries(PRESSURES)) if (findCondition(node.status?.conditions, type)?.status === 'True') wanted.add(key)
  return { ready, taints: planTaints(node.spec?.taints ?? [], wanted, now) }
}

function planTaints(taints: readonly Taint[], wanted: ReadonlySet<string>, now: string): Taint[] | undefined {
  const isOurs = (t: Taint): boolean => OURS.has(t.key) && t.effect === 'NoSchedule'
  const kept = taints.filter((t) => !isOurs(t) || wanted.has(t.key))
  const missing = [...wanted].filter((key) => !kept.some((t) => t.key === key && t.effect === 'NoSchedule'))
  if (kept.length === taints.length && missing.length === 0) return undefined
  return [...kept, ...missing.map((key) => ({ key, effect: 'NoSchedule', timeAdded: now }))]
}

/** The Ready condition a pod should get when its node is lost or back; undefined when nothing is to be written. */
export function planPod(pod: Readonly<Pod>, nodeStatus: string | undefined, now: string): PodCondition | undefined {
  const ready = findCondition(pod.status?.conditions, 'Ready')
  if (nodeStatus === 'Unknown') {
    if (ready?.status !== 'True') return undefined
    return { type: 'Ready', status: 'False', reason: POD_REASON, message: 'The node is cut off; the pod keeps running there.', lastTransitionTime: now }
  }
  if (ready?.status !== 'False' || ready.reason !== POD_REASON) return undefined
  const containers = findCondition(pod.status?.conditions, 'ContainersReady')
  if (containers?.status !== 'True') return undefined // the node's own report is due
  return { type: 'Ready', status: 'True', reason: '', message: '', lastTransitionTime: now }
}

/** How long a pod that is back may take to be Ready before it counts again anyway, ms. */
const SETTLE_MS = 60_000
/** For how long it stays known who had a stand-in, so that the right one of the two goes, ms. */
const REMEMBERED_MS = 600_000

export interface StandInPlan {
  /** The condition to write; `drop` takes it away. */
  readonly condition?: PodCondition | 'drop'
  /** The pod is deleted at once, though its node cannot say that it has ended. */
  readonly remove?: true
  /** When to look again, ms from now. */
  readonly inMs?: number
}

/**
 * Whether somebody else may run in a pod's place now. A pod that is back counts again once it is Ready: until then its
 * stand-in does the work.
 *
 * @param sinceMs when the node's Ready took its present status, wall clock
 */
export function planStandIn(pod: Readonly<Pod>, policy: OnDisconnect, nodeStatus: string | undefined, sinceMs: number, nowMs: number, now: string): StandInPlan {
  const old = findCondition(pod.status?.conditions, REPLACED)
  if (nodeStatus === 'Unknown') {
    if (old?.status === 'True' || policy.replaceAfterMs === undefined || !isActive(pod)) return {}
    const inMs = sinceMs + policy.replaceAfterMs - nowMs
    if (inMs > 0) return { inMs }
    if (policy.keep === 'replacement' && replacingOf(pod.metadata?.ownerReferences) === 'once gone') return { remove: true }
    return { condition: { type: REPLACED, status: 'True', reason: POD_REASON, message: 'The node is cut off for longer than the pod waits: another one may run in its place.', lastTransitionTime: now } }
  }
  if (!old || nodeStatus !== 'True') return {}
  const inMs = (old.status === 'True' ? sinceMs + SETTLE_MS : Date.parse(old.lastTransitionTime ?? now) + REMEMBERED_MS) - nowMs
  if (old.status === 'True') {
    if (findCondition(pod.status?.conditions, 'Ready')?.status !== 'True' && inMs > 0) return { inMs }
    return { condition: { type: REPLACED, status: 'False', reason: 'NodeBack', message: 'The node is back.', lastTransitionTime: now } }
  }
  return inMs > 0 ? { inMs } : { condition: 'drop' }
}
