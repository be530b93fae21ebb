/** Preferred node affinity: the weights of the terms that a node matches. */
import { termMatches } from '../filters/node-affinity.ts'
import { normalize, type Score } from './score.ts'

export const preferredNodeAffinity: Score = (pod, nodes) => {
  const terms = pod.spec?.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []
  return normalize(
    nodes.map((n) => terms.reduce((sum, t) => sum + (termMatches(t.preference, n.node) ? t.weight : 0), 0)),
    false,
  )
}
