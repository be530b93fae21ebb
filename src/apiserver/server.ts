/**
 * The API server as a whole: builds the parts, writes the first objects, and is ready when it resolves. One of it runs in a
 * server process; tests run many. The store is the caller's and outlives it.
 */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { ApiRequest, ApiResponse, UserInfo } from '../api/contract.ts'
import { RESOURCES } from '../api/kinds.ts'
import { ApiError, forbidden, pathNotFound, toStatus, unavailable, type Status } from '../api/status.ts'
import type { Timer } from '../base/clock.ts'
import { AppError, messageOf } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { Metrics } from '../base/metrics.ts'
import { Scope } from '../base/scope.ts'
import { Admission } from './admission/chain.ts'
import { admissionPlugins } from './admission/plugins.ts'
import { NO_POD_SECURITY_CONFIG } from './admission/pod-security-config.ts'
import { keepQuotaStatus } from './admission/quota-status.ts'
import { annotate } from './audit/annotations.ts'
import { audited, auditRefused, auditStream, noteRefusedUser, noteSource } from './audit/audit.ts'
import { ensureApiServices, keepApiServices } from './api-services.ts'
import { ANONYMOUS, Authenticator, impersonate } from './authn/authenticator.ts'
import { ServiceAccountTokens } from './authn/service-account.ts'
import { keepTokenSecrets } from './authn/token-secrets.ts'
import { keepAggregatedRoles } from './authz/aggregation.ts'
import { Authorizer, refusal } from './authz/authorizer.ts'
import { NodeAuthorizer } from './authz/node.ts'
import { Rbac } from './authz/rbac.ts'
import { cleanDefinitions, serveDefinitions } from './crds.ts'
import { SELF, writeFirstObjects } from './bootstrap.ts'
import type { Core } from './core.ts'
import { allottedMs, within } from './deadline.ts'
import { Discovery } from './discovery.ts'
import { FlowControl, listWidth, type Leave } from './flow.ts'
import { GIT_VERSION, healthPath, pathIndex } from './health.ts'
import { checkMethod, readBody, sendResponse, toApiRequest } from './http.ts'
import { ListText } from './list-text.ts'
import { OpenApi } from './openapi.ts'
import { attributesOf, createPipeline, failure, type Lifetime } from './pipeline.ts'
import { present } from './present.ts'
import type { ApiServer, ApiServerOptions, Decision, HttpRequest, HttpResponse, Peer, PodTarget } from './ports.ts'
import { RequestMetrics, sampledMetrics } from './request-metrics.ts'
import { countedStore } from './storage-metrics.ts'
import { requestInfo, type RequestInfo, type ResourceRequest } from './request-info.ts'
import { Resources, storageName } from './resources.ts'
import { keepServiceClaims } from './service-claims.ts'
import { firstAddress } from './service-ips.ts'
import { podTarget } from './subresources.ts'
import { WatchCache } from './watch-cache.ts'
import { connectAllowed } from './webhooks/connect.ts'

const log = logger('apiserver')
const STREAM_KINDS: readonly string[] = ['exec', 'attach', 'portforward'] satisfies PodTarget['kind'][]

/** Who takes longer than this to read a list costs nothing but the socket's buffers, and gives its seat to others. */
const SLOW_READER_MS = 5_000

/** Starts the server on `store`; resolves when it can answer. @throws AppError when the store or the keys cannot be read */
export async function createApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const { store, clock } = options
  const metrics = options.metrics ?? new Metrics()
  const scope = new Scope('apiserver')
  const cache = new WatchCache(store, clock)
  await cache.load()
  scope.run('watch-cache', (signal) => cache.run(signal))
  const tokens = await ServiceAccountTokens.create(options.serviceAccountKey, cache, clock)
  const provided = options.provided ?? []
  const resources = new Resources([...RESOURCES, ...provided.map((p) => p.def)])
  const rbac = new Rbac(cache)
  const nodes = new NodeAuthorizer()
  scope.onClose(nodes.attach(cache))
  const core: Core = {
    store: countedStore(store, metrics, clock),
    cache,
    clock,
    resources,
    rbac,
    tokens,
    authenticator: new Authenticator(cache, clock, tokens),
    authorizer: new Authorizer(nodes, rbac),
    admission: new Admission(admissionPlugins(options.podSecurity ?? NO_POD_SECURITY_CONFIG)),
    podStreams: options.podStreams,
    serviceCidr: options.serviceCidr,
  }
  scope.onClose(serveDefinitions(core))
  scope.run('crd-cleanup', (signal) => cleanDefinitions(core, signal))
  scope.run('quota-status', (signal) => keepQuotaStatus(core, signal))
  scope.run('service-addresses', (signal) => keepServiceClaims(core, signal))
  const { rootCaPem } = options
  if (rootCaPem) scope.run('token-secrets', (signal) => keepTokenSecrets(core, rootCaPem, signal))
  scope.run('aggregated-roles', (signal) => keepAggregatedRoles(core, signal))
  const discovery = new Discovery(resources)
  const openApi = new OpenApi(resources, GIT_VERSION)
  let ready = false
  const counts = new RequestMetrics(metrics, resources, clock)
  const gitCommit = options.gitCommit ?? ''
  const sample = sampledMetrics(metrics, resources, (storage) => cache.resource(storageName({ storage })).size, { gitVersion: GIT_VERSION, gitCommit })
  const health = {
    tokens,
    metrics,
    gitCommit,
    sample: () => (counts.sample(), sample()),
    checks: { ping: () => true, log: () => true, etcd: () => !scope.signal.aborted, 'poststarthook/first-objects': () => ready, shutdown: () => !scope.signal.aborted },
  }

  const pipeline = createPipeline(core, async (path, request) => {
    const found = healthPath(health, path, request.query) ?? (path === '/' ? pathIndex(health, discovery.paths()) : undefined)
    if (found) return found
    if (path.startsWith('/openapi/')) return openApi.answer(path, request)
    return discovery.answer(path, request.headers?.accept, request.headers?.['if-none-match'])
  }, provided, options.audit && noteDecision)
  const handle = audited(options.audit, pipeline.handle, clock)
  const serve = async (request: ApiRequest, user: UserInfo, life: Lifetime, known?: RequestInfo): Promise<ApiResponse> => {
    const counted = counts.begin(request, known)
    const answer = scope.signal.aborted ? failure(unavailable('the server is stopping'), request) : await handle(request, user, life, known)
    return counted(answer)
  }
  const identify = async (peer: Peer, headers: Parameters<Authenticator['authenticate']>[1]): Promise<UserInfo> => {
    const user = (await core.authenticator.authenticate(peer, headers)) ?? ANONYMOUS
    try {
      return impersonate(user, headers, (u, a) => core.authorizer.authorize(u, a))
    } catch (error) {
      noteRefusedUser(error, user)
      throw error
    }
  }

  const flow = new FlowControl(clock, metrics)
  /** What a request weighs: a large list as much as several others. */
  const widthOf = (info: RequestInfo, query: URLSearchParams): number => {
    if (!info.isResource || info.verb !== 'list') return 1
    const def = resources.find(info.group, info.version, info.resource)
    const size = def ? cache.resource(storageName(def)).size : 0
    return listWidth(Math.min(size, Number(query.get('limit')) || size))
  }
  const underWay = new Set<{ abort(): void }>()
  scope.signal.addEventListener('abort', () => {
    for (const one of underWay) one.abort()
  })
  const handleHttp = async (req: HttpRequest, res: HttpResponse, peer: Peer): Promise<void> => {
    const life = new RequestLife()
    underWay.add(life)
    res.on('close', () => {
      // An answer that has been sent has nothing left to abort.
      if (underWay.delete(life)) life.abort()
    })
    let answer: ApiResponse
    let leave: Leave | undefined
    let hold: Timer | undefined
    const method = req.method ?? 'GET'
    try {
      const user = await identify(peer, req.headers)
      checkMethod(method, req.url ?? '')
      const body = method === 'GET' || method === 'HEAD' ? undefined : await readBody(req)
      const request = toApiRequest(req, body)
      const info = requestInfo(method, request.path, request.query)
      const allotted = allottedMs(info, request.query)
      leave = await flow.enter(user, widthOf(info, request.query), life)
      if (options.audit) noteSource(request, req.socket?.remoteAddress)
      const served = serve(request, user, life, info)
      answer = await present(request, await within(clock, allotted, served, ({ body }) => void (typeof body === 'string' ? undefined : body[Symbol.asyncIterator]().return?.())))
      // What may last for hours is not under way any more once it has begun.
      if (typeof answer.body !== 'string' && !(answer.body instanceof ListText)) leave()
      else if (answer.body instanceof ListText) hold = clock.timer('slow-reader', SLOW_READER_MS, leave)
    } catch (error) {
      if (life.aborted) return
      if (error instanceof AppError && error.code === 'unauthorized') log.info('refused credentials', { reason: messageOf(error), path: req.url?.split('?')[0] })
      answer = failure(error, { method: (req.method ?? 'GET') as ApiRequest['method'], path: req.url ?? '' })
      await auditRefused(options.audit, clock, noteSource(toApiRequest(req, undefined), req.socket?.remoteAddress), error, answer)
    }
    try {
      await sendResponse(res, answer, String(req.headers['accept-encoding'] ?? ''), method === 'HEAD')
    } catch (error) {
      // The client went away in the middle of an answer: nobody is left to tell.
      log.debug('answer not delivered', { error })
      res.destroy?.()
    } finally {
      hold?.cancel()
      leave?.()
      underWay.delete(life)
    }
  }
  /** What a GET streams, over a WebSocket: the events of a watch, or a log. */
  const readUpgrade = async (request: ApiRequest & { readonly query: URLSearchParams }, what: 'watch' | 'log', user: UserInfo, req: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    const abort = new AbortController()
    underWay.add(abort)
    try {
      const { logProtocol, logSocket } = await import('./streams/log-socket.ts')
      if (what === 'log') logProtocol(req)
      const answer = await serve(request, user, abort)
      if (answer.status !== 200) throw new ApiError(JSON.parse(answer.body as string) as Status)
      if (what === 'log') return await logSocket(req, socket, head, answer.body, () => abort.abort())
      const { watchSocket } = await import('./streams/watch-socket.ts')
      await watchSocket(req, socket, head, answer.body as AsyncIterable<string>, () => abort.abort())
    } finally {
      underWay.delete(abort)
    }
  }

  const upgradeByProxy = async (request: ApiRequest & { readonly query: URLSearchParams }, info: ResourceRequest, user: UserInfo, req: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    const { query } = request
    const attributes = attributesOf(info, query)
    const decision = core.authorizer.authorize(user, attributes)
    if (!decision.allowed) throw forbidden({ group: '', resource: info.resource }, info.name ?? '', refusal(user, attributes, decision.reason))
    const def = resources.find('', 'v1', info.resource)
    if (!def) throw pathNotFound()
    const headers = Object.fromEntries(Object.entries(req.headers).map(([k, v]) => [k, Array.isArray(v) ? v.join(', ') : (v ?? '')]))
    const { proxyUpgrade } = await import('./proxy.ts')
    await proxyUpgrade(core, { def, info, user, query, headers, body: undefined, accepted: { shape: 'object', yaml: false }, signal: scope.signal, warnings: [] }, socket, head, async () => {
      socket.once('close', counts.opened(request))
      socket.once('close', await auditStream(options.audit, clock, request, user))
    })
  }

  const handleUpgrade = async (req: IncomingMessage, socket: Duplex, head: Buffer, peer: Peer): Promise<void> => {
    let user: UserInfo | undefined
    try {
      user = await identify(peer, req.headers)
      const request = noteSource(toApiRequest(req, undefined), req.socket.remoteAddress)
      const { path, query } = request
      const info = requestInfo(req.method ?? 'GET', path, query)
      const web = info.isResource && req.headers.upgrade?.toLowerCase() === 'websocket'
      if (web && info.verb === 'watch') return await readUpgrade(request, 'watch', user, req, socket, head)
      if (web && info.verb === 'get' && info.resource === 'pods' && info.subresource === 'log' && info.group === '') return await readUpgrade(request, 'log', user, req, socket, head)
      const kind = info.isResource ? info.subresource : undefined
      if (info.isResource && kind === 'proxy' && info.group === '' && ['pods', 'services', 'nodes'].includes(info.resource)) return await upgradeByProxy(request, info, user, req, socket, head)
      if (!info.isResource || kind === undefined || !STREAM_KINDS.includes(kind) || info.resource !== 'pods' || info.group !== '') throw pathNotFound()
      // Kubernetes 1.35 asks for `create` whichever method opens the stream.
      const attributes = { ...attributesOf(info, query), verb: 'create' }
      const decision = core.authorizer.authorize(user, attributes)
      if (!decision.allowed) throw forbidden({ group: '', resource: 'pods' }, info.name ?? '', refusal(user, attributes, decision.reason))
      if (!core.podStreams) throw unavailable('this server carries no pod streams')
      const def = resources.find('', 'v1', 'pods')
      if (!def) throw pathNotFound()
      const target = await podTarget(core, { def, info, query }, kind as PodTarget['kind'])
      await connectAllowed(core, { def, info: { ...info, verb: 'create' }, user, query, headers: {}, body: undefined, accepted: { shape: 'object', yaml: false }, signal: scope.signal, warnings: [] })
      socket.once('close', counts.opened(request))
      socket.once('close', await auditStream(options.audit, clock, request, user))
      await core.podStreams.upgrade(req, socket, head, target)
    } catch (error) {
      if (user) noteRefusedUser(error, user)
      const status = toStatus(error)
      const text = JSON.stringify(status)
      await auditRefused(options.audit, clock, noteSource(toApiRequest(req, undefined), req.socket.remoteAddress), error, { status: status.code ?? 500, headers: {}, body: text })
      socket.end(`HTTP/1.1 ${status.code ?? 500} ${status.reason ?? 'Error'}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}\r\nConnection: close\r\n\r\n${text}`)
    }
  }

  const close = (): Promise<void> => scope.close()
  const asSelf = (request: ApiRequest): Promise<ApiResponse> => serve(request, SELF, scope)
  try {
    await writeFirstObjects({
      handle: asSelf,
      cache,
      clock,
      serviceIp: firstAddress(options.serviceCidr),
      advertise: options.advertise,
    })
    await ensureApiServices(core, asSelf)
    await cache.refresh()
    scope.run('apiservices', (signal) => keepApiServices(core, asSelf, signal))
  } catch (error) {
    await close()
    throw error
  }
  ready = true
  return {
    handler: (request, signal) => serve(request, request.user ?? ANONYMOUS, bothOf(signal, scope.signal)),
    authenticate: async ({ peer, headers }) => {
      const user = await core.authenticator.authenticate(peer, headers)
      return user && impersonate(user, headers, (u, a) => core.authorizer.authorize(u, a))
    },
    authorize: async (user, attributes) => core.authorizer.authorize(user, attributes),
    setServiceAccountKey: (key) => tokens.setKeys(key),
    handleHttp,
    handleUpgrade,
    close,
    [Symbol.asyncDispose]: close,
  }
}

/** How long a request over HTTP lasts. */
class RequestLife implements Lifetime {
  aborted = false
  #controller: AbortController | undefined

  get signal(): AbortSignal {
    this.#controller ??= new AbortController()
    if (this.aborted) this.#controller.abort()
    return this.#controller.signal
  }

  abort(): void {
    this.aborted = true
    this.#controller?.abort()
  }
}

/** Until either aborts. */
function bothOf(a: AbortSignal, b: AbortSignal): Lifetime {
  let both: AbortSignal | undefined
  return {
    get signal() {
      return (both ??= AbortSignal.any([a, b]))
    },
  }
}

/** What authorization said, as Kubernetes annotates audit events. */
function noteDecision(query: URLSearchParams, { allowed, reason }: Decision): void {
  annotate(query, 'authorization.k8s.io/decision', allowed ? 'allow' : 'forbid')
  annotate(query, 'authorization.k8s.io/reason', reason)
}
