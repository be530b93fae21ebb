/**
 * Addresses of Services taken: before a Service is stored, each of its addresses is written under a key of its own, which only
 * one writer can create. So no two requests, on one server or on several, are given the same. A cluster IP's key is an
 * IPAddress object, as Kubernetes has it; a node port's lies below `ranges/`.
 *
 * A claim goes with its Service. One that was left behind (a write that failed after it) is taken over, or removed by
 * {@link keepServiceClaims}, once it is {@link GRACE_MS} old.
 */
import { KINDS } from '../api/kinds.ts'
import { hasCode, messageOf } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import type { Entry } from '../store/store.ts'
import type { AdmissionPlugin } from './admission/chain.ts'
import { isDryRun, stamp, type Core } from './core.ts'
import { textOf } from './encode.ts'
import { keyOf } from './resources.ts'
import { holdingsOf, pickAnew, type Holding } from './service-allocation.ts'
import type { Obj } from './stored-text.ts'
import { ROOT } from './watch-cache.ts'

const log = logger('apiserver.services')
/** Longer than any write takes from its claim to its end. */
const GRACE_MS = 60_000
/** Kubernetes' own interval. */
const REPAIR_MS = 180_000
const PORTS = 'ranges'
const MANAGED_BY = 'ipallocator.k8s.io'

interface Owner {
  readonly namespace: string
  readonly name: string
}

interface Claim {
  readonly metadata: { readonly creationTimestamp?: string; readonly labels?: Readonly<Record<string, string>> }
  readonly spec?: { readonly parentRef?: { readonly group?: string; readonly resource?: string } & Partial<Owner> }
}

export const serviceClaims: AdmissionPlugin = {
  name: 'ServiceAddresses',
  async validate({ core, call, verb, object, old }) {
    if (call.def !== KINDS.Service || (verb !== 'create' && verb !== 'update') || call.info.subresource !== undefined || isDryRun(call.query)) return
    const { namespace = '', name = '' } = object.metadata
    // One that is there already will be refused; it needs nothing.
    if (verb === 'create' && core.cache.resource('services').get(keyOf(KINDS.Service, namespace, name))) return
    const has = new Set(old ? holdingsOf(old).map((h) => h.value) : [])
    for (const holding of holdingsOf(object)) if (!has.has(holding.value)) await claim(core, object, holding)
  },
  async after({ core, call, verb, object, old }) {
    if (call.def !== KINDS.Service || verb === 'create') return
    const stays = new Set(verb === 'delete' ? [] : holdingsOf(object).map((h) => h.value))
    for (const holding of holdingsOf(old ?? object)) if (!stays.has(holding.value)) await release(core, holding, ownerOf(object))
  },
}

/** Takes `holding` for the Service, or another one where the server may choose. @throws ApiError 422 */
async function claim(core: Core, object: Obj, holding: Holding): Promise<void> {
  const owner = ownerOf(object)
  const tried: Holding[] = []
  for (let wanted = holding; ; ) {
    const key = claimKey(wanted)
    const text = claimText(core, wanted, owner)
    try {
      await core.store.put(key, text, 0)
      return
    } catch (error) {
      if (!hasCode(error, 'exists')) throw error
    }
    const { entry } = await core.store.get(key)
    if (!entry) continue
    if (isOwn(entry.value, owner)) return
    if (await isLeftBehind(core, wanted, entry)) {
      try {
        await core.store.put(key, text, entry.revision)
        return
      } catch (error) {
        if (!hasCode(error, 'conflict')) throw error
        continue
      }
    }
    tried.push(wanted)
    wanted = pickAnew(core, object, wanted, tried)
  }
}

/** Never fails: what stays is found by {@link keepServiceClaims}. */
async function release(core: Core, holding: Holding, owner: Owner): Promise<void> {
  try {
    const { entry } = await core.store.get(claimKey(holding))
    if (entry && isOwn(entry.value, owner)) await core.store.delete(entry.key, entry.revision)
  } catch (error) {
    log.debug('address not released', { holding: holding.value, why: messageOf(error) })
  }
}

/** Makes claims that are missing (Services from before there were any), removes what is left behind; at start and every few minutes when there was a change. */
export async function keepServiceClaims(core: Core, signal: AbortSignal): Promise<void> {
  const watched = ['services', 'ipaddresses.networking.k8s.io', PORTS].map((name) => core.cache.resource(name))
  await nameRange(core).catch((error: unknown) => log.warn('range of cluster IPs not named', { error }))
  let done = ''
  while (!signal.aborted) {
    const version = watched.map((r) => r.version).join()
    if (version !== done) {
      try {
        // Young claims that nobody holds yet are looked at again.
        done = (await repair(core)) ? version : ''
      } catch (error) {
        if (signal.aborted) return
        log.warn('addresses of Services not looked after, trying again', { error })
      }
    }
    await core.clock.sleep(REPAIR_MS, signal)
  }
}

/** The range of cluster IPs as an object, as Kubernetes has it. */
async function nameRange(core: Core): Promise<void> {
  const key = keyOf(KINDS.ServiceCIDR, undefined, 'kubernetes')
  if (core.cache.resource('servicecidrs.networking.k8s.io').get(key)) return
  const now = stamp(core)
  const ready = { type: 'Ready', status: 'True', reason: '', message: 'Kubernetes Service CIDR is ready', lastTransitionTime: now }
  const metadata = { name: 'kubernetes', uid: crypto.randomUUID(), creationTimestamp: now }
  const object = { metadata, spec: { cidrs: [core.serviceCidr] }, status: { conditions: [ready] } } as unknown as Obj
  await core.store.put(key, textOf(KINDS.ServiceCIDR, object), 0).catch(ignore('exists'))
}

/** One round of {@link keepServiceClaims}. True: nothing is left for another one. */
export async function repair(core: Core): Promise<boolean> {
  let complete = true
  const claimed = new Map([...claimsIn(core)].map((c) => [c.entry.key, c]))
  for (const entry of core.cache.resource('services').scan()) {
    const service = entry.parsed() as Obj
    const owner = { namespace: entry.namespace, name: entry.name }
    for (const holding of holdingsOf(service)) {
      const key = claimKey(holding)
      if (!claimed.has(key)) await core.store.put(key, claimText(core, holding, owner), 0).catch(ignore('exists'))
    }
  }
  for (const { holding, entry } of claimed.values()) {
    const stored = { key: entry.key, value: entry.text, revision: entry.revision, created: entry.created }
    if (isHeld(core, holding, stored.value)) continue
    if (await isLeftBehind(core, holding, stored)) await core.store.delete(entry.key, entry.revision).catch(ignore('conflict', 'not-found'))
    else complete = false
  }
  return complete
}

function* claimsIn(core: Core) {
  for (const entry of core.cache.resource('ipaddresses.networking.k8s.io').scan()) {
    const { labels } = (JSON.parse(entry.text) as Claim).metadata
    if (labels?.['ipaddress.kubernetes.io/managed-by'] === MANAGED_BY) yield { holding: { kind: 'ip', value: entry.name } as const, entry }
  }
  for (const entry of core.cache.resource(PORTS).scan(`${ROOT}${PORTS}/servicenodeports/`)) yield { holding: { kind: 'port', value: Number(entry.name) } as const, entry }
}

/** Old enough, and the Service that it names has no such address. Somebody else's reservation is never left behind. */
async function isLeftBehind(core: Core, holding: Holding, entry: Entry): Promise<boolean> {
  const { metadata, spec } = JSON.parse(entry.value) as Claim
  if (spec?.parentRef?.resource !== 'services' || spec.parentRef.group) return false
  if (core.clock.now() - Date.parse(metadata.creationTimestamp ?? '') < GRACE_MS) return false
  await core.cache.refresh()
  return !isHeld(core, holding, entry.value)
}

function isHeld(core: Core, holding: Holding, text: string): boolean {
  const ref = (JSON.parse(text) as Claim).spec?.parentRef
  if (ref?.resource !== 'services') return true
  const service = core.cache.resource('services').get(keyOf(KINDS.Service, ref.namespace, ref.name))
  return service !== undefined && holdingsOf(service.parsed() as Obj).some((h) => h.value === holding.value)
}

function isOwn(text: string, owner: Owner): boolean {
  const ref = (JSON.parse(text) as Claim).spec?.parentRef
  return ref?.resource === 'services' && ref.namespace === owner.namespace && ref.name === owner.name
}

const ownerOf = ({ metadata }: Obj): Owner => ({ namespace: metadata.namespace ?? '', name: metadata.name ?? '' })

function claimKey({ kind, value }: Holding): string {
  return kind === 'ip' ? keyOf(KINDS.IPAddress, undefined, value) : `${ROOT}${PORTS}/servicenodeports/${value}`
}

function claimText(core: Core, { kind, value }: Holding, owner: Owner): string {
  const labels = { 'ipaddress.kubernetes.io/ip-family': 'IPv4', 'ipaddress.kubernetes.io/managed-by': MANAGED_BY }
  const metadata = { name: String(value), uid: crypto.randomUUID(), creationTimestamp: stamp(core), ...(kind === 'ip' ? { labels } : {}) }
  return textOf(KINDS.IPAddress, { metadata, spec: { parentRef: { group: '', resource: 'services', ...owner } } } as unknown as Obj)
}

function ignore(...codes: Parameters<typeof hasCode>[1][]): (error: unknown) => void {
  return (error) => {
    if (!codes.some((code) => hasCode(error, code))) throw error
  }
}
