/**
 * SPDY/3.1, the server's side, as far as Kubernetes clients use it: streams opened by the client, replies, data both ways,
 * half-close, reset, ping, goaway. kubectl's port-forward tunnels it in a WebSocket; old clients upgrade to it.
 *
 * Windows are not kept, because these clients (moby/spdystream) neither send nor honour window updates; what bounds memory is
 * that reading stops while any stream holds more than {@link STREAM_BUFFER} unread, and that writes wait for the transport.
 * Frames over {@link MAX_FRAME}, header blocks over {@link MAX_HEADERS} and broken compression end the connection.
 */
import { Duplex } from 'node:stream'
import { constants, createDeflate, createInflate, type Deflate, type Inflate } from 'node:zlib'
import { AppError, hasCode } from '../../base/errors.ts'
import { SPDY_DICTIONARY } from './spdy-dictionary.ts'

const SYN_STREAM = 1
const SYN_REPLY = 2
const RST_STREAM = 3
const PING = 6
const GOAWAY = 7
const HEADERS = 8
const FIN = 1

/** Reset codes. */
const PROTOCOL_ERROR = 1
const INVALID_STREAM = 2
const REFUSED_STREAM = 3
const CANCEL = 5

const STREAM_BUFFER = 1 << 20
const MAX_FRAME = 4 << 20
const MAX_HEADERS = 64 << 10
/** Data frames we write: small, so that streams share the connection fairly. */
const WRITE_CHUNK = 32 << 10

export interface SpdyOptions {
  /** A client opened a stream: `accept()` or `refuse()` it, then use it as a Duplex. */
  readonly onStream: (stream: SpdyStream) => void
  /** Streams open at once; more are refused. @default 256 */
  readonly maxStreams?: number
}

/** One connection on a byte transport (socket, or the inside of a WebSocket). Ends with it, and ends it. */
export class SpdyConnection {
  readonly #transport: Duplex
  readonly #options: SpdyOptions
  readonly #streams = new Map<number, SpdyStream>()
  readonly #inflate: Inflate
  readonly #deflate: Deflate
  #lastId = 0
  #full = 0
  #closed = false
  /** Writes of header blocks are in order because compression has one state. */
  #headerWrites: Promise<unknown> = Promise.resolve()

  constructor(transport: Duplex, options: SpdyOptions) {
    this.#transport = transport
    this.#options = options
    const zlib = { dictionary: SPDY_DICTIONARY, flush: constants.Z_SYNC_FLUSH }
    this.#inflate = createInflate(zlib)
    this.#deflate = createDeflate(zlib)
    this.#inflate.on('error', () => undefined) // each use has its own listener
    this.#deflate.on('error', () => undefined)
    transport.on('error', () => undefined) // `close` follows and tells the streams
    transport.once('close', () => this.destroy(new AppError('unavailable', 'the client closed the connection')))
  }

  /** Reads until the transport ends. Resolves then; a protocol error ends the connection and is thrown. */
  async run(head: Buffer = Buffer.alloc(0)): Promise<void> {
    let rest = head
    try {
      rest = await this.#frames(rest)
      for await (const chunk of this.#transport as AsyncIterable<Buffer>) {
        rest = await this.#frames(rest.length === 0 ? chunk : Buffer.concat([rest, chunk]))
        if (this.#full > 0) await this.#drained()
        if (this.#closed) break
      }
    } catch (error) {
      this.destroy(error instanceof Error ? error : new Error(String(error)))
      if (hasCode(error, 'invalid')) throw error // anything else is the transport's end, which the streams have been told
    }
    this.destroy(new AppError('unavailable', 'the client closed the connection'))
  }

  /** Says goodbye and closes the transport once what was written is out. Open streams are cut. */
  close(): void {
    if (!this.#closed) void this.#farewell()
  }

  async #farewell(): Promise<void> {
    await this.#headerWrites
    this.write(control(GOAWAY, 0, u32(this.#lastId, 0)))
    this.#transport.end()
  }

  destroy(error?: Error): void {
    if (this.#closed) return
    this.#closed = true
    for (const stream of this.#streams.values()) stream.destroy(error)
    this.#streams.clear()
    this.#wake?.()
    this.#inflate.close()
    this.#deflate.close()
    this.#transport.destroy()
  }

  /** Writes bytes; `done` comes when the transport takes more. Used by streams. */
  write(bytes: Buffer, done?: (error?: Error | null) => void): void {
    if (this.#closed || this.#transport.destroyed || this.#transport.writableEnded) return void done?.(new AppError('unavailable', 'the client closed the connection'))
    if (this.#transport.write(bytes)) return void done?.()
    if (!done) return
    const settle = (): void => {
      this.#transport.off('drain', settle).off('close', settle)
      done(this.#transport.destroyed ? new AppError('unavailable', 'the client closed the connection') : null)
    }
    this.#transport.on('drain', settle).on('close', settle)
  }

  /** Sends a frame with compressed headers. Used by streams. */
  writeHeaders(type: number, flags: number, prefix: Buffer, headers: Record<string, string>): Promise<void> {
    const turn = this.#writeHeaders(this.#headerWrites, type, flags, prefix, headers)
    this.#headerWrites = turn.catch(() => undefined)
    return turn
  }

  async #writeHeaders(earlier: Promise<unknown>, type: number, flags: number, prefix: Buffer, headers: Record<string, string>): Promise<void> {
    await earlier
    if (this.#closed) return
    const block = await through(this.#deflate, encodeHeaders(headers))
    this.write(control(type, flags, Buffer.concat([prefix, block])))
  }

  /** A stream's buffer grew over, or fell under, its limit. Used by streams. */
  pressure(change: 1 | -1): void {
    this.#full += change
    if (this.#full === 0) this.#wake?.()
  }

  /** A stream is over in both directions. Used by streams. */
  forget(id: number): void {
    this.#streams.delete(id)
  }

  #wake: (() => void) | undefined
  #drained(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#closed) return resolve()
      this.#wake = () => {
        this.#wake = undefined
        resolve()
      }
    })
  }

  /** Handles all whole frames of `bytes`; returns the rest. Header blocks are inflated in order, so frames wait for them. */
  async #frames(bytes: Buffer): Promise<Buffer> {
    let at = 0
    while (bytes.length - at >= 8 && !this.#closed) {
      const length = bytes.readUIntBE(at + 5, 3)
      if (length > MAX_FRAME) throw broken(`a frame of ${length} bytes is over ${MAX_FRAME}`)
      if (bytes.length - at < 8 + length) break
      const word = bytes.readUInt32BE(at)
      const flags = bytes[at + 4] as number
      const payload = bytes.subarray(at + 8, at + 8 + length)
      at += 8 + length
      if (word < 0x8000_0000) this.#data(word, flags, payload)
      else {
        const version = (word >>> 16) & 0x7fff
        if (version !== 3) throw broken(`version ${version} is not 3`)
        await this.#control(word & 0xffff, flags, payload)
      }
    }
    return at === 0 ? bytes : bytes.subarray(at)
  }

  #data(id: number, flags: number, payload: Buffer): void {
    const stream = this.#streams.get(id)
    if (!stream) return this.#reset(id, INVALID_STREAM)
    if (stream.remoteEnded) return void stream.destroy(broken(`data after the end of stream ${id}`))
    if (payload.length > 0) stream.receive(payload)
    if ((flags & FIN) !== 0) stream.receiveEnd()
  }

  async #control(type: number, flags: number, payload: Buffer): Promise<void> {
    const need = type === SYN_STREAM ? 10 : type === RST_STREAM || type === GOAWAY ? 8 : type === SYN_REPLY || type === HEADERS || type === PING ? 4 : 0
    if (payload.length < need) throw broken(`a frame of type ${type} has only ${payload.length} bytes`)
    if (type === SYN_STREAM) {
      const id = payload.readUInt32BE(0) & 0x7fff_ffff
      const headers = decodeHeaders(await through(this.#inflate, payload.subarray(10)))
      if (this.#closed) return
      if (id % 2 === 0 || id <= this.#lastId) throw broken(`stream id ${id} does not follow ${this.#lastId}`)
      this.#lastId = id
      if (this.#streams.size >= (this.#options.maxStreams ?? 256)) return this.#reset(id, REFUSED_STREAM)
      const stream = new SpdyStream(this, id, headers)
      this.#streams.set(id, stream)
      if ((flags & FIN) !== 0) stream.receiveEnd()
      this.#options.onStream(stream)
    } else if (type === SYN_REPLY || type === HEADERS) {
      await through(this.#inflate, payload.subarray(4)) // nothing in them matters, but they move the compression's state
    } else if (type === RST_STREAM) {
      const stream = this.#streams.get(payload.readUInt32BE(0) & 0x7fff_ffff)
      stream?.receiveReset(payload.readUInt32BE(4))
    } else if (type === PING) {
      if (payload.readUInt32BE(0) % 2 === 1) this.write(control(PING, 0, Buffer.from(payload.subarray(0, 4))))
    }
    // SETTINGS, WINDOW_UPDATE, GOAWAY and unknown types need no answer.
  }

  #reset(id: number, code: number): void {
    this.write(control(RST_STREAM, 0, u32(id, code)))
  }
}

/** A stream opened by the client. Writing and ending are ordinary; destroying resets it. */
export class SpdyStream extends Duplex {
  readonly id: number
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>
  remoteEnded = false
  readonly #connection: SpdyConnection
  #over = false
  #wasReset = false
  /** Nothing may be sent on a stream before its reply. */
  #reply: Promise<void> = Promise.resolve()

  constructor(connection: SpdyConnection, id: number, headers: Record<string, string>) {
    super({ readableHighWaterMark: STREAM_BUFFER, allowHalfOpen: true })
    this.#connection = connection
    this.id = id
    this.headers = headers
    this.on('error', () => undefined) // whoever pipes has its own listener; a reset nobody waits for is no crash
  }

  /** Sends the reply; what is written goes out behind it. */
  accept(headers: Record<string, string> = {}): void {
    this.#reply = this.#connection.writeHeaders(SYN_REPLY, 0, u32(this.id), headers).catch((error: unknown) => void this.destroy(error as Error))
  }

  refuse(): void {
    this.#sendReset(REFUSED_STREAM)
    this.destroy()
  }

  receive(bytes: Buffer): void {
    if (this.destroyed) return
    if (!this.push(bytes) && !this.#over) {
      this.#over = true
      this.#connection.pressure(1)
    }
  }

  receiveEnd(): void {
    this.remoteEnded = true
    if (!this.destroyed) this.push(null)
  }

  receiveReset(code: number): void {
    this.#wasReset = true
    this.destroy(new AppError('unavailable', `the client reset the stream (code ${code})`))
  }

  override _read(): void {
    if (!this.#over) return
    this.#over = false
    this.#connection.pressure(-1)
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    let at = 0
    const next = (error?: Error | null): void => {
      if (error || at >= chunk.length) return done(error)
      const part = chunk.subarray(at, (at += WRITE_CHUNK))
      this.#connection.write(dataFrame(this.id, 0, part), next)
    }
    void this.#replied(next)
  }

  override _final(done: (error?: Error | null) => void): void {
    void this.#replied(() => {
      this.#connection.write(dataFrame(this.id, FIN, Buffer.alloc(0)))
      done()
    })
  }

  async #replied(then: () => void): Promise<void> {
    await this.#reply
    then()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#connection.forget(this.id)
    if (this.#over) this.#connection.pressure(-1)
    this.#over = false
    if (!this.remoteEnded || !this.writableFinished) this.#sendReset(error && !(error instanceof AppError) ? PROTOCOL_ERROR : CANCEL)
    done(error)
  }

  #sendReset(code: number): void {
    if (this.#wasReset) return
    this.#wasReset = true
    this.#connection.write(control(RST_STREAM, 0, u32(this.id, code)))
  }
}

function broken(why: string): AppError {
  return new AppError('invalid', `read SPDY: ${why}`)
}

function u32(...values: number[]): Buffer {
  const out = Buffer.alloc(values.length * 4)
  values.forEach((v, i) => out.writeUInt32BE(v, i * 4))
  return out
}

function control(type: number, flags: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(8)
  head.writeUInt16BE(0x8003, 0)
  head.writeUInt16BE(type, 2)
  head.writeUInt32BE(((flags << 24) | payload.length) >>> 0, 4)
  return Buffer.concat([head, payload])
}

function dataFrame(id: number, flags: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(8)
  head.writeUInt32BE(id, 0)
  head.writeUInt32BE(((flags << 24) | payload.length) >>> 0, 4)
  return Buffer.concat([head, payload])
}

function encodeHeaders(headers: Record<string, string>): Buffer {
  const parts = [u32(Object.keys(headers).length)]
  for (const [name, value] of Object.entries(headers)) {
    for (const text of [name.toLowerCase(), value]) {
      const bytes = Buffer.from(text)
      parts.push(u32(bytes.length), bytes)
    }
  }
  return Buffer.concat(parts)
}

function decodeHeaders(block: Buffer): Record<string, string> {
  let at = 0
  const number = (): number => {
    if (at + 4 > block.length) throw broken('a header block ends in the middle')
    at += 4
    return block.readUInt32BE(at - 4)
  }
  const text = (): string => {
    const length = number()
    if (length > block.length - at) throw broken('a header block ends in the middle')
    at += length
    return block.toString('utf8', at - length, at)
  }
  const out: Record<string, string> = Object.create(null) as Record<string, string>
  const count = number()
  if (count > 256) throw broken(`${count} headers are more than 256`)
  for (let i = 0; i < count; i++) out[text().toLowerCase()] = text()
  return out
}

/** Runs one block through a compression state that lives on; the output is bounded, so a bomb ends here. */
function through(zlib: Inflate | Deflate, block: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    let size = 0
    const done = (error?: Error): void => {
      zlib.off('data', onData).off('error', onError).off('close', onClose)
      if (error) reject(error)
      else resolve(Buffer.concat(parts))
    }
    const onData = (part: Buffer): void => {
      parts.push(part)
      if ((size += part.length) > MAX_HEADERS) {
        zlib.destroy()
        done(broken(`a header block is over ${MAX_HEADERS} bytes`))
      }
    }
    const onError = (error: Error): void => done(broken(`a header block does not decompress: ${error.message}`))
    const onClose = (): void => done(new AppError('unavailable', 'the client closed the connection'))
    if (zlib.destroyed) return onClose()
    zlib.on('data', onData).on('error', onError).on('close', onClose)
    zlib.write(block, (error) => {
      if (!error) done()
    })
  })
}
