/**
 * One watcher's bounded queue between the cache, which never waits, and a reader, which may be slow. Chunks that pile up are
 * handed over joined. Full (bytes over the limit): the watch ends without a word, the client resumes by resourceVersion.
 *
 * The reader is a loop ({@link WatchStream.next}) or an HTTP answer ({@link WatchStream.into}); the latter takes each chunk at
 * the very moment it comes, without a turn of the event loop and framed once for all watchers of an event.
 */
import type { ServerResponse } from 'node:http'
import type { Writable } from 'node:stream'

/** Chunks as HTTP/1.1 frames them; one event's chunk is the same for many watchers. */
const framed = new WeakMap<Uint8Array, Buffer>()

/** See the header. */
export class WatchStream implements AsyncIterable<Uint8Array>, AsyncIterator<Uint8Array> {
  readonly #maxBytes: number
  #onEnd: () => void
  #pushed = 0
  #chunks: Uint8Array[] = []
  #bytes = 0
  #ended = false
  #closed = false
  #wake: (() => void) | undefined
  #sink: ((chunk: Uint8Array) => void) | undefined
  #onTaken: (() => boolean) | undefined
  #cut: (() => void) | undefined

  /** @param maxBytes most bytes waiting for the reader  @param onEnd called once when the watch is over, whoever ended it */
  constructor(maxBytes: number, onEnd: () => void) {
    this.#maxBytes = maxBytes
    this.#onEnd = onEnd
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Calls `fn` each time the reader has taken all there was and asks for more: what is long is made piece by piece. False: it has made nothing. */
  onTaken(fn: () => boolean): void {
    this.#onTaken = fn
  }

  /** How many chunks it was given, events and bookmarks. */
  get pushed(): number {
    return this.#pushed
  }

  /** Calls `fn` when the watch is over, too; at once when it is. */
  onEnd(fn: () => void): void {
    if (this.#ended) return fn()
    const first = this.#onEnd
    this.#onEnd = () => (first(), fn())
  }

  push(chunk: Uint8Array): void {
    if (this.#ended) return
    this.#pushed++
    if (this.#sink) return this.#sink(chunk)
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    // One chunk alone may be larger than the limit: a list of initial events is paced by the reader instead.
    if (this.#bytes > this.#maxBytes && this.#chunks.length > 1) {
      this.#chunks = []
      this.end()
      this.#cut?.()
    }
    this.#wake?.()
  }

  /** No more chunks; what is queued is still delivered. */
  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#onEnd()
    this.#wake?.()
  }

  /** Writes what comes into an HTTP answer whose head is out. Resolves when the watch has ended and all is written, or the client is gone. */
  into(out: ServerResponse): Promise<void> {
    const { to, frame } = wayInto(out)
    return new Promise((resolve) => {
      // Who has not taken what waits will hardly take an orderly end: the connection goes, and with it what its socket holds.
      this.#cut = () => void out.destroy()
      const sink = (chunk: Uint8Array): void => {
        if (to.write(frame(chunk))) return
        // The client is slower than the changes: from here on they wait in the queue.
        this.#sink = undefined
        to.once('drain', flow)
      }
      const flow = (): void => {
        const rest = this.#take()
        this.#sink = sink
        if (rest) sink(rest)
        while (this.#isOpen() && !this.#ended && this.#onTaken?.() === true) continue
        if (this.#isOpen() && this.#ended && this.#chunks.length === 0) finish()
      }
      const finish = (): void => {
        done()
        if (!out.destroyed) out.end()
      }
      const done = (): void => {
        out.off('close', gone)
        to.off('drain', flow)
        this.#sink = undefined
        this.#wake = undefined
        resolve()
      }
      const gone = (): void => {
        done()
        void this.return()
      }
      if (out.destroyed) return gone()
      out.once('close', gone)
      // The end comes by this way; while the client is slow, after what waits.
      this.#wake = () => {
        if (this.#ended && this.#sink) finish()
      }
      flow()
    })
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return this
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    if (this.#chunks.length === 0 && !this.#ended) this.#onTaken?.()
    while (this.#chunks.length === 0) {
      if (this.#ended || this.#closed) return { done: true, value: undefined }
      await new Promise<void>((resolve) => (this.#wake = resolve))
      this.#wake = undefined
    }
    return { done: false, value: this.#take() as Uint8Array }
  }

  async return(): Promise<IteratorResult<Uint8Array>> {
    this.#closed = true
    this.#chunks = []
    this.end()
    return { done: true, value: undefined }
  }

  /** The answer takes chunks now. */
  #isOpen(): boolean {
    return this.#sink !== undefined
  }

  #take(): Uint8Array | undefined {
    const chunks = this.#chunks
    if (chunks.length === 0) return undefined
    this.#chunks = []
    this.#bytes = 0
    return chunks.length === 1 ? chunks[0] : Buffer.concat(chunks)
  }
}

/** Where the bytes of an answer go, and how: past HTTP/1.1's own framing, which costs more than the encryption, when that is chunked. */
function wayInto(out: ServerResponse): { to: Writable; frame: (chunk: Uint8Array) => Uint8Array } {
  const socket = out.socket as Writable | null
  const chunked = out.chunkedEncoding && out.headersSent && socket !== null && !('stream' in out)
  if (!chunked) return { to: out, frame: (chunk) => chunk }
  return {
    to: socket,
    frame(chunk) {
      let bytes = framed.get(chunk)
      if (!bytes) framed.set(chunk, (bytes = Buffer.concat([Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from('\r\n')])))
      return bytes
    },
  }
}
