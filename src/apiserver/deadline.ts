/**
 * How long a request may take to be answered: a minute, or less when its query says so (`timeout=5s`, as kubectl's
 * `--request-timeout` does). Watches and streams of pods last as long as they last. Used by the HTTP front end.
 */
import { badRequest, timeout } from '../api/status.ts'
import type { Clock } from '../base/clock.ts'
import type { RequestInfo } from './request-info.ts'

/** Kubernetes' own limit. */
export const MAX_REQUEST_MS = 60_000
const STREAMS = new Set(['log', 'exec', 'attach', 'portforward', 'proxy'])
const UNITS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1, us: 1e-3, '\u00b5s': 1e-3, ns: 1e-6 }

/** Milliseconds until the answer must have begun; undefined: no limit. @throws ApiError 400 for a `timeout` that is no duration */
export function allottedMs(info: RequestInfo, query: URLSearchParams): number | undefined {
  const asked = durationMs(query.get('timeout'))
  if (info.isResource && (info.verb === 'watch' || (info.subresource !== undefined && STREAMS.has(info.subresource)))) return undefined
  return asked !== undefined && asked > 0 && asked < MAX_REQUEST_MS ? asked : MAX_REQUEST_MS
}

function durationMs(text: string | null): number | undefined {
  if (text === null || text === '' || text === '0') return undefined
  if (!/^\+?(?:\d+(?:\.\d*)?(?:h|m|s|ms|us|\u00b5s|ns))+$/.test(text)) throw badRequest('invalid timeout specified in the request URL')
  let sum = 0
  for (const [, count, unit] of text.matchAll(/([\d.]+)(h|ms|m|s|us|\u00b5s|ns)/g)) sum += Number(count) * (UNITS[unit as string] as number)
  return sum
}

/**
 * The outcome of `work`, unless it comes too late: then nobody takes it but `late`.
 * @throws ApiError 504 when the time is over, as after a write that may yet be done
 */
export function within<T>(clock: Clock, ms: number | undefined, work: Promise<T>, late: (outcome: T) => void): Promise<T> {
  if (ms === undefined) return work
  return new Promise<T>((resolve, reject) => {
    let over = false
    const timer = clock.timer('request-deadline', ms, () => {
      over = true
      reject(timeout('Timeout: request did not complete within requested timeout - context deadline exceeded'))
    })
    const settle = async (): Promise<void> => {
      try {
        const outcome = await work
        if (over) late(outcome)
        else resolve(outcome)
      } catch (error) {
        reject(error)
      } finally {
        timer.cancel()
      }
    }
    void settle()
  })
}
