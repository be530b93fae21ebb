/**
 * The store's writer thread as `sqlite.ts` sees it: started when there is work, ended after a rest without any (a thread costs
 * 10 MB of memory and 30 ms of start), started again when it dies.
 *
 * Modes: starting -> running -> resting -> starting …; running or starting -> failed -> starting, every {@link RESTART_MS} until it
 * works; any -> closed. Calls made while it rests or starts are sent once it runs; while it has failed they are refused.
 */
import type { Worker } from 'node:worker_threads'
import type { Clock, Timer } from '../base/clock.ts'
import { AppError } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import type { Scope } from '../base/scope.ts'
import { startWorker } from '../base/worker.ts'
import type { OpResult } from './sqlite-log.ts'
import { NO_COUNTS, type Counts, type Failure, type WriterData, type WriterReply, type WriterRequest } from './sqlite-writer.ts'
import type { Revision } from './store.ts'

const log = logger('store.sqlite')
const RESTART_MS = 1000
/** The thread ends after so long without work, unless told otherwise, ms: several times as long as a burst of writes pauses. */
export const REST_MS = 20_000

export interface ThreadOwner {
  /** The file is open. May throw what makes the start fail. */
  ready(state: { readonly revision: Revision; readonly compacted: Revision }): void
  /** The group handed over last has been tried. */
  written(results: readonly OpResult[] | Failure): void
  expired(results: readonly OpResult[] | Failure): void
  /** What was handed over and is not answered will not be. */
  lost(error: AppError): void
  /** No group waits or is under way. */
  idle(): boolean
}

type Done = Extract<WriterReply, { type: 'done' }>
type Mode = 'starting' | 'running' | 'resting' | 'failed' | 'closed'

/** See the header. */
export class WriterThread {
  readonly #data: Omit<WriterData, 'counts' | 'opened'>
  readonly #clock: Clock
  readonly #scope: Scope
  readonly #owner: ThreadOwner
  readonly #restMs: number
  readonly #calls = new Map<number, (reply: Done) => void>()
  #mode: Mode = 'starting'
  #worker: Worker | undefined
  #unsent: WriterRequest[] = []
  #nextCall = 1
  #counts: Counts = NO_COUNTS
  #opened = false
  #rest: Timer | undefined
  #workedAt = 0
  #starting: Promise<void> | undefined
  #ending: Promise<unknown> = Promise.resolve()

  constructor(data: Omit<WriterData, 'counts' | 'opened'>, clock: Clock, scope: Scope, owner: ThreadOwner, restMs: number) {
    this.#data = data
    this.#clock = clock
    this.#scope = scope
    this.#owner = owner
    this.#restMs = restMs
  }

  get running(): boolean {
    return this.#mode === 'running'
  }

  /** False while the thread cannot be started, and at the end. */
  get usable(): boolean {
    return this.#mode !== 'failed' && this.#mode !== 'closed'
  }

  /** Starts the thread; resolves when it is ready, rejects when it cannot open the file. */
  start(): Promise<void> {
    this.#mode = 'starting'
    return (this.#starting ??= this.#start().finally(() => (this.#starting = undefined)))
  }

  /** Starts the thread if it rests. A failed start is the owner's `lost`. */
  wake(): void {
    if (this.#mode === 'resting') this.start().catch((error: unknown) => this.#failed(error as AppError))
  }

  /** Hands a request over, after a start if the thread rests. */
  post(request: WriterRequest): void {
    this.#workedAt = this.#clock.monotonic()
    if (this.#mode === 'running') return this.#worker?.postMessage(request)
    if (!this.usable) return
    this.#unsent.push(request)
    this.wake()
  }

  /** A question to the thread. @throws AppError `unavailable` while it cannot be started */
  call(request: (id: number) => WriterRequest): Promise<unknown> {
    if (!this.usable) return Promise.reject(new AppError('unavailable', 'use store: its writer is starting again; try later'))
    const id = this.#nextCall++
    return new Promise((resolve, reject) => {
      this.#calls.set(id, (reply) => (reply.failure ? reject(new AppError(reply.failure.code, reply.failure.message)) : resolve(reply.value)))
      this.post(request(id))
    })
  }

  /** Ends the thread, the file closed; what was handed over is done before. */
  async close(): Promise<void> {
    await this.#starting?.catch(() => undefined) // Who started it is told.
    this.#mode = 'closed'
    this.#rest?.cancel()
    this.#end()
    await this.#ending
  }

  /** Answers all calls with `error`. */
  refuse(error: AppError): void {
    this.#unsent = []
    for (const [id, done] of this.#calls) done({ type: 'done', id, value: undefined, failure: { code: error.code, message: error.message } })
    this.#calls.clear()
  }

  #end(): void {
    const worker = this.#worker
    this.#worker = undefined
    if (!worker) return
    this.#ending = new Promise<void>((resolve) => void worker.once('exit', () => resolve()))
    worker.postMessage({ type: 'close' } satisfies WriterRequest)
  }

  /** Looks for a rest at the end of one that would begin now. One timer for all answers: they are many. */
  #watchRest(): void {
    if (this.#rest || this.#mode !== 'running') return
    this.#rest = this.#clock.timer('store-writer-rest', this.#workedAt + this.#restMs - this.#clock.monotonic(), () => {
      this.#rest = undefined
      if (this.#mode !== 'running') return
      if (this.#calls.size === 0 && this.#owner.idle() && this.#clock.monotonic() >= this.#workedAt + this.#restMs) {
        this.#mode = 'resting'
        this.#end()
      } else {
        this.#workedAt = Math.max(this.#workedAt, this.#clock.monotonic() - this.#restMs / 2)
        this.#watchRest()
      }
    })
  }

  async #start(): Promise<void> {
    // Two writers never have the file at the same time.
    await this.#ending
    const workerData: WriterData = { ...this.#data, counts: this.#counts, opened: this.#opened }
    const worker = startWorker('store-writer', new URL('./sqlite-writer.ts', import.meta.url), { workerData })
    return new Promise((resolve, reject) => {
      let refusal: AppError | undefined
      worker.on('message', (reply: WriterReply) => {
        switch (reply.type) {
          case 'ready':
            try {
              this.#worker = worker
              this.#mode = 'running'
              this.#opened = true
              this.#workedAt = this.#clock.monotonic()
              this.#watchRest()
              for (const request of this.#unsent.splice(0)) worker.postMessage(request)
              this.#owner.ready(reply)
              resolve()
            } catch (error) {
              this.#worker = undefined
              void worker.terminate()
              reject(error)
            }
            break
          case 'failed':
            refusal = new AppError(reply.failure.code, reply.failure.message)
            break
          case 'written':
            this.#owner.written(reply.results)
            break
          case 'expired':
            this.#owner.expired(reply.results)
            break
          case 'done':
            this.#calls.get(reply.id)?.(reply)
            this.#calls.delete(reply.id)
            break
          case 'ended':
            this.#counts = reply.counts
            break
          default:
            reply satisfies never
        }
      })
      worker.on('error', (error) => {
        refusal ??= new AppError('unavailable', 'use store: its writer thread died; the last writes may or may not have been kept', { cause: error })
      })
      worker.on('exit', () => {
        const error = refusal ?? new AppError('unavailable', 'use store: its writer thread ended; the last writes may or may not have been kept')
        reject(error)
        if (this.#worker === worker) this.#failed(error)
      })
    })
  }

  /** The thread is gone: its work is answered with `error`, and another one is started until that works. */
  #failed(error: AppError): void {
    this.#worker = undefined
    if (this.#mode === 'closed') return
    this.#mode = 'failed'
    this.#rest?.cancel()
    this.#rest = undefined
    const tell = (why: AppError): void => {
      this.refuse(why)
      this.#owner.lost(why)
    }
    tell(error)
    log.error('writer thread ended, starting another', { error })
    this.#scope.run('restart', async (signal) => {
      for (;;) {
        await this.#clock.sleep(RESTART_MS, signal)
        try {
          return await this.start()
        } catch (cause) {
          this.#mode = 'failed'
          log.error('writer thread did not start', { error: cause })
          tell(cause instanceof AppError ? cause : error)
        }
      }
    })
  }
}
