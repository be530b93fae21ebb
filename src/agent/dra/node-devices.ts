/**
 * Devices of this machine for pods: claims (DRA) and extended resources. What a pod was given is kept in its directory before its
 * first container is made, and holds for its life: also offline, after a restart, and when the claim has gone from the API.
 */
import { mkdir, readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Container as ContainerSpec, Node, Pod, ResourceResourceClaim } from '../../api/gen/types.ts'
import { claimOf } from '../../api/claims.ts'
import { readFileIfAny, readJsonIfAny, writeFileAtomic } from '../../base/atomic-file.ts'
import type { Clock } from '../../base/clock.ts'
import { AppError, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { waitAfter, type RetrySchedule } from '../../base/retry.ts'
import type { Client } from '../../client/mod.ts'
import type { ContainerConfig } from '../../cri/mod.ts'
import { uidOf } from '../pods/names.ts'
import { RESOURCE_CLAIMS } from '../refs.ts'
import type { Fetch } from '../volumes/claims.ts'
import { claimedBy, devicesOf, type ClaimedDevice, type ClaimedDevices } from './claims.ts'
import { ExtendedResources, type Given } from './extended.ts'
import type { DeviceRule, FoundDevice } from './found.ts'

const log = logger('agent.devices')
const SCHEDULE: RetrySchedule = { firstMs: 1_000, factor: 2, maxMs: 60_000, jitter: 0.5 }

export interface NodeDevicesOptions {
  readonly nodeName: string
  readonly client: Client
  readonly clock: Clock
  readonly fetch: Fetch
  readonly rules: readonly DeviceRule[]
  /** Directory of the agent's data; pods have theirs under `pods`. */
  readonly dataDir: string
  readonly node: () => Readonly<Node> | undefined
  /** Whether a pod still has use of what it was given. */
  readonly isLive: (uid: string) => boolean
}

/** What is kept with a pod. */
interface Kept {
  readonly claims: ClaimedDevices
  readonly resources: Given
}

/** What a container gets. */
export interface DeviceAccess {
  readonly devices: ContainerConfig['devices']
  /** `SKERRY_DEVICES_<claim or resource>`: where they are, with commas between. */
  readonly env: Readonly<Record<string, string>>
}

const NOTHING: DeviceAccess = { devices: [], env: {} }

/** The devices of one node; see the header. Bounded by its pods and device nodes. */
export class NodeDevices {
  readonly #o: NodeDevicesOptions
  readonly #resources = new ExtendedResources()
  readonly #claims = new Map<string, ClaimedDevices>()
  #found: readonly FoundDevice[] = []
  /** Extended resources told before and not offered any more: told as none. */
  #former: readonly string[] = []
  /** What the API was told last; undefined: not known. */
  #published: string | undefined
  #wake = new AbortController()

  constructor(options: NodeDevicesOptions) {
    this.#o = options
  }

  /** Reads what pods were given before. Before the first pod is looked at. */
  async start(): Promise<void> {
    const pods = join(this.#o.dataDir, 'pods')
    for (const uid of await readdir(pods).catch(() => [])) {
      const kept = await readJsonIfAny<Kept>(this.#file(uid))
      if (!kept) continue
      this.#claims.set(uid, kept.claims)
      this.#resources.restore(uid, kept.resources)
    }
    const told = await readJsonIfAny<string[]>(this.#marker)
    const mine = [...new Set(this.#o.rules.flatMap((r) => r.resource ?? []))]
    this.#former = (told ?? []).filter((r) => !mine.includes(r))
    if (this.#o.rules.length > 0 && JSON.stringify(told) !== JSON.stringify([...mine, ...this.#former])) {
      await mkdir(dirname(this.#marker), { recursive: true })
      await writeFileAtomic(this.#marker, JSON.stringify([...mine, ...this.#former]))
    }
    // Slices that an earlier setting made are taken back.
    if (this.#o.rules.length === 0 && told === undefined) this.#published = ''
  }

  /** Looks what is there; the amounts of extended resources, for the Node. */
  async look(): Promise<Readonly<Record<string, string>>> {
    const { rules } = this.#o
    if (rules.length === 0) return Object.fromEntries(this.#former.map((r) => [r, '0']))
    const { findDevices } = await import('./found.ts')
    this.#found = await findDevices(rules)
    const offered = new Map<string, string[]>()
    for (const { resource, count } of rules) {
      if (resource === undefined) continue
      const all = offered.get(resource) ?? []
      for (let i = 0; i < count; i++) all.push(String(all.length))
      offered.set(resource, all)
    }
    for (const { resource, path } of this.#found) if (resource !== undefined) offered.get(resource)?.push(path)
    this.#resources.offer(offered)
    if (this.#state() !== this.#published) this.#wake.abort()
    return Object.fromEntries([...this.#former.map((r) => [r, '0'] as const), ...[...offered].map(([r, all]) => [r, String(all.length)] as const)])
  }

  /** Keeps the node's ResourceSlices as its devices are, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    let failures = 0
    while (!signal.aborted) {
      const [state, node] = [this.#state(), this.#o.node()]
      if (state !== this.#published && node) {
        try {
          const { publishSlices } = await import('./publish.ts')
          await publishSlices(this.#o.client, node, this.#found)
          this.#published = state
          failures = 0
        } catch (error) {
          failures++
          if (!(error instanceof AppError && error.retryable)) log.warn('devices not published', { node: this.#o.nodeName, error: messageOf(error) })
        }
      }
      const due = this.#state() !== this.#published
      this.#wake = new AbortController()
      await this.#o.clock.sleep(due ? waitAfter(SCHEDULE, failures) : 0x7fffffff, AbortSignal.any([signal, this.#wake.signal])).catch(() => undefined)
    }
  }

  /** The link is back, or the Node changed: what was not published yet is tried now. */
  kick(): void {
    if (this.#state() !== this.#published) this.#wake.abort()
  }

  /** What would be published, and whose it is. */
  #state(): string {
    const claimable = this.#found.filter((d) => d.resource === undefined)
    return claimable.length === 0 ? '' : JSON.stringify([this.#o.node()?.metadata?.uid, claimable.map((d) => [d.name, d.attributes])])
  }

  /** Holds extended resources for a pod that is new here; why that cannot be, in the kubelet's words. */
  admit(pod: Readonly<Pod>): string | undefined {
    return this.#resources.admit(pod, this.#o.isLive)
  }

  /** Finds what the pod claims and keeps it with the pod. @throws AppError saying why a claim cannot be used here */
  async prepare(pod: Readonly<Pod>): Promise<void> {
    const uid = uidOf(pod)
    const wanted = pod.spec?.resourceClaims ?? []
    const given = this.#resources.given(uid)
    if (wanted.length === 0 && Object.keys(given).length === 0) return
    if (!this.#claims.has(uid) && wanted.length > 0 && this.#o.rules.length > 0) await this.look()
    const claims: ClaimedDevices = this.#claims.get(uid) ?? Object.fromEntries(await Promise.all(wanted.map(async (c) => [c.name, await this.#claimed(pod, c)] as const)))
    const text = JSON.stringify({ claims, resources: given } satisfies Kept)
    if ((await readFileIfAny(this.#file(uid))) !== text) await writeFileAtomic(this.#file(uid), text)
    this.#claims.set(uid, claims)
  }

  async #claimed(pod: Readonly<Pod>, wanted: NonNullable<NonNullable<Pod['spec']>['resourceClaims']>[number]): Promise<ClaimedDevice[]> {
    const named = claimOf(pod, wanted)
    if (named.state === 'none') return []
    if (named.state === 'awaited') throw new AppError('unavailable', `pod "${pod.metadata?.namespace}/${pod.metadata?.name}": ResourceClaim not created yet`)
    const claim = await this.#o.fetch<ResourceResourceClaim>(RESOURCE_CLAIMS, pod.metadata?.namespace, named.name)
    if (!claim) throw new AppError('invalid', `resourceclaims.resource.k8s.io "${named.name}" not found`)
    return devicesOf(pod, claim, { nodeName: this.#o.nodeName, found: this.#found })
  }

  /** What one container of a prepared pod gets. */
  accessOf(pod: Readonly<Pod>, spec: Readonly<ContainerSpec>): DeviceAccess {
    const uid = uidOf(pod)
    const given = this.#resources.given(uid)[spec.name] ?? {}
    const claims = this.#claims.get(uid)
    if (!spec.resources?.claims?.length && Object.keys(given).length === 0) return NOTHING
    const byName: Record<string, readonly Omit<ClaimedDevice, 'request' | 'device'>[]> = { ...claimedBy(spec, claims ?? {}) }
    for (const [resource, ids] of Object.entries(given)) {
      byName[resource] = ids.filter((id) => id.startsWith('/')).map((path) => ({ hostPath: path, containerPath: path, permissions: 'rw' }))
    }
    const devices = new Map<string, ContainerConfig['devices'][number]>()
    const env: Record<string, string> = {}
    for (const [name, all] of Object.entries(byName)) {
      for (const { hostPath, containerPath, permissions } of all) devices.set(containerPath, { hostPath, containerPath, permissions })
      if (all.length > 0) env[`SKERRY_DEVICES_${name.toUpperCase().replace(/[^A-Z0-9]+/g, '_')}`] = all.map((d) => d.containerPath).join(',')
    }
    return { devices: [...devices.values()], env }
  }

  /** The pod has gone from this machine. */
  forget(uid: string): void {
    this.#claims.delete(uid)
    this.#resources.forget(uid)
  }

  #file(uid: string): string {
    return join(this.#o.dataDir, 'pods', uid, 'devices.json')
  }

  /** Names of the extended resources that the Node was told of. */
  get #marker(): string {
    return join(this.#o.dataDir, 'devices.json')
  }
}
