import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FakeClock } from './clock.ts'
import { AppError } from './errors.ts'
import { retry, waitAfter, type RetrySchedule } from './retry.ts'

const SCHEDULE: RetrySchedule = { firstMs: 100, factor: 2, maxMs: 1000, jitter: 0 }
const away = new AppError('unavailable', 'call: nobody is there')

test('waits grow to the cap and keep their spread there', () => {
  assert.deepEqual([1, 2, 3, 4, 5, 60].map((n) => waitAfter(SCHEDULE, n)), [100, 200, 400, 800, 1000, 1000])
  const jittered = { ...SCHEDULE, jitter: 0.5 }
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2000 }), fc.double({ min: 0, max: 1, noNaN: true }), (failures, random) => {
      const most = waitAfter(SCHEDULE, failures)
      const wait = waitAfter(jittered, failures, () => random)
      assert.ok(wait <= most && wait >= most / 2, `${wait} of ${most}`)
    }),
  )
})

test('what may help is tried again after the schedule’s waits', async () => {
  const clock = new FakeClock()
  const at: number[] = []
  const told: number[] = []
  const result = retry(
    async (attempt) => {
      at.push(clock.monotonic())
      if (attempt < 3) throw away
      return attempt
    },
    { schedule: SCHEDULE, clock, onRetry: (_error, wait) => told.push(wait) },
  )
  await clock.advance(700)
  assert.equal(await result, 3)
  assert.deepEqual(at, [0, 100, 300, 700])
  assert.deepEqual(told, [100, 200, 400])
  assert.equal(clock.pending, 0)
})

test('a refusal is thrown at once, and a schedule that ends throws the last failure', async () => {
  const clock = new FakeClock()
  await assert.rejects(retry(() => Promise.reject(new AppError('invalid', 'no')), { schedule: SCHEDULE, clock }), /no/)
  const ending = retry(() => Promise.reject(away), { schedule: { ...SCHEDULE, attempts: 2 }, clock })
  const failed = assert.rejects(ending, away)
  await clock.advance(100)
  await failed
})

test('an abort ends the wait with the signal’s reason', async () => {
  const clock = new FakeClock()
  const stop = new AbortController()
  const ended = assert.rejects(retry(() => Promise.reject(away), { schedule: SCHEDULE, clock, signal: stop.signal }), /enough/)
  await clock.advance(50)
  stop.abort(new Error('enough'))
  await ended
  assert.equal(clock.pending, 0, 'no timer is left behind')
})
