/**
 * `pods/proxy` and `services/proxy`: an HTTP request to a port of a pod, through its node's port-forward. A Service is
 * answered by one of its ready pods. Upgrades (WebSockets) are not carried; HTML is passed on without rewriting its links.
 */
import { request as httpRequest } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { connect as tlsConnect } from 'node:tls'
import type { ApiResponse } from '../api/contract.ts'
import { KINDS } from '../api/kinds.ts'
import { badRequest, unavailable } from '../api/status.ts'
import { AppError, messageOf } from '../base/errors.ts'
import { bodyText } from './body.ts'
import type { Call, Core } from './core.ts'
import { readStored, serviceTarget, type PodSpec } from './service-target.ts'
import { connectAllowed } from './webhooks/connect.ts'
import type { Obj } from './stored-text.ts'

const METHODS: Readonly<Record<string, string>> = { get: 'GET', create: 'POST', update: 'PUT', patch: 'PATCH', delete: 'DELETE' }
/** Of one connection only, or ours: not passed on. A pod never sees the caller's credentials. */
const NOT_SENT = new Set(['authorization', 'connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'host', 'content-length', 'accept-encoding', 'cookie', 'expect'])
const NOT_RETURNED = new Set(['connection', 'keep-alive', 'proxy-authenticate', 'trailer', 'transfer-encoding', 'upgrade', 'content-length', 'set-cookie'])

/** Answers what the pod answers. @throws ApiError 404, 400 for a name that does not fit, 503 when nothing can be reached */
export async function proxy(core: Core, call: Call): Promise<ApiResponse> {
  const { def, info, query, signal } = call
  if (!core.podStreams) throw unavailable('this server carries no pod streams')
  const m = /^(?:(https?):)?([^:]+)(?::([^:]*))?$/.exec(info.name ?? '')
  if (!m) throw badRequest(`invalid ${def.singular} request "${info.name}": expected name, name:port or scheme:name:port`)
  const [, scheme = 'http', name = '', port = ''] = m
  const namespace = info.namespace as string
  const { pod, to } = def === KINDS.Service ? await serviceTarget(core, namespace, name, port) : await ofPod(core, namespace, name, port)
  const node = (pod.spec as PodSpec).nodeName
  if (!node) throw unavailable(`address not allowed: pod "${pod.metadata.name}" does not have a host assigned`)
  await connectAllowed(core, call)
  const raw = await core.podStreams.connect({ node, namespace, pod: pod.metadata.name as string }, to, signal)
  const base = `/api/v1/namespaces/${namespace}/${def.resource}/${info.name}/proxy`
  const text = query.toString()
  const headers = Object.fromEntries(Object.entries(call.headers).filter(([k]) => !NOT_SENT.has(k) && !k.startsWith('impersonate-')))
  try {
    const answer = await exchange(raw, {
      tls: scheme === 'https',
      method: METHODS[info.verb] ?? 'GET',
      path: `${info.rest || '/'}${text === '' ? '' : `?${text}`}`,
      headers: { ...headers, host: `${name}:${to}`, 'x-forwarded-uri': `${base}${info.rest}` },
      body: call.body instanceof Uint8Array ? call.body : call.body === undefined ? undefined : bodyText(call.body),
      signal,
    })
    const back: Record<string, string> = {}
    for (const [k, v] of Object.entries(answer.headers)) if (v !== undefined && !NOT_RETURNED.has(k)) back[k] = Array.isArray(v) ? v.join(', ') : v
    if (back.location?.startsWith('/')) back.location = base + back.location
    return { status: answer.statusCode ?? 502, headers: back, body: bytes(answer, raw) }
  } catch (error) {
    raw.destroy()
    signal.throwIfAborted()
    throw unavailable(`error trying to reach ${def.singular}: ${messageOf(error)}`)
  }
}

async function ofPod(core: Core, namespace: string, name: string, port: string): Promise<{ pod: Obj; to: number }> {
  const pod = await readStored(core, KINDS.Pod, namespace, name)
  if (port !== '') {
    if (!/^\d{1,5}$/.test(port)) throw badRequest(`invalid port "${port}": a pod is reached by number`)
    return { pod, to: Number(port) }
  }
  const first = (pod.spec as PodSpec).containers?.flatMap((c) => c.ports ?? [])[0]?.containerPort
  if (first === undefined) throw badRequest(`pod "${name}" names no port: give one, as in ${name}:8080`)
  return { pod, to: first }
}

interface Outgoing {
  readonly tls: boolean
  readonly method: string
  readonly path: string
  readonly headers: Record<string, string>
  readonly body: string | Uint8Array | undefined
  readonly signal: AbortSignal
}

function exchange(raw: Duplex, { tls, method, path, headers, body, signal }: Outgoing): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    raw.on('error', reject)
    // A pod's certificate is its own affair; the way to it is ours, and authenticated.
    const transport: Duplex = tls ? tlsConnect({ socket: raw, rejectUnauthorized: false }) : raw
    const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }
    const out = httpRequest({ createConnection: () => transport, method, path, headers: { ...headers, ...length, connection: 'close' }, signal }, resolve)
    out.on('error', reject)
    out.on('upgrade', (_res, socket) => {
      socket.destroy()
      reject(new AppError('unsupported', 'the pod asks for an upgrade of the connection, which this proxy does not carry'))
    })
    out.end(body)
  })
}

/** The body; the connection ends with it, also when it is left early. */
async function* bytes(answer: IncomingMessage, raw: Duplex): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of answer) yield chunk as Uint8Array
  } finally {
    raw.destroy()
  }
}
