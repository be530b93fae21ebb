/** Parts that both implementations of the bounded log share: who has acked how far, who waits for more, what is too large. */
import { AppError } from '../base/errors.ts'
import { MAX_META, MAX_PAYLOAD } from './batch.ts'
import type { LogRecordData } from './log.ts'
import { recordSize } from './segment-format.ts'

/** Cursors kept a log. The one acked longest ago makes way for a new one: a reader that is gone must not hold bytes for ever. */
export const MAX_CURSORS = 64

/** Named read positions; insertion order is order of last use. */
export class Cursors {
  readonly #seqs: Map<string, number>

  constructor(seqs: Iterable<readonly [string, number]> = []) {
    this.#seqs = new Map(seqs)
  }

  get(cursor: string): number {
    return this.#seqs.get(cursor) ?? 0
  }

  /** Moves a cursor on, never back. */
  set(cursor: string, seq: number): void {
    const next = Math.max(seq, this.get(cursor))
    this.#seqs.delete(cursor)
    this.#seqs.set(cursor, next)
    if (this.#seqs.size > MAX_CURSORS) for (const oldest of this.#seqs.keys()) return void this.#seqs.delete(oldest)
  }

  /** What every known cursor has acked; 0 when there is none, so that nothing counts as done with. */
  get least(): number {
    return this.#seqs.size === 0 ? 0 : Math.min(...this.#seqs.values())
  }

  get most(): number {
    return Math.max(0, ...this.#seqs.values())
  }

  toJSON(): [string, number][] {
    return [...this.#seqs]
  }
}

/** Readers that wait for a record behind a sequence number. */
export class Waiters {
  readonly #waiting = new Set<{ after: number; done: (found: boolean) => void }>()

  wait(after: number, signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return Promise.resolve(false)
    return new Promise((resolve) => {
      const onAbort = (): void => waiter.done(false)
      const waiter = {
        after,
        done: (found: boolean): void => {
          this.#waiting.delete(waiter)
          signal.removeEventListener('abort', onAbort)
          resolve(found)
        },
      }
      signal.addEventListener('abort', onAbort, { once: true })
      this.#waiting.add(waiter)
    })
  }

  wake(last: number): void {
    for (const waiter of [...this.#waiting]) if (last > waiter.after) waiter.done(true)
  }

  /** Ends all waits with false. */
  close(): void {
    for (const waiter of [...this.#waiting]) waiter.done(false)
  }
}

/** @throws AppError `too-large` naming the size seen and the limit */
export function checkRecord(data: LogRecordData, options: { readonly maxRecordBytes?: number; readonly maxBytes: number }): void {
  const meta = Buffer.byteLength(data.meta)
  const limit = options.maxRecordBytes ?? MAX_PAYLOAD
  if (meta > MAX_META) throw new AppError('too-large', `append: meta of ${meta} bytes is over ${MAX_META}`)
  if (data.payload.length > limit) throw new AppError('too-large', `append: record of ${data.payload.length} bytes is over ${limit}`)
  const size = recordSize(data)
  if (size > options.maxBytes) throw new AppError('too-large', `append: record of ${size} bytes is over the log's ${options.maxBytes}`)
}
