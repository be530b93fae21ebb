import assert from 'node:assert/strict'
import { connect as connectH2 } from 'node:http2'
import type { ServerResponse } from 'node:http'
import { request } from 'node:https'
import { connect as connectTcp } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { after, before, test } from 'node:test'
import { ALPN_API_H2, ALPN_LINK } from '../api/contract.ts'
import { AppError } from '../base/errors.ts'
import { setLogSink } from '../base/log.ts'
import { createKey, issue, type KeyedCert } from '../base/pki.ts'
import { listen } from './listen.ts'
import { startTls, type TlsServer } from '../../test/kit/api-tls.ts'
import { until } from '../../test/kit/until.ts'

let server: TlsServer
let admin: KeyedCert
let node: KeyedCert
const links: string[] = []
const former = setLogSink(() => undefined)
before(async () => {
  server = await startTls({
    onLink: (socket, name) => {
      links.push(name)
      socket.end('hello')
    },
    routes: [
      { prefix: '/extra/', auth: 'required', handler: (_req, res, { user }) => void (res as ServerResponse).end(user?.name) },
      { prefix: '/open', auth: 'optional', handler: (_req, res, { user }) => void (res as ServerResponse).end(user?.name ?? 'nobody') },
    ],
  })
  ;[admin, node] = await Promise.all([server.client('admin', ['system:masters']), server.client('system:node:n1', ['system:nodes'])])
})
after(async () => {
  await server[Symbol.asyncDispose]()
  setLogSink(former)
})

type Result = { status: number; text: string; headers: Record<string, string | string[] | undefined> }
function fetch(path: string, options: { cert?: KeyedCert; method?: string; body?: string | Buffer; headers?: Record<string, string> } = {}): Promise<Result> {
  const { cert, method = 'GET', body, headers = {} } = options
  return new Promise((resolve, reject) => {
    const req = request(
      { host: '127.0.0.1', port: server.listener.port, path, method, headers, ca: server.ca.certPem, agent: false, ...(cert ? { cert: cert.certPem, key: cert.keyPem } : {}) },
      (res) => {
        let text = ''
        res.on('data', (c) => (text += String(c))).on('end', () => resolve({ status: res.statusCode ?? 0, text, headers: res.headers }))
      },
    )
    req.on('error', reject)
    req.end(body)
  })
}

test('a certificate of our CA names the caller, none is anonymous, a foreign one is refused', async () => {
  assert.equal((await fetch('/api/v1/namespaces', { cert: admin })).status, 200)
  assert.equal((await fetch('/api/v1/namespaces')).status, 403)
  assert.equal((await fetch('/version')).status, 200)
  const key = await createKey()
  const other = await startTls()
  const foreign = { keyPem: key.keyPem, certPem: await issue({ ca: other.ca, publicKeyPem: key.publicKeyPem, cn: 'admin', o: ['system:masters'], usage: 'client', days: 1 }) }
  await other[Symbol.asyncDispose]()
  assert.equal((await fetch('/api/v1/namespaces', { cert: foreign })).status, 401)
  assert.equal((await fetch('/api/v1/namespaces', { headers: { authorization: 'Bearer nonsense' } })).status, 401)
})

test('extra routes get the user, or 401 where one is required', async () => {
  assert.equal((await fetch('/extra/x', { cert: admin })).text, 'admin')
  assert.equal((await fetch('/extra/x')).status, 401)
  assert.equal((await fetch('/open')).text, 'nobody')
  assert.equal((await fetch('/opener', { cert: admin })).status, 404)
})

test('bodies over the limit are refused, declared or not, and deep ones too', async () => {
  const path = '/api/v1/namespaces/default/configmaps'
  const headers = { 'content-type': 'application/json' }
  assert.equal((await fetch(path, { cert: admin, method: 'POST', headers: { ...headers, 'content-length': String(4 << 20) } }).catch(() => ({ status: 413 }))).status, 413)
  const deep = `{"metadata":{"name":"x"},"data":${'['.repeat(100_000)}${']'.repeat(100_000)}}`
  assert.equal((await fetch(path, { cert: admin, method: 'POST', headers, body: deep })).status, 400)
})

test('agents speak HTTP/2 on the same port, with the identity of their certificate', async () => {
  const socket = connectTls({ host: '127.0.0.1', port: server.listener.port, ca: server.ca.certPem, cert: node.certPem, key: node.keyPem, ALPNProtocols: [ALPN_API_H2] })
  const session = connectH2('https://127.0.0.1', { createConnection: () => socket })
  const get = (path: string): Promise<{ status: number; text: string }> =>
    new Promise((resolve, reject) => {
      const stream = session.request({ ':path': path, accept: 'application/json' })
      let status = 0
      let text = ''
      stream.on('response', (h) => (status = Number(h[':status'])))
      stream.on('data', (c) => (text += String(c))).on('end', () => resolve({ status, text })).on('error', reject)
      stream.end()
    })
  const results = await Promise.all([get('/api/v1/pods?fieldSelector=spec.nodeName%3Dn1'), get('/api/v1/pods'), get('/extra/x')])
  assert.deepEqual(results.map((r) => r.status), [200, 403, 200])
  assert.equal(results[2]?.text, 'system:node:n1')
  await new Promise<void>((resolve) => session.close(resolve))
})

test('clients that offer HTTP/2 have it: a watch that nobody reads holds up no other request of the connection', { timeout: 30_000 }, async () => {
  const socket = connectTls({ host: '127.0.0.1', port: server.listener.port, ca: server.ca.certPem, cert: admin.certPem, key: admin.keyPem, ALPNProtocols: ['h2', 'http/1.1'] })
  const session = connectH2('https://127.0.0.1', { createConnection: () => socket, settings: { initialWindowSize: 1 << 20 } })
  session.once('connect', () => session.setLocalWindowSize(8 << 20))
  const call = (method: string, path: string, body?: object): Promise<{ status: number; text: string }> =>
    new Promise((resolve, reject) => {
      const stream = session.request({ ':method': method, ':path': path, 'content-type': 'application/json' })
      let status = 0
      let text = ''
      stream.on('response', (h) => (status = Number(h[':status'])))
      stream.on('data', (c) => (text += String(c))).on('end', () => resolve({ status, text })).on('error', reject)
      stream.end(body === undefined ? undefined : JSON.stringify(body))
    })
  const path = '/api/v1/namespaces/default/configmaps'
  const watch = session.request({ ':path': `${path}?watch=1&resourceVersion=0` })
  await new Promise((resolve) => watch.once('response', resolve))
  assert.equal(socket.alpnProtocol, 'h2')
  for (let i = 0; i < 30; i++) assert.equal((await call('POST', path, { metadata: { name: `h2-${i}` }, data: { text: 'x'.repeat(100_000) } })).status, 201)
  assert.equal((await call('GET', `${path}/h2-29`)).status, 200)
  // It is all there for who reads on.
  let read = ''
  watch.on('data', (c) => (read += String(c)))
  await until('the watch has the last', () => read.includes('"name":"h2-29"'))
  watch.close()
  await new Promise<void>((resolve) => session.close(resolve))
  for (let i = 0; i < 30; i++) await fetch(`${path}/h2-${i}`, { cert: admin, method: 'DELETE' })
})

test('the node link is handed over for a node certificate only', async () => {
  const link = (cert: KeyedCert | undefined): Promise<string> =>
    new Promise((resolve) => {
      let text = ''
      const socket: TLSSocket = connectTls({ host: '127.0.0.1', port: server.listener.port, ca: server.ca.certPem, ALPNProtocols: [ALPN_LINK], ...(cert ? { cert: cert.certPem, key: cert.keyPem } : {}) })
      socket.on('data', (c) => (text += String(c))).on('error', () => undefined).on('close', () => resolve(text))
    })
  assert.equal(await link(node), 'hello')
  assert.deepEqual(links, ['n1'])
  assert.equal(await link(admin), '')
  assert.equal(await link(undefined), '')
  assert.deepEqual(links, ['n1'])
})

test('a taken port says which and what to do', async () => {
  await assert.rejects(
    listen({ port: server.listener.port, bindAddress: '127.0.0.1', key: admin.keyPem, cert: admin.certPem, ca: server.ca.certPem, api: server.harness.api }),
    (e) => e instanceof AppError && e.code === 'exists' && e.message.includes(String(server.listener.port)) && /--port/.test(e.message),
  )
})

test('closes though a connection never says a word, and one has gone over to HTTP/2', { timeout: 10_000 }, async () => {
  const own = await startTls()
  const { port } = own.listener
  const cert = await own.client('system:node:n1', ['system:nodes'])
  const silent = connectTcp(port, '127.0.0.1')
  const h2 = connectTls({ host: '127.0.0.1', port, ca: own.ca.certPem, cert: cert.certPem, key: cert.keyPem, ALPNProtocols: [ALPN_API_H2] })
  const ended = Promise.all([silent, h2].map((s) => new Promise((resolve) => s.resume().on('error', () => undefined).on('close', resolve))))
  await Promise.all([new Promise((resolve) => silent.on('connect', resolve)), new Promise((resolve) => h2.on('secureConnect', resolve))])
  await own.listener.close(100)
  await ended
  await own[Symbol.asyncDispose]()
})

test('a watch over TLS delivers as it happens and its end frees the server', async () => {
  const seen = await new Promise<string>((resolve, reject) => {
    const req = request(
      { host: '127.0.0.1', port: server.listener.port, path: '/api/v1/namespaces/default/configmaps?watch=1', ca: server.ca.certPem, cert: admin.certPem, key: admin.keyPem, agent: false },
      (res) => {
        void server.harness.call('POST', '/api/v1/namespaces/default/configmaps', { metadata: { name: 'seen' } })
        res.on('data', (chunk) => {
          if (!String(chunk).includes('"seen"')) return
          resolve(String(chunk))
          req.destroy()
        })
        res.on('error', () => undefined)
      },
    )
    req.on('error', reject)
    req.end()
  })
  assert.match(seen, /^\{"type":"ADDED"/)
})
