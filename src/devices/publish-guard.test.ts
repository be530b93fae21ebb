import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { PublishGuard, type Oversized } from './publish-guard.ts'

function packet(first: number, body: Buffer): Buffer {
  const head = [first]
  for (let n = body.length; ; ) {
    const digit = n % 128
    n = Math.floor(n / 128)
    head.push(n > 0 ? digit | 128 : digit)
    if (n === 0) break
  }
  return Buffer.concat([Buffer.from(head), body])
}

function publish(topic: string, size: number, id: number): Buffer {
  const head = Buffer.alloc(2)
  head.writeUInt16BE(topic.length)
  const mid = Buffer.alloc(2)
  mid.writeUInt16BE(id)
  return packet(0x32, Buffer.concat([head, Buffer.from(topic), mid, Buffer.alloc(size, 7)]))
}

test('whatever the chunking, packets within the limit pass untouched and larger ones are cut out and named', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.integer({ min: 0, max: 3000 }), fc.constant(-1)), { maxLength: 12 }),
      fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 20 }),
      (sizes, cuts) => {
        const packets = sizes.map((n, i) => (n < 0 ? packet(0xc0, Buffer.alloc(0)) : publish(`t/${i}`, n, i + 1)))
        const small = packets.filter((_, i) => (sizes[i] as number) <= 1000)
        const stream = Buffer.concat(packets)
        const found: Oversized[] = []
        const guard = new PublishGuard(1010, (o) => found.push(o))
        const out: Buffer[] = []
        for (let at = 0, i = 0; at < stream.length; i++) {
          const n = cuts[i % cuts.length] as number
          const passed = guard.filter(stream.subarray(at, at + n))
          if (passed) out.push(passed)
          at += n
        }
        const expected = packets.filter((p, i) => (sizes[i] as number) < 0 || bodyOf(p) <= 1010)
        assert.ok(expected.length >= small.length)
        assert.deepEqual(Buffer.concat(out), Buffer.concat(expected))
        const cut = sizes.flatMap((n, i) => (packets[i] && !expected.includes(packets[i]) ? [{ topic: `t/${i}`, bytes: n, qos: 1, messageId: i + 1 }] : []))
        assert.deepEqual(found, cut)
      },
    ),
    { numRuns: 300 },
  )
})

function bodyOf(p: Buffer): number {
  return p.length - ((p[1] as number) & 128 ? 3 : 2)
}
