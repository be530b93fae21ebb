import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:https'
import { createServer as createHttp2 } from 'node:http2'
import { before, test } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { FakeClock, systemClock, type Clock } from '../base/clock.ts'
import { AppError, type ErrorCode } from '../base/errors.ts'
import { setLogSink } from '../base/log.ts'
import { caHash, certInfo, issue, keyFits } from '../base/pki.ts'
import { joinCluster, renewCertificate } from './join.ts'
import type { NodeRecord, StoredToken } from './join-policy.ts'
import { createJoinServer } from './join-server.ts'
import { createNodeSession } from './session.ts'
import { H2, testPki, type TestPki } from '../../test/kit/tunnel.ts'
import { formatToken, newToken, parseToken, type JoinToken } from './token.ts'

setLogSink(() => undefined)
const PATHS = { cacerts: '/cacerts', join: '/join', renew: '/renew' }
let pki: TestPki
before(async () => {
  pki = await testPki()
})

class World implements AsyncDisposable {
  readonly tokens = new Map<string, StoredToken>()
  readonly records = new Map<string, NodeRecord>()
  readonly waiting: string[] = []
  url = ''
  #server!: Server

  static async create(clock: Clock = systemClock): Promise<World> {
    const w = new World()
    const join = createJoinServer({
      clock,
      tokens: {
        get: async (id) => w.tokens.get(id),
        async markUsed(id, by) {
          const t = w.tokens.get(id) as StoredToken
          if (t.usedBy && t.usedBy.keyHash !== by.keyHash) throw new AppError('conflict', 'used')
          w.tokens.set(id, { ...t, usedBy: by })
        },
      },
      records: {
        get: async (n) => w.records.get(n),
        async put(record, former) {
          if (w.records.get(record.node) !== former) throw new AppError('conflict', 'changed')
          w.records.set(record.node, record)
        },
        noteWaiting: async (n) => void w.waiting.push(n),
      },
      caPem: () => pki.ca.certPem,
      sign: (node, csrPem) => issue({ ca: pki.ca, csrPem, cn: `node:${node}`, o: ['nodes'], usage: 'client', days: 30, now: clock.now() }),
      nodeOf: (cn) => (cn.startsWith('node:') ? cn.slice(5) : undefined),
      config: (node) => ({ hello: node }),
    })
    const route = (req: Parameters<typeof join.join>[0], res: Parameters<typeof join.join>[1]): void =>
      void (req.url === PATHS.join ? join.join(req, res) : req.url === PATHS.renew ? join.renew(req, res) : join.cacerts(req, res))
    const h2 = createHttp2()
    h2.on('request', route)
    w.#server = createServer(
      { key: pki.server.keyPem, cert: pki.server.certPem, ca: pki.ca.certPem, requestCert: true, rejectUnauthorized: false, ALPNProtocols: [H2, 'http/1.1'] },
      route,
    )
    const [http1] = w.#server.listeners('secureConnection') as [(s: TLSSocket) => void]
    w.#server.removeAllListeners('secureConnection')
    w.#server.on('secureConnection', (s: TLSSocket) => void (s.alpnProtocol === H2 ? h2.emit('connection', s) : http1.call(w.#server, s)))
    await new Promise<void>((r) => w.#server.listen(0, '127.0.0.1', r))
    w.url = `https://127.0.0.1:${(w.#server.address() as { port: number }).port}`
    return w
  }

  token(extra: Partial<StoredToken> = {}): JoinToken {
    const t = newToken()
    this.tokens.set(t.id, { ...t, singleUse: true, ...extra })
    return { ...t, caHash: caHash(pki.ca.certPem) }
  }

  join(token: JoinToken, node: string, extra: { keyPem?: string; machineId?: string; clock?: Clock } = {}): ReturnType<typeof joinCluster> {
    return joinCluster({ server: this.url, paths: PATHS, clock: systemClock, token, node, machineId: 'm1', ...extra })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise<void>((r) => this.#server.close(() => r()))
  }
}

const fails = (work: Promise<unknown>, code: ErrorCode, words: RegExp): Promise<void> =>
  assert.rejects(work, (e) => {
    assert.ok(e instanceof AppError, String(e))
    assert.equal(e.code, code, e.message)
    assert.match(e.message, words)
    return true
  })

test('a node joins with a token, gets a certificate for its own key, and may repeat that', async () => {
  await using w = await World.create()
  const token = parseToken(formatToken(w.token({ node: 'cam-1' })))
  const joined = await w.join(token, 'cam-1')
  assert.equal(certInfo(joined.certPem).cn, 'node:cam-1')
  assert.ok(keyFits(joined.certPem, joined.keyPem))
  assert.deepEqual(joined.config, { hello: 'cam-1' })
  assert.equal(joined.caPem, pki.ca.certPem)
  assert.ok(Math.abs(joined.clockSkewMs) < 3_000)
  await w.join(token, 'cam-1', { keyPem: joined.keyPem }) // the answer was lost, say
  assert.equal(w.records.size, 1)
})

test('wrong, expired, used and foreign tokens are refused in words that show the way out', async () => {
  await using w = await World.create()
  const token = w.token()
  await fails(w.join({ ...token, secret: 'x'.repeat(16) }, 'a'), 'unauthorized', /join as 'a': token '[a-z0-9]{6}' is not known.*skerry token create/)
  await fails(w.join({ ...token, id: 'zzzzzz' }, 'a'), 'unauthorized', /not known/)
  await fails(w.join(w.token({ expiresAtMs: Date.UTC(2020, 0) }), 'a'), 'unauthorized', /expired at 2020-01-01T00:00:00.000Z/)
  await fails(w.join(w.token({ node: 'b' }), 'a'), 'forbidden', /only for node 'b'/)
  await w.join(token, 'a')
  await fails(w.join(token, 'c', { machineId: 'm2' }), 'unauthorized', /was used already, by node 'a'/)
  await fails(w.join({ ...token, caHash: 'ab'.repeat(32) }, 'a'), 'unauthorized', new RegExp(`pins (ab){32}, the server has ${caHash(pki.ca.certPem)}`))
  await fails(w.join(w.token(), 'Bad_Name'), 'invalid', /'Bad_Name'/)
  await fails(w.join(w.token({ singleUse: false }), 'a', { keyPem: 'junk' }), 'invalid', /./)
})

test('a taken name waits for approval; the same machine or the same key comes back without', async () => {
  await using w = await World.create()
  const first = await w.join(w.token(), 'cam', { machineId: 'm1' })
  await w.join(w.token(), 'cam', { machineId: 'm1' }) // re-installed: new key, same machine
  await fails(w.join(w.token(), 'cam', { machineId: 'm2' }), 'forbidden', /another machine has this name.*'m1', yours is 'm2'.*skerry node approve cam/)
  await fails(w.join(w.token(), 'cam', { machineId: '' }), 'forbidden', /yours is 'none'/)
  assert.deepEqual(w.waiting, ['cam', 'cam'])
  w.records.set('cam', { ...(w.records.get('cam') as NodeRecord), approved: true })
  await w.join(w.token(), 'cam', { machineId: 'm2' })
  await fails(w.join(w.token(), 'cam', { machineId: 'm1', keyPem: first.keyPem }), 'forbidden', /another machine/) // the approval is spent
  w.records.set('cam', { ...(w.records.get('cam') as NodeRecord), revoked: true })
  await fails(w.join(w.token(), 'cam', { machineId: 'm2' }), 'forbidden', /revoked/)
})

test('two machines racing with one token: one gets in', async () => {
  await using w = await World.create()
  const token = w.token()
  const results = await Promise.allSettled([w.join(token, 'a', { machineId: '1' }), w.join(token, 'b', { machineId: '2' })])
  assert.deepEqual(results.map((r) => r.status).sort(), ['fulfilled', 'rejected'])
  assert.equal(w.records.size, 1)
})

test('a clock that is off by years stops neither joining nor renewing', async () => {
  await using w = await World.create()
  for (const start of [0, Date.now() + 20 * 365 * 86_400_000]) {
    const clock: Clock = { ...systemClock, now: () => start }
    const joined = await w.join(w.token(), `n${start}`, { clock, machineId: String(start) })
    assert.ok(Math.abs(joined.clockSkewMs - (start - Date.now())) < 3_000)
  }
})

test('renewal works by proof of key, after the dates too, and not for a stranger', async () => {
  const clock = new FakeClock(Date.now())
  await using w = await World.create(clock)
  const { certPem, keyPem, caPem } = await w.join(w.token(), 'cam')
  const renew = (credentials: { caPem: string; certPem: string; keyPem: string }, newKey = false): ReturnType<typeof renewCertificate> =>
    renewCertificate({ server: w.url, paths: PATHS, clock: systemClock, credentials, newKey })
  clock.jump(400 * 86_400_000) // 14 months in a drawer
  const renewed = await renew({ certPem, keyPem, caPem }, true)
  assert.notEqual(renewed.keyPem, keyPem)
  assert.ok(certInfo(renewed.certPem).notAfter > certInfo(certPem).notAfter)
  await fails(renew({ certPem, keyPem, caPem }), 'forbidden', /another machine has taken over/)
  const session = createNodeSession({ servers: () => [w.url], credentials: () => renewed, alpn: H2, clock: systemClock })
  const { createKeyAndCsr } = await import('../base/pki.ts')
  const again = await session.request({ method: 'POST', path: '/renew', body: JSON.stringify({ csrPem: (await createKeyAndCsr({ cn: 'x', keyPem: renewed.keyPem })).csrPem }) })
  assert.equal(again.status, 200)
  for await (const _ of again.body);
  await session[Symbol.asyncDispose]()
  const other = await testPki()
  await fails(renew({ ...(await other.client('node:cam')), caPem } as { caPem: string; certPem: string; keyPem: string }), 'unauthorized', /not the pinned CA/)
  const user = (await pki.client('jane')) as { caPem: string; certPem: string; keyPem: string }
  await fails(renew(user), 'forbidden', /'jane', not of a node/)
})

test('tokens are read forgivingly and refused by the part that is wrong, never showing the secret', () => {
  const t: JoinToken = { id: 'abc123', secret: 'secretsecret0000', caHash: 'f'.repeat(64) }
  assert.deepEqual(parseToken(` ${formatToken(t)}\n`), t)
  assert.deepEqual(parseToken('abc123.secretsecret0000'), { ...t, caHash: undefined })
  for (const [text, words] of [
    ['', /empty/],
    [`K10${'f'.repeat(64)}::server:abc`, /K3s/],
    [`S10${'f'.repeat(60)}::abc123.secretsecret0000`, /60 characters/],
    [`S10${'z'.repeat(64)}::abc123.secretsecret0000`, /not hexadecimal/],
    [`S10${'f'.repeat(64)}`, /cut off/],
    ['abc123secretsecret0000', /no '\.'/],
    ['abc12.secretsecret0000', /id 'abc12'/],
    ['abc123.secretsecret', /secret \(of 12/],
  ] as const) {
    assert.throws(() => parseToken(text), (e) => e instanceof AppError && e.code === 'invalid' && words.test(e.message) && !e.message.includes('secretsecret'), text)
  }
})
