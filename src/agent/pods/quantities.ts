/** Container resources as numbers: requests and limits, QoS class, CPU shares, OOM score. Pure. */
import type { Container as ContainerSpec, Pod, PodSpec } from '../../api/gen/types.ts'
import { qosClass, type QosClass } from '../../api/qos.ts'
import { quantityNumber } from '../../api/quantity.ts'
import type { ContainerConfig } from '../../cri/mod.ts'

export type Qos = QosClass

/** A Kubernetes quantity as a number of its unit (cores, bytes), 0 when there is none. @throws AppError `invalid` naming the value */
export function amount(quantity: string | number | undefined): number {
  return quantity === undefined ? 0 : quantityNumber(quantity)
}

/** Requests of one resource; a limit without a request counts as the request. */
export function requestOf(spec: ContainerSpec, resource: string): number {
  return amount(spec.resources?.requests?.[resource] ?? spec.resources?.limits?.[resource])
}

/** Limit of one resource in its unit, 0 when there is none. */
export function limitOf(spec: ContainerSpec, resource: string): number {
  return amount(spec.resources?.limits?.[resource])
}

/**
 * The most a pod needs of a resource at any time: its containers with its sidecars, or one init container with the sidecars started
 * before it, whichever is more; unless the pod itself says so; plus the overhead of its runtime class.
 */
export function podRequest(spec: PodSpec, resource: string): number {
  const own = spec.resources?.requests?.[resource] ?? spec.resources?.limits?.[resource]
  return (own === undefined ? peak(spec, (c) => requestOf(c, resource)) : amount(own)) + amount(spec.overhead?.[resource])
}

/** Like {@link podRequest} of limits; 0, no limit, when some container has none. */
export function podLimit(spec: PodSpec, resource: string): number {
  const own = spec.resources?.limits?.[resource]
  const all = [...(spec.initContainers ?? []), ...spec.containers]
  if (own === undefined && all.some((c) => limitOf(c, resource) === 0)) return 0
  return (own === undefined ? peak(spec, (c) => limitOf(c, resource)) : amount(own)) + amount(spec.overhead?.[resource])
}

function peak(spec: PodSpec, of: (c: ContainerSpec) => number): number {
  let sidecars = 0
  let most = 0
  for (const c of spec.initContainers ?? []) {
    if (c.restartPolicy === 'Always') sidecars += of(c)
    most = Math.max(most, c.restartPolicy === 'Always' ? sidecars : sidecars + of(c))
  }
  return Math.max(most, spec.containers.reduce((sum, c) => sum + of(c), sidecars))
}

/** QoS class as the API server writes it; a pod that is hardly known counts as BestEffort. */
export function qosOf(spec: PodSpec | undefined): Qos {
  return spec?.containers ? qosClass(spec) : 'BestEffort'
}

/** CPU shares of a request in cores; the kernel's least is 2. */
export function cpuShares(cores: number): number {
  return cores === 0 ? 2 : Math.min(262_144, Math.max(2, Math.floor(cores * 1024)))
}

/** Linux resources of one container. `memoryCapacity` is the machine's, bytes. */
export function linuxResources(pod: Readonly<Pod>, spec: ContainerSpec, memoryCapacity: number): ContainerConfig['resources'] {
  const limit = limitOf(spec, 'cpu')
  return {
    cpuShares: cpuShares(requestOf(spec, 'cpu')),
    cpuQuotaUs: limit === 0 ? 0 : Math.max(1000, Math.round(limit * 100_000)),
    cpuPeriodUs: 100_000,
    memoryLimitBytes: Math.floor(limitOf(spec, 'memory')),
    oomScoreAdj: oomScore(pod, spec, memoryCapacity),
  }
}

/** What pages of a size larger than the machine's own are counted by: the prefix of `hugepages-2Mi`. */
export const HUGE_PAGES = 'hugepages-'

/** Sizes of huge pages that some container of a pod, or the pod itself, asks for, e.g. `2Mi`. */
export function hugePageSizes(spec: PodSpec | undefined): string[] {
  const asked = [spec, ...(spec?.initContainers ?? []), ...(spec?.containers ?? [])].flatMap((c) => Object.keys({ ...c?.resources?.requests, ...c?.resources?.limits }))
  return [...new Set(asked.filter((name) => name.startsWith(HUGE_PAGES)).map((name) => name.slice(HUGE_PAGES.length)))]
}

/** What a container may use of the huge pages that this machine has, by size: nothing of those it does not name. */
export function hugePages(spec: ContainerSpec, capacity: Readonly<Record<string, string>>): NonNullable<ContainerConfig['resources']['hugePages']> {
  const sizes = new Set([...Object.keys(capacity).filter((name) => amount(capacity[name]) > 0), ...Object.keys(spec.resources?.limits ?? {})].filter((name) => name.startsWith(HUGE_PAGES)))
  return [...sizes].map((name) => ({ pageSize: `${name.slice(HUGE_PAGES.length).replace('i', '')}B`, bytes: limitOf(spec, name) }))
}

/** The kubelet's formula: the more of the machine a container asked for, the later it is killed. */
function oomScore(pod: Readonly<Pod>, spec: ContainerSpec, memoryCapacity: number): number {
  const qos = qosOf(pod.spec)
  if (pod.spec?.priorityClassName === 'system-node-critical') return -997
  if (qos === 'Guaranteed') return -997
  if (qos === 'BestEffort') return 1000
  const of = (bytes: number): number => 1000 - Math.floor((1000 * bytes) / Math.max(1, memoryCapacity))
  // A sidecar is not killed before the containers that it serves.
  const serves = pod.spec?.initContainers?.some((c) => c.name === spec.name && c.restartPolicy === 'Always') ? (pod.spec.containers ?? []).map((c) => requestOf(c, 'memory')) : []
  return Math.min(999, Math.max(3, Math.min(of(requestOf(spec, 'memory')), serves.length > 0 ? of(Math.min(...serves)) : Infinity)))
}
