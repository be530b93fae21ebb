/** The decision itself, pure: which node a pod goes to, or why none will do. */
import type { Pod } from '../api/gen/types.ts'
import type { Field, Filter } from './filters/filter.ts'
import { hostPorts } from './filters/host-ports.ts'
import { nodeAffinity } from './filters/node-affinity.ts'
import { nodeName } from './filters/node-name.ts'
import { podAffinity } from './filters/pod-affinity.ts'
import { resources } from './filters/resources.ts'
import { taints } from './filters/taints.ts'
import { unschedulable } from './filters/unschedulable.ts'
import { leastAllocated } from './scores/least-allocated.ts'
import { preferredNodeAffinity } from './scores/node-affinity.ts'
import type { Score } from './scores/score.ts'
import { spread } from './scores/spread.ts'
import { preferredTaints } from './scores/taints.ts'
import type { NodeView } from './snapshot.ts'
import { NO_DEVICES, type PodDevices } from './devices.ts'
import { NO_VOLUMES, type PodVolumes } from './volumes.ts'

/** In Kubernetes' order: a node is counted under the first filter that refuses it. */
export const FILTERS: readonly Filter[] = [unschedulable, nodeName, taints, nodeAffinity, hostPorts, resources, podAffinity]
/** Scores with their weights, as in Kubernetes' default profile. */
export const SCORES: readonly (readonly [Score, number])[] = [
  [preferredTaints, 3],
  [preferredNodeAffinity, 2],
  [spread, 2],
  [leastAllocated, 1],
]

export type Decision = { readonly node: string } | { readonly node?: never; readonly message: string }

/** @param nodes the frozen view; the same view gives the same decision */
export function decide(pod: Readonly<Pod>, nodes: readonly NodeView[], volumes: PodVolumes = NO_VOLUMES, devices: PodDevices = NO_DEVICES): Decision {
  if (volumes.chosen !== undefined) {
    // Volumes are being made on a node: it stays that node while the pod fits there.
    const there = decide(pod, nodes.filter((n) => n.name === volumes.chosen), { open: volumes.open, refuse: volumes.refuse }, devices)
    if (there.node !== undefined) return there
  }
  if (nodes.length === 0) return { message: 'no nodes available to schedule pods' }
  const problem = volumes.problem ?? devices.problem
  if (problem !== undefined) return { message: `0/${nodes.length} nodes are available: ${problem}.` }
  const reasons = new Map<string, number>()
  const field: Field = { nodes, objecting: nodes.flatMap((on) => on.objecting.map((p) => ({ pod: p, on }))) }
  const fitting = nodes.filter((node) => {
    for (const filter of FILTERS) {
      const why = filter(pod, node, field)
      for (const reason of why) reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
      if (why.length > 0) return false
    }
    for (const { refuse } of [volumes, devices]) {
      const why = refuse(node)
      for (const reason of why) reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
      if (why.length > 0) return false
    }
    return true
  })
  if (fitting.length === 0) {
    const parts = [...reasons].map(([reason, n]) => `${n} ${reason}`).toSorted()
    return { message: `0/${nodes.length} nodes are available: ${parts.join(', ')}.` }
  }
  const totals = fitting.map(() => 0)
  for (const [score, weight] of SCORES) for (const [i, n] of score(pod, fitting).entries()) totals[i] = (totals[i] ?? 0) + n * weight
  // Equal scores go to the node with fewer pods, then by name, so that a decision can be repeated.
  const best = fitting.map((node, i) => ({ node, total: totals[i] ?? 0 })).toSorted((a, b) => b.total - a.total || a.node.pods.length - b.node.pods.length || (a.node.name < b.node.name ? -1 : 1))
  return { node: best[0]?.node.name ?? '' }
}
