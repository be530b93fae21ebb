/**
 * How the servers of one store find each other: each keeps a Lease in kube-system with its address while it runs. A server
 * that died leaves its own behind; asking it costs a failed dial, beside those that answer. Written at start and stop only.
 */
import { hostname, networkInterfaces } from 'node:os'
import type { Lease } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import { hasCode, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import type { CacheSet, Client } from '../../client/mod.ts'

const log = logger('server.peers')
const NAMESPACE = 'kube-system'
const LABEL = 'skerry.io/server'
const ADDRESS = 'skerry.io/address'

/** Where others reach this server: what it was told to advertise, what it listens on, or the first address of the machine. */
export function peerUrl(advertise: readonly string[], bound: string | undefined, port: number, interfaces = networkInterfaces()): string {
  const own = Object.values(interfaces).flatMap((list) => list ?? []).find((a) => !a.internal && a.family === 'IPv4')?.address
  const host = advertise[0] ?? bound ?? own ?? '127.0.0.1'
  return `https://${host.includes(':') ? `[${host}]` : host}:${port}`
}

/** The other servers, and this one among them. */
export interface Peers {
  /** Addresses of the others. */
  others(): readonly string[]
  announce(url: string): Promise<void>
  /** Takes the announcement back. */
  leave(): Promise<void>
}

/** Follows the announcements in `caches`. */
export function createPeers(client: Client, caches: CacheSet): Peers {
  const leases = client.resource<Lease>(KINDS.Lease)
  const known = caches.cache<Lease>(KINDS.Lease, { namespace: NAMESPACE, labelSelector: LABEL })
  let [name, own] = ['', '']
  return {
    others: () => known.list().flatMap((l) => l.metadata?.annotations?.[ADDRESS] ?? []).filter((url) => url !== own),
    async announce(url) {
      own = url
      name = `skerry-server-${hostname()}-${new URL(url).port || 443}`.toLowerCase().replaceAll(/[^a-z0-9.-]/g, '-')
      const metadata = { name, namespace: NAMESPACE, labels: { [LABEL]: '' }, annotations: { [ADDRESS]: url } }
      try {
        await leases.create({ metadata, spec: { holderIdentity: hostname() } })
      } catch (error) {
        if (!hasCode(error, 'exists')) throw error
        await leases.patch(name, NAMESPACE, { metadata: { annotations: { [ADDRESS]: url } } }, 'merge')
      }
    },
    async leave() {
      if (name === '') return
      await leases.delete(name, NAMESPACE).catch((error: unknown) => log.debug('announcement left behind', { why: messageOf(error) }))
    },
  }
}
