import assert from 'node:assert/strict'
import { request } from 'node:http'
import { createServer } from 'node:net'
import { after, before, test } from 'node:test'
import { WebSocket } from 'ws'
import { setLogSink } from '../../base/log.ts'
import { createPodStreams } from './pod-streams.ts'
import { commandNode, fakeApi, resizes, type FakeApi } from '../../../test/kit/pod-node.ts'
import { LocalDialer } from '../../tunnel/mod.ts'

setLogSink(() => undefined)
let dialer: LocalDialer
let api: FakeApi
before(async () => {
  dialer = new LocalDialer()
  dialer.connect('n1', commandNode)
  api = await fakeApi(dialer)
})
after(() => api.close())

interface Run {
  readonly out: string
  readonly err: string
  readonly status: { status?: string; message?: string; details?: { causes?: { message: string }[] } }
  readonly protocol: string
}

/** Runs a command as a WebSocket client does; `stdin` is sent and then closed. */
function exec(query: string, options: { stdin?: Buffer; protocols?: string[]; onOpen?: (ws: WebSocket) => void } = {}): Promise<Run> {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(`${api.url.replace('http', 'ws')}/api/v1/namespaces/default/pods/web/exec?${query}`, options.protocols ?? ['v5.channel.k8s.io', 'v4.channel.k8s.io'])
    const parts: Buffer[][] = [[], [], [], [], []]
    ws.on('open', () => {
      if (options.stdin) {
        for (let at = 0; at < options.stdin.length; at += 32_768) ws.send(Buffer.concat([Buffer.of(0), options.stdin.subarray(at, at + 32_768)]))
        ws.send(Buffer.of(255, 0))
      }
      options.onOpen?.(ws)
    })
    const base64 = ws.protocol.includes('base64') || options.protocols?.[0]?.includes('base64')
    ws.on('message', (data: Buffer) => parts[base64 ? (data[0] as number) - 48 : (data[0] as number)]?.push(base64 ? Buffer.from(data.subarray(1).toString(), 'base64') : data.subarray(1)))
    ws.on('unexpected-response', (_req, res) => {
      let text = ''
      res.on('data', (c) => (text += c)).on('end', () => reject(Object.assign(new Error(text), { status: res.statusCode })))
    })
    ws.on('error', reject)
    ws.on('close', () => {
      const text = (i: number): string => Buffer.concat(parts[i] ?? []).toString()
      resolve({ out: text(1), err: text(2), status: JSON.parse(text(3) || '{}') as Run['status'], protocol: ws.protocol })
    })
  })
}

const words = (...w: string[]): string => w.map((x) => `command=${encodeURIComponent(x)}`).join('&')

test('exec gives output, errors and the exit code on their channels', async () => {
  const got = await exec(`${words('sh', '-c', 'echo out; echo err >&2; exit 3')}&stdout=true&stderr=true`)
  assert.deepEqual([got.out, got.err, got.protocol], ['out\n', 'err\n', 'v5.channel.k8s.io'])
  assert.equal(got.status.status, 'Failure')
  assert.equal(got.status.details?.causes?.[0]?.message, '3')
  assert.equal((await exec(`${words('true')}&stdout=true`)).status.status, 'Success')
})

test('stdin reaches the command and its end does too; megabytes pass unharmed', async () => {
  const stdin = Buffer.alloc(5_000_000, 'abcdefg')
  const got = await exec(`${words('cat')}&stdin=true&stdout=true`, { stdin })
  assert.equal(got.out.length, stdin.length)
  assert.equal(got.out, stdin.toString())
  assert.equal(got.status.status, 'Success')
})

test('base64 clients and terminal sizes are served', async () => {
  const got = await exec(`${words('head', '-n', '1')}&stdin=true&stdout=true&tty=true`, {
    protocols: ['v4.base64.channel.k8s.io'],
    onOpen(ws) {
      ws.send('4' + Buffer.from('{"Width":80,"Height":24}').toString('base64'))
      ws.send('0' + Buffer.from('line\n').toString('base64'))
    },
  })
  assert.equal(got.out, 'line\n')
  assert.deepEqual(resizes, ['{"Width":80,"Height":24}'])
})

test('what is refused is an ordinary Status before the upgrade', async () => {
  const refused = (work: Promise<unknown>, code: number, text: RegExp): Promise<void> =>
    assert.rejects(work, (e) => {
      assert.equal((e as { status?: number }).status, code)
      assert.match((e as Error).message, text)
      assert.equal((JSON.parse((e as Error).message) as { kind: string }).kind, 'Status')
      return true
    })
  await refused(exec(`${words('true')}&stdout=true&container=missing`), 404, /container \\"missing\\" not found/)
  await refused(exec(`${words('true')}&stdout=true`, { protocols: ['v9.channel.k8s.io'] }), 400, /v9\.channel\.k8s\.io/)
  await refused(exec('stdout=true'), 400, /at least one command/)
  await refused(exec(words('true')), 400, /at least one of stdin, stdout, stderr/)
})

test('a node lost in the middle is a failure, never a success', async () => {
  const lost = new LocalDialer()
  lost.connect('n1', commandNode)
  const other = await fakeApi(lost)
  const ws = new WebSocket(`${other.url.replace('http', 'ws')}/api/v1/namespaces/default/pods/web/exec?${words('sleep', '60')}&stdout=true`, ['v5.channel.k8s.io'])
  let status = ''
  ws.on('message', (d: Buffer) => d[0] === 3 && (status += d.subarray(1).toString()))
  await new Promise((r) => ws.once('open', r))
  const closed = new Promise((r) => ws.once('close', r))
  lost.disconnect('n1')
  await closed
  assert.equal((JSON.parse(status) as { status: string }).status, 'Failure')
  assert.match(status, /error streaming from the node/)
  await other.close()
})

test('a client that leaves ends the command on the node', async () => {
  const ended = Promise.withResolvers<void>()
  dialer.connect('n2', async (_r, respond) => {
    const s = respond(200)
    s.on('error', () => undefined).once('close', () => ended.resolve())
    s.resume()
  })
  const streams = createPodStreams({ dialer: { open: (_n, r, s) => dialer.open('n2', r, s) } })
  const { createServer: http } = await import('node:http')
  const server = http().on('upgrade', (req, socket, head) => void streams.upgrade(req, socket, head, { kind: 'attach', namespace: 'd', pod: 'p', container: 'c', node: 'n2', query: new URLSearchParams('stdin=true') }))
  await new Promise<void>((r) => server.listen(0, '127.0.0.1', r))
  const ws = new WebSocket(`ws://127.0.0.1:${(server.address() as { port: number }).port}/`, ['v5.channel.k8s.io'])
  await new Promise((r) => ws.once('open', r))
  ws.terminate()
  await ended.promise
  await new Promise((r) => server.close(r))
})

test('logs are passed on, followed until the reader leaves, and checked at the door', async () => {
  const get = (path: string): Promise<string> =>
    new Promise((resolve, reject) => {
      request(api.url + path, (res) => {
        let text = ''
        res.on('data', (c: Buffer) => {
          text += String(c)
          if (text.includes('tick')) res.destroy()
        }).on('close', () => resolve(text)).on('error', () => undefined)
      }).on('error', reject).end()
    })
  assert.equal(await get('/api/v1/namespaces/default/pods/web/log?tailLines=3&pretty=1'), 'log of main tailLines=3\n')
  assert.match(await get('/api/v1/namespaces/default/pods/web/log?follow=true'), /^log of main follow=true\ntick\n/)
  const streams = createPodStreams({ dialer })
  const log = (query: string, container = 'main'): Promise<unknown> =>
    streams.log({ kind: 'log', namespace: 'default', pod: 'web', container, node: 'n1', query: new URLSearchParams(query) }, AbortSignal.timeout(1_000))
  await assert.rejects(log('tailLines=-1'), /tailLines: Invalid value: "-1"/)
  await assert.rejects(log('sinceTime=x'), /RFC 3339/)
  await assert.rejects(log('', 'missing'), { code: 'not-found' })
  await assert.rejects(createPodStreams({ dialer: new LocalDialer() }).log({ kind: 'log', namespace: 'default', pod: 'web', container: 'c', node: 'gone', query: new URLSearchParams() }, AbortSignal.timeout(1_000)), { code: 'unavailable' })
})

test('the older WebSocket port-forward carries bytes both ways and tells errors on its channel', async () => {
  const echo = createServer((s) => s.pipe(s))
  await new Promise<void>((r) => echo.listen(0, '127.0.0.1', r))
  const port = (echo.address() as { port: number }).port
  const ws = new WebSocket(`${api.url.replace('http', 'ws')}/api/v1/namespaces/default/pods/web/portforward?ports=${port}&ports=1`, ['v4.channel.k8s.io'])
  const got: Buffer[][] = [[], [], [], []]
  ws.on('message', (d: Buffer) => {
    got[d[0] as number]?.push(d.subarray(1))
    if (Buffer.concat(got[0] ?? []).includes('hello') && (got[3]?.length ?? 0) > 1) ws.close()
  })
  ws.on('open', () => ws.send(Buffer.concat([Buffer.of(0), Buffer.from('hello')])))
  await new Promise((r) => ws.once('close', r))
  assert.deepEqual(Buffer.concat(got[0] ?? []), Buffer.concat([Buffer.from([port & 255, port >> 8]), Buffer.from('hello')]))
  assert.match(Buffer.concat(got[3] ?? []).toString(), /error forwarding port 1: .*ECONNREFUSED/)
  echo.close()
})
