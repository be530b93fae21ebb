/**
 * Streams to nodes that another server holds: the server that is asked passes the request on to the others, and the one with
 * the node's link answers. One TLS connection a stream, so that each stands alone; bytes wait in HTTP/2's windows.
 * Used by the composition root when several servers form one cluster; knows no Kubernetes.
 */
import { connect, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2'
import type { Readable, Writable } from 'node:stream'
import type { Clock } from '../base/clock.ts'
import { AppError, hasCode, messageOf } from '../base/errors.ts'
import type { NodeDialer, NodeRequest, NodeStream } from '../base/stream.ts'
import { dialTls, within, type Credentials } from './dial.ts'
import { WINDOW } from './policy.ts'
import type { Hub } from './ports.ts'

/** A server that does not answer within this time is as good as away, ms. */
const CONNECT_MS = 3_000
const OPEN_MS = 30_000
/** What a server answers that does not hold the node. */
const NOT_HERE = 421
/** The request to the node travels in these, its own headers as one JSON text. */
const HEADERS = { method: 'skerry-relay-method', path: 'skerry-relay-path', headers: 'skerry-relay-headers' } as const

export interface RelayOptions {
  readonly hub: Hub
  /** The other servers now, `https://host:port`. */
  readonly peers: () => readonly string[] | Promise<readonly string[]>
  /** What proves to them that we are a server. */
  readonly credentials: () => Credentials
  /** ALPN id of their HTTP/2. */
  readonly alpn: string
  /** Where they serve {@link relayHandler}; ends with `/`. */
  readonly path: string
  readonly clock: Clock
}

/** A dialer that reaches the nodes of all servers: our own at once, others' by asking all servers at the same time. */
export function createRelay(options: RelayOptions): NodeDialer {
  const { hub, clock } = options
  return {
    async open(node, request, signal) {
      if (hub.links().some((l) => l.node === node)) return hub.open(node, request, signal)
      const peers = await options.peers()
      // One of them answers at most: a node has one link. Who is late all the same is told that nobody listens.
      const late = new AbortController()
      const both = signal ? AbortSignal.any([signal, late.signal]) : late.signal
      let won = false
      const asked = peers.map(async (peer) => {
        const stream = await ask(options, peer, node, request, clock, both)
        if (won) stream.stream.destroy()
        won = true
        return stream
      })
      try {
        return await Promise.any(asked)
      } catch (error) {
        signal?.throwIfAborted()
        const failures = error instanceof AggregateError ? error.errors : [error]
        // The server that holds the node has the word, if there is one.
        const told = failures.find((e) => !hasCode(e, 'not-found') && !(e instanceof AppError && e.code === 'unavailable'))
        if (told !== undefined) throw told
        const away = failures.filter((e) => !hasCode(e, 'not-found')).map(messageOf)
        throw new AppError('unavailable', `open a stream to node '${node}': it is connected to no server that answers; its agent must run and reach one${away.length > 0 ? ` (${away.join('; ')})` : ''}`)
      } finally {
        if (!won) late.abort()
      }
    },
  }
}

async function ask(options: RelayOptions, server: string, node: string, request: NodeRequest, clock: Clock, signal: AbortSignal): Promise<NodeStream> {
  const act = `ask ${server} for a stream to node '${node}'`
  const socket = await dialTls({ server, alpn: options.alpn, credentials: options.credentials(), connectTimeoutMs: CONNECT_MS, clock, signal }).catch((cause: unknown) => {
    signal.throwIfAborted()
    // Also one that gives no answer at all: it cannot have the word on the node.
    throw new AppError('unavailable', messageOf(cause), { cause })
  })
  const http = connect(server, { createConnection: () => socket, settings: { enablePush: false, initialWindowSize: WINDOW } })
  http.once('connect', () => http.setLocalWindowSize(WINDOW))
  http.on('error', () => {}) // The stream tells.
  const stream: ClientHttp2Stream = http.request({
    ':method': 'POST',
    ':path': `${options.path}${encodeURIComponent(node)}`,
    [HEADERS.method]: request.method,
    [HEADERS.path]: encodeURI(request.path),
    [HEADERS.headers]: JSON.stringify(request.headers ?? {}),
  })
  stream.once('close', () => {
    http.destroy()
    socket.destroy()
  })
  try {
    const answer = new Promise<IncomingHttpHeaders & { ':status'?: number }>((resolve, reject) => {
      stream.once('response', resolve)
      stream.on('error', (cause) => reject(new AppError('unavailable', `${act}: the stream failed before an answer`, { cause })))
      stream.once('close', () => reject(new AppError('unavailable', `${act}: the stream ended before an answer`)))
    })
    const head = await within(answer, OPEN_MS, { clock, signal }, () => new AppError('timeout', `${act}: no answer within ${OPEN_MS / 1000} s`))
    const status = head[':status'] ?? 0
    if (status === NOT_HERE) throw new AppError('not-found', `${act}: it does not hold the node`)
    const relayed = head[HEADERS.headers]
    // Only an answer that came from the node carries its headers; anything else is the server's own refusal.
    if (typeof relayed !== 'string') throw new AppError('unavailable', `${act}: it answered ${status}`)
    return { status, headers: JSON.parse(relayed) as Record<string, string>, stream }
  } catch (error) {
    stream.close(8) // CANCEL
    stream.destroy()
    throw error
  }
}

/** What the handler needs of a request and its answer: HTTP/2's, or anything like it. */
export interface RelayIn extends Readable {
  readonly headers: IncomingHttpHeaders
}
export interface RelayOut extends Writable {
  writeHead(status: number, headers: Record<string, string>): unknown
  flushHeaders?(): void
}

/** Answers other servers: opens the stream on our own link and passes bytes both ways. The caller has checked who asks. */
export async function relayTo(hub: Hub, node: string, req: RelayIn, res: RelayOut): Promise<void> {
  const text = (name: string): string => String(req.headers[name] ?? '')
  if (!hub.links().some((l) => l.node === node)) return refuse(res, NOT_HERE, `node '${node}' is not connected to this server`)
  const gone = new AbortController()
  res.once('close', () => gone.abort())
  let opened: NodeStream
  try {
    const headers = JSON.parse(text(HEADERS.headers)) as Record<string, string>
    opened = await hub.open(node, { method: text(HEADERS.method) as NodeRequest['method'], path: decodeURI(text(HEADERS.path)), headers }, gone.signal)
  } catch (error) {
    return refuse(res, hasCode(error, 'unavailable') ? NOT_HERE : 502, messageOf(error))
  }
  const { stream } = opened
  if (gone.signal.aborted) return void stream.destroy()
  res.writeHead(opened.status, { [HEADERS.headers]: JSON.stringify(opened.headers) })
  res.flushHeaders?.()
  const end = (): void => {
    stream.destroy()
    res.destroy()
  }
  stream.on('error', end)
  stream.once('close', () => stream.readableEnded || end()) // cut: not to be taken for its end
  req.on('error', end)
  res.once('close', () => stream.destroy())
  // Each side's end is the other's: a half-closed stream stays half open.
  req.pipe(stream)
  stream.pipe(res)
}

function refuse(res: RelayOut, status: number, why: string): void {
  res.writeHead(status, { 'content-type': 'text/plain' })
  res.end(`${why}\n`)
}
