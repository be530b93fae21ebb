/**
 * `pods/proxy`, `services/proxy` and `nodes/proxy`: an HTTP request to a port of a pod, through its node's port-forward, or of a node. A Service is
 * answered by one of its ready pods. Upgrades, such as to WebSockets, are carried; links in HTML and in `Location` lead through the proxy again.
 */
import { request as httpRequest } from 'node:http'
import type { IncomingMessage, RequestOptions } from 'node:http'
import type { Duplex } from 'node:stream'
import { connect as tlsConnect } from 'node:tls'
import type { ApiResponse } from '../api/contract.ts'
import { KINDS } from '../api/kinds.ts'
import { badRequest, unavailable } from '../api/status.ts'
import { AppError, messageOf } from '../base/errors.ts'
import { WS_BEARER } from './authn/authenticator.ts'
import { bodyText } from './body.ts'
import type { Call, Core } from './core.ts'
import { readStored, serviceTarget, type PodSpec } from './service-target.ts'
import { proxiedLink, proxiedPage } from './html-links.ts'
import { connectAllowed } from './webhooks/connect.ts'
import type { Obj } from './stored-text.ts'

const METHODS: Readonly<Record<string, string>> = { get: 'GET', create: 'POST', update: 'PUT', patch: 'PATCH', delete: 'DELETE' }
/** Of one connection only, or ours: not passed on. A pod never sees the caller's credentials. */
const NOT_SENT = new Set(['authorization', 'connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'host', 'content-length', 'accept-encoding', 'cookie', 'expect'])
const NOT_RETURNED = new Set(['connection', 'keep-alive', 'proxy-authenticate', 'trailer', 'transfer-encoding', 'upgrade', 'content-length', 'set-cookie'])

/** Answers what the pod answers. @throws ApiError 404, 400 for a name that does not fit, 503 when nothing can be reached */
export async function proxy(core: Core, call: Call): Promise<ApiResponse> {
  const { def, info, query, signal } = call
  const base = baseOf(call)
  const text = query.toString()
  // A page's relative links lead nowhere below a path without its slash.
  if (info.rest === '' && info.verb === 'get') return { status: 301, headers: { location: `${base}/${text === '' ? '' : `?${text}`}` }, body: '' }
  const way = await reach(core, call)
  const headers = Object.fromEntries(Object.entries(call.headers).filter(([k]) => !NOT_SENT.has(k) && !k.startsWith('impersonate-')))
  try {
    const answer = await exchange(way, call, { ...headers, connection: 'close' }, call.body instanceof Uint8Array ? call.body : call.body === undefined ? undefined : bodyText(call.body))
    const back: Record<string, string> = {}
    for (const [k, v] of Object.entries(answer.headers)) if (v !== undefined && !NOT_RETURNED.has(k)) back[k] = Array.isArray(v) ? v.join(', ') : v
    const place = { prefix: base, server: way.host, client: call.headers.host }
    if (back.location !== undefined) back.location = proxiedLink(back.location, place)
    const body = bytes(answer, way.raw)
    const isPage = /^\s*text\/html\s*(;|$)/i.test(back['content-type'] ?? '') && back.location === undefined && (back['content-encoding'] ?? 'identity') === 'identity'
    return { status: answer.statusCode ?? 502, headers: back, body: isPage ? proxiedPage(body, place) : body }
  } catch (error) {
    way.raw.destroy()
    signal.throwIfAborted()
    throw unavailable(`error trying to reach ${def.singular}: ${messageOf(error)}`)
  }
}

/**
 * An upgrade, such as to a WebSocket: what the pod answers goes to `socket`, and when it agrees, all bytes both ways until
 * either end closes. `opened` is called when the port is reached. @throws ApiError as {@link proxy}, before anything was answered
 */
export async function proxyUpgrade(core: Core, call: Call, socket: Duplex, head: Buffer, opened: () => Promise<void>): Promise<void> {
  const way = await reach(core, call)
  const { raw } = way
  socket.once('close', () => raw.destroy())
  await opened()
  const protocols = (call.headers['sec-websocket-protocol'] ?? '').split(',').map((p) => p.trim()).filter((p) => p !== '' && !p.startsWith(WS_BEARER))
  const headers = Object.fromEntries(Object.entries(call.headers).filter(([k]) => !NOT_SENT.has(k) && !k.startsWith('impersonate-') && k !== 'sec-websocket-protocol'))
  const asked = { ...headers, connection: 'Upgrade', upgrade: call.headers['upgrade'] ?? '', ...(protocols.length > 0 ? { 'sec-websocket-protocol': protocols.join(', ') } : {}) }
  await new Promise<void>((resolve, reject) => {
    const fail = (error: unknown): void => {
      raw.destroy()
      reject(unavailable(`error trying to reach ${call.def.singular}: ${messageOf(error)}`))
    }
    raw.on('error', fail)
    const out = httpRequest(outgoing(way, call, asked))
    out.on('error', fail)
    out.on('response', (answer) => {
      // It does not upgrade: its answer is the answer, and the connection ends with it.
      socket.write(headOf(answer, { connection: 'close' }))
      answer.pipe(socket)
      resolve()
    })
    out.on('upgrade', (answer, upgraded, first) => {
      socket.write(headOf(answer, { connection: 'Upgrade', upgrade: answer.headers.upgrade ?? '' }))
      if (first.length > 0) socket.write(first)
      if (head.length > 0) upgraded.write(head)
      socket.once('error', () => upgraded.destroy())
      upgraded.once('error', () => socket.destroy())
      upgraded.once('close', () => socket.end())
      socket.pipe(upgraded)
      upgraded.pipe(socket)
      resolve()
    })
    out.end()
  })
}

/** An open way to a port of a pod. */
interface Way {
  readonly raw: Duplex
  readonly tls: boolean
  readonly host: string
}

/** @throws ApiError 404, 400, 503 */
async function reach(core: Core, call: Call): Promise<Way> {
  const { def, info, signal } = call
  if (!core.podStreams) throw unavailable('this server carries no pod streams')
  const m = /^(?:(https?):)?([^:]+)(?::([^:]*))?$/.exec(info.name ?? '')
  if (!m) throw badRequest(`invalid ${def.singular} request "${info.name}": expected name, name:port or scheme:name:port`)
  const [, scheme = 'http', name = '', port = ''] = m
  if (def === KINDS.Node) {
    await readStored(core, def, undefined, name)
    const to = numberOf(port)
    await connectAllowed(core, call)
    return { raw: await core.podStreams.connectNode(name, to, signal), tls: scheme === 'https', host: `${name}:${to}` }
  }
  const namespace = info.namespace as string
  const { pod, to } = def === KINDS.Service ? await serviceTarget(core, namespace, name, port) : await ofPod(core, namespace, name, port)
  const node = (pod.spec as PodSpec).nodeName
  if (!node) throw unavailable(`address not allowed: pod "${pod.metadata.name}" does not have a host assigned`)
  await connectAllowed(core, call)
  const raw = await core.podStreams.connect({ node, namespace, pod: pod.metadata.name as string }, to, signal)
  return { raw, tls: scheme === 'https', host: `${name}:${to}` }
}

const baseOf = ({ def, info }: Call): string => `/api/v1/${info.namespace === undefined ? '' : `namespaces/${info.namespace}/`}${def.resource}/${info.name}/proxy`

/** @throws ApiError 400 */
function numberOf(port: string): number {
  if (!/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65_535) throw badRequest(`invalid port "${port}": a pod or node is reached by number`)
  return Number(port)
}

async function ofPod(core: Core, namespace: string, name: string, port: string): Promise<{ pod: Obj; to: number }> {
  const pod = await readStored(core, KINDS.Pod, namespace, name)
  if (port !== '') return { pod, to: numberOf(port) }
  const first = (pod.spec as PodSpec).containers?.flatMap((c) => c.ports ?? [])[0]?.containerPort
  if (first === undefined) throw badRequest(`pod "${name}" names no port: give one, as in ${name}:8080`)
  return { pod, to: first }
}

/** The request as the pod gets it; its certificate is its own affair: the way to it is ours, and authenticated. */
function outgoing({ raw, tls, host }: Way, call: Call, headers: Record<string, string>): RequestOptions {
  const { info, query, signal } = call
  const transport: Duplex = tls ? tlsConnect({ socket: raw, rejectUnauthorized: false }) : raw
  const text = query.toString()
  return {
    createConnection: () => transport,
    method: METHODS[info.verb] ?? 'GET',
    path: `${info.rest || '/'}${text === '' ? '' : `?${text}`}`,
    headers: { ...headers, host, 'x-forwarded-uri': baseOf(call) + info.rest },
    signal,
  }
}

function exchange(way: Way, call: Call, headers: Record<string, string>, body: string | Uint8Array | undefined): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    way.raw.on('error', reject)
    const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }
    const out = httpRequest(outgoing(way, call, { ...headers, ...length }), resolve)
    out.on('error', reject)
    out.on('upgrade', (_res, socket) => {
      socket.destroy()
      reject(new AppError('unsupported', 'the pod asks for an upgrade of the connection, which the request did not offer'))
    })
    out.end(body)
  })
}

/** The head of the pod's answer as the client gets it. */
function headOf(answer: IncomingMessage, ours: Readonly<Record<string, string>>): string {
  const theirs = Object.entries(answer.headers).filter(([k, v]) => v !== undefined && (!NOT_RETURNED.has(k) || k === 'content-length'))
  const lines = [...theirs.map(([k, v]) => `${k}: ${Array.isArray(v) ? v.join(', ') : v}`), ...Object.entries(ours).map(([k, v]) => `${k}: ${v}`)]
  return `HTTP/1.1 ${answer.statusCode ?? 502} ${answer.statusMessage ?? ''}\r\n${lines.join('\r\n')}\r\n\r\n`
}

/** The body; the connection ends with it, also when it is left early. */
async function* bytes(answer: IncomingMessage, raw: Duplex): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of answer) yield chunk as Uint8Array
  } finally {
    raw.destroy()
  }
}
