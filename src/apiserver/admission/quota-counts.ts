/**
 * What the objects of namespaces with quotas use, kept current change by change: a write under a quota costs the same however many objects there are.
 * A sum is made from all objects when it is first asked for, and dropped when a quota of its namespace comes, goes or changes what it says.
 */
import type { ResourceDef } from '../../api/kinds.ts'
import type { Quantity } from '../../api/quantity.ts'
import { keyOf, storageName } from '../resources.ts'
import type { Obj } from '../stored-text.ts'
import type { CacheEntry, WatchCache } from '../watch-cache.ts'
import { addQuantities, inScope, usageOf, type QuotaSpec } from './quota-usage.ts'

type Sums = Map<string, Quantity>
interface Total {
  readonly def: ResourceDef
  readonly spec: QuotaSpec
  readonly sums: Sums
}

/** Sums by what a quota counts. Follows a resource from the first question about it on. */
export class QuotaCounts {
  readonly #cache: WatchCache
  /** By resource, then namespace, then scopes. */
  readonly #resources = new Map<string, Map<string, Map<string, Total>>>()

  constructor(cache: WatchCache) {
    this.#cache = cache
    cache.resource('resourcequotas').subscribe((event) => {
      if (event === 'reset') for (const namespaces of this.#resources.values()) namespaces.clear()
      else if (event.type === 'delete' || specOf(event.previous) !== specOf(event.entry)) for (const namespaces of this.#resources.values()) namespaces.delete(event.entry.namespace)
    })
  }

  /** What the objects of a kind in a namespace use, by the names of quotas, as far as the quota's scopes take them in. Not to be changed. */
  of(def: ResourceDef, namespace: string, spec: QuotaSpec): ReadonlyMap<string, Quantity> {
    const namespaces = this.#follow(def)
    let totals = namespaces.get(namespace)
    if (!totals) namespaces.set(namespace, (totals = new Map()))
    const scopes = JSON.stringify([spec.scopes ?? [], spec.scopeSelector ?? {}])
    let total = totals.get(scopes)
    if (!total) {
      totals.set(scopes, (total = { def, spec, sums: new Map() }))
      for (const entry of this.#cache.resource(storageName(def)).scan(keyOf(def, namespace))) put(total, entry, 1n)
    }
    return total.sums
  }

  #follow(def: ResourceDef): Map<string, Map<string, Total>> {
    const name = storageName(def)
    const known = this.#resources.get(name)
    if (known) return known
    const namespaces = new Map<string, Map<string, Total>>()
    this.#resources.set(name, namespaces)
    this.#cache.resource(name).subscribe((event) => {
      if (event === 'reset') return namespaces.clear()
      if (namespaces.size === 0) return
      for (const total of namespaces.get(event.entry.namespace)?.values() ?? []) {
        if (event.previous) put(total, event.previous, -1n)
        if (event.type === 'put') put(total, event.entry, 1n)
      }
    })
    return namespaces
  }
}

const specOf = (entry: CacheEntry | undefined): string => JSON.stringify((entry?.parsed() as { spec?: object } | undefined)?.spec ?? {})

function put({ def, spec, sums }: Total, entry: CacheEntry, times: 1n | -1n): void {
  const object = entry.parsed() as Obj
  if (!inScope(spec, def, object)) return
  for (const [name, { nano, format }] of usageOf(def, object)) {
    const sum = addQuantities(sums.get(name) ?? { nano: 0n, format }, { nano: times * nano, format })
    if (sum.nano === 0n) sums.delete(name)
    else sums.set(name, sum)
  }
}
