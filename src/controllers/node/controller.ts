/**
 * Node lifecycle: proof of life is the node's link on this server, or any renewal of its Lease (another server's, or an
 * agent's own). The deciding is in `plan.ts`. Also removes the pods of a Node object that was deleted: nobody is left to
 * confirm their end.
 */
import type { Lease, Node, Pod } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import { ON_DISCONNECT, parseOnDisconnect, REPLACED, type OnDisconnect } from '../../api/on-disconnect.ts'
import { hasCode, messageOf } from '../../base/errors.ts'
import type { NodeLinks } from '../../base/stream.ts'
import { referenceTo, type Cache } from '../../client/mod.ts'
import { createController, findCondition, kubeTime, type Controller, type Result, type Source } from '../../control/mod.ts'
import type { ControllerContext } from '../context.ts'
import { BY_NODE, podCache } from '../pod-cache.ts'
import { linkedNodes } from './linked.ts'
import { GRACE_MS, planNode, planPod, planStandIn } from './plan.ts'

export const LEASE_NAMESPACE = 'kube-node-lease'

/** The Leases of nodes, shared by who judges by them. */
export function nodeLeases(context: ControllerContext): Cache<Lease> {
  return context.caches.cache<Lease>(KINDS.Lease, { namespace: LEASE_NAMESPACE })
}

/**
 * @param links those this server holds; other servers' show in the Leases
 * @param graceMs silence after which a node is cut off
 */
export function createNodeController(context: ControllerContext, links: NodeLinks, graceMs: number = GRACE_MS): Controller {
  const { client, caches, clock, recorder } = context
  const nodes = caches.cache<Node>(KINDS.Node)
  const leases = nodeLeases(context)
  const pods = podCache(caches)
  const nodeApi = client.resource<Node>(KINDS.Node)
  const podApi = client.resource<Pod>(KINDS.Pod)
  const events = recorder('node-controller')
  /** Monotonic time of the last proof of life; a node first seen gets the full grace. Bounded by nodes. */
  const provenAt = new Map<string, number>()

  const linked = linkedNodes(links, clock)

  const watchProofs: Source = (enqueue) => {
    const prove = (name: string): void => {
      const first = !provenAt.has(name)
      provenAt.set(name, clock.monotonic())
      const unknown = findCondition(nodes.get(name)?.status?.conditions, 'Ready')?.status === 'Unknown'
      if (first || unknown) enqueue(name)
    }
    const stops = [
      leases.onChange((now, old) => {
        if (now && now.spec?.renewTime !== old?.spec?.renewTime) prove(now.metadata?.name ?? '')
      }),
      linked.follow((name, is) => (is ? prove(name) : enqueue(name))),
    ]
    return () => {
      for (const stop of stops) stop()
    }
  }

  const reconcile = async (name: string): Promise<Result | void> => {
    const node = nodes.get(name)
    if (!node) return await removePods(name)
    const now = kubeTime(clock.now())
    if (!provenAt.has(name)) provenAt.set(name, linked.heardAt(name) ?? clock.monotonic())
    const silentMs = clock.monotonic() - (provenAt.get(name) ?? 0)
    const { ready, taints } = planNode(node, silentMs < graceMs, now, graceMs)
    if (taints) {
      await nodeApi.patch(name, undefined, { metadata: { resourceVersion: node.metadata?.resourceVersion }, spec: { taints } }, 'merge')
    }
    if (ready) {
      await nodeApi.patch(name, undefined, { status: { conditions: [ready] } }, 'strategic', { subresource: 'status' })
      const lost = ready.status === 'Unknown'
      events.event(referenceTo(node, KINDS.Node), lost ? 'Warning' : 'Normal', lost ? 'NodeNotReady' : 'NodeReady', `Node ${name} status is now: ${lost ? 'NodeNotReady' : 'NodeReady'}`)
    }
    const told = ready ?? findCondition(node.status?.conditions, 'Ready')
    let waitMs = silentMs < graceMs ? graceMs - silentMs + 10 : graceMs
    for (const pod of pods.byIndex(BY_NODE, name)) {
      const condition = planPod(pod, told?.status, now)
      if (condition) await patchPod(pod, condition)
      const standIn = planStandIn(pod, policyOf(pod), told?.status, Date.parse(told?.lastTransitionTime ?? now), clock.now(), now)
      if (standIn.condition) await patchPod(pod, standIn.condition === 'drop' ? { type: REPLACED, $patch: 'delete' } : standIn.condition)
      if (standIn.remove) {
        events.event(referenceTo(pod, KINDS.Pod), 'Warning', 'DeletedWhileCutOff', `Deleted for its owner to make another one, as ${ON_DISCONNECT} says: node ${name} is cut off for longer than the pod waits`)
        await removePod(pod)
      }
      if (standIn.inMs !== undefined) waitMs = Math.min(waitMs, Math.max(standIn.inMs, 100))
    }
    return { requeueAfterMs: waitMs }
  }

  /** A mistake in the policy is told, and the pod stays: that can be undone. */
  const policyOf = (pod: Readonly<Pod>): OnDisconnect => {
    try {
      return parseOnDisconnect(pod.metadata?.annotations?.[ON_DISCONNECT])
    } catch (error) {
      events.event(referenceTo(pod, KINDS.Pod), 'Warning', 'InvalidOnDisconnect', messageOf(error))
      return parseOnDisconnect(undefined)
    }
  }

  const patchPod = async (pod: Readonly<Pod>, condition: object): Promise<void> => {
    const { name = '', namespace } = pod.metadata ?? {}
    try {
      await podApi.patch(name, namespace, { status: { conditions: [condition] } }, 'strategic', { subresource: 'status' })
    } catch (error) {
      if (!hasCode(error, 'not-found')) throw error
    }
  }

  /** Off the books, as nobody confirms its end. */
  const removePod = async ({ metadata: { name = '', namespace, uid = '' } = {} }: Readonly<Pod>): Promise<void> => {
    await podApi.delete(name, namespace, { gracePeriodSeconds: 0, preconditions: { uid } }).catch((error: unknown) => {
      if (!hasCode(error, 'not-found') && !hasCode(error, 'conflict')) throw error
    })
  }

  /** The Node is gone by someone's wish: after the grace, and only if the API agrees, its pods are taken off the books. */
  const removePods = async (name: string): Promise<Result | void> => {
    const stranded = pods.byIndex(BY_NODE, name)
    if (stranded.length === 0) return void provenAt.delete(name)
    const since = provenAt.get(name) ?? clock.monotonic()
    provenAt.set(name, since)
    const left = graceMs - (clock.monotonic() - since)
    if (left > 0) return { requeueAfterMs: left }
    try {
      await nodeApi.get(name)
      return { requeueAfterMs: graceMs }
    } catch (error) {
      if (!hasCode(error, 'not-found')) throw error
    }
    for (const pod of stranded) await removePod(pod)
    provenAt.delete(name)
  }

  const watchNodes: Source = (enqueue) =>
    nodes.onChange((now, old) => {
      const name = (now ?? old)?.metadata?.name ?? ''
      if (!now) provenAt.set(name, clock.monotonic())
      enqueue(name)
    })
  // A pod that appears, or is reported ready, on a node that is lost or deleted.
  const watchPods: Source = (enqueue) =>
    pods.onChange((now) => {
      const name = now?.spec?.nodeName
      if (name === undefined) return
      const node = nodes.get(name)
      if (!node || findCondition(node.status?.conditions, 'Ready')?.status === 'Unknown') enqueue(name)
    })

  return createController({ name: 'node', clock, sources: [watchProofs, watchNodes, watchPods], caches: [nodes, leases, pods], reconcile })
}
