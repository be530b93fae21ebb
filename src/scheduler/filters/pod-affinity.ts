/** Required pod affinity and anti-affinity, within a topology (usually one node): beside such pods, or away from them. */
import type { Pod, PodAffinityTerm } from '../../api/gen/types.ts'
import { labelSelectorOf, matchesLabels } from '../../api/selectors.ts'
import type { NodeView } from '../snapshot.ts'
import { FITS, type Filter } from './filter.ts'

const AFFINITY = ["node(s) didn't match pod affinity rules"]
const ANTI_AFFINITY = ["node(s) didn't match pod anti-affinity rules"]
const EXISTING = ["node(s) didn't satisfy existing pods anti-affinity rules"]

export const podAffinity: Filter = (pod, node, { nodes: all, objecting }) => {
  const near = required(pod, 'podAffinity')
  const away = required(pod, 'podAntiAffinity')
  for (const term of near) {
    const anywhere = all.some((n) => n.pods.some((p) => termMatches(term, pod, p)))
    // The first of a group that wants to be together may go anywhere the topology exists.
    const first = !anywhere && termMatches(term, pod, pod) && topology(node, term) !== undefined
    if (!first && !inTopology(term, node, all).some((p) => termMatches(term, pod, p))) return AFFINITY
  }
  if (away.some((term) => inTopology(term, node, all).some((p) => termMatches(term, pod, p)))) return ANTI_AFFINITY
  const objects = objecting.some(({ pod: p, on }) =>
    required(p, 'podAntiAffinity').some((t) => termMatches(t, p, pod) && topology(on, t) !== undefined && topology(on, t) === topology(node, t)),
  )
  if (objects) return EXISTING
  return FITS
}

function required(pod: Readonly<Pod>, which: 'podAffinity' | 'podAntiAffinity'): readonly PodAffinityTerm[] {
  return pod.spec?.affinity?.[which]?.requiredDuringSchedulingIgnoredDuringExecution ?? []
}

function topology(node: NodeView, term: Readonly<PodAffinityTerm>): string | undefined {
  return node.node.metadata?.labels?.[term.topologyKey]
}

function inTopology(term: Readonly<PodAffinityTerm>, node: NodeView, all: readonly NodeView[]): readonly Readonly<Pod>[] {
  const value = topology(node, term)
  return value === undefined ? [] : all.filter((n) => topology(n, term) === value).flatMap((n) => n.pods)
}

/** @param owner the pod that has the term: without namespaces it means its own. A namespaceSelector counts only when empty: all. */
function termMatches(term: Readonly<PodAffinityTerm>, owner: Readonly<Pod>, candidate: Readonly<Pod>): boolean {
  const namespace = candidate.metadata?.namespace ?? ''
  const everywhere = term.namespaceSelector !== undefined && Object.keys(term.namespaceSelector).length === 0
  const named = term.namespaces ?? (term.namespaceSelector === undefined ? [owner.metadata?.namespace ?? ''] : [])
  return (everywhere || named.includes(namespace)) && matchesLabels(labelSelectorOf(term.labelSelector), candidate.metadata?.labels)
}
