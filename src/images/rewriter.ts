/**
 * Endpoints of registries that hold images under other names: containerd asks here for the image's own name, and the endpoint is asked for the
 * other one, with its login (basic, or a bearer token that its challenge names) and its TLS. Redirects are followed, logins do not go with them.
 */
import { Agent, request as plainRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { AppError, messageOf } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { parsePath } from './registry.ts'

const log = logger('images.rewriter')

export interface RewriteTarget {
  readonly endpoint: URL
  readonly rename: (repository: string) => string
  /** For basic authentication, or to get a token with. */
  readonly login: { readonly username: string; readonly password: string } | undefined
  readonly tls: { readonly ca?: Buffer; readonly cert?: Buffer; readonly key?: Buffer; readonly rejectUnauthorized: boolean } | undefined
}

/** HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in either case. */
export type ProxyEnv = Readonly<Record<string, string | undefined>>

/** How long an endpoint may say nothing, ms. */
const SILENT_MS = 30_000
const MAX_REDIRECTS = 5
/** A token is good for a minute at least, says the specification. */
const TOKEN_MS = 50_000
const MAX_TOKENS = 100
const MAX_TOKEN_BYTES = 1 << 20
const PASSED = ['content-type', 'content-length', 'docker-content-digest', 'docker-distribution-api-version', 'etag', 'content-range', 'accept-ranges']

type Headers = Readonly<Record<string, string>>

/** Answers requests whose path begins with `/rewrite/<key>/v2/`; undefined targets are 404. */
export class Rewriter {
  readonly #targetOf: (key: string) => RewriteTarget | undefined
  readonly #env: ProxyEnv
  /** Authorization by endpoint and repository; the oldest goes when there are too many. */
  readonly #tokens = new Map<string, { readonly value: string; readonly until: number }>()

  constructor(targetOf: (key: string) => RewriteTarget | undefined, env: ProxyEnv = {}) {
    this.#targetOf = targetOf
    this.#env = env
  }

  /** Whether the request is one of ours; it is answered then. */
  handle(req: IncomingMessage, res: ServerResponse): boolean {
    const m = /^\/rewrite\/([^/]+)(\/v2\/.*)$/.exec((req.url ?? '').split('?')[0] ?? '')
    if (!m) return false
    void this.#answer(decodeURIComponent(m[1] as string), decodeURIComponent(m[2] as string), req, res).catch((error: unknown) => {
      log.warn('pull under another name failed', { path: req.url, why: messageOf(error) })
      if (res.headersSent) res.destroy()
      else res.writeHead(502, { 'content-type': 'application/json' }).end(JSON.stringify({ errors: [{ code: 'UNAVAILABLE', message: messageOf(error) }] }))
    })
    return true
  }

  async #answer(key: string, path: string, req: IncomingMessage, res: ServerResponse): Promise<void> {
    const target = this.#targetOf(key)
    const asked = parsePath(path)
    if (!target || !asked || asked.kind === 'ping' || (req.method !== 'GET' && req.method !== 'HEAD')) return void res.writeHead(404).end()
    const name = target.rename(asked.name)
    const base = target.endpoint.pathname === '/' ? '/v2' : target.endpoint.pathname.replace(/\/$/, '')
    const url = new URL(`${base}/${name}/${asked.kind}s/${asked.reference}`, target.endpoint)
    const headers: Record<string, string> = {}
    for (const h of ['accept', 'range']) if (typeof req.headers[h] === 'string') headers[h] = req.headers[h]
    const gone = new AbortController()
    res.on('close', () => gone.abort())
    const from = await this.#ask(target, name, req.method, url, headers, gone.signal)
    res.writeHead(from.statusCode ?? 502, Object.fromEntries(PASSED.flatMap((h) => (from.headers[h] === undefined ? [] : [[h, from.headers[h]]]))))
    // The puller going away ends the transfer; it asks for the rest by range.
    await pipeline(from, res).catch((error: unknown) => log.debug('pull ended early', { path, why: messageOf(error) }))
  }

  async #ask(target: RewriteTarget, name: string, method: string, url: URL, headers: Headers, signal: AbortSignal): Promise<IncomingMessage> {
    const key = `${target.endpoint.href} ${name} ${target.login?.username ?? ''}`
    const known = this.#tokens.get(key)
    const auth = known && known.until > performance.now() ? known.value : undefined
    const first = await this.#follow(target, method, url, { ...headers, ...(auth === undefined ? {} : { authorization: auth }) }, signal)
    if (first.statusCode !== 401) return first
    first.resume()
    const value = await this.#authorize(target, name, String(first.headers['www-authenticate'] ?? ''), signal)
    if (value === undefined) throw new AppError('unauthorized', `ask ${url.host} for "${name}": it wants a login: write one under configs."${url.host}".auth`)
    this.#tokens.delete(key)
    this.#tokens.set(key, { value, until: performance.now() + TOKEN_MS })
    for (const k of this.#tokens.keys()) {
      if (this.#tokens.size <= MAX_TOKENS) break
      this.#tokens.delete(k)
    }
    return await this.#follow(target, method, url, { ...headers, authorization: value }, signal)
  }

  /** The authorization a challenge asks for; undefined when there is no login that it takes. */
  async #authorize(target: RewriteTarget, name: string, challenge: string, signal: AbortSignal): Promise<string | undefined> {
    const { login } = target
    const basic = login && `Basic ${Buffer.from(`${login.username}:${login.password}`).toString('base64')}`
    if (!/^bearer /i.test(challenge)) return basic
    const fields = new Map([...challenge.matchAll(/(\w+)="([^"]*)"/g)].map((m) => [m[1], m[2] as string]))
    const realm = fields.get('realm') ?? ''
    if (!URL.canParse(realm)) throw new AppError('invalid', `ask ${target.endpoint.host} for a token: its challenge names no address but "${realm.slice(0, 200)}"`)
    const url = new URL(realm)
    for (const k of ['service'] as const) if (fields.has(k)) url.searchParams.set(k, fields.get(k) as string)
    url.searchParams.set('scope', fields.get('scope') ?? `repository:${name}:pull`)
    const res = await this.#follow(target, 'GET', url, basic === undefined ? {} : { authorization: basic }, signal)
    const parts: Buffer[] = []
    let size = 0
    for await (const part of res as AsyncIterable<Buffer>) {
      size += part.length
      if (size > MAX_TOKEN_BYTES) throw new AppError('too-large', `ask ${url.host} for a token: its answer is over ${MAX_TOKEN_BYTES} bytes`)
      parts.push(part)
    }
    if (res.statusCode !== 200) throw new AppError('unauthorized', `ask ${url.host} for a token for "${name}": it answered ${res.statusCode}: correct the login under configs."${target.endpoint.host}".auth`)
    const body = JSON.parse(Buffer.concat(parts).toString('utf8')) as { token?: unknown; access_token?: unknown }
    const token = body.token ?? body.access_token
    if (typeof token !== 'string') throw new AppError('invalid', `ask ${url.host} for a token for "${name}": there is none in its answer`)
    return `Bearer ${token}`
  }

  async #follow(target: RewriteTarget, method: string, start: URL, headers: Headers, signal: AbortSignal): Promise<IncomingMessage> {
    let url = start
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const { authorization: _, ...others } = headers
      const res = await send(target, this.#env, method, url, url.host === start.host ? headers : others, signal)
      const location = res.headers.location
      if (location === undefined || ![301, 302, 303, 307, 308].includes(res.statusCode ?? 0)) return res
      res.resume()
      url = new URL(location, url)
    }
    throw new AppError('unavailable', `ask ${start.host}: more than ${MAX_REDIRECTS} redirects, the last to ${url.host}`)
  }
}

async function send(target: RewriteTarget, env: ProxyEnv, method: string, url: URL, headers: Headers, signal: AbortSignal): Promise<IncomingMessage> {
  // Few nodes need it.
  const { Agent: TlsAgent, request: tlsRequest } = await import('node:https')
  return await new Promise((resolve, reject) => {
    const fail = (error: Error): void => reject(new AppError('unavailable', `ask ${url.host}: ${error.message}`, { cause: error }))
    // No connection is kept: pulls are rare, and what waits for the next would hold memory.
    const options = { method, headers, signal, timeout: SILENT_MS }
    const proxyEnv = { ...env }
    const out = url.protocol === 'https:' ? tlsRequest(url, { ...options, ...target.tls, agent: new TlsAgent({ proxyEnv }) }, resolve) : plainRequest(url, { ...options, agent: new Agent({ proxyEnv }) }, resolve)
    out.on('timeout', () => out.destroy(new Error(`no answer within ${SILENT_MS / 1000} s`)))
    out.on('error', fail)
    out.end()
  })
}
