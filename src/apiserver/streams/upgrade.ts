/**
 * Taking over an HTTP/1.1 connection: as a WebSocket with one of the offered subprotocols, or as SPDY/3.1; and refusing it
 * in HTTP. Used by pod-streams and its two protocols.
 */
import type { IncomingMessage } from 'node:http'
import { Duplex } from 'node:stream'
import { WebSocketServer, type WebSocket } from 'ws'
import { toStatus } from '../../api/status.ts'

/** A message of a client may not be larger, bytes; Kubernetes clients send at most 32 KiB, some libraries more. */
const MAX_MESSAGE = 16 << 20
/** Wait for the transport when this much is queued, bytes. */
const WS_QUEUE = 1 << 20

const acceptor = new WebSocketServer({ noServer: true, maxPayload: MAX_MESSAGE, perMessageDeflate: false, handleProtocols: (offered) => offered.values().next().value ?? false })

/** The client asks for a WebSocket. */
export function isWebSocket(req: IncomingMessage): boolean {
  return req.headers.upgrade?.toLowerCase() === 'websocket'
}

/** The client asks for SPDY/3.1, as kubectl before 1.31 does. */
export function isSpdy(req: IncomingMessage): boolean {
  return req.headers.upgrade?.toLowerCase() === 'spdy/3.1'
}

/** The first of `known`, in our order of preference, that the client offers; undefined: none. */
export function chooseProtocol(req: IncomingMessage, header: 'sec-websocket-protocol' | 'x-stream-protocol-version', known: readonly string[]): string | undefined {
  const value = req.headers[header]
  const offered = (Array.isArray(value) ? value.join(',') : (value ?? '')).split(',').map((p) => p.trim())
  return known.find((p) => offered.includes(p))
}

/** Completes the WebSocket handshake with `protocol`, or with the first one offered, if any. */
export function acceptWebSocket(req: IncomingMessage, socket: Duplex, head: Buffer, protocol?: string): Promise<WebSocket> {
  return new Promise((resolve) => {
    if (protocol !== undefined) req.headers['sec-websocket-protocol'] = protocol // the only one left to choose
    acceptor.handleUpgrade(req, socket, head, resolve)
  })
}

/** Answers the upgrade to SPDY; the socket speaks it from now on. */
export function acceptSpdy(socket: Duplex, protocol: string): void {
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${protocol}\r\n\r\n`)
}

/** Answers an upgrade with a Status instead, and closes. */
export function refuseUpgrade(socket: Duplex, error: unknown): void {
  const status = toStatus(error)
  const body = JSON.stringify(status)
  const code = status.code ?? 500
  socket.end(`HTTP/1.1 ${code} ${status.reason ?? 'Error'}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`)
}

/** Sends one message; resolves when the queue has room again. */
export function sendMessage(ws: WebSocket, data: Buffer | string): Promise<void> | undefined {
  if (ws.readyState !== ws.OPEN) return undefined
  if (ws.bufferedAmount < WS_QUEUE) return void ws.send(data, () => undefined) // a failed send shows as `close`
  return new Promise((resolve) => ws.send(data, () => resolve()))
}

async function callAfter(wait: Promise<void>, done: () => void): Promise<void> {
  await wait
  done()
}

/** The binary messages of a WebSocket as a byte stream. */
export function asDuplex(ws: WebSocket): Duplex {
  const duplex = new Duplex({
    readableHighWaterMark: WS_QUEUE,
    read: () => ws.resume(),
    write(chunk: Buffer, _encoding, done) {
      const wait = sendMessage(ws, chunk)
      if (wait) void callAfter(wait, done)
      else done()
    },
    final(done) {
      ws.close(1000)
      done()
    },
    destroy(error, done) {
      if (ws.readyState === ws.OPEN) ws.close(1000)
      else if (ws.readyState !== ws.CLOSED) ws.terminate()
      done(error)
    },
  })
  ws.on('message', (data: Buffer, binary) => {
    if (binary && !duplex.push(data)) ws.pause()
  })
  ws.on('error', () => undefined) // `close` follows
  ws.on('close', () => {
    duplex.push(null)
    duplex.destroy()
  })
  return duplex
}
