/** Whether a node's labels and taints suit a pod: one reading for the scheduler, which chooses, and the node, which may refuse. Pure. */
import type { Node, NodeSelectorTerm, Pod, Taint, Toleration } from './gen/types.ts'
import { satisfies } from './selectors.ts'

/** `nodeSelector` and the required node affinity hold. */
export function suitsNode(pod: Readonly<Pod>, node: Readonly<Node>): boolean {
  const labels = node.metadata?.labels ?? {}
  if (Object.entries(pod.spec?.nodeSelector ?? {}).some(([k, v]) => labels[k] !== v)) return false
  const required = pod.spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution
  return required === undefined || required.nodeSelectorTerms.some((t) => termMatches(t, node))
}

/** All requirements of a term hold; a term without any matches nothing. */
export function termMatches(term: Readonly<NodeSelectorTerm>, node: Readonly<Node>): boolean {
  const { matchExpressions = [], matchFields = [] } = term
  if (matchExpressions.length + matchFields.length === 0) return false
  const labels = node.metadata?.labels ?? {}
  const fields: Record<string, string> = { 'metadata.name': node.metadata?.name ?? '' }
  return matchExpressions.every((r) => satisfies(r.operator, r.values ?? [], labels[r.key])) && matchFields.every((r) => satisfies(r.operator, r.values ?? [], fields[r.key]))
}

/** Kubernetes' matching: an empty key with Exists tolerates all, an empty effect all effects. */
export function tolerates(toleration: Readonly<Toleration>, taint: Readonly<Taint>): boolean {
  const { effect, key, operator = 'Equal', value = '' } = toleration
  if (effect !== undefined && effect !== '' && effect !== taint.effect) return false
  if (key !== undefined && key !== '' && key !== taint.key) return false
  if (operator === 'Exists') return true
  return operator === 'Equal' && key !== undefined && key !== '' && value === (taint.value ?? '')
}

export interface HostPort {
  readonly ip: string
  readonly protocol: string
  readonly port: number
}

/** The ports of the node that a pod occupies while it is there; with the host's network, all its ports. */
export function podHostPorts(pod: Readonly<Pod>): HostPort[] {
  const sidecars = (pod.spec?.initContainers ?? []).filter((c) => c.restartPolicy === 'Always')
  return [...(pod.spec?.containers ?? []), ...sidecars].flatMap((c) =>
    (c.ports ?? [])
      .map((p) => ({ ip: p.hostIP ?? '0.0.0.0', protocol: p.protocol ?? 'TCP', port: p.hostPort ?? (pod.spec?.hostNetwork === true ? p.containerPort : 0) }))
      .filter((p) => p.port > 0),
  )
}

/** True when both cannot be listened on at once. */
export function portsClash(a: HostPort, b: HostPort): boolean {
  const anywhere = (ip: string): boolean => ip === '0.0.0.0' || ip === '' || ip === '::'
  return a.port === b.port && a.protocol === b.protocol && (a.ip === b.ip || anywhere(a.ip) || anywhere(b.ip))
}
