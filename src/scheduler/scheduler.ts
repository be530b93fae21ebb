/**
 * Puts pending pods on nodes: one decision at a time on a frozen view, then the binding. A pod that fits nowhere says why
 * (condition and Event) and is tried again when a node or another pod changes, and every few minutes.
 */
import type { Binding, Node, Pod } from '../api/gen/types.ts'
import { deviceClaimNames } from '../api/claims.ts'
import { KINDS } from '../api/kinds.ts'
import { claimNames } from '../api/volumes.ts'
import { hasCode, messageOf } from '../base/errors.ts'
import type { Clock } from '../base/clock.ts'
import { createEventRecorder, keyOf, referenceTo, splitKey, type CacheSet, type Client } from '../client/mod.ts'
import { createController, createManager, findCondition, kubeTime, type Manager, type Source } from '../control/mod.ts'
import type { DeviceMatch } from './allocate.ts'
import { decide } from './decide.ts'
import { DeviceBinder } from './devices.ts'
import { ClusterSnapshot } from './snapshot.ts'
import { VolumeBinder } from './volumes.ts'

/** The name pods ask for in `spec.schedulerName`. */
export const SCHEDULER_NAME = 'default-scheduler'
/** A pod that fits nowhere is looked at again at the latest after this, ms. */
const RETRY_MS = 5 * 60_000
/** Changes of the cluster gather this long before all waiting pods are tried again, ms. */
const GATHER_MS = 50

export interface SchedulerOptions {
  readonly client: Client
  readonly caches: CacheSet
  readonly clock: Clock
  /** Loads what evaluates the selectors of device claims. @default claims with selectors are served nowhere */
  readonly deviceSelectors?: () => Promise<DeviceMatch>
}

/** The scheduler; run it on one server at a time. */
export function createScheduler({ client, caches, clock, deviceSelectors = async () => noSelectors }: SchedulerOptions): Manager {
  const pods = caches.cache<Pod>(KINDS.Pod)
  const nodes = caches.cache<Node>(KINDS.Node)
  const podApi = client.resource<Pod>(KINDS.Pod)
  const bindings = client.resource<Binding>(KINDS.Pod)
  const events = createEventRecorder({ client, clock, component: SCHEDULER_NAME })
  const snapshot = new ClusterSnapshot()
  const binder = new VolumeBinder(client, caches)
  const devices = new DeviceBinder({ client, caches, selectors: deviceSelectors, now: () => clock.now() })
  /** Pods that fit nowhere; bounded by the pods that exist. */
  const waiting = new Set<string>()

  const source: Source = (enqueue) => {
    const retryAll = (): void => {
      for (const key of waiting) enqueue(key, GATHER_MS)
    }
    /** Pods that wait for devices: some may be free now. */
    const retryClaiming = (): void => {
      for (const key of waiting) if (pods.get(splitKey(key).name, splitKey(key).namespace)?.spec?.resourceClaims?.length) enqueue(key, GATHER_MS)
    }
    const claimChanged = (namespace: string | undefined, name: string | undefined): void => {
      for (const key of waiting) {
        const pod = splitKey(key).namespace === namespace ? pods.get(splitKey(key).name, namespace) : undefined
        if (pod && claimNames(pod).includes(name ?? '')) enqueue(key, GATHER_MS)
      }
    }
    const stops = [
      binder.claims.onChange((now, old) => claimChanged((now ?? old)?.metadata?.namespace, (now ?? old)?.metadata?.name)),
      binder.volumes.onChange((now) => {
        // A volume that is free now may be what a waiting pod needs.
        if (now?.status?.phase === 'Available') retryAll()
      }),
      binder.classes.onChange(retryAll),
      devices.claims.onChange((now, old) => {
        devices.seen(now, old)
        const freed = old?.status?.allocation !== undefined && now?.status?.allocation === undefined
        if (freed || !old) retryClaiming()
        else for (const key of waiting) {
          const pod = splitKey(key).namespace === old.metadata?.namespace ? pods.get(splitKey(key).name, splitKey(key).namespace) : undefined
          if (pod && deviceClaimNames(pod).includes(old.metadata?.name ?? '')) enqueue(key, GATHER_MS)
        }
      }),
      devices.slices.onChange(retryClaiming),
      devices.classes.onChange(retryClaiming),
      nodes.onChange((now, old) => {
        const node = now ?? old
        snapshot.setNode(node?.metadata?.name ?? '', now)
        if (!now || !old || matterOf(now) !== matterOf(old)) retryAll()
      }),
      pods.onChange((now, old) => {
        const key = keyOf((now ?? old) as Pod)
        if (!now || now.metadata?.uid !== old?.metadata?.uid) snapshot.forget(key)
        snapshot.setPod(key, now)
        if (now && isOurs(now)) enqueue(key)
        else waiting.delete(key)
        const freed = old?.spec?.nodeName !== undefined && (!now || now.status?.phase !== old.status?.phase)
        const placed = now?.spec?.nodeName !== undefined && old?.spec?.nodeName === undefined
        if (freed || placed) retryAll()
      }),
    ]
    return () => {
      for (const stop of stops) stop()
    }
  }

  const reconcile = async (key: string): Promise<{ requeueAfterMs: number } | void> => {
    const { namespace, name } = splitKey(key)
    const pod = pods.get(name, namespace)
    if (!pod || !isOurs(pod)) return void waiting.delete(key)
    const claimed = await devices.of(pod)
    const volumes = binder.of(pod)
    // Assumed on a node while its volumes were made: looked at as if for the first time.
    if (volumes.open.length > 0) snapshot.forget(key)
    const decision = decide(pod, snapshot.views(), volumes, claimed)
    if (decision.node === undefined) {
      waiting.add(key)
      await devices.release(pod)
      await explain(pod, decision.message)
      return { requeueAfterMs: RETRY_MS }
    }
    snapshot.assume(pod, decision.node)
    if (volumes.open.length > 0) {
      waiting.add(key)
      const node = nodes.get(decision.node)
      if (node) await binder.choose(volumes, node)
      return { requeueAfterMs: RETRY_MS }
    }
    try {
      const node = nodes.get(decision.node)
      if (node) await devices.reserve(pod, node)
    } catch (error) {
      snapshot.forget(key)
      // Somebody else wrote the claim: what it says now is looked at soon.
      if (hasCode(error, 'conflict') || hasCode(error, 'not-found')) return { requeueAfterMs: GATHER_MS }
      throw error
    }
    try {
      const metadata = { name, ...(namespace === undefined ? {} : { namespace }), ...(pod.metadata?.uid === undefined ? {} : { uid: pod.metadata.uid }) }
      await bindings.create({ apiVersion: 'v1', kind: 'Binding', metadata, target: { apiVersion: 'v1', kind: 'Node', name: decision.node } }, { subresource: 'binding' })
    } catch (error) {
      snapshot.forget(key)
      // Bound by someone else or gone: the cache will show it, and then it is nothing to us.
      if (hasCode(error, 'conflict') || hasCode(error, 'not-found')) return
      events.event(referenceTo(pod, KINDS.Pod), 'Warning', 'FailedScheduling', `binding rejected: ${messageOf(error)}`)
      throw error
    }
    waiting.delete(key)
    events.event(referenceTo(pod, KINDS.Pod), 'Normal', 'Scheduled', `Successfully assigned ${key} to ${decision.node}`)
  }

  const explain = async (pod: Readonly<Pod>, message: string): Promise<void> => {
    const old = findCondition(pod.status?.conditions, 'PodScheduled')
    if (old?.status === 'False' && old.message === message) return
    events.event(referenceTo(pod, KINDS.Pod), 'Warning', 'FailedScheduling', message)
    const lastTransitionTime = old?.status === 'False' ? old.lastTransitionTime : kubeTime(clock.now())
    const condition = { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message, lastTransitionTime }
    const { name = '', namespace } = pod.metadata ?? {}
    try {
      await podApi.patch(name, namespace, { status: { conditions: [condition] } }, 'strategic', { subresource: 'status' })
    } catch (error) {
      if (!hasCode(error, 'not-found')) throw error
    }
  }

  const controller = createController({ name: 'scheduler', clock, sources: [source], caches: [pods, nodes, binder.claims, binder.volumes, binder.classes, devices.claims, devices.slices, devices.classes], reconcile, workers: 1 })
  return createManager([controller], [(signal) => events.run(signal)])
}

const noSelectors: DeviceMatch = () => {
  throw new Error('selectors of devices cannot be evaluated here')
}

function isOurs(pod: Readonly<Pod>): boolean {
  const { nodeName, schedulerName = SCHEDULER_NAME, schedulingGates = [] } = pod.spec ?? {}
  const finished = pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed'
  return (nodeName ?? '') === '' && schedulerName === SCHEDULER_NAME && schedulingGates.length === 0 && !finished && pod.metadata?.deletionTimestamp === undefined
}

/** What of a node a decision can depend on; its heartbeats are not among it. */
function matterOf(node: Readonly<Node>): string {
  const { taints, unschedulable } = node.spec ?? {}
  return JSON.stringify([node.metadata?.labels, taints, unschedulable, node.status?.allocatable ?? node.status?.capacity])
}
