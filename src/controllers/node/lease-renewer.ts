/**
 * Turns the liveness of links into Leases: a node with a link sends no heartbeats, the server that holds the link renews
 * its Lease in kube-node-lease. Runs on every server with a hub, not only on the leader: the leader judges by the Leases.
 *
 * A renewal says when the node was last heard, and there is none without news from it: a link that hangs on a dead line must
 * not keep a node alive. Coalesced: at most one write a node each {@link LeaseBeat.renewMs}, whatever the link reports, and all nodes'
 * at the same moment: the store has them on disk with one sync, and pages that several share are written once.
 */
import type { Lease, Node } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import { apiVersionOf } from '../../api/resource.ts'
import { hasCode } from '../../base/errors.ts'
import type { NodeLinks } from '../../base/stream.ts'
import { microTime } from '../../client/mod.ts'
import { createController, type Controller, type Result, type Source } from '../../control/mod.ts'
import type { ControllerContext } from '../context.ts'
import { LEASE_NAMESPACE } from './controller.ts'
import { linkedNodes } from './linked.ts'
import { GRACE_MS } from './plan.ts'

/** How often a Lease is renewed, and how long it says that it holds. */
export interface LeaseBeat {
  readonly renewMs: number
  readonly holdsSeconds: number
}

/** Several servers: others judge by the Lease. Two renewals fit into the grace, so one lost write does not make a node look lost. */
export function sharedBeat(graceMs: number = GRACE_MS): LeaseBeat {
  return { renewMs: (graceMs * 3) / 8, holdsSeconds: Math.ceil(graceMs / 1000) }
}
/**
 * One server judges by its own links, the Lease only tells people: renewals are rare. Each writes some 4 kB of index and a kilobyte of text a node, so
 * that twenty nodes renewed each five minutes would be more than all else a server at rest writes.
 */
export const ALONE_BEAT: LeaseBeat = { renewMs: 900_000, holdsSeconds: 2_700 }
/** Renewals under way at once. */
const WORKERS = 64

/** @param links those this server holds */
export function createLeaseRenewer({ client, caches, clock }: ControllerContext, links: NodeLinks, beat: LeaseBeat = sharedBeat()): Controller {
  const nodes = caches.cache<Node>(KINDS.Node)
  const leases = client.resource<Lease>(KINDS.Lease)
  const linked = linkedNodes(links, clock)
  const renewedAt = new Map<string, number>()
  /** What the last renewal of a node knew: when it was heard, monotonic ms. */
  const renewedFor = new Map<string, number>()

  const source: Source = (enqueue) => {
    const stops = [
      linked.follow((node, is) => {
        if (is) return enqueue(node)
        renewedAt.delete(node)
        renewedFor.delete(node)
      }),
      nodes.onChange((now, old) => {
        if (now && !old) enqueue(now.metadata?.name ?? '')
      }),
    ]
    return () => {
      for (const stop of stops) stop()
    }
  }

  const reconcile = async (name: string): Promise<Result | void> => {
    const node = nodes.get(name)
    const heardAt = linked.heardAt(name)
    if (heardAt === undefined || !node || heardAt === renewedFor.get(name)) return
    const dueMs = nextBeat(renewedAt.get(name), beat.renewMs) - clock.monotonic()
    if (dueMs > 0) return { requeueAfterMs: dueMs }
    const spec = { holderIdentity: name, leaseDurationSeconds: beat.holdsSeconds, renewTime: microTime(clock.now() - (clock.monotonic() - heardAt)) }
    try {
      await leases.patch(name, LEASE_NAMESPACE, { spec }, 'merge')
    } catch (error) {
      if (!hasCode(error, 'not-found')) throw error
      const ownerReferences = [{ apiVersion: apiVersionOf(KINDS.Node), kind: 'Node', name, uid: node.metadata?.uid ?? '' }]
      await leases.create({ metadata: { name, namespace: LEASE_NAMESPACE, ownerReferences }, spec })
    }
    renewedAt.set(name, clock.monotonic())
    renewedFor.set(name, heardAt)
  }

  return createController({ name: 'node-lease', clock, sources: [source], caches: [nodes], reconcile, workers: WORKERS })
}

/** When a node is next due that was last renewed then, monotonic ms: the moments are the same for all, a multiple of `renewMs`. */
function nextBeat(renewedAt: number | undefined, renewMs: number): number {
  return renewedAt === undefined ? -Infinity : (Math.floor(renewedAt / renewMs) + 1) * renewMs
}
