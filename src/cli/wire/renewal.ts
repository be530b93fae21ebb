/**
 * Renews the node's certificate by proof of its key: in time by the node's clock, and at once when the server refuses the link,
 * as the clock may be behind; and when the cluster has another CA, so that the former one may go. A failure is told and tried again;
 * only a revocation ends it, with a RevokedError.
 */
import type { Seal } from '../../agent/mod.ts'
import { PATHS } from '../../api/contract.ts'
import type { Clock } from '../../base/clock.ts'
import { isAbort, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { caHash, certInfo, isSignedBy, renewAt, splitPem } from '../../base/pki.ts'
import { renewCertificate, RevokedError, type NodeSession } from '../../tunnel/mod.ts'
import { saveNodeIdentity, type NodeIdentity } from './node-identity.ts'

const log = logger('agent')
const CHECK_MS = 3_600_000
/** A server that goes on refusing is asked for a renewal only this often, ms. */
const REFUSED_MS = 60_000
/** After a look at the cluster's CAs that failed, or a renewal for another one: the line has just come back, ms. */
const AGAIN_MS = 20_000

export interface RenewalOptions {
  readonly identity: () => NodeIdentity
  /** The server to ask. */
  readonly server: () => string
  /** The data directory. */
  readonly paths: string
  readonly seal: Seal
  readonly clock: Clock
  readonly proxy: (server: string) => string | undefined
  readonly session: Pick<NodeSession, 'reset'>
  keep(next: NodeIdentity): void
  /** All CAs that count now, the one that signs first, from a server that is connected; undefined while none is. */
  readonly cas?: ((signal: AbortSignal) => Promise<string | undefined>) | undefined
  /** @default over the network */
  readonly renew?: typeof renewCertificate
}

/** One node's renewals; see the header. */
export class Renewal {
  readonly #o: RenewalOptions
  #wake = Promise.withResolvers<void>()
  #refused = false
  #triedAt: number | undefined

  constructor(options: RenewalOptions) {
    this.#o = options
  }

  /** The server refuses this node: look why, whatever the dates say. */
  now(): void {
    this.#refused = true
    this.#wake.resolve()
  }

  /** A server is connected: look whether the cluster has changed its CA meanwhile. */
  look(): void {
    this.#wake.resolve()
  }

  /** Works until the signal aborts. @throws RevokedError */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#o
    for (;;) {
      const asked = this.#refused && (this.#triedAt === undefined || clock.monotonic() - this.#triedAt >= REFUSED_MS)
      this.#refused = false
      this.#wake = Promise.withResolvers()
      let waitMs = CHECK_MS
      if (asked || clock.now() >= renewAt(certInfo(this.#o.identity().certPem))) await this.#renew(signal)
      else {
        const outdated = await this.#isOutdated(signal)
        if (outdated === undefined || (outdated && !(await this.#renew(signal)))) waitMs = AGAIN_MS
      }
      const rest = new AbortController()
      await Promise.race([clock.sleep(waitMs, AbortSignal.any([signal, rest.signal])), this.#wake.promise]).finally(() => rest.abort())
      signal.throwIfAborted()
    }
  }

  /** Whether this node's certificate is by a CA that no longer signs, or a CA counts that this node does not know; undefined when that could not be found out. */
  async #isOutdated(signal: AbortSignal): Promise<boolean | undefined> {
    try {
      const told = splitPem((await this.#o.cas?.(signal)) ?? '')
      const { certPem, caPem } = this.#o.identity()
      const known = new Set(splitPem(caPem).map(caHash))
      return told[0] !== undefined && (!isSignedBy(certPem, told[0]) || told.some((pem) => !known.has(caHash(pem))))
    } catch (error) {
      if (isAbort(error)) throw error
      log.debug('CAs of the cluster not looked at, trying again', { why: messageOf(error) })
      return undefined
    }
  }

  /** False when it failed for now. @throws RevokedError */
  async #renew(signal: AbortSignal): Promise<boolean> {
    const { identity, server: choose, clock, proxy, session, paths, seal, keep, renew = renewCertificate } = this.#o
    const now = identity()
    const server = choose()
    this.#triedAt = clock.monotonic()
    try {
      const next = await renew({ server, paths: PATHS, clock, credentials: now, signal, proxy: proxy(server) })
      const saved = { ...now, certPem: next.certPem, keyPem: next.keyPem, caPem: next.caPem }
      await saveNodeIdentity(paths, saved, seal)
      keep(saved)
      session.reset('the certificate was renewed')
      log.info('certificate renewed', { until: new Date(certInfo(next.certPem).notAfter).toISOString() })
      return true
    } catch (error) {
      if (isAbort(error) || error instanceof RevokedError) throw error
      log.warn('certificate not renewed, trying again', { why: messageOf(error) })
      return false
    }
  }
}
