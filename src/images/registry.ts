/**
 * The server's end of OCI distribution (`/v2/`), pull only: manifests by tag or digest, blobs with ranges. A mirror asks
 * with `?ns=<registry>`, as containerd does; without it names are docker.io's. Who may pull is decided before.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import { pipeline } from 'node:stream/promises'
import { AppError, messageOf } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import type { BlobStore, Descriptor } from './blob-store.ts'
import { formatReference, isDigest, parseReference } from './reference.ts'

const log = logger('images.registry')

type Request = IncomingMessage | Http2ServerRequest
type Response = ServerResponse | Http2ServerResponse

/** What a `/v2/` path asks for; undefined when it is none of ours. */
export function parsePath(path: string): { kind: 'ping' } | { kind: 'manifest' | 'blob'; name: string; reference: string } | undefined {
  if (/^\/v2\/?$/.test(path)) return { kind: 'ping' }
  const m = /^\/v2\/(.{1,255})\/(manifests|blobs)\/([^/]{1,200})$/.exec(path)
  return m ? { kind: m[2] === 'manifests' ? 'manifest' : 'blob', name: m[1] as string, reference: m[3] as string } : undefined
}

/**
 * A Node-style handler of `/v2/` over a blob store. `elsewhere` is asked for what is not in it, and says whether it has
 * answered; having written nothing otherwise.
 */
export function registryHandler(store: BlobStore, elsewhere?: (req: Request, res: Response) => Promise<boolean>): (req: Request, res: Response) => Promise<void> {
  return async (req, response) => {
    const res = response as ServerResponse
    try {
      const url = new URL(req.url ?? '/', 'http://registry')
      const asked = parsePath(decodeURIComponent(url.pathname))
      if (req.method !== 'GET' && req.method !== 'HEAD') return refuse(res, 405, 'UNSUPPORTED', `${req.method} is not served: images are brought with \`skerry image import\``)
      if (!asked) return refuse(res, 404, 'NAME_UNKNOWN', `"${url.pathname}" is no path of the distribution API`)
      res.setHeader('docker-distribution-api-version', 'registry/2.0')
      if (asked.kind === 'ping') {
        res.writeHead(200, { 'content-type': 'application/json' })
        res.end('{}')
        return
      }
      const ns = url.searchParams.get('ns')
      const name = ns === null || ns === '' ? asked.name : `${ns}/${asked.name}`
      if (asked.kind === 'manifest') {
        const reference = isDigest(asked.reference) ? `${name}@${asked.reference}` : `${name}:${asked.reference}`
        const found = await store.resolve(reference)
        if (!found && (await elsewhere?.(req, response)) === true) return
        if (!found) return refuse(res, 404, 'MANIFEST_UNKNOWN', `"${formatReference(parseReference(reference))}" is not on this server: bring it with \`skerry image import\``)
        await answer(req, res, store, found)
        return
      }
      const size = isDigest(asked.reference) ? await store.size(asked.reference) : undefined
      if (size === undefined && (await elsewhere?.(req, response)) === true) return
      if (size === undefined) return refuse(res, 404, 'BLOB_UNKNOWN', `blob "${asked.reference}" is not on this server`)
      await answer(req, res, store, { mediaType: 'application/octet-stream', digest: asked.reference, size })
    } catch (error) {
      if (error instanceof AppError && error.code === 'invalid') return refuse(res, 400, 'NAME_INVALID', error.message)
      log.error('pull failed', { path: req.url, error: messageOf(error) })
      if (res.headersSent) res.destroy()
      else refuse(res, 500, 'UNKNOWN', 'the server failed to read the image; see its log')
    }
  }
}

async function answer(req: Request, res: ServerResponse, store: BlobStore, what: Descriptor): Promise<void> {
  const range = parseRange(req.headers.range, what.size)
  if (range === 'unsatisfiable') {
    res.writeHead(416, { 'content-range': `bytes */${what.size}` })
    res.end()
    return
  }
  const length = range ? range.end - range.start + 1 : what.size
  res.writeHead(range ? 206 : 200, {
    'content-type': what.mediaType,
    'content-length': length,
    'docker-content-digest': what.digest,
    etag: `"${what.digest}"`,
    'accept-ranges': 'bytes',
    ...(range ? { 'content-range': `bytes ${range.start}-${range.end}/${what.size}` } : {}),
  })
  if (req.method === 'HEAD' || length === 0) {
    res.end()
    return
  }
  // The puller going away ends the read; it asks for the rest by range.
  await pipeline(await store.read(what.digest, range), res).catch((error: unknown) => log.debug('pull ended early', { digest: what.digest, error }))
}

/** One `bytes=` range of a resource; undefined: send all (also for forms that are not understood, as HTTP wants). */
export function parseRange(header: string | undefined, size: number): { start: number; end: number } | 'unsatisfiable' | undefined {
  const m = /^bytes=(\d*)-(\d*)$/.exec(header ?? '')
  if (!m || (m[1] === '' && m[2] === '')) return undefined
  const start = m[1] === '' ? Math.max(0, size - Number(m[2])) : Number(m[1])
  const end = m[1] === '' || m[2] === '' ? size - 1 : Math.min(Number(m[2]), size - 1)
  return start >= size || start > end ? 'unsatisfiable' : { start, end }
}

function refuse(res: ServerResponse, status: number, code: string, message: string): void {
  const body = JSON.stringify({ errors: [{ code, message }] })
  res.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) })
  res.end(body)
}
