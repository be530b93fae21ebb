/**
 * Images that another server of the cluster has: a pull that this one cannot answer is asked of the others, and their answer is
 * passed on as it comes. Nothing is kept here; what is passed on says so, so that no question goes round in a circle.
 */
import { request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import type { HttpRequest, HttpResponse } from '../../apiserver/mod.ts'
import type { Clock } from '../../base/clock.ts'
import { messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { dialTls, type Credentials } from '../../tunnel/mod.ts'

const log = logger('server.images')
/** Marks a question that comes from a server. */
const PASSED_ON = 'x-skerry-passed-on'
const CONNECT_MS = 3_000
const ANSWER_MS = 10_000
/** What the one who pulls needs of an answer's head. */
const HEADERS = ['content-type', 'content-length', 'content-range', 'docker-content-digest', 'docker-distribution-api-version', 'etag', 'accept-ranges'] as const

export interface PeerImagesOptions {
  /** Addresses of the other servers. */
  readonly peers: () => readonly string[]
  readonly credentials: () => Credentials
  readonly clock: Clock
}

/** Answers a pull from the first other server that can; false: none could, and nothing was written. */
export function imagesOfPeers(options: PeerImagesOptions): (req: HttpRequest, res: HttpResponse) => Promise<boolean> {
  return async (req, res) => {
    if (req.headers[PASSED_ON] !== undefined) return false
    for (const server of options.peers()) {
      try {
        const answer = await ask(server, req, options)
        if (answer.statusCode !== 200 && answer.statusCode !== 206) {
          answer.destroy()
          continue
        }
        const out = res as ServerResponse
        out.writeHead(answer.statusCode, Object.fromEntries(HEADERS.flatMap((name) => (answer.headers[name] === undefined ? [] : [[name, answer.headers[name]]]))))
        // The puller going away ends it, and so does the other server: what is missing is asked for by range.
        await pipeline(answer, out).catch((error: unknown) => log.debug('pull passed on ended early', { server, why: messageOf(error) }))
        return true
      } catch (error) {
        if (res.headersSent) throw error
        log.debug('server not asked for an image', { server, why: messageOf(error) })
      }
    }
    return false
  }
}

async function ask(server: string, req: HttpRequest, { credentials, clock }: PeerImagesOptions): Promise<IncomingMessage> {
  const socket = await dialTls({ server, alpn: 'http/1.1', credentials: credentials(), connectTimeoutMs: CONNECT_MS, clock })
  return await new Promise((resolve, reject) => {
    const { accept, range } = req.headers
    const headers = { host: new URL(server).host, connection: 'close', [PASSED_ON]: '1', ...(accept === undefined ? {} : { accept }), ...(range === undefined ? {} : { range }) }
    const out = httpRequest({ createConnection: () => socket, method: req.method ?? 'GET', path: req.url ?? '/', headers, timeout: ANSWER_MS }, resolve)
    out.on('timeout', () => out.destroy(new Error(`no answer within ${ANSWER_MS / 1000} s`)))
    out.on('error', (error) => {
      socket.destroy()
      reject(error)
    })
    out.end()
  })
}
