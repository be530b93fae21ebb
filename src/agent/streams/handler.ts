/**
 * What the server asks of this node over the link: logs, exec, attach, port-forward, ports of the node itself, metrics. Answers with a status first;
 * a refusal has its reason as text. Exec and attach carry frames of `base/stream.ts` both ways and end with a Kubernetes
 * Status on the error channel; port-forward carries raw bytes.
 */
import { connect } from 'node:net'
import { finished, pipeline } from 'node:stream/promises'
import { Readable, type Duplex } from 'node:stream'
import { join } from 'node:path'
import type { ContainerStatus, Pod } from '../../api/gen/types.ts'
import type { Clock } from '../../base/clock.ts'
import { AppError, isAbort, messageOf, type ErrorCode } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import type { NodeHandler } from '../../base/stream.ts'
import type { Container, Runtime } from '../../cri/mod.ts'
import { containersOf, uidOf } from '../pods/names.ts'
import { byAttempt } from '../pods/planner.ts'
import type { RuntimeView } from '../pods/view.ts'
import { parseLogQuery, readLog } from './log-reader.ts'
import { kubeletPage, type PageSources } from './pages.ts'
import { bridge, endWith } from './bridge.ts'

const log = logger('agent.streams')

export interface HandlerOptions {
  readonly runtime: Runtime
  readonly view: RuntimeView
  readonly clock: Clock
  readonly find: (namespace: string, name: string) => Readonly<Pod> | undefined
  /** Resolves once the pods of this node are known: before that, one that is not found may be there all the same. */
  readonly known: Promise<void>
  readonly logDir: (namespace: string, name: string, uid: string) => string
  /** Addresses of this node, first the one that the cluster knows it by. */
  readonly hostIPs: () => readonly string[]
  /** Prometheus text. */
  readonly metrics: () => string
  /** What node and containers use, as one of the kubelet's pages. */
  readonly usage: (page: 'summary' | 'resource' | 'cadvisor') => Promise<string>
  readonly pages: PageSources
}

/** How long a request waits for an agent that has just started, ms. */
const KNOWN_MS = 10_000
/** How long a port of the node may take to answer, ms. */
const CONNECT_MS = 10_000

type Respond = Parameters<NodeHandler>[1]

const HTTP: Partial<Record<ErrorCode, number>> = { invalid: 400, unauthorized: 401, forbidden: 403, 'not-found': 404, conflict: 409, unavailable: 503, timeout: 504, unsupported: 501 }

/** The node's answers to the server. Never throws: a refusal is an answer, a break ends its stream alone. */
export function createHandler(options: HandlerOptions): NodeHandler {
  return async (request, respond) => {
    const url = new URL(request.path, 'http://node')
    let answered = false
    const once: Respond = (status, headers) => {
      answered = true
      return respond(status, headers)
    }
    try {
      await route(options, url, once)
    } catch (error) {
      if (isAbort(error)) return
      if (answered) return log.debug('stream ended early', { path: url.pathname, error: messageOf(error) })
      const status = error instanceof AppError ? (HTTP[error.code] ?? 500) : 500
      respond(status, { 'content-type': 'text/plain' }).end(messageOf(error))
    }
  }
}

async function route(options: HandlerOptions, url: URL, respond: Respond): Promise<void> {
  const [kind, namespace = '', name = '', container = ''] = url.pathname.split('/').slice(1).map(decodeURIComponent)
  for (const page of ['resource', 'cadvisor'] as const) {
    if (url.pathname === `/metrics/${page}`) return void respond(200, { 'content-type': 'text/plain; version=0.0.4' }).end(await options.usage(page))
  }
  const page = kubeletPage(url.pathname, options.pages)
  if (page) return void respond(200, { 'content-type': page.contentType }).end(page.body)
  if (url.pathname === '/metrics') return void respond(200, { 'content-type': 'text/plain; version=0.0.4' }).end(options.metrics())
  if (url.pathname === '/stats/summary') return void respond(200, { 'content-type': 'application/json' }).end(await options.usage('summary'))
  if (kind === 'healthz') return void respond(200, { 'content-type': 'text/plain' }).end('ok')
  if (kind === 'nodeForward') return await nodeForward(options, url.searchParams, respond)
  if (kind === undefined || !['containerLogs', 'exec', 'attach', 'portForward'].includes(kind)) {
    throw new AppError('not-found', `answer request: this node has nothing at "${url.pathname}"`)
  }
  await known(options)
  const pod = options.find(namespace, name)
  if (!pod) throw new AppError('not-found', `find pod: "${namespace}/${name}" is not on this node`)
  switch (kind) {
    case 'containerLogs':
      return await logs(options, pod, nameOf(pod, container), url.searchParams, respond)
    case 'portForward':
      return await portForward(options, pod, url.searchParams, respond)
    default: {
      const c = runningOf(options, pod, nameOf(pod, container))
      const flag = (n: string): boolean => ['true', '1'].includes(url.searchParams.get(n) ?? '')
      const io = { stdin: flag('stdin'), tty: flag('tty') }
      const streams = options.runtime.streams
      const opening = kind === 'exec' ? streams.exec(c.id, url.searchParams.getAll('command'), io) : streams.attach(c.id, io)
      // A command that cannot start is told in the stream, as a kubelet does: some clients show no refusal's reason.
      const session = await opening.catch((error: unknown) => new AppError('internal', `${kind === 'exec' ? 'executing command' : 'attaching'} in container: ${messageOf(error)}`))
      const stream = respond(200, { 'content-type': 'application/octet-stream' })
      return session instanceof AppError ? endWith(session, stream) : await bridge(session, stream)
    }
  }
}

/** @throws AppError `unavailable` when the pods are not known in time */
async function known({ known: pods, clock }: HandlerOptions): Promise<void> {
  const late = new AbortController()
  const timer = clock.timer('pods known', KNOWN_MS, () => late.abort())
  try {
    await Promise.race([pods, new Promise((_, reject) => late.signal.addEventListener('abort', () => reject(new AppError('unavailable', "find pod: this node's agent has just started and does not know its pods yet: try again in a moment"))))])
  } finally {
    timer.cancel()
  }
}

/** The container asked for; a pod with only one needs no name. */
function nameOf(pod: Readonly<Pod>, name: string): string {
  const all = containersOf(pod).map((c) => c.spec.name)
  const only = pod.spec?.containers?.length === 1 ? pod.spec.containers[0]?.name : undefined
  const wanted = name || only
  if (wanted && all.includes(wanted)) return wanted
  throw new AppError('invalid', `find container: pod "${pod.metadata?.name}" has none named "${name}", choose one of: ${all.join(', ')}`)
}

function attempts(options: HandlerOptions, pod: Readonly<Pod>, name: string): readonly Container[] {
  return byAttempt(options.view.pod(uidOf(pod)).containers.filter((c) => c.name === name))
}

function runningOf(options: HandlerOptions, pod: Readonly<Pod>, name: string): Container {
  const c = attempts(options, pod, name)[0]
  if (c?.state === 'running') return c
  throw new AppError('invalid', `find container: "${name}" of pod "${pod.metadata?.name}" is not running (${c ? c.state : 'not created yet'})`)
}

const PULLS: Readonly<Record<string, string>> = { ErrImagePull: "image can't be pulled", ImagePullBackOff: 'trying and failing to pull image' }

function statusOf(pod: Readonly<Pod>, name: string): ContainerStatus | undefined {
  const { initContainerStatuses = [], containerStatuses = [], ephemeralContainerStatuses = [] } = pod.status ?? {}
  return [...initContainerStatuses, ...containerStatuses, ...ephemeralContainerStatuses].find((s) => s.name === name)
}

/** Why a container has not started, in a kubelet's words. */
function waitingFor(pod: Readonly<Pod>, name: string): string {
  const reason = statusOf(pod, name)?.state?.waiting?.reason ?? 'ContainerCreating'
  return PULLS[reason] ?? reason
}

/** Id of the container that the status calls the last one: while the next is waited for, that is the newest there is. */
const lastEnded = (pod: Readonly<Pod>, name: string): string | undefined => statusOf(pod, name)?.lastState?.terminated?.containerID?.split('://')[1]

async function logs(options: HandlerOptions, pod: Readonly<Pod>, name: string, params: URLSearchParams, respond: Respond): Promise<void> {
  const query = parseLogQuery(params, options.clock.now())
  const made = attempts(options, pod, name).filter((c) => c.state !== 'created')
  const previous = params.get('previous') === 'true'
  const chosen = previous ? (made.find((c) => c.id === lastEnded(pod, name)) ?? made[1]) : made[0]
  if (!chosen) {
    const words = previous ? `previous terminated container "${name}" in pod "${pod.metadata?.name}" not found` : `container "${name}" in pod "${pod.metadata?.name}" is waiting to start: ${waitingFor(pod, name)}`
    throw new AppError('invalid', words)
  }
  const { namespace = '', name: podName = '' } = pod.metadata ?? {}
  const uid = uidOf(pod)
  const path = join(options.logDir(namespace, podName, uid), name, `${chosen.attempt}.log`)
  const running = (): boolean => options.view.pod(uid).containers.some((c) => c.id === chosen.id && c.state === 'running')
  const out = respond(200, { 'content-type': 'text/plain' })
  const over = new AbortController()
  out.once('close', () => over.abort())
  // The asker sends nothing; its end must still be read so that its going away is seen.
  out.resume()
  await pipeline(Readable.from(readLog({ path, clock: options.clock, running }, query, over.signal), { objectMode: false }), out)
}

/** @throws AppError `invalid` */
function portIn(params: URLSearchParams): number {
  const port = Number(params.get('port'))
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new AppError('invalid', `forward port: "${params.get('port')}" is not a port`)
  return port
}

/** To a port of the node by its address: what listens on the loopback alone was not meant for others. */
async function nodeForward({ hostIPs }: HandlerOptions, params: URLSearchParams, respond: Respond): Promise<void> {
  const port = portIn(params)
  const [host] = hostIPs()
  if (host === undefined) throw new AppError('unavailable', 'forward port: this node does not know its address yet, try again in a moment')
  const socket = connect({ host, port, timeout: CONNECT_MS })
  await new Promise<void>((resolve, reject) => {
    const fail = (error: Error): void => {
      socket.destroy()
      reject(new AppError('unavailable', `dial tcp ${host}:${port}: ${messageOf(error)}`))
    }
    socket.once('connect', resolve).once('error', fail).once('timeout', () => fail(new AppError('timeout', 'i/o timeout')))
  })
  socket.removeAllListeners('error').setTimeout(0)
  await join2(socket, respond(200, { 'content-type': 'application/octet-stream' }))
}

async function portForward(options: HandlerOptions, pod: Readonly<Pod>, params: URLSearchParams, respond: Respond): Promise<void> {
  const port = portIn(params)
  const sandbox = options.view.pod(uidOf(pod)).sandboxes.find((s) => s.state === 'ready')
  if (!sandbox) throw new AppError('invalid', `forward port: pod "${pod.metadata?.name}" is not running`)
  const inside = await options.runtime.streams.portForward(sandbox.id, port)
  await join2(inside, respond(200, { 'content-type': 'application/octet-stream' }))
}

/** Joins two streams both ways; each side's end reaches the other, an error ends both. */
async function join2(a: Duplex, b: Duplex): Promise<void> {
  a.pipe(b)
  b.pipe(a)
  // The other end is told that it broke, not that it ended.
  const end = (error?: Error): void => {
    a.destroy(error)
    b.destroy(error)
  }
  a.once('error', end)
  b.once('error', end)
  await Promise.allSettled([finished(a), finished(b)])
  end()
}
