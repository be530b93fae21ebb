/** `nodeSelector` and required node affinity: labels and fields a node must have. */
import type { Node, NodeSelectorRequirement, NodeSelectorTerm } from '../../api/gen/types.ts'
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
  return matchExpressions.every((r) => holds(r, labels[r.key])) && matchFields.every((r) => holds(r, fields[r.key]))
}

function holds({ operator, values = [] }: Readonly<NodeSelectorRequirement>, value: string | undefined): boolean {
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value)
    case 'NotIn':
      return value === undefined || !values.includes(value)
    case 'Exists':
      return value !== undefined
    case 'DoesNotExist':
      return value === undefined
    case 'Gt':
    case 'Lt': {
      if (value === undefined || !WHOLE.test(value) || !WHOLE.test(values[0] ?? '')) return false
      const [a, b] = [BigInt(value), BigInt(values[0] ?? '')]
      return operator === 'Gt' ? a > b : a < b
    }
    default:
      return false // validation refuses others
  }
}

const WHOLE = /^-?\d+$/
