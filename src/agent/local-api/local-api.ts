/**
 * The node-local API: what pods of this node reach as the Kubernetes API. With the server in reach every request goes to it
 * with the caller's own token, so it alone decides. Cut off, reads are answered from the node's caches and from what the server
 * answered to pods before, by the rules the server last told for the caller; writes get a 503 that says so. Handler only; `listener.ts` has the sockets.
 *
 * Invariants: nothing is forwarded or answered without a bearer token; the node's own identity is never lent (requests ride a
 * connection without its certificate); answers made here carry {@link LOCAL_REVISION}, which never reaches the server.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { ApiError, expired, forbidden, notFound, toStatus, unauthorized, unavailable } from '../../api/status.ts'
import type { KubeObject } from '../../api/meta.ts'
import type { Clock } from '../../base/clock.ts'
import { drained } from '../../base/drained.ts'
import { AppError, isAbort, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import type { ResourceRef } from '../../client/mod.ts'
import { permits, type Access } from './access.ts'
import { isComplete, listOf, LOCAL_REVISION, ofResource, partial, selectKnown, watchLocal, whole, type Known, type LocalEvent, type Selected } from './answers.ts'
import { readCaller, type Caller, type TokenKeys } from './caller.ts'
import { isDiscovery, type Documents } from './documents.ts'
import type { Remembered } from './remembered.ts'
import { readRequest, type LocalRequest, type ResourceRequest } from './request.ts'

const log = logger('agent.local-api')
/** Headers of a caller that go on to the server. */
const FORWARDED = /^(accept|authorization|content-type|content-length|user-agent|if-none-match|impersonate-.*|kubectl-.*|x-stream-protocol-version)$/
/** A local watch that its client does not read is ended with this much unread, bytes. */
const MOST_UNREAD = 4 << 20

/** A request to the server and its answer; the tunnel's session has this shape. */
export type Forward = (request: {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: AsyncIterable<Uint8Array>
  readonly signal: AbortSignal
}) => Promise<{ readonly status: number; readonly headers: Readonly<Record<string, string>>; readonly body: AsyncIterable<Uint8Array> }>

export interface LocalApiOptions {
  readonly nodeName: string
  readonly clock: Clock
  /** Over a connection that shows no certificate of the node. */
  readonly forward: Forward
  readonly online: () => boolean
  readonly known: () => readonly Known[]
  readonly keys: () => TokenKeys | undefined
  readonly podHere: (uid: string) => boolean
  readonly access: Access
  readonly documents: Documents
  readonly remembered?: Remembered | undefined
  /** The object as this node knows it now, newer than the cache: a pod's status during an outage. */
  readonly now?: (ref: ResourceRef, object: Readonly<KubeObject>) => Readonly<KubeObject>
  /** Makes the Table that kubectl prints, when the kind has columns. */
  readonly table?: (ref: ResourceRef, objects: readonly KubeObject[], include: string | null) => Promise<object | undefined>
}

/** Answers one request after the other; see the header. */
export class LocalApi {
  readonly #o: LocalApiOptions
  /** Ends the watches that the node answers itself: once the server is back it answers them. */
  readonly #watches = new Set<(backOnline: boolean) => void>()

  constructor(options: LocalApiOptions) {
    this.#o = options
  }

  /** The server is in reach again: clients that watch here are sent to it. */
  linkBack(): void {
    for (const end of [...this.#watches]) end(true)
  }

  /** Ends all watches, for a stop. */
  close(): void {
    for (const end of [...this.#watches]) end(false)
  }

  /** Answers completely, errors included. */
  async handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    try {
      await this.#handle(req, res)
    } catch (error) {
      if (isAbort(error) || res.headersSent) return void res.destroy()
      sendError(res, error)
    }
  }

  async #handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const token = /^Bearer (\S+)$/i.exec(req.headers.authorization ?? '')?.[1]
    const request = readRequest(req.method ?? 'GET', req.url ?? '/')
    if (!request) throw new ApiError({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', code: 404, reason: 'NotFound', message: "the node's API serves paths of the Kubernetes API only" })
    if (token === undefined) throw unauthorized()
    if (this.#o.online()) {
      // What was listed here is not what the server has: the client is to list again.
      if (request.query.get('resourceVersion') === LOCAL_REVISION) throw expired()
      if (await this.#forward(req, res, request, token)) return
    }
    await this.#local(req, res, request, token)
  }

  /** False when the server was not reached and the node may answer instead. */
  async #forward(req: IncomingMessage, res: ServerResponse, request: LocalRequest, token: string): Promise<boolean> {
    const stop = new AbortController()
    res.once('close', () => stop.abort())
    const headers: Record<string, string> = {}
    for (const [name, value] of Object.entries(req.headers)) if (FORWARDED.test(name) && value !== undefined) headers[name] = Array.isArray(value) ? value.join(', ') : value
    const hasBody = req.headers['transfer-encoding'] !== undefined || Number(req.headers['content-length'] ?? 0) > 0
    let answer: Awaited<ReturnType<Forward>>
    try {
      answer = await this.#o.forward({ method: request.method, path: req.url ?? '/', headers, signal: stop.signal, ...(hasBody ? { body: req } : {}) })
    } catch (error) {
      if (stop.signal.aborted || !(error instanceof AppError) || !error.retryable) throw error
      if (request.method === 'GET') return false
      throw unavailable(`the server was not reached (${messageOf(error)}): the request may or may not have been carried out; look, and try again`)
    }
    if (answer.status < 400) this.learn(token)
    const out: Record<string, string> = { ...answer.headers }
    for (const name of ['connection', 'keep-alive', 'transfer-encoding']) delete out[name]
    res.writeHead(answer.status, out)
    const keeps = answer.status === 200 && request.method === 'GET' && isDiscovery(request.path)
    const follower = this.#o.remembered?.follow(request, answer.status, answer.headers['content-type'] ?? '')
    const parts: Uint8Array[] = []
    for await (const chunk of answer.body) {
      if (keeps) parts.push(chunk)
      follower?.add(chunk)
      if (!res.write(chunk)) await drained(res, stop.signal)
    }
    res.end()
    follower?.end()
    if (keeps) await this.#o.documents.keep(request.path, { contentType: answer.headers['content-type'] ?? 'application/json', body: Buffer.concat(parts).toString() })
    return true
  }

  /** Takes note of what the account of a token may do, for a later outage. Returns at once, never fails. */
  learn(token: string): void {
    let caller: Caller
    try {
      caller = this.#caller(token)
    } catch {
      return // not of a pod of this node: nothing will be answered to it here
    }
    void this.#o.access.learn(caller, token)
  }

  #caller(token: string): Caller {
    const keys = this.#o.keys()
    if (!keys) throw unavailable('this node has not got the keys to check tokens yet')
    return readCaller(token, keys, this.#o.podHere)
  }

  async #local(req: IncomingMessage, res: ServerResponse, request: LocalRequest, token: string): Promise<void> {
    const caller = this.#caller(token)
    const { resource } = request
    if (!resource) return await this.#document(req, res, request)
    if (resource.verb !== 'get' && resource.verb !== 'list' && resource.verb !== 'watch') throw this.#away(`${resource.verb} ${resource.resource}`)
    if (resource.subresource !== undefined && resource.subresource !== 'status') throw this.#away(`get ${resource.resource}/${resource.subresource}`)
    await this.#authorize(caller, resource, request)
    const known = await this.#known(resource, request.query)
    const form = /;\s*as=(\w+)/.exec(String(req.headers.accept ?? ''))?.[1] ?? ''
    if (resource.verb === 'watch') return this.#watch(res, request, resource, known, form)
    const found = selectKnown(known, resource, request.query)
    if (await this.#told(res, request, resource, known, found, form)) return
    if (!found) throw this.#away(`${resource.verb} ${resource.resource}`)
    const objects = this.#o.now ? found.objects.map((o) => this.#o.now?.(found.ref, o) ?? o) : found.objects
    if (resource.verb === 'get' && objects.length === 0) throw found.complete ? notFound(found.ref, resource.name ?? '') : this.#away(`get ${resource.resource} "${resource.name}"`)
    if (found.asOf !== undefined) res.setHeader('warning', asOfWarning(found.asOf))
    else if (!found.complete && resource.verb === 'list') res.setHeader('warning', `299 - "the server is away: this is what node ${this.#o.nodeName} knows, not all there is"`)
    const table = form === 'Table' ? await this.#o.table?.(found.ref, objects, request.query.get('includeObject')) : undefined
    if (table) return sendJson(res, 200, { ...table, metadata: { resourceVersion: LOCAL_REVISION } })
    const [one] = objects
    const metadata = form.startsWith('PartialObjectMetadata')
    if (resource.verb === 'get' && one) sendJson(res, 200, metadata ? partial(one) : whole(found.ref, one))
    else sendJson(res, 200, listOf({ ...found, objects }, metadata))
  }

  /**
   * True when the answer is one that the server gave before to the same question, in the form that is asked for. What the node has of its
   * own is newer, and fuller answers that were remembered can be as new.
   */
  async #told(res: ServerResponse, { query }: LocalRequest, resource: ResourceRequest, known: readonly Known[], found: Selected | undefined, form: string): Promise<boolean> {
    if (found && (found.complete || (found.objects.length > 0 && known.some((k) => k.asOf === undefined)))) return false
    const told = form === '' ? undefined : await this.#o.remembered?.told(resource, query, form)
    if (!told || told.at <= (found?.asOf ?? -Infinity)) return false
    res.setHeader('warning', asOfWarning(told.at))
    sendJson(res, 200, { ...told.document, ...(resource.verb === 'list' ? { metadata: { resourceVersion: LOCAL_REVISION } } : {}) })
    return true
  }

  async #authorize(caller: Caller, resource: ResourceRequest, request: LocalRequest): Promise<void> {
    const { namespace, account } = caller
    const rules = await this.#o.access.rules(caller)
    if (!rules) throw this.#away(`look up what system:serviceaccount:${namespace}:${account} may do`)
    const byField = /(?:^|,)metadata\.name==?([^,]+)/.exec(request.query.get('fieldSelector') ?? '')?.[1]
    const names = resource.name ?? byField
    if (permits(rules, namespace, resource, names === undefined ? [] : [names])) return
    const where = resource.namespace === undefined ? 'at the cluster scope' : `in the namespace "${resource.namespace}"`
    throw forbidden({ ...resource, kind: '' }, resource.name ?? '', `User "system:serviceaccount:${namespace}:${account}" cannot ${resource.verb} resource "${resource.resource}" in API group "${resource.group}" ${where} (by what the server last said; it is away)`)
  }

  async #document(req: IncomingMessage, res: ServerResponse, request: LocalRequest): Promise<void> {
    const document = request.method === 'GET' ? await this.#o.documents.find(request.path, String(req.headers.accept ?? '')) : undefined
    if (!document) throw this.#away(`${request.method} ${request.path}`)
    res.writeHead(200, { 'content-type': document.contentType, 'content-length': Buffer.byteLength(document.body) })
    res.end(document.body)
  }

  /** The node's own caches, and beside them, where they do not hold all that can be asked for, what was remembered. */
  async #known(resource: ResourceRequest, query: URLSearchParams): Promise<readonly Known[]> {
    const own = ofResource(this.#o.known(), resource)
    return isComplete(own, resource, query) ? own : [...own, ...((await this.#o.remembered?.known(resource, query)) ?? [])]
  }

  #watch(res: ServerResponse, request: LocalRequest, resource: ResourceRequest, known: readonly Known[], form: string): void {
    if (!selectKnown(known, resource, request.query)) throw this.#away(`watch ${resource.resource}`)
    const fromHere = (request.query.get('resourceVersion') ?? '') === LOCAL_REVISION || request.query.get('sendInitialEvents') === 'true' || ['', '0'].includes(request.query.get('resourceVersion') ?? '')
    res.writeHead(200, { 'content-type': 'application/json' })
    res.flushHeaders()
    const send = (event: LocalEvent | { type: 'ERROR'; object: object }): void => {
      const metadata = event.type !== 'ERROR' && form.startsWith('PartialObjectMetadata')
      res.write(`${JSON.stringify(metadata ? { ...event, object: partial(event.object as KubeObject) } : event)}\n`)
      if (res.writableLength > MOST_UNREAD) res.destroy()
    }
    const seconds = Number(request.query.get('timeoutSeconds') ?? 0)
    const timer = seconds > 0 ? this.#o.clock.timer('local watch', seconds * 1000, () => end(false)) : undefined
    const stop = watchLocal(known, resource, request.query, send, this.#o.now)
    const end = (back: boolean): void => {
      if (!this.#watches.delete(end)) return
      stop()
      timer?.cancel()
      // A client that knows the server's revision goes on from it there; one that began here lists anew.
      if (back && fromHere) send({ type: 'ERROR', object: toStatus(expired('the server is back: list again')) })
      res.end()
    }
    this.#watches.add(end)
    res.once('close', () => end(false))
  }

  #away(act: string): ApiError {
    return unavailable(`${act}: node ${this.#o.nodeName} is cut off from the server and does not know this itself; try again when the link is back`)
  }
}

function asOfWarning(at: number): string {
  return `299 - "the server is away: this is what it said at ${new Date(at).toISOString()}"`
}

function sendError(res: ServerResponse, error: unknown): void {
  const status = error instanceof AppError && error.code === 'unauthorized' && !(error instanceof ApiError) ? unauthorized(error.message).status : toStatus(error)
  if (status.code === 500) log.error('request to the local API failed', { error: messageOf(error) })
  sendJson(res, status.code ?? 500, status)
}

function sendJson(res: ServerResponse, status: number, value: object): void {
  const text = JSON.stringify(value)
  res.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
  res.end(text)
}
