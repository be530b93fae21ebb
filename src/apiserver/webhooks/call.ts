/** One call of a webhook: an AdmissionReview or ConversionReview out, its answer back, over HTTPS, in bounded time and size. */
import { request } from 'node:https'
import type { Duplex } from 'node:stream'
import type { Clock } from '../../base/clock.ts'
import { AppError, messageOf } from '../../base/errors.ts'
import type { ClientConfig, Way } from './reach.ts'

/** What a webhook may answer at most, bytes: as much as a request body. */
const MAX_ANSWER = 3 << 20

export interface PostOptions {
  readonly timeoutMs: number
  readonly clock: Clock
  readonly signal: AbortSignal
}

/** Posts `body` as JSON. @throws AppError `timeout`, `unavailable` or `invalid` with Kubernetes' `Post "url": why` text */
export async function post({ url, dial }: Way, client: ClientConfig, body: object, options: PostOptions): Promise<unknown> {
  const target = new URL(url)
  target.searchParams.set('timeout', `${options.timeoutMs / 1_000}s`)
  const shown = dial && !url.port ? target.href.replace(url.host, `${url.host}:443`) : target.href
  const stop = new AbortController()
  let late = false
  const timer = options.clock.timer('webhook', options.timeoutMs, () => {
    late = true
    stop.abort()
  })
  try {
    const signal = AbortSignal.any([stop.signal, options.signal])
    const answer = await exchange(target, client, JSON.stringify(body), signal, dial && (await within(dial(signal), signal)))
    if (answer.status !== 200) throw new AppError('unavailable', `the server responded with status ${answer.status}: ${answer.text.slice(0, 300)}`)
    try {
      return JSON.parse(answer.text)
    } catch {
      throw new AppError('invalid', `the answer is not JSON: ${answer.text.slice(0, 100)}`)
    }
  } catch (error) {
    options.signal.throwIfAborted()
    const why = late ? 'context deadline exceeded' : messageOf(error)
    throw new AppError(late ? 'timeout' : 'unavailable', `Post "${shown}": ${why}`)
  } finally {
    timer.cancel()
  }
}

/** A connection that comes after the signal aborted is closed. */
async function within(dialed: Promise<Duplex>, signal: AbortSignal): Promise<Duplex> {
  const aborted = new Promise<never>((_, reject) => {
    if (signal.aborted) reject(signal.reason as Error)
    else signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
  })
  try {
    return await Promise.race([dialed, aborted])
  } catch (error) {
    void dialed.then((socket) => socket.destroy(), () => undefined)
    throw error
  }
}

function exchange(url: URL, client: ClientConfig, body: string, signal: AbortSignal, socket: Duplex | undefined): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const ca = client.caBundle ? Buffer.from(client.caBundle, 'base64').toString() : undefined
    const headers = { 'content-type': 'application/json', accept: 'application/json', 'content-length': Buffer.byteLength(body) }
    const way = socket ? { createConnection: () => socket } : ca ? { ca } : {}
    const out = request(url, { method: 'POST', signal, headers, ...way }, (res) => {
      const chunks: Buffer[] = []
      let size = 0
      res.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size > MAX_ANSWER) out.destroy(new AppError('too-large', `the answer is longer than ${MAX_ANSWER} bytes`))
        else chunks.push(chunk)
      })
      res.on('end', () => {
        socket?.destroy()
        resolve({ status: res.statusCode ?? 0, text: Buffer.concat(chunks).toString() })
      })
      res.on('error', reject)
    })
    out.on('error', (error) => {
      socket?.destroy()
      reject(error)
    })
    out.end(body)
  })
}
