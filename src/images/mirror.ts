/**
 * The node's end: a registry on loopback that containerd takes as its mirror for every registry. Each request is passed to the
 * server over the node's own connection; so a pull is an ordinary pull. Cut off, it answers 503 at once, and containerd goes on
 * to the registry itself, if that can be reached. Blobs are fetched in pieces and go on where a break left them.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { systemClock, type Clock } from '../base/clock.ts'
import { drained } from '../base/drained.ts'
import { AppError, isAbort, messageOf } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { parsePath } from './registry.ts'

const log = logger('images.mirror')

/** How the mirror reaches the server; the tunnel's node session has this shape. */
export type Upstream = (request: {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}) => Promise<{ readonly status: number; readonly headers: Readonly<Record<string, string>>; readonly body: AsyncIterable<Uint8Array> }>

export interface MirrorOptions {
  readonly upstream: Upstream
  /** Loopback port; 0 takes a free one. */
  readonly port: number
  /** How long a broken transfer waits for the link to come back before containerd is told, ms. @default 60000 */
  readonly resumeMs?: number
  /** How long the server may take to begin an answer, ms. @default 10000 */
  readonly answerMs?: number
  /** @default systemClock */
  readonly clock?: Clock
  /** The server answered that it has not got this image (as `registry/name:tag`); containerd asks the registry itself now. */
  readonly onMissing?: (reference: string) => void
  /** Answers requests of its own and says so; the others are passed to the server. */
  readonly beside?: (req: IncomingMessage, res: ServerResponse) => boolean
}

export interface Mirror extends AsyncDisposable {
  readonly port: number
}

/** Between two tries to go on, ms. */
const RESUME_WAIT_MS = 500

const PASSED = ['content-type', 'content-length', 'docker-content-digest', 'docker-distribution-api-version', 'etag', 'content-range', 'accept-ranges']

/** Starts the mirror on 127.0.0.1. @throws AppError `exists` when the port is taken */
export async function startMirror(options: MirrorOptions): Promise<Mirror> {
  const server = createServer((req, res) => {
    if (options.beside?.(req, res) === true) return
    void pass(options, req, res).catch((error: unknown) => {
      if (!isAbort(error)) log.warn('pull through the server failed', { path: req.url, error: messageOf(error) })
      if (res.headersSent) res.destroy()
      else fail(res, 503, 'UNAVAILABLE', `the server cannot be reached now: ${messageOf(error)}`)
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'EADDRINUSE' ? new AppError('exists', `start image mirror: 127.0.0.1:${options.port} is taken by another program: stop it, or give another port`, { cause: error }) : error),
    )
    server.listen(options.port, '127.0.0.1', resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

async function pass(options: MirrorOptions, req: IncomingMessage, res: ServerResponse): Promise<void> {
  const path = req.url ?? '/'
  const asked = parsePath(decodeURIComponent(path.split('?')[0] ?? ''))
  if ((req.method !== 'GET' && req.method !== 'HEAD') || !asked) return fail(res, 404, 'UNSUPPORTED', 'this mirror only serves pulls')
  if (asked.kind === 'ping') {
    res.writeHead(200, { 'docker-distribution-api-version': 'registry/2.0', 'content-type': 'application/json' })
    res.end('{}')
    return
  }
  const gone = new AbortController()
  res.on('close', () => gone.abort())
  const headers: Record<string, string> = {}
  for (const name of ['accept', 'range', 'if-none-match']) {
    const value = req.headers[name]
    if (typeof value === 'string') headers[name] = value
  }
  const first = await ask(options, { method: req.method, path, headers }, gone.signal)
  if (first.status === 404 && asked.kind === 'manifest') {
    const ns = new URL(path, 'http://mirror').searchParams.get('ns')
    options.onMissing?.(`${ns === null ? '' : `${ns}/`}${asked.name}${asked.reference.includes(':') ? '@' : ':'}${asked.reference}`)
  }
  const out: Record<string, string> = {}
  for (const name of PASSED) if (first.headers[name] !== undefined) out[name] = first.headers[name]
  res.writeHead(first.status, out)
  // Only a whole blob is resumed: its length and digest are fixed by its name.
  const resumable = asked.kind === 'blob' && first.status === 200 && headers['range'] === undefined && req.method === 'GET'
  const total = resumable ? Number(first.headers['content-length']) : Number.NaN
  const clock = options.clock ?? systemClock
  let sent = 0
  let body: AsyncIterable<Uint8Array> | undefined = first.body
  let giveUpAt = Infinity
  for (;;) {
    try {
      for await (const chunk of body ?? []) {
        sent += chunk.length
        giveUpAt = Infinity
        if (!res.write(chunk)) await drained(res, gone.signal)
      }
      // An end before the announced length is a break, too.
      if (!(sent < total)) break
    } catch (error) {
      if (gone.signal.aborted) return
      if (!(sent < total)) throw error
      log.info('a transfer broke, going on when the link is back', { path, at: sent, of: total, error: messageOf(error) })
    }
    giveUpAt = Math.min(giveUpAt, clock.monotonic() + (options.resumeMs ?? 60_000))
    if (clock.monotonic() >= giveUpAt) throw new AppError('unavailable', `go on with ${path}: the link did not come back in time, ${sent} of ${total} bytes were sent`)
    await clock.sleep(RESUME_WAIT_MS, gone.signal)
    const rest = await ask(options, { method: 'GET', path, headers: { ...headers, range: `bytes=${sent}-` } }, gone.signal).catch(() => undefined) // still cut off: tried again until the time is up
    if (rest && rest.status !== 206 && rest.status < 500) throw new AppError('unavailable', `go on with ${path}: the server answered ${rest.status} to a range`)
    body = rest?.status === 206 ? rest.body : undefined
  }
  res.end()
}

/** One request, which the server must begin to answer in time; the body may then take as long as it needs. */
async function ask(options: MirrorOptions, request: { method: string; path: string; headers: Record<string, string> }, gone: AbortSignal): ReturnType<Upstream> {
  const late = new AbortController()
  const ms = options.answerMs ?? 10_000
  const why = new AppError('timeout', `ask the server for ${request.path}: no answer in ${ms} ms`)
  const timer = (options.clock ?? systemClock).timer('mirror answer', ms, () => late.abort(why))
  try {
    return await options.upstream({ ...request, signal: AbortSignal.any([gone, late.signal]) })
  } finally {
    timer.cancel()
  }
}

function fail(res: ServerResponse, status: number, code: string, message: string): void {
  res.writeHead(status, { 'content-type': 'application/json' })
  res.end(JSON.stringify({ errors: [{ code, message }] }))
}
