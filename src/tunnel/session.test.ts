import assert from 'node:assert/strict'
import { createServer as createHttp2, type Http2Server } from 'node:http2'
import { before, test } from 'node:test'
import { gzipSync, createGzip, constants } from 'node:zlib'
import { FakeClock, systemClock } from '../base/clock.ts'
import { AppError } from '../base/errors.ts'
import { setLogSink } from '../base/log.ts'
import { createNodeSession, type NodeSession, type SessionResponse } from './session.ts'
import { frontDoor, H2, Relay, testPki, until, type FrontDoor, type TestPki } from '../../test/kit/tunnel.ts'

setLogSink(() => undefined)
let pki: TestPki
before(async () => {
  pki = await testPki()
})

const text = async (r: SessionResponse): Promise<string> => {
  const parts: Buffer[] = []
  for await (const c of r.body) parts.push(c)
  return Buffer.concat(parts).toString()
}

interface Api extends AsyncDisposable {
  readonly door: FrontDoor
  connections: number
  /** Requests whose stream was cut by the client. */
  cancelled: number
}

async function api(): Promise<Api> {
  const h2: Http2Server = createHttp2()
  const self = { connections: 0, cancelled: 0 }
  h2.on('session', () => self.connections++)
  h2.on('request', (req, res) => {
    req.stream.on('aborted', () => self.cancelled++).on('error', () => undefined)
    const path = req.url.split('?')[0]
    if (path === '/echo') req.pipe(res as unknown as NodeJS.WritableStream)
    else if (path === '/gzip') {
      res.writeHead(200, { 'content-encoding': 'gzip', 'x-accept': String(req.headers['accept-encoding']) })
      res.end(gzipSync('packed'))
    } else if (path === '/watch') {
      res.writeHead(200, { 'content-encoding': 'gzip' })
      const zip = createGzip()
      zip.pipe(res as unknown as NodeJS.WritableStream)
      zip.write('event 1\n')
      zip.flush(constants.Z_SYNC_FLUSH)
    } else if (path === '/cut') {
      res.writeHead(200)
      res.write('half')
      setTimeout(() => req.stream.session?.destroy(), 20)
    } else if (path === '/reset') {
      res.writeHead(200)
      res.write('half')
      setTimeout(() => req.stream.close(2), 20)
    } else if (path !== '/hang') {
      res.writeHead(404, { 'x-path': req.url })
      res.end('nothing')
    }
  })
  const door = await frontDoor(pki, () => undefined, (s) => void h2.emit('connection', s))
  return Object.assign(self, { door, [Symbol.asyncDispose]: () => door.close() })
}

async function session(url: string, node = 'a'): Promise<NodeSession> {
  const credentials = await pki.client(node)
  return createNodeSession({ servers: () => [url], credentials: () => credentials, alpn: H2, clock: systemClock })
}

test('requests share one connection, carry bodies both ways and unpack answers', async () => {
  await using a = await api()
  await using s = await session(a.door.url)
  const [one, two, zipped] = await Promise.all([
    s.request({ method: 'POST', path: '/echo', body: 'hello' }),
    s.request({ method: 'GET', path: '/none?x=1', headers: { accept: 'x' } }),
    s.request({ method: 'GET', path: '/gzip' }),
  ])
  assert.equal(await text(one), 'hello')
  assert.deepEqual([two.status, two.headers['x-path'], await text(two)], [404, '/none?x=1', 'nothing'])
  assert.equal(await text(zipped), 'packed')
  assert.deepEqual([zipped.headers['content-encoding'], zipped.headers['x-accept']], [undefined, 'gzip, deflate'])
  async function* big(): AsyncGenerator<Buffer> {
    for (let i = 0; i < 64; i++) yield Buffer.alloc(100_000, i)
  }
  assert.equal((await text(await s.request({ method: 'PUT', path: '/echo', body: big() }))).length, 6_400_000)
  assert.equal(a.connections, 1)
})

test('a packed watch gives each event as it comes, and leaving it ends the work on the server', async () => {
  await using a = await api()
  await using s = await session(a.door.url)
  const watch = await s.request({ method: 'GET', path: '/watch' })
  for await (const c of watch.body) {
    assert.equal(c.toString(), 'event 1\n')
    break
  }
  await until(() => a.cancelled === 1)
  const unread = await s.request({ method: 'GET', path: '/watch' })
  await unread.body[Symbol.asyncIterator]().return?.()
  await until(() => a.cancelled === 2)
  const abort = new AbortController()
  const hanging = s.request({ method: 'GET', path: '/hang', signal: abort.signal })
  setTimeout(() => abort.abort(), 20)
  await assert.rejects(hanging, { name: 'AbortError' })
  await until(() => a.cancelled === 3)
  const aborted = new AbortController()
  const open = await s.request({ method: 'GET', path: '/watch', signal: aborted.signal })
  setTimeout(() => aborted.abort(), 20)
  await assert.rejects(text(open), { name: 'AbortError' })
})

test('a cut answer is an error, never a short success; the next request dials anew', async () => {
  await using a = await api()
  await using s = await session(a.door.url)
  for (const path of ['/reset', '/cut']) {
    const r = await s.request({ method: 'GET', path })
    await assert.rejects(text(r), (e) => e instanceof AppError && e.code === 'unavailable', path)
  }
  assert.equal(await text(await s.request({ method: 'POST', path: '/echo', body: 'again' })), 'again')
  assert.equal(a.connections, 2)
})

test('a server that is away fails requests at once until the next dial is due, and is found again', async () => {
  await using a = await api()
  await using relay = await Relay.create(a.door.port)
  await using s = await session(relay.url)
  relay.cut()
  const errors = await Promise.allSettled(Array.from({ length: 20 }, () => s.request({ method: 'GET', path: '/' })))
  assert.ok(errors.every((e) => e.status === 'rejected' && (e.reason as AppError).code === 'unavailable'))
  relay.pass()
  const started = performance.now()
  for (;;) {
    try {
      assert.equal((await s.request({ method: 'GET', path: '/' })).status, 404)
      break
    } catch {
      assert.ok(performance.now() - started < 15_000)
      await new Promise((r) => setTimeout(r, 20))
    }
  }
  const other = await testPki()
  const credentials = { ...(await pki.client('a')), caPem: other.ca.certPem }
  await using wrong = createNodeSession({ servers: () => [a.door.url], credentials: () => credentials, alpn: H2, clock: systemClock })
  await assert.rejects(wrong.request({ method: 'GET', path: '/' }), { code: 'unauthorized' })
})

test('a half-open connection is found by the check and by the slow keepalive, and its requests fail', async () => {
  await using a = await api()
  await using relay = await Relay.create(a.door.port)
  const clock = new FakeClock()
  const credentials = await pki.client('a')
  await using s = createNodeSession({ servers: () => [relay.url], credentials: () => credentials, alpn: H2, clock })
  for (const find of [async () => s.check(), async () => clock.advance(110_000)]) {
    relay.pass()
    const watch = s.request({ method: 'GET', path: '/hang' })
    const failed = assert.rejects(watch, { code: 'unavailable' })
    await until(() => relay.bytes > 3_000)
    await s.request({ method: 'GET', path: '/' }).then(text)
    relay.stall()
    await find()
    await new Promise((r) => setTimeout(r, 30))
    await clock.advance(8_001)
    await failed
    relay.breakAll()
  }
})

test('a request that gets no answer finds a half-open connection within 11 s and says so', async () => {
  await using a = await api()
  await using relay = await Relay.create(a.door.port)
  const clock = new FakeClock()
  const credentials = await pki.client('a')
  let silent = 0
  await using s = createNodeSession({ servers: () => [relay.url], credentials: () => credentials, alpn: H2, clock, onSilent: () => silent++ })
  await s.request({ method: 'GET', path: '/' }).then(text)
  relay.stall()
  const failed = assert.rejects(s.request({ method: 'GET', path: '/' }), { code: 'unavailable' })
  await new Promise((r) => setTimeout(r, 30))
  await clock.advance(3_001)
  await new Promise((r) => setTimeout(r, 30))
  await clock.advance(8_001)
  await failed
  assert.equal(silent, 1)
})

test('reset makes the next request use new credentials', async () => {
  await using a = await api()
  let node = 'first'
  const asked: string[] = []
  await using s = createNodeSession({
    servers: () => [a.door.url],
    credentials: () => {
      asked.push(node)
      return pki.client(node)
    },
    alpn: H2,
    clock: systemClock,
  })
  await s.request({ method: 'GET', path: '/' }).then(text)
  node = 'second'
  s.reset('renewed')
  await s.request({ method: 'GET', path: '/' }).then(text)
  assert.deepEqual(asked, ['first', 'second'])
})
