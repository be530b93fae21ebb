/** Taints keep pods off a node unless they tolerate them. A node that is cut off carries one, and nothing else tells it apart. */
import { tolerates } from '../../api/node-match.ts'
import { FITS, type Filter } from './filter.ts'

export { tolerates } from '../../api/node-match.ts'

export const taints: Filter = (pod, node) => {
  const tolerations = pod.spec?.tolerations ?? []
  const bad = node.node.spec?.taints?.find((t) => (t.effect === 'NoSchedule' || t.effect === 'NoExecute') && !tolerations.some((o) => tolerates(o, t)))
  return bad ? [`node(s) had untolerated taint {${bad.key}: ${bad.value ?? ''}}`] : FITS
}
