/** Gives each node a /24 of the cluster's pod network, once; the node keeps it for life and remembers it offline. */
import type { Node } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import { AppError } from '../../base/errors.ts'
import { referenceTo } from '../../client/mod.ts'
import { createController, TerminalError, watchObjects, type Controller } from '../../control/mod.ts'
import type { ControllerContext } from '../context.ts'

const NODE_BITS = 24

/**
 * The first free /24 of a network such as `10.42.0.0/16`; undefined when all are taken.
 * @throws AppError `invalid` for a text that is no IPv4 network of /24 or wider
 */
export function nextCidr(cluster: string, used: ReadonlySet<string>): string | undefined {
  const [, a, b, c, d, bits] = /^(\d+)\.(\d+)\.(\d+)\.(\d+)\/(\d+)$/.exec(cluster)?.map(Number) ?? []
  const valid = [a, b, c, d].every((n) => n !== undefined && n <= 255) && bits !== undefined && bits <= NODE_BITS
  if (!valid) throw new AppError('invalid', `use cluster network: "${cluster}" is not an IPv4 network of /24 or wider, such as "10.42.0.0/16"`)
  const size = 2 ** (NODE_BITS - (bits ?? 0))
  const first = (a ?? 0) * 65536 + (b ?? 0) * 256 + (c ?? 0)
  const base = first - (first % size)
  for (let n = base; n < base + size; n++) {
    const cidr = `${(n >>> 16) & 255}.${(n >>> 8) & 255}.${n & 255}.0/${NODE_BITS}`
    if (!used.has(cidr)) return cidr
  }
  return undefined
}

/** @throws AppError `invalid` for a network that cannot be divided */
export function createPodCidrController({ client, caches, clock, recorder }: ControllerContext, clusterCidr: string): Controller {
  nextCidr(clusterCidr, new Set()) // refuse a bad network at start, not at the first node
  const nodes = caches.cache<Node>(KINDS.Node)
  const api = client.resource<Node>(KINDS.Node)
  const events = recorder('cidr-allocator')
  /** Given, but not yet in the cache; by node. */
  const given = new Map<string, string>()

  const reconcile = async (name: string): Promise<void> => {
    const node = nodes.get(name)
    if (!node || node.spec?.podCIDR !== undefined) return void given.delete(name)
    const used = new Set([...nodes.list().flatMap((n) => n.spec?.podCIDR ?? []), ...given.values()])
    const cidr = given.get(name) ?? nextCidr(clusterCidr, used)
    if (cidr === undefined) {
      events.event(referenceTo(node, KINDS.Node), 'Warning', 'CIDRNotAvailable', `Node ${name} status is now: CIDRNotAvailable (${clusterCidr} is used up)`)
      throw new TerminalError(`give node "${name}" a pod network: all of ${clusterCidr} is taken, start the server with a wider --cluster-cidr`)
    }
    given.set(name, cidr)
    await api.patch(name, undefined, { metadata: { resourceVersion: node.metadata?.resourceVersion }, spec: { podCIDR: cidr, podCIDRs: [cidr] } }, 'merge')
  }

  return createController({ name: 'podcidr', clock, sources: [watchObjects(nodes)], caches: [nodes], reconcile, workers: 1 })
}
