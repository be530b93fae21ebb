/**
 * A lifetime: one signal, the background work that hangs on it, and an idempotent close that ends when all of it has ended.
 * No promise floats: what runs in the background runs in a scope, which fails with the first failure.
 */
import { isAbort } from './errors.ts'

/**
 * One lifetime, nested by its parent's signal. Work is added by `run`, resources by `onClose`; `close` (or `await using`) ends both.
 * A first failure aborts everything in the scope and is thrown by `done` and `close`; later ones are dropped.
 */
export class Scope {
  readonly name: string
  readonly #abort = new AbortController()
  readonly #tasks = new Set<Promise<void>>()
  readonly #closers: (() => void | PromiseLike<void>)[] = []
  #failure: unknown
  #failed = false
  #closing: Promise<void> | undefined
  #onFailure: ((error: unknown) => void) | undefined
  #detach: (() => void) | undefined

  /** @param parent when it aborts, this scope's signal aborts too; the owner still awaits `close()`. */
  constructor(name: string, parent?: AbortSignal) {
    this.name = name
    if (parent) {
      const onAbort = (): void => this.#abort.abort(parent.reason)
      if (parent.aborted) onAbort()
      else {
        parent.addEventListener('abort', onAbort, { once: true })
        this.#detach = () => parent.removeEventListener('abort', onAbort)
      }
    }
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  /** Starts background work. A failure (other than abort) aborts the scope and is rethrown by `done()` and `close()`. */
  run(_name: string, work: (signal: AbortSignal) => Promise<void>): void {
    const task: Promise<void> = work(this.signal)
      .catch((error: unknown) => {
        if (isAbort(error) && this.signal.aborted) return
        if (!this.#failed) {
          this.#failed = true
          this.#failure = error
          this.#onFailure?.(error)
        }
        this.#abort.abort()
      })
      .finally(() => this.#tasks.delete(task))
    this.#tasks.add(task)
  }

  /** Runs `fn` on close, last registered first, after the signal has aborted and all work has ended. */
  onClose(fn: () => void | PromiseLike<void>): void {
    this.#closers.push(fn)
  }

  /** Called once with the first failure of background work, at the moment it happens. */
  onFailure(fn: (error: unknown) => void): void {
    this.#onFailure = fn
  }

  /** Resolves when all work started so far has ended; rejects with the first failure. */
  async done(): Promise<void> {
    while (this.#tasks.size > 0) await Promise.all(this.#tasks)
    if (this.#failed) throw this.#failure
  }

  /** Aborts, waits for the work, runs the closers in reverse. May be called many times; throws the first failure. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#detach?.()
    this.#abort.abort()
    while (this.#tasks.size > 0) await Promise.all(this.#tasks)
    for (const closer of this.#closers.splice(0).reverse()) {
      try {
        await closer()
      } catch (error) {
        if (!this.#failed) {
          this.#failed = true
          this.#failure = error
        }
      }
    }
    if (this.#failed) throw this.#failure
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
