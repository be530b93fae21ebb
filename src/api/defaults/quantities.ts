/** Defaults of amounts: no finer than a thousandth, requests that follow limits. */
import type { PodSpec, ResourceRequirements } from '../gen/types.ts'
import { addQuantities, compareQuantities, quantityText, tryParseQuantity } from '../quantity.ts'
import type { Quantity } from '../quantity.ts'

const MILLI = 1_000_000n

/** Rounds each amount up to thousandths; what is no quantity stays. In place. */
export function roundAmounts(map: Record<string, string> | undefined): void {
  for (const [name, text] of Object.entries(map ?? {})) {
    const q = tryParseQuantity(text)
    if (!map || !q || q.nano % MILLI === 0n) continue
    const up = q.nano > 0n ? q.nano + MILLI - (q.nano % MILLI) : q.nano - (q.nano % MILLI)
    map[name] = quantityText({ ...q, nano: up })
  }
}

/** Both maps of a container, a pod or a claim. */
export function roundRequirements(r: Pick<ResourceRequirements, 'limits' | 'requests'> | undefined): void {
  roundAmounts(r?.limits)
  roundAmounts(r?.requests)
}

/** What is limited and not asked for is asked for in full. */
export function requestsFromLimits(r: ResourceRequirements | undefined): void {
  if (r?.limits) r.requests = { ...r.limits, ...r.requests }
}

/** Amounts of a whole pod that has limits: it asks for what its containers ask for, else for all it may have. */
export function podRequests(spec: PodSpec): void {
  const { resources } = spec
  if (!resources?.limits || Object.keys(resources.limits).length === 0) return
  const requests: Record<string, string> = { ...resources.requests }
  for (const name of ['cpu', 'memory']) {
    const sum = containerRequests(spec, name)
    if (requests[name] === undefined && sum) requests[name] = quantityText(sum)
  }
  for (const [name, limit] of Object.entries(resources.limits)) {
    const own = name === 'cpu' || name === 'memory' || name.startsWith('hugepages-')
    if (own) requests[name] ??= limit
  }
  resources.requests = requests
}

/** What the containers of a pod ask for at most at one time: those that run together, or the hungriest of those before. */
function containerRequests(spec: PodSpec, name: string): Quantity | undefined {
  const of = (c: { readonly resources?: ResourceRequirements }): Quantity | undefined => {
    const text = c.resources?.requests?.[name]
    return text === undefined ? undefined : tryParseQuantity(text)
  }
  const add = (a: Quantity | undefined, b: Quantity | undefined): Quantity | undefined => (a && b ? addQuantities(a, b) : (a ?? b))
  let sidecars: Quantity | undefined
  let most: Quantity | undefined
  for (const c of spec.initContainers ?? []) {
    const together = add(sidecars, of(c))
    if (c.restartPolicy === 'Always') sidecars = together
    if (together && (!most || compareQuantities(together, most) > 0)) most = together
  }
  const all = (spec.containers ?? []).reduce((sum: Quantity | undefined, c) => add(sum, of(c)), sidecars)
  return all && most ? (compareQuantities(all, most) >= 0 ? all : most) : (all ?? most)
}
