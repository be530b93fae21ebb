/**
 * How long the store takes, under the names that kube-apiserver counts etcd by, whichever store it is. Bound: one series for
 * each operation and resource that is stored.
 */
import type { Clock } from '../base/clock.ts'
import type { Metrics } from '../base/metrics.ts'
import { newestOf, type ListOptions, type Revision, type Store, type WriteOptions } from '../store/mod.ts'
import { ROOT } from './watch-cache.ts'

/** kube-apiserver's buckets for etcd, fewer of them; seconds. */
const SECONDS = [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.5, 2, 3, 5, 10, 30, 60]
type Operation = 'get' | 'list' | 'create' | 'update' | 'delete'

interface Series {
  readonly count: () => void
  readonly fail: () => void
  readonly seconds: (value: number) => void
}

/** The same store, counted. What is read from it at start and its watch are not requests of anybody and not counted. */
export function countedStore(store: Store, metrics: Metrics, clock: Clock): Store {
  const counts = metrics.counter('etcd_requests_total', 'Etcd request counts for each operation and object type.')
  const failures = metrics.counter('etcd_request_errors_total', 'Etcd failed request counts for each operation and object type.')
  const durations = metrics.histogram('etcd_request_duration_seconds', 'Etcd request latency in seconds for each operation and object type.', SECONDS)
  const known = new Map<string, Series>()
  const seriesOf = (operation: Operation, key: string): Series => {
    // `/registry/<resource>[.<group>]/…`, see `resources.ts`.
    const name = key.slice(ROOT.length, key.indexOf('/', ROOT.length) >>> 0)
    const id = `${operation} ${name}`
    let series = known.get(id)
    if (!series) {
      const dot = name.indexOf('.')
      const labels = { group: dot < 0 ? '' : name.slice(dot + 1), operation, resource: dot < 0 ? name : name.slice(0, dot) }
      known.set(id, (series = { count: counts.at(labels), fail: failures.at(labels), seconds: durations.at(labels) }))
    }
    return series
  }
  const timed = async <T>(operation: Operation, key: string, work: Promise<T>): Promise<T> => {
    const series = seriesOf(operation, key)
    const began = clock.monotonic()
    series.count()
    try {
      return await work
    } catch (error) {
      series.fail()
      throw error
    } finally {
      series.seconds((clock.monotonic() - began) / 1_000)
    }
  }
  const newest = newestOf(store)
  return {
    ...(newest ? { newest } : {}),
    get: (key: string, revision?: Revision) => timed('get', key, store.get(key, revision)),
    list: (prefix: string, options?: ListOptions) => timed('list', prefix, store.list(prefix, options)),
    put: (key: string, value: string, expected: Revision, options?: WriteOptions) => timed(expected === 0 ? 'create' : 'update', key, store.put(key, value, expected, options)),
    delete: (key: string, expected: Revision) => timed('delete', key, store.delete(key, expected)),
    watch: (prefix, from, signal) => store.watch(prefix, from, signal),
    compact: (revision) => store.compact(revision),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  }
}
