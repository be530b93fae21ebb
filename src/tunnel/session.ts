/**
 * The ordinary direction of the node connection: the node is the HTTP/2 client, for API calls and watches, telemetry, images.
 *
 * One connection, made by the first request that needs it and again after a loss; requests of one moment share one dial, and
 * after a failed dial requests fail at once until the wait is over, so that many watchers are not a storm. A silent connection
 * is probed by ping: slowly while requests are open, beside a request after a silence, and at once when the owner says so
 * (`check`, on the link's loss). Nothing is repeated here: a failed request is the caller's to repeat.
 */
import { connect, type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2'
import { Readable, type Duplex } from 'node:stream'
import { createGunzip, createInflate, constants } from 'node:zlib'
import type { TLSSocket } from 'node:tls'
import { abortable } from '../base/abort.ts'
import type { Clock, Timer } from '../base/clock.ts'
import { AppError, messageOf } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { DialError, dialTls, type Credentials } from './dial.ts'
import { nextDialMs, WINDOW } from './policy.ts'

const log = logger('tunnel.session')

/** Ping this often while requests are open: keeps a NAT's memory fresh at 8 kB an hour. The link does the quick detection. */
const KEEPALIVE_MS = 110_000
/** A request after this much silence takes a probe along. */
const STALE_MS = 30_000
/** The kernel needs about 6.5 s to find the packet size of a line that swallows large ones; a ping waits behind those. */
const PROBE_MS = 8_000
/** A request without an answer for so long takes a probe along: a slow server answers pings all the same. */
const UNANSWERED_MS = 3_000
const CONNECT_MS = 5_000

export interface SessionRequest {
  readonly method: string
  /** Path with query. */
  readonly path: string
  /** Lower-case names. */
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array | AsyncIterable<Uint8Array>
  /** Ends the request at any time, its body included. */
  readonly signal?: AbortSignal | undefined
}

export interface SessionResponse {
  readonly status: number
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>
  /** Decoded (gzip, deflate) bytes. Must be read to its end, or ended by `return()` / leaving a `for await`. Throws AppError `unavailable` when cut. */
  readonly body: AsyncIterable<Buffer>
}

export interface NodeSession extends AsyncDisposable {
  /** Resolves with the answer's head. @throws AppError `unavailable`, `timeout`, `unauthorized` (the server is not ours); the signal's reason */
  request(request: SessionRequest): Promise<SessionResponse>
  /** Proves the connection now and ends it within 5 s when nothing answers. No connection: nothing happens. */
  check(): void
  /** Ends the connection so that the next request dials anew, e.g. with a renewed certificate. */
  reset(why: string): void
}

export interface SessionOptions {
  readonly servers: () => readonly string[]
  readonly credentials: () => Credentials | Promise<Credentials>
  /** ALPN id of the ordinary direction. */
  readonly alpn: string
  readonly clock: Clock
  readonly proxy?: ((server: string) => string | undefined) | undefined
  /** A connection gave no answer to a probe: whoever shares the way to the server may want to look too. */
  readonly onSilent?: (() => void) | undefined
}

interface Live {
  readonly http: ClientHttp2Session
  readonly socket: TLSSocket
  readonly server: string
  open: number
  bytes: number
  lastHeard: number
  probing: boolean
  keepalive: Timer | undefined
}

/** Makes a session that dials when the first request needs it. */
export function createNodeSession(options: SessionOptions): NodeSession {
  return new Session(options)
}

class Session implements NodeSession {
  readonly #options: SessionOptions
  readonly #clock: Clock
  readonly #abort = new AbortController()
  #live: Live | undefined
  #dialing: Promise<Live> | undefined
  #failures = 0
  #turn = 0
  #failed: { error: unknown; until: number } | undefined

  constructor(options: SessionOptions) {
    this.#options = options
    this.#clock = options.clock
  }

  async request(request: SessionRequest): Promise<SessionResponse> {
    const { signal } = request
    signal?.throwIfAborted()
    const live = await abortable(this.#connection(), signal)
    this.#heard(live)
    if (this.#clock.monotonic() - live.lastHeard > STALE_MS) this.#probe(live)
    const act = `${request.method} ${request.path.split('?')[0]} at ${live.server}`
    let stream: ClientHttp2Stream
    try {
      stream = live.http.request(
        { 'accept-encoding': 'gzip, deflate', ...request.headers, ':method': request.method, ':path': request.path },
        { endStream: request.body === undefined },
      )
    } catch (cause) {
      throw new AppError('unavailable', `${act}: the connection is closing`, { cause })
    }
    this.#track(live, stream)
    const onAbort = (): void => void stream.destroy(signal?.reason instanceof Error ? signal.reason : new DOMException('aborted', 'AbortError'))
    signal?.addEventListener('abort', onAbort, { once: true })
    stream.once('close', () => signal?.removeEventListener('abort', onAbort))
    const fail = (cause: unknown): unknown => (signal?.aborted ? signal.reason : cause instanceof AppError ? cause : new AppError('unavailable', `${act}: the connection was lost`, { cause }))
    const head = new Promise<IncomingHttpHeaders & { ':status'?: number }>((resolve, reject) => {
      stream.once('response', resolve)
      stream.on('error', (cause) => reject(fail(cause)))
      stream.once('close', () => reject(fail(new Error('the stream ended before an answer'))))
    })
    if (request.body !== undefined) {
      if (typeof request.body === 'string' || request.body instanceof Uint8Array) stream.end(request.body)
      else Readable.from(request.body, { objectMode: false }).on('error', (e) => stream.destroy(e)).pipe(stream)
    }
    const unanswered = this.#clock.timer('session unanswered', UNANSWERED_MS, () => this.#probe(live))
    const raw = await head.finally(() => unanswered.cancel())
    const headers: Record<string, string> = {}
    for (const [k, v] of Object.entries(raw)) if (!k.startsWith(':') && v !== undefined) headers[k] = Array.isArray(v) ? v.join(', ') : String(v)
    const body = decode(stream, headers)
    return { status: raw[':status'] ?? 0, headers, body: iterate(stream, body, fail) }
  }

  check(): void {
    if (this.#live) this.#probe(this.#live)
  }

  reset(why: string): void {
    const live = this.#live
    this.#live = undefined
    this.#failed = undefined
    if (live) end(live, why)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort(new AppError('unavailable', 'the session to the server is closed', { retryable: false }))
    await this.#dialing?.catch(() => undefined)
    this.reset('closed')
  }

  #connection(): Promise<Live> {
    if (this.#live && !this.#live.http.closed) return Promise.resolve(this.#live)
    if (this.#dialing) return this.#dialing
    if (this.#failed && this.#clock.monotonic() < this.#failed.until) return Promise.reject(this.#failed.error)
    this.#dialing = this.#dial().finally(() => (this.#dialing = undefined))
    return this.#dialing
  }

  async #dial(): Promise<Live> {
    const servers = this.#options.servers()
    const server = servers[this.#turn % Math.max(1, servers.length)]
    try {
      if (server === undefined) throw new AppError('unavailable', 'connect to a server: no address is known')
      const socket = await dialTls({
        server,
        alpn: this.#options.alpn,
        credentials: await this.#options.credentials(),
        proxy: this.#options.proxy?.(server),
        connectTimeoutMs: CONNECT_MS,
        clock: this.#clock,
        signal: this.#abort.signal,
      })
      const http = connect(server, { createConnection: () => socket, settings: { enablePush: false, initialWindowSize: WINDOW }, maxSessionMemory: 64 })
      const live: Live = { http, socket, server, open: 0, bytes: 0, lastHeard: this.#clock.monotonic(), probing: false, keepalive: undefined }
      http.once('connect', () => http.setLocalWindowSize(WINDOW))
      http.on('error', (error) => log.debug('session failed', { server, error: messageOf(error) }))
      http.once('goaway', () => this.#live === live && (this.#live = undefined)) // what is open may finish; new requests dial
      http.once('close', () => {
        if (this.#live === live) this.#live = undefined
        live.keepalive?.cancel()
        socket.destroy()
      })
      this.#live = live
      this.#failures = 0
      this.#failed = undefined
      return live
    } catch (error) {
      this.#turn++
      this.#failures++
      const stage = error instanceof DialError ? error.stage : 'connect'
      const waitMs = nextDialMs({ unreachable: stage === 'connect' ? this.#failures : 0, refused: stage === 'handshake' ? this.#failures : 0, outageMs: 0 })
      this.#failed = { error, until: this.#clock.monotonic() + waitMs }
      throw error
    }
  }

  #track(live: Live, stream: ClientHttp2Stream): void {
    live.open++
    live.keepalive ??= this.#scheduleKeepalive(live)
    stream.once('close', () => {
      this.#heard(live)
      if (--live.open > 0) return
      live.keepalive?.cancel()
      live.keepalive = undefined
    })
  }

  #scheduleKeepalive(live: Live): Timer {
    return this.#clock.timer('session keepalive', KEEPALIVE_MS, () => {
      this.#heard(live)
      if (this.#clock.monotonic() - live.lastHeard >= KEEPALIVE_MS / 2) this.#probe(live)
      live.keepalive = this.#scheduleKeepalive(live)
    })
  }

  /** Takes note of bytes that came since the last look. */
  #heard(live: Live): void {
    if (live.socket.bytesRead === live.bytes) return
    live.bytes = live.socket.bytesRead
    live.lastHeard = this.#clock.monotonic()
  }

  #probe(live: Live): void {
    if (live.probing || live.http.destroyed) return
    live.probing = true
    const before = live.socket.bytesRead
    const timer = this.#clock.timer('session probe', PROBE_MS, () => {
      live.probing = false
      if (live.socket.bytesRead !== before) return
      end(live, `no answer to a ping within ${PROBE_MS / 1000} s`)
      this.#options.onSilent?.()
    })
    live.http.ping((error) => {
      timer.cancel()
      live.probing = false
      if (!error) this.#heard(live)
    })
  }
}

function end(live: Live, why: string): void {
  log.debug('ending the session', { server: live.server, why })
  live.http.destroy(new AppError('unavailable', `connection to ${live.server}: ${why}`))
  live.socket.destroy()
}

function decode(stream: ClientHttp2Stream, headers: Record<string, string>): Readable {
  const encoding = headers['content-encoding']
  if (encoding !== 'gzip' && encoding !== 'deflate') return stream
  delete headers['content-encoding']
  delete headers['content-length']
  const options = { flush: constants.Z_SYNC_FLUSH, finishFlush: constants.Z_SYNC_FLUSH }
  const unzip: Duplex = encoding === 'gzip' ? createGunzip(options) : createInflate(options)
  stream.on('error', (e) => unzip.destroy(e))
  stream.once('close', () => {
    if (!stream.readableEnded) unzip.destroy(new Error('the stream was cut'))
  })
  unzip.once('close', () => stream.destroy())
  return stream.pipe(unzip)
}

/** An iterator whose `return` ends the stream even when nothing was read yet, and whose errors are ours. */
function iterate(stream: ClientHttp2Stream, body: Readable, fail: (cause: unknown) => unknown): AsyncIterable<Buffer> {
  body.on('error', () => undefined) // the iterator reports it; without a listener a late one would end the process
  return {
    [Symbol.asyncIterator](): AsyncIterator<Buffer> {
      const inner = body[Symbol.asyncIterator]() as AsyncIterator<Buffer>
      return {
        async next() {
          let got: IteratorResult<Buffer>
          try {
            got = await inner.next()
          } catch (error) {
            throw fail(error)
          }
          // A reset by the other side with no error shows as an end: only a stream that ended in order did end.
          if (got.done && (stream.aborted || (stream.rstCode !== undefined && stream.rstCode !== 0))) throw fail(new Error(`the stream was reset (code ${stream.rstCode})`))
          return got
        },
        async return() {
          stream.close(8) // CANCEL
          stream.destroy()
          body.destroy()
          return { done: true, value: undefined }
        },
      }
    },
  }
}
