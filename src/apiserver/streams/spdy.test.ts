import assert from 'node:assert/strict'
import { type Duplex, duplexPair } from 'node:stream'
import { createServer, connect } from 'node:net'
import { test } from 'node:test'
import { constants, createDeflate, createInflate } from 'node:zlib'
import * as fc from 'fast-check'
import { until } from '../../../test/kit/until.ts'
import { SpdyConnection, type SpdyStream } from './spdy.ts'
import { SPDY_DICTIONARY } from './spdy-dictionary.ts'

/** A client that writes frames by hand, with a compression state of its own. */
class Client {
  readonly #deflate = createDeflate({ dictionary: SPDY_DICTIONARY, flush: constants.Z_SYNC_FLUSH })
  readonly side: Duplex
  received: Buffer = Buffer.alloc(0)

  constructor(side: Duplex) {
    this.side = side
    side.on('error', () => undefined)
    side.on('data', (c: Buffer) => (this.received = Buffer.concat([this.received, c])))
  }

  block(headers: Record<string, string>): Promise<Buffer> {
    const text = (s: string): Buffer => Buffer.concat([u32(s.length), Buffer.from(s)])
    const plain = Buffer.concat([u32(Object.keys(headers).length), ...Object.entries(headers).flatMap(([k, v]) => [text(k), text(v)])])
    return new Promise((resolve) => {
      const parts: Buffer[] = []
      const on = (c: Buffer): void => void parts.push(c)
      this.#deflate.on('data', on)
      this.#deflate.write(plain, () => {
        this.#deflate.off('data', on)
        resolve(Buffer.concat(parts))
      })
    })
  }

  async open(id: number, headers: Record<string, string> = { streamtype: 'data' }, flags = 0): Promise<Buffer> {
    return frame(1, flags, Buffer.concat([u32(id), u32(0), Buffer.alloc(2), await this.block(headers)]))
  }

  /** Frames received so far: [type or 'data', stream id, flags, payload]. */
  frames(): [number | 'data', number, number, Buffer][] {
    const out: [number | 'data', number, number, Buffer][] = []
    for (let at = 0; this.received.length - at >= 8; ) {
      const length = this.received.readUIntBE(at + 5, 3)
      if (this.received.length - at - 8 < length) break
      const payload = this.received.subarray(at + 8, at + 8 + length)
      const isData = (this.received[at] as number) < 128
      out.push([isData ? 'data' : this.received.readUInt16BE(at + 2), isData ? this.received.readUInt32BE(at) : length >= 4 ? payload.readUInt32BE(0) : 0, this.received[at + 4] as number, payload])
      at += 8 + length
    }
    return out
  }
}

function u32(n: number): Buffer {
  const b = Buffer.alloc(4)
  b.writeUInt32BE(n)
  return b
}
function frame(type: number, flags: number, payload: Buffer): Buffer {
  const head = Buffer.from([0x80, 3, type >> 8, type & 255, flags, 0, 0, 0])
  head.writeUIntBE(payload.length, 5, 3)
  return Buffer.concat([head, payload])
}
function data(id: number, payload: Buffer | string, flags = 0): Buffer {
  const bytes = Buffer.from(payload)
  const head = Buffer.concat([u32(id), Buffer.from([flags, 0, 0, 0])])
  head.writeUIntBE(bytes.length, 5, 3)
  return Buffer.concat([head, bytes])
}
const settle = (ms = 20): Promise<void> => new Promise((r) => setTimeout(r, ms))

function start(onStream: (s: SpdyStream) => void = (s) => s.accept(), maxStreams = 256): { client: Client; connection: SpdyConnection; ended: Promise<unknown> } {
  const [near, far] = duplexPair()
  const connection = new SpdyConnection(near, { onStream, maxStreams })
  return { client: new Client(far), connection, ended: connection.run().then(() => undefined, (e: unknown) => e) }
}

test('streams carry headers and bytes both ways, end half by half, and answer only behind their reply', async () => {
  const seen: Record<string, string>[] = []
  const { client, ended } = start((s) => {
    seen.push({ ...s.headers })
    s.accept({ 'X-Ok': '1' })
    s.pipe(s)
  })
  const all = Buffer.concat([await client.open(1, { streamtype: 'data', port: '80' }), data(1, 'hello '), await client.open(3), data(3, 'x', 1), data(1, 'world', 1)])
  for (let i = 0; i < all.length; i += 7) client.side.write(all.subarray(i, i + 7)) // frames split anywhere
  await until('both ends', () => client.frames().filter((f) => f[0] === 'data' && f[2] === 1).length === 2)
  assert.deepEqual(seen, [{ streamtype: 'data', port: '80' }, { streamtype: 'data' }])
  for (const [id, text] of [[1, 'hello world'], [3, 'x']] as const) {
    const mine = client.frames().filter((f) => f[1] === id)
    assert.equal(mine[0]?.[0], 2)
    assert.equal(Buffer.concat(mine.filter((f) => f[0] === 'data').map((f) => f[3])).toString(), text)
    assert.deepEqual([mine.at(-1)?.[0], mine.at(-1)?.[2]], ['data', 1])
  }
  const inflate = createInflate({ dictionary: SPDY_DICTIONARY, finishFlush: constants.Z_SYNC_FLUSH })
  inflate.end(client.frames().find((f) => f[0] === 2)?.[3].subarray(4))
  const plain = Buffer.concat(await inflate.toArray())
  assert.match(plain.toString(), /x-ok/)
  client.side.end()
  assert.equal(await ended, undefined)
})

test('pings are answered, resets end one stream, too many streams and unknown ids are refused', async () => {
  const streams: SpdyStream[] = []
  const { client } = start((s) => {
    s.accept()
    s.resume()
    streams.push(s)
  }, 2)
  client.side.write(frame(6, 0, u32(77)))
  for (const id of [1, 3, 5]) client.side.write(await client.open(id))
  client.side.write(frame(3, 0, Buffer.concat([u32(1), u32(5)])))
  client.side.write(data(9, 'lost'))
  client.side.write(Buffer.concat([frame(4, 0, u32(0)), frame(9, 0, Buffer.concat([u32(3), u32(100)])), frame(99, 0, Buffer.alloc(0))])) // settings, window, unknown
  await until('both resets', () => client.frames().filter((f) => f[0] === 3).length === 2)
  const got = client.frames()
  assert.ok(got.some((f) => f[0] === 6 && f[1] === 77))
  assert.deepEqual(got.filter((f) => f[0] === 3).map((f) => [f[1], f[3].readUInt32BE(4)]), [[5, 3], [9, 2]])
  assert.deepEqual(streams.map((s) => s.destroyed), [true, false])
  client.side.destroy()
  await until('the end of the other', () => streams[1]?.destroyed)
})

test('lies end the connection and say which', async () => {
  const cases: [(c: Client) => Promise<Buffer>, RegExp][] = [
    [async () => Buffer.from([0x80, 2, 0, 1, 0, 0, 0, 0]), /version 2/],
    [async () => Buffer.from([0x80, 3, 0, 1, 0, 0, 0, 0]), /type 1 has only 0 bytes/],
    [async () => Buffer.from([0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff]), /over 4194304/],
    [async (c) => c.open(2), /stream id 2/],
    [async (c) => Buffer.concat([await c.open(3), await c.open(1)]), /stream id 1 does not follow 3/],
    [async () => frame(1, 0, Buffer.concat([u32(1), u32(0), Buffer.alloc(2), Buffer.from('not zlib at all')])), /does not decompress/],
    [async (c) => c.open(1, { big: 'a'.repeat(1 << 20) }), /over 65536 bytes/],
  ]
  for (const [make, words] of cases) {
    const { client, ended } = start()
    client.side.write(await make(client))
    assert.match(String(await ended), words)
    assert.ok(client.side.destroyed || client.side.readableEnded || (await settle(), true))
  }
})

test('a stream nobody reads stops the connection at its buffer, and reading it goes on', async () => {
  const server = createServer()
  await new Promise<void>((r) => server.listen(0, '127.0.0.1', r))
  const got = Promise.withResolvers<SpdyStream>()
  server.on('connection', (socket) => {
    const connection = new SpdyConnection(socket, {
      onStream: (s) => {
        s.accept()
        got.resolve(s)
      },
    })
    connection.run().catch(() => undefined)
  })
  const side = connect((server.address() as { port: number }).port, '127.0.0.1')
  const client = new Client(side)
  side.write(await client.open(1))
  const stream = await got.promise
  const total = 40 << 20
  let sent = 0
  const pump = (): void => {
    while (sent < total) {
      sent += 1 << 18
      if (!side.write(data(1, Buffer.alloc(1 << 18), sent >= total ? 1 : 0))) return void side.once('drain', pump)
    }
  }
  pump()
  await settle(150)
  assert.ok(sent < total, 'the client was stopped')
  assert.ok(stream.readableLength < 3 << 20, `${stream.readableLength} bytes held`)
  let read = 0
  for await (const c of stream as AsyncIterable<Buffer>) read += c.length
  assert.equal(read, total)
  side.destroy()
  server.close()
})

test('any bytes, and any damage to good frames, end in order or are ignored, and never crash', async () => {
  const run = async (bytes: Buffer): Promise<void> => {
    const { client, ended } = start((s) => {
      s.accept()
      s.pipe(s)
    })
    client.side.write(bytes)
    client.side.end()
    await Promise.race([ended, settle(2_000).then(() => assert.fail('hangs'))])
  }
  const good = new Client(duplexPair()[0])
  const valid = Buffer.concat([await good.open(1), data(1, 'abc'), frame(6, 0, u32(1)), await good.open(3, { a: 'b' }, 1), frame(8, 0, Buffer.concat([u32(1), await good.block({ c: 'd' })])), data(1, '', 1)])
  await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => run(Buffer.from(bytes))), { numRuns: 100 })
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }), fc.nat(valid.length), async (damage, cut) => {
      const bytes = Buffer.from(valid)
      for (const [at, value] of damage) bytes[at] = value
      await run(bytes.subarray(0, cut))
    }),
    { numRuns: 200 },
  )
})
