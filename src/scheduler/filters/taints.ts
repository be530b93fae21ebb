/** Taints keep pods off a node unless they tolerate them. A node that is cut off carries one, and nothing else tells it apart. */
import type { Taint, Toleration } from '../../api/gen/types.ts'
import { FITS, type Filter } from './filter.ts'

/** Kubernetes' matching: an empty key with Exists tolerates all, an empty effect all effects. */
export function tolerates(toleration: Readonly<Toleration>, taint: Readonly<Taint>): boolean {
  const { effect, key, operator = 'Equal', value = '' } = toleration
  if (effect !== undefined && effect !== '' && effect !== taint.effect) return false
  if (key !== undefined && key !== '' && key !== taint.key) return false
  if (operator === 'Exists') return true
  return operator === 'Equal' && key !== undefined && key !== '' && value === (taint.value ?? '')
}

export const taints: Filter = (pod, node) => {
  const tolerations = pod.spec?.tolerations ?? []
  const bad = node.node.spec?.taints?.find((t) => (t.effect === 'NoSchedule' || t.effect === 'NoExecute') && !tolerations.some((o) => tolerates(o, t)))
  return bad ? [`node(s) had untolerated taint {${bad.key}: ${bad.value ?? ''}}`] : FITS
}
