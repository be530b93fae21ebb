import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FakeClock, systemClock } from './clock.ts'

test('timers fire in order of time, those made on the way too', async () => {
  const clock = new FakeClock()
  const fired: string[] = []
  clock.timer('b', 20, () => fired.push(`b@${clock.monotonic()}`))
  clock.timer('a', 10, () => {
    fired.push(`a@${clock.monotonic()}`)
    clock.timer('c', 5, () => fired.push(`c@${clock.monotonic()}`))
  })
  const cancelled = clock.timer('never', 15, () => fired.push('never'))
  cancelled.cancel()
  cancelled.cancel()
  await clock.advance(20)
  assert.deepEqual(fired, ['a@10', 'c@15', 'b@20'])
  assert.equal(clock.pending, 0)
})

test('a jump of the wall clock moves no timer', async () => {
  const clock = new FakeClock(1000)
  let fired = false
  clock.timer('t', 100, () => (fired = true))
  clock.jump(365 * 86_400_000)
  await clock.advance(99)
  assert.equal(fired, false)
  assert.equal(clock.now() - 1000, 365 * 86_400_000 + 99)
  await clock.advance(1)
  assert.equal(fired, true)
})

test('a sleep that is called off rejects with the reason and leaves no timer', async () => {
  for (const clock of [new FakeClock(), systemClock]) {
    const stop = new AbortController()
    const slept = clock.sleep(60_000, stop.signal)
    stop.abort(new Error('called off'))
    await assert.rejects(slept, /called off/)
    await assert.rejects(clock.sleep(1, stop.signal), /called off/)
    if (clock instanceof FakeClock) assert.equal(clock.pending, 0)
  }
})

test('a wait longer than a machine timer can be does not fire at once', async () => {
  let fired = false
  const timer = systemClock.timer('year', 365 * 86_400_000, () => (fired = true))
  await systemClock.sleep(10)
  timer.cancel()
  assert.equal(fired, false)
})
