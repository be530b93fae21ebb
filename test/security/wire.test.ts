/**
 * What comes over the wire to mislead or to exhaust: paths and headers that mean one thing to the check and another to the act,
 * framing that hides a second request, bodies that grow, clients that are slow, watchers that do not read.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { connect as http2 } from 'node:http2'
import { connect, type TLSSocket } from 'node:tls'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { ALPN_API_H2 } from '../../src/api/contract.ts'
import type { KeyedCert } from '../../src/base/pki.ts'
import { setLogSink } from '../../src/base/log.ts'
import { startTls, type TlsServer } from '../kit/api-tls.ts'
import { until } from '../kit/until.ts'

const SECRET = 'c2VjcmV0LW9mLW90aGVycw=='
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

let server: TlsServer
let vera: KeyedCert
let admin: KeyedCert
let sink: ReturnType<typeof setLogSink>

before(async () => {
  sink = setLogSink(() => undefined)
  server = await startTls()
  ;[vera, admin] = await Promise.all([server.client('vera'), server.client('root', ['system:masters'])])
  const { call } = server.harness
  for (const name of ['own', 'other']) await call('POST', '/api/v1/namespaces', { metadata: { name } })
  await call('POST', '/api/v1/namespaces/other/secrets', { metadata: { name: 'hidden' }, data: { k: SECRET } })
  await call('POST', '/api/v1/namespaces/own/configmaps', { metadata: { name: 'seen' } })
  await call('POST', '/apis/rbac.authorization.k8s.io/v1/namespaces/own/rolebindings', {
    metadata: { name: 'vera' }, roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'view' }, subjects: [{ kind: 'User', name: 'vera', apiGroup: 'rbac.authorization.k8s.io' }],
  })
})
after(async () => {
  await server[Symbol.asyncDispose]()
  setLogSink(sink)
})

async function open(pair?: KeyedCert): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port: server.listener.port, ca: server.ca.certPem, ...(pair ? { cert: pair.certPem, key: pair.keyPem } : {}) })
  await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject))
  socket.on('error', () => undefined)
  return socket
}

/** Sends bytes as they stand and gives what comes back until the server closes, or until one answer to `Connection: close` is whole. */
async function raw(text: string, pair?: KeyedCert): Promise<string> {
  const socket = await open(pair)
  let got = ''
  socket.setEncoding('latin1')
  socket.on('data', (chunk: string) => (got += chunk))
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  const limit = setTimeout(() => socket.destroy(), 2_000)
  socket.write(text, 'latin1')
  await closed
  clearTimeout(limit)
  return got
}

const get = (target: string, pair?: KeyedCert, headers = ''): Promise<string> => raw(`GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${headers}\r\n`, pair)
const code = (answer: string): number => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? 0)

test('no spelling of a path reaches what the plain one does not', async () => {
  assert.equal(code(await get('/api/v1/namespaces/own/configmaps/seen', vera)), 200)
  assert.equal(code(await get('/api/v1/namespaces/other/secrets/hidden', vera)), 403)
  const target = '/api/v1/namespaces/other/secrets/hidden'
  for (const path of [
    '/api/v1/namespaces/own/../other/secrets/hidden', '/api/v1/namespaces/own/%2e%2e/other/secrets/hidden', '/api/v1/namespaces/own/%252e%252e/other/secrets/hidden',
    '/api/v1/namespaces/own/configmaps/..%2f..%2fother%2fsecrets%2fhidden', '/api/v1/namespaces/own%2f..%2fother/secrets/hidden', '/api/v1/namespaces/own/configmaps%2f..%2f..%2fother/secrets',
    '/api/v1/namespaces/own/configmaps/seen/../../../other/secrets/hidden', '//api/v1/namespaces/other/secrets/hidden', '/api//v1/namespaces/other/secrets/hidden', '/api/v1//namespaces/other/secrets/hidden',
    '/api/v1/namespaces//secrets/hidden', '/api/v1/namespaces/own//../other/secrets/hidden', '/api/v1/namespaces/own/./configmaps/seen/..', '/API/V1/namespaces/other/secrets/hidden',
    '/api/v1/namespaces/other;own/secrets/hidden', '/api/v1/namespaces/own%00/../other/secrets/hidden', '/api/v1/namespaces/own%0a/secrets/hidden', '/api/v1/namespaces/o%74her/secrets/hidden',
    '/api/v1/namespaces/other/secret%73/hidden', '/api/v1/watch/namespaces/other/secrets/hidden', '/api/v1/namespaces/other/secrets/hidden/', '/api/v1/namespaces/other/secrets/hidden?namespace=own',
    '/api/v1/secrets/hidden', '/api/v1/secrets?fieldSelector=metadata.namespace%3Down', '/apis//v1/namespaces/other/secrets/hidden', '/apis/v1/namespaces/other/secrets/hidden', '/healthz/../api/v1/namespaces/other/secrets/hidden',
    '/livez/..%2fapi/v1/namespaces/other/secrets/hidden', '/version#/../api/v1/namespaces/other/secrets/hidden', '/%61pi/v1/namespaces/other/secrets/hidden', '\\api\\v1\\namespaces\\other\\secrets\\hidden',
    'https://x/api/v1/namespaces/other/secrets/hidden', 'http://127.0.0.1/api/v1/namespaces/other/secrets/hidden', '*', 'x:443', `/api/v1/namespaces/own/configmaps?watch=true&labelSelector=${'%00'.repeat(20)}`,
    `${target}%`, `${target}%zz`, `${target}%c0%ae`, '/api/v1/namespaces/own/pods/x/proxy/../../../../../other/secrets/hidden',
  ]) {
    const answer = await get(path, vera)
    assert.ok([400, 403, 404].includes(code(answer)), `${path}: ${answer.slice(0, 60)}`)
    assert.ok(!answer.includes(SECRET), path)
  }
})

test('no header makes another user of one, turns a read into a write, or sends a request elsewhere', async () => {
  const target = '/api/v1/namespaces/other/secrets/hidden'
  for (const headers of [
    'X-Remote-User: root\r\nX-Remote-Group: system:masters\r\n', 'X-Forwarded-User: root\r\n', 'X-Forwarded-Client-Cert: Subject="CN=root,O=system:masters"\r\n', 'X-SSL-Client-Verify: SUCCESS\r\nX-SSL-Client-S-DN: CN=root,O=system:masters\r\n',
    'X-Original-URL: /version\r\n', 'X-Rewrite-URL: /version\r\n', 'Impersonate_User: root\r\n', 'Connection: Impersonate-User\r\nImpersonate-User: root\r\n', 'Impersonate-User: root\r\n', 'impersonate-USER: root\r\nImpersonate-Group: system:masters\r\n',
    'Authorization: Basic cm9vdDpyb290\r\n', 'Authorization: Bearer \r\n', 'Host: kubernetes.default.svc\r\n', 'X-Forwarded-Host: localhost\r\nForwarded: for=127.0.0.1;host=localhost\r\n', 'X-Kubernetes-Pf-Flowschema-Uid: exempt\r\n',
    'Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.cm9vdA\r\n', 'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n', 'Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n',
  ]) {
    for (const pair of [vera, undefined]) {
      const answer = await get(target, pair, headers)
      // An upgrade to something that cannot be upgraded is told as not there, whoever asks.
      assert.ok((headers.startsWith('Upgrade') ? [400, 401, 403, 404] : [400, 401, 403]).includes(code(answer)), `${JSON.stringify(headers)}: ${answer.slice(0, 80)}`)
      assert.ok(!answer.includes(SECRET), headers)
    }
  }
  for (const header of ['X-HTTP-Method-Override: DELETE', 'X-HTTP-Method: DELETE', 'X-Method-Override: DELETE']) {
    assert.equal(code(await get('/api/v1/namespaces/own/configmaps/seen?_method=DELETE', admin, `${header}\r\n`)), 200)
    assert.equal(code(await get('/api/v1/namespaces/own/configmaps/seen', admin)), 200, header)
  }
})

test('framing that could hide a second request gets one refusal and the end of the connection', async () => {
  const hidden = 'DELETE /api/v1/namespaces/own/configmaps/seen HTTP/1.1\r\nHost: x\r\n\r\n'
  const head = (lines: string): string => `POST /api/v1/namespaces/own/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${lines}\r\n\r\n`
  for (const text of [
    head(`Content-Length: ${hidden.length}\r\nTransfer-Encoding: chunked`) + '0\r\n\r\n' + hidden,
    head('Transfer-Encoding: chunked\r\nContent-Length: 4') + '0\r\n\r\n' + hidden,
    head(`Content-Length: 0\r\nContent-Length: ${hidden.length}`) + hidden,
    head('Content-Length: 0, 10') + hidden, head('Content-Length: -1') + hidden, head('Content-Length: +0') + hidden, head('Content-Length: 0x0') + hidden,
    head('Transfer-Encoding: xchunked') + hidden, head('Transfer-Encoding: chunked, identity') + '0\r\n\r\n' + hidden, head('Transfer-Encoding : chunked') + '0\r\n\r\n' + hidden,
    head('Transfer-Encoding: chunked') + `ffffffffffffffff1\r\n${hidden}`, head('Transfer-Encoding: chunked') + `-1\r\n${hidden}`, head('Transfer-Encoding: chunked') + `0;a\nb\r\n\r\n${hidden}`,
    head('X: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 1x') + hidden, head('X: a\rTransfer-Encoding: chunked') + hidden, head('X\0: a') + hidden,
    'GET /version HTTP/1.1\r\nX: no host\r\n\r\n', `GET /version HTTP/1.1 HTTP/1.1\r\nHost: x\r\n\r\n${hidden}`, `GET /version HTTP/3.0\r\nHost: x\r\n\r\n${hidden}`, `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${hidden}`,
  ]) {
    const answer = await raw(text, admin)
    assert.equal(answer.match(/HTTP\/1\.1 /g)?.length ?? 0, answer === '' ? 0 : 1, JSON.stringify(text.slice(0, 160)) + answer)
    assert.ok(answer === '' || code(answer) === 400, `${JSON.stringify(text.slice(0, 160))}: ${answer.slice(0, 60)}`)
    assert.equal(code(await get('/api/v1/namespaces/own/configmaps/seen', admin)), 200, `a hidden request was carried out: ${JSON.stringify(text.slice(0, 200))}`)
  }
})

async function post(body: string | Buffer, type = 'application/json', path = '/api/v1/namespaces/own/configmaps', method = 'POST', more = ''): Promise<string> {
  const socket = await open(admin)
  let got = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => (got += chunk))
  socket.write(`${method} ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n${more}\r\n`)
  socket.write(body)
  await new Promise<void>((resolve) => socket.once('close', () => resolve()))
  return got
}

test('bodies that are too long, too deep, too many or grow when read are refused at once and cost little', async () => {
  const heap = (): number => process.memoryUsage().heapUsed
  const before = heap()
  const config = (data: object): string => JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'bomb' }, data })
  const aliases = ['a: &a ["x","x","x","x","x","x","x","x","x"]', ...'bcdefghi'.split('').map((c, i) => `${c}: &${c} [${Array(9).fill(`*${'abcdefghi'[i]}`).join(',')}]`)].join('\n')
  const doubling = JSON.stringify([{ op: 'add', path: '/data', value: { x: 'y'.repeat(1_000) } }, ...Array.from({ length: 24 }, (_, i) => ({ op: 'copy', from: '/data', path: `/data/a${i}` }))])
  const cases: readonly (readonly [string, () => Promise<string>, readonly number[]])[] = [
    ['declared too long', () => raw('POST /api/v1/namespaces/own/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n', admin), [413]],
    ['four megabytes', () => post(config({ k: 'x'.repeat(4 << 20) })), [413]],
    ['nested arrays', () => post('['.repeat(1 << 20)), [400]],
    ['nested objects', () => post('{"a":'.repeat(300_000)), [400]],
    ['nested in a field that takes anything', () => post(`{"metadata":{"name":"bomb"},"data":${'{"a":'.repeat(1_000)}1${'}'.repeat(1_000)}}`), [400, 422]],
    ['many keys', () => post(config(Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`k${i}`, ''])))), [201, 413, 422]],
    ['a name of a megabyte', () => post(JSON.stringify({ metadata: { name: 'a'.repeat(1 << 20) } })), [413, 422]],
    ['aliases that multiply', () => post(`metadata: {name: bomb}\ndata: {}\n${aliases}\n`, 'application/yaml'), [400]],
    ['copies that double', () => post(doubling, 'application/json-patch+json', '/api/v1/namespaces/own/configmaps/seen', 'PATCH'), [400, 413, 422]],
    ['ten thousand and one operations', () => post(JSON.stringify(Array.from({ length: 10_001 }, () => ({ op: 'test', path: '/kind', value: 'ConfigMap' }))), 'application/json-patch+json', '/api/v1/namespaces/own/configmaps/seen', 'PATCH'), [413, 422]],
    ['prototype keys', () => post('{"metadata":{"name":"bomb","labels":{"__proto__":"x"}},"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}'), [201, 400, 422]],
    ['a selector of 60 KiB', () => get(`/api/v1/pods?labelSelector=${'a!%3Db,'.repeat(8_000)}a`, admin), [200, 400, 431]],
    ['headers of a megabyte', () => get('/version', admin, `X: ${'a'.repeat(1 << 20)}\r\n`), [431]],
    ['ten thousand headers', () => get('/version', admin, 'X: a\r\n'.repeat(10_000)), [200, 431]],
  ]
  for (const [what, send, expected] of cases) {
    const started = performance.now()
    const answer = await send()
    assert.ok(expected.includes(code(answer)), `${what}: ${answer.slice(0, 300)}`)
    assert.ok(performance.now() - started < 8_000, `${what} took ${Math.round(performance.now() - started)} ms`)
    assert.ok(answer.length < 3 << 20, `${what}: the answer has ${answer.length} characters`)
  }
  assert.equal(({} as { polluted?: boolean }).polluted, undefined)
  assert.ok(heap() - before < 200 << 20, `the heap grew by ${(heap() - before) >> 20} MB`)
})

test('hundreds of connections that say nothing, or half of something, do not keep others waiting', async () => {
  const sockets = await Promise.all(Array.from({ length: 200 }, () => open()))
  for (const [i, socket] of sockets.entries()) {
    if (i % 3 === 1) socket.write('GET /version HTTP/1.1\r\nHost: x\r\nX: ')
    if (i % 3 === 2) socket.write('POST /api/v1/namespaces/own/configmaps HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{')
  }
  const started = performance.now()
  assert.equal(await server.get('/version'), 200)
  assert.ok(performance.now() - started < 2_000)
  for (const socket of sockets) socket.destroy()
})

test('watchers that do not read are cut with bounded memory, and those that read miss nothing', async (t) => {
  const path = '/api/v1/namespaces/own/configmaps'
  const watch = async (reading: boolean): Promise<{ socket: TLSSocket; seen: () => number }> => {
    const socket = await open(admin)
    let [lines, last] = [0, '']
    socket.setEncoding('latin1')
    const mark = '{"type":"'
    const count = (chunk: string): void => {
      const text = last + chunk
      lines += text.split(mark).length - 1
      last = text.slice(-(mark.length - 1))
    }
    if (reading) socket.on('data', count)
    socket.write(`GET ${path}?watch=true HTTP/1.1\r\nHost: x\r\n\r\n`)
    if (!reading) {
      await new Promise((resolve) => socket.once('readable', resolve))
      socket.pause()
    }
    return { socket, seen: () => lines }
  }
  const stuck = await Promise.all(Array.from({ length: 20 }, () => watch(false)))
  const good = await watch(true)
  const begun = (await server.harness.call<{ items: unknown[] }>('GET', path)).body.items.length
  await until('the reader has seen what is there', () => good.seen() === begun)
  collect()
  const before = process.memoryUsage()
  const rounds = 400
  for (let i = 0; i < rounds; i++) {
    const body = { metadata: { name: 'seen' }, data: { text: `${i} ${'x'.repeat(50_000)}` } }
    assert.equal((await server.harness.call('PUT', `${path}/seen`, body)).status, 200)
    await until('the reader keeps up', () => good.seen() - begun >= i - 8)
  }
  await until('the reader has seen all', () => good.seen() - begun === rounds)
  collect() // garbage is not what is held
  const grown = process.memoryUsage()
  // 20 MB of events to each of 20 watchers would be 400 MB; what waits for one is bounded by its queue and the socket's buffers.
  const more = grown.heapUsed + grown.external - before.heapUsed - before.external
  t.diagnostic(`grew by ${more >> 20} MB`)
  assert.ok(more < 120 << 20, `grew by ${more >> 20} MB`)
  // A reader that comes back finds its connection gone, and nothing held for it meanwhile.
  await Promise.all(stuck.map(({ socket }) => new Promise<void>((resolve) => (socket.once('close', () => resolve()), socket.resume()))))
  good.socket.destroy()
})

test('many HTTP/2 connections at once: each request is its own connection\'s user, and no header makes it another', async () => {
  const names = Array.from({ length: 24 }, (_, i) => (i % 4 === 3 ? 'system:anonymous' : `user-${i % 4}`))
  const pairs = new Map(await Promise.all([...new Set(names)].filter((n) => n.startsWith('user')).map(async (n) => [n, await server.client(n)] as const)))
  const whoami = (name: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const pair = pairs.get(name)
      const tls = { host: '127.0.0.1', port: server.listener.port, ca: server.ca.certPem, ALPNProtocols: [ALPN_API_H2], ...(pair ? { cert: pair.certPem, key: pair.keyPem } : {}) }
      const session = http2(`https://127.0.0.1:${server.listener.port}`, { createConnection: () => connect(tls) })
      session.on('error', reject)
      const req = session.request({ ':method': 'POST', ':path': '/apis/authentication.k8s.io/v1/selfsubjectreviews', 'content-type': 'application/json', 'x-remote-user': 'root', 'x-remote-group': 'system:masters' })
      let text = ''
      req.setEncoding('utf8').on('data', (c: string) => (text += c)).on('error', reject)
      req.on('end', () => {
        session.close()
        const { message, status } = JSON.parse(text) as { message?: string; status: { userInfo?: { username: string } } | string }
        resolve(typeof status === 'string' ? (/User "([^"]+)"/.exec(message ?? '')?.[1] ?? text) : (status.userInfo?.username ?? text))
      })
      req.end('{}')
    })
  assert.deepEqual(await Promise.all(names.map(whoami)), names)
})

test('who takes too long to say what they want is cut', async () => {
  await using slow = await startTls({ headersTimeoutMs: 200 })
  const socket = connect({ host: '127.0.0.1', port: slow.listener.port, ca: slow.ca.certPem })
  await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject))
  let got = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => (got += chunk)).on('error', () => undefined)
  socket.write('GET /version HTTP/1.1\r\nHost: x\r\n')
  const drip = setInterval(() => socket.write('X: a\r\n'), 20)
  await new Promise<void>((resolve) => socket.once('close', () => resolve()))
  clearInterval(drip)
  assert.match(got, /^HTTP\/1\.1 408/)
})
