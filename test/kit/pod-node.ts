/**
 * What the stream tests share: a "node" that runs commands of this machine instead of a container's, and an HTTP server with
 * just enough of the API for kubectl to reach the streams of one pod. Tests only.
 */
import { spawn } from 'node:child_process'
import { createServer, type Server } from 'node:http'
import { connect } from 'node:net'
import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { AppError } from '../../src/base/errors.ts'
import { CHANNEL, encodeFrame, FrameDecoder, type NodeDialer, type NodeHandler } from '../../src/base/stream.ts'
import type { PodTarget } from '../../src/apiserver/ports.ts'
import { createPodStreams } from '../../src/apiserver/streams/pod-streams.ts'

/** Resizes seen by commands, for tests. */
export const resizes: string[] = []

export const commandNode: NodeHandler = async (request, respond) => {
  const url = new URL(request.path, 'http://node')
  const [, kind, , , container] = url.pathname.split('/')
  if (container === 'missing') throw new AppError('not-found', `container "missing" not found in pod`)
  if (kind === 'containerLogs') {
    const out = respond(200)
    out.write(`log of ${container} ${url.searchParams}\n`)
    if (url.searchParams.get('follow') !== 'true') return void out.end()
    const timer = setInterval(() => out.write('tick\n'), 20)
    await new Promise<void>((r) => out.once('close', r))
    return clearInterval(timer)
  }
  if (kind === 'portForward' || kind === 'nodeForward') {
    const socket = connect(Number(url.searchParams.get('port')), '127.0.0.1')
    await new Promise<void>((r, j) => socket.once('connect', r).once('error', (e) => j(new AppError('unavailable', `dial pod: ${e.message}`))))
    const stream = respond(200)
    await Promise.all([pipeline(stream, socket), pipeline(socket, stream)])
    return
  }
  await run(respond(200), kind === 'attach' ? ['cat'] : url.searchParams.getAll('command'))
}

function run(stream: Duplex, words: string[]): Promise<void> {
  return new Promise((resolve) => {
    const child = spawn(words[0] as string, words.slice(1))
    const decoder = new FrameDecoder()
    const send = (channel: number, from: NodeJS.ReadableStream) => (bytes: Buffer) => {
      if (stream.writable && stream.write(encodeFrame(channel, bytes))) return
      from.pause()
      stream.once('drain', () => from.resume())
    }
    child.stdin.on('error', () => undefined)
    stream.on('error', () => undefined)
    stream.on('data', (chunk: Buffer) => {
      for (const f of decoder.push(chunk)) {
        if (f.channel === CHANNEL.stdin && !child.stdin.write(f.payload)) {
          stream.pause()
          child.stdin.once('drain', () => stream.resume())
        } else if (f.channel === CHANNEL.close) child.stdin.end()
        else if (f.channel === CHANNEL.resize) resizes.push(f.payload.toString())
      }
    })
    stream.once('close', () => {
      child.kill('SIGKILL')
      resolve()
    })
    child.stdout.on('data', send(CHANNEL.stdout, child.stdout))
    child.stderr.on('data', send(CHANNEL.stderr, child.stderr))
    child.once('error', (e) => finish({ status: 'Failure', message: e.message, reason: 'InternalError', code: 500 }))
    child.once('close', (code) =>
      finish(code === 0 ? { status: 'Success' } : { status: 'Failure', reason: 'NonZeroExitCode', message: `command terminated with exit code ${code}`, details: { causes: [{ reason: 'ExitCode', message: String(code) }] } }),
    )
    const finish = (status: object): void => void (stream.writable && stream.end(encodeFrame(CHANNEL.error, Buffer.from(JSON.stringify({ kind: 'Status', apiVersion: 'v1', metadata: {}, ...status })))))
  })
}

export interface FakeApi {
  readonly url: string
  /** Upgrade requests seen, by their protocol. */
  readonly upgrades: string[]
  close(): Promise<void>
}

/** An API with one pod `default/web` on node `n1`. */
export async function fakeApi(dialer: NodeDialer): Promise<FakeApi> {
  const streams = createPodStreams({ dialer })
  const upgrades: string[] = []
  const pod = { kind: 'Pod', apiVersion: 'v1', metadata: { name: 'web', namespace: 'default', uid: 'u' }, spec: { nodeName: 'n1', containers: [{ name: 'main', image: 'i' }] }, status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] } }
  const answers: Record<string, object> = {
    '/api': { kind: 'APIVersions', versions: ['v1'] },
    '/apis': { kind: 'APIGroupList', apiVersion: 'v1', groups: [] },
    '/api/v1': { kind: 'APIResourceList', groupVersion: 'v1', resources: [{ name: 'pods', singularName: 'pod', namespaced: true, kind: 'Pod', verbs: ['get', 'list'], shortNames: ['po'] }] },
    '/api/v1/namespaces/default/pods/web': pod,
  }
  const targetOf = (text: string): PodTarget => {
    const url = new URL(text, 'http://api')
    const kind = url.pathname.split('/').at(-1) as PodTarget['kind']
    return { kind, namespace: 'default', pod: 'web', container: kind === 'portforward' ? undefined : (url.searchParams.get('container') ?? 'main'), node: 'n1', query: url.searchParams }
  }
  const server: Server = createServer(async (req, res) => {
    const path = (req.url ?? '').split('?')[0] as string
    if (path.endsWith('/log')) {
      const abort = new AbortController()
      res.once('close', () => abort.abort())
      const answer = await streams.log(targetOf(req.url ?? ''), abort.signal)
      res.writeHead(answer.status, answer.headers)
      for await (const chunk of answer.body) res.write(chunk)
      return void res.end()
    }
    res.writeHead(answers[path] ? 200 : 404, { 'content-type': 'application/json' })
    res.end(JSON.stringify(answers[path] ?? { kind: 'Status', status: 'Failure', code: 404, message: `no ${path}` }))
  })
  server.on('upgrade', (req, socket, head) => {
    socket.on('error', () => undefined)
    upgrades.push(String(req.headers['sec-websocket-protocol'] ?? req.headers['x-stream-protocol-version']))
    void streams.upgrade(req, socket, head, targetOf(req.url ?? ''))
  })
  await new Promise<void>((r) => server.listen(0, '127.0.0.1', r))
  return {
    url: `http://127.0.0.1:${(server.address() as { port: number }).port}`,
    upgrades,
    close: () =>
      new Promise((r) => {
        server.close(() => r())
        server.closeAllConnections()
      }),
  }
}
