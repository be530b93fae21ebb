/** What a pod asks of a node: amounts of resources and host ports. Pure. */
import type { Container, Pod } from '../api/gen/types.ts'
import { quantityMillis, quantityNumber } from '../api/quantity.ts'

/** Amounts by resource name: cpu in millicores, all else in units (bytes). */
export type Amounts = ReadonlyMap<string, number>

/** A quantity as the scheduler counts it; something unreadable counts as none (validation keeps it out). */
export function amountOf(resource: string, quantity: string | number): number {
  try {
    return resource === 'cpu' ? quantityMillis(quantity) : quantityNumber(quantity)
  } catch {
    return 0
  }
}

/** A table of quantities as numbers. */
export function amountsOf(quantities: Readonly<Record<string, string | number>> | undefined): Map<string, number> {
  return new Map(Object.entries(quantities ?? {}).map(([name, q]) => [name, amountOf(name, q)]))
}

/**
 * The most a pod needs at any time: all containers with all sidecars, or one init container with the sidecars started
 * before it, whichever is more; plus the overhead of its runtime class.
 */
export function podRequests(pod: Readonly<Pod>): Amounts {
  const sidecars = new Map<string, number>()
  const peak = new Map<string, number>()
  for (const container of pod.spec?.initContainers ?? []) {
    const needs = requestsOf(container)
    if (container.restartPolicy === 'Always') {
      add(sidecars, needs)
      raise(peak, sidecars)
    } else raise(peak, add(new Map(sidecars), needs))
  }
  const total = new Map(sidecars)
  for (const container of pod.spec?.containers ?? []) add(total, requestsOf(container))
  raise(total, peak)
  return add(total, amountsOf(pod.spec?.overhead))
}

/** A limit without a request is a request. */
function requestsOf(container: Readonly<Container>): Amounts {
  return amountsOf({ ...container.resources?.limits, ...container.resources?.requests })
}

function add(into: Map<string, number>, more: Amounts): Map<string, number> {
  for (const [name, n] of more) into.set(name, (into.get(name) ?? 0) + n)
  return into
}

function raise(into: Map<string, number>, to: Amounts): void {
  for (const [name, n] of to) if (n > (into.get(name) ?? 0)) into.set(name, n)
}

export { podHostPorts, portsClash, type HostPort } from '../api/node-match.ts'
