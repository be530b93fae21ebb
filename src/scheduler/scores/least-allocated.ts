/** Nodes with more room left, in cpu and memory alike, are better. */
import { podRequests, type Amounts } from '../requests.ts'
import type { NodeView } from '../snapshot.ts'
import type { Score } from './score.ts'

/** What a container without requests is taken to use, so that many such pods still spread; Kubernetes' figures. */
const ASSUMED: Readonly<Record<string, number>> = { cpu: 100, memory: 200 << 20 }

export const leastAllocated: Score = (pod, nodes) => {
  const wanted = podRequests(pod)
  return nodes.map((node) => (['cpu', 'memory'] as const).reduce((sum, r) => sum + freeShare(node, wanted, r), 0) / 2)
}

function freeShare(node: NodeView, wanted: Amounts, resource: string): number {
  const total = node.allocatable.get(resource) ?? 0
  if (total === 0) return 0
  // Pods that ask for nothing are counted by number: cheaper than per container, and near enough to tell full from empty.
  const silent = node.pods.length * (ASSUMED[resource] ?? 0)
  const used = Math.max(node.requested.get(resource) ?? 0, silent) + Math.max(wanted.get(resource) ?? 0, ASSUMED[resource] ?? 0)
  return Math.max(0, ((total - used) / total) * 100)
}
