/**
 * Keeps a sink equal to what the API has: list once, watch from there, resume by resourceVersion after every break, list
 * again only when the server no longer keeps the revision (410). Used by `cache.ts`; one reflector a cache.
 *
 * Invariants: `replace` and `apply` are called in the order of revisions; after a break nothing is missed. It never gives
 * up: failures wait by the schedule, and `wake` cuts a wait short (the node's link is back).
 */
import { hasCode, messageOf } from '../base/errors.ts'
import { waitAfter, type RetrySchedule } from '../base/retry.ts'
import type { Clock } from '../base/clock.ts'
import { logger } from '../base/log.ts'
import type { KubeObject } from '../api/meta.ts'
import type { ListQuery, ResourceClient } from './ports.ts'

const log = logger('client.reflector')

/** Waits between tries. The cap is low since a refused dial is cheap; jitter keeps a fleet spread. */
export const REFLECTOR_SCHEDULE: RetrySchedule = { firstMs: 500, factor: 2, maxMs: 10_000, jitter: 0.5 }
/** A watch that ended sooner than this counts as a failure, so that a server that ends each at once is not hammered. */
const STABLE_MS = 5_000
const PAGE = 500

export interface ReflectorSink<T extends KubeObject> {
  /** The complete state at a revision; what is not in it is gone. */
  replace(objects: T[], resourceVersion: string): void
  /** One change. */
  apply(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: T): void
  /** Everything up to this revision has been applied. */
  progress(resourceVersion: string): void
}

export interface ReflectorOptions<T extends KubeObject> {
  readonly resource: ResourceClient<T>
  readonly query: Pick<ListQuery, 'namespace' | 'labelSelector' | 'fieldSelector'>
  readonly sink: ReflectorSink<T>
  readonly clock: Clock
  readonly schedule?: RetrySchedule
  /** Start with a watch from here, no list; from a stash. */
  readonly resourceVersion?: string
  /** Called to get the promise whose settling cuts the current wait short. */
  readonly wake?: () => AbortSignal
}

/** Runs until the signal aborts; never throws. */
export async function runReflector<T extends KubeObject>(options: ReflectorOptions<T>, signal: AbortSignal): Promise<void> {
  const { resource, query, sink, clock } = options
  const schedule = options.schedule ?? REFLECTOR_SCHEDULE
  let from = options.resourceVersion
  let failures = 0
  while (!signal.aborted) {
    let started = clock.monotonic()
    try {
      from ??= await listAll(resource, query, sink, signal)
      started = clock.monotonic()
      for await (const event of resource.watch({ ...query, resourceVersion: from, bookmarks: true }, signal)) {
        const version = event.object.metadata?.resourceVersion
        if (event.type !== 'BOOKMARK') sink.apply(event.type, event.object)
        if (version !== undefined) {
          from = version
          sink.progress(version)
        }
      }
      if (signal.aborted) return
      failures = clock.monotonic() - started >= STABLE_MS ? 0 : failures + 1
    } catch (error) {
      if (signal.aborted) return
      const gone = hasCode(error, 'compacted')
      // The first 410 is ordinary (we were away for long): list at once. Only a repeated one waits.
      if (gone && from !== undefined) {
        from = undefined
        if (failures === 0) {
          failures = 1
          continue
        }
      }
      failures = clock.monotonic() - started >= STABLE_MS ? 1 : failures + 1
      // The first failure is everyday; an outage is told once; a refusal is told each time, since somebody must act.
      const level = hasCode(error, 'unavailable') ? (failures === 3 ? 'info' : 'debug') : failures === 1 ? 'debug' : 'warn'
      log[level]('list or watch failed', { resource: resource.ref.resource, failures, error: messageOf(error) })
    }
    if (failures > 0) await pause(clock, waitAfter(schedule, failures), signal, options.wake?.())
  }
}

async function listAll<T extends KubeObject>(
  resource: ResourceClient<T>,
  query: ReflectorOptions<T>['query'],
  sink: ReflectorSink<T>,
  signal: AbortSignal,
): Promise<string> {
  const objects: T[] = []
  let next: string | undefined
  for (;;) {
    const page = await resource.list({ ...query, limit: PAGE, ...(next === undefined ? {} : { continue: next }) })
    signal.throwIfAborted()
    for (const item of page.items) objects.push(item)
    next = page.metadata.continue
    if (next === undefined || next === '') {
      const version = page.metadata.resourceVersion ?? '0'
      sink.replace(objects, version)
      return version
    }
  }
}

async function pause(clock: Clock, ms: number, signal: AbortSignal, wake: AbortSignal | undefined): Promise<void> {
  try {
    await clock.sleep(ms, wake === undefined ? signal : AbortSignal.any([signal, wake]))
  } catch {
    // Called off or woken: the loop looks at which.
  }
}
