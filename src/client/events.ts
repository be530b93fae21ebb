/**
 * Says what happened to an object, where the user looks: `kubectl describe` and `kubectl get events`. Recording never
 * blocks and never fails; a writer sends in the background and carries what is pending through an outage.
 *
 * Bounds: repeats of one event become a count; more than {@link SIMILAR_MAX} different messages of one reason on one object
 * within ten minutes become one "(combined from similar events)"; each object has a token bucket; at most
 * {@link PENDING_MAX} events wait, then the oldest is dropped and counted.
 */
import { randomBytes } from 'node:crypto'
import { messageOf, AppError } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { waitAfter, type RetrySchedule } from '../base/retry.ts'
import type { Clock } from '../base/clock.ts'
import type { KubeObject } from '../api/meta.ts'
import type { Client, ResourceRef } from './ports.ts'

const log = logger('client.events')

export const PENDING_MAX = 512
export const SIMILAR_MAX = 10
const SIMILAR_WINDOW_MS = 10 * 60_000
/** Kubernetes' own spam filter: a burst of 25 an object, then one every five minutes. */
const BURST = 25
const REFILL_MS = 5 * 60_000
/** Remembered series; the least recently used goes first and would start a new Event object. */
const KNOWN_MAX = 1024
const SCHEDULE: RetrySchedule = { firstMs: 1_000, factor: 2, maxMs: 60_000, jitter: 0.5 }
const MESSAGE_MAX = 1024

export interface InvolvedObject {
  readonly apiVersion?: string
  readonly kind?: string
  readonly namespace?: string
  readonly name?: string
  readonly uid?: string
  readonly resourceVersion?: string
  readonly fieldPath?: string
}

export interface EventRecorder {
  /**
   * @param about the object, or a reference to it (cluster-scoped ones get their events in `default`)
   * @param reason one CamelCase word
   */
  event(about: KubeObject | InvolvedObject, type: 'Normal' | 'Warning', reason: string, message: string): void
  /** Sends until the signal aborts; one last round of what is pending then. */
  run(signal: AbortSignal): Promise<void>
  /** Events dropped so far because too many were pending. */
  readonly dropped: number
}

interface EventObject extends KubeObject {
  involvedObject: InvolvedObject
  reason: string
  message: string
  type: string
  count: number
  firstTimestamp: string
  lastTimestamp: string
  source: { component: string; host?: string }
  reportingComponent: string
  reportingInstance: string
}

export const EVENTS: ResourceRef = { group: '', version: 'v1', resource: 'events', kind: 'Event', namespaced: true }

interface Series {
  object: EventObject
  /** True once the API has it. */
  stored: boolean
}

export interface RecorderOptions {
  readonly client: Client
  readonly clock: Clock
  /** Who says it, e.g. `deployment-controller`, `kubelet`. */
  readonly component: string
  /** Node that says it. */
  readonly host?: string
}

/** A recorder for one component. Nothing is sent before `run`; what is recorded earlier waits, within the bounds above. */
export function createEventRecorder(options: RecorderOptions): EventRecorder {
  const { client, clock, component, host } = options
  const known = new Map<string, Series>()
  const similar = new Map<string, { messages: Set<string>; since: number }>()
  const buckets = new Map<string, { tokens: number; at: number }>()
  /** Series to send, oldest first; keyed, so repeats do not grow it. */
  const pending = new Set<string>()
  let dropped = 0
  let ring = (): void => {}

  const allowed = (object: string): boolean => {
    const now = clock.monotonic()
    const bucket = buckets.get(object) ?? { tokens: BURST, at: now }
    bucket.tokens = Math.min(BURST, bucket.tokens + (now - bucket.at) / REFILL_MS)
    bucket.at = now
    remember(buckets, object, bucket)
    if (bucket.tokens < 1) return false
    bucket.tokens--
    return true
  }

  /** Too many different messages of one reason become one; returns the message and what the series is keyed by. */
  const fold = (group: string, message: string): { key: string; message: string } => {
    const now = clock.monotonic()
    let seen = similar.get(group)
    if (!seen || now - seen.since > SIMILAR_WINDOW_MS) seen = { messages: new Set(), since: now }
    remember(similar, group, seen)
    if (!seen.messages.has(message) && seen.messages.size >= SIMILAR_MAX) {
      return { key: `${group}|*`, message: `(combined from similar events): ${message}` }
    }
    seen.messages.add(message)
    return { key: `${group}|${message}`, message }
  }

  return {
    get dropped() {
      return dropped
    },

    event(about, type, reason, text) {
      const involved = reference(about)
      const object = `${involved.kind}/${involved.namespace}/${involved.name}/${involved.uid}/${involved.fieldPath}`
      if (!allowed(object)) return
      const { key, message } = fold(`${object}|${type}|${reason}`, cut(text))
      const stamp = new Date(clock.now()).toISOString().replace(/\.\d+Z$/, 'Z')
      const series = known.get(key)
      if (series) {
        series.object = { ...series.object, message, count: series.object.count + 1, lastTimestamp: stamp }
        remember(known, key, series)
      } else {
        const namespace = involved.namespace ?? 'default'
        const name = `${involved.name}.${clock.now().toString(16)}${randomBytes(3).toString('hex')}`
        const source = host === undefined ? { component } : { component, host }
        const times = { count: 1, firstTimestamp: stamp, lastTimestamp: stamp }
        const reporting = { reportingComponent: component, reportingInstance: host ?? '' }
        const said = { involvedObject: involved, type, reason, message, source, ...times, ...reporting }
        remember(known, key, { stored: false, object: { apiVersion: 'v1', kind: 'Event', metadata: { name, namespace }, ...said } })
      }
      pending.add(key)
      if (pending.size > PENDING_MAX) {
        dropped++
        for (const oldest of pending) {
          pending.delete(oldest)
          break
        }
      }
      ring()
    },

    async run(signal) {
      let failures = 0
      while (!signal.aborted) {
        if (pending.size === 0) {
          await new Promise<void>((resolve) => {
            ring = () => {
              signal.removeEventListener('abort', ring)
              resolve()
            }
            signal.addEventListener('abort', ring, { once: true })
          })
          continue
        }
        if (await sendAll()) failures = 0
        else await clock.sleep(waitAfter(SCHEDULE, ++failures), signal).catch(() => {})
      }
      await sendAll()
    },
  }

  /** False when the API is away; what is left stays pending. */
  async function sendAll(): Promise<boolean> {
    for (const key of [...pending]) {
      const series = known.get(key)
      pending.delete(key)
      if (!series) continue
      try {
        await send(series)
      } catch (error) {
        if (error instanceof AppError && (error.retryable || error.code === 'unauthorized')) {
          pending.add(key)
          return false
        }
        // Refused (namespace going away, not allowed): the object is not worth more tries.
        log.debug('event refused', { reason: series.object.reason, error: messageOf(error) })
        known.delete(key)
      }
    }
    return true
  }

  async function send(series: Series): Promise<void> {
    const events = client.resource<EventObject & KubeObject>(EVENTS)
    const { object } = series
    if (series.stored) {
      const { count, lastTimestamp, message } = object
      try {
        await events.patch(object.metadata?.name ?? '', object.metadata?.namespace, { count, lastTimestamp, message }, 'merge')
        return
      } catch (error) {
        if ((error as { code?: unknown }).code !== 'not-found') throw error
        // It grew old and the API forgot it: make it anew under its name.
      }
    }
    await events.create(object)
    series.stored = true
  }
}

/** A reference to an object as events carry it. Objects out of lists carry no kind: pass a reference for those. */
export function reference(about: KubeObject | InvolvedObject): InvolvedObject {
  if (!('metadata' in about) || about.metadata === undefined) return about as InvolvedObject
  const { namespace, name, uid, resourceVersion } = about.metadata
  const all = { apiVersion: about.apiVersion, kind: about.kind, namespace, name, uid, resourceVersion }
  return Object.fromEntries(Object.entries(all).filter(([, v]) => v !== undefined)) as InvolvedObject
}

/** A reference to an object whose kind is known from elsewhere, as for everything that comes out of a cache. */
export function referenceTo(object: Readonly<KubeObject>, ref: ResourceRef): InvolvedObject {
  const apiVersion = ref.group === '' ? ref.version : `${ref.group}/${ref.version}`
  return reference({ ...object, apiVersion, kind: ref.kind })
}

function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key)
  map.set(key, value)
  if (map.size > KNOWN_MAX) for (const oldest of map.keys()) return void map.delete(oldest)
}

function cut(message: string): string {
  return message.length <= MESSAGE_MAX ? message : `${message.slice(0, MESSAGE_MAX - 1)}…`
}
