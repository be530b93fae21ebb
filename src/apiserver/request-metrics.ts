/**
 * What the server counts, in kube-apiserver's names, so that dashboards and alerts made for it work: requests and their time by verb and
 * resource, what is under way, objects kept, the process. Bound: one series for each kind, verb and code that was used; what is not
 * served is counted together, so that no caller makes series.
 */
import type { ApiRequest, ApiResponse } from '../api/contract.ts'
import { qualifiedResource } from '../api/kinds.ts'
import type { Clock } from '../base/clock.ts'
import type { Metrics } from '../base/metrics.ts'
import { requestInfo, type RequestInfo } from './request-info.ts'
import type { Resources } from './resources.ts'
import { WatchStream } from './watch-stream.ts'

type Labels = Readonly<Record<string, string>>

/** kube-apiserver's duration buckets, fewer of them; seconds. */
const SECONDS = [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.5, 2, 3, 5, 10, 30, 60]
const BYTES = [1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000]
const VERBS: Readonly<Record<string, string>> = { create: 'POST', update: 'PUT', deletecollection: 'DELETECOLLECTION' }
/** Doors whose answers last as long as the caller wants. */
const STREAMS = new Set(['log', 'exec', 'attach', 'portforward', 'proxy'])
/** Most kinds of requests told apart. What is served and how it can be asked for stays far below. */
const MOST = 5_000

/** One kind of request and where it is counted. */
interface Series {
  readonly labels: Labels
  readonly long: boolean
  /** Of a long one: how many are under way, and their events that are over. */
  readonly lasting: { running: number; events: number; counted: number; readonly watches: Set<WatchStream> }
  readonly of: Labels
  readonly codes: Map<number, (n?: number) => void>
  readonly seconds: (value: number) => void
  readonly bytes: (value: number) => void
}

/** Counts the requests of one server. */
export class RequestMetrics {
  readonly #resources: Resources
  readonly #clock: Clock
  readonly #requests
  readonly #seconds
  readonly #bytes
  readonly #inflight
  readonly #long
  readonly #events
  readonly #running = { readOnly: 0, mutating: 0 }
  readonly #series = new Map<string, Series>()

  constructor(metrics: Metrics, resources: Resources, clock: Clock) {
    this.#resources = resources
    this.#clock = clock
    this.#requests = metrics.counter('apiserver_request_total', 'Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.')
    this.#seconds = metrics.histogram('apiserver_request_duration_seconds', 'Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.', SECONDS)
    this.#bytes = metrics.histogram('apiserver_response_sizes', 'Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component.', BYTES)
    this.#inflight = metrics.gauge('apiserver_current_inflight_requests', 'Maximal number of currently used inflight request limit of this apiserver per request kind in last second.')
    this.#long = metrics.gauge('apiserver_longrunning_requests', 'Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way.')
    this.#events = metrics.counter('apiserver_watch_events_total', 'Number of events sent in watch clients')
  }

  /** A request that begins; call the result when it is answered, and send what it gives back. */
  begin(request: ApiRequest, known?: RequestInfo): (answer: ApiResponse) => ApiResponse {
    const kind = request.method === 'GET' ? 'readOnly' : 'mutating'
    const series = this.#seriesOf(request, known)
    const started = this.#clock.monotonic()
    if (!series.long) this.#running[kind]++
    return (answer) => {
      let code = series.codes.get(answer.status)
      if (!code) series.codes.set(answer.status, (code = this.#requests.at({ ...series.labels, code: String(answer.status) })))
      code()
      if (series.long) return lasting(series, answer)
      this.#running[kind]--
      series.seconds((this.#clock.monotonic() - started) / 1_000)
      if (kind === 'readOnly' && typeof answer.body === 'string') series.bytes(answer.body.length)
      return answer
    }
  }

  /** A stream that takes its connection over; call the result when that closes. */
  opened(request: ApiRequest): () => void {
    const { lasting: under } = this.#seriesOf(request)
    under.running++
    return () => void under.running--
  }

  /** Brings what is only looked at up to date. */
  sample(): void {
    for (const kind of ['readOnly', 'mutating'] as const) this.#inflight.set(this.#running[kind], { request_kind: kind })
    for (const { long, of, lasting: under } of this.#series.values()) {
      if (!long) continue
      this.#long.set(under.running, of)
      if (of['verb'] !== 'WATCH') continue
      let events = under.events
      for (const watch of under.watches) events += watch.pushed
      const { group = '', version = '', resource = '' } = of
      this.#events.add(events - under.counted, { group, version, resource })
      under.counted = events
    }
  }

  #seriesOf(request: ApiRequest, asked?: RequestInfo): Series {
    const query = request.query ?? new URLSearchParams()
    const apply = request.method === 'PATCH' && (request.headers?.['content-type'] ?? '').startsWith('application/apply-patch')
    const dry = query.has('dryRun') ? 'All' : ''
    const info = asked ? (asked.isResource ? asked : undefined) : infoOf(request, query)
    const key = info ? `${info.verb} ${info.group} ${info.version} ${info.resource} ${info.subresource ?? ''} ${scopeOf(info)} ${apply}${dry}` : `${request.method} ${dry}`
    const found = this.#series.get(key)
    if (found) return found
    // Names that are not served are the caller's own, and may be any number.
    const known = info && this.#series.size < MOST && this.#resources.find(info.group, info.version, info.resource) ? info : undefined
    if (info && !known) return this.#seriesOf({ method: request.method, path: '/' })
    const verb = known ? (apply ? 'APPLY' : (VERBS[known.verb] ?? known.verb.toUpperCase())) : request.method
    const of = {
      verb, group: known?.group ?? '', version: known?.version ?? '', resource: known?.resource ?? '', subresource: known?.subresource ?? '',
      scope: known ? scopeOf(known) : '', component: 'apiserver',
    }
    const labels = { ...of, dry_run: dry }
    const long = verb === 'WATCH' || STREAMS.has(of.subresource)
    const series: Series = { labels, of, long, lasting: { running: 0, events: 0, counted: 0, watches: new Set() }, codes: new Map(), seconds: this.#seconds.at(labels), bytes: this.#bytes.at(of) }
    this.#series.set(key, series)
    return series
  }
}

/** Counts a long answer as under way until its body is over. */
function lasting({ lasting: under }: Series, answer: ApiResponse): ApiResponse {
  const { body } = answer
  if (typeof body === 'string') return answer
  under.running++
  if (!(body instanceof WatchStream)) return { ...answer, body: until(body, () => void under.running--) }
  under.watches.add(body)
  body.onEnd(() => {
    under.running--
    under.events += body.pushed
    under.watches.delete(body)
  })
  return answer
}

/** The same body; `over` is called once when it has ended, by whichever way. */
function until(body: Exclude<ApiResponse['body'], string>, over: () => void): Exclude<ApiResponse['body'], string> {
  let ended = false
  const end = (): void => {
    if (!ended) over()
    ended = true
  }
  return {
    [Symbol.asyncIterator]() {
      const inner = body[Symbol.asyncIterator]()
      return {
        async next() {
          try {
            const result = await inner.next()
            if (result.done === true) end()
            return result
          } catch (error) {
            end()
            throw error
          }
        },
        async return() {
          end()
          await inner.return?.()
          return { done: true, value: undefined }
        },
      }
    },
  }
}

type ResourceInfo = Extract<RequestInfo, { isResource: true }>

function infoOf(request: ApiRequest, query: URLSearchParams): ResourceInfo | undefined {
  try {
    const info = requestInfo(request.method, request.path, query)
    return info.isResource ? info : undefined
  } catch {
    // A path that cannot be read is answered as such; here it is one of many.
    return undefined
  }
}

function scopeOf(info: ResourceInfo): string {
  return info.name !== undefined ? 'resource' : info.namespace !== undefined ? 'namespace' : 'cluster'
}

/** Figures that are taken when somebody asks for them. Returns how to take them. */
export function sampledMetrics(metrics: Metrics, resources: Resources, sizeOf: (storage: string) => number, build: { readonly gitVersion: string; readonly gitCommit: string }): () => void {
  const objects = metrics.gauge('apiserver_storage_objects', 'Number of stored objects at the time of last check split by kind.')
  const cpu = metrics.counter('process_cpu_seconds_total', 'Total user and system CPU time spent in seconds.')
  const memory = metrics.gauge('process_resident_memory_bytes', 'Resident memory size in bytes.')
  metrics.gauge('process_start_time_seconds', 'Start time of the process since unix epoch in seconds.').set(Math.round(performance.timeOrigin / 1_000))
  metrics.gauge('kubernetes_build_info', "A metric with a constant '1' value labeled by major, minor, git version and git commit.").set(1, { major: '1', minor: '35', git_version: build.gitVersion, git_commit: build.gitCommit })
  let counted = 0
  return () => {
    for (const def of resources.all) if (def.storage !== '') objects.set(sizeOf(def.storage), { resource: qualifiedResource(def) })
    const { user, system } = process.cpuUsage()
    const seconds = (user + system) / 1e6
    cpu.add(seconds - counted)
    counted = seconds
    memory.set(process.memoryUsage.rss())
  }
}
