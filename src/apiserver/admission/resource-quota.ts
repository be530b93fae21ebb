/**
 * ResourceQuota: a write that would take a namespace over a quota is refused. Use is what the objects there are count (`quota-counts.ts`) plus
 * the writes that are on their way. `quota-status.ts` shows it in each quota's status.
 * Servers that share a store tell each other of theirs, see `quota-claims.ts`.
 */
import type { PodSpec } from '../../api/gen/types.ts'
import { KINDS, type ResourceDef } from '../../api/kinds.ts'
import { compareQuantities, parseQuantity, quantityText, type Quantity } from '../../api/quantity.ts'
import { forbidden } from '../../api/status.ts'
import { isDryRun, type Core } from '../core.ts'
import { keyOf, storageName } from '../resources.ts'
import type { Obj } from '../stored-text.ts'
import type { AdmissionEvent, AdmissionPlugin } from './chain.ts'
import { claimQuota, dropQuotaNotes, isShared, type Amounts } from './quota-claims.ts'
import { QuotaCounts } from './quota-counts.ts'
import { addQuantities, inScope, unsaid, usageOf, type QuotaSpec } from './quota-usage.ts'

/** A write that was let through counts this long even when it never appears, ms. */
const PENDING_MS = 5_000
const ZERO: Quantity = { nano: 0n, format: 'DecimalSI' }

/** What is shared with the status of quotas, one for each server. */
export interface QuotaState {
  /** Objects let through and not seen yet, by key; bounded by what can be written in {@link PENDING_MS}. */
  readonly pending: Map<string, { readonly def: ResourceDef; readonly object: Obj; readonly until: number }>
  /** Namespaces whose quotas are to be counted again. */
  readonly dirty: Set<string>
  readonly counts: QuotaCounts
  wake: () => void
}

const states = new WeakMap<Core, QuotaState>()

/** The server's own state, made at first need. */
export function quotaState(core: Core): QuotaState {
  let state = states.get(core)
  if (!state) states.set(core, (state = { pending: new Map(), dirty: new Set(), counts: new QuotaCounts(core.cache), wake: () => undefined }))
  return state
}

/** Quotas of a namespace. */
export function quotasIn(core: Core, namespace: string): Obj[] {
  const cache = core.cache.resource('resourcequotas')
  if (cache.size === 0) return []
  return [...cache.scan(`${cache.prefix}${namespace}/`)].map((e) => e.parsed() as Obj)
}

/** The one update of pods that changes what they use. */
export function isResize({ call, verb }: AdmissionEvent): boolean {
  return verb === 'update' && call.def === KINDS.Pod && call.info.subresource === 'resize'
}

export const resourceQuota: AdmissionPlugin = {
  name: 'ResourceQuota',
  async validate(event) {
    const { core, call, verb, object, old } = event
    const { namespace, name = '' } = object.metadata
    if (verb === 'delete' || !namespace || call.def === KINDS.Event) return
    const resize = isResize(event)
    if (call.info.subresource !== undefined && !resize) return
    if (verb === 'update' && !resize && ![KINDS.PersistentVolumeClaim, KINDS.Service].includes(call.def)) return
    const quotas = quotasIn(core, namespace)
    if (quotas.length === 0) return
    const now = usageOf(call.def, object)
    const before = verb === 'update' && old ? usageOf(call.def, old) : new Map<string, Quantity>()
    const check = (quota: Obj, others: readonly Amounts[]): Amounts => {
      const spec = (quota.spec ?? {}) as QuotaSpec
      if (!inScope(spec, call.def, object)) return {}
      const missing = verb === 'create' && call.def === KINDS.Pod ? unsaid(spec, object.spec as PodSpec) : []
      if (missing.length > 0) throw forbidden(call.def, name, `failed quota: ${quota.metadata.name}: must specify ${missing.join('; ')}`)
      return { [quota.metadata.name as string]: refuseExcess(event, quota, spec, now, before, others) }
    }
    if (isShared(core) && !isDryRun(call.query)) {
      return claimQuota(core, namespace, storageName(call.def), keyOf(call.def, namespace, name), (others) =>
        Object.fromEntries(quotasIn(core, namespace).flatMap((quota) => Object.entries(check(quota, others)).filter(([, amounts]) => Object.keys(amounts).length > 0))),
      )
    }
    for (const quota of quotas) check(quota, [])
    if (verb === 'create' && !isDryRun(call.query)) {
      quotaState(core).pending.set(keyOf(call.def, namespace, name), { def: call.def, object, until: core.clock.monotonic() + PENDING_MS })
    }
  },
  async after({ core, call, verb, object }) {
    const { namespace } = object.metadata
    if (!namespace || (call.def !== KINDS.ResourceQuota && quotasIn(core, namespace).length === 0)) return
    if (call.def === KINDS.ResourceQuota && call.info.subresource === 'status') return
    const state = quotaState(core)
    if (verb === 'delete') state.pending.delete(keyOf(call.def, namespace, object.metadata.name as string))
    state.dirty.add(namespace)
    state.wake()
    const last = call.def === KINDS.ResourceQuota && verb === 'delete' && quotasIn(core, namespace).every((q) => q.metadata.name === object.metadata.name)
    // Left behind it harms nobody.
    if (last && isShared(core)) await dropQuotaNotes(core, namespace).catch(() => undefined)
  },
}

/** What the write adds to the quota, by name. @throws ApiError 403 when that is too much beside what is used and what others are about to */
function refuseExcess({ core, call, object }: AdmissionEvent, quota: Obj, spec: QuotaSpec, now: ReadonlyMap<string, Quantity>, before: ReadonlyMap<string, Quantity>, others: readonly Amounts[]): Record<string, string> {
  const added: Record<string, string> = {}
  let used: Record<string, Quantity> | undefined
  const exceeded: { name: string; requested: Quantity; used: Quantity; hard: string }[] = []
  for (const [name, hard] of Object.entries(spec.hard ?? {})) {
    const wanted = now.get(name) ?? ZERO
    const requested = { ...wanted, nano: wanted.nano - (before.get(name)?.nano ?? 0n) }
    if (requested.nano <= 0n) continue
    used ??= usedOf(core, object.metadata.namespace as string, spec, 'pending')
    const noted = others.flatMap((amounts) => amounts[quota.metadata.name as string]?.[name] ?? [])
    const has = noted.reduce((sum, text) => addQuantities(sum, parseQuantity(text)), used[name] ?? ZERO)
    added[name] = quantityText(requested)
    if (compareQuantities(addQuantities(has, requested), parseQuantity(hard)) > 0) exceeded.push({ name, requested, used: has, hard })
  }
  if (exceeded.length === 0) return added
  exceeded.sort((a, b) => (a.name < b.name ? -1 : 1))
  const list = (pick: (e: (typeof exceeded)[number]) => string): string => exceeded.map((e) => `${e.name}=${pick(e)}`).join(',')
  throw forbidden(call.def, object.metadata.name ?? '', `exceeded quota: ${quota.metadata.name}, requested: ${list((e) => quantityText(e.requested))}, used: ${list((e) => quantityText(e.used))}, limited: ${list((e) => e.hard)}`)
}

/** What the objects of a namespace use of one quota; to admission with the writes on their way, which a status does not count. */
export function usedOf(core: Core, namespace: string, spec: QuotaSpec, also: 'pending' | 'none'): Record<string, Quantity> {
  const names = Object.keys(spec.hard ?? {})
  const used: Record<string, Quantity> = Object.fromEntries(names.map((n) => [n, ZERO]))
  const count = (def: ResourceDef, object: Obj): void => {
    if (!inScope(spec, def, object)) return
    const usage = usageOf(def, object)
    for (const name of names) {
      const q = usage.get(name)
      if (q) used[name] = addQuantities(used[name] as Quantity, q)
    }
  }
  const defs = new Set(names.flatMap((name) => countedBy(core, name) ?? []))
  const { pending, counts } = quotaState(core)
  for (const def of defs) {
    const sums = counts.of(def, namespace, spec)
    for (const name of names) {
      const sum = sums.get(name)
      if (sum) used[name] = addQuantities(used[name] as Quantity, sum)
    }
  }
  const time = core.clock.monotonic()
  if (also === 'none') return used
  for (const [key, { def, object, until }] of pending) {
    if (time > until || core.cache.resource(storageName(def)).get(key)) pending.delete(key)
    else if (object.metadata.namespace === namespace && defs.has(def)) count(def, object)
  }
  return used
}

/** The kind whose objects a name of `hard` counts. */
function countedBy(core: Core, name: string): ResourceDef | undefined {
  const counted = /^count\/([^.]+)(?:\.(.+))?$/.exec(name)
  if (counted) return core.resources.findAny(counted[2] ?? '', counted[1] as string)
  if (name === 'requests.storage' || name === 'persistentvolumeclaims' || name.includes('.storageclass.storage.k8s.io/')) return KINDS.PersistentVolumeClaim
  if (name.endsWith('.deviceclass.resource.k8s.io/devices')) return KINDS.ResourceResourceClaim
  if (name === 'services' || name.startsWith('services.')) return KINDS.Service
  switch (name) {
    case 'configmaps':
      return KINDS.ConfigMap
    case 'secrets':
      return KINDS.Secret
    case 'replicationcontrollers':
      return KINDS.ReplicationController
    case 'resourcequotas':
      return KINDS.ResourceQuota
    default:
      return KINDS.Pod
  }
}
