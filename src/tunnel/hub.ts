/**
 * Server end of the node connection. The node dialled; on its socket the hub is the HTTP/2 client and the node answers.
 *
 * Invariants: one session a node, a newer one replaces the older; a node counts as connected once it has answered the hub's
 * first request; a refused, failed or slow stream fails alone; a session silent for the detection time is ended.
 * Nothing is queued here: bytes wait in HTTP/2's windows (4 MiB), and a reader that stops stops its sender.
 */
import { connect, type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import type { Clock, Timer } from '../base/clock.ts'
import { AppError, messageOf } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import type { LinkState, NodeRequest, NodeStream } from '../base/stream.ts'
import { within } from './dial.ts'
import { DETECT_MS, HANDSHAKE_MS, liveness, WINDOW, type Liveness } from './policy.ts'
import type { Hub } from './ports.ts'

const log = logger('tunnel.hub')

/** The hub's first request on a link; answered by the link itself, never by the node's handler. */
export const HELLO_PATH = '/.skerry/hello'

export interface HubOptions {
  readonly clock: Clock
  /** A dead node is noticed within this time, ms; lower costs more idle bytes. @default 40 s */
  readonly detectMs?: number | undefined
  /** How long a node may take to acknowledge a stream, ms. @default 30 s */
  readonly openTimeoutMs?: number
  /** Addresses of all servers of the cluster, which a node is told when it connects. @default it is told nothing */
  readonly servers?: () => readonly string[]
}

interface Session {
  readonly node: string
  readonly http: ClientHttp2Session
  readonly socket: TLSSocket
  readonly remote: string
  connectedAtMs: number
  lastSeenMs: number
  timer: Timer | undefined
}

type Listener = (node: string, state: LinkState | undefined) => void

/** Makes an empty hub. `await using` it, or dispose it, to end all sessions. */
export function createHub(options: HubOptions): Hub {
  return new NodeHub(options)
}

class NodeHub implements Hub {
  readonly #clock: Clock
  readonly #detectMs: number
  readonly #live: Liveness
  readonly #openTimeoutMs: number
  readonly #servers: () => readonly string[]
  readonly #sessions = new Map<string, Session>()
  /** Sessions that have not answered the first request yet, or are being ended. */
  readonly #others = new Set<Session>()
  readonly #listeners = new Set<Listener>()
  #closed = false

  constructor(options: HubOptions) {
    this.#clock = options.clock
    this.#detectMs = options.detectMs ?? DETECT_MS
    this.#live = liveness(this.#detectMs)
    this.#openTimeoutMs = options.openTimeoutMs ?? 30_000
    this.#servers = options.servers ?? (() => [])
  }

  accept(socket: TLSSocket, node: string): void {
    if (this.#closed) return void socket.destroy()
    const remote = `${socket.remoteAddress}:${socket.remotePort}`
    const http = connect('https://node', {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: WINDOW },
      maxSessionMemory: 64, // MB; the default of 10 refuses new streams while a few windows are full
    })
    const session: Session = { node, http, socket, remote, connectedAtMs: 0, lastSeenMs: 0, timer: undefined }
    this.#others.add(session)
    http.once('connect', () => http.setLocalWindowSize(WINDOW))
    http.on('error', (error) => log.info('link failed', { node, remote, error: messageOf(error) }))
    http.once('close', () => this.#ended(session))
    void this.#hello(session)
  }

  disconnect(node: string, why: string): void {
    const session = this.#sessions.get(node)
    if (!session) return
    this.#drop(session)
    this.#others.add(session)
    // The reason travels in the farewell frame; a short time lets it leave before the socket is cut.
    session.http.goaway(0, 0, Buffer.from(why.slice(0, 200)))
    this.#clock.timer('disconnect', 200, () => end(session, why))
  }

  tellServers(): void {
    for (const session of this.#sessions.values()) {
      request(session, this.#helloRequest(), HANDSHAKE_MS, this.#clock, undefined).then(
        ({ stream }) => void stream.resume(),
        (error: unknown) => log.debug('node not told where servers are', { node: session.node, error: messageOf(error) }),
      )
    }
  }

  async open(node: string, req: NodeRequest, signal?: AbortSignal): Promise<NodeStream> {
    const session = this.#sessions.get(node)
    if (!session || session.http.destroyed) {
      throw new AppError('unavailable', `open a stream to node '${node}': it is not connected; its agent must run and reach this server`)
    }
    return request(session, req, this.#openTimeoutMs, this.#clock, signal)
  }

  links(): readonly LinkState[] {
    return [...this.#sessions.values()].map(stateOf)
  }

  onChange(fn: Listener): () => void {
    this.#listeners.add(fn)
    return () => void this.#listeners.delete(fn)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    const all = [...this.#sessions.values(), ...this.#others]
    await Promise.all(
      all.map(
        (s) =>
          new Promise<void>((resolve) => {
            if (s.http.closed) return resolve()
            s.http.once('close', resolve)
            end(s, 'the hub closes')
          }),
      ),
    )
  }

  /** Never rejects: a node that does not answer is ended. */
  async #hello(session: Session): Promise<void> {
    try {
      const answer = await request(session, this.#helloRequest(), HANDSHAKE_MS, this.#clock, undefined)
      answer.stream.resume()
      if (answer.status === 200) this.#joined(session)
      else end(session, `the node answered ${answer.status} to the first request`)
    } catch (error) {
      end(session, messageOf(error))
    }
  }

  #helloRequest(): NodeRequest {
    const query = new URLSearchParams({ detectMs: String(this.#detectMs) })
    for (const url of this.#servers()) query.append('server', url)
    return { method: 'GET', path: `${HELLO_PATH}?${query}` }
  }

  #joined(session: Session): void {
    if (session.http.destroyed || this.#closed) return
    const { node } = session
    session.connectedAtMs = session.lastSeenMs = this.#clock.now()
    const older = this.#sessions.get(node)
    this.#others.delete(session)
    this.#sessions.set(node, session)
    if (older) {
      // The usual case is a node that lost the old connection without telling; two alive at once are two machines of one key.
      const alive = this.#clock.now() - older.lastSeenMs < 5_000
      const fields = { node, older: older.remote, newer: session.remote }
      if (alive) log.warn('a newer link replaces one that was alive just now; do two machines use the key of one node?', fields)
      else log.info('a newer link replaces the older', fields)
      older.timer?.cancel()
      this.#others.add(older)
      end(older, 'replaced by a newer link')
    } else log.info('node connected', { node, remote: session.remote })
    this.#emit(node, stateOf(session))
    this.#schedulePing(session)
  }

  #schedulePing(session: Session): void {
    session.timer = this.#clock.timer('ping', this.#live.pingMs, () => {
      const before = session.socket.bytesRead
      const alive = (): void => {
        if (session.http.destroyed || this.#sessions.get(session.node) !== session) return
        session.timer?.cancel()
        session.lastSeenMs = this.#clock.now()
        this.#emit(session.node, stateOf(session))
        this.#schedulePing(session)
      }
      session.timer = this.#clock.timer('ping answer', this.#live.answerMs, () => {
        if (session.socket.bytesRead > before) return alive() // the answer stands behind a big copy, but the node lives
        end(session, `no sign of life for ${(this.#live.pingMs + this.#live.answerMs) / 1000} s`)
      })
      const sent = session.http.ping((error) => {
        if (!error) alive()
      })
      if (!sent) end(session, 'a ping could not be sent')
    })
  }

  #ended(session: Session): void {
    this.#others.delete(session)
    this.#drop(session)
  }

  /** Forgets a session; tells of the loss when it was the node's current one. */
  #drop(session: Session): void {
    session.timer?.cancel()
    if (this.#sessions.get(session.node) !== session) return
    this.#sessions.delete(session.node)
    log.info('node disconnected', { node: session.node, remote: session.remote })
    this.#emit(session.node, undefined)
  }

  #emit(node: string, state: LinkState | undefined): void {
    for (const fn of this.#listeners) fn(node, state)
  }
}

function stateOf(s: Session): LinkState {
  return { node: s.node, connectedAtMs: s.connectedAtMs, lastSeenMs: s.lastSeenMs, remote: s.remote }
}

function end(session: Session, why: string): void {
  if (session.http.destroyed) return
  log.debug('ending a link', { node: session.node, why })
  session.http.destroy()
  session.socket.destroy() // the session's own end waits for the peer, which may be gone
}

async function request(session: Session, req: NodeRequest, timeoutMs: number, clock: Clock, signal: AbortSignal | undefined): Promise<NodeStream> {
  const act = `${req.method} ${req.path.split('?')[0]} on node '${session.node}'`
  signal?.throwIfAborted()
  let stream: ClientHttp2Stream
  try {
    // Our side stays open until the node's has ended, also when nothing is to be sent: only then does a cut show as one, not as an end.
    stream = session.http.request({ ':method': req.method, ':path': req.path, ...req.headers }, { endStream: false })
    if (req.method === 'GET' || req.method === 'DELETE') stream.once('end', () => stream.end())
  } catch (cause) {
    throw new AppError('unavailable', `${act}: the link is closing`, { cause })
  }
  const answer = new Promise<IncomingHttpHeaders & { ':status'?: number }>((resolve, reject) => {
    stream.once('response', resolve)
    stream.on('error', (cause) => reject(new AppError('unavailable', `${act}: the stream failed before an answer`, { cause })))
    stream.once('close', () => reject(new AppError('unavailable', `${act}: the stream ended before an answer`)))
  })
  try {
    const headers = await within(answer, timeoutMs, { clock, signal }, () => new AppError('timeout', `${act}: no answer within ${timeoutMs / 1000} s`))
    const plain: Record<string, string> = {}
    for (const [k, v] of Object.entries(headers)) if (!k.startsWith(':') && v !== undefined) plain[k] = Array.isArray(v) ? v.join(', ') : String(v)
    return { status: headers[':status'] ?? 0, headers: plain, stream }
  } catch (error) {
    stream.close(8) // CANCEL
    throw error
  }
}
