/**
 * Contract of {@link NodeDialer} and {@link NodeLinks}: what users of a node connection may rely on. Run on the real tunnel
 * and on its in-memory fake.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pipeline } from 'node:stream/promises'
import { AppError } from '../../src/base/errors.ts'
import type { LinkState, NodeDialer, NodeHandler, NodeLinks } from '../../src/base/stream.ts'

export interface DialerUnderTest extends AsyncDisposable {
  readonly dialer: NodeDialer & NodeLinks
  /** Connects `node`, which answers with `handler`; resolves when it is connected. */
  connect(node: string, handler: NodeHandler): Promise<void>
  /** Ends the node's connection as a failure does. */
  lose(node: string): Promise<void>
}

const text = async (stream: AsyncIterable<Buffer>): Promise<string> => {
  const parts: Buffer[] = []
  for await (const p of stream) parts.push(p)
  return Buffer.concat(parts).toString()
}

/** A node that knows a few paths. */
const node: NodeHandler = async (request, respond) => {
  const path = request.path.split('?')[0]
  if (path === '/echo') {
    const stream = respond(200, { 'x-seen': request.headers?.['x-say'] ?? '' })
    await pipeline(stream, stream)
  } else if (path === '/log') {
    const stream = respond(200)
    for (let i = 0; i < 3; i++) stream.write(`${i}${request.path}\n`)
    stream.end()
  } else if (path === '/refuse') throw new AppError('not-found', `find '${request.path}': no such container`)
  else if (path === '/crash') throw new TypeError('bug')
  else if (path === '/break') {
    const stream = respond(200)
    stream.write('half')
    await new Promise((r) => setTimeout(r, 20))
    throw new Error('lost in the middle')
  } else if (path === '/hang') await new Promise(() => undefined)
  else if (path === '/silent-end') return
}

export function dialerSuite(name: string, make: () => Promise<DialerUnderTest>): void {
  const it = (title: string, fn: (t: DialerUnderTest) => Promise<void>): void =>
    void test(`${name}: ${title}`, { timeout: 10_000 }, async () => {
      await using t = await make()
      await fn(t)
    })

  it('a GET is answered with status, headers and a body that ends', async (t) => {
    await t.connect('a', node)
    const got = await t.dialer.open('a', { method: 'GET', path: '/log?x=1' })
    assert.equal(got.status, 200)
    assert.equal(await text(got.stream), '0/log?x=1\n1/log?x=1\n2/log?x=1\n')
  })

  it('a POST carries bytes both ways at once and each side may end first', async (t) => {
    await t.connect('a', node)
    const { stream, headers } = await t.dialer.open('a', { method: 'POST', path: '/echo', headers: { 'x-say': 'hey' } })
    assert.equal(headers['x-seen'], 'hey')
    const back = new Promise<Buffer>((r) => stream.once('data', r))
    stream.write('one')
    assert.equal((await back).toString(), 'one')
    const rest = text(stream)
    stream.end('two')
    assert.equal(await rest, 'two')
  })

  it('a node that is not connected is unavailable, at once', async (t) => {
    await assert.rejects(t.dialer.open('ghost', { method: 'GET', path: '/log' }), (e) => e instanceof AppError && e.code === 'unavailable' && e.retryable && /'ghost'/.test(e.message))
  })

  it('a refused, crashed or unanswered stream fails alone', async (t) => {
    await t.connect('a', node)
    const open = await t.dialer.open('a', { method: 'POST', path: '/echo' })
    const refused = await t.dialer.open('a', { method: 'GET', path: '/refuse' })
    assert.equal(refused.status, 404)
    assert.match(await text(refused.stream), /no such container/)
    const crashed = await t.dialer.open('a', { method: 'GET', path: '/crash' })
    assert.equal(crashed.status, 500)
    crashed.stream.resume()
    assert.equal((await t.dialer.open('a', { method: 'GET', path: '/silent-end' })).status, 500)
    const broken = await t.dialer.open('a', { method: 'GET', path: '/break' })
    await assert.rejects(text(broken.stream))
    open.stream.end('still here')
    assert.equal(await text(open.stream), 'still here')
  })

  it('an opener that gives up gets its reason and the session lives on', async (t) => {
    await t.connect('a', node)
    const abort = new AbortController()
    const opening = t.dialer.open('a', { method: 'POST', path: '/hang' }, abort.signal)
    setTimeout(() => abort.abort(), 20)
    await assert.rejects(opening, { name: 'AbortError' })
    assert.equal(await text((await t.dialer.open('a', { method: 'GET', path: '/log' })).stream), '0/log\n1/log\n2/log\n')
  })

  it('links tell who is connected, and changes are told once each', async (t) => {
    const seen: [string, LinkState | undefined][] = []
    const stop = t.dialer.onChange((n, s) => seen.push([n, s]))
    await t.connect('a', node)
    await t.connect('b', node)
    assert.deepEqual(t.dialer.links().map((l) => l.node).sort(), ['a', 'b'])
    const open = await t.dialer.open('a', { method: 'POST', path: '/echo' })
    open.stream.on('error', () => undefined)
    const closed = new Promise((r) => open.stream.once('close', r))
    await t.lose('a')
    await closed
    assert.deepEqual(t.dialer.links().map((l) => l.node), ['b'])
    assert.deepEqual(seen.filter(([n]) => n === 'a').map(([, s]) => s?.node), ['a', undefined])
    stop()
    await t.lose('b')
    assert.equal(seen.filter(([n]) => n === 'b').length, 1)
  })

  it('a newer connection of a node replaces the older', async (t) => {
    await t.connect('a', async (_, respond) => void respond(200).end('old'))
    await t.connect('a', async (_, respond) => void respond(200).end('new'))
    assert.equal(await text((await t.dialer.open('a', { method: 'GET', path: '/' })).stream), 'new')
    assert.equal(t.dialer.links().length, 1)
  })
}
