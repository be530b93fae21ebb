/** A container's log over a WebSocket, as clients without streams of HTTP read it: each piece is one message. Used by the server when such an upgrade comes. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { badRequest } from '../../api/status.ts'
import { acceptWebSocket, chooseProtocol, sendMessage } from './upgrade.ts'

/** Bytes as they are, or in base64 for clients that take texts only. Who names no protocol gets bytes. */
const BINARY = 'binary.k8s.io'
const BASE64 = 'base64.binary.k8s.io'

/** The protocol for a client; undefined: it named none. @throws ApiError 400 when it named others only */
export function logProtocol(req: IncomingMessage): string | undefined {
  const offered = req.headers['sec-websocket-protocol']
  if (!offered) return undefined
  const protocol = chooseProtocol(req, 'sec-websocket-protocol', [BINARY, BASE64])
  if (protocol === undefined) throw badRequest(`unable to upgrade: offered protocols '${offered}', known are ${BINARY}, ${BASE64}`)
  return protocol
}

/** Hands a log on until it ends or the client goes; `end` is called when the client is gone. The first message is empty, as with Kubernetes. */
export async function logSocket(req: IncomingMessage, socket: Duplex, head: Buffer, body: string | AsyncIterable<string | Uint8Array>, end: () => void): Promise<void> {
  const protocol = logProtocol(req)
  const ws = await acceptWebSocket(req, socket, head, protocol)
  ws.on('close', end)
  ws.on('error', end)
  const send = (piece: Buffer): Promise<void> | undefined => sendMessage(ws, protocol === BASE64 ? piece.toString('base64') : piece)
  await send(Buffer.alloc(0))
  for await (const chunk of typeof body === 'string' ? [body] : body) await send(Buffer.from(chunk as Uint8Array))
  ws.close(1000)
}
