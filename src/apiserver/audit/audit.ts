/** Records requests as their policy says: wraps the pipeline, and is told of streams, which do not pass through it. Events are `audit.k8s.io/v1`. */
import type { ApiRequest, ApiResponse, UserInfo } from '../../api/contract.ts'
import type { Clock } from '../../base/clock.ts'
import { requestInfo, type RequestInfo } from '../request-info.ts'
import { annotationsOf } from './annotations.ts'
import type { AuditSink } from './log.ts'
import { verdict, type Policy, type Stage, type Verdict } from './policy.ts'

export interface AuditOptions {
  readonly policy: Policy
  readonly sink: AuditSink
}

type Handle = (request: ApiRequest, user: UserInfo, signal: AbortSignal) => Promise<ApiResponse>

const sources = new WeakMap<object, string>()

/** Notes where a request came from, for its event; requests in process have no source. */
export function noteSource<T extends object>(request: T, address: string | undefined): T {
  if (address !== undefined) sources.set(request, address.replace(/^::ffff:/, ''))
  return request
}

/** The pipeline with its events. Without options it is the pipeline itself. */
export function audited(options: AuditOptions | undefined, handle: Handle, clock: Clock): Handle {
  if (!options) return handle
  return async (request, user, signal) => {
    const query = request.query ?? new URLSearchParams()
    let info: RequestInfo
    try {
      info = requestInfo(request.method, request.path, query)
    } catch {
      // A path that does not parse reaches nothing; the pipeline answers it.
      return handle(request, user, signal)
    }
    const said = verdict(options.policy, user, info)
    if (said.level === 'None') return handle(request, user, signal)
    const record = recorder(options, clock, said, { ...request, query }, user, info, sources.get(request))
    record('RequestReceived')
    const answer = await handle({ ...request, query }, user, signal)
    if (typeof answer.body === 'string') {
      record('ResponseComplete', answer)
      return answer
    }
    record('ResponseStarted', answer)
    return { ...answer, body: closing(answer.body, () => record('ResponseComplete', answer)) }
  }
}

/** One event for a stream that was let through (exec, attach, port-forward). */
export function auditStream(options: AuditOptions | undefined, clock: Clock, request: ApiRequest & { readonly query: URLSearchParams }, user: UserInfo, info: RequestInfo): void {
  if (!options) return
  const said = verdict(options.policy, user, info)
  if (said.level !== 'None') recorder(options, clock, said, request, user, info, sources.get(request))('ResponseStarted', { status: 101, headers: {}, body: '' })
}

function recorder({ sink }: AuditOptions, clock: Clock, said: Verdict, request: ApiRequest & { readonly query: URLSearchParams }, user: UserInfo, info: RequestInfo, source: string | undefined): (stage: Stage, answer?: ApiResponse) => void {
  const auditID = crypto.randomUUID()
  const received = new Date(clock.now()).toISOString()
  const query = request.query.toString()
  const sent = said.level === 'Request' || said.level === 'RequestResponse' ? json(request.body, said) : undefined
  return (stage, answer) => {
    if (said.omitStages.includes(stage)) return
    const body = answer && typeof answer.body === 'string' && stage === 'ResponseComplete' ? json(answer.body, said) : undefined
    const status = body as { kind?: string; status?: string; reason?: string; message?: string } | undefined
    const failed = answer !== undefined && answer.status >= 400 && status?.kind === 'Status'
    sink.write(
      JSON.stringify({
        kind: 'Event',
        apiVersion: 'audit.k8s.io/v1',
        level: said.level,
        auditID,
        stage,
        requestURI: query === '' ? request.path : `${request.path}?${query}`,
        verb: info.verb,
        user: { username: user.name, ...(user.uid === undefined ? {} : { uid: user.uid }), groups: user.groups, ...(user.extra ? { extra: user.extra } : {}) },
        ...(source === undefined ? {} : { sourceIPs: [source] }),
        ...(request.headers?.['user-agent'] === undefined ? {} : { userAgent: request.headers['user-agent'] }),
        ...(info.isResource ? { objectRef: reference(info, body) } : {}),
        ...(answer ? { responseStatus: { metadata: {}, ...(failed ? { status: status.status, message: status.message, reason: status.reason } : {}), code: answer.status } } : {}),
        ...(sent === undefined || stage === 'RequestReceived' ? {} : { requestObject: sent }),
        ...(body === undefined || said.level !== 'RequestResponse' ? {} : { responseObject: body }),
        requestReceivedTimestamp: micro(received),
        stageTimestamp: micro(new Date(clock.now()).toISOString()),
        ...(answer ? { annotations: { 'authorization.k8s.io/decision': answer.status === 403 && failed && / cannot /.test(status.message ?? '') ? 'forbid' : 'allow', ...annotationsOf(request.query) } } : {}),
      }),
    )
  }
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

/** A body as a value; undefined when it is none or no JSON. */
function json(body: ApiRequest['body'], { omitManagedFields }: Verdict): unknown {
  if (body === undefined) return undefined
  try {
    const value: unknown = typeof body === 'string' ? JSON.parse(body) : body instanceof Uint8Array ? JSON.parse(Buffer.from(body).toString()) : body
    return omitManagedFields ? withoutManaged(value) : value
  } catch {
    // YAML and protobuf bodies are not recorded; the response is JSON.
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
