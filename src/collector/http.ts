/** Small HTTP: bodies with a limit, JSON answers, errors as Kubernetes Status. Shared by the collector and the pages. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import type { UserInfo } from '../api/contract.ts'
import { toStatus } from '../api/status.ts'
import { AppError, isAbort } from '../base/errors.ts'
import { logger } from '../base/log.ts'

const log = logger('collector.http')

export type HttpRequest = IncomingMessage | Http2ServerRequest
/** Either kind of answer; what both have in common is enough here. */
export type HttpResponse = ServerResponse | Http2ServerResponse

export interface RequestContext {
  /** undefined: not authenticated. */
  readonly user: UserInfo | undefined
  /** Without query, percent-encoded as on the wire. */
  readonly path: string
  readonly query: URLSearchParams
}

export type Handler = (req: HttpRequest, res: HttpResponse, context: RequestContext) => Promise<void>

/** A header's value; several are joined by commas. */
export function header(req: HttpRequest, name: string): string | undefined {
  const value = req.headers[name]
  return Array.isArray(value) ? value.join(',') : value
}

/** Segments of a path behind `prefix`, decoded one by one. @throws AppError `invalid` for broken escapes */
export function segments(path: string, prefix: string): string[] {
  try {
    return path.slice(prefix.length).split('/').map(decodeURIComponent)
  } catch (error) {
    throw new AppError('invalid', `read path "${path}": it is not percent-encoded text`, { cause: error })
  }
}

/** Answers with JSON that nobody may cache. */
export function sendJson(res: HttpResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body)
  send(res, status, { 'content-type': 'application/json', 'cache-control': 'no-store' }, text)
}

/** Answers with a whole body; its length and `nosniff` are added. */
export function send(res: HttpResponse, status: number, headers: Readonly<Record<string, string>>, body: string | Uint8Array): void {
  const answer = res as ServerResponse
  answer.writeHead(status, { ...headers, 'content-length': String(Buffer.byteLength(body)), 'x-content-type-options': 'nosniff' })
  answer.end(body)
}

/** Runs `handler`; what it throws becomes a Status, or ends the connection when the answer had begun. */
export async function answering(req: HttpRequest, res: HttpResponse, handler: () => Promise<void>): Promise<void> {
  try {
    await handler()
  } catch (error) {
    if (isAbort(error)) return
    const status = toStatus(error)
    const code = status.code ?? 500
    if (code >= 500) log.warn('request failed', { path: req.url, code, error })
    if (res.headersSent) {
      res.destroy()
      return
    }
    // What was refused unread is not worth reading; the client sees the answer and the end.
    if (!req.complete && code === 413) (res as ServerResponse).shouldKeepAlive = false
    sendJson(res, code, status)
  }
}
