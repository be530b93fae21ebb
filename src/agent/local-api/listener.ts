/**
 * The sockets of the node-local API: TLS on the pod bridge's address and on loopback, HTTP/1.1. Requests that become streams
 * (exec, attach, port-forward) are passed through to the server byte by byte. Bounded: {@link MOST_CONNECTIONS} an address.
 */
import type { IncomingMessage } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { Duplex } from 'node:stream'
import { AppError, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import type { LocalApi } from './local-api.ts'
import { readRequest } from './request.ts'

const log = logger('agent.local-api')
const MOST_CONNECTIONS = 512

export interface ListenerOptions {
  readonly api: Pick<LocalApi, 'handle'>
  readonly addresses: readonly string[]
  readonly port: number
  /** A TLS connection to the server that shows no certificate of the node, for streams. @throws AppError `unavailable` when it is away */
  readonly dial: () => Promise<Duplex>
}

/** Listens once it has a certificate; a renewed one is used for new connections. */
export class LocalApiListener implements AsyncDisposable {
  readonly #o: ListenerOptions
  #servers: Server[] = []

  constructor(options: ListenerOptions) {
    this.#o = options
  }

  /** Starts, or goes on with another certificate. An address that cannot be had is told and left out. @throws AppError `unavailable` when none can be had */
  async use(tls: { readonly keyPem: string; readonly certPem: string }): Promise<void> {
    const context = { key: tls.keyPem, cert: tls.certPem, minVersion: 'TLSv1.2' as const }
    if (this.#servers.length > 0) {
      for (const s of this.#servers) s.setSecureContext(context)
      return
    }
    for (const address of this.#o.addresses) {
      const server = this.#make(context)
      try {
        await new Promise<void>((resolve, reject) => {
          server.once('error', reject)
          server.listen(this.#o.port, address, resolve)
        })
        server.on('error', (error) => log.error('local API port failed', { address, error }))
        this.#servers.push(server)
      } catch (error) {
        log.warn('the local API has not got this address; another process or instance may have it (--local-api-port)', { address, port: this.#o.port, why: messageOf(error) })
      }
    }
    if (this.#servers.length === 0) throw new AppError('unavailable', `listen for pods on port ${this.#o.port}: no address of ${this.#o.addresses.join(', ')} could be had`)
    log.info('local API serves', { addresses: this.ports.map((p) => `${p.address}:${p.port}`).join(' ') })
  }

  /** Where it listens. */
  get ports(): readonly { readonly address: string; readonly port: number }[] {
    return this.#servers.map((s) => s.address()).filter((a) => a !== null && typeof a === 'object')
  }

  #make(context: { key: string; cert: string; minVersion: 'TLSv1.2' }): Server {
    const server = createServer({ ...context, handshakeTimeout: 10_000, maxHeaderSize: 64 << 10, headersTimeout: 20_000, requestTimeout: 0, keepAliveTimeout: 75_000, noDelay: true }, (req, res) => void this.#o.api.handle(req, res))
    server.maxConnections = MOST_CONNECTIONS
    server.on('upgrade', (req, socket, head) => void this.#upgrade(req, socket, head))
    server.on('tlsClientError', (error, socket) => log.debug('tls handshake failed', { error: messageOf(error), remote: socket.remoteAddress }))
    server.on('clientError', (_error, socket) => {
      if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n')
    })
    return server
  }

  async #upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on('error', () => undefined) // a caller that goes away ends the stream, no more
    const shown = /^Bearer \S+$/i.test(req.headers.authorization ?? '') || /base64url\.bearer\.authorization\.k8s\.io\./.test(String(req.headers['sec-websocket-protocol'] ?? ''))
    if (!shown || !readRequest(req.method ?? 'GET', req.url ?? '/')?.resource) return void socket.end('HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
    let server: Duplex
    try {
      server = await this.#o.dial()
    } catch (error) {
      const text = JSON.stringify({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', code: 503, reason: 'ServiceUnavailable', message: `the server is away: ${messageOf(error)}` })
      return void socket.end(`HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`)
    }
    server.on('error', () => socket.destroy())
    server.once('close', () => socket.destroy())
    socket.once('close', () => server.destroy())
    const lines = [`${req.method} ${req.url} HTTP/1.1`]
    for (let i = 0; i < req.rawHeaders.length; i += 2) lines.push(`${req.rawHeaders[i]}: ${req.rawHeaders[i + 1]}`)
    server.write(`${lines.join('\r\n')}\r\n\r\n`)
    server.write(head)
    socket.pipe(server).pipe(socket)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const servers = this.#servers
    this.#servers = []
    await Promise.all(
      servers.map((s) => {
        const closed = new Promise<void>((resolve) => s.close(() => resolve()))
        s.closeAllConnections()
        return closed
      }),
    )
  }
}
