/** Records requests as their policy says: wraps the pipeline, and is told of streams, which do not pass through it. Events are `audit.k8s.io/v1`. */
import { isIP } from 'node:net'
import type { ApiRequest, ApiResponse, UserInfo } from '../../api/contract.ts'
import type { Clock } from '../../base/clock.ts'
import { impersonatorOf } from '../authn/authenticator.ts'
import { readObject } from '../body.ts'
import { ListText } from '../list-text.ts'
import type { Pipeline } from '../pipeline.ts'
import { requestInfo, type RequestInfo } from '../request-info.ts'
import { annotationsOf } from './annotations.ts'
import type { AuditSink } from './log.ts'
import { verdict, type Policy, type Stage, type Verdict } from './policy.ts'

export interface AuditOptions {
  readonly policy: Policy
  readonly sink: AuditSink
}

const APPLY = 'application/apply-patch+yaml'
/** Longest list that is put into an event, characters. */
const MAX_LIST = 1 << 20
/** Of what clients say about themselves, at most so much: Kubernetes' figure for the agent. */
const MAX_AGENT = 1_024
const MAX_SOURCES = 16

type Handle = Pipeline['handle']

const sources = new WeakMap<object, string>()

/** Notes where a request came from, for its event; requests in process have no source. */
export function noteSource<T extends object>(request: T, address: string | undefined): T {
  if (address !== undefined) sources.set(request, address.replace(/^::ffff:/, ''))
  return request
}

/** Notes who a request was refused as, when it never became that of a user. */
export function noteRefusedUser(error: unknown, user: UserInfo): void {
  if (typeof error === 'object' && error !== null) refusedUsers.set(error, user)
}

const refusedUsers = new WeakMap<object, UserInfo>()
const NOBODY: UserInfo = { name: '', groups: [] }

/** The pipeline with its events. Without options it is the pipeline itself. */
export function audited(options: AuditOptions | undefined, handle: Handle, clock: Clock): Handle {
  if (!options) return handle
  return async (request, user, life, known) => {
    const record = await begin(options, clock, request, user)
    if (!record) return handle(request, user, life, known)
    record('RequestReceived')
    const answer = await handle({ ...request, query: record.query }, user, life, known)
    if (typeof answer.body === 'string') {
      record('ResponseComplete', answer)
      return answer
    }
    if (answer.body instanceof ListText) {
      record('ResponseComplete', answer, record.wantsResponse ? await textOf(answer.body) : undefined)
      return answer
    }
    record('ResponseStarted', answer)
    return { ...answer, body: closing(answer.body, () => record('ResponseComplete', answer)) }
  }
}

/** The events of a stream that was let through (exec, attach, port-forward). Returns what to call when it has ended. */
export async function auditStream(options: AuditOptions | undefined, clock: Clock, request: AuditedRequest, user: UserInfo): Promise<() => void> {
  const record = options && (await begin(options, clock, request, user))
  if (!record) return () => undefined
  const answer = { status: 101, headers: {}, body: '' }
  record('RequestReceived')
  record('ResponseStarted', answer)
  return () => record('ResponseComplete', answer)
}

/** A request that did not get as far as the pipeline: credentials that do not count, impersonation that is not allowed, a body that is no good. */
export async function auditRefused(options: AuditOptions | undefined, clock: Clock, request: AuditedRequest, error: unknown, answer: ApiResponse): Promise<void> {
  if (!options) return
  const user = (typeof error === 'object' && error !== null ? refusedUsers.get(error) : undefined) ?? NOBODY
  const record = await begin(options, clock, request, user)
  // Kubernetes tells a failed authentication when its answer begins, and nothing else of it.
  record?.(answer.status === 401 ? 'ResponseStarted' : 'ResponseComplete', answer)
}

type AuditedRequest = ApiRequest & { readonly query: URLSearchParams }

interface Recorder {
  (stage: Stage, answer?: ApiResponse, text?: string): void
  readonly query: URLSearchParams
  /** The response's object belongs into the event. */
  readonly wantsResponse: boolean
}

/** How to record one request; undefined when the policy wants nothing of it. */
async function begin(options: AuditOptions, clock: Clock, sent: ApiRequest, user: UserInfo): Promise<Recorder | undefined> {
  const request = { ...sent, query: sent.query ?? new URLSearchParams() }
  let info: RequestInfo
  try {
    info = requestInfo(request.method, request.path, request.query)
  } catch {
    // A path that does not parse reaches nothing; it is told as the path it is.
    info = { isResource: false, verb: request.method.toLowerCase(), path: request.path }
  }
  const said = verdict(options.policy, impersonatorOf(user) ?? user, info)
  if (said.level === 'None') return undefined
  const wantsObjects = said.level === 'Request' || said.level === 'RequestResponse'
  const object = wantsObjects ? await objectOf(request, said) : undefined
  const record = recorder(options, clock, said, request, user, info, sourcesOf(sent), object)
  return Object.assign(record, { query: request.query, wantsResponse: said.level === 'RequestResponse' })
}

function recorder({ sink }: AuditOptions, clock: Clock, said: Verdict, request: AuditedRequest, user: UserInfo, info: RequestInfo, addresses: readonly string[], sent: unknown): (stage: Stage, answer?: ApiResponse, text?: string) => void {
  const auditID = auditIdOf(request)
  const received = new Date(clock.now()).toISOString()
  const query = request.query.toString()
  const speaker = impersonatorOf(user)
  return (stage, answer, text) => {
    if (said.omitStages.includes(stage)) return
    const whole = text ?? (answer && typeof answer.body === 'string' && stage !== 'RequestReceived' ? answer.body : undefined)
    const body = whole === undefined ? undefined : json(whole, said)
    const status = body as { kind?: string; status?: string; reason?: string; message?: string } | undefined
    const failed = answer !== undefined && answer.status >= 400 && status?.kind === 'Status'
    const tooLong = answer?.body instanceof ListText && said.level === 'RequestResponse' && body === undefined
    sink.write(
      JSON.stringify({
        kind: 'Event',
        apiVersion: 'audit.k8s.io/v1',
        level: said.level,
        auditID,
        stage,
        requestURI: query === '' ? request.path : `${request.path}?${query}`,
        verb: info.verb,
        user: userOf(speaker ?? user),
        ...(speaker ? { impersonatedUser: userOf(user) } : {}),
        ...(addresses.length === 0 ? {} : { sourceIPs: addresses }),
        ...(request.headers?.['user-agent'] === undefined ? {} : { userAgent: request.headers['user-agent'].slice(0, MAX_AGENT) }),
        ...(info.isResource ? { objectRef: reference(info, body) } : {}),
        ...(answer ? { responseStatus: { metadata: {}, ...(failed ? { status: status.status, message: status.message, reason: status.reason } : {}), code: answer.status } } : {}),
        ...(sent === undefined || stage === 'RequestReceived' ? {} : { requestObject: sent }),
        ...(body === undefined || said.level !== 'RequestResponse' || stage !== 'ResponseComplete' ? {} : { responseObject: body }),
        requestReceivedTimestamp: micro(received),
        stageTimestamp: micro(new Date(clock.now()).toISOString()),
        ...(answer ? { annotations: { ...annotationsOf(request.query), ...(tooLong ? { 'audit.k8s.io/truncated': 'true' } : {}) } } : {}),
      }),
    )
  }
}

function userOf(user: UserInfo): object {
  return { ...(user.name === '' ? {} : { username: user.name }), ...(user.uid === undefined ? {} : { uid: user.uid }), ...(user.groups.length === 0 ? {} : { groups: user.groups }), ...(user.extra && Object.keys(user.extra).length > 0 ? { extra: user.extra } : {}) }
}

/** The id a client gave its request, when it is one, or a new one. */
function auditIdOf({ headers }: AuditedRequest): string {
  const given = headers?.['audit-id']
  return given !== undefined && /^[\w.-]{1,64}$/.test(given) ? given : crypto.randomUUID()
}

/** Who passed the request on, as they say, and last who it came from. */
function sourcesOf(request: ApiRequest): string[] {
  const last = sources.get(request)
  if (last === undefined) return []
  const told = [...(request.headers?.['x-forwarded-for']?.split(',') ?? []), request.headers?.['x-real-ip'] ?? ''].map((a) => a.trim()).filter((a) => isIP(a) !== 0)
  return [...new Set([...told.slice(0, MAX_SOURCES), last])]
}

/** A list's text; undefined when it is longer than an event may be. */
async function textOf(list: ListText): Promise<string | undefined> {
  let text = ''
  for await (const part of list) {
    text += part
    if (text.length > MAX_LIST) return undefined
  }
  return text
}

function reference(info: Extract<RequestInfo, { isResource: true }>, body: unknown): object {
  const meta = (body as { kind?: string; metadata?: { name?: string; uid?: string; resourceVersion?: string } } | undefined)?.metadata
  const one = (body as { kind?: string } | undefined)?.kind?.endsWith('List') ? undefined : meta
  const name = info.name ?? one?.name
  return {
    resource: info.resource,
    ...(info.namespace === undefined ? {} : { namespace: info.namespace }),
    ...(name === undefined ? {} : { name }),
    ...(one?.uid === undefined ? {} : { uid: one.uid }),
    ...(info.group === '' ? {} : { apiGroup: info.group }),
    apiVersion: info.version,
    ...(one?.resourceVersion === undefined ? {} : { resourceVersion: one.resourceVersion }),
    ...(info.subresource === undefined ? {} : { subresource: info.subresource }),
  }
}

/** The object of a request's body, whatever its encoding; undefined when it is none. */
async function objectOf(request: AuditedRequest, said: Verdict): Promise<unknown> {
  if (request.body === undefined) return undefined
  const type = request.headers?.['content-type'] ?? ''
  if (/json/.test(type) || type === '') return json(request.body, said)
  try {
    const { sent } = await readObject({ body: request.body, headers: { 'content-type': type === APPLY ? 'application/yaml' : type } })
    return said.omitManagedFields ? withoutManaged(sent) : sent
  } catch {
    // What cannot be read is refused by the verb, and its refusal is in the event.
    return undefined
  }
}

/** JSON as a value; undefined when it is none. */
function json(body: NonNullable<ApiRequest['body']>, { omitManagedFields }: Verdict): unknown {
  try {
    const value: unknown = typeof body === 'string' ? JSON.parse(body) : body instanceof Uint8Array ? JSON.parse(Buffer.from(body).toString()) : body
    return omitManagedFields ? withoutManaged(value) : value
  } catch {
    return undefined
  }
}

function withoutManaged(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  const { metadata, items } = value as { metadata?: object; items?: unknown[] }
  return {
    ...value,
    ...(metadata ? { metadata: { ...metadata, managedFields: undefined } } : {}),
    ...(Array.isArray(items) ? { items: items.map(withoutManaged) } : {}),
  }
}

function micro(iso: string): string {
  return iso.replace('Z', '000Z')
}

async function* closing<T>(body: AsyncIterable<T>, done: () => void): AsyncGenerator<T> {
  try {
    yield* body
  } finally {
    done()
  }
}
