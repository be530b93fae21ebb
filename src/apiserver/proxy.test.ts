import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { ADMIN, startHarness } from '../../test/kit/api-harness.ts'
import { startTls } from '../../test/kit/api-tls.ts'
import { commandNode } from '../../test/kit/pod-node.ts'
import { setLogSink } from '../base/log.ts'
import { LocalDialer } from '../tunnel/mod.ts'
import type { Obj } from './stored-text.ts'
import { createPodStreams } from './streams/pod-streams.ts'

const NS = '/api/v1/namespaces/default'

test('requests reach the port of a pod, by pod and by service, without the credentials of the caller', async () => {
  const former = setLogSink(() => undefined)
  const seen: { method: string; url: string; authorization: string | undefined; body: string }[] = []
  const app = createServer((req, res) => {
    let body = ''
    req.on('data', (chunk: Buffer) => (body += chunk.toString()))
    req.on('end', () => {
      seen.push({ method: req.method ?? '', url: req.url ?? '', authorization: req.headers.authorization, body })
      if (req.url === '/moved') res.writeHead(302, { location: '/there' }).end()
      else res.writeHead(req.url === '/missing' ? 404 : 200, { 'content-type': 'text/plain', 'set-cookie': 'a=b' }).end(`hello from ${req.url}`)
    })
  })
  await new Promise<void>((resolve) => app.listen(0, '127.0.0.1', resolve))
  const { port } = app.address() as AddressInfo
  const dialer = new LocalDialer()
  dialer.connect('n1', commandNode)
  try {
    await using h = await startHarness({ podStreams: createPodStreams({ dialer }) })
    await h.call('POST', `${NS}/serviceaccounts`, { metadata: { name: 'default' } })
    const made = await h.call<Obj>('POST', `${NS}/pods`, { metadata: { name: 'web', labels: { app: 'web' } }, spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'x', ports: [{ name: 'http', containerPort: port }] }] } })
    assert.equal(made.status, 201)
    await h.call('POST', `${NS}/services`, { metadata: { name: 'svc' }, spec: { selector: { app: 'web' }, ports: [{ name: 'main', port: 80, targetPort: 'http' }] } })
    const get = await h.call<string>('GET', `${NS}/pods/web/proxy/a/b?x=1`, undefined, { headers: { authorization: 'Bearer secret' } })
    assert.deepEqual([get.status, get.body, get.headers['set-cookie']], [200, 'hello from /a/b?x=1', undefined])
    const post = await h.call<string>('POST', `${NS}/pods/http:web:${port}/proxy/in`, '{"k":1}', { headers: { 'content-type': 'application/json' } })
    assert.equal(post.status, 200)
    assert.deepEqual(seen.map((s) => [s.method, s.url, s.authorization, s.body]), [['GET', '/a/b?x=1', undefined, ''], ['POST', '/in', undefined, '{"k":1}']])
    assert.equal((await h.call('GET', `${NS}/pods/web/proxy/missing`)).status, 404)
    assert.equal((await h.call('GET', `${NS}/pods/web/proxy/moved`)).headers['location'], `${NS}/pods/web/proxy/there`)
    const early = await h.call<Obj & { message: string }>('GET', `${NS}/services/svc/proxy/s`)
    assert.deepEqual([early.status, early.body.message], [503, 'no endpoints available for service "svc"'])
    await h.call('PATCH', `${NS}/pods/web/status`, { status: { conditions: [{ type: 'Ready', status: 'True' }] } }, { headers: { 'content-type': 'application/merge-patch+json' } })
    for (const name of ['svc', 'svc:main', 'svc:80']) assert.equal((await h.call<string>('GET', `${NS}/services/${name}/proxy/s`)).body, 'hello from /s', name)
    assert.equal((await h.call('GET', `${NS}/services/svc:other/proxy/s`)).status, 400)
    assert.equal((await h.call<string>('GET', `${NS}/pods/web/proxy/a/`)).body, 'hello from /a/', 'the last slash is the page\'s own')
    assert.equal((await h.call<string>('GET', `${NS}/pods/web/proxy/`)).body, 'hello from /')
    const bare = await h.call('GET', `${NS}/pods/web/proxy?x=1`)
    assert.deepEqual([bare.status, bare.headers['location']], [301, `${NS}/pods/web/proxy/?x=1`])
    assert.equal((await h.call('GET', `${NS}/pods/gone/proxy/`)).status, 404)
    assert.equal((await h.call('GET', `${NS}/pods/web/proxy/`, undefined, { user: { name: 'eve', groups: ADMIN.groups.slice(1) } })).status, 403)
  } finally {
    setLogSink(former)
    app.closeAllConnections()
    await new Promise((resolve) => app.close(resolve))
  }
})

test('the ports of a node are reached by its name and number; links and redirects lead through the proxy again', async () => {
  const former = setLogSink(() => undefined)
  const app = createServer((req, res) => {
    if (req.url === '/moved') return void res.writeHead(302, { location: `http://${req.headers.host}/there?x=1`, 'content-type': 'text/html' }).end('<a href="/there">there</a>')
    if (req.url === '/away') return void res.writeHead(302, { location: 'https://elsewhere/x' }).end()
    res.writeHead(200, { 'content-type': req.url === '/plain' ? 'text/plain' : 'text/html; charset=utf-8' }).end(`<a href="/next">${req.method} ${req.url}</a>`)
  })
  await new Promise<void>((resolve) => app.listen(0, '127.0.0.1', resolve))
  const { port } = app.address() as AddressInfo
  const dialer = new LocalDialer()
  dialer.connect('n1', commandNode)
  try {
    await using h = await startHarness({ podStreams: createPodStreams({ dialer }) })
    await h.call('POST', '/api/v1/nodes', { metadata: { name: 'n1' } })
    const base = `/api/v1/nodes/n1:${port}/proxy`
    const page = await h.call<string>('GET', `${base}/a?b=c`)
    assert.deepEqual([page.status, page.body], [200, `<a href="${base}/next">GET /a?b=c</a>`])
    assert.equal((await h.call<string>('POST', `${base}/in`, '{}', { headers: { 'content-type': 'application/json' } })).body, `<a href="${base}/next">POST /in</a>`)
    assert.equal((await h.call<string>('GET', `${base}/plain`)).body, '<a href="/next">GET /plain</a>', 'only pages are changed')
    const moved = await h.call<string>('GET', `${base}/moved`)
    assert.deepEqual([moved.status, moved.headers['location'], moved.body], [302, `${base}/there?x=1`, '<a href="/there">there</a>'])
    assert.equal((await h.call('GET', `${base}/away`)).headers['location'], 'https://elsewhere/x')
    assert.equal((await h.call('GET', `${base}`)).status, 301)
    assert.equal((await h.call('GET', `/api/v1/nodes/n2:${port}/proxy/`)).status, 404)
    assert.equal((await h.call('GET', '/api/v1/nodes/n1:http/proxy/')).status, 400)
    assert.equal((await h.call('GET', '/api/v1/nodes/n1:10250/proxy/nothing')).status, 400, "the agent's port has the agent's pages only")
    assert.equal((await h.call('POST', '/api/v1/nodes/n1/proxy/metrics', {})).status, 405)
    assert.equal((await h.call('GET', `${base}/a`, undefined, { user: { name: 'eve', groups: ADMIN.groups.slice(1) } })).status, 403)
  } finally {
    setLogSink(former)
    app.closeAllConnections()
    await new Promise((resolve) => app.close(resolve))
  }
})

test('a WebSocket of a pod is reached through the proxy, without the token that the browser offers as a subprotocol', { timeout: 60_000 }, async () => {
  const former = setLogSink(() => undefined)
  const app = createServer((_req, res) => void res.writeHead(418, { 'content-type': 'text/plain' }).end('no upgrade here'))
  const seen: (string | undefined)[] = []
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'chat' })
  app.on('upgrade', (req, socket, head) => {
    if (req.url !== '/ws/') return void socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 5\r\n\r\nnever')
    seen.push(req.headers['sec-websocket-protocol'], req.headers.authorization)
    sockets.handleUpgrade(req, socket, head, (ws) => ws.on('message', (data: Buffer) => ws.send(`heard ${data.toString()}`)))
  })
  await new Promise<void>((resolve) => app.listen(0, '127.0.0.1', resolve))
  const { port } = app.address() as AddressInfo
  const dialer = new LocalDialer()
  dialer.connect('n1', commandNode)
  try {
    await using server = await startTls({ podStreams: createPodStreams({ dialer }) })
    const { call } = server.harness
    await call('POST', `${NS}/serviceaccounts`, { metadata: { name: 'default' } })
    await call('POST', `${NS}/pods`, { metadata: { name: 'web' }, spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'x', ports: [{ containerPort: port }] }] } })
    const admin = await server.client('admin', ['system:masters'])
    const nobody = await server.client('eve')
    const open = (path: string, who = admin): WebSocket =>
      new WebSocket(`wss://127.0.0.1:${server.listener.port}${NS}/pods/${path}`, who === admin ? ['chat', 'base64url.bearer.authorization.k8s.io.c2VjcmV0'] : ['chat'], { ca: server.ca.certPem, cert: who.certPem, key: who.keyPem })
    const socket = open('web/proxy/ws/')
    const words = await new Promise<string>((resolve, reject) => {
      socket.on('open', () => socket.send('hello'))
      socket.on('message', (data: Buffer) => resolve(data.toString()))
      socket.on('error', reject)
    })
    assert.deepEqual([words, socket.protocol, seen], ['heard hello', 'chat', ['chat', undefined]])
    const gone = new Promise((resolve) => socket.once('close', resolve))
    sockets.clients.forEach((c) => c.close(1000))
    await gone
    const refused = (path: string, who = admin): Promise<string> => new Promise((resolve) => open(path, who).on('error', (e) => resolve(e.message)))
    assert.match(await refused('web/proxy/other'), /403/, 'what the pod answers')
    assert.match(await refused('none/proxy/ws/'), /404/)
    assert.match(await refused('web/proxy/ws/', nobody), /403/)
    assert.equal(seen.length, 2, 'who may not does not reach it')
  } finally {
    setLogSink(former)
    app.closeAllConnections()
    await new Promise((resolve) => app.close(resolve))
  }
})
