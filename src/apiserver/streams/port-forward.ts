/**
 * port-forward: each forwarded connection becomes one node stream of raw bytes. Clients speak SPDY (native, or inside a
 * WebSocket as kubectl does), where a connection is a pair of streams with one request id: `error`, which carries a message
 * when it fails, and `data`; or the older WebSocket channels, two for each port named in the query.
 */
import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { WebSocket } from 'ws'
import { messageOf } from '../../base/errors.ts'
import { SpdyConnection, type SpdyStream } from './spdy.ts'
import { sendMessage } from './upgrade.ts'

export const FORWARD_WS_TUNNEL = 'SPDY/3.1+portforward.k8s.io'
export const FORWARD_WS_PROTOCOLS = [FORWARD_WS_TUNNEL, 'v4.channel.k8s.io'] as const
export const FORWARD_SPDY_PROTOCOLS = ['portforward.k8s.io'] as const
/** The second stream of a pair must come within this, ms. */
const PAIR_MS = 30_000

/** Opens a byte stream to a TCP port of the pod. @throws AppError */
export type OpenPort = (port: number, signal: AbortSignal) => Promise<Duplex>

/** A port from a client's text; undefined when it is none. */
export function portOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 65_535 ? Number(text) : undefined
}

/** Serves one SPDY connection to its end. */
export async function forwardOverSpdy(transport: Duplex, head: Buffer, open: OpenPort): Promise<void> {
  const abort = new AbortController()
  const halves = new Map<string, { error?: SpdyStream; data?: SpdyStream; timer: NodeJS.Timeout }>()
  const running = new Set<Promise<void>>()
  const connection = new SpdyConnection(transport, {
    onStream(stream) {
      const { streamtype: type, requestid: id, port } = stream.headers
      const to = portOf(port)
      if ((type !== 'error' && type !== 'data') || id === undefined || to === undefined) return stream.refuse()
      let pair = halves.get(id)
      if (pair?.[type]) return stream.refuse()
      if (!pair) {
        const timer = setTimeout(() => {
          halves.delete(id)
          pair?.error?.destroy()
          pair?.data?.destroy()
        }, PAIR_MS)
        halves.set(id, (pair = { timer }))
      }
      pair[type] = stream
      stream.accept()
      if (!pair.error || !pair.data) return
      halves.delete(id)
      clearTimeout(pair.timer)
      const work: Promise<void> = forward(pair.data, pair.error, to, open, abort.signal).finally(() => running.delete(work))
      running.add(work)
    },
  })
  try {
    await connection.run(head)
  } finally {
    abort.abort()
    for (const { timer } of halves.values()) clearTimeout(timer)
    await Promise.all(running)
  }
}

/** Never rejects: a failure is told on the error stream, which is ended last, because the client waits for that. */
async function forward(data: SpdyStream, error: SpdyStream, port: number, open: OpenPort, signal: AbortSignal): Promise<void> {
  error.resume() // the client closes its half at once
  let node: Duplex | undefined
  try {
    node = await open(port, signal)
    await Promise.all([pipeline(data, node), pipeline(node, data)])
  } catch (failure) {
    if (error.writable && !data.destroyed) error.write(`error forwarding port ${port}: ${messageOf(failure)}`)
    if (!node) data.end()
    else data.destroy()
    node?.destroy()
  }
  error.end()
}

/** The channels form: for port number i, channel 2i carries data and 2i+1 an error; each begins with the port, little endian. */
export async function forwardOverChannels(ws: WebSocket, ports: readonly number[], open: OpenPort): Promise<void> {
  const abort = new AbortController()
  const nodes: (Duplex | undefined)[] = []
  const early: Buffer[][] = ports.map(() => [])
  ws.on('error', () => undefined) // `close` follows
  const closed = new Promise<void>((resolve) => ws.once('close', () => resolve()))
  ws.on('message', (data: Buffer) => {
    const channel = data[0] ?? 255
    const node = nodes[channel >> 1]
    if (channel % 2 === 1 || channel >> 1 >= ports.length) return
    if (!node) {
      ws.pause() // until the node has answered; what is in flight is kept
      return void early[channel >> 1]?.push(data.subarray(1))
    }
    if (!node.writable || node.write(data.subarray(1))) return
    ws.pause()
    node.once('drain', () => ws.resume()).once('close', () => ws.resume())
  })
  const send = (channel: number, bytes: Uint8Array): Promise<void> | undefined => sendMessage(ws, Buffer.concat([Buffer.of(channel), bytes]))
  await Promise.all(
    ports.map(async (port, i) => {
      const number = Buffer.alloc(2)
      number.writeUInt16LE(port)
      void send(2 * i, number)
      void send(2 * i + 1, number)
      try {
        const node = await open(port, abort.signal)
        void closed.then(() => node.destroy())
        for (const chunk of early[i] ?? []) node.write(chunk)
        nodes[i] = node
        ws.resume()
        for await (const chunk of node as AsyncIterable<Buffer>) await send(2 * i, chunk)
      } catch (failure) {
        void send(2 * i + 1, Buffer.from(`error forwarding port ${port}: ${messageOf(failure)}`))
        ws.resume()
      }
    }),
  ).finally(() => abort.abort())
  ws.close(1000)
}
