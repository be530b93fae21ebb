/**
 * Service-account tokens of this node's pods: asked from the API, renewed when 80 % of their life (or a day) has passed, and
 * kept in files, so that an offline boot has them. A token past its time is still handed out while the server is away:
 * the local API honours it, and a wrong clock must not stop a pod. Bounded by the pods of the node; a pod's go with it.
 */
import { createHash } from 'node:crypto'
import { readFile, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { writeFileAtomic } from '../../base/atomic-file.ts'
import type { Clock } from '../../base/clock.ts'
import { AppError, isAbort, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { callJson, type Client } from '../../client/mod.ts'
import type { Seal } from '../ports.ts'
import type { TokenRequest } from './sources.ts'

const log = logger('agent.tokens')
const DAY_MS = 86_400_000
/** After a failed renewal, ms. */
const RETRY_MS = 60_000

interface Kept {
  readonly token: string
  /** By this machine's clock, as is its end: what the server's says may be years away from that. */
  readonly issuedMs: number
  readonly expiresMs: number
}

/** The kept tokens of one node; see the header. */
export class Tokens {
  readonly #dir: string
  readonly #client: Client
  readonly #clock: Clock
  readonly #seal: Seal | undefined
  readonly #onToken: (token: string) => void
  readonly #kept = new Map<string, Kept>()
  readonly #triedAt = new Map<string, number>()
  /** The server was in reach since this process began. */
  #reached = false

  constructor(options: {
    directory: string
    client: Client
    clock: Clock
    seal: Seal | undefined
    /** Told of each new token for the API itself. */
    onToken?: ((token: string) => void) | undefined
  }) {
    this.#dir = options.directory
    this.#client = options.client
    this.#clock = options.clock
    this.#seal = options.seal
    this.#onToken = options.onToken ?? (() => {})
  }

  /** A token for this request: the kept one while fresh, else a new one, else the kept one as it is. @throws AppError when there is none */
  async token(request: TokenRequest): Promise<string> {
    const file = fileOf(request)
    const kept = this.#kept.get(file) ?? (await this.#load(file))
    if (kept && !this.#due(kept)) return kept.token
    const tried = this.#triedAt.get(file)
    if (kept && tried !== undefined && this.#clock.monotonic() - tried < RETRY_MS) return kept.token
    this.#triedAt.set(file, this.#clock.monotonic())
    try {
      const fresh = await this.#ask(request)
      this.#kept.set(file, fresh)
      // A disk that is full must not keep a pod from starting: a boot without server would miss this one, nothing else.
      await this.#save(file, fresh).catch((error: unknown) => log.warn('token not kept on disk', { file, error: messageOf(error) }))
      if (request.audiences.length === 0) this.#onToken(fresh.token)
      return fresh.token
    } catch (error) {
      if (!kept || isAbort(error)) throw error
      log.debug('token not renewed, the kept one stays', { pod: `${request.namespace}/${request.podName}`, error: messageOf(error) })
      return kept.token
    }
  }

  /** The server is in reach: what seems to be issued in time to come is renewed from now on. */
  linkBack(): void {
    this.#reached = true
  }

  /** Milliseconds until some token should be renewed. */
  get renewInMs(): number {
    let least = DAY_MS
    for (const k of this.#kept.values()) least = Math.min(least, dueAt(k) - this.#clock.now())
    return Math.max(RETRY_MS, least)
  }

  /** Forgets the tokens of pods that are not in `uids`. */
  async keepOnly(uids: ReadonlySet<string>): Promise<void> {
    await this.#forget((uid) => !uids.has(uid))
  }

  /** Forgets the tokens of a pod that is gone: they are good for nothing, and nothing of it is to stay. */
  async forget(uid: string): Promise<void> {
    await this.#forget((u) => u === uid)
  }

  async #forget(which: (uid: string) => boolean): Promise<void> {
    for (const name of await readdir(this.#dir).catch(() => [])) {
      if (!which(name.split('_')[0] as string)) continue
      this.#kept.delete(name)
      this.#triedAt.delete(name)
      await rm(join(this.#dir, name), { force: true })
    }
  }

  #due(kept: Kept): boolean {
    const now = this.#clock.now()
    // Issued in time to come: the clock has jumped back and its times tell nothing. A new one is asked for where that holds up no boot.
    return now < kept.issuedMs ? this.#reached : now >= dueAt(kept)
  }

  async #ask(request: TokenRequest): Promise<Kept> {
    const path = `/api/v1/namespaces/${encodeURIComponent(request.namespace)}/serviceaccounts/${encodeURIComponent(request.serviceAccount)}/token`
    const answer = await callJson<{ spec?: { expirationSeconds?: number }; status?: { token?: string } }>(this.#client.transport, {
      method: 'POST',
      path,
      body: {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        spec: {
          audiences: request.audiences,
          expirationSeconds: request.expirationSeconds,
          boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: request.podName, uid: request.podUid },
        },
      },
    })
    const token = answer.status?.token
    if (!token) throw new AppError('internal', `ask token of service account "${request.serviceAccount}": the answer has none`)
    this.#reached = true
    const issuedMs = this.#clock.now()
    // The server may give another life than was asked for.
    return { token, issuedMs, expiresMs: issuedMs + (answer.spec?.expirationSeconds ?? request.expirationSeconds) * 1000 }
  }

  async #load(file: string): Promise<Kept | undefined> {
    try {
      const bytes = await readFile(join(this.#dir, file))
      const kept = JSON.parse(Buffer.from(this.#seal ? this.#seal.open(bytes) : bytes).toString('utf8')) as Kept
      if (typeof kept.token !== 'string') return undefined
      this.#kept.set(file, kept)
      return kept
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') log.warn('kept token unreadable, asking anew', { file, error: messageOf(error) })
      return undefined
    }
  }

  async #save(file: string, kept: Kept): Promise<void> {
    const plain = Buffer.from(JSON.stringify(kept))
    await writeFileAtomic(join(this.#dir, file), this.#seal ? this.#seal.seal(plain) : plain)
  }
}

function dueAt(kept: Kept): number {
  return kept.issuedMs + Math.min(DAY_MS, 0.8 * Math.max(0, kept.expiresMs - kept.issuedMs))
}

function fileOf(r: TokenRequest): string {
  const key = JSON.stringify([r.namespace, r.serviceAccount, r.audiences, r.expirationSeconds])
  return `${r.podUid}_${createHash('sha256').update(key).digest('hex').slice(0, 16)}.json`
}
