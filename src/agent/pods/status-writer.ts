/**
 * Writes pod status to the API in the background. Keyed by uid, so bounded by this node's pods and the last one wins;
 * survives an outage by waiting; writes nothing that the API already has. A pod that has ended here for good is deleted
 * after its last status.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Pod, PodCondition, PodStatus } from '../../api/gen/types.ts'
import type { Clock } from '../../base/clock.ts'
import { AppError, hasCode, isAbort, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { waitAfter, type RetrySchedule } from '../../base/retry.ts'
import type { Client } from '../../client/mod.ts'
import { PODS } from '../refs.ts'
import { ANNOTATION_CONFIG_SOURCE, keyOf, uidOf } from './names.ts'

const log = logger('agent.status')
const SCHEDULE: RetrySchedule = { firstMs: 500, factor: 2, maxMs: 15_000, jitter: 0.5 }
/** How long the status of a pod that is on its way waits for the next one: most starts are told by one write, ms. */
const ON_ITS_WAY_MS = 200
/** Writes at one time. */
const PARALLEL = 4

/** Conditions that the node writes. What others wrote, also while this node was away, is not its to take back. */
const OWN = new Set(['PodReadyToStartContainers', 'Initialized', 'Ready', 'ContainersReady', 'PodScheduled', 'PodResizePending', 'PodResizeInProgress'])
const isOwn = (c: PodCondition): boolean => OWN.has(c.type) || (c.type === 'DisruptionTarget' && c.reason === 'TerminationByKubelet')

/** Why a container waits that nothing is wrong with. */
const STARTING: ReadonlySet<string> = new Set(['ContainerCreating', 'PodInitializing'])

interface Entry {
  pod: Readonly<Pod>
  status: PodStatus
  /** Delete the object after the write. */
  remove: boolean
  /** Not to be written before, monotonic ms. */
  dueMs: number
}

/** The one writer of pod status on this node. */
export class StatusWriter {
  readonly #client: Client
  readonly #clock: Clock
  readonly #pending = new Map<string, Entry>()
  /** As the API answered our last write, by uid: newer than what a cache may still show. */
  readonly #written = new Map<string, Pod>()
  /** What that write said, by uid. */
  readonly #sent = new Map<string, PodStatus>()
  readonly #mirrorOf: (pod: Readonly<Pod>) => Readonly<Pod> | undefined
  #wake: () => void = () => {}
  #hurry = new AbortController()

  /** @param options.mirrorOf the pod that shows a static pod in the API; undefined when there is none now */
  constructor(options: { client: Client; clock: Clock; mirrorOf?: (pod: Readonly<Pod>) => Readonly<Pod> | undefined }) {
    this.#client = options.client
    this.#clock = options.clock
    this.#mirrorOf = options.mirrorOf ?? (() => undefined)
  }

  get pending(): number {
    return this.#pending.size
  }

  /** Notes the status of a pod. `remove` lets the API forget the pod afterwards. */
  set(own: Readonly<Pod>, status: PodStatus, removed = false): void {
    const fromFile = own.metadata?.annotations?.[ANNOTATION_CONFIG_SOURCE] === 'file'
    // A static pod is told of by its mirror; while there is none, nobody asks, and the mirror's coming brings the pod up again.
    const pod = fromFile ? this.#mirrorOf(own) : own
    if (!pod) return
    const remove = removed && !fromFile
    const uid = uidOf(pod)
    const waiting = this.#pending.get(uid)
    if (!waiting && !remove && this.#told(pod, status)) return
    const all = { pod, status, remove: remove || waiting?.remove === true }
    const now = this.#clock.monotonic()
    this.#pending.set(uid, { ...all, dueMs: all.remove || !isOnItsWay(status) ? now : Math.min(waiting?.dueMs ?? Infinity, now + ON_ITS_WAY_MS) })
    this.#wake()
  }

  /** The pod as this node knows it: with a status that still waits to be written, or that the cache has not got back yet. */
  now(pod: Readonly<Pod>): Readonly<Pod> {
    const latest = this.#latest(pod)
    const waiting = this.#pending.get(uidOf(pod))
    return waiting ? { ...latest, status: waiting.status } : latest
  }

  /** The API has this status, or what it made of it when it was sent: saying it again would change nothing. */
  #told(pod: Readonly<Pod>, status: PodStatus): boolean {
    const uid = uidOf(pod)
    const latest = this.#latest(pod)
    if (same(latest.status, status)) return true
    const written = this.#written.get(uid)
    return written !== undefined && revision(latest) === revision(written) && same(this.#sent.get(uid), status)
  }

  /** The pod is gone from the API: nothing about it needs writing. */
  forget(uid: string): void {
    this.#pending.delete(uid)
    this.#written.delete(uid)
    this.#sent.delete(uid)
  }

  /** The pod with the newest status known: the cache's, or our last write's answer if that is newer. */
  #latest(pod: Readonly<Pod>): Readonly<Pod> {
    const written = this.#written.get(uidOf(pod))
    return written && revision(written) > revision(pod) ? written : pod
  }

  /** The link is back: do not wait out the backoff. */
  kick(): void {
    this.#hurry.abort()
    this.#hurry = new AbortController()
  }

  /** Writes until the signal aborts; then once more what is pending, if the API answers. */
  async run(signal: AbortSignal): Promise<void> {
    let failures = 0
    while (!signal.aborted) {
      const waitMs = Math.min(...[...this.#pending.values()].map((e) => e.dueMs)) - this.#clock.monotonic()
      if (waitMs > 0) {
        await this.#rest(signal, waitMs)
        continue
      }
      if (await this.#round()) failures = 0
      else await this.#clock.sleep(waitAfter(SCHEDULE, ++failures), AbortSignal.any([signal, this.#hurry.signal])).catch(() => undefined)
    }
  }

  /** Until something is noted, or that time has passed. */
  #rest(signal: AbortSignal, ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = ms === Infinity ? undefined : this.#clock.timer('status', ms, () => this.#wake())
      this.#wake = () => {
        timer?.cancel()
        signal.removeEventListener('abort', this.#wake)
        this.#wake = () => {}
        resolve()
      }
      signal.addEventListener('abort', this.#wake, { once: true })
    })
  }

  /** One pass over what is pending. False when the API is away. */
  async #round(): Promise<boolean> {
    const now = this.#clock.monotonic()
    const queue = [...this.#pending].flatMap(([uid, { dueMs }]) => (dueMs <= now ? [uid] : []))
    let reached = true
    const lane = async (): Promise<void> => {
      for (let uid = queue.shift(); uid !== undefined && reached; uid = queue.shift()) reached = (await this.#send(uid)) && reached
    }
    await Promise.all(Array.from({ length: PARALLEL }, lane))
    return reached
  }

  async #send(uid: string): Promise<boolean> {
    const entry = this.#pending.get(uid)
    if (!entry) return true
    try {
      await this.#write(entry)
      if (this.#pending.get(uid) === entry) this.#pending.delete(uid)
    } catch (error) {
      // A node whose identity is refused now may be let in again: what it has to say waits, as when the API is away.
      if (isAbort(error) || hasCode(error, 'unauthorized') || (error instanceof AppError && error.retryable)) return false
      if (this.#pending.get(uid) === entry) this.#pending.delete(uid)
      // Gone, or another pod of that name: there is nobody to tell.
      if (hasCode(error, 'not-found') || hasCode(error, 'conflict')) return true
      log.warn('status refused', { pod: keyOf(entry.pod), error: messageOf(error) })
    }
    return true
  }

  async #write(entry: Entry): Promise<void> {
    const { pod, status, remove } = entry
    const { name = '', namespace = '', uid = '' } = pod.metadata ?? {}
    const pods = this.#client.resource<Pod>(PODS)
    const base = this.#latest(pod)
    if (!same(base.status, status)) {
      const patch = { metadata: { uid }, status: statusPatch(base.status, status) }
      this.#sent.set(uid, status)
      this.#written.set(uid, await pods.patch(name, namespace, patch, 'strategic', { subresource: 'status' }))
    }
    if (remove) await pods.delete(name, namespace, { gracePeriodSeconds: 0, preconditions: { uid } })
  }
}

/** Nothing has happened yet but what every start brings. */
function isOnItsWay({ phase, initContainerStatuses = [], containerStatuses = [] }: PodStatus): boolean {
  return phase === 'Pending' && [...initContainerStatuses, ...containerStatuses].every((c) => STARTING.has(c.state?.waiting?.reason ?? ''))
}

/** Changes one status into another and leaves the conditions of others as they are by then. */
function statusPatch(old: PodStatus | undefined, now: PodStatus): object {
  const gone = Object.fromEntries(Object.keys(old ?? {}).filter((k) => !(k in now)).map((k) => [k, null]))
  const own = (now.conditions ?? []).filter(isOwn)
  const dropped = (old?.conditions ?? []).filter((c) => isOwn(c) && !own.some((o) => o.type === c.type))
  return {
    ...gone,
    ...now,
    // A strategic patch joins these by key: what is left out would stay.
    conditions: [...own.map((c) => ({ reason: null, message: null, ...c })), ...dropped.map(({ type }) => ({ type, $patch: 'delete' }))],
    ...(now.podIPs && { podIPs: [...now.podIPs, { $patch: 'replace' }] }),
    ...(now.hostIPs && { hostIPs: [...now.hostIPs, { $patch: 'replace' }] }),
  }
}

function same(a: PodStatus | undefined, b: PodStatus): boolean {
  const mine = (s: PodStatus): PodStatus => ({ ...s, conditions: (s.conditions ?? []).filter(isOwn) })
  return a !== undefined && isDeepStrictEqual(canonical(mine(a)), canonical(mine(b)))
}

/** Without nulls, empty texts and empty objects, which the API may drop, and with conditions in order of type. */
function canonical(value: unknown): unknown {
  if (Array.isArray(value)) {
    const list = value.map(canonical)
    const typed = value.every((v) => typeof v === 'object' && v !== null && 'type' in v && 'status' in v)
    return typed ? list.sort((x, y) => String((x as { type: string }).type).localeCompare(String((y as { type: string }).type))) : list
  }
  if (typeof value !== 'object' || value === null) return value
  const out: Record<string, unknown> = {}
  for (const [k, v] of Object.entries(value)) {
    const c = canonical(v)
    if (c === null || c === undefined || c === '' || (typeof c === 'object' && Object.keys(c).length === 0)) continue
    out[k] = c
  }
  return out
}

function revision(pod: Readonly<Pod>): number {
  return Number(pod.metadata?.resourceVersion ?? 0)
}
