/**
 * gRPC as bytes over one HTTP/2 connection on a unix socket: unary calls and server streams, statuses as AppError. Our own
 * because the usual library costs an idle node 6 MB. No compression, no retries: callers know what may be repeated.
 * Used by `grpc.ts`.
 */
import { connect, constants, type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2'
import { createConnection } from 'node:net'
import { AppError, type ErrorCode } from '../base/errors.ts'

/** Largest message either way, bytes; containerd's own limit. */
export const MAX_MESSAGE = 16 << 20
/** Bytes before each message: a flag for compression and the length. */
const PREFIX = 5

export interface GrpcCall {
  /** `/package.Service/Method`. */
  readonly path: string
  readonly message: Uint8Array
  readonly headers: Readonly<Record<string, string>>
  /** 0 is no limit. */
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
}

/** One connection, dialled at the first call and again by the next call after it was lost. Its owner closes it. */
export class GrpcTransport {
  readonly #path: string
  #session: ClientHttp2Session | undefined

  /** @param path of the unix socket */
  constructor(path: string) {
    this.#path = path
  }

  /**
   * The one message of the answer. @throws AppError by gRPC status, `unavailable` when the connection fails; the signal's reason.
   * Apart from {@link stream}, whose iterators would be half of what a node's CPU does for a pod's start.
   */
  async unary(call: GrpcCall): Promise<Buffer> {
    call.signal?.throwIfAborted()
    const stream = this.#open(call)
    let cause: Error | undefined
    let status: IncomingHttpHeaders | undefined
    let answer: Buffer | undefined
    const gate = Promise.withResolvers<void>()
    const cancel = (): void => stream.close(constants.NGHTTP2_CANCEL)
    const fail = (error: Error): void => {
      cause ??= error
      cancel()
    }
    const timer = call.timeoutMs > 0 ? setTimeout(() => fail(failed(call, 'timeout', `no answer within ${call.timeoutMs} ms`)), call.timeoutMs) : undefined
    call.signal?.addEventListener('abort', cancel, { once: true })
    const cutter = new Cutter(call)
    stream.once('response', (headers) => (status ??= withStatus(headers)))
    stream.once('trailers', (headers) => (status = headers))
    stream.on('data', (chunk: Buffer) => {
      try {
        for (const message of cutter.push(chunk)) answer ??= message
      } catch (error) {
        fail(error as Error)
      }
    })
    stream.once('end', () => status && gate.resolve())
    stream.once('error', (error) => (cause ??= error))
    stream.once('close', () => gate.resolve())
    stream.end(framed(call.message))
    try {
      await gate.promise
      call.signal?.throwIfAborted()
      if (cause instanceof AppError) throw cause
      const error = status || !cause ? errorOf(call, status) : failed(call, 'unavailable', cause.message)
      if (error) throw error
      cutter.end()
      if (answer === undefined) throw failed(call, 'internal', 'the answer holds no message')
      return answer
    } finally {
      clearTimeout(timer)
      call.signal?.removeEventListener('abort', cancel)
      if (!stream.closed) cancel()
    }
  }

  /** The messages of the answer as they come; a slow reader slows the sender. @throws as {@link unary} */
  async *stream(call: GrpcCall): AsyncGenerator<Buffer, void> {
    call.signal?.throwIfAborted()
    const stream = this.#open(call)
    let ended: AppError | undefined
    let status: IncomingHttpHeaders | undefined
    const cancel = (): void => stream.close(constants.NGHTTP2_CANCEL)
    const timer = call.timeoutMs > 0 ? setTimeout(() => {
      ended = failed(call, 'timeout', `no answer within ${call.timeoutMs} ms`)
      cancel()
    }, call.timeoutMs) : undefined
    call.signal?.addEventListener('abort', cancel, { once: true })
    stream.once('response', (headers) => (status ??= withStatus(headers)))
    stream.once('trailers', (headers) => (status = headers))
    try {
      stream.end(framed(call.message))
      yield* messages(call, stream)
      const error = ended ?? errorOf(call, status)
      if (error) throw error
    } catch (error) {
      call.signal?.throwIfAborted()
      if (error instanceof AppError) throw error
      throw ended ?? errorOf(call, status) ?? failed(call, 'unavailable', (error as Error).message)
    } finally {
      clearTimeout(timer)
      call.signal?.removeEventListener('abort', cancel)
      if (!stream.closed) cancel()
    }
  }

  /** No further calls; those that run may end. */
  close(): void {
    this.#session?.close()
    this.#session = undefined
  }

  #open(call: GrpcCall): ClientHttp2Stream {
    let session = this.#session
    if (!session || session.closed || session.destroyed) {
      const fresh = connect('http://localhost', { createConnection: () => createConnection(this.#path), settings: { enablePush: false, initialWindowSize: 1 << 20 } })
      const forget = (): void => {
        if (this.#session === fresh) this.#session = undefined
      }
      fresh.on('error', forget) // The calls on it fail with the reason.
      fresh.on('close', forget)
      fresh.on('goaway', forget)
      this.#session = session = fresh
    }
    const stream = session.request({
      ':method': 'POST',
      ':path': call.path,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...(call.timeoutMs > 0 ? { 'grpc-timeout': `${Math.min(99_999_999, Math.ceil(call.timeoutMs))}m` } : {}),
      ...call.headers,
    })
    stream.on('error', () => {}) // The reader below hears it; this one is for what comes after the reader has left.
    return stream
  }
}

function framed(message: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(PREFIX + message.length)
  out.writeUInt8(0, 0)
  out.writeUInt32BE(message.length, 1)
  out.set(message, PREFIX)
  return out
}

/** An answer without messages has its status in its first headers. */
function withStatus(headers: IncomingHttpHeaders & { ':status'?: number | undefined }): IncomingHttpHeaders | undefined {
  return 'grpc-status' in headers || headers[':status'] !== 200 ? headers : undefined
}

async function* messages(call: GrpcCall, stream: ClientHttp2Stream): AsyncGenerator<Buffer, void> {
  const cutter = new Cutter(call)
  for await (const chunk of stream as AsyncIterable<Buffer>) yield* cutter.push(chunk)
  cutter.end()
}

/** Cuts the bytes of an answer into messages; keeps less than one. */
class Cutter {
  readonly #call: GrpcCall
  #parts: Buffer[] = []
  #have = 0

  constructor(call: GrpcCall) {
    this.#call = call
  }

  /** The messages that these bytes complete. @throws AppError for what is no message or too large a one */
  *push(chunk: Buffer): Generator<Buffer, void> {
    this.#parts.push(chunk)
    this.#have += chunk.length
    while (this.#have >= PREFIX) {
      const first = (this.#parts[0]?.length ?? 0) >= PREFIX ? (this.#parts[0] as Buffer) : this.#join()
      if (first[0] !== 0) throw failed(this.#call, 'internal', 'its answer is compressed, though nothing was offered')
      const length = first.readUInt32BE(1)
      if (length > MAX_MESSAGE) throw failed(this.#call, 'full', `its answer has a message of ${length} bytes, at most ${MAX_MESSAGE}`)
      if (this.#have < PREFIX + length) return
      const all = this.#join()
      this.#parts = [all.subarray(PREFIX + length)]
      this.#have -= PREFIX + length
      yield all.subarray(PREFIX, PREFIX + length)
    }
  }

  /** @throws AppError when the bytes ended within a message */
  end(): void {
    if (this.#have > 0) throw failed(this.#call, 'unavailable', 'its answer ended within a message')
  }

  #join(): Buffer {
    if (this.#parts.length !== 1) this.#parts = [Buffer.concat(this.#parts, this.#have)]
    return this.#parts[0] as Buffer
  }
}

/** Statuses of gRPC that have a word of ours; others are `internal`. */
const CODES: Readonly<Record<number, ErrorCode>> = {
  3: 'invalid', // INVALID_ARGUMENT
  4: 'timeout', // DEADLINE_EXCEEDED
  5: 'not-found',
  6: 'exists', // ALREADY_EXISTS
  7: 'forbidden', // PERMISSION_DENIED
  8: 'full', // RESOURCE_EXHAUSTED
  9: 'conflict', // FAILED_PRECONDITION
  12: 'unsupported', // UNIMPLEMENTED
  14: 'unavailable',
  16: 'unauthorized', // UNAUTHENTICATED
}

/** What an answer's end says; undefined when all went well. */
function errorOf(call: GrpcCall, status: IncomingHttpHeaders | undefined): AppError | undefined {
  if (status === undefined) return failed(call, 'unavailable', 'the connection ended before its answer')
  const code = status['grpc-status']
  if (code === undefined) return failed(call, 'unavailable', `it answered with HTTP status ${String(status[':status'])}`)
  if (Number(code) === 0) return undefined
  return failed(call, CODES[Number(code)] ?? 'internal', text(status['grpc-message']) || `gRPC status ${String(code)}`)
}

function text(message: string | string[] | undefined): string {
  const raw = String(message ?? '')
  try {
    return decodeURIComponent(raw)
  } catch {
    return raw // Not escaped as the rules say, but words all the same.
  }
}

function failed(call: GrpcCall, code: ErrorCode, words: string): AppError {
  return new AppError(code, `${call.path.slice(call.path.lastIndexOf('/') + 1)} of the container runtime failed: ${words}`)
}
