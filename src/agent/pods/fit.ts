/**
 * Whether this node has room for a pod that names it, or that was bound by what the scheduler knew: the kubelet's checks, in its
 * order and words. Pure.
 */
import type { Node, Pod } from '../../api/gen/types.ts'
import { podHostPorts, portsClash, suitsNode, tolerates } from '../../api/node-match.ts'
import { ANNOTATION_CONFIG_SOURCE } from './names.ts'
import { amount, podRequest } from './quantities.ts'
import type { Pending } from './resize.ts'
import type { Verdict } from './status.ts'

/** What is counted, and in which part of its unit. */
const COUNTED: readonly (readonly [resource: string, scale: number])[] = [['cpu', 1000], ['memory', 1], ['ephemeral-storage', 1]]
/** These say that the node is away; whoever is asked here is not. */
const AWAY = new Set(['node.kubernetes.io/unreachable', 'node.kubernetes.io/not-ready'])

export interface Room {
  readonly allocatable: Readonly<Record<string, string>>
  /** As the API has it; undefined when that is not known. */
  readonly node: Readonly<Node> | undefined
  /** Pods that were let in and have not ended. */
  readonly others: readonly Readonly<Pod>[]
}

/** Why the pod is not let in for want of room or because it does not belong here, or undefined. */
export function misfit(pod: Readonly<Pod>, room: Room): Verdict | undefined {
  const no = (reason: string, why: string): Verdict => ({ reason, message: `Pod was rejected: ${why}`, refused: true })
  const short = (resource: string, asked: number, used: number, has: number): Verdict =>
    no(`OutOf${resource}`, `Node didn't have enough resource: ${resource}, requested: ${asked}, used: ${used}, capacity: ${has}`)
  const { allocatable, node, others } = room
  const most = amount(allocatable['pods'])
  if (most > 0 && others.length + 1 > most) return short('pods', 1, others.length, most)
  for (const [resource, scale] of COUNTED) {
    const { asked, used, has } = balance(pod, room, resource, scale)
    if (asked > 0 && used + asked > has) return short(resource, asked, used, has)
  }
  const predicate = (name: string, why: string): Verdict => no(name, `Predicate ${name} failed: ${why}`)
  if (node && !suitsNode(pod, node)) return predicate('NodeAffinity', "node(s) didn't match Pod's node affinity/selector")
  const taken = others.flatMap(podHostPorts)
  if (podHostPorts(pod).some((p) => taken.some((q) => portsClash(p, q)))) return predicate('NodePorts', "node(s) didn't have free ports for the requested pod ports")
  const fromFile = pod.metadata?.annotations?.[ANNOTATION_CONFIG_SOURCE] === 'file'
  const untolerated = node?.spec?.taints?.some((t) => t.effect === 'NoExecute' && !AWAY.has(t.key) && !pod.spec?.tolerations?.some((o) => tolerates(o, t)))
  if (untolerated && !fromFile) return predicate('TaintToleration', "node(s) had taints that the pod didn't tolerate")
  return undefined
}

/** Why a pod that runs does not get the resources it asks for now, or ever; undefined: it gets them. `others` has not got the pod itself. */
export function cannotGrow(wanted: Readonly<Pod>, room: Room): Pending | undefined {
  const short = (resource: string, asked: number, used: number, has: number): Pending =>
    asked > has
      ? { reason: 'Infeasible', message: `Node didn't have enough capacity: ${resource}, requested: ${asked}, capacity: ${has}` }
      : { reason: 'Deferred', message: `Node didn't have enough resource: ${resource}, requested: ${asked}, used: ${used}, capacity: ${has}` }
  const all = COUNTED.filter(([r]) => r !== 'ephemeral-storage').flatMap(([resource, scale]) => {
    const { asked, used, has } = balance(wanted, room, resource, scale)
    return used + asked > has ? [short(resource, asked, used, has)] : []
  })
  return all.find((p) => p.reason === 'Infeasible') ?? all[0]
}

/** What a pod asks for, what others have, and what there is; nothing is counted that the node does not say it has. */
function balance(pod: Readonly<Pod>, { allocatable, others }: Room, resource: string, scale: number): { asked: number; used: number; has: number } {
  const count = (p: Readonly<Pod>): number => (p.spec ? Math.ceil(podRequest(p.spec, resource) * scale) : 0)
  const has = allocatable[resource] === undefined ? Infinity : Math.floor(amount(allocatable[resource]) * scale)
  return { asked: count(pod), used: others.reduce((sum, p) => sum + count(p), 0), has }
}
