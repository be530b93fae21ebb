import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, request } from 'node:https'
import { after, before, test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { gunzipSync, gzipSync } from 'node:zlib'
import { load } from 'js-yaml'
import { WebSocket } from 'ws'
import { setLogSink } from '../base/log.ts'
import type { KeyedCert } from '../base/pki.ts'
import { startTls, type TlsServer } from '../../test/kit/api-tls.ts'

const CM = '/api/v1/namespaces/default/configmaps'
let server: TlsServer
let admin: Agent
const agents: Agent[] = []
const former = setLogSink(() => undefined)
const agentOf = ({ certPem, keyPem }: KeyedCert): Agent => {
  const agent = new Agent({ keepAlive: true, ca: server.ca.certPem, cert: certPem, key: keyPem })
  agents.push(agent)
  return agent
}
before(async () => {
  server = await startTls()
  admin = agentOf(await server.client('admin', ['system:masters']))
})
after(async () => {
  for (const agent of agents) agent.destroy()
  await server[Symbol.asyncDispose]()
  setLogSink(former)
})

type Result = { status: number; bytes: Buffer; text: string; headers: Record<string, string | string[] | undefined> }
function call(agent: Agent, method: string, path: string, body?: string | Buffer, headers: Record<string, string> = {}): Promise<Result> {
  return new Promise((resolve, reject) => {
    const req = request({ host: '127.0.0.1', port: server.listener.port, path, method, headers, agent }, (res) => {
      const chunks: Buffer[] = []
      res.on('data', (c: Buffer) => chunks.push(c)).on('end', () => {
        const bytes = Buffer.concat(chunks)
        resolve({ status: res.statusCode ?? 0, bytes, text: bytes.toString(), headers: res.headers })
      })
    })
    req.on('error', reject)
    req.end(body)
  })
}
const json = { 'content-type': 'application/json' }

/** Keeps 150 lists under way at once, in a thread of its own, and tells what became of them. */
const FLOOD = `
const { Agent, request } = require('node:https')
const { parentPort, workerData: { certPem, keyPem, ca, port, path } } = require('node:worker_threads')
const agent = new Agent({ keepAlive: true, ca, cert: certPem, key: keyPem })
const counts = {}
const count = (what) => (counts[what] = (counts[what] ?? 0) + 1)
const go = () => request({ host: '127.0.0.1', port, path, agent }, (res) => {
  count(res.statusCode)
  if (res.headers['retry-after']) count('retry-after ' + res.headers['retry-after'])
  res.resume().on('end', () => (res.statusCode === 429 ? setTimeout(go, 100) : go()))
}).on('error', () => undefined).end()
for (let i = 0; i < 150; i++) go()
parentPort.on('message', () => parentPort.postMessage(counts))
`

test('a flood of lists by one user keeps neither nodes nor other users waiting, and is refused beyond its queue', { timeout: 60_000 }, async () => {
  const { harness } = server
  for (let i = 0; i < 100; i++) await harness.call('POST', '/api/v1/namespaces/default/configmaps', { metadata: { name: `big-${i}` }, data: { text: 'x'.repeat(4_000) } })
  await harness.call('POST', '/api/v1/nodes', { metadata: { name: 'n1' } })
  const subjects = ['flood', 'alice'].map((name) => ({ kind: 'User', name, apiGroup: 'rbac.authorization.k8s.io' }))
  await harness.call('POST', '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', { metadata: { name: 'all' }, roleRef: { kind: 'ClusterRole', name: 'cluster-admin', apiGroup: 'rbac.authorization.k8s.io' }, subjects })
  const [flood, alice, node] = await Promise.all([server.client('flood'), server.client('alice'), server.client('system:node:n1', ['system:nodes'])])
  const [asAlice, asNode] = [agentOf(alice), agentOf(node)]
  await using worker = new Worker(FLOOD, { eval: true, workerData: { ...flood, ca: server.ca.certPem, port: server.listener.port, path: CM } })
  const counts = async (): Promise<Record<string, number>> => {
    worker.postMessage('counts')
    return ((await once(worker, 'message')) as [Record<string, number>])[0]
  }
  // The flood goes on for as long as this takes: until it has been refused, the others are served, and it has been refused more.
  while (((await counts())['429'] ?? 0) === 0);
  const before = await counts()
  for (let i = 0; i < 5; i++) {
    assert.equal((await call(asNode, 'GET', '/api/v1/nodes/n1')).status, 200)
    assert.equal((await call(asAlice, 'GET', `${CM}/big-1`)).status, 200)
  }
  let after = await counts()
  while ((after['429'] ?? 0) <= (before['429'] ?? 0)) after = await counts()
  assert.deepEqual(Object.keys(after).sort(), ['200', '429', 'retry-after 1'])
})

test('bodies may be gzip\'d; one that would burst the limit is refused before it does', async () => {
  const gz = { ...json, 'content-encoding': 'gzip' }
  assert.equal((await call(admin, 'POST', CM, gzipSync(JSON.stringify({ metadata: { name: 'zipped' } })), gz)).status, 201)
  const bomb = gzipSync(Buffer.alloc(64 << 20))
  assert.ok(bomb.length < 3 << 20)
  assert.equal((await call(admin, 'POST', CM, bomb, gz)).status, 413)
  assert.equal((await call(admin, 'POST', CM, 'plain', gz)).status, 400)
  assert.equal((await call(admin, 'POST', CM, '{}', { ...json, 'content-encoding': 'br' })).status, 415)
})

test('answers over 128 KiB are gzip\'d for who takes that, smaller ones are not', async () => {
  const accept = { 'accept-encoding': 'gzip' }
  await server.harness.call('POST', CM, { metadata: { name: 'wide' }, data: { text: 'y'.repeat(140 << 10) } })
  const wide = await call(admin, 'GET', `${CM}/wide`, undefined, accept)
  assert.equal(wide.headers['content-encoding'], 'gzip')
  assert.equal((JSON.parse(gunzipSync(wide.bytes).toString()) as { data: { text: string } }).data.text.length, 140 << 10)
  const small = await call(admin, 'GET', `${CM}/zipped`, undefined, accept)
  assert.deepEqual([small.headers['content-encoding'], small.headers['content-type']], [undefined, 'application/json'])
})

test('people get indented JSON, who prefers YAML gets that, and a HEAD gets no body', async () => {
  const path = `${CM}/zipped`
  assert.match((await call(admin, 'GET', path, undefined, { 'user-agent': 'curl/8.0' })).text, /^\{\n {2}"kind": "ConfigMap",\n/)
  assert.match((await call(admin, 'GET', `${path}?pretty=false`, undefined, { 'user-agent': 'curl/8.0' })).text, /^\{"kind":"ConfigMap",/)
  assert.match((await call(admin, 'GET', `${path}?pretty=1`)).text, /\n$/)
  const yaml = await call(admin, 'GET', path, undefined, { accept: 'application/yaml' })
  assert.deepEqual([yaml.headers['content-type'], (load(yaml.text) as { metadata: { name: string } }).metadata.name], ['application/yaml', 'zipped'])
  const head = await call(admin, 'HEAD', path)
  assert.deepEqual([head.status, head.text, Number(head.headers['content-length']) > 0], [200, '', true])
  assert.equal((await call(admin, 'HEAD', `${CM}?watch=1`)).status, 200)
})

test('methods and paths that stand for no verb are 405 and 404, whoever asks', async () => {
  for (const [method, path] of [['OPTIONS', CM], ['TRACE', CM], ['PUT', CM], ['PATCH', CM], ['POST', `${CM}/zipped`], ['OPTIONS', '/version']] as const) {
    const answer = await call(admin, method, path, method === 'PUT' || method === 'POST' || method === 'PATCH' ? '{}' : undefined, json)
    assert.equal(answer.status, 405, `${method} ${path}`)
  }
  assert.equal((await call(admin, 'GET', '/api/v1/boats')).status, 404)
})

test('a watch over a WebSocket gives each event as one text, and ends with the server', { timeout: 20_000 }, async () => {
  const { certPem, keyPem } = await server.client('admin', ['system:masters'])
  const ws = new WebSocket(`wss://127.0.0.1:${server.listener.port}${CM}?watch=1&fieldSelector=metadata.name%3Dsocket&allowWatchBookmarks=true`, { ca: server.ca.certPem, cert: certPem, key: keyPem })
  const next = (): Promise<{ type: string; object: { metadata: { name: string } } }> => new Promise((resolve) => ws.once('message', (data: Buffer, binary) => resolve(binary ? undefined as never : JSON.parse(data.toString()))))
  await new Promise((resolve, reject) => ws.once('open', resolve).once('error', reject))
  const added = next()
  await server.harness.call('POST', CM, { metadata: { name: 'socket' } })
  assert.equal((await added).object.metadata.name, 'socket')
  const deleted = next()
  await server.harness.call('DELETE', `${CM}/socket`)
  assert.equal((await deleted).type, 'DELETED')
  const refused = new WebSocket(`wss://127.0.0.1:${server.listener.port}${CM}?watch=1&limit=x`, { ca: server.ca.certPem, cert: certPem, key: keyPem })
  assert.equal((await new Promise<Error>((resolve) => refused.once('error', resolve))).message, 'Unexpected server response: 400')
  const closed = new Promise((resolve) => ws.once('close', resolve))
  const plain = call(admin, 'GET', `${CM}?watch=1&resourceVersion=0&fieldSelector=metadata.name%3Dnone`)
  await call(admin, 'GET', '/version')
  await server.harness.api.close()
  await closed
  assert.equal((await plain).status, 200)
})
