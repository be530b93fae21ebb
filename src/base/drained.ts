/** Back-pressure: waiting for a stream that has enough. Used by whoever copies bytes by hand. */
import type { EventEmitter } from 'node:events'

/** Resolves when the stream takes more, has closed, or the signal aborts; the caller looks at which. Call it after `write` said false. */
export function drained(stream: EventEmitter, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off('drain', done).off('close', done)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    stream.once('drain', done).once('close', done)
    signal?.addEventListener('abort', done, { once: true })
    if (signal?.aborted) done()
  })
}
