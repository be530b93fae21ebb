/** Pods of one owner spread over nodes: the fewer of its siblings a node has, the better. */
import { controllerOf, isActive } from '../../control/mod.ts'
import { normalize, type Score } from './score.ts'

export const spread: Score = (pod, nodes) => {
  const owner = controllerOf(pod)?.uid
  if (owner === undefined) return nodes.map(() => 0)
  return normalize(nodes.map((n) => n.pods.filter((p) => isActive(p) && controllerOf(p)?.uid === owner).length), true)
}
