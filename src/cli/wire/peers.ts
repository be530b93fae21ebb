/**
 * How the servers of one store find each other: each keeps a Lease in kube-system with its address while it runs, and renews
 * it. One that has not changed for its duration, by the clock of who looks, belongs to a server that died: it counts no
 * more, and is deleted. Nodes are told the addresses too, and go to another server when theirs is away.
 */
import { hostname, networkInterfaces } from 'node:os'
import type { Lease } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import type { Clock } from '../../base/clock.ts'
import { hasCode, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { microTime, type CacheSet, type Client } from '../../client/mod.ts'

const log = logger('server.peers')
const NAMESPACE = 'kube-system'
const LABEL = 'skerry.io/server'
const ADDRESS = 'skerry.io/address'
const IDENTITY = 'skerry.io/identity'
/** A renewal is a write to the shared store; three may be missed. */
const RENEW_MS = 30_000
const DURATION_S = 100

/** Where others reach this server: what it was told to advertise, what it listens on, or the first address of the machine. */
export function peerUrl(advertise: readonly string[], bound: string | undefined, port: number, interfaces = networkInterfaces()): string {
  const own = Object.values(interfaces).flatMap((list) => list ?? []).find((a) => !a.internal && a.family === 'IPv4')?.address
  return urlOf(advertise[0] ?? bound ?? own ?? '127.0.0.1', port)
}

/** The address of a server on that host. */
export function urlOf(host: string, port: number): string {
  return `https://${host.includes(':') ? `[${host}]` : host}:${port}`
}

/** The servers of one store. */
export interface Peers {
  /** Addresses of the others that live. */
  others(): readonly string[]
  /** Addresses of all, this one first; empty before it was announced. */
  all(): readonly string[]
  /** Calls `fn` when `all` may have changed. Returns how to stop. */
  onChange(fn: () => void): () => void
  announce(url: string): Promise<void>
  /** Says which identity this server uses: at once when it was announced, else with that. */
  identify(digest: string): Promise<void>
  /** What the others that live say of theirs. */
  identities(): readonly (string | undefined)[]
  /** Calls `fn` when one of them may have another identity. Returns how to stop. */
  onIdentity(fn: () => void): () => void
  /** Renews the announcement and looks after the others until the signal aborts. */
  run(signal: AbortSignal): Promise<void>
  /** Takes the announcement back. */
  leave(): Promise<void>
}

/** Follows the announcements in `caches`. */
export function createPeers(client: Client, caches: CacheSet, clock: Clock): Peers {
  const leases = client.resource<Lease>(KINDS.Lease)
  const known = caches.cache<Lease>(KINDS.Lease, { namespace: NAMESPACE, labelSelector: LABEL })
  /** When each announcement was last seen to change, by name. */
  const seen = new Map<string, { readonly version: string; readonly at: number }>()
  const listeners = new Set<() => void>()
  const identityListeners = new Set<() => void>()
  let [name, own, identity] = ['', '', '']
  const silent = (lease: Readonly<Lease>): boolean => {
    const { at } = seen.get(lease.metadata?.name ?? '') ?? { at: clock.monotonic() }
    return clock.monotonic() - at > (lease.spec?.leaseDurationSeconds ?? DURATION_S) * 1_000
  }
  known.onChange((now, old) => {
    const lease = (now ?? old) as Readonly<Lease>
    const key = lease.metadata?.name ?? ''
    if (!now) seen.delete(key)
    else if (seen.get(key)?.version !== lease.metadata?.resourceVersion) seen.set(key, { version: lease.metadata?.resourceVersion ?? '', at: clock.monotonic() })
    if (now?.metadata?.annotations?.[ADDRESS] !== old?.metadata?.annotations?.[ADDRESS]) for (const fn of listeners) fn()
    if (now?.metadata?.annotations?.[IDENTITY] !== old?.metadata?.annotations?.[IDENTITY]) for (const fn of identityListeners) fn()
  })
  const others = (): string[] => [...new Set(known.list().flatMap((l) => (silent(l) ? [] : (l.metadata?.annotations?.[ADDRESS] ?? []))))].filter((url) => url !== own).sort()
  const write = async (): Promise<void> => {
    const spec = { holderIdentity: hostname(), leaseDurationSeconds: DURATION_S, renewTime: microTime(clock.now()) }
    const annotations = { [ADDRESS]: own, ...(identity !== '' && { [IDENTITY]: identity }) }
    try {
      await leases.patch(name, NAMESPACE, { metadata: { annotations }, spec }, 'merge')
    } catch (error) {
      if (!hasCode(error, 'not-found')) throw error
      await leases.create({ metadata: { name, namespace: NAMESPACE, labels: { [LABEL]: '' }, annotations }, spec })
    }
  }
  const bury = async (): Promise<void> => {
    for (const lease of known.list().filter((l) => l.metadata?.name !== name && silent(l))) {
      const { name: dead = '', resourceVersion } = lease.metadata ?? {}
      await leases.delete(dead, NAMESPACE, { preconditions: { resourceVersion: resourceVersion ?? '' } })
      log.info('a server has gone without a word; its announcement is removed', { address: lease.metadata?.annotations?.[ADDRESS] })
    }
  }
  return {
    others,
    all: () => (own === '' ? [] : [own, ...others()]),
    onChange(fn) {
      listeners.add(fn)
      return () => void listeners.delete(fn)
    },
    async announce(url) {
      own = url
      name = `skerry-server-${hostname()}-${new URL(url).port || 443}`.toLowerCase().replaceAll(/[^a-z0-9.-]/g, '-')
      await write()
    },
    async identify(digest) {
      if (identity === digest) return
      identity = digest
      if (name !== '') await write()
    },
    identities: () => known.list().flatMap((l) => (l.metadata?.name === name || silent(l) ? [] : [l.metadata?.annotations?.[IDENTITY]])),
    onIdentity(fn) {
      identityListeners.add(fn)
      return () => void identityListeners.delete(fn)
    },
    async run(signal) {
      while (!signal.aborted) {
        // Spread, so that servers do not look at the same moment.
        await clock.sleep(RENEW_MS * (0.9 + 0.2 * Math.random()), signal)
        for (const work of [write, bury]) await work().catch((error: unknown) => log.debug('announcements not kept', { why: messageOf(error) }))
      }
    },
    async leave() {
      if (name === '') return
      await leases.delete(name, NAMESPACE).catch((error: unknown) => log.debug('announcement left behind', { why: messageOf(error) }))
    },
  }
}
