/** What an update of a pod may change, through each of its doors: itself, `status`, `ephemeralcontainers`, `resize`. */
import type { Affinity, Container, NodeSelectorTerm, Pod, PodSpec, ResourceRequirements } from '../gen/types.ts'
import { dnsSubdomainErrors, labelKeyErrors } from '../names.ts'
import { equal } from '../patch/json-patch.ts'
import { qosClass } from '../qos.ts'
import type { FieldError } from '../status.ts'
import { findings, isDualStack } from './field.ts'
import type { Findings } from './field.ts'
import { immutable } from './meta.ts'
import { MIRROR, podErrors } from './pod.ts'

const UPDATE_TEXT =
  'pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)'
const REQUIRED = 'requiredDuringSchedulingIgnoredDuringExecution'

/** An update of the pod itself: images, a deadline that comes nearer, more tolerations, fewer gates; nothing else of the spec. */
export function podUpdateErrors(next: Pod, old: Pod): FieldError[] {
  return findings((e) => {
    const [n, o] = [next.spec, old.spec]
    if (!n || !o) return
    annotationChanges(e, next, old)
    for (const field of ['containers', 'initContainers'] as const) {
      if ((n[field]?.length ?? 0) !== (o[field]?.length ?? 0)) return e.forbidden(`spec.${field}`, 'pod updates may not add or remove containers')
    }
    const [before, after] = [o.activeDeadlineSeconds, n.activeDeadlineSeconds]
    if (before !== undefined && after === undefined) e.invalid('spec.activeDeadlineSeconds', null, 'must not update from a positive integer to nil value')
    else if (before !== undefined && after !== undefined && after > before) {
      return e.invalid('spec.activeDeadlineSeconds', after, 'must be less than or equal to previous value')
    }
    const kept = n.tolerations ?? []
    const timeless = (t: object): object => ({ ...t, tolerationSeconds: 0 })
    if (!(o.tolerations ?? []).every((t) => kept.some((k) => equal(timeless(k), timeless(t))))) {
      e.forbidden('spec.tolerations', 'existing toleration can not be modified except its tolerationSeconds')
    }
    for (const [i, g] of (n.schedulingGates ?? []).entries()) {
      if (o.schedulingGates?.some((x) => x.name === g.name)) continue
      e.forbidden(`spec.schedulingGates[${i}].name`, `only deletion is allowed, but found new scheduling gate '${g.name}'`)
    }
    // A gated pod may be narrowed to nodes; that is how external schedulers release it.
    if (o.schedulingGates?.length) narrowed(e, n, o)
    if (!equal(fixed(n, o), fixed(o, o))) e.forbidden('spec', UPDATE_TEXT)
  })
}

/** The part of a spec that must stay. */
function fixed(spec: PodSpec, old: PodSpec): unknown {
  const plain = (list: readonly Container[] | undefined): unknown => list?.map(({ image: _image, ...rest }) => rest) ?? null
  const { activeDeadlineSeconds: _deadline, tolerations: _tolerations, schedulingGates: _gates, ...rest } = spec
  const out: Record<string, unknown> = { ...rest, containers: plain(spec.containers), initContainers: plain(spec.initContainers) }
  if ((old.terminationGracePeriodSeconds ?? 0) < 0 && spec.terminationGracePeriodSeconds === 1) {
    out.terminationGracePeriodSeconds = old.terminationGracePeriodSeconds
  }
  if (old.schedulingGates?.length) {
    delete out.nodeSelector
    const { nodeAffinity: _node, ...others } = spec.affinity ?? {}
    out.affinity = others
  }
  return out
}

function narrowed(e: Findings, next: PodSpec, old: PodSpec): void {
  const selector = next.nodeSelector ?? {}
  if (Object.entries(old.nodeSelector ?? {}).some(([k, v]) => selector[k] !== v)) {
    e.invalid('spec.nodeSelector', next.nodeSelector, 'only additions to spec.nodeSelector are allowed (no mutations or deletions)')
  }
  const terms = (a: Affinity | undefined): NodeSelectorTerm[] => a?.nodeAffinity?.[REQUIRED]?.nodeSelectorTerms ?? []
  const [after, before] = [terms(next.affinity), terms(old.affinity)]
  const path = `spec.affinity.nodeAffinity.${REQUIRED}.nodeSelectorTerms`
  if (before.length > 0 && before.length !== after.length) {
    return e.invalid(path, after, 'no additions/deletions to non-empty NodeSelectorTerms list are allowed')
  }
  for (const [i, term] of before.entries()) {
    if (!extended(after[i] as NodeSelectorTerm, term)) e.invalid(`${path}[${i}]`, after[i], 'only additions are allowed (no mutations or deletions)')
  }
}

function extended(next: NodeSelectorTerm, old: NodeSelectorTerm): boolean {
  const count = (t: NodeSelectorTerm): number => (t.matchExpressions?.length ?? 0) + (t.matchFields?.length ?? 0)
  if (count(old) === 0) return count(next) === 0
  return (['matchExpressions', 'matchFields'] as const).every((key) => {
    const before = old[key] ?? []
    return equal((next[key] ?? []).slice(0, before.length), before)
  })
}

function annotationChanges(e: Findings, next: Pod, old: Pod): void {
  const [after, before] = [next.metadata?.annotations?.[MIRROR], old.metadata?.annotations?.[MIRROR]]
  if (after === before) return
  e.forbidden(`metadata.annotations[${MIRROR}]`, before === undefined ? 'may not add mirror pod annotation' : 'may not remove or update mirror pod annotation')
}

/** Ephemeral containers come; none changes or goes. */
export function ephemeralContainerErrors(next: Pod, old: Pod): FieldError[] {
  if (old.metadata?.annotations?.[MIRROR] !== undefined) return findings((e) => e.forbidden('', 'static pods do not support ephemeral containers'))
  return [
    ...podErrors(next),
    ...findings((e) => {
      for (const c of old.spec?.ephemeralContainers ?? []) {
        const kept = next.spec?.ephemeralContainers?.find((x) => x.name === c.name)
        if (!kept) e.forbidden('spec.ephemeralContainers', `existing ephemeral containers "${c.name}" may not be removed\n`)
        else if (!equal(kept, c)) e.forbidden('spec.ephemeralContainers', `existing ephemeral containers "${c.name}" may not be changed\n`)
      }
    }),
  ]
}

/** CPU and memory of running containers may change, within the pod's class of service. */
export function resizeErrors(next: Pod, old: Pod): FieldError[] {
  const all = findings((e) => {
    if (old.metadata?.annotations?.[MIRROR] !== undefined) return e.forbidden('', 'static pods cannot be resized')
    if (old.spec?.os?.name === 'windows') return e.forbidden('', 'windows pods cannot be resized')
    const [n, o] = [next.spec, old.spec]
    if (!n || !o) return
    if ((old.status?.qosClass ?? qosClass(o)) !== qosClass(n)) {
      e.invalid('spec', next.status?.qosClass ?? qosClass(n), 'Pod QOS Class may not change as a result of resizing')
    }
    const running = old.status?.containerStatuses?.find((s) => s.state?.running)
    if (running && !running.resources) e.forbidden('spec', 'Pod running on node without support for resize')
    const whole = (s: PodSpec): number => Object.keys(s.resources?.requests ?? {}).length + Object.keys(s.resources?.limits ?? {}).length
    if (whole(o) + whole(n) > 0) {
      return e.forbidden('', 'resize of pods with pod-level resources is forbidden when InPlacePodLevelResourcesVerticalScalingEnabled feature gate is disabled')
    }
    for (const field of ['initContainers', 'containers'] as const) resized(e, field, n, o)
  })
  return [...podErrors(next), ...all]
}

function resized(e: Findings, field: 'initContainers' | 'containers', next: PodSpec, old: PodSpec): void {
  const [after, before] = [next[field] ?? [], old[field] ?? []]
  if (after.length !== before.length || after.some((c, i) => c.name !== before[i]?.name)) {
    return e.forbidden('spec', 'containers may not be renamed or reordered on resize')
  }
  for (const [i, c] of after.entries()) {
    const was = before[i] as Container
    const sidecar = field === 'initContainers' && c.restartPolicy === 'Always'
    if (field === 'initContainers' && !sidecar) {
      if (!equal(c, was)) e.forbidden('spec', 'resources for non-sidecar init containers are immutable')
      continue
    }
    for (const which of ['requests', 'limits'] as const) {
      const left = Object.keys(was.resources?.[which] ?? {}).some((name) => c.resources?.[which]?.[name] === undefined)
      if (left) e.forbidden(`spec.${field}[${i}].resources.${which}`, `resource ${which} cannot be removed`)
    }
    if (!equal(withoutCompute(c, was), withoutCompute(was, was))) {
      e.forbidden('spec', sidecar ? 'only cpu and memory resources for sidecar containers are mutable' : 'only cpu and memory resources are mutable')
    }
  }
}

/** A container with the other's CPU, memory and resize policy. */
function withoutCompute(c: Container, other: Container): unknown {
  const others = (r: ResourceRequirements | undefined, which: 'requests' | 'limits'): unknown =>
    Object.fromEntries(Object.entries(r?.[which] ?? {}).filter(([name]) => name !== 'cpu' && name !== 'memory'))
  const resources = { claims: c.resources?.claims ?? null, requests: others(c.resources, 'requests'), limits: others(c.resources, 'limits') }
  return { ...c, resources, resizePolicy: other.resizePolicy ?? null }
}

const SYSTEM_CONDITIONS = new Set(['PodScheduled', 'Ready', 'Initialized'])

/** What a kubelet may say of a pod: sensible addresses, and no container that came to life again. */
export function podStatusErrors(next: Pod, old: Pod): FieldError[] {
  return findings((e) => {
    annotationChanges(e, next, old)
    const [n, o] = [next.status ?? {}, old.status ?? {}]
    for (const [i, c] of (n.conditions ?? []).entries()) {
      if (!SYSTEM_CONDITIONS.has(c.type)) e.text(`metadata.conditions[${i}].Type`, c.type ?? '', labelKeyErrors)
    }
    if (n.nominatedNodeName !== o.nominatedNodeName) e.optional('status.nominatedNodeName', n.nominatedNodeName, dnsSubdomainErrors)
    if (o.qosClass) e.add(immutable('status.qosClass', n.qosClass, o.qosClass))
    const policy = old.spec?.restartPolicy
    const sidecars = new Set((old.spec?.initContainers ?? []).flatMap((c) => (c.restartPolicy === 'Always' ? c.name : [])))
    revived(e, next, old, 'containerStatuses', policy, new Set())
    revived(e, next, old, 'initContainerStatuses', policy, sidecars)
    revived(e, next, old, 'ephemeralContainerStatuses', 'Never', new Set())
    const claims = new Set<string>()
    for (const [i, s] of (n.resourceClaimStatuses ?? []).entries()) {
      const at = `status.resourceClaimStatuses[${i}]`
      if (!next.spec?.resourceClaims?.some((c) => c.name === s.name)) e.invalid(`${at}.name`, s.name, 'must match the name of an entry in `spec.resourceClaims`')
      if (claims.has(s.name)) e.duplicate(`${at}.name`, s.name)
      claims.add(s.name)
      e.text(`${at}.resourceClaimName`, s.resourceClaimName, dnsSubdomainErrors)
    }
    addresses(e, 'status.podIPs', (n.podIPs ?? []).map((x) => x.ip))
    const hosts = (n.hostIPs ?? []).map((x) => x.ip)
    if (hosts.length > 0 && n.hostIP !== hosts[0]) e.invalid('status.hostIPs[0].ip', hosts[0], 'must be equal to `hostIP`')
    addresses(e, 'status.hostIPs', hosts)
  })
}

function addresses(e: Findings, path: string, ips: readonly string[]): void {
  for (const [i, ip] of ips.entries()) e.ip(`${path}[${i}]`, ip)
  if (ips.length > 1 && !isDualStack(ips)) e.invalid(path, ips.map((ip) => ({ ip })), 'may specify no more than one IP for each IP family')
  for (const [i, ip] of ips.entries()) if (ips.indexOf(ip) < i) e.duplicate(`${path}[${i}]`, { ip })
}

type Statuses = 'containerStatuses' | 'initContainerStatuses' | 'ephemeralContainerStatuses'

/** A container of its own that has ended, and that the pod does not start again, stays ended. */
function revived(e: Findings, next: Pod, old: Pod, field: Statuses, policy: string | undefined, except: ReadonlySet<string>): void {
  if (policy === 'Always') return
  const own = new Map([...(old.spec?.containers ?? []), ...(old.spec?.initContainers ?? [])].map((c) => [c.name, c]))
  for (const [i, was] of (old.status?.[field] ?? []).entries()) {
    const ended = was.state?.terminated
    if (!ended || except.has(was.name) || (ended.exitCode !== 0 && policy === 'OnFailure')) continue
    // A container with a restart policy of its own is started again by that.
    if (field !== 'ephemeralContainerStatuses' && own.get(was.name)?.restartPolicy !== undefined) continue
    const now = next.status?.[field]?.find((s) => s.name === was.name)
    if (now && !now.state?.terminated) e.forbidden(`status.${field}[${i}].state`, 'may not be transitioned to non-terminated state')
  }
}
