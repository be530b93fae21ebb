/**
 * Leader election by a Lease: of several servers one runs controllers and scheduler. Kubernetes' own scheme, so tools that
 * read the Lease understand it.
 *
 * Invariants: the work's signal aborts before the lease can have run out for others (renewal deadline < duration, counted
 * on the monotonic clock from before the write was sent). Judging another holder needs no agreement of wall clocks:
 * a lease is taken only when it has not changed for its duration while we watched.
 */
import { isAbort, messageOf } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { Scope } from '../base/scope.ts'
import type { Clock } from '../base/clock.ts'
import type { KubeObject } from '../api/meta.ts'
import type { Client, ResourceRef } from './ports.ts'

const log = logger('client.lease')

/** The Lease kind, as far as election needs it. */
export interface LeaseObject extends KubeObject {
  spec?: {
    holderIdentity?: string
    leaseDurationSeconds?: number
    acquireTime?: string
    renewTime?: string
    leaseTransitions?: number
  }
}

export const LEASES: ResourceRef = { group: 'coordination.k8s.io', version: 'v1', resource: 'leases', kind: 'Lease', namespaced: true }

export interface ElectionOptions {
  readonly client: Client
  readonly clock: Clock
  readonly namespace: string
  readonly name: string
  /** Unique to this process. */
  readonly identity: string
  /** How long others wait for a silent holder, ms. @default 15000 */
  readonly durationMs?: number
  /** A holder that could not renew for this long stops, ms. @default 10000 */
  readonly deadlineMs?: number
  /** Between tries, ms. @default 2000 */
  readonly retryMs?: number
  /** The leader's work; ends when its signal aborts. Its own failure ends the election with that failure. */
  readonly lead: (signal: AbortSignal) => Promise<void>
}

/** Campaigns, leads, campaigns again when leadership is lost, until the signal aborts; then gives the lease back. */
export async function runElection(options: ElectionOptions, signal: AbortSignal): Promise<void> {
  const { clock } = options
  const retryMs = options.retryMs ?? 2_000
  const deadlineMs = options.deadlineMs ?? 10_000
  const seen: Observation = { version: '', at: -Infinity }
  while (!signal.aborted) {
    if (!(await tryHold(options, seen))) {
      await quietSleep(clock, retryMs, signal)
      continue
    }
    log.info('leading', { lease: options.name, identity: options.identity })
    await using term = new Scope('leader', signal)
    const work = { ended: false }
    term.run('lead', async (s) => {
      await options.lead(s)
      work.ended = !s.aborted
    })
    let renewed = clock.monotonic()
    while (!term.signal.aborted && !work.ended) {
      await quietSleep(clock, retryMs, term.signal)
      if (term.signal.aborted) break
      const before = clock.monotonic()
      if (await tryHold(options, seen)) renewed = before
      else if (clock.monotonic() - renewed >= deadlineMs) {
        log.warn('leadership lost', { lease: options.name, identity: options.identity })
        break
      }
    }
    await term.close()
    await release(options)
    if (work.ended) return
  }
}

interface Observation {
  version: string
  /** Monotonic time at which this version was first seen. */
  at: number
}

/** One try to take or renew; false when someone else holds it or the API is away. */
async function tryHold(options: ElectionOptions, seen: Observation): Promise<boolean> {
  const { clock, identity, name, namespace } = options
  const leases = options.client.resource<LeaseObject>(LEASES)
  const durationMs = options.durationMs ?? 15_000
  const now = microTime(clock.now())
  const mine = { holderIdentity: identity, leaseDurationSeconds: Math.round(durationMs / 1000), renewTime: now }
  try {
    const held = await leases.get(name, namespace).catch((error: unknown) => {
      if ((error as { code?: unknown }).code === 'not-found') return undefined
      throw error
    })
    if (!held) {
      await leases.create({ metadata: { name, namespace }, spec: { ...mine, acquireTime: now, leaseTransitions: 0 } })
      return true
    }
    const version = held.metadata?.resourceVersion ?? ''
    if (version !== seen.version) Object.assign(seen, { version, at: clock.monotonic() })
    const holder = held.spec?.holderIdentity ?? ''
    const theirs = holder !== '' && holder !== identity
    if (theirs && clock.monotonic() - seen.at < (held.spec?.leaseDurationSeconds ?? 15) * 1000) return false
    const taken = holder === identity ? {} : { acquireTime: now, leaseTransitions: (held.spec?.leaseTransitions ?? 0) + 1 }
    await leases.update({ ...held, spec: { ...held.spec, ...mine, ...taken } })
    return true
  } catch (error) {
    if (!isAbort(error)) log.debug('lease not taken', { lease: name, error: messageOf(error) })
    return false
  }
}

/** Empties the holder so that the next one need not wait; best effort. */
async function release(options: ElectionOptions): Promise<void> {
  const leases = options.client.resource<LeaseObject>(LEASES)
  try {
    const held = await leases.get(options.name, options.namespace)
    if (held.spec?.holderIdentity !== options.identity) return
    await leases.update({ ...held, spec: { ...held.spec, holderIdentity: '', leaseDurationSeconds: 1 } })
  } catch (error) {
    log.debug('lease not given back', { lease: options.name, error: messageOf(error) })
  }
}

/** `metav1.MicroTime` of a wall-clock time in ms. */
export function microTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '000Z')
}

async function quietSleep(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  try {
    await clock.sleep(ms, signal)
  } catch {
    // The loop looks at the signal.
  }
}
