/**
 * What a pod's device claims mean for its place, and their allocation once it has one. Looked up once a decision; asking a node
 * is then pure. What was written is believed until the cache shows it or something newer, so that no device is given twice.
 */
import type { AllocationResult, DeviceClass, Node, Pod, ResourceResourceClaim, ResourceSlice } from '../api/gen/types.ts'
import { claimOf, deviceClaimNames, FINALIZER_DEVICES, isReservedFor, MAX_RESERVED } from '../api/claims.ts'
import { KINDS } from '../api/kinds.ts'
import { isClaimOf } from '../api/volumes.ts'
import { messageOf } from '../base/errors.ts'
import type { Cache, CacheSet, Client } from '../client/mod.ts'
import { kubeTime } from '../control/mod.ts'
import { allocate, checkClaim, deviceKey, reachable, type DeviceMatch, type Supply } from './allocate.ts'
import { termMatches } from './filters/node-affinity.ts'
import type { NodeView } from './snapshot.ts'

type Claim = Readonly<ResourceResourceClaim>

/** Where the devices of one pod can be. */
export interface PodDevices {
  /** Why the pod goes nowhere for now. */
  readonly problem?: string
  /** Why the devices keep the pod off a node; empty when they do not. */
  refuse(node: NodeView): readonly string[]
}

/** A pod that claims nothing. */
export const NO_DEVICES: PodDevices = { refuse: () => [] }

export interface DeviceBinderOptions {
  readonly client: Client
  readonly caches: CacheSet
  /** Loads what evaluates selectors, when the first claim comes. */
  readonly selectors: () => Promise<DeviceMatch>
  readonly now: () => number
}

/** The cluster's devices as the scheduler sees them. */
export class DeviceBinder {
  readonly claims: Cache<ResourceResourceClaim>
  readonly slices: Cache<ResourceSlice>
  readonly classes: Cache<DeviceClass>
  readonly #o: DeviceBinderOptions
  /** Claims as written last, by uid; bounded by the claims that exist. */
  readonly #written = new Map<string, Claim>()

  constructor(options: DeviceBinderOptions) {
    this.#o = options
    this.claims = options.caches.cache<ResourceResourceClaim>(KINDS.ResourceResourceClaim)
    this.slices = options.caches.cache<ResourceSlice>(KINDS.ResourceSlice)
    this.classes = options.caches.cache<DeviceClass>(KINDS.DeviceClass)
  }

  /** A claim has changed or gone: what was believed of it is forgotten when this is as new. */
  seen(now: Claim | undefined, old: Claim | undefined): void {
    const uid = (now ?? old)?.metadata?.uid ?? ''
    const written = this.#written.get(uid)
    if (written && (!now || revision(now) >= revision(written))) this.#written.delete(uid)
  }

  /** What the claims of a pod mean now. */
  async of(pod: Readonly<Pod>): Promise<PodDevices> {
    if (!pod.spec?.resourceClaims?.length) return NO_DEVICES
    try {
      const claims = this.#claimsOf(pod)
      const open = claims.filter((c) => !c.status?.allocation)
      const full = claims.find((c) => !isReservedFor(c, pod) && (c.status?.reservedFor ?? []).length >= MAX_RESERVED)
      if (full) throw new Error(`resourceclaim "${full.metadata?.name}" is in use by the most pods there may be`)
      for (const c of open) checkClaim(c, { classOf: (name) => this.classes.get(name) })
      const matches = await this.#o.selectors()
      return {
        refuse: ({ node }) => {
          if (!claims.every((c) => reaches(c, node))) return ['resourceclaim not available on the node']
          try {
            return this.#allocate(open, node, matches) ? [] : ['cannot allocate all claims']
          } catch (error) {
            return [messageOf(error).split('\n', 1)[0] ?? '']
          }
        },
      }
    } catch (error) {
      return { ...NO_DEVICES, problem: messageOf(error) }
    }
  }

  /** Gives the pod's claims their devices on the node and holds them for the pod. @throws ApiError `conflict` when somebody else was faster */
  async reserve(pod: Readonly<Pod>, node: Readonly<Node>): Promise<void> {
    if (!pod.spec?.resourceClaims?.length) return
    const claims = this.#claimsOf(pod)
    const open = claims.filter((c) => !c.status?.allocation)
    const results = this.#allocate(open, node, await this.#o.selectors())
    if (!results) throw new Error('the devices that were free are not any more')
    for (const claim of claims) if (!isReservedFor(claim, pod)) await this.#write(claim, pod, results[open.indexOf(claim)])
  }

  async #write(claim: Claim, pod: Readonly<Pod>, allocation: AllocationResult | undefined): Promise<void> {
    const api = this.#o.client.resource<ResourceResourceClaim>(KINDS.ResourceResourceClaim)
    let held = claim
    const finalizers = claim.metadata?.finalizers ?? []
    if (allocation && !finalizers.includes(FINALIZER_DEVICES)) held = this.#believe(await api.update({ ...claim, metadata: { ...claim.metadata, finalizers: [...finalizers, FINALIZER_DEVICES] } }))
    const { name = '', uid = '' } = pod.metadata ?? {}
    const reservedFor = [...(claim.status?.reservedFor ?? []), { resource: 'pods', name, uid }]
    const given = allocation ? { allocation: { ...allocation, allocationTimestamp: kubeTime(this.#o.now()) } } : {}
    this.#believe(await api.update({ ...held, status: { ...held.status, ...given, reservedFor } }, { subresource: 'status' }))
  }

  /** Takes back the devices of one claim that nobody but this pod waits for: elsewhere others may do. */
  async release(pod: Readonly<Pod>): Promise<void> {
    for (const name of deviceClaimNames(pod)) {
      const claim = this.#newest(this.claims.get(name, pod.metadata?.namespace))
      if (!claim?.status?.allocation || (claim.status.reservedFor ?? []).some((r) => r.uid !== pod.metadata?.uid)) continue
      const { allocation: _allocation, reservedFor: _reservedFor, ...status } = claim.status
      const api = this.#o.client.resource<ResourceResourceClaim>(KINDS.ResourceResourceClaim)
      this.#believe(await api.update({ ...claim, status }, { subresource: 'status' }))
      return
    }
  }

  #believe(claim: Claim): Claim {
    this.#written.set(claim.metadata?.uid ?? '', claim)
    const seen = this.claims.get(claim.metadata?.name ?? '', claim.metadata?.namespace)
    this.seen(seen, claim)
    return claim
  }

  #newest(claim: Claim | undefined): Claim | undefined {
    return claim && (this.#written.get(claim.metadata?.uid ?? '') ?? claim)
  }

  #claimsOf(pod: Readonly<Pod>): Claim[] {
    return (pod.spec?.resourceClaims ?? []).flatMap((wanted) => {
      const named = claimOf(pod, wanted)
      if (named.state === 'none') return []
      if (named.state === 'awaited') throw new Error(`pod "${pod.metadata?.namespace}/${pod.metadata?.name}": ResourceClaim not created yet`)
      const claim = this.#newest(this.claims.get(named.name, pod.metadata?.namespace))
      if (!claim) throw new Error(named.template ? `waiting for dynamic resource controller to create the resourceclaim "${named.name}"` : `resourceclaim "${named.name}" not found`)
      if (claim.metadata?.deletionTimestamp !== undefined) throw new Error(`resourceclaim "${named.name}" is being deleted`)
      if (named.template && !isClaimOf(claim, pod)) throw new Error(`ResourceClaim ${claim.metadata?.namespace}/${named.name} was not created for pod ${pod.metadata?.namespace}/${pod.metadata?.name} (pod is not owner)`)
      return [claim]
    })
  }

  #allocate(open: readonly Claim[], node: Readonly<Node>, matches: DeviceMatch): AllocationResult[] | undefined {
    if (open.length === 0) return []
    const taken = new Set<string>()
    for (const seen of this.claims.list()) for (const r of this.#newest(seen)?.status?.allocation?.devices?.results ?? []) if (r.adminAccess !== true) taken.add(deviceKey(r))
    const supply: Supply = { devices: reachable(this.slices.list(), node), taken, classOf: (name) => this.classes.get(name), matches }
    return allocate(open, supply, node)
  }
}

function reaches(claim: Claim, node: Readonly<Node>): boolean {
  const where = claim.status?.allocation?.nodeSelector
  return where === undefined || where.nodeSelectorTerms.some((t) => termMatches(t, node))
}

function revision(claim: Claim): number {
  return Number(claim.metadata?.resourceVersion ?? 0)
}
