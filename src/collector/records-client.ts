/**
 * The HTTP side's hand on the storage thread: typed calls, at most {@link MAX_CALLS} waiting (more are refused with
 * `unavailable`, senders try again). A thread that died is started again by the next call.
 */
import type { Worker } from 'node:worker_threads'
import { AppError } from '../base/errors.ts'
import { startWorker } from '../base/worker.ts'
import type { RecordCalls, RecordReply, RecordRequest, RecordsData } from './records-worker.ts'

const MAX_CALLS = 256

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: AppError) => void
}

/** One storage thread; `open` it before serving, so that a broken file is said at the start. */
export class RecordsClient implements AsyncDisposable {
  readonly #data: RecordsData
  readonly #waiting = new Map<number, Waiting>()
  #starting: Promise<Worker> | undefined
  #next = 1
  #closed = false

  constructor(data: RecordsData) {
    this.#data = data
  }

  /** Starts the thread. @throws AppError `corrupt`, `unavailable`, `full` when it cannot open its files */
  async open(): Promise<void> {
    await this.#worker()
  }

  async call<K extends keyof RecordCalls>(method: K, ...args: Parameters<RecordCalls[K]>): Promise<ReturnType<RecordCalls[K]>> {
    if (this.#waiting.size >= MAX_CALLS) throw new AppError('unavailable', `${method} records: ${MAX_CALLS} calls wait for the disk already; try again later`)
    const worker = await this.#worker()
    const id = this.#next++
    const value = await new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      worker.postMessage({ type: 'call', id, method, args } satisfies RecordRequest)
    })
    return value as ReturnType<RecordCalls[K]>
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    const worker = await this.#starting?.catch(() => undefined)
    if (!worker) return
    const ended = new Promise<void>((resolve) => void worker.once('exit', () => resolve()))
    worker.postMessage({ type: 'close' } satisfies RecordRequest)
    await ended
  }

  #worker(): Promise<Worker> {
    if (this.#closed) return Promise.reject(new AppError('unavailable', 'use records: the collector is closed', { retryable: false }))
    this.#starting ??= this.#start()
    return this.#starting
  }

  #start(): Promise<Worker> {
    const worker = startWorker('collector-records', new URL('./records-worker.ts', import.meta.url), { workerData: this.#data })
    return new Promise((resolve, reject) => {
      let failure: AppError | undefined
      worker.on('message', (reply: RecordReply) => {
        switch (reply.type) {
          case 'ready':
            return resolve(worker)
          case 'failed':
            failure = new AppError(reply.code, reply.message)
            return
          case 'done':
            this.#waiting.get(reply.id)?.resolve(reply.value)
            return void this.#waiting.delete(reply.id)
          case 'refused':
            this.#waiting.get(reply.id)?.reject(new AppError(reply.code, reply.message))
            return void this.#waiting.delete(reply.id)
          default:
            reply satisfies never
        }
      })
      worker.on('error', (cause) => (failure ??= new AppError('unavailable', 'use records: the storage thread died', { cause })))
      worker.on('exit', () => {
        this.#starting = undefined
        const error = failure ?? new AppError('unavailable', 'use records: the storage thread ended')
        reject(error)
        for (const waiting of this.#waiting.values()) waiting.reject(error)
        this.#waiting.clear()
      })
    })
  }
}
