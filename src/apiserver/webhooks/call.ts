/** One call of a webhook: an AdmissionReview or ConversionReview out, its answer back, over HTTPS, in bounded time and size. */
import { request } from 'node:https'
import type { Clock } from '../../base/clock.ts'
import { AppError, messageOf } from '../../base/errors.ts'

/** What a webhook may answer at most, bytes: as much as a request body. */
const MAX_ANSWER = 3 << 20

export interface ClientConfig {
  readonly url?: string
  readonly service?: { readonly namespace?: string; readonly name?: string; readonly path?: string; readonly port?: number }
  /** PEM in base64. */
  readonly caBundle?: string
}

/** Where a webhook listens. @throws AppError `unsupported` for one behind a Service, `invalid` for one that is not HTTPS */
export function addressOf(client: ClientConfig): URL {
  if (client.service) {
    const { namespace, name } = client.service
    throw new AppError('unsupported', `reach service ${namespace}/${name}: this server is no part of the cluster network and cannot reach cluster IPs; give the webhook a clientConfig.url that the server can reach`)
  }
  if (!client.url || !URL.canParse(client.url)) throw new AppError('invalid', `reach the webhook: clientConfig.url ${JSON.stringify(client.url ?? '')} is no URL`)
  const url = new URL(client.url)
  if (url.protocol !== 'https:') throw new AppError('invalid', `reach the webhook: clientConfig.url ${client.url} is not https`)
  return url
}

/** Posts `body` as JSON. @throws AppError `timeout`, `unavailable` or `invalid` with Kubernetes' `failed to call webhook` text */
export async function post(client: ClientConfig, body: object, options: { readonly timeoutMs: number; readonly clock: Clock; readonly signal: AbortSignal }): Promise<unknown> {
  const url = addressOf(client)
  url.searchParams.set('timeout', `${options.timeoutMs / 1_000}s`)
  const stop = new AbortController()
  let late = false
  const timer = options.clock.timer('webhook', options.timeoutMs, () => {
    late = true
    stop.abort()
  })
  try {
    const answer = await exchange(url, client, JSON.stringify(body), AbortSignal.any([stop.signal, options.signal]))
    if (answer.status !== 200) throw new AppError('unavailable', `the server responded with status ${answer.status}: ${answer.text.slice(0, 300)}`)
    try {
      return JSON.parse(answer.text)
    } catch {
      throw new AppError('invalid', `the answer is not JSON: ${answer.text.slice(0, 100)}`)
    }
  } catch (error) {
    options.signal.throwIfAborted()
    const why = late ? 'context deadline exceeded' : messageOf(error)
    throw new AppError(late ? 'timeout' : 'unavailable', `failed to call webhook: Post "${url.href}": ${why}`)
  } finally {
    timer.cancel()
  }
}

function exchange(url: URL, client: ClientConfig, body: string, signal: AbortSignal): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const ca = client.caBundle ? Buffer.from(client.caBundle, 'base64').toString() : undefined
    const out = request(url, { method: 'POST', signal, headers: { 'content-type': 'application/json', accept: 'application/json', 'content-length': Buffer.byteLength(body) }, ...(ca ? { ca } : {}) }, (res) => {
      const chunks: Buffer[] = []
      let size = 0
      res.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size > MAX_ANSWER) out.destroy(new AppError('too-large', `the answer is longer than ${MAX_ANSWER} bytes`))
        else chunks.push(chunk)
      })
      res.on('end', () => resolve({ status: res.statusCode ?? 0, text: Buffer.concat(chunks).toString() }))
      res.on('error', reject)
    })
    out.on('error', reject)
    out.end(body)
  })
}
