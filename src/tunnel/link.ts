/**
 * Node end of the node connection: dials out, then serves HTTP/2 on the socket it dialled; dials again for ever.
 *
 * Modes: connecting -> connected (only after the server's first word, so a refused certificate never counts) -> waiting ->
 * connecting. Waits follow `policy.ts`. Silence ends the link, so a half-open connection is noticed on this side too.
 */
import { performServerHandshake, type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import { networkInterfaces } from 'node:os'
import type { TLSSocket } from 'node:tls'
import type { Clock, Timer } from '../base/clock.ts'
import { AppError, isAbort, messageOf, type ErrorCode } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import type { NodeHandler, NodeRequest } from '../base/stream.ts'
import { DialError, dialTls, type Credentials } from './dial.ts'
import { HELLO_PATH } from './hub.ts'
import { connectTimeoutMs, DETECT_MS, HANDSHAKE_MS, liveness, MAX_STREAMS, nextDialMs, STABLE_MS, WINDOW } from './policy.ts'

const log = logger('tunnel.link')
/** The log repeats an unchanged reason for having no link only this often. */
const TELL_MS = 300_000

export type LinkStatus =
  | { readonly phase: 'connecting'; readonly server: string }
  | { readonly phase: 'connected'; readonly server: string; readonly sinceMs: number }
  | { readonly phase: 'waiting'; readonly error: unknown; readonly waitMs: number }

/** Lets the owner ask the present connection for a sign of life, e.g. when another one to the same server went silent. */
export class LinkProbe {
  #ask: (() => void) | undefined

  /** Ends the connection within 8 s when nothing comes back. No connection: nothing happens. */
  check(): void {
    this.#ask?.()
  }

  /** Used by the link itself. */
  attach(ask: (() => void) | undefined): void {
    this.#ask = ask
  }
}

/** The kernel needs about 6.5 s to find the packet size of a line that swallows large ones; a ping waits behind those. */
const PROBE_MS = 8_000
/** How often a connected node looks whether it has heard something, and still has the address it dialled from, ms. */
const LOOK_MS = 3_000
/** More addresses than that are not kept. */
const MAX_SERVERS = 16

export interface LinkOptions {
  /** Addresses `https://host:port`, tried in turn; asked again for each dial. */
  readonly servers: () => readonly string[]
  readonly credentials: () => Credentials | Promise<Credentials>
  /** ALPN id of the link. */
  readonly alpn: string
  readonly handler: NodeHandler
  readonly clock: Clock
  readonly proxy?: ((server: string) => string | undefined) | undefined
  readonly onState?: ((status: LinkStatus) => void) | undefined
  readonly probe?: LinkProbe | undefined
  /** The server said where all servers of the cluster are; at each connection and when that changes. */
  readonly onServers?: ((servers: readonly string[]) => void) | undefined
  /** The server greets: at each connection, and when a node may want to look at what it keeps of the cluster. */
  readonly onHello?: (() => void) | undefined
  /** Addresses of this machine. @default as its network interfaces have them */
  readonly addresses?: (() => ReadonlySet<string>) | undefined
  readonly signal: AbortSignal
}

/** As sockets name them: IPv4 plain, also where IPv6 wraps it. */
function ownAddresses(): ReadonlySet<string> {
  return new Set(Object.values(networkInterfaces()).flatMap((list) => (list ?? []).flatMap(({ address, scopeid }) => [address, `::ffff:${address}`, ...(scopeid ? [`${address}%${scopeid}`] : [])])))
}

/** Keeps the link up until the signal aborts; resolves when the last connection is closed. Rejects only on a programming error. */
export async function runLink(options: LinkOptions): Promise<void> {
  const { clock, signal } = options
  let unreachable = 0
  let refused = 0
  let turn = 0
  let downSince = clock.monotonic()
  let told = { text: '', at: 0 }
  while (!signal.aborted) {
    const servers = options.servers()
    const server = servers[turn % Math.max(1, servers.length)]
    let failure: unknown
    try {
      if (server === undefined) throw new AppError('unavailable', 'connect to a server: no address is known')
      options.onState?.({ phase: 'connecting', server })
      const socket = await dialTls({
        server,
        alpn: options.alpn,
        credentials: await options.credentials(),
        proxy: options.proxy?.(server),
        connectTimeoutMs: connectTimeoutMs(unreachable),
        clock,
        signal,
      })
      unreachable = 0
      told = { text: '', at: 0 }
      refused++ // taken back once the link has lived long enough
      const stable = clock.timer('stable link', STABLE_MS, () => (refused = 0))
      const began = clock.monotonic()
      try {
        failure = await serve(socket, server, options)
      } finally {
        stable.cancel()
        // A link that was good is dialled again first; the next server's turn comes when that fails.
        if (clock.monotonic() - began >= STABLE_MS) turn--
        downSince = clock.monotonic()
      }
    } catch (error) {
      failure = error
      if (error instanceof DialError && error.stage === 'handshake') refused++
      else unreachable++
    }
    if (signal.aborted) break
    turn++
    const waitMs = nextDialMs({ unreachable, refused, outageMs: clock.monotonic() - downSince })
    // An outage is told when it begins, when its reason changes and every few minutes, not at every dial.
    const text = messageOf(failure)
    if (text !== told.text || clock.monotonic() - told.at > TELL_MS) {
      told = { text, at: clock.monotonic() }
      log.info('no link to the server, trying again', { server, error: text, nextTryMs: Math.round(waitMs) })
    }
    options.onState?.({ phase: 'waiting', error: failure, waitMs })
    await clock.sleep(waitMs, signal).catch((error: unknown) => {
      if (!signal.aborted) throw error
    })
  }
}

/** Serves one connection to its end; returns why it ended. */
function serve(socket: TLSSocket, server: string, options: LinkOptions): Promise<unknown> {
  const { clock, signal } = options
  return new Promise((resolve) => {
    // Until the server's first word the likeliest reason is our certificate; its owner may try a renewal on this code.
    let why: unknown = new AppError('unauthorized', `link to ${server}: the server closed it at once; it may refuse this node's certificate (expired, revoked, or the name taken over by another machine)`, { retryable: true })
    let silenceMs = liveness(DETECT_MS).silenceMs
    let timer: Timer
    let greeted = false
    let bytes = 0
    const http: ServerHttp2Session = performServerHandshake(socket, {
      settings: { initialWindowSize: WINDOW, maxConcurrentStreams: MAX_STREAMS },
      maxSessionMemory: 64,
    })
    http.setLocalWindowSize(WINDOW)
    const end = (reason: unknown): void => {
      why = reason
      http.destroy()
      socket.destroy()
    }
    const watch = (ms: number): void => {
      timer?.cancel()
      bytes = socket.bytesRead
      timer = clock.timer('link silence', ms, () => {
        if (socket.bytesRead > bytes) watch(silenceMs)
        else end(new AppError('timeout', `link to ${server}: nothing heard for ${ms / 1000} s`))
      })
    }
    let probe: Timer | undefined
    options.probe?.attach(() => {
      if (probe !== undefined || http.destroyed) return
      const before = socket.bytesRead
      probe = clock.timer('link probe', PROBE_MS, () => {
        probe = undefined
        if (socket.bytesRead === before) end(new AppError('timeout', `link to ${server}: no answer to a ping within ${PROBE_MS / 1000} s`))
      })
      http.ping(() => {
        probe?.cancel()
        probe = undefined
      })
    })
    // A machine that has moved to another network hears nothing of its old connections: it need not wait for their silence.
    const from = socket.localAddress
    let look: Timer | undefined
    const lookAround = (): void => {
      look = clock.timer('link look', Math.min(LOOK_MS, silenceMs / 4), () => {
        // Silence counts from the last bytes: counted from when the timer was set, it could last twice as long.
        if (greeted && socket.bytesRead > bytes) watch(silenceMs)
        if (from !== undefined && !(options.addresses ?? ownAddresses)().has(from)) end(new AppError('unavailable', `link to ${server}: this machine has its address ${from} no more`))
        else lookAround()
      })
    }
    lookAround()
    const onAbort = (): void => end(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    http.on('ping', () => watch(silenceMs))
    http.on('goaway', (code, _last, data) => {
      const text = data ? Buffer.from(data).toString() : ''
      why = new AppError('unavailable', `link to ${server}: ended by the server${text === '' ? ` (code ${code})` : `: ${text}`}`)
    })
    http.on('error', (error) => {
      if (!(why instanceof AppError && why.code === 'unauthorized')) why = error // a reset before the first word is a refusal too
    })
    http.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      const path = headers[':path'] ?? '/'
      stream.on('error', (error) => log.debug('stream failed', { path, error: messageOf(error) }))
      if (path.startsWith(HELLO_PATH)) {
        const said = new URLSearchParams(path.split('?')[1])
        const detectMs = Number(said.get('detectMs'))
        const servers = said.getAll('server').slice(0, MAX_SERVERS)
        if (servers.length > 0) options.onServers?.(servers)
        options.onHello?.()
        if (detectMs >= 100) silenceMs = liveness(detectMs).silenceMs
        why = new AppError('unavailable', `link to ${server}: the server closed it`)
        watch(silenceMs)
        stream.respond({ ':status': 200 }, { endStream: true })
        if (greeted) return
        greeted = true
        log.info('connected', { server })
        options.onState?.({ phase: 'connected', server, sinceMs: clock.now() })
        return
      }
      // Nothing comes with these; a side that nobody reads would be reset beside the answer's end.
      if (headers[':method'] === 'GET' || headers[':method'] === 'DELETE') stream.resume()
      void answer(stream, headers, options.handler)
    })
    http.once('close', () => {
      timer.cancel()
      probe?.cancel()
      look?.cancel()
      options.probe?.attach(undefined)
      signal.removeEventListener('abort', onAbort)
      socket.destroy()
      resolve(why)
    })
    watch(HANDSHAKE_MS)
    if (signal.aborted) onAbort()
  })
}

const STATUS: Partial<Record<ErrorCode, number>> = {
  invalid: 400,
  unauthorized: 401,
  forbidden: 403,
  'not-found': 404,
  exists: 409,
  conflict: 409,
  'too-large': 413,
  unsupported: 501,
  unavailable: 503,
  full: 503,
  timeout: 504,
}

/** The answer a handler's failure becomes. */
export function statusOf(error: unknown): { status: number; headers: Record<string, string> } {
  const code = error instanceof AppError ? error.code : 'internal'
  return { status: STATUS[code] ?? 500, headers: { 'content-type': 'text/plain', 'x-error-code': code } }
}

/** Runs the handler; its failure becomes this stream's answer (text, the code in `x-error-code`) or reset, and nothing else's. */
async function answer(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, handler: NodeHandler): Promise<void> {
  const plain: Record<string, string> = {}
  for (const [k, v] of Object.entries(headers)) if (!k.startsWith(':') && typeof v === 'string') plain[k] = v
  const request: NodeRequest = { method: (headers[':method'] ?? 'GET') as NodeRequest['method'], path: headers[':path'] ?? '/', headers: plain }
  try {
    await handler(request, (status, extra = {}) => {
      if (stream.headersSent) throw new AppError('internal', `answer ${request.method} ${request.path}: it was answered before`)
      if (!stream.destroyed) stream.respond({ ':status': status, ...extra })
      return stream
    })
    if (!stream.headersSent && !stream.destroyed) throw new AppError('internal', `answer ${request.method} ${request.path}: the handler ended without an answer`)
  } catch (error) {
    if (stream.destroyed) return
    if (stream.headersSent) {
      if (!isAbort(error)) log.info('stream handler failed', { path: request.path, error: messageOf(error) })
      stream.destroy(error instanceof Error ? error : new Error(String(error))) // a reset: the reader must not take it for an end
      return
    }
    const { status, headers: extra } = statusOf(error)
    if (status === 500) log.warn('stream handler failed', { path: request.path, error: messageOf(error) })
    stream.respond({ ':status': status, ...extra })
    stream.end(messageOf(error))
  }
}
