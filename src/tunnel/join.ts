/**
 * Joining, the node's side: fetch the server's CA, check it against the token's hash, then show the token and get a
 * certificate for a key that never leaves this machine. Renewal shows the certificate instead of a token.
 */
import { request as httpRequest } from 'node:http'
import type { Clock } from '../base/clock.ts'
import { AppError, type ErrorCode } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { caHash, certInfo, createKeyAndCsr, splitPem } from '../base/pki.ts'
import { dialTls, within, type Credentials } from './dial.ts'
import { RevokedError } from './join-policy.ts'
import type { JoinToken } from './token.ts'

const log = logger('tunnel.join')
const ANSWER_MS = 30_000
const MAX_ANSWER = 1 << 20

export interface JoinPaths {
  readonly cacerts: string
  readonly join: string
  readonly renew: string
}

export interface JoinOptions {
  /** `https://host:port` */
  readonly server: string
  readonly paths: JoinPaths
  readonly clock: Clock
  readonly proxy?: string | undefined
  readonly signal?: AbortSignal | undefined
}

export interface Joined {
  readonly certPem: string
  readonly keyPem: string
  /** PEM bundle of the CAs to trust from now on. */
  readonly caPem: string
  /** What the server tells its nodes (addresses, CIDRs, …); the composition root knows its shape. */
  readonly config: unknown
  /** This machine's clock minus the server's, ms; good to a second. */
  readonly clockSkewMs: number
}

/**
 * Joins as `node`. Give `keyPem` of an earlier try or life, so that a repeated join is known as the same machine.
 * @throws AppError `unauthorized` (wrong CA; wrong, expired or used token), `forbidden` (name taken or bound otherwise),
 *   `invalid`, `unavailable`, `timeout`; the server's own words are kept
 */
export async function joinCluster(
  options: JoinOptions & { readonly token: JoinToken; readonly node: string; readonly machineId: string; readonly keyPem?: string },
): Promise<Joined> {
  const { token, node } = options
  const ca = await fetchCa(options, token.caHash)
  const { keyPem, csrPem } = await createKeyAndCsr({ cn: node, ...(options.keyPem === undefined ? {} : { keyPem: options.keyPem }) })
  const answer = await call(options, { caPem: ca }, 'POST', options.paths.join, { node, csrPem, machineId: options.machineId }, `${token.id}.${token.secret}`)
  const joined = readAnswer(answer.body, `join as '${node}'`)
  const date = Date.parse(answer.date)
  const clockSkewMs = Number.isNaN(date) ? 0 : options.clock.now() - date
  if (Math.abs(clockSkewMs) > 300_000) {
    log.warn('the clock of this machine is off; set it, or let NTP do so', { clock: new Date(options.clock.now()).toISOString(), server: answer.date })
  }
  return { certPem: joined.certPem, keyPem, caPem: joined.caPem ?? ca, config: joined.config, clockSkewMs }
}

/** Gets a new certificate by proof of the present key, which works after its dates too. Keeps the key unless `newKey`. @throws RevokedError, and as `joinCluster` */
export async function renewCertificate(options: JoinOptions & { readonly credentials: Credentials & { keyPem: string; certPem: string }; readonly newKey?: boolean }): Promise<Omit<Joined, 'clockSkewMs'>> {
  const { credentials } = options
  const { cn } = certInfo(credentials.certPem)
  const { keyPem, csrPem } = await createKeyAndCsr({ cn, ...(options.newKey ? {} : { keyPem: credentials.keyPem }) })
  const answer = await call(options, credentials, 'POST', options.paths.renew, { csrPem }, undefined)
  const renewed = readAnswer(answer.body, 'renew the certificate')
  return { certPem: renewed.certPem, keyPem, caPem: renewed.caPem ?? credentials.caPem, config: renewed.config }
}

/** Fetches the CA bundle without trusting the connection and keeps what the hash vouches for; no hash: trusts and warns. */
async function fetchCa(options: JoinOptions, hash: string | undefined): Promise<string> {
  const { body } = await call(options, 'unverified', 'GET', options.paths.cacerts, undefined, undefined)
  const certs = splitPem(body)
  if (certs.length === 0) throw new AppError('unsupported', `fetch the CA of ${options.server}: the answer holds no certificate; is it a Skerry server`)
  if (hash === undefined) {
    log.warn('the token pins no CA, so this server is trusted unseen; use the long token', { server: options.server, caHash: caHash(certs[0] as string) })
    return certs.join('\n') + '\n'
  }
  const pinned = certs.find((c) => caHash(c) === hash)
  if (!pinned) {
    throw new AppError('unauthorized', `check the CA of ${options.server}: the token pins ${hash}, the server has ${certs.map(caHash).join(', ')}; the token is of another server, or another server answers here; make a token with \`skerry token create\` on the server to be joined`)
  }
  return pinned + '\n'
}

function readAnswer(text: string, act: string): { certPem: string; caPem?: string; config: unknown } {
  const value = parseJson(text)
  const { certPem, caPem, config } = value
  if (typeof certPem !== 'string' || (caPem !== undefined && typeof caPem !== 'string')) {
    throw new AppError('unsupported', `${act}: the server's answer holds no certificate: '${text.slice(0, 60)}'`)
  }
  return { certPem, config, ...(caPem === undefined ? {} : { caPem }) }
}

function parseJson(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {} // the callers name what is missing
  }
}

const CODES: Record<number, ErrorCode> = { 400: 'invalid', 401: 'unauthorized', 403: 'forbidden', 404: 'not-found', 409: 'conflict', 413: 'too-large' }

async function call(options: JoinOptions, credentials: Credentials | 'unverified', method: string, path: string, body: object | undefined, bearer: string | undefined): Promise<{ body: string; date: string }> {
  const socket = await dialTls({ ...options, alpn: 'http/1.1', credentials, connectTimeoutMs: 10_000 })
  try {
    const act = `${method} ${path} at ${options.server}`
    const text = body === undefined ? undefined : JSON.stringify(body)
    const answer = new Promise<{ status: number; body: string; date: string }>((resolve, reject) => {
      const req = httpRequest({
        method,
        path,
        host: new URL(options.server).host,
        createConnection: () => socket, // already TLS
        headers: {
          connection: 'close',
          ...(text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
          ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
        },
      })
      req.once('error', (cause) => reject(new AppError('unavailable', `${act}: the connection was lost`, { cause })))
      req.once('response', (res) => {
        const parts: Buffer[] = []
        let size = 0
        res.on('data', (chunk: Buffer) => {
          parts.push(chunk)
          if ((size += chunk.length) > MAX_ANSWER) res.destroy(new AppError('too-large', `${act}: the answer is over ${MAX_ANSWER} bytes`))
        })
        res.once('error', reject)
        res.once('end', () => resolve({ status: res.statusCode ?? 0, body: Buffer.concat(parts).toString(), date: res.headers.date ?? '' }))
      })
      req.end(text)
    })
    const got = await within(answer, ANSWER_MS, options, () => new AppError('timeout', `${act}: no answer within ${ANSWER_MS / 1000} s`))
    if (got.status >= 200 && got.status < 300) return got
    const { message: said, revoked } = parseJson(got.body)
    const message = typeof said === 'string' ? said : `${act}: answered ${got.status}: '${got.body.slice(0, 100)}'`
    if (got.status === 403 && revoked === true && credentials !== 'unverified') throw new RevokedError(message)
    throw new AppError(CODES[got.status] ?? 'unavailable', message)
  } finally {
    socket.destroy()
  }
}
