/**
 * Transports over the wire. {@link createFetchLikeTransport} turns any "request in, status and byte stream out" function
 * (the node's HTTP/2 session, or `httpSession` below) into a {@link Transport}: encodes bodies, undoes compression, puts
 * a deadline on ordinary calls and leaves watches and logs open. {@link createHttpTransport} is that over node:http(s)
 * with a client certificate, token and CA.
 *
 * Invariants: rejects only with AppError `unavailable`/`timeout` (retryable), the signal's reason, or `invalid` for a bad
 * address; every refusal of the API is an answer with its status.
 */
import { request as httpRequest, Agent as HttpAgent } from 'node:http'
import { request as httpsRequest, Agent as HttpsAgent } from 'node:https'
import { createGunzip, createInflate, constants } from 'node:zlib'
import { pipeline, Readable } from 'node:stream'
import { AppError, isAbort } from '../base/errors.ts'
import type { Clock } from '../base/clock.ts'
import { systemClock } from '../base/clock.ts'
import type { ApiRequest } from '../api/contract.ts'
import { bodyText } from './transport.ts'
import type { Transport } from './ports.ts'

/** One exchange of a session: path with query; lower-case header names. */
export interface SessionRequest {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  /** Aborted on the caller's abort and on the deadline; ends the exchange, its body included. */
  readonly signal: AbortSignal
}
export interface SessionResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: AsyncIterable<Uint8Array>
}
/** Rejects when the other side cannot be reached. */
export type Session = (request: SessionRequest) => Promise<SessionResponse>

export interface FetchLikeOptions {
  /** Deadline of a call that is not a watch or a followed log, ms. @default 30000 */
  readonly timeoutMs?: number
  readonly clock?: Clock
  /** Sent with every call, e.g. authorization; asked for each call so that tokens may rotate. */
  readonly headers?: () => Readonly<Record<string, string>>
}

/** A transport that rides the given session. */
export function createFetchLikeTransport(session: Session, options: FetchLikeOptions = {}): Transport {
  const clock = options.clock ?? systemClock
  const timeoutMs = options.timeoutMs ?? 30_000
  return {
    async request(request, signal) {
      signal?.throwIfAborted()
      const streams = isStream(request)
      const stop = new AbortController()
      const onAbort = (): void => stop.abort(signal?.reason)
      signal?.addEventListener('abort', onAbort, { once: true })
      const late = new AppError('timeout', `${request.method} ${request.path}: no answer within ${timeoutMs} ms`)
      const timer = clock.timer('api call', timeoutMs, () => stop.abort(late))
      const settle = (): void => {
        timer.cancel()
        signal?.removeEventListener('abort', onAbort)
      }
      try {
        const answer = await session(encode(request, options.headers?.(), stop.signal))
        const body = decompress(answer)
        if (streams && answer.status < 300) {
          // The deadline was for the headers; from here on only the caller's signal, or the reader's return(), ends it.
          timer.cancel()
          return { status: answer.status, headers: answer.headers, body: closing(body, stop, settle, signal) }
        }
        const text = await bodyText(body)
        settle()
        return { status: answer.status, headers: answer.headers, body: text }
      } catch (error) {
        settle()
        throw asUnreachable(error, request, signal, stop.signal)
      }
    },
  }
}

export interface HttpTransportOptions {
  /** Base address, e.g. `https://10.0.0.1:6443`. */
  readonly server: string
  /** PEM of the CAs that may sign the server's certificate. @default the system's */
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
  /** Bearer token, or a function giving the newest. */
  readonly token?: string | (() => string | undefined)
  /** Name to check in the server's certificate. @default the host of `server` */
  readonly serverName?: string
  /** Accept any server certificate; for tests and a user's explicit wish. @default false */
  readonly insecureSkipTlsVerify?: boolean
  readonly timeoutMs?: number
  readonly clock?: Clock
}

/** HTTP(S) transport with kept-alive connections; `close` ends idle ones. @throws AppError `invalid` for a bad address */
export function createHttpTransport(options: HttpTransportOptions): Transport & { close(): void } {
  const base = URL.canParse(options.server) ? new URL(options.server) : undefined
  if (!base || (base.protocol !== 'https:' && base.protocol !== 'http:')) {
    throw new AppError('invalid', `use server address: "${options.server}" is not an http(s) URL such as "https://host:6443"`)
  }
  const tls = {
    ...(options.ca === undefined ? {} : { ca: options.ca }),
    ...(options.cert === undefined ? {} : { cert: options.cert }),
    ...(options.key === undefined ? {} : { key: options.key }),
    ...(options.serverName === undefined ? {} : { servername: options.serverName }),
    ...(options.insecureSkipTlsVerify === true ? { rejectUnauthorized: false } : {}),
  }
  const settings = { keepAlive: true, keepAliveMsecs: 15_000, maxFreeSockets: 8 }
  const agent = base.protocol === 'https:' ? new HttpsAgent({ ...settings, ...tls }) : new HttpAgent(settings)
  const transport = createFetchLikeTransport(httpSession(base, agent), {
    ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
    ...(options.clock === undefined ? {} : { clock: options.clock }),
    headers: () => {
      const token = typeof options.token === 'function' ? options.token() : options.token
      return token === undefined ? {} : { authorization: `Bearer ${token}` }
    },
  })
  return { request: transport.request, close: () => agent.destroy() }
}

function httpSession(base: URL, agent: HttpAgent | HttpsAgent): Session {
  const prefix = base.pathname.replace(/\/$/, '')
  const send = base.protocol === 'https:' ? httpsRequest : httpRequest
  return ({ method, path, headers, body, signal }) =>
    new Promise((resolve, reject) => {
      const url = { protocol: base.protocol, hostname: base.hostname.replace(/^\[|\]$/g, ''), port: base.port, path: prefix + path }
      const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }
      const outgoing = send({ ...url, method, agent, signal, headers: { ...headers, ...length } }, (incoming) => {
        // A half-open peer behind a watch: the kernel's probes find it when no byte comes for long.
        incoming.socket.setKeepAlive(true, 15_000)
        resolve({ status: incoming.statusCode ?? 0, headers: flat(incoming.headers), body: incoming })
      })
      outgoing.once('error', reject)
      outgoing.end(body)
    })
}

function isStream(request: ApiRequest): boolean {
  const flag = (name: string): boolean => ['true', '1'].includes(request.query?.get(name) ?? '')
  return flag('watch') || flag('follow')
}

function encode(request: ApiRequest, extra: Readonly<Record<string, string>> | undefined, signal: AbortSignal): SessionRequest {
  const query = request.query?.toString() ?? ''
  const { body } = request
  const raw = body === undefined || typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body)
  return {
    method: request.method,
    path: query === '' ? request.path : `${request.path}?${query}`,
    headers: { accept: 'application/json', 'accept-encoding': 'gzip', 'user-agent': 'skerry', ...extra, ...request.headers },
    ...(raw === undefined ? {} : { body: raw }),
    signal,
  }
}

function decompress(answer: SessionResponse): AsyncIterable<Uint8Array> {
  const coding = answer.headers['content-encoding']
  if (coding !== 'gzip' && coding !== 'deflate') return answer.body
  // A watch is flushed event by event; without the sync flush the decoder would hold small events back.
  const flush = { finishFlush: constants.Z_SYNC_FLUSH }
  const decoder = coding === 'gzip' ? createGunzip(flush) : createInflate(flush)
  // The error reaches the reader through the decoder; the callback only keeps it from being thrown twice.
  pipeline(Readable.from(answer.body), decoder, () => {})
  return decoder
}

async function* closing(
  body: AsyncIterable<Uint8Array>,
  stop: AbortController,
  settle: () => void,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  try {
    yield* body
  } catch (error) {
    if (signal?.aborted) throw signal.reason
    throw new AppError('unavailable', 'read stream: the connection broke', { cause: error })
  } finally {
    settle()
    stop.abort()
  }
}

function asUnreachable(error: unknown, request: ApiRequest, signal: AbortSignal | undefined, stop: AbortSignal): unknown {
  if (signal?.aborted) return signal.reason
  if (stop.aborted && stop.reason instanceof AppError) return stop.reason
  if (error instanceof AppError && !isAbort(error)) return error
  return new AppError('unavailable', `${request.method} ${request.path}: the API cannot be reached`, { cause: error })
}

function flat(headers: Readonly<Record<string, string | string[] | undefined>>): Record<string, string> {
  const out: Record<string, string> = {}
  for (const [k, v] of Object.entries(headers)) if (v !== undefined) out[k] = Array.isArray(v) ? v.join(', ') : v
  return out
}
