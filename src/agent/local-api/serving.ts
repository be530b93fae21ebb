/**
 * The node-local API's own certificate, and the keys that service-account tokens are checked with: asked from the server
 * once, kept on disk, asked again when the address changes, a third of the certificate's life is left, or the cluster has another
 * CA or key. A node that has them serves without the server; one that has not keeps asking.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeFileAtomic } from '../../base/atomic-file.ts'
import type { Clock } from '../../base/clock.ts'
import { AppError, isAbort, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { certInfo, createKeyAndCsr, keyFits, renewAt } from '../../base/pki.ts'
import { waitAfter, type RetrySchedule } from '../../base/retry.ts'
import type { Seal } from '../ports.ts'
import type { TokenKeys } from './caller.ts'

const log = logger('agent.local-api')
const SCHEDULE: RetrySchedule = { firstMs: 500, factor: 2, maxMs: 60_000, jitter: 0.5 }
const CHECK_MS = 3_600_000

export interface Serving {
  readonly address: string
  readonly certPem: string
  readonly keyPem: string
  readonly tokens: TokenKeys
}

export interface ServingOptions {
  readonly directory: string
  readonly clock: Clock
  readonly seal?: Seal | undefined
  /** Has the server sign the request for this address. @throws AppError */
  ask(request: { readonly csrPem: string; readonly address: string }): Promise<{ readonly certPem: string; readonly tokens: TokenKeys }>
  /** True when what there is no longer fits the cluster. */
  outdated?(serving: Serving): boolean
}

/** Reads, asks and keeps; see the header. */
export class ServingFiles {
  readonly #o: ServingOptions

  constructor(options: ServingOptions) {
    this.#o = options
  }

  /** What is on disk for this address; undefined when nothing usable is. */
  async load(address: string): Promise<Serving | undefined> {
    let bytes: Buffer
    try {
      bytes = await readFile(this.#path)
    } catch {
      return undefined // the first start
    }
    try {
      const s = JSON.parse(Buffer.from(this.#o.seal ? this.#o.seal.open(bytes) : bytes).toString()) as Partial<Serving>
      if (s.address === address && s.certPem && s.keyPem && s.tokens?.issuer && Array.isArray(s.tokens.keys) && keyFits(s.certPem, s.keyPem)) return s as Serving
    } catch (error) {
      log.warn("the local API's certificate is not readable, asking anew", { why: messageOf(error) })
    }
    return undefined
  }

  /** Asks the server for a new one and keeps it. @throws AppError */
  async renew(address: string, keyPem: string | undefined): Promise<Serving> {
    const made = await createKeyAndCsr({ cn: 'skerry-local-api', ...(keyPem === undefined ? {} : { keyPem }) })
    const { certPem, tokens } = await this.#o.ask({ csrPem: made.csrPem, address })
    if (!keyFits(certPem, made.keyPem)) throw new AppError('invalid', "ask for the local API's certificate: the answer is not for our key")
    const serving: Serving = { address, certPem, keyPem: made.keyPem, tokens }
    const text = Buffer.from(JSON.stringify(serving))
    await writeFileAtomic(this.#path, this.#o.seal ? this.#o.seal.seal(text) : text)
    return serving
  }

  /**
   * Calls `use` with what there is at once, then with each renewed one, until the signal aborts.
   * `wake` gives a promise that resolves when trying again at once may help.
   */
  async run(address: string, use: (serving: Serving) => Promise<void> | void, wake: () => Promise<void>, signal: AbortSignal): Promise<void> {
    let now = await this.load(address)
    let used: Serving | undefined
    for (let failures = 0; ; ) {
      let waitMs = CHECK_MS
      try {
        if (now && now !== used) await use((used = now))
        if (!now || this.#o.clock.now() >= renewAt(certInfo(now.certPem)) || this.#o.outdated?.(now)) {
          now = await this.renew(address, now?.keyPem)
          await use((used = now))
        }
        failures = 0
      } catch (error) {
        if (isAbort(error)) throw error
        used = undefined
        waitMs = waitAfter(SCHEDULE, ++failures)
        if (failures === 1) log.info('the local API is not ready yet, trying on', { why: messageOf(error) })
      }
      const rest = new AbortController()
      await Promise.race([this.#o.clock.sleep(waitMs, AbortSignal.any([signal, rest.signal])), wake()]).finally(() => rest.abort())
      signal.throwIfAborted()
    }
  }

  get #path(): string {
    return join(this.#o.directory, 'serving.json')
  }
}
