/**
 * When the node is short of something, and which pod goes for it: the kubelet's thresholds, conditions, order and words. Pure; the
 * shell is `evictor.ts`.
 */
import type { Pod } from '../../api/gen/types.ts'
import { ANNOTATION_CONFIG_SOURCE } from '../pods/names.ts'
import { amount, podRequest, qosOf, requestOf } from '../pods/quantities.ts'

export const SIGNALS = ['memory.available', 'nodefs.available', 'nodefs.inodesFree', 'imagefs.available', 'imagefs.inodesFree', 'pid.available'] as const
export type Signal = (typeof SIGNALS)[number]

/** What a look at the machine saw; a signal that could not be read is left out. */
export type Signals = Readonly<Partial<Record<Signal, { readonly available: number; readonly capacity: number }>>>

/** An amount, or a part of what there is. */
export type Limit = { readonly amount: number } | { readonly percent: number }

export interface Threshold {
  readonly signal: Signal
  readonly limit: Limit
  /** How long a soft threshold must be passed before a pod goes, ms; undefined for a hard one. */
  readonly graceMs?: number | undefined
  /** Beyond the limit, what is to be won back before the node counts as relieved. */
  readonly reclaim?: Limit | undefined
}

export interface EvictionSettings {
  readonly thresholds: readonly Threshold[]
  /** Most grace of a pod evicted by a soft threshold, seconds. */
  readonly maxPodGraceSeconds: number
  /** How long a condition stays after its last sign, ms. */
  readonly transitionMs: number
}

export type Pressure = 'memory' | 'disk' | 'pid'
export type Resource = 'memory' | 'ephemeral-storage' | 'inodes' | 'pids'

const OF: Readonly<Record<Signal, { readonly pressure: Pressure; readonly resource: Resource }>> = {
  'memory.available': { pressure: 'memory', resource: 'memory' },
  'nodefs.available': { pressure: 'disk', resource: 'ephemeral-storage' },
  'nodefs.inodesFree': { pressure: 'disk', resource: 'inodes' },
  'imagefs.available': { pressure: 'disk', resource: 'ephemeral-storage' },
  'imagefs.inodesFree': { pressure: 'disk', resource: 'inodes' },
  'pid.available': { pressure: 'pid', resource: 'pids' },
}
/** The names of conditions in messages. */
const CONDITION: Readonly<Record<Pressure, string>> = { memory: 'MemoryPressure', disk: 'DiskPressure', pid: 'PIDPressure' }
/** A pod that goes for a hard threshold gets no time of its own; the kubelet's figure, seconds. */
const HARD_GRACE_SECONDS = 1
/** Priority of what the system needs. */
const CRITICAL = 2_000_000_000

/** What is remembered from look to look; times are monotonic, ms. */
export interface EvictionState {
  /** Passed thresholds, with when that began. */
  readonly passed: ReadonlyMap<Threshold, number>
  /** When each pressure was last seen. */
  readonly seen: Readonly<Partial<Record<Pressure, number>>>
}

export const NO_PRESSURE: EvictionState = { passed: new Map(), seen: {} }

export interface Judgement {
  readonly state: EvictionState
  readonly pressure: Readonly<Record<Pressure, boolean>>
  /** Thresholds for which something must go now, the most pressing first. */
  readonly due: readonly Threshold[]
}

/** A limit as an amount of what there is. */
export function valueOf(limit: Limit, capacity: number): number {
  return 'amount' in limit ? limit.amount : Math.floor((capacity * limit.percent) / 100)
}

/** Whether less is left than a threshold allows; with `relief`, whether it is not yet enough to be relieved. */
function passes(t: Threshold, signals: Signals, relief: boolean): boolean {
  const seen = signals[t.signal]
  if (!seen) return false
  const more = relief && t.reclaim ? valueOf(t.reclaim, seen.capacity) : 0
  return seen.available < valueOf(t.limit, seen.capacity) + more
}

/** One look judged: conditions, and what must be done. */
export function judge(settings: EvictionSettings, former: EvictionState, signals: Signals, now: number): Judgement {
  const passed = new Map<Threshold, number>()
  for (const t of settings.thresholds) {
    const since = former.passed.get(t)
    if (passes(t, signals, since !== undefined)) passed.set(t, since ?? now)
  }
  const seen: Partial<Record<Pressure, number>> = { ...former.seen }
  for (const t of passed.keys()) seen[OF[t.signal].pressure] = now
  const on = (p: Pressure): boolean => seen[p] !== undefined && (seen[p] === now || now - seen[p] < settings.transitionMs)
  const due = [...passed].filter(([t, since]) => now - since >= (t.graceMs ?? 0)).map(([t]) => t)
  const order = (t: Threshold): number => (t.signal === 'memory.available' ? 0 : 1)
  return { state: { passed, seen }, pressure: { memory: on('memory'), disk: on('disk'), pid: on('pid') }, due: due.sort((a, b) => order(a) - order(b)) }
}

/** Whether a threshold is still passed by what a second look saw. */
export function stillDue(t: Threshold, signals: Signals): boolean {
  return passes(t, signals, true)
}

/** What a threshold is about: what is to be won back, and whether removing images and dead containers can help. */
export function reclaimOf(t: Threshold): { readonly resource: Resource; readonly disk: boolean } {
  return { resource: OF[t.signal].resource, disk: OF[t.signal].pressure === 'disk' }
}

/** A pod with what it uses of the resource that is short. */
export interface PodUse {
  readonly pod: Readonly<Pod>
  readonly total: number
  readonly containers: ReadonlyMap<string, number>
}

/** A pod that is never evicted: from a file of this machine, or of the system's own priority. */
export function isCritical(pod: Readonly<Pod>): boolean {
  return pod.metadata?.annotations?.[ANNOTATION_CONFIG_SOURCE] === 'file' || (pod.spec?.priority ?? 0) >= CRITICAL
}

/** The pods in the order in which they go: over their requests first, then by priority, then by how much they are over. */
export function rank(pods: readonly PodUse[], resource: Resource): readonly PodUse[] {
  const byRequest = resource === 'memory' || resource === 'ephemeral-storage'
  const request = (u: PodUse): number => (byRequest && u.pod.spec ? podRequest(u.pod.spec, resource) : 0)
  const over = (u: PodUse): number => u.total - request(u)
  return pods
    .filter((u) => !isCritical(u.pod))
    .sort((a, b) => (byRequest ? Number(over(b) > 0) - Number(over(a) > 0) : 0) || (a.pod.spec?.priority ?? 0) - (b.pod.spec?.priority ?? 0) || over(b) - over(a))
}

/** Why a pod goes, and with how much grace. */
export function evictionOf(use: PodUse, t: Threshold, signals: Signals, settings: EvictionSettings): { readonly reason: 'Evicted'; readonly message: string; readonly graceSeconds: number; readonly disrupts: true } {
  const { resource } = OF[t.signal]
  const seen = signals[t.signal]
  const met = seen ? `Threshold quantity: ${quantity(valueOf(t.limit, seen.capacity), resource)}, available: ${quantity(seen.available, resource)}. ` : ''
  const heavy = (use.pod.spec?.containers ?? []).flatMap((c) => {
    const used = use.containers.get(c.name) ?? 0
    const asked = resource === 'memory' || resource === 'ephemeral-storage' ? requestOf(c, resource) : 0
    return used > asked ? [`Container ${c.name} was using ${quantity(used, resource)}, request is ${c.resources?.requests?.[resource] ?? quantity(asked, resource)}, has larger consumption of ${resource}. `] : []
  })
  const own = use.pod.spec?.terminationGracePeriodSeconds ?? 30
  return {
    reason: 'Evicted',
    message: `The node was low on resource: ${resource}. ${met}${resource === 'memory' || resource === 'ephemeral-storage' ? heavy.join('') : ''}`,
    graceSeconds: t.graceMs === undefined ? HARD_GRACE_SECONDS : Math.min(own, settings.maxPodGraceSeconds),
    disrupts: true,
  }
}

/** Why a node under pressure does not let a pod in, or undefined. */
export function refusedUnder(pressure: Readonly<Record<Pressure, boolean>>, pod: Readonly<Pod>): string | undefined {
  const on = (['memory', 'disk', 'pid'] as const).filter((p) => pressure[p])
  if (on.length === 0 || isCritical(pod)) return undefined
  if (on.length === 1 && on[0] === 'memory') {
    if (qosOf(pod.spec) !== 'BestEffort') return undefined
    if (pod.spec?.tolerations?.some((t) => (t.key === undefined || t.key === 'node.kubernetes.io/memory-pressure') && (t.effect === undefined || t.effect === 'NoSchedule'))) return undefined
  }
  return `The node had condition: [${on.map((p) => CONDITION[p]).join(' ')}]. `
}

/** A number as Kubernetes writes it: bytes in powers of 1024, counts in powers of 1000. */
export function quantity(n: number, resource: Resource): string {
  const [base, units] = resource === 'memory' || resource === 'ephemeral-storage' ? [1024, ['', 'Ki', 'Mi', 'Gi', 'Ti']] : [1000, ['', 'k', 'M', 'G', 'T']]
  let value = Math.floor(n)
  let unit = 0
  while (value !== 0 && value % base === 0 && unit < units.length - 1) {
    value /= base
    unit++
  }
  return `${value}${units[unit]}`
}

/** A limit as it is written in settings: `100Mi` or `10%`; undefined when it is neither. */
export function parseLimit(text: string): Limit | undefined {
  const percent = /^(\d+(?:\.\d+)?)%$/.exec(text)?.[1]
  if (percent !== undefined) return Number(percent) <= 100 ? { percent: Number(percent) } : undefined
  try {
    const value = amount(text)
    return text !== '' && value >= 0 ? { amount: value } : undefined
  } catch {
    return undefined // no quantity
  }
}
