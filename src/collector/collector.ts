/**
 * The server side of telemetry and of things, over HTTP: takes records from nodes (batches of their spools) and from users and
 * things (JSON), keeps them, answers queries, streams them live, and takes reviewers' decisions.
 *
 *     POST ingest                                                  a node's batch -> {"acked": seq}, durable
 *     GET  namespaces/{ns}/streams                                 streams, counts, losses
 *     POST namespaces/{ns}/streams/{stream}/records                one record -> 201, or 200 when its id is known
 *     GET  namespaces/{ns}/streams/{stream}/records                list (after, limit, review, since, order) or watch=true
 *     GET  namespaces/{ns}/streams/{stream}/records/{id}           and /attachments/{name}
 *     POST namespaces/{ns}/streams/{stream}/records/{id}/review    {"decision", "note"} -> the record as reviewed
 */
import { createReadStream, existsSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { GROUP_NODES, PATHS, type UserInfo } from '../api/contract.ts'
import { forbidden, methodNotAllowed, pathNotFound, unauthorized } from '../api/status.ts'
import { systemClock, type Clock } from '../base/clock.ts'
import { AppError } from '../base/errors.ts'
import { readBody } from '../base/read-body.ts'
import type { Client } from '../client/mod.ts'
import { EPOCH_HEADER, LOSSES_HEADER } from '../telemetry/mod.ts'
import { attachmentPath } from './attachments.ts'
import { COLLECT_GROUP, createAuthorizer, type Access, type Authorize } from './authorize.ts'
import { answering, header, segments, sendJson, type Handler, type HttpRequest, type HttpResponse, type RequestContext } from './http.ts'
import { checkName, MAX_BATCH, MAX_JSON, parseBatch, parseDecision, parseList, parsePosted, whole } from './input.ts'
import { Live } from './live.ts'
import { RecordsClient } from './records-client.ts'

const RECORDS = { group: COLLECT_GROUP, resource: 'records' } as const
const NODE_PREFIX = 'system:node:'

export interface CollectorOptions {
  /** Holds `records.db` and `attachments/`; made when missing. */
  readonly directory: string
  /** Asked what users may do. */
  readonly client: Client
  /** @default systemClock */
  readonly clock?: Clock
  /** Records and attachments kept, bytes. @default 2 GiB */
  readonly maxBytes?: number
}

export interface Collector extends AsyncDisposable {
  /** Answers everything under {@link PATHS.collect}, errors included. */
  readonly handle: Handler
  /** Bytes kept now. */
  usage(): Promise<{ readonly bytes: number }>
}

/** @throws AppError `corrupt`, `unavailable`, `full` when its files cannot be opened */
export async function createCollector(options: CollectorOptions): Promise<Collector> {
  const clock = options.clock ?? systemClock
  const records = new RecordsClient({ directory: options.directory, maxBytes: options.maxBytes ?? 2 ** 31 })
  // A collector that was never used costs no thread until it is; a broken file is said now rather than at the first record.
  if (existsSync(join(options.directory, 'records.db'))) await records.open()
  const part = new CollectorHttp(records, createAuthorizer(options.client, clock), clock, join(options.directory, 'attachments'))
  return {
    handle: (req, res, context) => answering(req, res, () => part.route(req, res, context)),
    usage: () => records.call('usage'),
    async [Symbol.asyncDispose]() {
      part.close()
      await records[Symbol.asyncDispose]()
    },
  }
}

class CollectorHttp {
  readonly #records: RecordsClient
  readonly #authorize: Authorize
  readonly #clock: Clock
  readonly #files: string
  readonly #live: Live
  readonly #closing = new AbortController()

  constructor(records: RecordsClient, authorize: Authorize, clock: Clock, files: string) {
    this.#records = records
    this.#authorize = authorize
    this.#clock = clock
    this.#files = files
    this.#live = new Live(records, clock)
  }

  close(): void {
    this.#closing.abort()
  }

  async route(req: HttpRequest, res: HttpResponse, { user, path, query }: RequestContext): Promise<void> {
    const parts = segments(path.replace(/\/$/, ''), PATHS.collect)
    const method = req.method === 'HEAD' ? 'GET' : (req.method ?? 'GET')
    if (parts.length === 1 && parts[0] === 'ingest') {
      if (method !== 'POST') throw methodNotAllowed(RECORDS, method)
      return await this.#ingest(req, res, user)
    }
    const [namespaces, ns, streams, name, resource, id, sub, file, ...rest] = parts
    if (namespaces !== 'namespaces' || ns === undefined || streams !== 'streams' || rest.length > 0) throw pathNotFound()
    const namespace = checkName(ns, 'read path: namespace')
    if (name === undefined) {
      await this.#authorize(user, { verb: 'list', namespace, stream: undefined })
      return sendJson(res, 200, await this.#records.call('streams', namespace))
    }
    const stream = checkName(name, 'read path: stream')
    const may = (verb: Access['verb'], subresource?: 'review'): Promise<UserInfo> => this.#authorize(user, { verb, namespace, stream, ...(subresource && { subresource }) })
    if (resource !== 'records') throw pathNotFound()

    if (id === undefined) {
      if (method === 'POST') return await this.#create(req, res, namespace, stream, await may('create'))
      if (method !== 'GET') throw methodNotAllowed(RECORDS, method)
      if (['true', '1'].includes(query.get('watch') ?? '')) {
        await may('watch')
        const after = whole(header(req, 'last-event-id') ?? query.get('lastEventId'), 'Last-Event-ID') ?? 0
        return await this.#live.serve(res, namespace, stream, after, this.#closing.signal)
      }
      await may('list')
      return sendJson(res, 200, await this.#records.call('list', parseList(namespace, stream, query)))
    }
    if (sub === 'review' && file === undefined) {
      if (method !== 'POST') throw methodNotAllowed({ ...RECORDS, resource: 'records/review' }, method)
      const reviewer = await may('create', 'review')
      const { state, note } = parseDecision((await readBody(req, MAX_JSON)).toString())
      const record = await this.#records.call('review', namespace, stream, id, state, reviewer.name, note, this.#clock.now())
      this.#live.changed([`${namespace}/${stream}`])
      return sendJson(res, 200, record)
    }
    if (method !== 'GET') throw methodNotAllowed(RECORDS, method)
    if (sub === undefined) {
      await may('get')
      return sendJson(res, 200, await this.#records.call('get', namespace, stream, id))
    }
    if (sub !== 'attachments' || file === undefined) throw pathNotFound()
    await may('get')
    await this.#attachment(req, res, namespace, stream, id, file)
  }

  async #ingest(req: HttpRequest, res: HttpResponse, user: UserInfo | undefined): Promise<void> {
    if (!user) throw unauthorized()
    if (!user.groups.includes(GROUP_NODES) || !user.name.startsWith(NODE_PREFIX)) {
      throw forbidden(RECORDS, '', `User "${user.name}" is not a node; things and users post to namespaces/{namespace}/streams/{stream}/records`)
    }
    const body = await readBody(req, MAX_BATCH)
    const batch = parseBatch(user.name.slice(NODE_PREFIX.length), header(req, EPOCH_HEADER), body, header(req, LOSSES_HEADER))
    const { acked, changed } = await this.#records.call('ingest', batch, this.#clock.now())
    this.#live.changed(changed)
    sendJson(res, 200, { acked })
  }

  async #create(req: HttpRequest, res: HttpResponse, namespace: string, stream: string, user: UserInfo): Promise<void> {
    const record = parsePosted(namespace, stream, user.name, (await readBody(req, MAX_JSON)).toString())
    const kept = await this.#records.call('create', record, this.#clock.now())
    if (kept.created) this.#live.changed([`${namespace}/${stream}`])
    sendJson(res, kept.created ? 201 : 200, kept.record)
  }

  async #attachment(req: HttpRequest, res: HttpResponse, namespace: string, stream: string, id: string, name: string): Promise<void> {
    const { attachments } = await this.#records.call('get', namespace, stream, id)
    const attachment = attachments.find((a) => a.name === name)
    if (!attachment) throw new AppError('not-found', `attachment "${name}" not found in record "${id}"`)
    const path = attachmentPath(this.#files, attachment.sha256)
    if ((await stat(path).catch(() => undefined))?.size !== attachment.size) throw new AppError('corrupt', `read attachment "${name}" of record "${id}": its file "${path}" is not whole`)
    const etag = `"${attachment.sha256}"`
    const answer = res as ServerResponse
    // The bytes are an app's, not ours: a browser that opens them must not run anything with this origin's rights.
    const headers = {
      'content-type': attachment.contentType,
      'content-security-policy': "sandbox; default-src 'none'; img-src 'self'; style-src 'unsafe-inline'",
      'x-content-type-options': 'nosniff',
      'cache-control': 'private, max-age=86400',
      etag,
    }
    if (header(req, 'if-none-match') === etag) return void answer.writeHead(304, headers).end()
    answer.writeHead(200, { ...headers, 'content-length': String(attachment.size) })
    if (req.method === 'HEAD') return void answer.end()
    await pipeline(createReadStream(path), answer)
  }
}
