import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { hasCode } from '../base/errors.ts'
import { parseBatch } from '../collector/input.ts'
import { encodeRecord } from '../telemetry/mod.ts'
import { toRecord } from './collect.ts'

const CALLER = { namespace: 'default', pod: 'red-light-1' }
const photo = { name: 'photo.jpg', contentType: 'image/jpeg', base64: Buffer.from('jpeg').toString('base64') }
const take = (body: unknown): ReturnType<typeof toRecord> => toRecord(body, 'violations', 'cam-1', CALLER, 1_000)

test('what a node takes with 202, the collector takes as it is', () => {
  const odd = fc.oneof(fc.string({ maxLength: 300 }), fc.constantFrom('image/jpeg', 'text/plain; charset=utf-8', 'text/plain; charset="utf-8"', 'a/b; c=d; e=f', 'a', 'a/b'))
  const attachment = fc.record({ name: fc.oneof(fc.constantFrom('a', 'b', '..', 'a b'), odd), contentType: odd, base64: fc.oneof(fc.base64String(), fc.constantFrom('a', '!!', 'YQ==', '')) })
  const time = fc.oneof(fc.constant(undefined), fc.double(), fc.string(), fc.date().map(String))
  const body = fc.record(
    { id: fc.oneof(odd, fc.constant('cam-1/x/1')), time, data: fc.oneof(fc.dictionary(fc.string(), fc.jsonValue()), fc.jsonValue()), attachments: fc.array(attachment, { maxLength: 3 }) },
    { requiredKeys: ['id'] },
  )
  let taken = 0
  fc.assert(
    fc.property(body, (sent) => {
      let made: ReturnType<typeof toRecord>
      try {
        made = take(sent)
      } catch (error) {
        assert.ok(hasCode(error, 'invalid') || hasCode(error, 'too-large'))
        return
      }
      taken++
      const wire = encodeRecord({ seq: 1, timeMs: 0, meta: JSON.stringify(made.record), payload: made.payload })
      const [kept] = parseBatch('cam-1', 'epoch', wire, undefined).records
      assert.equal(kept?.record.id, made.record.id)
      assert.equal(kept?.record.attachments.length, made.record.attachments.length)
    }),
    { numRuns: 2_000 },
  )
  assert.ok(taken > 20, `only ${taken} bodies were taken: the test says little`)
})

test('attachments of one name, and bytes that are no base64, are refused by name', () => {
  assert.equal(take({ id: 'a', attachments: [photo] }).record.attachments.length, 1)
  assert.throws(() => take({ id: 'a', attachments: [photo, photo] }), /two attachments are named "photo\.jpg"/)
  assert.throws(() => take({ id: 'a', attachments: [{ ...photo, base64: 'anBl*w==' }] }), /attachments\[0\]\.base64 is "anBl\*w=="/)
  assert.throws(() => take({ id: 'a', attachments: [{ ...photo, contentType: 'text/plain; charset="utf-8"' }] }), /attachments\[0\]\.contentType/)
})
