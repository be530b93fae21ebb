import assert from 'node:assert/strict'
import { createServer as createTcp, connect as connectTcp } from 'node:net'
import { before, test } from 'node:test'
import { connect as connectTls } from 'node:tls'
import { FakeClock, systemClock, type Clock } from '../base/clock.ts'
import { AppError, messageOf } from '../base/errors.ts'
import { setLogSink } from '../base/log.ts'
import type { NodeHandler } from '../base/stream.ts'
import { DialError, proxyFor } from './dial.ts'
import { LinkProbe, type LinkStatus } from './link.ts'
import { connectTimeoutMs, liveness, nextDialMs } from './policy.ts'
import { frontDoor, LINK, Relay, startLink, testHub, testPki, until, type TestPki } from '../../test/kit/tunnel.ts'

setLogSink(() => undefined)
let pki: TestPki
before(async () => {
  pki = await testPki()
})

const hello: NodeHandler = async (request, respond) => {
  if (request.path === '/big') {
    const out = respond(200)
    const chunk = Buffer.alloc(1 << 20)
    for (let i = 0; i < 200; i++) if (!out.write(chunk)) await new Promise((r) => out.once('drain', r))
    out.end()
  } else respond(200).end('hello')
}
const ask = async (hub: ReturnType<typeof testHub>, node: string): Promise<string> => {
  const { stream } = await hub.open(node, { method: 'GET', path: '/' })
  let text = ''
  for await (const c of stream) text += String(c)
  return text
}
const error = (s: LinkStatus | undefined): string => (s?.phase === 'waiting' ? messageOf(s.error) : '')

test('a cut link is noticed at once and back within 2 s of its return', { timeout: 60_000 }, async () => {
  await using hub = testHub()
  const door = await frontDoor(pki, (s, n) => hub.accept(s, n))
  await using relay = await Relay.create(door.port)
  await using link = startLink(relay.url, await pki.client('a'), hello)
  await until(() => hub.links().length === 1)
  relay.cut()
  await until(() => hub.links().length === 0, 10_000) // silence would be noticed after 35 s
  const waits = (): number[] => link.states.flatMap((s) => (s.phase === 'waiting' ? [s.waitMs] : []))
  await until(() => waits().length >= 3, 15_000)
  relay.pass()
  await until(() => hub.links().length === 1, 15_000, 'reconnect')
  assert.ok(waits().every((ms) => ms <= 1_500), `waits of ${waits().join(', ')} ms, so that 2 s suffice`)
  assert.equal(await ask(hub, 'a'), 'hello')
  await link.stop()
  await door.close()
})

test('a machine whose address has changed dials anew, though its old connection says nothing', { timeout: 15_000 }, async () => {
  await using hub = testHub()
  const door = await frontDoor(pki, (s, n) => hub.accept(s, n))
  const addresses = new Set(['127.0.0.1', '::ffff:127.0.0.1'])
  await using link = startLink(door.url, await pki.client('a'), hello, { addresses: () => addresses })
  await until(() => hub.links().length === 1)
  addresses.clear()
  await until(() => link.states.some((s) => /this machine has its address .*127\.0\.0\.1 no more/.test(error(s))), 5_000)
  addresses.add('127.0.0.1').add('::ffff:127.0.0.1')
  await until(() => hub.links().length === 1, 5_000)
  await link.stop()
  await door.close()
})

test('a node told of two servers goes to the other when its own is away', { timeout: 15_000 }, async () => {
  const addresses: string[] = []
  await using one = testHub({ servers: () => addresses })
  await using two = testHub()
  const [first, second] = [await frontDoor(pki, (s, n) => one.accept(s, n)), await frontDoor(pki, (s, n) => two.accept(s, n))]
  const known = [first.url]
  const told: (readonly string[])[] = []
  await using link = startLink(() => known, await pki.client('a'), hello, {
    onServers(servers) {
      told.push(servers)
      known.splice(0, known.length, ...servers)
    },
  })
  await until(() => one.links().length === 1)
  assert.deepEqual(told, [], 'a lone server tells nothing')
  addresses.push(first.url, second.url)
  one.tellServers()
  await until(() => told.length === 1)
  assert.deepEqual(told, [[first.url, second.url]])
  assert.equal(one.links().length, 1, 'the link stays')
  await first.close()
  await until(() => two.links().length === 1, 4_000, 'the other server has the node')
  assert.equal(await ask(two, 'a'), 'hello')
  await link.stop()
  await second.close()
})

for (const [what, bytes] of [['at rest', false], ['just after bytes', true]] as const) {
  test(`a half-open connection, ${what}, is given up by both ends within the detection time`, { timeout: 30_000 }, async () => {
    const clock = new FakeClock()
    await using hub = testHub({ clock, detectMs: 40_000 })
    const door = await frontDoor(pki, (s, n) => hub.accept(s, n))
    await using relay = await Relay.create(door.port)
    await using link = startLink(relay.url, await pki.client('a'), hello, { clock })
    const proofs: number[] = []
    hub.onChange((_, s) => s && proofs.push(s.lastSeenMs))
    await until(() => proofs.length === 1 && link.states.at(-1)?.phase === 'connected')
    await clock.advance(20_000)
    await until(() => proofs.length === 2, 5_000, 'a ping that is answered')
    const connected = (): number => link.states.filter((s) => s.phase === 'connected').length
    if (bytes) {
      await clock.advance(3_000)
      assert.equal(await ask(hub, 'a'), 'hello')
    }
    relay.stall()
    for (let s = 0; s < 39; s++) await clock.advance(1_000)
    await until(() => hub.links().length === 0 && link.states.at(-1)?.phase !== 'connected')
    assert.match(error(link.states.find((s) => s.phase === 'waiting')), /nothing heard for 35 s/)
    relay.pass()
    relay.breakAll()
    await until(() => {
      void clock.advance(500)
      return connected() === 2
    }, 10_000, 'reconnect')
    const stopped = link.stop()
    await clock.advance(1_000)
    await stopped
    await door.close()
  })
}

test('a link that is asked for a sign of life ends when none comes, and lives on when one does', { timeout: 15_000 }, async () => {
  await using hub = testHub()
  const door = await frontDoor(pki, (s, n) => hub.accept(s, n))
  await using relay = await Relay.create(door.port)
  const probe = new LinkProbe()
  const clock = new FakeClock()
  await using link = startLink(relay.url, await pki.client('a'), hello, { probe, clock })
  await until(() => link.states.at(-1)?.phase === 'connected', 3_000)
  probe.check()
  await new Promise((r) => setTimeout(r, 50))
  await clock.advance(8_001)
  assert.equal(link.states.at(-1)?.phase, 'connected')
  relay.stall()
  probe.check()
  await new Promise((r) => setTimeout(r, 50))
  await clock.advance(8_001)
  await until(() => link.states.at(-1)?.phase !== 'connected', 2_000)
  assert.match(error(link.states.find((s) => s.phase === 'waiting')), /no answer to a ping within 8 s/)
  relay.breakAll()
  await link.stop()
  await door.close()
})

test('a server that refuses, closes, or is not ours is named, and the link goes on trying', { timeout: 15_000 }, async () => {
  await using hub = testHub()
  const other = await testPki()
  const door = await frontDoor(pki, (s, n) => hub.accept(s, n))
  const cases: [Parameters<typeof startLink>[0], Parameters<typeof startLink>[1], RegExp][] = [
    [door.url, { ...(await pki.client('a')), caPem: other.ca.certPem }, /signed by 'test root', which is not the pinned CA/],
    [door.url, await other.client('a').then((c) => ({ ...c, caPem: pki.ca.certPem })), /closed it at once; it may refuse this node's certificate/],
    [`https://127.0.0.1:1`, await pki.client('a'), /connect to 127.0.0.1:1: .*ECONNREFUSED/],
    [() => [], await pki.client('a'), /no address is known/],
    ['http://x', await pki.client('a'), /'http:\/\/x' is not like https/],
  ]
  for (const [url, credentials, words] of cases) {
    await using link = startLink(url, credentials, hello)
    await until(() => link.states.some((s) => s.phase === 'waiting'), 3_000)
    assert.match(error(link.states.find((s) => s.phase === 'waiting')), words)
    assert.ok(!link.states.some((s) => s.phase === 'connected'))
  }
  // The name must fit, too.
  const wrongName = await startNamed(door.url.replace('127.0.0.1', '127.0.0.2'))
  assert.match(wrongName, /ECONNREFUSED|not for '127.0.0.2'/)
  assert.equal(hub.links().length, 0)
  await door.close()

  async function startNamed(url: string): Promise<string> {
    await using link = startLink(url, await pki.client('a'), hello)
    await until(() => link.states.some((s) => s.phase === 'waiting'), 3_000)
    return error(link.states.find((s) => s.phase === 'waiting'))
  }
})

test('a clock in 1970 or long after every date does not stop the link', async () => {
  await using hub = testHub()
  const door = await frontDoor(pki, (s, n) => hub.accept(s, n))
  for (const now of [0, Date.UTC(2090, 0)]) {
    const clock: Clock = { ...systemClock, now: () => now }
    // TLS itself asks the machine's clock, so the dates are made wrong instead: a server certificate of another time.
    const long = await testPki(now === 0 ? Date.UTC(2090, 0) : Date.UTC(1990, 0))
    const strange = { ...pki, server: long.server }
    const door2 = await frontDoor(strange, (s, n) => hub.accept(s, n))
    const credentials = { ...(await pki.client(`n${now}`)), caPem: long.ca.certPem }
    await using link = startLink(door2.url, credentials, hello, { clock })
    await until(() => link.states.at(-1)?.phase === 'connected', 3_000)
    await using stranger = startLink(door2.url, await pki.client('x'), hello, { clock })
    await until(() => stranger.states.some((s) => s.phase === 'waiting'), 3_000)
    assert.match(error(stranger.states.find((s) => s.phase === 'waiting')), /not the pinned CA/)
    await link.stop()
    await stranger.stop()
    await door2.close()
  }
  await door.close()
})

test('a node that speaks garbage, or nothing, on its link harms nobody', { timeout: 15_000 }, async () => {
  await using hub = testHub()
  const door = await frontDoor(pki, (s, n) => hub.accept(s, n))
  await using link = startLink(door.url, await pki.client('good'), hello)
  await until(() => hub.links().length === 1)
  const bad = await pki.client('bad')
  for (const bytes of [Buffer.from('GET / HTTP/1.1\r\n\r\n'), Buffer.alloc(100_000, 0xff), Buffer.from('0000060400000000000003000000640000ffff00000000', 'hex'), Buffer.alloc(0)]) {
    const socket = connectTls({ port: door.port, host: '127.0.0.1', ca: bad.caPem, cert: bad.certPem, key: bad.keyPem, ALPNProtocols: [LINK] })
    socket.on('error', () => undefined)
    await new Promise((r) => socket.once('secureConnect', r))
    socket.write(bytes)
    await new Promise((r) => setTimeout(r, 30))
    assert.deepEqual(hub.links().map((l) => l.node), ['good'])
    socket.destroy()
  }
  assert.equal(await ask(hub, 'good'), 'hello')
  await link.stop()
  await door.close()
})

test('a copy of hundreds of megabytes delays neither a ping nor a small request', { timeout: 30_000 }, async () => {
  await using hub = testHub()
  const door = await frontDoor(pki, (s, n) => hub.accept(s, n))
  await using link = startLink(door.url, await pki.client('a'), hello)
  await until(() => hub.links().length === 1)
  const { stream } = await hub.open('a', { method: 'GET', path: '/big' })
  const copy = { bytes: 0, done: false }
  stream.on('data', (c: Buffer) => (copy.bytes += c.length)).once('end', () => (copy.done = true))
  let worst = 0
  while (!copy.done) {
    const t = performance.now()
    assert.equal(await ask(hub, 'a'), 'hello')
    worst = Math.max(worst, performance.now() - t)
  }
  assert.equal(copy.bytes, 200 << 20)
  assert.ok(worst < 200, `worst ${worst} ms`)
  await link.stop()
  await door.close()
})

test('a reader that stops holds only its own stream', { timeout: 15_000 }, async () => {
  await using hub = testHub()
  const door = await frontDoor(pki, (s, n) => hub.accept(s, n))
  await using link = startLink(door.url, await pki.client('a'), async (r, respond) => {
    if (r.path !== '/big') return hello(r, respond)
    const out = respond(200)
    const fill = (): void => {
      while (out.writable && out.write(Buffer.alloc(65_536)));
    }
    out.on('drain', fill)
    fill()
  })
  await until(() => hub.links().length === 1)
  // One stalled reader may hold one stream's window, never the connection's: three of them would with equal windows.
  const stalled = []
  for (let i = 0; i < 3; i++) stalled.push(await hub.open('a', { method: 'GET', path: '/big' }))
  await new Promise((r) => setTimeout(r, 200))
  assert.equal(await ask(hub, 'a'), 'hello')
  for (const s of stalled) s.stream.destroy()
  await link.stop()
  await door.close()
})

test('a farewell says why, and the link waits longer when it is sent away at once', { timeout: 15_000 }, async () => {
  await using hub = testHub()
  const door = await frontDoor(pki, (s, n) => hub.accept(s, n))
  await using link = startLink(door.url, await pki.client('a'), hello)
  await until(() => hub.links().length === 1)
  hub.disconnect('a', 'its identity was revoked')
  assert.equal(hub.links().length, 0)
  await until(() => link.states.some((s) => s.phase === 'waiting'))
  assert.match(error(link.states.find((s) => s.phase === 'waiting')), /its identity was revoked/)
  await link.stop()
  await door.close()
})

test('the link goes through an HTTP CONNECT proxy, with credentials, and names its refusal', async () => {
  await using hub = testHub()
  const door = await frontDoor(pki, (s, n) => hub.accept(s, n))
  const proxy = createTcp((near) => {
    near.on('error', () => undefined)
    near.once('data', (head: Buffer) => {
      const text = head.toString()
      if (!text.includes(`Proxy-Authorization: Basic ${Buffer.from('me:s:3').toString('base64')}`)) return void near.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n')
      const [, host, port] = /^CONNECT (.*):(\d+) HTTP/.exec(text) as unknown as [string, string, string]
      const far = connectTcp(Number(port), host, () => {
        near.write('HTTP/1.1 200 ok\r\nvia: x\r\n\r\n')
        near.pipe(far).pipe(near)
      }).on('error', () => undefined)
    })
  })
  await new Promise<void>((r) => proxy.listen(0, '127.0.0.1', r))
  const at = (proxy.address() as { port: number }).port
  const credentials = await pki.client('a')
  {
    await using link = startLink(door.url, credentials, hello, { proxy: () => `http://me:s%3A3@127.0.0.1:${at}` })
    await until(() => hub.links().length === 1)
    assert.equal(await ask(hub, 'a'), 'hello')
    await link.stop()
  }
  await using refused = startLink(door.url, credentials, hello, { proxy: () => `http://127.0.0.1:${at}` })
  await until(() => refused.states.some((s) => s.phase === 'waiting'))
  assert.match(error(refused.states.find((s) => s.phase === 'waiting')), /proxy 127.0.0.1:\d+: it refused CONNECT .*407/)
  await refused.stop()
  proxy.close()
  await door.close()
})

test('an idle link costs less than 100 kB an hour at 40 s detection', { timeout: 15_000 }, async () => {
  // Counted at a relay over ten pings of a faster hub, scaled; 52 bytes of IP/TCP header a packet, two data packets and one bare acknowledgement a ping.
  await using hub = testHub({ detectMs: 200 })
  const door = await frontDoor(pki, (s, n) => hub.accept(s, n))
  await using relay = await Relay.create(door.port)
  await using link = startLink(relay.url, await pki.client('a'), hello)
  await until(() => hub.links().length === 1)
  let pings = 0
  let from = 0
  hub.onChange(() => {
    if (++pings === 1) from = relay.bytes
  })
  await until(() => pings === 11, 3_000)
  const perPing = (relay.bytes - from) / 10 + 3 * 52
  assert.ok((3_600_000 / liveness(40_000).pingMs) * perPing < 50_000, `${perPing} bytes a ping`)
  await link.stop()
  await door.close()
})

test('detection and waits are as promised', () => {
  const l = liveness(40_000)
  assert.ok(l.pingMs + l.answerMs < 40_000 && l.silenceMs > l.pingMs && l.silenceMs <= 40_000)
  for (let n = 1; n < 50; n++) {
    const w = nextDialMs({ unreachable: n, refused: 0, outageMs: 60_000 })
    assert.ok(w > 0 && w <= 1_500)
    const r = nextDialMs({ unreachable: 0, refused: n, outageMs: 0 })
    assert.ok(r > 0 && r <= 30_000 && (n < 8 || r >= 15_000))
  }
  assert.ok(nextDialMs({ unreachable: 9, refused: 0, outageMs: 3_600_000 }, () => 0) === 8_000)
  assert.deepEqual([0, 1, 2, 3, 4].map(connectTimeoutMs), [2_000, 2_000, 2_000, 10_000, 2_000])
  assert.equal(proxyFor('https://a.example:6443', 'p:3128', 'b,.example'), undefined)
  assert.equal(proxyFor('https://a.example:6443', 'p:3128', 'x'), 'http://p:3128')
  assert.equal(proxyFor('https://a.example', undefined), undefined)
  assert.ok(new DialError('connect', 'timeout', 'x') instanceof AppError)
})
