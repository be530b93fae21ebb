/**
 * HTTP around the pipeline: reads a bounded body, turns the answer into bytes, honours backpressure and disconnects.
 * A reader that stops reading stops the writing; its watch's queue is bounded elsewhere. Used by the server and the listener.
 */
import type { ServerResponse } from 'node:http'
import { pipeline, Readable } from 'node:stream'
import { promisify } from 'node:util'
import { createGzip, gunzip, gzip } from 'node:zlib'
import type { ApiRequest, ApiResponse } from '../api/contract.ts'
import { ApiError, badRequest, methodNotAllowed, tooLarge, toStatus } from '../api/status.ts'
import { drained } from '../base/drained.ts'
import { MAX_BODY } from './body.ts'
import { ListText } from './list-text.ts'
import type { HttpRequest, HttpResponse } from './ports.ts'
import { WatchStream } from './watch-stream.ts'

const compress = promisify(gzip)
const decompress = promisify(gunzip)
/** Smaller answers are not worth compressing; Kubernetes' own threshold, bytes. */
const GZIP_FROM = 128 << 10
/** A body must be in after this long, ms: slow senders do not hold memory for ever. */
const BODY_MS = 60_000

/** Methods of the API; proxies pass on others too. */
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'])

/** @throws ApiError 405 for a method that no verb stands for */
export function checkMethod(method: string, path: string): void {
  if (METHODS.has(method) || /\/proxy(?:\/|$)/.test(path)) return
  const { status } = methodNotAllowed({ group: '', resource: '' }, method)
  throw new ApiError({ ...status, message: 'the server does not allow this method on the requested resource', details: {} })
}

/** The body as it was before a `Content-Encoding`. @throws ApiError 400, 413, 415; an Error when the client goes away */
export async function readBody(req: HttpRequest): Promise<Uint8Array | undefined> {
  const declared = Number(req.headers['content-length'] ?? 0)
  if (declared > MAX_BODY) throw tooLarge()
  const bytes = await received(req)
  return bytes && decoded(bytes, req.headers['content-encoding'])
}

/** All of a body; by events, since a loop over a stream costs several times as much as a small body itself. */
function received(req: HttpRequest): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let size = 0
    const timer = setTimeout(() => req.destroy(new Error('the body did not arrive in time')), BODY_MS)
    const fail = (error: unknown): void => {
      clearTimeout(timer)
      reject(error)
    }
    req.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size <= MAX_BODY) return void chunks.push(chunk)
      chunks.length = 0
      fail(tooLarge())
      req.destroy()
    })
    req.once('end', () => {
      clearTimeout(timer)
      resolve(chunks.length <= 1 ? chunks[0] : Buffer.concat(chunks))
    })
    req.once('error', fail)
    // After its end this says nothing new.
    req.once('close', () => fail(new Error('the client went away in the middle of the body')))
  })
}

/** A few bytes may stand for very many: what comes out is held to the same limit as what comes in. */
async function decoded(bytes: Buffer, encoding: string | undefined = 'identity'): Promise<Uint8Array> {
  if (encoding === 'identity' || encoding === '') return bytes
  if (encoding !== 'gzip') throw new ApiError({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message: `content encoding ${JSON.stringify(encoding)} is not supported: send the body as it is, or in gzip`, reason: 'UnsupportedMediaType', code: 415 })
  try {
    return await decompress(bytes, { maxOutputLength: MAX_BODY })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge()
    throw badRequest('the body of the request is not what its Content-Encoding says: gzip')
  }
}

/** Lower-case single-valued headers. */
export function plainHeaders(req: HttpRequest): Record<string, string> {
  const out: Record<string, string> = {}
  for (const name in req.headers) {
    const value = req.headers[name]
    if (value !== undefined && !name.startsWith(':')) out[name] = Array.isArray(value) ? value.join(', ') : value
  }
  return out
}

/** Writes an answer, `bare` without its body (HEAD); resolves when it is out or the client is gone. */
export async function sendResponse(res: HttpResponse, response: ApiResponse, acceptEncoding: string, bare = false): Promise<void> {
  const { status, headers, body } = response
  // Http1 and http2 responses have the same methods but not one type; the common shape is enough here.
  const out = res as ServerResponse
  if (bare) {
    if (typeof body !== 'string') await body[Symbol.asyncIterator]().return?.()
    out.writeHead(status, { ...headers, vary: 'Accept', ...(typeof body === 'string' ? { 'content-length': Buffer.byteLength(body) } : {}) })
    out.end()
    return
  }
  if (typeof body === 'string') {
    const length = Buffer.byteLength(body)
    if (length < GZIP_FROM || !/\bgzip\b/.test(acceptEncoding)) {
      // As text it goes out in one piece with the head.
      out.writeHead(status, { ...headers, vary: 'Accept', 'content-length': length })
      out.end(body)
      return
    }
    const bytes = await compress(body, { level: 1 })
    out.writeHead(status, { ...headers, 'content-encoding': 'gzip', vary: 'Accept, Accept-Encoding', 'content-length': bytes.length })
    out.end(bytes)
    return
  }
  if (body instanceof ListText) {
    const zipped = /\bgzip\b/.test(acceptEncoding)
    out.writeHead(status, { ...headers, ...(zipped ? { 'content-encoding': 'gzip', vary: 'Accept, Accept-Encoding' } : { vary: 'Accept' }) })
    return writeAll(out, zipped ? pipeline(Readable.from(body), createGzip({ level: 1 }), () => undefined) : body)
  }
  out.writeHead(status, headers)
  out.flushHeaders?.()
  if (body instanceof WatchStream) return body.into(out)
  await writeAll(out, body)
}

async function writeAll(out: ServerResponse, body: AsyncIterable<string | Uint8Array>): Promise<void> {
  for await (const chunk of body) {
    if (out.destroyed || out.writableEnded) return
    if (!out.write(chunk)) await drained(out)
  }
  out.end()
}

/** Answers with the Status of an error. */
export function sendStatus(res: HttpResponse, error: unknown): void {
  const status = toStatus(error)
  const text = JSON.stringify(status)
  const out = res as ServerResponse
  const retry = status.details?.retryAfterSeconds
  out.writeHead(status.code ?? 500, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    ...(retry ? { 'retry-after': String(retry) } : {}),
    ...(status.code === 413 && !('stream' in res) ? { connection: 'close' } : {}),
  })
  out.end(text)
}

/** The pipeline's request from HTTP parts. */
export function toApiRequest(req: HttpRequest, body: Uint8Array | undefined): ApiRequest & { readonly query: URLSearchParams } {
  const url = req.url ?? '/'
  const mark = url.indexOf('?')
  return {
    method: (req.method ?? 'GET') as ApiRequest['method'],
    path: mark < 0 ? url : url.slice(0, mark),
    query: new URLSearchParams(mark < 0 ? '' : url.slice(mark + 1)),
    headers: plainHeaders(req),
    ...(body === undefined ? {} : { body }),
  }
}
