/**
 * What runs once in a cluster and what runs on every server, when several share a store: `lead` while this server holds
 * the Lease, `follow` while it does not. A server with a store of its own always leads.
 */
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import type { Clock } from '../../base/clock.ts'
import { Scope } from '../../base/scope.ts'
import { runElection, type Client } from '../../client/mod.ts'

/** The Lease that tells who leads: `kubectl get lease -n kube-system skerry-server`. */
export const LEADER_LEASE = { namespace: 'kube-system', name: 'skerry-server' } as const

export interface Leading {
  readonly client: Client
  readonly clock: Clock
  /** Others may lead too. */
  readonly shared: boolean
  lead(signal: AbortSignal): Promise<void>
  follow(signal: AbortSignal): Promise<void>
}

/** Leads and follows by turns until the signal aborts. */
export async function runLeading({ client, clock, shared, lead, follow }: Leading, signal: AbortSignal): Promise<void> {
  if (!shared) return lead(signal)
  const begin = (): Scope => {
    const scope = new Scope('follow', signal)
    scope.run('follow', follow)
    return scope
  }
  let following = begin()
  try {
    const identity = `${hostname()}_${randomUUID()}`
    await runElection({
      client,
      clock,
      ...LEADER_LEASE,
      identity,
      lead: async (term) => {
        await following.close()
        try {
          await lead(term)
        } finally {
          following = begin()
        }
      },
    }, signal)
  } finally {
    await following.close()
  }
}
