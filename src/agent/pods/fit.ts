/**
 * Whether this node has room for a pod that names it, or that was bound by what the scheduler knew: the kubelet's checks, in its
 * order and words. Pure.
 */
import type { Node, Pod } from '../../api/gen/types.ts'
import { podHostPorts, portsClash, suitsNode, tolerates } from '../../api/node-match.ts'
import { ANNOTATION_CONFIG_SOURCE } from './names.ts'
import { amount, HUGE_PAGES, hugePageSizes, podRequest } from './quantities.ts'
import type { Pending } from './resize.ts'
import type { Verdict } from './status.ts'

/** What is counted, and in which part of its unit. */
const COUNTED: ReadonlyMap<string, number> = new Map([
  ['cpu', 1000],
  ['memory', 1],
  ['ephemeral-storage', 1],
])
/** These say that the node is away; whoever is asked here is not. */
const AWAY = new Set(['node.kubernetes.io/unreachable', 'node.kubernetes.io/not-ready'])

export interface Room {
  readonly allocatable: Readonly<Record<string, string>>
  /** As the API has it; undefined when that is not known. */
  readonly node: Readonly<Node> | undefined
  /** Pods that were let in and have not ended. */
  readonly others: readonly Readonly<Pod>[]
}

/** A resource that does not suffice for a pod, in whole parts of its unit as they are counted. */
export interface Shortage {
  readonly resource: string
  readonly asked: number
  readonly used: number
  readonly has: number
  readonly short: number
}

/** What there is too little of. */
export function shortages(pod: Readonly<Pod>, room: Room): readonly Shortage[] {
  const most = amount(room.allocatable['pods'])
  const pods = { asked: 1, used: room.others.length, has: most > 0 ? most : Infinity }
  const all = [{ resource: 'pods', ...pods }, ...[...COUNTED.keys(), ...hugePageSizes(pod.spec).map((size) => HUGE_PAGES + size)].map((resource) => ({ resource, ...balance(pod, room, resource) }))]
  return all.filter((b) => b.asked > 0 && b.used + b.asked > b.has).map((b) => ({ ...b, short: b.used + b.asked - b.has }))
}

const refusedFor = (reason: string, why: string): Verdict => ({ reason, message: `Pod was rejected: ${why}`, refused: true })

/** Why the pod is not let in for want of room or because it does not belong here, or undefined. */
export function misfit(pod: Readonly<Pod>, room: Room): Verdict | undefined {
  const [first] = shortages(pod, room)
  if (first) return refusedFor(`OutOf${first.resource}`, `Node didn't have enough resource: ${first.resource}, requested: ${first.asked}, used: ${first.used}, capacity: ${first.has}`)
  return stranger(pod, room)
}

/** Why the pod does not belong here, however much room there is. */
export function stranger(pod: Readonly<Pod>, { node, others }: Room): Verdict | undefined {
  const predicate = (name: string, why: string): Verdict => refusedFor(name, `Predicate ${name} failed: ${why}`)
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
  const all = ['cpu', 'memory'].flatMap((resource) => {
    const { asked, used, has } = balance(wanted, room, resource)
    return used + asked > has ? [short(resource, asked, used, has)] : []
  })
  return all.find((p) => p.reason === 'Infeasible') ?? all[0]
}

/** What a pod asks for, what others have, and what there is; of what the node does not name there are only huge pages none. */
function balance(pod: Readonly<Pod>, { allocatable, others }: Room, resource: string): { asked: number; used: number; has: number } {
  const has = allocatable[resource] === undefined ? (resource.startsWith(HUGE_PAGES) ? 0 : Infinity) : Math.floor(amount(allocatable[resource]) * (COUNTED.get(resource) ?? 1))
  return { asked: countOf(pod, resource), used: others.reduce((sum, p) => sum + countOf(p, resource), 0), has }
}

/** What a pod asks for of a resource, as it is counted: thousandths of a core, bytes; itself, of `pods`. */
export function countOf(p: Readonly<Pod>, resource: string): number {
  if (resource === 'pods') return 1
  return p.spec ? Math.ceil(podRequest(p.spec, resource) * (COUNTED.get(resource) ?? 1)) : 0
}
