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
  // Mostly right, so that what is odd is seen alone.
  const or = <T>(right: readonly T[], odd: fc.Arbitrary<T>): fc.Arbitrary<T> => fc.oneof({ weight: 8, arbitrary: fc.constantFrom(...right) }, { weight: 1, arbitrary: odd })
  const text = fc.string({ maxLength: 300 })
  const attachment = fc.record({
    name: or(['a', 'b', 'photo.jpg', '..'], text),
    contentType: or(['image/jpeg', 'text/plain; charset=utf-8', 'text/plain; charset="utf-8"', 'a/b; c=d; e=f'], text),
    base64: or(['', 'YQ==', 'YWJj'], fc.oneof(fc.base64String(), text)),
  })
  const time = or<unknown>([undefined, 1_000, '2026-01-31T12:00:00Z'], fc.oneof(fc.double(), text, fc.date().map(String)))
  const body = fc.record({ id: or(['cam-1/x/1', ''], text), time, data: or<unknown>([{ lane: 1 }], fc.jsonValue()), attachments: fc.array(attachment, { maxLength: 3 }) }, { requiredKeys: ['id'] })
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
  assert.ok(taken > 200, `only ${taken} bodies were taken: the test says little`)
})

test('attachments of one name, and bytes that are no base64, are refused by name', () => {
  assert.equal(take({ id: 'a', attachments: [photo] }).record.attachments.length, 1)
  assert.throws(() => take({ id: 'a', attachments: [photo, photo] }), /two attachments are named "photo\.jpg"/)
  assert.throws(() => take({ id: 'a', attachments: [{ ...photo, base64: 'anBl*w==' }] }), /attachments\[0\]\.base64 is "anBl\*w=="/)
  assert.throws(() => take({ id: 'a', attachments: [{ ...photo, contentType: 'text/plain; charset="utf-8"' }] }), /attachments\[0\]\.contentType/)
})
