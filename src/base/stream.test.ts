import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { encodeFrame, FrameDecoder, MAX_FRAME } from './stream.ts'

test('frames come out as they went in, however the bytes are cut', () => {
  const frames = fc.array(fc.record({ channel: fc.integer({ min: 0, max: 255 }), payload: fc.uint8Array({ maxLength: 40 }) }), { maxLength: 8 })
  fc.assert(
    fc.property(frames, fc.array(fc.integer({ min: 1, max: 17 }), { minLength: 1 }), (sent, cuts) => {
      const bytes = Buffer.concat(sent.map((f) => encodeFrame(f.channel, f.payload)))
      const decoder = new FrameDecoder()
      const got: { channel: number; payload: Buffer }[] = []
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const size = cuts[i % cuts.length] as number
        got.push(...decoder.push(bytes.subarray(at, at + size)))
        at += size
      }
      assert.deepEqual(got.map((f) => [f.channel, [...f.payload]]), sent.map((f) => [f.channel, [...f.payload]]))
    }),
  )
})

test('a length over the limit is refused before anything is kept for it', () => {
  const head = Buffer.from([1, 0xff, 0xff, 0xff, 0xff])
  assert.throws(() => new FrameDecoder().push(head), /length 4294967295 is over/)
  assert.throws(() => encodeFrame(1, new Uint8Array(MAX_FRAME + 1)), RangeError)
})
