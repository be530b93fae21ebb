/**
 * Live records as server-sent events: `id` is the change's version, `data` the record as it is now. A reader is served from the
 * storage, page by page at its own pace, so a slow one costs one page of memory and nothing else; a reviewed record comes
 * again. Resumes behind `Last-Event-ID`; from the beginning without one. A silent stream says `: ping` now and then.
 */
import type { ServerResponse } from 'node:http'
import type { Clock } from '../base/clock.ts'
import { drained } from '../base/drained.ts'
import { AppError } from '../base/errors.ts'
import type { HttpResponse } from './http.ts'
import type { RecordsClient } from './records-client.ts'
import type { KeptRecord } from './types.ts'

const MAX_READERS = 256
const PAGE = 100
const PING_MS = 15_000

/** All live readers of one collector. */
export class Live {
  readonly #records: RecordsClient
  readonly #clock: Clock
  /** Readers waiting for news of a stream, by `namespace/stream`. */
  readonly #waiting = new Map<string, Set<() => void>>()
  #readers = 0

  constructor(records: RecordsClient, clock: Clock) {
    this.#records = records
    this.#clock = clock
  }

  /** Something was kept or reviewed in these streams. */
  changed(streams: Iterable<string>): void {
    for (const stream of streams) for (const wake of this.#waiting.get(stream) ?? []) wake()
  }

  /** Streams until the reader goes away or the signal aborts. @throws AppError `unavailable` when there are too many readers */
  async serve(res: HttpResponse, namespace: string, stream: string, after: number, signal: AbortSignal): Promise<void> {
    if (this.#readers >= MAX_READERS) throw new AppError('unavailable', `watch records: ${MAX_READERS} readers watch already; try again later`)
    this.#readers++
    const gone = new AbortController()
    res.on('close', () => gone.abort())
    const ended = AbortSignal.any([signal, gone.signal])
    try {
      const first = await this.#records.call('changes', namespace, stream, after, PAGE) // an error is still a Status here
      ;(res as ServerResponse).writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' })
      await this.#write(res, ': live\n\n', ended)
      await this.#follow(res, `${namespace}/${stream}`, first, after, ended, (from) => this.#records.call('changes', namespace, stream, from, PAGE))
      res.end()
    } finally {
      this.#readers--
    }
  }

  async #follow(res: HttpResponse, stream: string, first: Page, after: number, ended: AbortSignal, next: (after: number) => Promise<Page>): Promise<void> {
    let [page, cursor] = [first, after]
    while (!ended.aborted) {
      for (const { version, record } of page) {
        if (ended.aborted) return
        await this.#write(res, `id: ${version}\ndata: ${JSON.stringify(record)}\n\n`, ended)
        cursor = version
      }
      // Listen before looking, so that what comes in between wakes us.
      const news = this.#news(stream, ended)
      try {
        page = await next(cursor)
      } catch (error) {
        news.cancel()
        throw error
      }
      if (page.length > 0) news.cancel()
      else if (!(await news.came) && !ended.aborted) await this.#write(res, ': ping\n\n', ended)
    }
  }

  /** Resolves true when the stream changed, false after a while, on abort or cancel. */
  #news(stream: string, ended: AbortSignal): { came: Promise<boolean>; cancel(): void } {
    const { promise: came, resolve } = Promise.withResolvers<boolean>()
    const readers = this.#waiting.get(stream) ?? new Set()
    this.#waiting.set(stream, readers)
    const done = (news: boolean): void => {
      timer.cancel()
      ended.removeEventListener('abort', quiet)
      readers.delete(wake)
      if (readers.size === 0 && this.#waiting.get(stream) === readers) this.#waiting.delete(stream)
      resolve(news)
    }
    const wake = (): void => done(true)
    const quiet = (): void => done(false)
    const timer = this.#clock.timer('collector ping', PING_MS, quiet)
    readers.add(wake)
    ended.addEventListener('abort', quiet, { once: true })
    if (ended.aborted) quiet()
    return { came, cancel: quiet }
  }

  async #write(res: HttpResponse, text: string, ended: AbortSignal): Promise<void> {
    if (ended.aborted || (res as ServerResponse).write(text)) return
    await drained(res, ended)
  }
}

type Page = readonly { readonly version: number; readonly record: KeptRecord }[]
