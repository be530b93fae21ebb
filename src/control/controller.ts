/**
 * The one loop of all controllers: keys from sources into a queue, out of it into `reconcile(key)`, which reads the world
 * and may run any number of times. A failure retries by the key's backoff; a conflict is retried without noise, since it only
 * says that the cache was behind; a {@link TerminalError} waits for the next change.
 */
import { hasCode, isAbort, messageOf } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { Scope } from '../base/scope.ts'
import type { Clock } from '../base/clock.ts'
import type { RetrySchedule } from '../base/retry.ts'
import type { KubeObject } from '../api/meta.ts'
import { keyOf, type Cache } from '../client/mod.ts'
import { WorkQueue } from './queue.ts'

const log = logger('control')

/** Says that trying again cannot help before something changes. */
export class TerminalError extends Error {
  override readonly name = 'TerminalError'
}

/** How a key gets reconciled: now, or after some ms. */
export type Enqueue = (key: string, afterMs?: number) => void
/** Connects something that changes to the queue; returns how to disconnect. */
export type Source = (enqueue: Enqueue) => () => void

/** What a reconcile wants beside having succeeded. */
export interface Result {
  /** Look again after this many ms even if nothing changes. */
  readonly requeueAfterMs?: number
}

export interface ControllerOptions {
  /** Shows up in logs and timers, e.g. `deployment`. */
  readonly name: string
  readonly clock: Clock
  readonly sources: readonly Source[]
  /** Caches that must be complete before the first reconcile. */
  readonly caches: readonly Cache<never>[] | readonly { synced(signal?: AbortSignal): Promise<void> }[]
  readonly reconcile: (key: string, signal: AbortSignal) => Promise<Result | void>
  /** Keys in work at once. @default 2 */
  readonly workers?: number
  readonly schedule?: RetrySchedule
}

export interface Controller {
  readonly name: string
  /** Ends when the signal aborts and all work has ended. */
  run(signal: AbortSignal): Promise<void>
  /** Resolves when its caches are complete and reconciling has begun. */
  readonly ready: Promise<void>
}

/** A controller as described by its options; it does nothing before `run`. */
export function createController(options: ControllerOptions): Controller {
  const { name, clock } = options
  let begin = (): void => {}
  const ready = new Promise<void>((resolve) => (begin = resolve))

  const reconcileOne = async (queue: WorkQueue, key: string, signal: AbortSignal): Promise<void> => {
    try {
      const result = await options.reconcile(key, signal)
      queue.forget(key)
      if (result?.requeueAfterMs !== undefined) queue.addAfter(key, result.requeueAfterMs)
    } catch (error) {
      if (isAbort(error) && signal.aborted) return
      if (error instanceof TerminalError) {
        queue.forget(key)
        log.warn('reconcile given up until a change', { controller: name, key, error: messageOf(error) })
        return
      }
      const failures = queue.retry(key)
      // A cache that is behind and a server that is away are everyday states here, told elsewhere.
      const quiet = (hasCode(error, 'conflict') && failures < 10) || hasCode(error, 'unavailable')
      log[quiet ? 'debug' : 'warn']('reconcile failed', { controller: name, key, failures, error: messageOf(error) })
    } finally {
      queue.done(key)
    }
  }

  return {
    name,
    ready,
    async run(signal) {
      for (const cache of options.caches) {
        try {
          await cache.synced(signal)
        } catch (error) {
          if (signal.aborted) return
          throw error
        }
      }
      await using scope = new Scope(name, signal)
      const queue = new WorkQueue(name, clock, options.schedule)
      scope.onClose(() => queue.close())
      for (const source of options.sources) {
        scope.onClose(source((key, afterMs) => (afterMs === undefined ? queue.add(key) : queue.addAfter(key, afterMs))))
      }
      begin()
      for (let i = 0; i < (options.workers ?? 2); i++) {
        scope.run(`${name} worker`, async (s) => {
          while (!s.aborted) {
            const key = await queue.next(s).catch(() => undefined)
            if (key !== undefined) await reconcileOne(queue, key, s)
          }
        })
      }
      await scope.done()
    },
  }
}

/** Every changed object of a cache, under its own key. */
export function watchObjects<T extends KubeObject>(cache: Cache<T>, when: (now: Readonly<T> | undefined, old: Readonly<T> | undefined) => boolean = () => true): Source {
  return (enqueue) =>
    cache.onChange((now, old) => {
      const object = now ?? old
      if (object && when(now, old)) enqueue(keyOf(object))
    })
}

/** Every changed object of a cache, under the keys that it concerns; both the old and the new state are asked. */
export function watchMapped<T extends KubeObject>(cache: Cache<T>, keysOf: (object: Readonly<T>) => Iterable<string>): Source {
  return (enqueue) =>
    cache.onChange((now, old) => {
      const keys = new Set([...(now ? keysOf(now) : []), ...(old ? keysOf(old) : [])])
      for (const key of keys) enqueue(key)
    })
}

/** One key at once and then every `ms`, for work that no change announces. */
export function every(clock: Clock, ms: number, key: string): Source {
  return (enqueue) => {
    let timer = clock.timer(`every ${key}`, 0, function tick() {
      enqueue(key)
      timer = clock.timer(`every ${key}`, ms, tick)
    })
    return () => timer.cancel()
  }
}
