/** What an object counts against a ResourceQuota, and which quotas it falls under. Pure; used by admission and by the status of quotas. */
import type { PersistentVolumeClaimSpec, PersistentVolumeClaimStatus, PodSpec, ResourceClaimSpec } from '../../api/gen/types.ts'
import { KINDS, type ResourceDef } from '../../api/kinds.ts'
import { compareQuantities, quantityText, tryParseQuantity, type Quantity } from '../../api/quantity.ts'
import type { Obj } from '../stored-text.ts'

export type Usage = ReadonlyMap<string, Quantity>

export interface QuotaSpec {
  readonly hard?: Readonly<Record<string, string>>
  readonly scopes?: readonly string[]
  readonly scopeSelector?: { readonly matchExpressions?: readonly { scopeName: string; operator: string; values?: string[] }[] }
}

interface Amounts {
  requests?: Record<string, string>
  limits?: Record<string, string>
}

const ONE: Quantity = { nano: 1_000_000_000n, format: 'DecimalSI' }
const ZERO: Quantity = { nano: 0n, format: 'DecimalSI' }
const COMPUTE = ['cpu', 'memory', 'ephemeral-storage']

/** The sum, in the format of `a` (of `b` when `a` is zero). */
export function addQuantities(a: Quantity, b: Quantity): Quantity {
  return { nano: a.nano + b.nano, format: a.nano === 0n ? b.format : a.format }
}

/** What one pod asks for as a whole: its containers together, or its largest init container where that is more, or what it says for all of them; and its overhead. */
export function podResources(spec: PodSpec): { requests: Record<string, string>; limits: Record<string, string> } {
  const total = (which: 'requests' | 'limits'): Record<string, string> => {
    const sum = new Map<string, Quantity>()
    const sidecars = new Map<string, Quantity>()
    const peak = new Map<string, Quantity>()
    const add = (to: Map<string, Quantity>, amounts: Record<string, string> | undefined): void => {
      for (const [name, text] of Object.entries(amounts ?? {})) {
        const q = tryParseQuantity(text)
        if (q) to.set(name, addQuantities(to.get(name) ?? ZERO, q))
      }
    }
    for (const c of spec.containers ?? []) add(sum, (c.resources as Amounts | undefined)?.[which])
    for (const c of spec.initContainers ?? []) {
      const amounts = (c.resources as Amounts | undefined)?.[which]
      const at = new Map(sidecars)
      add(at, amounts)
      if (c.restartPolicy === 'Always') {
        add(sum, amounts)
        add(sidecars, amounts)
      }
      for (const [name, q] of at) if (compareQuantities(q, peak.get(name) ?? ZERO) > 0) peak.set(name, q)
    }
    for (const [name, q] of peak) if (compareQuantities(q, sum.get(name) ?? ZERO) > 0) sum.set(name, q)
    const whole = (spec as { resources?: Amounts }).resources?.[which] ?? {}
    for (const name of Object.keys(whole)) sum.delete(name)
    add(sum, whole)
    if (which === 'requests' || sum.size > 0) add(sum, spec.overhead as Record<string, string> | undefined)
    return Object.fromEntries([...sum].map(([name, q]) => [name, quantityText(q)]))
  }
  return { requests: total('requests'), limits: total('limits') }
}

/** A pod that has ended uses nothing any more. */
function ended(pod: Obj): boolean {
  const phase = (pod.status as { phase?: string } | undefined)?.phase
  return phase === 'Succeeded' || phase === 'Failed'
}

/** Everything an object counts, by the names that quotas use. */
export function usageOf(def: ResourceDef, object: Obj): Usage {
  const usage = new Map<string, Quantity>([[`count/${def.resource}${def.group === '' ? '' : `.${def.group}`}`, ONE]])
  const spec = (object.spec ?? {}) as Record<string, unknown>
  const put = (name: string, text: string | undefined): void => {
    const q = text === undefined ? undefined : tryParseQuantity(text)
    if (q) usage.set(name, q)
  }
  switch (def) {
    case KINDS.Pod: {
      if (ended(object)) break
      usage.set('pods', ONE)
      const { requests, limits } = podResources(object.spec as PodSpec)
      for (const [name, text] of Object.entries(requests)) {
        put(`requests.${name}`, text)
        if (COMPUTE.includes(name) || name.startsWith('hugepages-')) put(name, text)
      }
      for (const [name, text] of Object.entries(limits)) put(`limits.${name}`, text)
      break
    }
    case KINDS.Service: {
      usage.set('services', ONE)
      const ports = (spec['ports'] as { nodePort?: number }[] | undefined) ?? []
      const balanced = spec['type'] === 'LoadBalancer'
      if (balanced) usage.set('services.loadbalancers', ONE)
      // A port without a number gets one later, unless the Service says that it wants none.
      const counted = balanced && spec['allocateLoadBalancerNodePorts'] === false ? ports.filter((port) => port.nodePort) : ports
      if (balanced || spec['type'] === 'NodePort') usage.set('services.nodeports', { ...ONE, nano: ONE.nano * BigInt(counted.length) })
      break
    }
    case KINDS.PersistentVolumeClaim: {
      usage.set('persistentvolumeclaims', ONE)
      const granted = (object.status as { allocatedResources?: Record<string, string> } | undefined)?.allocatedResources?.['storage']
      const asked = larger((spec['resources'] as Amounts | undefined)?.requests?.['storage'], granted)
      put('requests.storage', asked)
      const storageClass = object.metadata.annotations?.['volume.beta.kubernetes.io/storage-class'] ?? spec['storageClassName']
      if (typeof storageClass === 'string' && storageClass !== '') {
        usage.set(`${storageClass}.storageclass.storage.k8s.io/persistentvolumeclaims`, ONE)
        put(`${storageClass}.storageclass.storage.k8s.io/requests.storage`, asked)
      }
      break
    }
    case KINDS.ResourceResourceClaim:
      for (const [name, n] of devicesOf(object.spec as ResourceClaimSpec | undefined)) usage.set(`${name}.deviceclass.resource.k8s.io/devices`, { ...ONE, nano: ONE.nano * BigInt(n) })
      break
    case KINDS.ConfigMap:
    case KINDS.Secret:
    case KINDS.ReplicationController:
    case KINDS.ResourceQuota:
      usage.set(def.resource, ONE)
  }
  return usage
}

/** The larger of two amounts, of which the second may be unknown: a claim that did not get what it asked for later holds what it was given. */
function larger(asked: string | undefined, granted: string | undefined): string | undefined {
  const [a, b] = [asked, granted].map((text) => (text === undefined ? undefined : tryParseQuantity(text)))
  return a && b && compareQuantities(b, a) > 0 ? granted : asked
}

/** What a request for all devices of a class counts: as many as one claim may be given. */
const ALL_DEVICES = 32

/** Devices that a claim asks for, by class; of a request with several ways, the most of each class. */
function devicesOf(spec: ResourceClaimSpec | undefined): Map<string, number> {
  const sum = new Map<string, number>()
  for (const { exactly, firstAvailable } of spec?.devices?.requests ?? []) {
    const most = new Map<string, number>()
    for (const { deviceClassName, allocationMode, count } of exactly ? [exactly] : (firstAvailable ?? [])) {
      most.set(deviceClassName, Math.max(most.get(deviceClassName) ?? 0, allocationMode === 'All' ? ALL_DEVICES : (count ?? 1)))
    }
    for (const [name, n] of most) sum.set(name, n + (sum.get(name) ?? 0))
  }
  return sum
}

/** Classes of attributes that a claim has or is to have. */
function attributesClasses({ spec = {}, status = {} }: { spec?: PersistentVolumeClaimSpec; status?: PersistentVolumeClaimStatus }): Set<string> {
  const names = [spec.volumeAttributesClassName, status.currentVolumeAttributesClassName, status.modifyVolumeStatus?.targetVolumeAttributesClassName]
  return new Set(names.filter((name) => name !== undefined && name !== '') as string[])
}

/** Whether one of the names an object has is meant. */
function isMeant(names: ReadonlySet<string>, operator: string, values: readonly string[] = []): boolean {
  if (operator === 'Exists') return names.size > 0
  if (operator === 'DoesNotExist') return names.size === 0
  return values.some((v) => names.has(v)) === (operator === 'In')
}

/** True when the quota's scopes take the object in; only pods have scopes, and claims that of their attributes. */
export function inScope(quota: QuotaSpec, def: ResourceDef, object: Obj): boolean {
  const wanted = [...(quota.scopes ?? []).map((scopeName) => ({ scopeName, operator: 'Exists', values: [] as string[] })), ...(quota.scopeSelector?.matchExpressions ?? [])]
  if (wanted.length === 0) return true
  if (def === KINDS.PersistentVolumeClaim) return wanted.every((w) => w.scopeName === 'VolumeAttributesClass' && isMeant(attributesClasses(object as object), w.operator, w.values))
  if (def !== KINDS.Pod) return false
  const spec = object.spec as PodSpec
  const bestEffort = (object.status as { qosClass?: string } | undefined)?.qosClass === 'BestEffort'
  return wanted.every(({ scopeName, operator, values }) => {
    switch (scopeName) {
      case 'Terminating':
        return spec.activeDeadlineSeconds !== undefined
      case 'NotTerminating':
        return spec.activeDeadlineSeconds === undefined
      case 'BestEffort':
        return bestEffort
      case 'NotBestEffort':
        return !bestEffort
      case 'PriorityClass':
        return isMeant(new Set(spec.priorityClassName ? [spec.priorityClassName] : []), operator, values)
      case 'CrossNamespacePodAffinity':
        return looksElsewhere(spec)
      default:
        return false
    }
  })
}

/** True for a pod whose (anti-)affinity is to pods of namespaces that it names or selects. */
function looksElsewhere(spec: PodSpec): boolean {
  const { podAffinity, podAntiAffinity } = spec.affinity ?? {}
  return [podAffinity, podAntiAffinity].some((a) =>
    [...(a?.requiredDuringSchedulingIgnoredDuringExecution ?? []), ...(a?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map((p) => p.podAffinityTerm)].some(
      (term) => (term.namespaces ?? []).length > 0 || term.namespaceSelector !== undefined,
    ),
  )
}

/** Names of `hard` that a pod must say itself, container by container, and does not. */
export function unsaid(quota: QuotaSpec, spec: PodSpec): string[] {
  // What it says for all of them is enough.
  if (Object.keys({ ...spec.resources?.requests, ...spec.resources?.limits }).length > 0) return []
  const missing: string[] = []
  for (const name of Object.keys(quota.hard ?? {}).toSorted()) {
    const m = /^(requests|limits)\.(cpu|memory)$/.exec(name) ?? /^()(cpu|memory)$/.exec(name)
    if (!m) continue
    const which = (m[1] || 'requests') as 'requests' | 'limits'
    const without = [...(spec.containers ?? []), ...(spec.initContainers ?? [])].filter((c) => (c.resources as Amounts | undefined)?.[which]?.[m[2] as string] === undefined)
    if (without.length > 0) missing.push(`${name} for: ${without.map((c) => c.name).toSorted().join(',')}`)
  }
  return missing
}
