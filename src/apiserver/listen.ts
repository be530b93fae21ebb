/**
 * THE one port: TLS that asks for a client certificate and takes any, then by ALPN: the reversed node link, HTTP/2 for
 * agents and for clients that offer it (client-go), HTTP/1.1 for everyone else and for upgrades. Extra routes first, then the Kubernetes API.
 * Invariants: a link socket is handed over only for a certificate of our CA that names a node; limits hold before a byte of
 * a body is kept (header 64 KiB within 20 s, idle keep-alive 75 s, handshake 10 s). Used by the composition root.
 */
import { createHash } from 'node:crypto'
import { createServer as createHttp2Server, type Http2Server, type Http2Session, type ServerHttp2Session } from 'node:http2'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Duplex } from 'node:stream'
import type { IncomingMessage } from 'node:http'
import { ALPN_API_H2, ALPN_LINK } from '../api/contract.ts'
import { AppError, messageOf } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { sendStatus } from './http.ts'
import type { ApiServer, HttpRequest, HttpResponse, Peer, Route } from './ports.ts'

const log = logger('apiserver.listen')
const PROTOCOLS = [ALPN_LINK, ALPN_API_H2, 'h2', 'http/1.1']
/** A session of an ordinary client without an open request ends after this long, as Kubernetes' do, ms. */
const IDLE_MS = 90_000
const NODE_USER = 'system:node:'
const HEADERS_MS = 20_000

export interface ListenOptions {
  /** 0 takes a free port. */
  readonly port: number
  readonly bindAddress?: string
  readonly key: string
  readonly cert: string
  /** PEM bundle that client certificates are checked against. */
  readonly ca: string
  readonly routes?: readonly Route[]
  /** Takes a socket whose ALPN is the node link and whose certificate names `node`. */
  readonly onLink?: (socket: TLSSocket, node: string, keyHash: string) => void
  /** Why a node's certificate does not count (any more) though our CA signed it, by sha256 of its key (SPKI DER, hex). Asked for every request. */
  readonly refuseNode?: (node: string, keyHash: string) => string | undefined
  /** A request's headers must be in after this long, ms. @default 20000 */
  readonly headersTimeoutMs?: number
  readonly api: ApiServer
}

export interface Listener extends AsyncDisposable {
  readonly port: number
  readonly address: string
  /** New connections use the new certificate; running ones stay. */
  setCertificate(tls: { readonly key: string; readonly cert: string; readonly ca: string }): void
  /** Refuses new connections, ends idle ones, and after `graceMs` (default 1000) the rest. */
  close(graceMs?: number): Promise<void>
}

/** @throws AppError `exists` when the port is taken, `forbidden` when binding is not allowed, `invalid` for a bad key or certificate */
export async function listen(options: ListenOptions): Promise<Listener> {
  const routes = [...(options.routes ?? [])].sort((a, b) => b.prefix.length - a.prefix.length)
  const { api } = options
  const tls = {
    requestCert: true,
    rejectUnauthorized: false,
    minVersion: 'TLSv1.2' as const,
    handshakeTimeout: 10_000,
    // An unknown protocol list gets the alert `no_application_protocol`; no list at all is HTTP/1.1.
    ALPNCallback: ({ protocols }: { protocols: string[] }) => PROTOCOLS.find((p) => protocols.includes(p)),
  }
  let server: ReturnType<typeof createHttpsServer>
  try {
    server = createHttpsServer({
      ...tls,
      key: options.key,
      cert: options.cert,
      ca: options.ca,
      maxHeaderSize: 64 << 10,
      headersTimeout: options.headersTimeoutMs ?? HEADERS_MS,
      connectionsCheckingInterval: (options.headersTimeoutMs ?? HEADERS_MS) / 2,
      // Bodies are at most 3 MiB; large uploads have routes of their own that read as they come.
      requestTimeout: 0,
      keepAliveTimeout: 75_000,
      noDelay: true,
    })
  } catch (cause) {
    throw new AppError('invalid', `start the API port: key or certificate does not load: ${messageOf(cause)}`, { cause })
  }

  const onRequest = (req: HttpRequest, res: HttpResponse): void => {
    void dispatch(req, res).catch((error: unknown) => {
      log.error('request failed outside the pipeline', { error, path: req.url })
      if (res.headersSent) res.destroy?.()
      else sendStatus(res, error)
    })
  }
  const dispatch = async (req: HttpRequest, res: HttpResponse): Promise<void> => {
    const url = req.url ?? '/'
    const mark = url.indexOf('?')
    const path = mark < 0 ? url : url.slice(0, mark)
    const peer = admitted(peerOf(req), options)
    const route = routes.find((r) => path === r.prefix || path.startsWith(r.prefix.endsWith('/') ? r.prefix : `${r.prefix}/`))
    if (!route) return api.handleHttp(req, res, peer)
    let user
    try {
      user = await api.authenticate({ peer, headers: req.headers })
    } catch (error) {
      if (route.auth === 'required') return sendStatus(res, error)
    }
    if (!user && route.auth === 'required') return sendStatus(res, new AppError('unauthorized', 'Unauthorized'))
    await route.handler(req, res, { user, path, query: new URLSearchParams(mark < 0 ? '' : url.slice(mark + 1)) })
  }

  // All of them: also those in a handshake, upgraded ones, and those whose peer went without a word.
  const connections = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    connections.add(socket)
    socket.once('close', () => connections.delete(socket))
  })
  const sessions = new Set<Http2Session>()
  const http2 = (initialWindowSize: number, maxConcurrentStreams: number): Http2Server => {
    const h2 = createHttp2Server({ settings: { initialWindowSize, maxConcurrentStreams }, maxHeaderListPairs: 200 })
    h2.on('request', onRequest)
    h2.on('session', (session) => {
      sessions.add(session)
      session.on('close', () => sessions.delete(session))
      session.on('error', (error) => log.debug('http2 session ended', { error }))
    })
    return h2
  }
  const toAgents = http2(4 << 20, 1_000)
  // Kubernetes' own limits; who needs more streams opens another connection.
  const toClients = http2(256 << 10, 100)
  toClients.on('session', endWhenIdle)
  server.on('request', onRequest)
  server.on('upgrade', (req: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', (error) => log.debug('upgraded socket ended', { error }))
    void api.handleUpgrade(req, socket, head, admitted(peerOf(req), options)).catch((error: unknown) => {
      log.error('upgrade failed', { error, path: req.url })
      socket.destroy()
    })
  })

  const [toHttp1] = server.listeners('secureConnection') as [(socket: TLSSocket) => void]
  server.removeAllListeners('secureConnection')
  const links = new Set<TLSSocket>()
  server.on('secureConnection', (socket: TLSSocket) => {
    socket.on('error', (error) => log.debug('connection ended', { error }))
    if (socket.alpnProtocol === ALPN_LINK) {
      const { subject, problem, nodeKey } = admitted(readPeer(socket), options)
      if (options.onLink && subject?.cn.startsWith(NODE_USER) && subject.o.includes('system:nodes')) {
        links.add(socket)
        socket.on('close', () => links.delete(socket))
        options.onLink(socket, subject.cn.slice(NODE_USER.length), nodeKey ?? '')
      } else {
        log.warn('refused a node link', { subject: subject?.cn, problem: problem ?? 'not a node certificate', remote: socket.remoteAddress })
        socket.destroy()
      }
    } else if (socket.alpnProtocol === ALPN_API_H2 || socket.alpnProtocol === 'h2') {
      const h2 = socket.alpnProtocol === 'h2' ? toClients : toAgents
      // Identity is read now, on the real socket; the session only shows a proxy of it.
      const peer = readPeer(socket)
      h2.once('session', (session) => peers.set(session, peer))
      h2.emit('connection', socket)
    } else toHttp1.call(server, socket)
  })
  server.on('tlsClientError', (error, socket) => log.debug('tls handshake failed', { error, remote: socket.remoteAddress }))
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    const status = error.code === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? '408 Request Timeout' : '400 Bad Request'
    if (socket.writable) socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`)
  })

  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => reject(bindError(cause, options)))
    server.listen(options.port, options.bindAddress, () => resolve())
  })
  server.on('error', (error) => log.error('port failed', { error }))
  const { address, port } = server.address() as AddressInfo
  const close = async (graceMs = 1_000): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    server.closeIdleConnections()
    for (const session of sessions) session.close()
    for (const socket of links) socket.destroy()
    const timer = setTimeout(() => {
      server.closeAllConnections()
      for (const session of sessions) session.destroy()
      for (const socket of connections) socket.destroy()
    }, graceMs)
    await closed
    clearTimeout(timer)
  }
  return {
    port,
    address,
    setCertificate: (next) => server.setSecureContext({ ...next, minVersion: 'TLSv1.2' }),
    close,
    [Symbol.asyncDispose]: () => close(),
  }
}

/** Ends a session that has had nothing to do for {@link IDLE_MS}; a quiet watch is something to do. */
function endWhenIdle(session: ServerHttp2Session): void {
  let open = 0
  session.on('stream', (stream) => {
    open++
    stream.once('close', () => open--)
  })
  session.setTimeout(IDLE_MS, () => {
    if (open === 0) session.close()
  })
}

interface TlsPeer extends Peer {
  /** Of a node's certificate: sha256 of its key. */
  readonly nodeKey?: string
}

const peers = new WeakMap<object, TlsPeer>()

/** The peer as it counts now: a node's identity may have been revoked or taken over since its connection was made. */
function admitted(peer: TlsPeer, { refuseNode }: ListenOptions): TlsPeer {
  const problem = peer.nodeKey === undefined || !peer.subject ? undefined : refuseNode?.(peer.subject.cn.slice(NODE_USER.length), peer.nodeKey)
  return problem === undefined ? peer : { problem }
}

/** The peer of a request, read once a connection. */
function peerOf(req: HttpRequest): TlsPeer {
  const holder = 'stream' in req ? req.stream.session : req.socket
  if (!holder) return {}
  let peer = peers.get(holder)
  if (!peer) peers.set(holder, (peer = 'stream' in req ? {} : readPeer(req.socket as TLSSocket)))
  return peer
}

function readPeer(socket: TLSSocket): TlsPeer {
  const { subject, valid_to: until, fingerprint256 = '' } = socket.getPeerCertificate()
  if (!subject) return {}
  if (!socket.authorized) return { problem: String(socket.authorizationError) }
  const { CN, O } = subject as { CN?: string | string[]; O?: string | string[] }
  if (typeof CN !== 'string') return { problem: 'the client certificate has no single common name' }
  const found = { cn: CN, o: O === undefined ? [] : [O].flat(), fingerprint: fingerprint256.replaceAll(':', '').toLowerCase(), expiresMs: Date.parse(until) }
  if (!CN.startsWith(NODE_USER)) return { subject: found }
  const key = socket.getPeerX509Certificate()?.publicKey.export({ type: 'spki', format: 'der' })
  return { subject: found, nodeKey: createHash('sha256').update(key ?? '').digest('hex') }
}

function bindError(cause: NodeJS.ErrnoException, { port, bindAddress }: ListenOptions): AppError {
  const where = `${bindAddress ?? '*'}:${port}`
  if (cause.code === 'EADDRINUSE') {
    return new AppError('exists', `listen on ${where}: the port is taken by another process, stop it or choose another with --port`, { cause })
  }
  if (cause.code === 'EACCES') {
    return new AppError('forbidden', `listen on ${where}: no right to bind this port, run as root or choose one over 1023 with --port`, { cause })
  }
  if (cause.code === 'ENOTFOUND' || cause.code === 'EAI_AGAIN') {
    return new AppError('invalid', `listen on ${where}: "${bindAddress}" is no address, and no name that is known here: give an address of this machine with --bind-address`)
  }
  if (cause.code === 'EADDRNOTAVAIL') {
    return new AppError('invalid', `listen on ${where}: this machine has no such address, give one that \`ip addr\` shows with --bind-address`, { cause })
  }
  return new AppError('internal', `listen on ${where}: ${cause.message}`, { cause })
}
