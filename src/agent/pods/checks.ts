/** One check of a container, for probes and lifecycle hooks: run a command, ask by HTTP, dial TCP, ask gRPC health. */
import { connect as connectH2, constants } from 'node:http2'
import { request as httpRequest, type ClientRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { connect as connectTcp } from 'node:net'
import type { Container as ContainerSpec, HTTPGetAction, Probe } from '../../api/gen/types.ts'
import { AppError, hasCode, messageOf } from '../../base/errors.ts'
import type { StreamRuntime } from '../../cri/mod.ts'

export interface CheckTarget {
  readonly streams: StreamRuntime
  readonly containerId: string
  readonly spec: ContainerSpec
  /** Address of the pod; of the node for a pod on the host network. */
  readonly host: string
  /** 0: no limit. */
  readonly timeoutSeconds: number
}

export interface CheckResult {
  readonly ok: boolean
  /** What was seen, for the Event. */
  readonly output: string
  /** Passed, with something to be told: led to another host. */
  readonly warning?: true
  /** It could not be made, which says nothing of the container: its command is not there, the runtime is away. */
  readonly unknown?: true
}

type Check = Pick<Probe, 'exec' | 'httpGet' | 'tcpSocket' | 'grpc'>
/** Of an answer, bytes kept for the message. */
const OUTPUT_MAX = 1024
const MOST_REDIRECTS = 10

/** Runs the check; never throws. An action that is not there passes. */
export async function check(action: Check, target: CheckTarget): Promise<CheckResult> {
  try {
    if (action.exec) return await command(action.exec.command ?? [], target)
    if (action.httpGet) return probed(await ask(action.httpGet, target, 'kube-probe/1.35'))
    if (action.tcpSocket) return await tcp(action.tcpSocket.host || target.host, portOf(target.spec, action.tcpSocket.port), target)
    if (action.grpc) return await grpc(action.grpc.port, action.grpc.service ?? '', target)
    return { ok: true, output: '' }
  } catch (error) {
    return { ok: false, output: messageOf(error) }
  }
}

/** A port by number or by the name the container gives it. @throws AppError `invalid` */
export function portOf(spec: ContainerSpec, port: number | string): number {
  const n = typeof port === 'number' ? port : (spec.ports?.find((p) => p.name === port)?.containerPort ?? Number(port))
  if (!Number.isInteger(n) || n < 1 || n > 65_535) throw new AppError('invalid', `find port: container "${spec.name}" has none named "${port}"`)
  return n
}

async function command(words: readonly string[], target: CheckTarget): Promise<CheckResult> {
  try {
    const r = await target.streams.execSync(target.containerId, words, target.timeoutSeconds)
    return { ok: r.exitCode === 0, output: `${r.stdout}${r.stderr}`.slice(0, OUTPUT_MAX).trim() }
  } catch (error) {
    if (hasCode(error, 'timeout')) return { ok: false, output: `command timed out: "${words.join(' ')}" timed out after ${target.timeoutSeconds}s` }
    return { ok: false, output: messageOf(error), unknown: true }
  }
}

/** An answer to a GET, or why there is none. */
type Answer = { readonly code: number; readonly body: string } | { readonly url: string; readonly failure: string; readonly plain: boolean }

/** Asks by HTTP and follows redirects on the same host, ten at most; of the body OUTPUT_MAX bytes are read. */
export async function ask(action: HTTPGetAction, target: CheckTarget, agent: string): Promise<Answer> {
  const path = action.path?.startsWith('/') ? action.path : `/${action.path ?? ''}`
  const host = action.host || target.host
  const headers: Record<string, string | string[]> = { 'user-agent': agent, accept: '*/*', connection: 'close' }
  const given: Record<string, string[]> = {}
  for (const { name, value } of action.httpHeaders ?? []) (given[name.toLowerCase()] ??= []).push(value)
  for (const [name, values] of Object.entries(given)) headers[name] = values.length === 1 ? (values[0] as string) : values
  // An empty one takes the default away.
  if (headers['accept'] === '') delete headers['accept']
  let url = `${(action.scheme ?? 'HTTP').toLowerCase()}://${host.includes(':') ? `[${host}]` : host}:${portOf(target.spec, action.port)}${path}`
  return timed<Answer>(target, () => ({ url, failure: 'context deadline exceeded (Client.Timeout exceeded while awaiting headers)', plain: false }), (done) => {
    let now: ClientRequest | undefined
    const get = (followed: number): void => {
      const at = new URL(url)
      const send = at.protocol === 'https:' ? httpsRequest : httpRequest
      now = send(at, { headers, agent: false, ...(at.protocol === 'https:' && { rejectUnauthorized: false }) }, (res) => {
        const { statusCode: code = 0 } = res
        const to = [301, 302, 303, 307, 308].includes(code) && res.headers.location !== undefined ? URL.parse(res.headers.location, url) : null
        if (to && to.hostname === at.hostname) {
          res.destroy()
          if (followed === MOST_REDIRECTS) return done({ url, failure: `stopped after ${MOST_REDIRECTS} redirects`, plain: false })
          url = to.href
          return get(followed + 1)
        }
        let body = ''
        const end = (): void => {
          res.destroy()
          done({ code, body: body.slice(0, OUTPUT_MAX) })
        }
        // Its status says all, unless it is told with its words.
        if (code < 300 || code >= 400) return end()
        res.setEncoding('utf8')
        res.on('data', (chunk: string) => (body += chunk).length >= OUTPUT_MAX && end())
        res.on('end', end)
        res.on('error', end)
      })
      now.on('error', (e: NodeJS.ErrnoException) => done({ url, failure: words(e), plain: e.code === 'EPROTO' || e.code?.startsWith('ERR_SSL') === true }))
      now.end()
    }
    get(0)
    return () => now?.destroy()
  })
}

function probed(answer: Answer): CheckResult {
  if ('failure' in answer) return { ok: false, output: `Get "${answer.url}": ${answer.failure}` }
  if (answer.code >= 300 && answer.code < 400) return { ok: true, output: `Probe terminated redirects, Response body: ${answer.body}`, warning: true }
  return answer.code >= 200 && answer.code < 300 ? { ok: true, output: '' } : { ok: false, output: `HTTP probe failed with statuscode: ${answer.code}` }
}

/** What the system says of a connection, in the words people search for. */
function words(e: NodeJS.ErrnoException & { address?: string; port?: number }): string {
  const known = { ECONNREFUSED: 'connect: connection refused', EHOSTUNREACH: 'connect: no route to host', ENETUNREACH: 'connect: network is unreachable', ECONNRESET: 'read: connection reset by peer' }[e.code ?? '']
  return known === undefined ? e.message : e.address === undefined ? known : `dial tcp ${e.address}:${e.port}: ${known}`
}

function tcp(host: string, port: number, target: CheckTarget): Promise<CheckResult> {
  return timed<CheckResult>(target, () => ({ ok: false, output: `dial tcp ${host}:${port}: i/o timeout` }), (done) => {
    const socket = connectTcp({ host, port }, () => done({ ok: true, output: '' }))
    socket.on('error', (e) => done({ ok: false, output: words(e) }))
    return () => socket.destroy()
  })
}

/** `grpc.health.v1.Health/Check`; its two messages are small enough to be written by hand: field 1 in, field 1 out. */
function grpc(port: number, service: string, target: CheckTarget): Promise<CheckResult> {
  const where = `${target.host}:${port}`
  return timed<CheckResult>(target, () => ({ ok: false, output: `timeout: failed to connect service "${where}" within ${target.timeoutSeconds}s: context deadline exceeded` }), (done) => {
    const session = connectH2(`http://${where}`)
    session.on('error', (e) => done({ ok: false, output: `error: failed to connect service "${where}": ${words(e)}` }))
    const stream = session.request({
      [constants.HTTP2_HEADER_METHOD]: 'POST',
      [constants.HTTP2_HEADER_PATH]: '/grpc.health.v1.Health/Check',
      'content-type': 'application/grpc',
      te: 'trailers',
    })
    const name = Buffer.from(service.slice(0, 100))
    const message = name.length === 0 ? name : Buffer.concat([Buffer.from([0x0a, name.length]), name])
    const chunks: Buffer[] = []
    let status: unknown
    stream.on('response', (h) => (status = h['grpc-status'] ?? status))
    stream.on('trailers', (h) => (status = h['grpc-status'] ?? status))
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('error', (e) => done({ ok: false, output: e.message }))
    stream.on('end', () => {
      const body = Buffer.concat(chunks)
      const serving = body[5] === 0x08 && body[6] === 1
      done(status !== undefined && String(status) !== '0'
        ? { ok: false, output: `service unhealthy (grpc status ${String(status)})` }
        : { ok: serving, output: serving ? '' : 'service unhealthy (responded with "NOT_SERVING")' })
    })
    stream.end(Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message]))
    return () => session.destroy()
  })
}

/** Runs `start` until it is done or time is up, when it is `late`; then what it returned cleans up. Real time: the other end is outside. */
function timed<T>(target: CheckTarget, late: () => T, start: (done: (r: T) => void) => () => void): Promise<T> {
  return new Promise((resolve) => {
    let over = false
    let clean: (() => void) | undefined
    const done = (r: T): void => {
      if (over) return
      over = true
      clearTimeout(timer)
      resolve(r)
      clean?.()
    }
    const timer = target.timeoutSeconds > 0 ? setTimeout(() => done(late()), target.timeoutSeconds * 1000) : undefined
    clean = start(done)
    if (over) clean()
  })
}
