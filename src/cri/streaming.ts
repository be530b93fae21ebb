/**
 * Sessions on containerd's streaming server, whose one-time URL CRI gives: attach (`v4.channel.k8s.io`) and port-forward
 * over WebSocket. Both are byte pipes with back-pressure: reading pauses the socket, a write ends when it is sent. Used by `containerd.ts`.
 * WebSocket v4 cannot half-close: the end of a stdin or of a forwarded request closes nothing until the session closes.
 */
import { Duplex, PassThrough, Writable } from 'node:stream'
import { WebSocket } from 'ws'
import { systemClock } from '../base/clock.ts'
import { AppError } from '../base/errors.ts'
import { CHANNEL } from '../base/stream.ts'
import type { StreamSession } from './runtime.ts'

/** How long a refusal of a port is waited for; a local dial takes a millisecond or two. */
const REFUSAL_MS = 20
const OPEN_TIMEOUT_MS = 10_000

/** Joins a running container's own streams. `exit` resolves with 0 when the container closes them: attach tells no code. */
export async function attachStreams(url: string, options: { stdin: boolean; tty: boolean }): Promise<StreamSession> {
  const socket = await dial(url, 'v4.channel.k8s.io')
  const stdout = new PassThrough()
  const stderr = options.tty ? undefined : new PassThrough()
  const resume = (): void => socket.resume()
  stdout.on('drain', resume)
  stderr?.on('drain', resume)
  const exit = new Promise<number>((resolve, reject) => {
    let status = ''
    socket.on('message', (data: Buffer) => {
      const payload = data.subarray(1)
      if (data[0] === CHANNEL.error) status += payload.toString('utf8')
      else if (payload.length > 0) {
        const to = data[0] === CHANNEL.stderr ? stderr : stdout
        if (to?.write(payload) === false) socket.pause()
      }
    })
    socket.on('error', (error) => reject(new AppError('unavailable', 'attach: the stream broke', { cause: error })))
    socket.on('close', () => {
      stdout.end()
      stderr?.end()
      const code = exitCodeOf(status)
      if (code === undefined) reject(new AppError('internal', `attach failed: ${status}`))
      else resolve(code)
    })
  })
  exit.catch(() => {})
  socket.resume()
  return {
    stdin: options.stdin ? new Writable({ write: (chunk: Buffer, _e, done) => socket.send(frame(CHANNEL.stdin, chunk), done) }) : undefined,
    stdout,
    stderr,
    resize: (width, height) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(frame(CHANNEL.resize, Buffer.from(JSON.stringify({ Width: width, Height: height }))))
    },
    exit,
    close: () => socket.close(),
  }
}

/** The exit code in a v4 status message; 0 for success or none, undefined for a failure that is no exit. */
export function exitCodeOf(status: string): number | undefined {
  if (status === '') return 0
  try {
    const parsed = JSON.parse(status) as { status?: string; details?: { causes?: { reason?: string; message?: string }[] } }
    if (parsed.status === 'Success') return 0
    const cause = parsed.details?.causes?.find((c) => c.reason === 'ExitCode')
    return cause ? Number(cause.message) : undefined
  } catch {
    // Not a Status: an older server's plain text.
    return undefined
  }
}

/** Bytes to and from a TCP port on the pod's loopback; a port that refuses destroys the stream with its reason. */
export async function forwardStream(url: string, port: number): Promise<Duplex> {
  const target = new URL(url)
  target.searchParams.set('port', String(port))
  const socket = await dial(target.toString(), 'v4.channel.k8s.io')
  // Channel 0 is data and 1 is errors; the first message of each names the port, two bytes.
  const greeted = new Set<number>()
  let refusal: AppError | undefined
  const { promise: answered, resolve: answer } = Promise.withResolvers<void>()
  const duplex = new Duplex({
    read: () => socket.resume(),
    write: (chunk: Buffer, _encoding, done) => socket.send(frame(0, chunk), done),
    destroy: (error, done) => {
      socket.close()
      done(error)
    },
  })
  socket.on('message', (data: Buffer) => {
    const channel = data[0] ?? 0
    let payload = data.subarray(1)
    if (!greeted.has(channel) && payload.length >= 2) {
      greeted.add(channel)
      payload = payload.subarray(2)
    }
    if (payload.length === 0) return
    if (channel === 1) {
      refusal ??= new AppError('unavailable', `forward port ${port}: ${payload.toString('utf8')}`)
      duplex.destroy(refusal)
    } else if (!duplex.push(payload)) socket.pause()
    answer()
  })
  socket.on('close', () => (duplex.push(null), answer()))
  socket.on('error', (error) => duplex.destroy(new AppError('unavailable', `forward port ${port}: the stream broke`, { cause: error })))
  duplex.on('error', () => undefined) // until the caller listens
  socket.resume()
  // A port that nobody listens on is told after the stream has opened; one that is open may say nothing until it is asked.
  const timer = systemClock.timer('port refused', REFUSAL_MS, answer)
  await answered
  timer.cancel()
  if (refusal) throw refusal
  return duplex
}

function frame(channel: number, payload: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(channel), payload])
}

function dial(url: string, protocol: string): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url.replace(/^http/, 'ws'), protocol, { perMessageDeflate: false, handshakeTimeout: OPEN_TIMEOUT_MS })
    const onError = (error: Error): void => reject(new AppError('unavailable', `open a stream of the container runtime at ${new URL(url).host}: ${error.message}`))
    socket.once('error', onError)
    socket.once('open', () => {
      socket.off('error', onError)
      // Nothing may be lost between the handshake and the caller's listeners.
      socket.pause()
      resolve(socket)
    })
  })
}
