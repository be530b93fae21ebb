/** Container resources as numbers: requests and limits, QoS class, CPU shares, OOM score. Pure. */
import type { Container as ContainerSpec, Pod, PodSpec } from '../../api/gen/types.ts'
import { AppError } from '../../base/errors.ts'
import type { ContainerConfig } from '../../cri/mod.ts'

export type Qos = 'Guaranteed' | 'Burstable' | 'BestEffort'

const SUFFIX: Readonly<Record<string, number>> = {
  n: 1e-9, u: 1e-6, m: 1e-3, '': 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18,
  Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50, Ei: 2 ** 60,
}

/** A Kubernetes quantity as a number of its unit (cores, bytes). @throws AppError `invalid` */
export function amount(quantity: string | number | undefined): number {
  if (quantity === undefined) return 0
  const m = /^([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|)$/.exec(String(quantity))
  const value = m ? Number(m[1]) * (SUFFIX[m[2] ?? ''] ?? 1) : NaN
  if (!Number.isFinite(value)) throw new AppError('invalid', `read quantity: "${quantity}" is not one, write e.g. 100m or 64Mi`)
  return value
}

/** Requests of one resource; a limit without a request counts as the request. */
export function requestOf(spec: ContainerSpec, resource: string): number {
  return amount(spec.resources?.requests?.[resource] ?? spec.resources?.limits?.[resource])
}

/** Limit of one resource in its unit, 0 when there is none. */
export function limitOf(spec: ContainerSpec, resource: string): number {
  return amount(spec.resources?.limits?.[resource])
}

/** QoS class as Kubernetes defines it, over all containers and init containers. */
export function qosOf(spec: PodSpec | undefined): Qos {
  const all = [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])]
  const names = ['cpu', 'memory'] as const
  if (all.every((c) => names.every((n) => requestOf(c, n) === 0 && limitOf(c, n) === 0))) return 'BestEffort'
  const fixed = all.every((c) => names.every((n) => limitOf(c, n) > 0 && requestOf(c, n) === limitOf(c, n)))
  return fixed ? 'Guaranteed' : 'Burstable'
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

/** The kubelet's formula: the more of the machine a container asked for, the later it is killed. */
function oomScore(pod: Readonly<Pod>, spec: ContainerSpec, memoryCapacity: number): number {
  const qos = qosOf(pod.spec)
  if (pod.spec?.priority !== undefined && pod.spec.priority >= 2_000_000_000) return -997
  if (qos === 'Guaranteed') return -997
  if (qos === 'BestEffort') return 1000
  const score = 1000 - Math.floor((1000 * requestOf(spec, 'memory')) / Math.max(1, memoryCapacity))
  return Math.min(999, Math.max(3, score))
}
