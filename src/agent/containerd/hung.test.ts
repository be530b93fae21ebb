import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FakeClock } from '../../base/clock.ts'
import { AppError } from '../../base/errors.ts'
import { LOOK_MS, MOST_SILENT, untilHung } from './hung.ts'

test('a daemon hangs when it is silent several times in a row; one that answers in between, or refuses, does not', async () => {
  const clock = new FakeClock()
  const stop = new AbortController()
  const silence = (): never => {
    throw new AppError('timeout', 'no answer within 10000 ms')
  }
  let says: () => unknown = silence
  let asked = 0
  let hung = false
  const watching = untilHung(async () => (asked++, says()), clock, stop.signal).then(() => (hung = true))
  await clock.advance(LOOK_MS * (MOST_SILENT - 1))
  says = () => 'ready'
  await clock.advance(LOOK_MS)
  says = silence
  await clock.advance(LOOK_MS * (MOST_SILENT - 1))
  says = () => {
    throw new AppError('unavailable', 'connection refused')
  }
  await clock.advance(LOOK_MS)
  says = silence
  await clock.advance(LOOK_MS * (MOST_SILENT - 1))
  assert.deepEqual([asked, hung], [3 * MOST_SILENT - 1, false])
  await clock.advance(LOOK_MS)
  await watching
  assert.equal(hung, true)

  const given = untilHung(async () => undefined, clock, stop.signal)
  stop.abort(new Error('over'))
  await assert.rejects(given, /over/)
  assert.equal(clock.pending, 0)
})
