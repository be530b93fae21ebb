/** One check of a container, for probes and lifecycle hooks: run a command, ask by HTTP, dial TCP, ask gRPC health. */
import { connect as connectH2, constants } from 'node:http2'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { connect as connectTcp } from 'node:net'
import type { Container as ContainerSpec, HTTPGetAction, Probe } from '../../api/gen/types.ts'
import { AppError, messageOf } from '../../base/errors.ts'
import type { StreamRuntime } from '../../cri/mod.ts'

export interface CheckTarget {
  readonly streams: StreamRuntime
  readonly containerId: string
  readonly spec: ContainerSpec
  /** Address of the pod; of the node for a pod on the host network. */
  readonly host: string
  readonly timeoutSeconds: number
}

export interface CheckResult {
  readonly ok: boolean
  /** What was seen, for the Event. */
  readonly output: string
}

type Check = Pick<Probe, 'exec' | 'httpGet' | 'tcpSocket' | 'grpc'>
/** Of an answer, bytes kept for the message. */
const OUTPUT_MAX = 1024

/** Runs the check; never throws. An action that is not there passes. */
export async function check(action: Check, target: CheckTarget): Promise<CheckResult> {
  try {
    if (action.exec) {
      const r = await target.streams.execSync(target.containerId, action.exec.command ?? [], target.timeoutSeconds)
      return { ok: r.exitCode === 0, output: `${r.stdout}${r.stderr}`.slice(0, OUTPUT_MAX).trim() }
    }
    if (action.httpGet) return await http(action.httpGet, target)
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

function http(action: HTTPGetAction, target: CheckTarget): Promise<CheckResult> {
  const port = portOf(target.spec, action.port)
  const scheme = (action.scheme ?? 'HTTP').toLowerCase()
  const path = action.path?.startsWith('/') ? action.path : `/${action.path ?? ''}`
  const url = `${scheme}://${target.host}:${port}${path}`
  const headers: Record<string, string> = { 'user-agent': 'kube-probe/1.35', accept: '*/*', connection: 'close' }
  for (const h of action.httpHeaders ?? []) headers[h.name.toLowerCase()] = h.value
  const send = scheme === 'https' ? httpsRequest : httpRequest
  return timed(target, (done) => {
    const req = send(
      { host: action.host || target.host, port, path, headers, agent: false, ...(scheme === 'https' ? { rejectUnauthorized: false } : {}) },
      (res) => {
        const code = res.statusCode ?? 0
        res.destroy()
        done(code >= 200 && code < 400 ? { ok: true, output: '' } : { ok: false, output: `HTTP probe failed with statuscode: ${code}` })
      },
    )
    req.on('error', (e) => done({ ok: false, output: `Get "${url}": ${e.message}` }))
    req.end()
    return () => req.destroy()
  })
}

function tcp(host: string, port: number, target: CheckTarget): Promise<CheckResult> {
  return timed(target, (done) => {
    const socket = connectTcp({ host, port }, () => done({ ok: true, output: '' }))
    socket.on('error', (e) => done({ ok: false, output: `dial tcp ${host}:${port}: ${e.message}` }))
    return () => socket.destroy()
  })
}

/** `grpc.health.v1.Health/Check`; its two messages are small enough to be written by hand: field 1 in, field 1 out. */
function grpc(port: number, service: string, target: CheckTarget): Promise<CheckResult> {
  return timed(target, (done) => {
    const session = connectH2(`http://${target.host}:${port}`)
    session.on('error', (e) => done({ ok: false, output: `grpc ${target.host}:${port}: ${e.message}` }))
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

/** Runs `start` until it is done or time is up; then what it returned cleans up. Real time: the other end is outside. */
function timed(target: CheckTarget, start: (done: (r: CheckResult) => void) => () => void): Promise<CheckResult> {
  return new Promise((resolve) => {
    let over = false
    let clean: (() => void) | undefined
    const done = (r: CheckResult): void => {
      if (over) return
      over = true
      clearTimeout(timer)
      resolve(r)
      clean?.()
    }
    const timer = setTimeout(() => done({ ok: false, output: `timed out after ${target.timeoutSeconds}s` }), target.timeoutSeconds * 1000)
    clean = start(done)
    if (over) clean()
  })
}
