import assert from 'node:assert/strict'
import { createServer as createHttp2 } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import { after, before, describe, it } from 'node:test'
import { systemClock } from '../base/clock.ts'
import { AppError, type ErrorCode } from '../base/errors.ts'
import type { NodeDialer, NodeHandler } from '../base/stream.ts'
import { frontDoor, H2, startLink, testHub, testPki, until, type FrontDoor, type TestPki } from '../../test/kit/tunnel.ts'
import type { Hub } from './ports.ts'
import { createRelay, relayTo, type RelayIn, type RelayOut } from './relay.ts'

const PATH = '/relay/'
const fails = (code: ErrorCode, text: RegExp) => (e: unknown) => {
  assert.ok(e instanceof AppError, String(e))
  assert.equal(e.code, code, e.message)
  assert.match(e.message, text)
  return true
}

/** A server: a hub behind a door, which answers other servers. */
interface Server {
  readonly hub: Hub
  readonly door: FrontDoor
  close(): Promise<void>
}

async function startServer(pki: TestPki): Promise<Server> {
  const hub = testHub()
  const h2 = createHttp2((req, res) => void relayTo(hub, decodeURIComponent(req.url.slice(PATH.length)), req as unknown as RelayIn, res as unknown as RelayOut))
  h2.on('sessionError', () => {})
  const door = await frontDoor(pki, (socket, node) => hub.accept(socket, node), (socket: TLSSocket) => void h2.emit('connection', socket))
  return {
    hub,
    door,
    close: async () => {
      await hub[Symbol.asyncDispose]()
      await door.close()
    },
  }
}

/** The node answers with what it was asked, then with every byte it is sent. */
const echo: NodeHandler = async (request, respond) => {
  if (request.path.startsWith('/refuse')) return void respond(404, { 'x-why': 'no such thing' }).end('gone')
  if (request.path.startsWith('/silent')) return new Promise((resolve) => setTimeout(resolve, 1_000))
  const stream = respond(200, { 'x-path': request.path, 'x-method': request.method, 'x-given': request.headers?.['x-given'] ?? '' })
  stream.pipe(stream)
}

describe('streams to nodes of another server', () => {
  let pki: TestPki
  let [one, two]: [Server?, Server?] = []
  let link: ReturnType<typeof startLink>
  let relay: NodeDialer
  /** An address where nobody is. */
  const nobody = 'https://127.0.0.1:7898'
  before(async () => {
    pki = await testPki()
    one = await startServer(pki)
    two = await startServer(pki)
    link = startLink(two.door.url, await pki.client('far'), echo)
    const mine = await pki.client('a server')
    const peers = [two.door.url, nobody]
    relay = createRelay({ hub: one.hub, peers: () => peers, credentials: () => mine, alpn: H2, path: PATH, clock: systemClock })
    await until(() => two?.hub.links().length === 1)
  })
  after(async () => {
    await link?.stop()
    await one?.close()
    await two?.close()
  })

  it('reach the node as if it were here, both ways, with method, path and headers', async () => {
    const { status, headers, stream } = await relay.open('far', { method: 'POST', path: '/exec/a%20b?command=é&x=%2F', headers: { 'x-given': 'this' } })
    assert.equal(status, 200)
    assert.deepEqual([headers['x-path'], headers['x-method'], headers['x-given']], ['/exec/a%20b?command=é&x=%2F', 'POST', 'this'])
    const sent = Buffer.alloc(6 << 20, 'skerry ')
    stream.end(sent)
    const got: Buffer[] = []
    for await (const chunk of stream) got.push(chunk as Buffer)
    assert.ok(Buffer.concat(got).equals(sent))
  })

  it('bring the node’s own refusal', async () => {
    const { status, headers, stream } = await relay.open('far', { method: 'GET', path: '/refuse' })
    assert.deepEqual([status, headers['x-why']], [404, 'no such thing'])
    let text = ''
    for await (const chunk of stream) text += String(chunk)
    assert.equal(text, 'gone')
  })

  it('end on the node when they are dropped here', async () => {
    const { stream } = await relay.open('far', { method: 'POST', path: '/drop' })
    stream.write('x')
    await new Promise((resolve) => stream.once('data', resolve))
    stream.destroy()
    const again = await relay.open('far', { method: 'POST', path: '/again' })
    again.stream.end('y')
    for await (const chunk of again.stream) assert.equal(String(chunk), 'y')
  })

  it('are refused with the reason when no server has the node', async () => {
    await assert.rejects(relay.open('none', { method: 'GET', path: '/' }), fails('unavailable', /node 'none': it is connected to no server that answers; .*127\.0\.0\.1:7898/))
  })

  it('are called off with their signal', async () => {
    const stop = new AbortController()
    const opening = relay.open('far', { method: 'GET', path: '/silent' }, stop.signal)
    setTimeout(() => stop.abort(new Error('enough')), 100)
    await assert.rejects(opening, /enough/)
  })
})
