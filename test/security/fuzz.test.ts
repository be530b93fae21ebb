/**
 * Garbage where trust begins: frames of streams, tokens, certificates, paths. Nothing but the refusals that are meant comes back,
 * nothing is accepted that was changed, and what was opened for a client is closed with it. Bounded and seeded.
 */
import assert from 'node:assert/strict'
import { createHmac, createPublicKey } from 'node:crypto'
import { createServer, request, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { duplexPair, type Duplex } from 'node:stream'
import { after, before, describe, test } from 'node:test'
import { createDeflate, constants } from 'node:zlib'
import fc from 'fast-check'
import { requestInfo } from '../../src/apiserver/request-info.ts'
import { SpdyConnection } from '../../src/apiserver/streams/spdy.ts'
import { SPDY_DICTIONARY } from '../../src/apiserver/streams/spdy-dictionary.ts'
import { commandOverWebSocket } from '../../src/apiserver/streams/remote-command.ts'
import { acceptWebSocket } from '../../src/apiserver/streams/upgrade.ts'
import { AppError } from '../../src/base/errors.ts'
import { setLogSink } from '../../src/base/log.ts'
import { certInfo, createCa, createKeyAndCsr, issue, parseCsr } from '../../src/base/pki.ts'
import { startHarness, testKey } from '../kit/api-harness.ts'
import { until } from '../kit/until.ts'

const RUNS = Math.max(0, Number(process.env['SKERRY_SOAK'] ?? 0)) * 20 || 150
const runs = { numRuns: RUNS }
const former = setLogSink(() => undefined)
after(() => void setLogSink(former))

/** `bytes` with some of them changed, left out or doubled. */
const mutated = (bytes: Buffer): fc.Arbitrary<Buffer> =>
  fc.array(fc.tuple(fc.nat(Math.max(0, bytes.length - 1)), fc.constantFrom('flip', 'drop', 'double', 'cut', 'random'), fc.nat(255)), { maxLength: 6 }).map((changes) => {
    let out = Buffer.from(bytes)
    for (const [at, how, value] of changes) {
      const i = out.length === 0 ? 0 : at % out.length
      if (how === 'flip' && out.length > 0) out[i] = (out[i] as number) ^ (1 << value % 8)
      else if (how === 'random' && out.length > 0) out[i] = value
      else if (how === 'drop') out = Buffer.concat([out.subarray(0, i), out.subarray(i + 1)])
      else if (how === 'double') out = Buffer.concat([out.subarray(0, i), out.subarray(i, i + 40), out.subarray(i)])
      else if (how === 'cut') out = out.subarray(0, i)
    }
    return out
  })

const u32 = (n: number): Buffer => {
  const b = Buffer.alloc(4)
  b.writeUInt32BE(n)
  return b
}

describe('SPDY', () => {
  const control = (type: number, flags: number, payload: Buffer): Buffer => Buffer.concat([Buffer.of(0x80, 3, 0, type, flags), u32(payload.length).subarray(1), payload])
  const data = (id: number, flags: number, payload: Buffer): Buffer => Buffer.concat([u32(id), Buffer.of(flags), u32(payload.length).subarray(1), payload])
  const compressed = (plain: Buffer): Promise<Buffer> =>
    new Promise((resolve) => {
      const deflate = createDeflate({ dictionary: SPDY_DICTIONARY, flush: constants.Z_SYNC_FLUSH })
      const parts: Buffer[] = []
      deflate.on('data', (c: Buffer) => parts.push(c))
      deflate.write(plain, () => resolve(Buffer.concat(parts)))
    })
  const text = (s: string): Buffer => Buffer.concat([u32(s.length), Buffer.from(s)])

  /** Feeds bytes to a connection and ends it; resolves when it is over. */
  async function feed(bytes: Buffer): Promise<number> {
    const [mine, theirs] = duplexPair()
    let opened = 0
    const connection = new SpdyConnection(theirs, {
      maxStreams: 8,
      onStream(stream) {
        opened++
        stream.on('error', () => undefined)
        stream.accept()
        stream.resume()
      },
    })
    mine.on('error', () => undefined).resume()
    const over = connection.run(Buffer.alloc(0)).catch((error: unknown) => assert.ok(error instanceof Error, String(error)))
    mine.end(bytes)
    await Promise.race([over, new Promise((_, reject) => setTimeout(() => reject(new Error('the connection did not end with its transport')), 2_000).unref())])
    mine.destroy()
    return opened
  }

  test('frames that are broken end the connection or do nothing, and streams are no more than allowed', async () => {
    const headers = await compressed(Buffer.concat([u32(1), text('streamtype'), text('data')]))
    const session = Buffer.concat([control(1, 0, Buffer.concat([u32(1), u32(0), Buffer.alloc(2), headers])), data(1, 0, Buffer.from('hello')), control(6, 0, u32(1)), data(1, 1, Buffer.alloc(0)), control(3, 0, Buffer.concat([u32(1), u32(5)])), control(7, 0, Buffer.concat([u32(1), u32(0)]))])
    assert.equal(await feed(session), 1)
    await fc.assert(fc.asyncProperty(fc.oneof(mutated(session), fc.uint8Array({ maxLength: 400 }).map((b) => Buffer.from(b))), async (bytes) => void assert.ok((await feed(bytes)) <= 8)), runs)
  })

  test('a header block that grows when it is opened is refused', async () => {
    const bomb = await compressed(Buffer.concat([u32(1), u32(10), Buffer.from('streamtype'), u32(50 << 20), Buffer.alloc(50 << 20)]))
    assert.ok(bomb.length < 1 << 20)
    const before = process.memoryUsage().arrayBuffers
    assert.equal(await feed(control(1, 0, Buffer.concat([u32(1), u32(0), Buffer.alloc(2), bomb]))), 0)
    assert.ok(process.memoryUsage().arrayBuffers - before < 40 << 20)
  })
})

describe('WebSocket', () => {
  let server: Server
  const nodes: Duplex[] = []
  before(async () => {
    server = createServer()
    server.on('upgrade', (req, socket, head) => {
      const [mine, theirs] = duplexPair()
      theirs.on('error', () => undefined).resume()
      nodes.push(mine)
      void acceptWebSocket(req, socket, head, 'v5.channel.k8s.io').then((ws) => commandOverWebSocket(ws, 'v5.channel.k8s.io', mine))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  })
  after(() => {
    server.closeAllConnections()
    server.close()
  })

  const connected = (): Promise<Socket> =>
    new Promise((resolve, reject) => {
      const req = request({ host: '127.0.0.1', port: (server.address() as AddressInfo).port, headers: { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', 'sec-websocket-version': '13', 'sec-websocket-protocol': 'v5.channel.k8s.io' } })
      req.on('upgrade', (_res, socket) => resolve(socket as Socket)).on('error', reject).end()
    })
  const masked = (opcode: number, payload: Buffer, fin = 0x80): Buffer => {
    const mask = Buffer.of(1, 2, 3, 4)
    return Buffer.concat([Buffer.of(fin | opcode, 0x80 | payload.length), mask, Buffer.from(payload.map((b, i) => b ^ (mask[i % 4] as number)))])
  }

  test('frames that are broken close the socket, and the node\'s stream with it', async () => {
    const session = Buffer.concat([masked(2, Buffer.from('\0hello')), masked(9, Buffer.from('ping')), masked(2, Buffer.from('\x04{"Width":80,"Height":24}')), masked(1, Buffer.from('text'), 0), masked(0, Buffer.from('more')), masked(2, Buffer.of(255, 0)), masked(8, Buffer.of(3, 232))])
    const port = { ...runs, numRuns: Math.min(RUNS, 400) }
    await fc.assert(
      fc.asyncProperty(fc.oneof(mutated(session), fc.uint8Array({ maxLength: 200 }).map((b) => Buffer.from(b))), async (bytes) => {
        const socket = await connected()
        socket.on('error', () => undefined).resume()
        socket.end(bytes)
        await new Promise<void>((resolve) => socket.once('close', () => resolve()))
      }),
      port,
    )
    await until('no stream to the node is left open', () => nodes.every((n) => n.destroyed))
  })

  test('a frame that says it is larger than any is cut before it comes', async () => {
    const socket = await connected()
    socket.on('error', () => undefined).resume()
    socket.write(Buffer.concat([Buffer.of(0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4), Buffer.alloc(100)]))
    await new Promise<void>((resolve) => socket.once('close', () => resolve()))
  })
})

test('a token that was changed in any way is refused, or is still the same account\'s', async () => {
  const key = testKey()
  await using h = await startHarness({ serviceAccountKey: key })
  await h.call('POST', '/api/v1/namespaces/default/serviceaccounts', { metadata: { name: 'robot' } })
  const { token } = (await h.call<{ status: { token: string } }>('POST', '/api/v1/namespaces/default/serviceaccounts/robot/token', { spec: {} })).body.status
  const who = (t: string) => h.api.authenticate({ headers: { authorization: `Bearer ${t}` } })
  const name = 'system:serviceaccount:default:robot'
  assert.equal((await who(token))?.name, name)
  const refused = async (t: string): Promise<void> => {
    try {
      const user = await who(t)
      assert.ok(user === undefined || user.name === name, `accepted as ${user?.name}: ${t}`)
    } catch (error) {
      assert.ok(error instanceof AppError && error.code === 'unauthorized', `${String(error)} for ${t}`)
      assert.ok(!error.message.includes(token.split('.')[2] as string))
    }
  }
  await fc.assert(fc.asyncProperty(fc.oneof(mutated(Buffer.from(token)).map((b) => b.toString('latin1')), fc.string({ maxLength: 80 }), fc.array(fc.base64String({ maxLength: 40 }), { minLength: 1, maxLength: 5 }).map((p) => p.join('.'))), refused), runs)

  // Forgeries that are well formed: other algorithms, other keys, claims without a signature.
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const [head = '', body = '', signature = ''] = token.split('.')
  const header = JSON.parse(Buffer.from(head, 'base64url').toString()) as { kid: string }
  const claims = JSON.parse(Buffer.from(body, 'base64url').toString()) as Record<string, unknown>
  const spki = createPublicKey(key.publicKeyPem).export({ type: 'spki', format: 'pem' }) as string
  const admin = { ...claims, sub: 'system:serviceaccount:kube-system:admin', 'kubernetes.io': { namespace: 'kube-system', serviceaccount: { name: 'admin', uid: 'x' } } }
  const never = async (t: string): Promise<void> => void (await assert.rejects(who(t), (e) => e instanceof AppError && e.code === 'unauthorized', t))
  for (const alg of ['none', 'None', 'NONE', '', 'ES384', 'RS256', 'PS256', 'EdDSA']) for (const sig of ['', signature]) await never(`${part({ ...header, alg })}.${part(admin)}.${sig}`)
  for (const secret of [spki, spki.trim(), key.publicKeyPem, '']) {
    const signed = `${part({ ...header, alg: 'HS256' })}.${part(admin)}`
    await never(`${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`)
  }
  const own = testKey()
  const jwk = createPublicKey(own.publicKeyPem).export({ format: 'jwk' })
  for (const extra of [{ jwk }, { jku: 'http://127.0.0.1:1/jwks' }, { x5c: ['AAAA'] }, { kid: '../../../../dev/null' }, { crit: ['exp'], exp: 0 }, { b64: false, crit: ['b64'] }, { kid: undefined }, { kid: { toString: 'x' } }]) {
    await never(`${part({ ...header, alg: 'ES256', ...extra })}.${part(admin)}.${signature}`)
  }
  await never(`${head}.${part({ ...claims, exp: 99_999_999_999 })}.${signature}`)
  await never(`${head}.${body}.${signature}.${signature}`)
  await never('a'.repeat(1 << 20))
})

test('certificates and requests that were changed are read or refused, and never more', async () => {
  const ca = await createCa({ cn: 'ca', years: 1 })
  const { csrPem, keyPem } = await createKeyAndCsr({ cn: 'system:node:a', o: ['system:nodes'] })
  void keyPem
  const leaf = await issue({ ca, csrPem, cn: 'a', usage: 'client', days: 1 })
  const fine = (error: unknown): void => assert.ok(error instanceof AppError && error.code === 'invalid', String(error))
  const der = (pem: string): Buffer => Buffer.from(pem.replace(/-----[A-Z ]+-----|\s/g, ''), 'base64')
  const pem = (label: string) => (bytes: Buffer): string => `-----BEGIN ${label}-----\n${bytes.toString('base64')}\n-----END ${label}-----\n`
  await fc.assert(
    fc.asyncProperty(fc.oneof(mutated(der(csrPem)).map(pem('CERTIFICATE REQUEST')), mutated(Buffer.from(csrPem)).map(String), fc.string({ maxLength: 200 })), async (text) => {
      try {
        const read = await parseCsr(text)
        // What still reads is the request as it was, or one whose signature does not fit.
        if (read.signatureValid) assert.deepEqual([read.cn, read.o], ['system:node:a', ['system:nodes']])
        else await assert.rejects(issue({ ca, csrPem: text, cn: 'x', usage: 'client', days: 1 }), (e) => (fine(e), true))
      } catch (error) {
        fine(error)
      }
    }),
    { ...runs, numRuns: Math.min(RUNS, 300) },
  )
  fc.assert(
    fc.property(fc.oneof(mutated(der(leaf)).map(pem('CERTIFICATE')), mutated(Buffer.from(leaf)).map(String), fc.string({ maxLength: 200 })), (text) => {
      try {
        certInfo(text)
      } catch (error) {
        fine(error)
      }
    }),
    runs,
  )
})

test('whatever the path, what is asked names one place: no slash, dot or NUL inside a part', () => {
  const piece = fc.constantFrom('api', 'apis', 'v1', 'apps', 'namespaces', 'own', 'pods', 'web', 'log', 'watch', 'status', '', '.', '..', '%2e', '%2e%2e', '%2F', '%00', '%', '%zz', '%c0%af', ';a=b', '*', ' ', 'a b', '\\', '%252e%252e', 'ö', '%E2%80%AE', 'proxy', 'finalize')
  fc.assert(
    fc.property(fc.array(fc.oneof(piece, fc.string({ maxLength: 6 })), { maxLength: 10 }), fc.constantFrom('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS', 'TRACE'), fc.constantFrom('', 'watch=true', 'watch=1&watch=false'), (parts, method, query) => {
      let info
      try {
        info = requestInfo(method, `/${parts.join('/')}`, new URLSearchParams(query))
      } catch (error) {
        assert.ok(error instanceof AppError && error.code === 'invalid', String(error))
        return
      }
      if (!info.isResource) return
      for (const part of [info.namespace, info.resource, info.name, info.subresource]) assert.ok(part === undefined || (!/[/\0]/.test(part) && part !== '.' && part !== '..'), JSON.stringify(info))
      assert.ok(info.resource !== '')
      if (info.verb === 'list' || info.verb === 'deletecollection') assert.equal(info.name, undefined)
    }),
    { numRuns: RUNS * 10 },
  )
})
