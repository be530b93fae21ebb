/** `nodeSelector` and required node affinity: labels and fields a node must have. */
import type { Node, NodeSelectorTerm } from '../../api/gen/types.ts'
import { satisfies } from '../../api/selectors.ts'
import { FITS, type Filter } from './filter.ts'

const REASON = ["node(s) didn't match Pod's node affinity/selector"]

export const nodeAffinity: Filter = (pod, { node }) => {
  const labels = node.metadata?.labels ?? {}
  if (Object.entries(pod.spec?.nodeSelector ?? {}).some(([k, v]) => labels[k] !== v)) return REASON
  const required = pod.spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution
  return required === undefined || required.nodeSelectorTerms.some((t) => termMatches(t, node)) ? FITS : REASON
}

/** All requirements of a term hold; a term without any matches nothing. */
export function termMatches(term: Readonly<NodeSelectorTerm>, node: Readonly<Node>): boolean {
  const { matchExpressions = [], matchFields = [] } = term
  if (matchExpressions.length + matchFields.length === 0) return false
  const labels = node.metadata?.labels ?? {}
  const fields: Record<string, string> = { 'metadata.name': node.metadata?.name ?? '' }
  return matchExpressions.every((r) => satisfies(r.operator, r.values ?? [], labels[r.key])) && matchFields.every((r) => satisfies(r.operator, r.values ?? [], fields[r.key]))
}
