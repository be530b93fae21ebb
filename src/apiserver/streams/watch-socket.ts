/** A watch over a WebSocket, as browsers open it: each event is one text message. Used by the server when such an upgrade comes. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import { acceptWebSocket, sendMessage } from './upgrade.ts'

/** Hands the lines of a watch on until it ends or the client goes; `end` is called when the client is gone. */
export async function watchSocket(req: IncomingMessage, socket: Duplex, head: Buffer, lines: AsyncIterable<string | Uint8Array>, end: () => void): Promise<void> {
  const ws = await acceptWebSocket(req, socket, head)
  ws.on('close', end)
  ws.on('error', end)
  const decoder = new StringDecoder('utf8')
  let rest = ''
  for await (const chunk of lines) {
    const parts = (rest + (typeof chunk === 'string' ? chunk : decoder.write(Buffer.from(chunk)))).split('\n')
    rest = parts.pop() ?? ''
    for (const line of parts) await sendMessage(ws, line)
  }
  ws.close(1000)
}
