/**
 * exec and attach: Kubernetes' remotecommand channels between a client (WebSocket v5/v4, or SPDY v4) and a node stream of
 * frames (base/stream.ts). The node sends the Status of the command on the error channel as its last word; when it cannot,
 * because the link broke, a Failure is said here, so that no client takes a broken stream for success.
 * A slow side stops the other: nothing is kept beyond one chunk and the transports' own windows.
 */
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { WebSocket } from 'ws'
import { drained } from '../../base/drained.ts'
import { messageOf } from '../../base/errors.ts'
import { CHANNEL, encodeFrame, FrameDecoder, MAX_FRAME } from '../../base/stream.ts'
import { SpdyConnection, type SpdyStream } from './spdy.ts'
import { sendMessage } from './upgrade.ts'

/** WebSocket subprotocols in our order of preference. v5 can close stdin; base64 is for browsers. */
export const COMMAND_WS_PROTOCOLS = ['v5.channel.k8s.io', 'v4.channel.k8s.io', 'v4.base64.channel.k8s.io'] as const
export const COMMAND_SPDY_PROTOCOLS = ['v4.channel.k8s.io'] as const
/** All streams a SPDY client announced must be there within this, ms. */
const STREAMS_MS = 30_000

/**
 * No WebSocket client is sent anything before this, ms: kubectl before 1.34 drops what comes while it still makes its streams
 * ("Unknown stream id 1, discarding message"; kubernetes/kubernetes#131203).
 */
const HEAD_START_MS = 50

/** Which channels the client asked for. */
export interface CommandChannels {
  readonly stdin: boolean
  readonly stdout: boolean
  readonly stderr: boolean
  readonly tty: boolean
}

/** Reads `stdin`, `stdout`, `stderr` and `tty` of a query; a terminal has no stderr of its own. */
export function channelsOf(query: URLSearchParams): CommandChannels {
  const on = (name: string): boolean => /^(true|1)$/.test(query.get(name) ?? '')
  const tty = on('tty')
  return { stdin: on('stdin'), stdout: on('stdout'), stderr: on('stderr') && !tty, tty }
}

/** Sends to the node in frames of the permitted size; resolves when it takes more. */
function toNode(node: Duplex, channel: number, payload: Buffer): Promise<void> | undefined {
  let room = true
  for (let at = 0; at === 0 || at < payload.length; at += MAX_FRAME) {
    if (!node.writable) return undefined
    room = node.write(encodeFrame(channel, payload.subarray(at, at + MAX_FRAME)))
  }
  return room ? undefined : drained(node)
}

/** Passes the node's frames on until it ends; always ends with a Status on the error channel. */
async function fromNode(node: Duplex, send: (channel: number, payload: Buffer) => Promise<void> | undefined): Promise<void> {
  const decoder = new FrameDecoder()
  let told = false
  let why = 'the node ended the stream without a result'
  try {
    for await (const chunk of node as AsyncIterable<Buffer>) {
      for (const frame of decoder.push(chunk)) {
        if (frame.channel === CHANNEL.error) told = true
        await send(frame.channel, frame.payload)
      }
    }
  } catch (error) {
    why = messageOf(error)
  }
  node.destroy()
  if (told) return
  const message = `error streaming from the node: ${why}`
  await send(CHANNEL.error, Buffer.from(JSON.stringify({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason: 'InternalError', code: 500, details: { causes: [{ message }] } })))
}

/** Joins a WebSocket to a node stream until one of them ends. Resolves when the WebSocket is closed or closing. */
export async function commandOverWebSocket(ws: WebSocket, protocol: string, node: Duplex): Promise<void> {
  const base64 = protocol.includes('base64')
  const headStart = sleep(HEAD_START_MS)
  node.on('error', () => undefined) // the reading loop reports it
  ws.on('error', () => undefined) // `close` follows
  ws.on('close', () => node.destroy())
  if (ws.readyState !== ws.OPEN) return void node.destroy()
  ws.on('message', (data: Buffer) => {
    if (data.length === 0) return
    const channel = base64 ? (data[0] as number) - 48 : (data[0] as number)
    const payload = base64 ? Buffer.from(data.toString('latin1', 1), 'base64') : data.subarray(1)
    const known = channel === CHANNEL.stdin || channel === CHANNEL.resize || (channel === CHANNEL.close && protocol.startsWith('v5.') && payload[0] === CHANNEL.stdin)
    if (!known || (payload.length === 0 && channel === CHANNEL.stdin)) return
    const wait = toNode(node, channel, payload)
    if (!wait) return
    ws.pause()
    void wait.then(() => ws.resume())
  })
  const send = (channel: number, payload: Buffer): Promise<void> | undefined =>
    base64 ? sendMessage(ws, String(channel) + payload.toString('base64')) : sendMessage(ws, Buffer.concat([Buffer.of(channel), payload]))
  let begun = false
  await fromNode(node, (channel, payload) => {
    if (begun) return send(channel, payload)
    begun = true
    return headStart.then(() => send(channel, payload))
  })
  ws.close(1000)
}

/** The same over SPDY: waits for the client's streams, then joins them. Resolves when the connection is over. */
export async function commandOverSpdy(socket: Duplex, head: Buffer, channels: CommandChannels, node: Duplex): Promise<void> {
  node.on('error', () => undefined)
  const wanted = ['error', ...(['stdin', 'stdout', 'stderr'] as const).filter((c) => channels[c]), ...(channels.tty ? ['resize'] : [])]
  const streams = new Map<string, SpdyStream>()
  const all = Promise.withResolvers<void>()
  const connection = new SpdyConnection(socket, {
    maxStreams: wanted.length,
    onStream(stream) {
      const type = stream.headers.streamtype ?? ''
      if (!wanted.includes(type) || streams.has(type)) return stream.refuse()
      streams.set(type, stream)
      stream.accept()
      if (streams.size === wanted.length) all.resolve()
    },
  })
  const timer = setTimeout(() => all.reject(new Error(`the client opened only ${[...streams.keys()].join(', ')} of ${wanted.join(', ')}`)), STREAMS_MS)
  const running = connection.run(head).finally(() => {
    node.destroy()
    all.reject(new Error('the client left'))
  })
  running.catch(() => undefined) // awaited below
  try {
    await all.promise
    const stdin = streams.get('stdin')
    stdin?.on('data', (chunk: Buffer) => {
      const wait = toNode(node, CHANNEL.stdin, chunk)
      if (!wait) return
      stdin.pause()
      void wait.then(() => stdin.resume())
    })
    stdin?.once('end', () => void toNode(node, CHANNEL.close, Buffer.of(CHANNEL.stdin)))
    let sizes = ''
    streams.get('resize')?.on('data', (chunk: Buffer) => {
      sizes = (sizes + chunk.toString()).slice(-1_024)
      for (let end; (end = sizes.indexOf('}')) >= 0; sizes = sizes.slice(end + 1)) void toNode(node, CHANNEL.resize, Buffer.from(sizes.slice(0, end + 1)))
    })
    for (const name of ['stdout', 'stderr', 'error']) streams.get(name)?.resume() // the client closes its half of these
    const out: Record<number, SpdyStream | undefined> = { [CHANNEL.stdout]: streams.get('stdout'), [CHANNEL.stderr]: streams.get('stderr'), [CHANNEL.error]: streams.get('error') }
    await fromNode(node, (channel, payload) => {
      const to = out[channel]
      return !to?.writable || to.write(payload) ? undefined : drained(to)
    })
    for (const stream of streams.values()) stream.end()
    // The client reads what is left and hangs up; a client that does not is hung up on.
    const hangUp = setTimeout(() => connection.close(), 1_000)
    await running.finally(() => clearTimeout(hangUp))
  } finally {
    clearTimeout(timer)
    connection.destroy()
  }
}
