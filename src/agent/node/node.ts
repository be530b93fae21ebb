/**
 * This machine as a Node object: registered with labels and taints, its status written when something changed and every
 * few hours. No heartbeats: the server renews the node's Lease from the link itself. The podCIDR comes from the Node
 * and is remembered with the cache, so the pod network is there on a boot without server.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Node, NodeCondition, NodeStatus } from '../../api/gen/types.ts'
import { LABEL_ARCH, LABEL_HOSTNAME, LABEL_OS } from '../../api/meta.ts'
import type { Clock } from '../../base/clock.ts'
import { AppError, hasCode, isAbort, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { waitAfter, type RetrySchedule } from '../../base/retry.ts'
import type { Cache, Client, EventRecorder } from '../../client/mod.ts'
import type { RuntimeFeatures } from '../../cri/mod.ts'
import type { NodeFacts, NodeNetwork } from '../ports.ts'
import { contains, isIPv4, parseCidr } from '../network/cidr.ts'
import { NODES } from '../refs.ts'
import { machineArch } from './facts.ts'

const log = logger('agent.node')
const SCHEDULE: RetrySchedule = { firstMs: 250, factor: 2, maxMs: 15_000, jitter: 0.5 }
/**
 * The status is written this often even when nothing changed, ms: the link tells that the node lives. It costs the line 12 kB a time and the
 * server's disk 25 kB; half-hourly, that was most of what a server with 20 nodes at rest wrote.
 */
const REFRESH_MS = 21_600_000
const READ_ONLY = 'the file system of the data directory is read-only, as after an error of the disk: pods run on, nothing new can be kept; repair it and mount it again'
/** A clock that is off by more is told, ms; certificates are made for a day of it, so this is early. */
const CLOCK_OFF_MS = 300_000
/** Looks in a row in which the API has another status than was written before it is written again: its news may be on their way. */
const LOOKS_ADRIFT = 3
/** How often the machine is looked at for pressure and addresses, ms. */
const LOOK_MS = 10_000
/** How often bridge, rules and kernel settings are looked after: a firewall's reload flushes what it does not know, ms. */
const NETWORK_MS = 60_000

export interface NodeOptions {
  readonly name: string
  readonly client: Client
  readonly cache: Cache<Node>
  readonly clock: Clock
  readonly events: EventRecorder
  readonly network: NodeNetwork
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly taints: readonly { readonly key: string; readonly value?: string; readonly effect: string }[]
  readonly port: number
  readonly facts: () => Promise<NodeFacts>
  /** This clock minus the server's, ms. */
  readonly clockAheadMs: () => number
  readonly sealing?: { readonly apart: boolean; readonly message: string } | undefined
  /** What is wrong with the file of registries; undefined when nothing is. */
  readonly registriesFault?: (() => string | undefined) | undefined
  readonly runtimeState: () => { readonly ok: boolean; readonly message: string }
  /** Facts, network or addresses changed. */
  readonly onChange: () => void
}

/** One Node, written by this process alone; see the header. */
export class NodeObject {
  readonly #o: NodeOptions
  #facts: NodeFacts | undefined
  #cidr: string | undefined
  #configuredAt = -Infinity
  #networkFault = ''
  #written: NodeStatus | undefined
  #writtenAt = -Infinity
  /** What the API made of it, as far as it is this node's. */
  #accepted: unknown
  #adrift = 0
  #registered = false
  #clockTold = ''
  #registriesTold: string | undefined
  /** Set by a wake that came while nobody rested, so that none is lost. */
  #woken = false
  #resting: AbortController | undefined

  constructor(options: NodeOptions) {
    this.#o = options
  }

  get facts(): NodeFacts | undefined {
    return this.#facts
  }

  get hostIPs(): readonly string[] {
    return (this.#facts?.addresses ?? []).filter((a) => a.type === 'InternalIP').map((a) => a.address)
  }

  /** True once the pod network is configured. */
  get networkReady(): boolean {
    return this.#cidr !== undefined
  }

  /** False for an address of a pod network that this node no longer has. */
  inNetwork(address: string): boolean {
    return this.#cidr === undefined || !isIPv4(address) || contains(parseCidr(this.#cidr), address)
  }

  /** True once the API has this node. */
  get registered(): boolean {
    return this.#registered
  }

  /** Look and write now: the link is back, or the runtime's state changed. */
  kick(): void {
    this.#wake()
  }

  /** Reads the machine; must have succeeded once before pods start. */
  async look(): Promise<void> {
    const next = await this.#o.facts()
    if (isDeepStrictEqual(next, this.#facts)) return
    this.#facts = next
    this.#o.onChange()
  }

  async run(signal: AbortSignal): Promise<void> {
    const stop = this.#o.cache.onChange((now) => {
      // Deleted by somebody: what was written is gone, and is written again.
      if (!now) this.#written = undefined
      this.#wake()
    })
    let failures = 0
    while (!signal.aborted) {
      await this.look().catch((error: unknown) => log.warn('machine not read', { error }))
      await this.#configureNetwork()
      let wait = LOOK_MS
      try {
        await this.#write()
        failures = 0
      } catch (error) {
        if (isAbort(error) && signal.aborted) break
        wait = waitAfter(SCHEDULE, ++failures)
        if (!(error instanceof AppError && error.retryable)) log.warn('node status not written', { node: this.#o.name, error: messageOf(error) })
      }
      await this.#rest(wait, signal)
    }
    stop()
  }

  async #rest(ms: number, signal: AbortSignal): Promise<void> {
    if (!this.#woken) {
      this.#resting = new AbortController()
      await this.#o.clock.sleep(ms, AbortSignal.any([signal, this.#resting.signal])).catch(() => undefined)
      this.#resting = undefined
    }
    this.#woken = false
  }

  #wake(): void {
    this.#woken = true
    this.#resting?.abort()
  }

  async #configureNetwork(): Promise<void> {
    const { cache, clock, name, network } = this.#o
    const cidr = cache.get(name)?.spec?.podCIDR
    if (!cidr || (cidr === this.#cidr && clock.monotonic() - this.#configuredAt < NETWORK_MS)) return
    const now = clock.monotonic()
    try {
      await network.configure(cidr)
      this.#configuredAt = now
      this.#networkFault = ''
      if (cidr === this.#cidr) return
      this.#cidr = cidr
      this.#o.onChange()
    } catch (error) {
      // Said once, tried at each look.
      const fault = messageOf(error)
      if (fault === this.#networkFault) return
      this.#networkFault = fault
      log.error('pod network not configured', { cidr, error: fault })
      this.#o.events.event(this.#reference(), 'Warning', 'NetworkSetupFailed', fault)
    }
  }

  #reference(): { apiVersion: string; kind: string; name: string; uid: string } {
    // The kubelet names its node where a uid belongs, and kubectl describe looks for that.
    return { apiVersion: 'v1', kind: 'Node', name: this.#o.name, uid: this.#o.cache.get(this.#o.name)?.metadata?.uid ?? this.#o.name }
  }

  async #write(): Promise<void> {
    const { client, clock, name } = this.#o
    if (!this.#facts) return
    const nodes = client.resource<Node>(NODES)
    if (!this.#registered) await this.#register()
    const status = this.#status()
    const due = clock.monotonic() - this.#writtenAt >= REFRESH_MS || this.#isAdrift()
    if (!due && isDeepStrictEqual(timeless(status), timeless(this.#written))) return
    const answer = await nodes.patch(name, undefined, { status }, 'strategic', { subresource: 'status' }).catch(async (error: unknown) => {
      if (!hasCode(error, 'not-found')) throw error
      // Somebody deleted the Node while it lives: it registers again.
      this.#registered = false
      this.#written = undefined
      throw new AppError('unavailable', `write status of node "${name}": it is gone from the API, registering again`, { cause: error })
    })
    this.#tellClock()
    this.#tellRegistries()
    this.#written = status
    this.#accepted = ownPart(answer.status, status)
    this.#adrift = 0
    this.#writtenAt = clock.monotonic()
    if (!this.#cidr && answer.spec?.podCIDR) this.#wake()
  }

  /** Whether the API has lost what was written, as after a restore from a backup, or somebody else has changed it. */
  #isAdrift(): boolean {
    const there = this.#o.cache.get(this.#o.name)?.status
    const differs = this.#written !== undefined && there !== undefined && !isDeepStrictEqual(ownPart(there, this.#written), this.#accepted)
    this.#adrift = differs ? this.#adrift + 1 : 0
    return this.#adrift >= LOOKS_ADRIFT
  }

  /** Creates the Node, or brings the labels and annotations that are ours up to date on the one that is there. */
  async #register(): Promise<void> {
    const { client, name, taints, annotations } = this.#o
    const nodes = client.resource<Node>(NODES)
    const labels = {
      'beta.kubernetes.io/arch': machineArch(),
      'beta.kubernetes.io/os': 'linux',
      [LABEL_ARCH]: machineArch(),
      [LABEL_HOSTNAME]: name,
      [LABEL_OS]: 'linux',
      ...this.#o.labels,
    }
    const spec = taints.length === 0 ? {} : { taints: [...taints] }
    try {
      await nodes.create({ apiVersion: 'v1', kind: 'Node', metadata: { name, labels, annotations }, spec })
    } catch (error) {
      if (!hasCode(error, 'exists')) throw error
      const there = await nodes.get(name)
      const differs = (want: Readonly<Record<string, string>>, have: Readonly<Record<string, string>> = {}): boolean => Object.entries(want).some(([k, v]) => have[k] !== v)
      const stale = differs(labels, there.metadata?.labels) || differs(annotations, there.metadata?.annotations)
      if (stale) await nodes.patch(name, undefined, { metadata: { labels, annotations } }, 'merge')
    }
    this.#registered = true
    log.info('node registered', { node: name })
  }

  #status(): NodeStatus {
    const facts = this.#facts as NodeFacts
    const runtime = this.#o.runtimeState()
    const readyProblem = facts.diskReadOnly === true ? READ_ONLY : !runtime.ok ? runtime.message : this.networkReady ? undefined : 'container runtime network not ready: no podCIDR is assigned to this node yet'
    return {
      capacity: { ...facts.capacity },
      allocatable: { ...facts.allocatable },
      addresses: facts.addresses.map((a) => ({ ...a })),
      nodeInfo: facts.nodeInfo as unknown as NonNullable<NodeStatus['nodeInfo']>,
      ...(facts.images && { images: facts.images.map((i) => ({ ...i })) }),
      ...runtimeStatus(facts.features),
      daemonEndpoints: { kubeletEndpoint: { Port: this.#o.port } },
      conditions: [
        this.#condition('MemoryPressure', facts.pressure.memory, ['KubeletHasInsufficientMemory', 'kubelet has insufficient memory available'], ['KubeletHasSufficientMemory', 'kubelet has sufficient memory available']),
        this.#condition('DiskPressure', facts.pressure.disk, ['KubeletHasDiskPressure', 'kubelet has disk pressure'], ['KubeletHasNoDiskPressure', 'kubelet has no disk pressure']),
        this.#condition('PIDPressure', facts.pressure.pid, ['KubeletHasInsufficientPID', 'kubelet has insufficient PID available'], ['KubeletHasSufficientPID', 'kubelet has sufficient PID available']),
        ...this.#clockCondition(),
        ...this.#registriesCondition(),
        ...(this.#o.sealing ? [this.#condition('SealedAtRest', this.#o.sealing.apart, ['KeyIsApart', this.#o.sealing.message], ['KeyBesideData', this.#o.sealing.message])] : []),
        this.#condition('Ready', readyProblem === undefined, ['KubeletReady', 'kubelet is posting ready status'], ['KubeletNotReady', readyProblem ?? '']),
      ],
    }
  }

  /** An Event when the clock has gone off, or is off by another amount. Its own time is as wrong as the clock. */
  #tellClock(): void {
    const off = clockOff(this.#o.clockAheadMs())
    if (off !== '' && off !== this.#clockTold) this.#o.events.event(this.#reference(), 'Warning', 'ClockSkew', off)
    this.#clockTold = off
  }

  #tellRegistries(): void {
    const fault = this.#o.registriesFault?.()
    if (fault !== undefined && fault !== this.#registriesTold) this.#o.events.event(this.#reference(), 'Warning', 'InvalidRegistries', fault)
    this.#registriesTold = fault
  }

  /** Stands on the node from the first time its file of registries was wrong. */
  #registriesCondition(): NodeCondition[] {
    const fault = this.#o.registriesFault?.()
    if (fault === undefined && !this.#stands('InvalidRegistries')) return []
    return [this.#condition('InvalidRegistries', fault !== undefined, ['NotTakenUp', fault ?? ''], ['TakenUp', 'registries are as their file says'])]
  }

  /** Whether the node has a condition of this type, as the API knows it or as it was last written. */
  #stands(type: string): boolean {
    return (this.#o.cache.get(this.#o.name)?.status?.conditions ?? this.#written?.conditions)?.some((c) => c.type === type) ?? false
  }

  /** Stands on the node from the first time its clock was off. */
  #clockCondition(): NodeCondition[] {
    const off = clockOff(this.#o.clockAheadMs())
    if (off === '' && !this.#stands('ClockSkew')) return []
    return [this.#condition('ClockSkew', off !== '', ['ClockIsOff', off], ['ClockIsRight', "clock is within 5 minutes of the server's"])]
  }

  #condition(type: string, on: boolean, yes: readonly [string, string], no: readonly [string, string]): NodeCondition {
    const now = new Date(this.#o.clock.now()).toISOString().replace(/\.\d+Z$/, 'Z')
    const status = on ? 'True' : 'False'
    const [reason, message] = on ? yes : no
    const old = (this.#o.cache.get(this.#o.name)?.status?.conditions ?? this.#written?.conditions)?.find((c) => c.type === type)
    const since = old?.status === status && old.lastTransitionTime ? old.lastTransitionTime : now
    return { type, status, reason, message, lastHeartbeatTime: now, lastTransitionTime: since }
  }
}

/** What the runtime can do, as a Node has it; older ones say nothing, and neither does the Node. */
function runtimeStatus(features: RuntimeFeatures | undefined): Pick<NodeStatus, 'features' | 'runtimeHandlers'> {
  if (!features) return {}
  const runtimeHandlers = [...features.handlers].map(([name, h]) => ({ name, features: { recursiveReadOnlyMounts: h.recursiveReadOnly, userNamespaces: h.userNamespaces } }))
  return { features: { supplementalGroupsPolicy: features.strictGroups }, ...(runtimeHandlers.length > 0 && { runtimeHandlers }) }
}

/** What to say of a clock that is so far ahead of the server's (behind when negative); empty when it is right. */
export function clockOff(aheadMs: number): string {
  const off = Math.abs(aheadMs)
  if (off <= CLOCK_OFF_MS) return ''
  const [amount, unit] = off >= 2 * 86_400_000 ? [86_400_000, 'days'] : off >= 2 * 3_600_000 ? [3_600_000, 'hours'] : [60_000, 'minutes']
  return `clock of this node is ${Math.round(off / amount)} ${unit} ${aheadMs > 0 ? 'ahead of' : 'behind'} the server's: set it, or let NTP do so (timedatectl set-ntp true); pods and link go on`
}

/** Of a status what this node writes: others add conditions and extended resources of their own. */
function ownPart(status: NodeStatus = {}, written: NodeStatus): unknown {
  const own: NodeStatus = Object.fromEntries(Object.keys(written).map((key) => [key, status[key as keyof NodeStatus]]))
  const named = (all: NodeStatus['capacity'], names: NodeStatus['capacity']): unknown => Object.keys(names ?? {}).map((name) => all?.[name])
  const conditions = written.conditions?.map((c) => status.conditions?.find((o) => o.type === c.type) ?? { type: c.type, status: '' })
  return { ...(timeless({ ...own, conditions: conditions ?? [] }) as object), capacity: named(status.capacity, written.capacity), allocatable: named(status.allocatable, written.allocatable) }
}

/** The status without the times that change by themselves. */
function timeless(status: NodeStatus | undefined): unknown {
  if (!status) return undefined
  return { ...status, conditions: status.conditions?.map(({ type, status: s, reason, message }) => ({ type, s, reason, message })) }
}
