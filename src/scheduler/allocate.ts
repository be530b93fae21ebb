/**
 * Which devices of one node serve the claims of a pod: the search itself, pure. Requests are served in order; where a choice
 * turns out wrong (a constraint, a device that a later request needs) the search goes back, within a bound.
 */
import type {
  AllocationResult, Device, DeviceAllocationConfiguration, DeviceClass, DeviceRequest, DeviceRequestAllocationResult, DeviceSelector, DeviceSubRequest, DeviceToleration,
  ExactDeviceRequest, Node, NodeSelector, ResourceResourceClaim, ResourceSlice,
} from '../api/gen/types.ts'
import { termMatches } from './filters/node-affinity.ts'
import { tolerates } from './filters/taints.ts'

/** Whether a CEL expression means a device of a driver. @throws Error when that cannot be said */
export type DeviceMatch = (expression: string, driver: string, device: Readonly<Device>) => boolean

/** A device that a node reaches. */
export interface Reachable {
  readonly driver: string
  readonly pool: string
  readonly device: Readonly<Device>
  /** Only that node reaches it, or those that a selector names; undefined: all do. */
  readonly where: string | Readonly<NodeSelector> | undefined
}

/** What the search may use. */
export interface Supply {
  readonly devices: readonly Reachable[]
  /** Keys of devices that are allocated already; see {@link deviceKey}. */
  readonly taken: ReadonlySet<string>
  readonly classOf: (name: string) => Readonly<DeviceClass> | undefined
  readonly matches: DeviceMatch
}

/** Devices one claim can have at most. */
const MAX_RESULTS = 32
/** Devices tried before the search gives up. */
const MAX_STEPS = 20_000

/** Names a device in the cluster. */
export const deviceKey = (d: { readonly driver: string; readonly pool: string; readonly device: string }): string => `${d.driver}/${d.pool}/${d.device}`

/** The devices of complete pools that a node reaches, newest generation only. */
export function reachable(slices: Iterable<Readonly<ResourceSlice>>, node: Readonly<Node>): Reachable[] {
  const pools = new Map<string, Readonly<ResourceSlice>[]>()
  for (const slice of slices) {
    const key = `${slice.spec?.driver}/${slice.spec?.pool?.name}`
    const known = pools.get(key) ?? []
    const [mine, newest] = [slice.spec?.pool?.generation ?? 0, known[0]?.spec?.pool?.generation ?? -1]
    if (mine > newest) pools.set(key, [slice])
    else if (mine === newest) known.push(slice)
  }
  const found: Reachable[] = []
  for (const pool of pools.values()) {
    if (pool.length !== pool[0]?.spec?.pool?.resourceSliceCount) continue
    for (const { spec } of pool) {
      for (const device of spec?.devices ?? []) {
        const at = spec?.perDeviceNodeSelection ? device : (spec ?? {})
        const where = at.nodeName ?? at.nodeSelector
        const here = where === undefined ? at.allNodes === true : typeof where === 'string' ? where === node.metadata?.name : where.nodeSelectorTerms.some((t) => termMatches(t, node))
        // Parts of devices share counters with others, which nothing here counts.
        if (here && !device.consumesCounters?.length) found.push({ driver: spec?.driver ?? '', pool: spec?.pool?.name ?? '', device, where })
      }
    }
  }
  return found
}

/** One thing to be found: a number of devices, or all, under the name that the result has. */
interface Need {
  readonly name: string
  readonly main: string
  readonly ask: Readonly<ExactDeviceRequest> | Readonly<DeviceSubRequest>
  readonly deviceClass: Readonly<DeviceClass>
}

/** The ways to serve a request, the preferred one first. @throws Error naming a class that does not exist */
function waysOf(request: Readonly<DeviceRequest>, supply: Supply): Need[] {
  const need = (name: string, ask: Need['ask']): Need => {
    const deviceClass = supply.classOf(ask.deviceClassName)
    if (!deviceClass) throw new Error(`request ${name}: device class ${ask.deviceClassName} does not exist`)
    if ('adminAccess' in ask && ask.adminAccess === true) throw new Error(`request ${name}: admin access is requested, but the feature is disabled`)
    return { name, main: request.name, ask, deviceClass }
  }
  return request.exactly ? [need(request.name, request.exactly)] : (request.firstAvailable ?? []).map((s) => need(`${request.name}/${s.name}`, s))
}

/** What can be said of a claim without looking at devices. @throws Error in Kubernetes' words when it can be served nowhere */
export function checkClaim(claim: Readonly<ResourceResourceClaim>, supply: Pick<Supply, 'classOf'>): void {
  for (const r of claim.spec?.devices?.requests ?? []) {
    try {
      waysOf(r, supply as Supply)
    } catch (error) {
      throw new Error(`claim ${claim.metadata?.namespace}/${claim.metadata?.name}, ${(error as Error).message}`, { cause: error })
    }
  }
}

/** An allocation for each claim, or undefined when not all can be served. @throws Error for a selector that cannot be evaluated */
export function allocate(claims: readonly Readonly<ResourceResourceClaim>[], supply: Supply, node: Readonly<Node>): AllocationResult[] | undefined {
  const search = new Search(supply)
  if (!search.claims(claims)) return undefined
  return claims.map((claim, i) => resultOf(claim, search.chosen.filter((c) => c.claim === i), supply, node))
}

interface Chosen {
  readonly claim: number
  readonly need: Need
  readonly from: Reachable
}

class Search {
  readonly chosen: Chosen[] = []
  readonly #supply: Supply
  readonly #used: Set<string>
  readonly #fits = new Map<string, readonly Reachable[]>()
  #steps = 0

  constructor(supply: Supply) {
    this.#supply = supply
    this.#used = new Set(supply.taken)
  }

  claims(claims: readonly Readonly<ResourceResourceClaim>[]): boolean {
    const todo = claims.flatMap((claim, i) => (claim.spec?.devices?.requests ?? []).map((request) => ({ claim, i, request })))
    const next = (at: number): boolean => {
      const item = todo[at]
      if (!item) return true
      return waysOf(item.request, this.#supply).some((need) => {
        const all = this.#candidates(need)
        const count = need.ask.allocationMode === 'All' ? all.length : (need.ask.count ?? 1)
        if (count === 0 || count > all.length) return false
        return this.#pick(item.claim, item.i, need, all, 0, count, () => next(at + 1))
      })
    }
    return next(0)
  }

  /** Chooses `count` of `list` from `from` on, then goes on with `rest`; undoes what did not lead there. */
  #pick(claim: Readonly<ResourceResourceClaim>, index: number, need: Need, list: readonly Reachable[], from: number, count: number, rest: () => boolean): boolean {
    if (count === 0) return rest()
    if (this.chosen.filter((c) => c.claim === index).length >= MAX_RESULTS) return false
    for (let i = from; i <= list.length - count; i++) {
      const d = list[i] as Reachable
      const key = deviceKey({ ...d, device: d.device.name })
      if (++this.#steps > MAX_STEPS) return false
      if (this.#used.has(key) || !this.#agrees(claim, index, need, d)) continue
      this.#used.add(key)
      this.chosen.push({ claim: index, need, from: d })
      if (this.#pick(claim, index, need, list, i + 1, count - 1, rest)) return true
      this.chosen.pop()
      this.#used.delete(key)
    }
    return false
  }

  /** Whether a device goes with those chosen for the claim so far. */
  #agrees(claim: Readonly<ResourceResourceClaim>, index: number, need: Need, d: Reachable): boolean {
    const concerns = (names: readonly string[] | undefined, n: Need): boolean => !names?.length || names.includes(n.name) || names.includes(n.main)
    return (claim.spec?.devices?.constraints ?? []).every(({ requests, matchAttribute, distinctAttribute }) => {
      const name = matchAttribute ?? distinctAttribute
      if (name === undefined || !concerns(requests, need)) return true
      const mine = attributeOf(d, name)
      if (mine === undefined) return false
      const others = this.chosen.filter((c) => c.claim === index && concerns(requests, c.need)).map((c) => attributeOf(c.from, name))
      return matchAttribute === undefined ? !others.includes(mine) : others.every((o) => o === mine)
    })
  }

  #candidates(need: Need): readonly Reachable[] {
    const selectors: readonly DeviceSelector[] = [...(need.deviceClass.spec.selectors ?? []), ...(need.ask.selectors ?? [])]
    const key = JSON.stringify([selectors, need.ask.tolerations])
    let found = this.#fits.get(key)
    if (!found) {
      found = this.#supply.devices.filter((d) => selectors.every((s) => this.#supply.matches(s.cel?.expression ?? '', d.driver, d.device)) && isTolerated(d.device, need.ask.tolerations))
      this.#fits.set(key, found)
    }
    return found
  }
}

function isTolerated(device: Readonly<Device>, tolerations: readonly DeviceToleration[] = []): boolean {
  return (device.taints ?? []).every((t) => t.effect === 'None' || tolerations.some((o) => tolerates(o, t)))
}

/** An attribute by its whole name, as text that equals only its own kind; a device may leave out its driver's domain. */
function attributeOf(d: Reachable, name: string): string | undefined {
  const own = name.startsWith(`${d.driver}/`) ? d.device.attributes?.[name.slice(d.driver.length + 1)] : undefined
  const found = d.device.attributes?.[name] ?? own
  return found && JSON.stringify(found)
}

function resultOf(claim: Readonly<ResourceResourceClaim>, chosen: readonly Chosen[], supply: Supply, node: Readonly<Node>): AllocationResult {
  const results = chosen.map(
    ({ need, from }): DeviceRequestAllocationResult => ({
      request: need.name,
      driver: from.driver,
      pool: from.pool,
      device: from.device.name,
      ...(need.ask.tolerations?.length ? { tolerations: need.ask.tolerations } : {}),
    }),
  )
  const config: DeviceAllocationConfiguration[] = []
  const needs = new Map(chosen.map((c) => [c.need.name, c.need]))
  for (const [name, need] of needs) for (const c of need.deviceClass.spec.config ?? []) config.push({ source: 'FromClass', requests: [name], ...c })
  for (const c of claim.spec?.devices?.config ?? []) {
    // What was set up for a way that was not taken is nothing to the driver.
    if (!c.requests?.length || c.requests.some((r) => [...needs.values()].some((n) => n.name === r || n.main === r))) config.push({ source: 'FromClaim', ...c })
  }
  const nodeSelector = selectorOf(chosen.map((c) => c.from.where), node)
  return { devices: { results, ...(config.length > 0 ? { config } : {}) }, ...(nodeSelector ? { nodeSelector } : {}) }
}

/** The nodes from which all of these devices are reached; undefined: all nodes. */
function selectorOf(wheres: readonly Reachable['where'][], node: Readonly<Node>): NodeSelector | undefined {
  if (wheres.some((w) => typeof w === 'string')) {
    return { nodeSelectorTerms: [{ matchFields: [{ key: 'metadata.name', operator: 'In', values: [node.metadata?.name ?? ''] }] }] }
  }
  const terms = wheres.flatMap((w) => (typeof w === 'object' ? w.nodeSelectorTerms.slice(0, 1) : []))
  if (terms.length === 0) return undefined
  const [matchExpressions, matchFields] = [terms.flatMap((t) => t.matchExpressions ?? []), terms.flatMap((t) => t.matchFields ?? [])]
  return { nodeSelectorTerms: [{ ...(matchExpressions.length > 0 ? { matchExpressions } : {}), ...(matchFields.length > 0 ? { matchFields } : {}) }] }
}
