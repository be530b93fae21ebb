/**
 * One watcher's bounded queue between the cache, which never waits, and a reader, which may be slow. Chunks that pile up are
 * handed over joined. Full (bytes over the limit): the watch ends without a word, the client resumes by resourceVersion.
 */
export class WatchStream implements AsyncIterable<Uint8Array>, AsyncIterator<Uint8Array> {
  readonly #maxBytes: number
  readonly #onEnd: () => void
  #chunks: Uint8Array[] = []
  #bytes = 0
  #ended = false
  #closed = false
  #wake: (() => void) | undefined

  /** @param maxBytes most bytes waiting for the reader  @param onEnd called once when the watch is over, whoever ended it */
  constructor(maxBytes: number, onEnd: () => void) {
    this.#maxBytes = maxBytes
    this.#onEnd = onEnd
  }

  get ended(): boolean {
    return this.#ended
  }

  push(chunk: Uint8Array): void {
    if (this.#ended) return
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    // One chunk alone may be larger than the limit: a list of initial events is paced by the reader instead.
    if (this.#bytes > this.#maxBytes && this.#chunks.length > 1) {
      this.#chunks = []
      this.end()
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

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return this
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    while (this.#chunks.length === 0) {
      if (this.#ended || this.#closed) return { done: true, value: undefined }
      await new Promise<void>((resolve) => (this.#wake = resolve))
      this.#wake = undefined
    }
    const chunks = this.#chunks
    this.#chunks = []
    this.#bytes = 0
    return { done: false, value: chunks.length === 1 ? (chunks[0] as Uint8Array) : Buffer.concat(chunks) }
  }

  async return(): Promise<IteratorResult<Uint8Array>> {
    this.#closed = true
    this.#chunks = []
    this.end()
    return { done: true, value: undefined }
  }
}
