/** An exec or attach session on one stream of frames: channels of `base/stream.ts`, a Status at the end. */
import type { Duplex } from 'node:stream'
import { drained } from '../../base/drained.ts'
import { messageOf } from '../../base/errors.ts'
import { CHANNEL, encodeFrame, FrameDecoder, MAX_FRAME } from '../../base/stream.ts'
import type { StreamSession } from '../../cri/mod.ts'

/** Runs until the session has ended and its output is written, or the peer is gone. */
export async function bridge(session: StreamSession, stream: Duplex): Promise<void> {
  const decoder = new FrameDecoder()
  let peerGone = false
  stream.on('data', (chunk: Buffer) => {
    try {
      for (const frame of decoder.push(chunk)) take(session, stream, frame.channel, frame.payload)
    } catch (error) {
      stream.destroy(error instanceof Error ? error : undefined)
    }
  })
  stream.on('end', () => session.stdin?.end())
  stream.on('error', () => {
    peerGone = true
    session.close()
  })
  stream.on('close', () => {
    peerGone = true
    session.close()
  })
  session.stdin?.on('error', () => undefined) // a command that ends early needs its input no more
  const outputs = [copy(session.stdout, CHANNEL.stdout, stream), ...(session.stderr ? [copy(session.stderr, CHANNEL.stderr, stream)] : [])]
  const status = await session.exit.then(exitStatus, failureStatus)
  await Promise.all(outputs)
  if (!peerGone) stream.end(encodeFrame(CHANNEL.error, Buffer.from(JSON.stringify(status))))
}

/** Ends the stream of a session that could not begin: its only frame is the reason. */
export function endWith(error: unknown, stream: Duplex): void {
  stream.on('error', () => undefined)
  stream.resume().end(encodeFrame(CHANNEL.error, Buffer.from(JSON.stringify(failureStatus(error)))))
}

function take(session: StreamSession, stream: Duplex, channel: number, payload: Buffer): void {
  switch (channel) {
    case CHANNEL.stdin:
      // A command that does not read stops its peer, not our memory.
      if (session.stdin && !session.stdin.write(payload)) {
        stream.pause()
        session.stdin.once('drain', () => stream.resume())
      }
      return
    case CHANNEL.resize: {
      const size = JSON.parse(payload.toString('utf8')) as { Width?: unknown; Height?: unknown }
      if (typeof size.Width === 'number' && typeof size.Height === 'number') session.resize(size.Width, size.Height)
      return
    }
    case CHANNEL.close:
      if (payload[0] === CHANNEL.stdin) session.stdin?.end()
      return
    default:
      return // a channel of a newer peer
  }
}

/** Copies output into frames, as fast as the peer takes them. Resolves at its end. */
async function copy(from: NodeJS.ReadableStream, channel: number, to: Duplex): Promise<void> {
  try {
    for await (const chunk of from) {
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
      for (let at = 0; at < bytes.length; at += MAX_FRAME) {
        if (to.destroyed) return
        if (!to.write(encodeFrame(channel, bytes.subarray(at, at + MAX_FRAME)))) await drained(to)
      }
    }
  } catch {
    // The session broke off; its exit says why.
  }
}

function exitStatus(code: number): object {
  if (code === 0) return { metadata: {}, status: 'Success' }
  return {
    metadata: {},
    status: 'Failure',
    message: `command terminated with non-zero exit code: command terminated with exit code ${code}`,
    reason: 'NonZeroExitCode',
    details: { causes: [{ reason: 'ExitCode', message: String(code) }] },
  }
}

function failureStatus(error: unknown): object {
  return { metadata: {}, status: 'Failure', message: `Internal error occurred: error ${messageOf(error)}`, reason: 'InternalError', code: 500 }
}
