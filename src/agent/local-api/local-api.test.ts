import assert from 'node:assert/strict'
import { generateKeyPairSync, sign } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, request as httpRequest, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, describe, test } from 'node:test'
import type { KubeObject } from '../../api/meta.ts'
import { systemClock } from '../../base/clock.ts'
import { AppError } from '../../base/errors.ts'
import type { Cache } from '../../client/mod.ts'
import { CONFIG_MAPS, PODS } from '../refs.ts'
import { Access } from './access.ts'
import { LOCAL_REVISION, type Known } from './answers.ts'
import { Documents } from './documents.ts'
import { LocalApi, type Forward } from './local-api.ts'
import { Remembered } from './remembered.ts'

const ISSUER = 'https://issuer'
const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const b64 = (o: object): string => Buffer.from(JSON.stringify(o)).toString('base64url')
const tokenOf = (account: string): string => {
  const signed = `${b64({ alg: 'ES256' })}.${b64({ iss: ISSUER, aud: [ISSUER], 'kubernetes.io': { namespace: 'a', serviceaccount: { name: account }, pod: { uid: 'u1' } } })}`
  return `${signed}.${sign('sha256', Buffer.from(signed), { key: pair.privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
}

/** A cache whose content the test sets. */
class Held implements Pick<Cache<KubeObject>, 'list' | 'onChange' | 'isSynced'> {
  isSynced = true
  readonly objects = new Map<string, KubeObject>()
  readonly #listeners = new Set<(now: KubeObject | undefined, old: KubeObject | undefined) => void>()
  list = (): KubeObject[] => [...this.objects.values()]
  onChange(fn: (now: KubeObject | undefined, old: KubeObject | undefined) => void): () => void {
    this.#listeners.add(fn)
    for (const o of this.objects.values()) fn(o, undefined)
    return () => void this.#listeners.delete(fn)
  }
  set(name: string, object: KubeObject | undefined): void {
    const old = this.objects.get(name)
    if (object) this.objects.set(name, object)
    else this.objects.delete(name)
    for (const fn of this.#listeners) fn(object, old)
  }
}

const pod = (name: string, labels: Record<string, string> = {}): KubeObject => ({ metadata: { name, namespace: 'a', uid: `uid-${name}`, resourceVersion: '7', labels } })

describe('the local API', () => {
  let dir: string
  let server: Server
  let api: LocalApi
  let online = true
  let forward: Forward
  const sent: { method: string; path: string; headers: Readonly<Record<string, string>>; body: string }[] = []
  const pods = new Held()
  const one = new Held()

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'skerry-local-api-'))
    for (const [name, held] of [['p1', pods], ['settings', one]] as const) held.set(name, pod(name, { app: 'x' }))
    const known = (): Known[] => [
      { ref: PODS, query: { fieldSelector: 'spec.nodeName=n1' }, cache: pods as unknown as Cache<KubeObject> },
      { ref: CONFIG_MAPS, query: { namespace: 'a', fieldSelector: 'metadata.name=settings' }, cache: one as unknown as Cache<KubeObject> },
    ]
    api = new LocalApi({
      nodeName: 'n1',
      clock: systemClock,
      forward: (r) => forward(r),
      online: () => online,
      known,
      keys: () => ({ issuer: ISSUER, keys: [pair.publicKey.export({ format: 'jwk' })] }),
      podHere: (uid) => uid === 'u1',
      access: new Access({
        directory: join(dir, 'access'),
        clock: systemClock,
        ask: async (_token, ns) => (ns === 'a' ? [{ verbs: ['get', 'list', 'watch'], apiGroups: [''], resources: ['pods', 'configmaps'] }] : []),
      }),
      documents: new Documents(join(dir, 'documents')),
      remembered: new Remembered({ directory: join(dir, 'answers'), clock: systemClock }),
      now: (_ref, o) => (o.metadata?.name === 'p1' ? ({ ...o, status: { phase: 'Running' } } as KubeObject) : o),
    })
    server = createServer((req, res) => void api.handle(req, res))
    await once(server.listen(0, '127.0.0.1'), 'listening')
  })
  after(async () => {
    api.close()
    server.closeAllConnections()
    server.close()
    await rm(dir, { recursive: true })
  })
  beforeEach(() => {
    sent.length = 0
    online = true
    forward = async ({ method, path, headers, body }) => {
      let text = ''
      if (body) for await (const chunk of body) text += Buffer.from(chunk).toString()
      sent.push({ method, path, headers, body: text })
      return { status: 200, headers: { 'content-type': 'application/json' }, body: stream(`{"from":"server","path":"${path}"}`) }
    }
  })

  const call = async (path: string, options: { method?: string; token?: string; body?: string; headers?: Record<string, string> } = {}): Promise<{ status: number; body: Record<string, unknown>; warning: string | undefined }> => {
    const res = await open(path, options)
    let text = ''
    for await (const chunk of res) text += String(chunk)
    return { status: res.statusCode ?? 0, body: JSON.parse(text) as Record<string, unknown>, warning: res.headers['warning'] as string | undefined }
  }
  const open = (path: string, { method = 'GET', token = tokenOf('app'), body, headers = {} }: { method?: string; token?: string; body?: string; headers?: Record<string, string> } = {}): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const authorization = token === '' ? {} : { authorization: `Bearer ${token}` }
      const req = httpRequest({ port: (server.address() as AddressInfo).port, path, method, agent: false, headers: { ...authorization, ...headers, ...(body === undefined ? {} : { 'content-length': String(body.length) }) } }, resolve)
      req.once('error', reject)
      req.end(body)
    })
  const names = (body: Record<string, unknown>): unknown[] => (body['items'] as KubeObject[]).map((o) => o.metadata?.name)

  test('with the server in reach all goes to it, with the caller\'s token and nothing of the node', async () => {
    const token = tokenOf('app')
    const got = await call('/api/v1/namespaces/a/pods?limit=5', { method: 'POST', token, body: '{"x":1}', headers: { 'content-type': 'application/json', 'x-remote-user': 'system:admin' } })
    assert.equal(got.body['from'], 'server')
    assert.equal(sent[0]?.path, '/api/v1/namespaces/a/pods?limit=5')
    assert.equal(sent[0]?.body, '{"x":1}')
    assert.equal(sent[0]?.headers['authorization'], `Bearer ${token}`)
    assert.equal(sent[0]?.headers['x-remote-user'], undefined)
  })

  test('without a token nothing is forwarded and nothing answered, whatever the state', async () => {
    for (const state of [true, false]) {
      online = state
      const got = await call('/api/v1/pods', { token: '' })
      assert.equal(got.status, 401)
      assert.equal(got.body['reason'], 'Unauthorized')
    }
    assert.equal(sent.length, 0)
  })

  test('cut off: a list is of what the node knows, says so, and has the newest status', async () => {
    await call('/api/v1/namespaces/a/pods') // its rules are learnt
    online = false
    const got = await eventually(async () => {
      const r = await call('/api/v1/namespaces/a/pods?labelSelector=app%3Dx')
      return r.status === 200 && r
    })
    assert.equal(got.body['kind'], 'PodList')
    assert.equal((got.body['metadata'] as { resourceVersion: string }).resourceVersion, LOCAL_REVISION)
    assert.deepEqual(names(got.body), ['p1'])
    assert.deepEqual((got.body['items'] as { status?: object }[])[0]?.status, { phase: 'Running' })
    assert.match(got.warning ?? '', /what node n1 knows/)
    const exact = await call('/api/v1/namespaces/a/pods?fieldSelector=spec.nodeName%3Dn1')
    assert.equal(exact.warning, undefined, 'the whole truth is told without a warning')
    assert.deepEqual(names((await call('/api/v1/namespaces/a/pods?labelSelector=app%3Dy')).body), [])
  })

  test('cut off: a get says what is there, what is not, and what cannot be known', async () => {
    online = false
    const found = await call('/api/v1/namespaces/a/configmaps/settings')
    assert.deepEqual([found.status, found.body['kind'], found.body['apiVersion']], [200, 'ConfigMap', 'v1'])
    const unknown = await call('/api/v1/namespaces/a/configmaps/other')
    assert.deepEqual([unknown.status, unknown.body['reason']], [503, 'ServiceUnavailable'])
    one.set('settings', undefined)
    assert.equal((await call('/api/v1/namespaces/a/configmaps/settings')).status, 404)
    one.set('settings', pod('settings'))
  })

  test('cut off: rights are as the server last told them; an account it never told of is not served', async () => {
    online = false
    assert.equal((await call('/api/v1/namespaces/a/secrets')).status, 403)
    assert.equal((await call('/api/v1/namespaces/b/pods')).status, 403)
    assert.equal((await call('/api/v1/pods')).status, 403)
    assert.equal((await call('/api/v1/namespaces/a/pods', { token: tokenOf('stranger') })).status, 503)
    assert.equal((await call('/api/v1/namespaces/a/pods', { token: 'not.a.token' })).status, 401)
  })

  test('cut off: writes and what only the server has are refused with the reason', async () => {
    online = false
    for (const [method, path] of [['POST', '/api/v1/namespaces/a/pods'], ['DELETE', '/api/v1/namespaces/a/pods/p1'], ['GET', '/api/v1/namespaces/a/pods/p1/log'], ['GET', '/apis']] as const) {
      const got = await call(path, { method, ...(method === 'POST' ? { body: '{}' } : {}) })
      assert.deepEqual([got.status, got.body['kind']], [503, 'Status'], path)
      assert.match(String(got.body['message']), /node n1 is cut off/)
    }
  })

  test('a server that turns out to be away: reads are answered here, writes may have happened', async () => {
    forward = async () => {
      throw new AppError('unavailable', 'the connection was lost')
    }
    assert.deepEqual(names((await call('/api/v1/namespaces/a/pods')).body), ['p1'])
    const write = await call('/api/v1/namespaces/a/pods', { method: 'POST', body: '{}' })
    assert.equal(write.status, 503)
    assert.match(String(write.body['message']), /may or may not have been carried out/)
  })

  test('discovery seen online is known cut off', async () => {
    forward = async () => ({ status: 200, headers: { 'content-type': 'application/json' }, body: stream('{"kind":"APIGroupList"}') })
    await call('/apis')
    online = false
    const got = await eventually(async () => {
      const r = await call('/apis')
      return r.status === 200 && r
    })
    assert.deepEqual(got.body, { kind: 'APIGroupList' })
  })

  test('cut off: metadata alone for who asks for that; a Table that nothing can be made of is as the server told it', async () => {
    const as = (kind: string): { headers: Record<string, string> } => ({ headers: { accept: `application/json;as=${kind};g=meta.k8s.io;v=v1,application/json` } })
    const table = { kind: 'Table', columnDefinitions: [{ name: 'Name' }], rows: [{ cells: ['far'] }] }
    forward = async () => ({ status: 200, headers: { 'content-type': 'application/json' }, body: stream(JSON.stringify({ ...table, metadata: { resourceVersion: '5' } })) })
    await call('/api/v1/namespaces/a/configmaps?labelSelector=far%3Dyes', as('Table'))
    online = false
    const list = await call('/api/v1/namespaces/a/pods', as('PartialObjectMetadataList'))
    assert.deepEqual([list.body['kind'], list.body['apiVersion']], ['PartialObjectMetadataList', 'meta.k8s.io/v1'])
    assert.deepEqual((list.body['items'] as KubeObject[]).map((o) => [o.kind, o.metadata?.name, Object.keys(o)]), [['PartialObjectMetadata', 'p1', ['kind', 'apiVersion', 'metadata']]])
    assert.equal((await call('/api/v1/namespaces/a/configmaps/settings', as('PartialObjectMetadata'))).body['kind'], 'PartialObjectMetadata')
    const told = await call('/api/v1/namespaces/a/configmaps?labelSelector=far%3Dyes&limit=500', as('Table'))
    assert.deepEqual(told.body, { ...table, metadata: { resourceVersion: LOCAL_REVISION } })
    assert.match(told.warning ?? '', /the server is away: this is what it said at 20/)
    assert.deepEqual(names((await call('/api/v1/namespaces/a/configmaps?labelSelector=far%3Dyes')).body), [], 'the objects themselves are not known from it')
  })

  test('a list made here is not gone on from at the server', async () => {
    const got = await call(`/api/v1/namespaces/a/pods?watch=1&resourceVersion=${LOCAL_REVISION}`)
    assert.deepEqual([got.status, got.body['reason']], [410, 'Expired'])
    assert.equal(sent.length, 0)
  })

  test('a watch: what there is, what changes, and its end when the server is back', async () => {
    online = false
    const res = await open('/api/v1/namespaces/a/pods?watch=true')
    let text = ''
    res.on('data', (d: Buffer) => (text += d.toString()))
    const events = (): { type: string; object: KubeObject & { code?: number } }[] => text.split('\n').filter((l) => l !== '').map((l) => JSON.parse(l) as { type: string; object: KubeObject })
    await eventually(async () => events().length === 1)
    pods.set('p2', pod('p2'))
    pods.set('p2', pod('p2', { b: 'c' }))
    pods.set('p2', undefined)
    await eventually(async () => events().length === 4)
    assert.deepEqual(events().map((e) => `${e.type} ${e.object.metadata?.name}`), ['ADDED p1', 'ADDED p2', 'MODIFIED p2', 'DELETED p2'])
    online = true
    api.linkBack()
    await once(res, 'end')
    assert.equal(events().at(-1)?.type, 'ERROR')
    assert.equal(events().at(-1)?.object.code, 410)
  })

  test('a watch from the server\'s revision is silent here and simply ends, so that nothing is missed or repeated', async () => {
    online = false
    const res = await open('/api/v1/namespaces/a/pods?watch=true&resourceVersion=123')
    let text = ''
    res.on('data', (d: Buffer) => (text += d.toString()))
    api.linkBack()
    await once(res, 'end')
    assert.equal(text, '')
  })
})

async function* stream(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text)
}

async function eventually<T>(check: () => Promise<T | false>): Promise<T> {
  for (let i = 0; i < 200; i++) {
    const value = await check()
    if (value !== false) return value
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  throw new Error('not within a second')
}
