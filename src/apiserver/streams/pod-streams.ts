/**
 * Streams of pods through the node connection: logs, exec, attach, port-forward. The request is authorized and its pod is
 * found before it comes here; the node is asked before the client's connection is taken over, so that a refusal is an
 * ordinary Status. Paths on the node: GET `/containerLogs/{ns}/{pod}/{container}`, POST `/exec/…`, `/attach/…`, 
 * `/portForward/{ns}/{pod}?port=`, `/nodeForward?port=`.
 */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { ApiResponse } from '../../api/contract.ts'
import { badRequest } from '../../api/status.ts'
import { AppError, isAbort, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import type { NodeDialer } from '../../base/stream.ts'
import type { PodStreams, PodTarget } from '../ports.ts'
import { accepted } from './node-errors.ts'
import { FORWARD_SPDY_PROTOCOLS, FORWARD_WS_PROTOCOLS, FORWARD_WS_TUNNEL, forwardOverChannels, forwardOverSpdy, portOf } from './port-forward.ts'
import { channelsOf, COMMAND_SPDY_PROTOCOLS, COMMAND_WS_PROTOCOLS, commandOverSpdy, commandOverWebSocket } from './remote-command.ts'
import { acceptSpdy, acceptWebSocket, asDuplex, chooseProtocol, isSpdy, isWebSocket, refuseUpgrade } from './upgrade.ts'

const log = logger('apiserver.streams')
const LOG_QUERY = ['follow', 'limitBytes', 'previous', 'sinceSeconds', 'sinceTime', 'stream', 'tailLines', 'timestamps']

/** Pod streams over `dialer`; give the result to `createApiServer`. It keeps no state beside the open streams. */
export function createPodStreams(options: { readonly dialer: NodeDialer }): PodStreams {
  const { dialer } = options
  const open = async (target: PodTarget, method: 'GET' | 'POST', path: string, signal: AbortSignal): Promise<Duplex> =>
    accepted(await dialer.open(target.node, { method, path }, signal), target.node)

  return {
    async log(target, signal): Promise<ApiResponse> {
      const query = checkLogQuery(target.query)
      const stream = await open(target, 'GET', nodePath('containerLogs', target, query), signal)
      return { status: 200, headers: { 'content-type': 'text/plain' }, body: readable(stream, signal) }
    },

    async nodePage(node, path, signal): Promise<ApiResponse> {
      const stream = await accepted(await dialer.open(node, { method: 'GET', path }, signal), node)
      return { status: 200, headers: { 'content-type': 'text/plain; version=0.0.4' }, body: readable(stream, signal) }
    },

    async connect({ node, namespace, pod }, port, signal) {
      const path = `/portForward/${encodeURIComponent(namespace)}/${encodeURIComponent(pod)}?port=${port}`
      return accepted(await dialer.open(node, { method: 'POST', path }, signal), node)
    },

    async connectNode(node, port, signal) {
      return accepted(await dialer.open(node, { method: 'POST', path: `/nodeForward?port=${port}` }, signal), node)
    },

    async upgrade(req, socket, head, target) {
      const gone = new AbortController()
      const leave = (): void => gone.abort()
      socket.once('close', leave)
      try {
        if (target.kind === 'portforward') await portForward(req, socket, head, target)
        else if (target.kind === 'exec' || target.kind === 'attach') await command(req, socket, head, target, gone.signal)
        else throw badRequest(`${target.kind} is not a stream to upgrade to`)
      } catch (error) {
        if (!isAbort(error)) log.debug('stream refused or broken', { kind: target.kind, pod: `${target.namespace}/${target.pod}`, error: messageOf(error) })
        socket.destroy()
      } finally {
        socket.off('close', leave)
      }
    },
  }

  async function command(req: IncomingMessage, socket: Duplex, head: Buffer, target: PodTarget, signal: AbortSignal): Promise<void> {
    let node: Duplex
    let protocol: string
    const channels = channelsOf(target.query)
    try {
      if (target.kind === 'exec' && target.query.getAll('command').length === 0) throw badRequest('you must specify at least one command for the container')
      if (!channels.stdin && !channels.stdout && !channels.stderr) throw badRequest('you must specify at least one of stdin, stdout, stderr')
      protocol = protocolOf(req, COMMAND_WS_PROTOCOLS, COMMAND_SPDY_PROTOCOLS)
      const query = new URLSearchParams()
      for (const name of ['stdin', 'stdout', 'stderr', 'tty'] as const) if (channels[name]) query.set(name, 'true')
      if (target.kind === 'exec') for (const word of target.query.getAll('command')) query.append('command', word)
      node = await open(target, 'POST', nodePath(target.kind, target, query), signal)
    } catch (error) {
      return refuseUpgrade(socket, error)
    }
    if (isWebSocket(req)) return commandOverWebSocket(await acceptWebSocket(req, socket, head, protocol), protocol, node)
    acceptSpdy(socket, protocol)
    return commandOverSpdy(socket, head, channels, node)
  }

  async function portForward(req: IncomingMessage, socket: Duplex, head: Buffer, target: PodTarget): Promise<void> {
    const connect = (port: number, signal: AbortSignal): Promise<Duplex> => open(target, 'POST', nodePath('portForward', target, new URLSearchParams({ port: String(port) })), signal)
    let protocol: string
    let ports: number[] = []
    try {
      protocol = protocolOf(req, FORWARD_WS_PROTOCOLS, FORWARD_SPDY_PROTOCOLS)
      if (protocol === 'v4.channel.k8s.io') {
        ports = target.query.getAll('ports').flatMap((p) => p.split(',')).map((text) => {
          const port = portOf(text.trim())
          if (port === undefined) throw badRequest(`invalid port "${text}"`)
          return port
        })
        if (ports.length === 0 || ports.length > 64) throw badRequest('query parameter "ports" must name 1 to 64 ports')
      }
    } catch (error) {
      return refuseUpgrade(socket, error)
    }
    if (!isWebSocket(req)) {
      acceptSpdy(socket, protocol)
      return forwardOverSpdy(socket, head, connect)
    }
    const ws = await acceptWebSocket(req, socket, head, protocol)
    if (protocol === FORWARD_WS_TUNNEL) return forwardOverSpdy(asDuplex(ws), Buffer.alloc(0), connect)
    return forwardOverChannels(ws, ports, connect)
  }
}

/** @throws ApiError 400 when the request is no upgrade we know, or offers no protocol of ours */
function protocolOf(req: IncomingMessage, webSocket: readonly string[], spdy: readonly string[]): string {
  if (!isWebSocket(req) && !isSpdy(req)) throw badRequest(`Upgrade request required, of websocket or SPDY/3.1; got '${req.headers.upgrade ?? ''}'`)
  const header = isWebSocket(req) ? 'sec-websocket-protocol' : 'x-stream-protocol-version'
  const known = isWebSocket(req) ? webSocket : spdy
  const protocol = chooseProtocol(req, header, known)
  if (protocol === undefined) throw badRequest(`unable to upgrade: offered protocols '${String(req.headers[header] ?? '')}', known are ${known.join(', ')}`)
  return protocol
}

function nodePath(kind: string, target: PodTarget, query: URLSearchParams): string {
  const parts = [kind, target.namespace, target.pod, ...(target.kind === 'portforward' ? [] : [target.container ?? ''])]
  const text = query.toString()
  return `/${parts.map(encodeURIComponent).join('/')}${text === '' ? '' : `?${text}`}`
}

/** What the node needs of a log request. @throws ApiError 400 */
function checkLogQuery(query: URLSearchParams): URLSearchParams {
  const out = new URLSearchParams()
  for (const name of LOG_QUERY) {
    const value = query.get(name)
    if (value === null || value === '') continue
    const number = name === 'limitBytes' || name === 'sinceSeconds' || name === 'tailLines'
    if (number && !/^\d{1,15}$/.test(value)) throw badRequest(`${name}: Invalid value: "${value}": must be a number greater than or equal to 0`)
    if (name === 'sinceTime' && Number.isNaN(Date.parse(value))) throw badRequest(`sinceTime: Invalid value: "${value}": must be an RFC 3339 time`)
    out.set(name, value)
  }
  if (out.has('sinceSeconds') && out.has('sinceTime')) throw badRequest('at most one of `sinceTime` or `sinceSeconds` may be specified')
  return out
}

/** The stream as an iterable that ends the node's work when left early, even before its first read, or when the signal aborts. */
function readable(stream: Duplex, signal: AbortSignal): AsyncIterable<Buffer> {
  const end = (): void => void stream.destroy()
  stream.on('error', () => undefined) // the iterator reports it
  signal.addEventListener('abort', end, { once: true })
  stream.once('close', () => signal.removeEventListener('abort', end))
  return {
    [Symbol.asyncIterator]() {
      const inner = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>
      return {
        async next() {
          try {
            return await inner.next()
          } catch (cause) {
            if (signal.aborted) return { done: true, value: undefined }
            throw cause instanceof AppError ? cause : new AppError('unavailable', 'read the log: the connection to the node was lost', { cause })
          }
        },
        async return() {
          stream.destroy()
          return { done: true, value: undefined }
        },
      }
    },
  }
}
