/** Nodes with fewer PreferNoSchedule taints that the pod does not tolerate are better. */
import { tolerates } from '../filters/taints.ts'
import { normalize, type Score } from './score.ts'

export const preferredTaints: Score = (pod, nodes) => {
  const tolerations = pod.spec?.tolerations ?? []
  const bad = nodes.map((n) => (n.node.spec?.taints ?? []).filter((t) => t.effect === 'PreferNoSchedule' && !tolerations.some((o) => tolerates(o, t))).length)
  return normalize(bad, true)
}
