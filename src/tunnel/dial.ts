/**
 * One outbound TLS connection to a server, through an HTTP proxy when asked, checked against the pinned CA.
 * Dates alone never stop it: a board whose clock is wrong still reaches its server (the chain, the use and the name must
 * be right, see `checkPeer`), and the mismatch is logged. Used by link, session and join.
 */
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import type { Clock } from '../base/clock.ts'
import { AppError, messageOf, type ErrorCode } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { checkPeer } from '../base/pki.ts'
import { HANDSHAKE_MS } from './policy.ts'

const log = logger('tunnel.dial')

/** What one dial presents and trusts. Re-read for each dial, so renewed certificates are used at once. */
export interface Credentials {
  /** PEM bundle of the CAs that may sign the server's certificate. */
  readonly caPem: string
  /** The node's own certificate and key; none before joining. */
  readonly certPem?: string
  readonly keyPem?: string
}

export interface DialOptions {
  /** `https://host:port`; port 6443 when absent. */
  readonly server: string
  readonly alpn: string
  /** `unverified` accepts any certificate: only for fetching a CA that is then checked by its hash. */
  readonly credentials: Credentials | 'unverified'
  /** `http://[user:password@]host:port` of an HTTP CONNECT proxy. */
  readonly proxy?: string | undefined
  readonly connectTimeoutMs: number
  readonly clock: Clock
  readonly signal?: AbortSignal | undefined
}

/** A failed dial; `stage` says whether anybody answered at all. */
export class DialError extends AppError {
  readonly stage: 'connect' | 'handshake'
  constructor(stage: 'connect' | 'handshake', code: ErrorCode, message: string, options: { cause?: unknown; retryable?: boolean } = {}) {
    super(code, message, options)
    this.name = 'DialError'
    this.stage = stage
  }
}

/** Host and port of a server address. @throws AppError `invalid` */
export function parseServer(server: string): { host: string; port: number } {
  const url = URL.parse(server)
  if (!url || url.protocol !== 'https:' || url.hostname === '') {
    throw new AppError('invalid', `read server address: '${server}' is not like https://host:6443`)
  }
  const explicit = /^https:\/\/(?:\[[^\]]*\]|[^/:]*):(\d+)/i.exec(server)?.[1] // URL drops a port of 443
  return { host: url.hostname.replace(/^\[(.*)\]$/, '$1'), port: explicit === undefined ? 6443 : Number(explicit) }
}

/**
 * Opens the connection; the caller owns the socket.
 * @throws DialError stage `connect` (`unavailable`, `timeout`) or `handshake` (`unauthorized`, `unavailable`, `timeout`, `unsupported`)
 */
export async function dialTls(options: DialOptions): Promise<TLSSocket> {
  const { host, port } = parseServer(options.server)
  const where = `${host}:${port}`
  options.signal?.throwIfAborted()
  const tcp = await openTcp(options, host, port)
  const handshake = new Promise<TLSSocket>((resolve, reject) => {
    const credentials = options.credentials === 'unverified' ? undefined : options.credentials
    const socket = connectTls({
      socket: tcp,
      host,
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ALPNProtocols: [options.alpn],
      minVersion: 'TLSv1.2',
      rejectUnauthorized: false, // checked below, where dates are told apart from everything else
      ...(credentials ? { ca: credentials.caPem } : {}),
      ...(credentials?.certPem !== undefined && credentials.keyPem !== undefined ? { cert: credentials.certPem, key: credentials.keyPem } : {}),
    })
    socket.once('secureConnect', () => {
      try {
        if (credentials) verify(socket, credentials.caPem, host, options.clock.now())
        if (socket.alpnProtocol !== options.alpn) {
          throw new DialError('handshake', 'unsupported', `connect to ${where}: it does not offer '${options.alpn}'; is it a Skerry server, and is no proxy opening TLS on the way`)
        }
        socket.off('error', reject)
        resolve(socket)
      } catch (error) {
        reject(error)
      }
    })
    socket.once('error', reject)
    socket.once('close', () => reject(new DialError('handshake', 'unavailable', `connect to ${where}: it closed the connection during the TLS handshake`)))
  })
  try {
    return await within(handshake, HANDSHAKE_MS, options, () => new DialError('handshake', 'timeout', `connect to ${where}: no TLS handshake within ${HANDSHAKE_MS / 1000} s`))
  } catch (error) {
    tcp.destroy()
    if (options.signal?.aborted || error instanceof DialError) throw error
    const code = error instanceof AppError ? error.code : 'unavailable'
    throw new DialError('handshake', code, `connect to ${where}: ${messageOf(error)}`, { cause: error })
  }
}

function verify(socket: TLSSocket, caPem: string, host: string, now: number): void {
  if (socket.authorized) return
  const leaf = socket.getPeerX509Certificate()
  if (!leaf) throw new AppError('unauthorized', 'the server showed no certificate')
  const { dates } = checkPeer(leaf, caPem, { usage: 'server', host, now })
  if (dates === 'valid') throw new AppError('unauthorized', `the server's certificate is refused: ${String(socket.authorizationError)}`)
  log.warn('clock and server certificate disagree; going on, as chain and name are right', {
    host,
    dates,
    validFrom: leaf.validFrom,
    validTo: leaf.validTo,
    clock: new Date(now).toISOString(),
  })
}

async function openTcp(options: DialOptions, host: string, port: number): Promise<Socket> {
  const proxy = options.proxy === undefined ? undefined : URL.parse(options.proxy)
  if (options.proxy !== undefined && (!proxy || proxy.protocol !== 'http:')) {
    throw new AppError('invalid', `connect through a proxy: '${options.proxy.replace(/\/\/[^@/]*@/, '//…@')}' is not like http://host:port`)
  }
  const to = proxy ? { host: proxy.hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(proxy.port || 80) } : { host, port }
  const what = proxy ? `connect to proxy ${to.host}:${to.port}` : `connect to ${host}:${port}`
  const socket = connectTcp({ ...to, noDelay: true })
  try {
    await within(
      new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve)
        socket.once('error', (e) => reject(new DialError('connect', 'unavailable', `${what}: ${messageOf(e)}`, { cause: e })))
      }),
      options.connectTimeoutMs,
      options,
      () => new DialError('connect', 'timeout', `${what}: no answer within ${options.connectTimeoutMs / 1000} s`),
    )
    if (proxy) {
      const auth = proxy.username === '' ? '' : `Proxy-Authorization: Basic ${Buffer.from(`${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`).toString('base64')}\r\n`
      const target = isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`
      socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n${auth}\r\n`)
      await within(proxyAnswer(socket, what, target), HANDSHAKE_MS, options, () => new DialError('connect', 'timeout', `${what}: no answer to CONNECT ${target}`))
    }
    return socket
  } catch (error) {
    socket.on('error', () => undefined) // a late error of a socket that is given up
    socket.destroy()
    throw error
  }
}

/** Reads a proxy's answer byte by byte up to the empty line, so that nothing of the TLS stream is swallowed. */
function proxyAnswer(socket: Socket, what: string, target: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let head = ''
    const fail = (why: string): void => done(new DialError('connect', 'unavailable', `${what}: ${why}`))
    const done = (error?: Error): void => {
      socket.off('readable', onReadable).off('end', onEnd).off('error', onEnd)
      if (error) reject(error)
      else resolve()
    }
    const onEnd = (): void => fail(`it closed the connection instead of answering CONNECT ${target}`)
    const onReadable = (): void => {
      for (let byte: Buffer | null; (byte = socket.read(1) as Buffer | null) !== null; ) {
        head += byte.toString('latin1')
        if (head.length > 16_384) return fail('its answer has no end')
        if (!head.endsWith('\r\n\r\n')) continue
        const status = /^HTTP\/1\.[01] (\d{3})[^\r]*/.exec(head)
        if (status?.[1]?.startsWith('2')) return done()
        return fail(`it refused CONNECT ${target}: '${status?.[0] ?? head.slice(0, 40)}'`)
      }
    }
    socket.on('readable', onReadable).on('end', onEnd).on('error', onEnd)
  })
}

/** Settles like `work`, or rejects with `late()` after `ms`, or with the signal's reason. */
export async function within<T>(work: Promise<T>, ms: number, options: { clock: Clock; signal?: AbortSignal | undefined }, late: () => Error): Promise<T> {
  const gate = Promise.withResolvers<never>()
  const onAbort = (): void => gate.reject(options.signal?.reason)
  const timer = options.clock.timer('within', ms, () => gate.reject(late()))
  options.signal?.addEventListener('abort', onAbort, { once: true })
  try {
    options.signal?.throwIfAborted()
    return await Promise.race([work, gate.promise])
  } finally {
    timer.cancel()
    options.signal?.removeEventListener('abort', onAbort)
    work.catch(() => undefined) // a loser of the race may still fail; nobody waits for it any more
  }
}

/** The proxy for a server by the usual two settings: HTTPS_PROXY's value and NO_PROXY's comma list (`*`, names, `.domain`, addresses). */
export function proxyFor(server: string, httpsProxy: string | undefined, noProxy = ''): string | undefined {
  if (httpsProxy === undefined || httpsProxy === '') return undefined
  const { host, port } = parseServer(server)
  const exempt = noProxy.split(',').map((s) => s.trim().toLowerCase()).filter((s) => s !== '')
  const matches = (rule: string): boolean => rule === '*' || rule === host || rule === `${host}:${port}` || host.endsWith(rule.startsWith('.') ? rule : `.${rule}`)
  return exempt.some(matches) ? undefined : /:\/\//.test(httpsProxy) ? httpsProxy : `http://${httpsProxy}`
}
