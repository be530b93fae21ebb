/**
 * The HTTP server that pods of this node reach: who is calling is known by source address, errors are JSON with the way out,
 * bodies are bounded. Listens on the pod bridge, which may come up later than we do: it waits for the address. Used by bus and
 * collect endpoint.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Clock } from '../base/clock.ts'
import { drained } from '../base/drained.ts'
import { AppError, isAbort, messageOf, type ErrorCode } from '../base/errors.ts'
import { logger } from '../base/log.ts'

const log = logger('devices.http')

/** The pod that calls, as its address says. */
export interface PodIdentity {
  readonly namespace: string
  readonly pod: string
}

export interface LocalRequest {
  readonly method: string
  /** Decoded parts of the path behind the prefix. */
  readonly parts: readonly string[]
  readonly query: URLSearchParams
  readonly caller: PodIdentity
  readonly raw: IncomingMessage
  readonly response: ServerResponse
  /** Aborts when the caller has gone or the server stops. */
  readonly signal: AbortSignal
}

/** Answers by returning JSON (status 200), an {@link Answer}, or undefined when it has written the response itself. */
export type LocalHandler = (request: LocalRequest) => Promise<unknown>

/** An answer with a status other than 200. */
export class Answer {
  readonly status: number
  readonly json: unknown
  constructor(status: number, json: unknown) {
    this.status = status
    this.json = json
  }
}

export interface LocalHttpOptions {
  readonly host: string
  readonly port: number
  readonly clock: Clock
  readonly identify: (ip: string) => PodIdentity | undefined
  /** By path prefix, e.g. `/bus/v1`. */
  readonly routes: Readonly<Record<string, LocalHandler>>
}

const STATUS: Record<ErrorCode, number> = {
  invalid: 400, unauthorized: 401, forbidden: 403, 'not-found': 404, exists: 409, conflict: 409, compacted: 410,
  unavailable: 503, timeout: 504, 'too-large': 413, full: 507, corrupt: 500, unsupported: 501, internal: 500,
}

/** Serves until the signal aborts; `ready` hears the port once it listens. */
export async function serveLocalHttp(options: LocalHttpOptions, signal: AbortSignal, ready: (port: number) => void): Promise<void> {
  const server = createServer({ requestTimeout: 60_000, headersTimeout: 10_000, keepAliveTimeout: 30_000 }, (req, res) => void handle(options, signal, req, res))
  server.maxConnections = 1024
  const port = await listenPatiently(server, options, signal)
  if (port === undefined) return
  ready(port)
  await new Promise<void>((resolve) => {
    const stop = (): void => {
      server.close(() => resolve())
      server.closeAllConnections()
    }
    if (signal.aborted) stop()
    else signal.addEventListener('abort', stop, { once: true })
  })
}

async function listenPatiently(server: Server, { host, port, clock }: LocalHttpOptions, signal: AbortSignal): Promise<number | undefined> {
  for (let tries = 0; !signal.aborted; tries++) {
    try {
      server.listen(port, host)
      await once(server, 'listening', { signal })
      const address = server.address()
      return typeof address === 'object' && address ? address.port : port
    } catch (error) {
      // The bridge comes with the first pod; until then nobody can call.
      if (!signal.aborted && tries % 60 === 0) log.warn('local bus waits for its address', { host, port, error: messageOf(error) })
      await clock.sleep(Math.min(5000, 250 * 2 ** Math.min(tries, 5)), signal).catch(() => undefined)
    }
  }
  return undefined
}

async function handle(options: LocalHttpOptions, serverSignal: AbortSignal, raw: IncomingMessage, response: ServerResponse): Promise<void> {
  const gone = new AbortController()
  response.once('close', () => gone.abort())
  try {
    const caller = options.identify((raw.socket.remoteAddress ?? '').replace(/^::ffff:/, ''))
    if (!caller) throw new AppError('forbidden', `${raw.socket.remoteAddress ?? 'the caller'} is not a pod of this node: call from a pod without hostNetwork`)
    const url = new URL(raw.url ?? '/', 'http://bus')
    const prefix = Object.keys(options.routes).find((p) => url.pathname.startsWith(`${p}/`))
    if (prefix === undefined) throw new AppError('not-found', `nothing is at "${url.pathname}", try ${Object.keys(options.routes).join(' or ')}`)
    let parts: string[]
    try {
      parts = url.pathname.slice(prefix.length + 1).split('/').map(decodeURIComponent)
    } catch (error) {
      throw new AppError('invalid', `path "${url.pathname}" is not percent-encoded right`, { cause: error })
    }
    const signal = AbortSignal.any([gone.signal, serverSignal])
    const answer = await (options.routes[prefix] as LocalHandler)({ method: raw.method ?? 'GET', parts, query: url.searchParams, caller, raw, response, signal })
    if (answer === undefined) return
    if (answer instanceof Answer) sendJson(response, answer.status, answer.json)
    else sendJson(response, 200, answer)
  } catch (error) {
    if (isAbort(error) && gone.signal.aborted) return
    const code = error instanceof AppError ? error.code : 'internal'
    if (code === 'internal') log.error('request failed', { url: raw.url, error })
    if (response.headersSent) response.destroy()
    else sendJson(response, STATUS[code], { error: code, message: code === 'internal' ? 'something failed on the node, its log says what' : messageOf(error) })
  }
}

function sendJson(response: ServerResponse, status: number, json: unknown): void {
  const text = JSON.stringify(json)
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
  response.end(text)
}

/** Writes and waits while the reader is slower than we are. Resolves false when it has gone. */
export async function writePatiently(response: ServerResponse, bytes: Uint8Array | string, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return false
  if (!response.write(bytes)) await drained(response, signal)
  return !signal.aborted
}
