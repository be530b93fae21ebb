import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FakeClock } from '../../base/clock.ts'
import { collectAtRest, FIRST_MS, LOOK_MS, REST_MS } from './rest.ts'

test('garbage is collected after a rest in which the heap has grown, never of a busy process', async () => {
  const clock = new FakeClock()
  const stop = new AbortController()
  let used = 40 << 20
  let busy = 0
  let times = 0
  const collect = (): void => {
    times++
    used -= 10 << 20
  }
  const looks = async (ms: number): Promise<void> => {
    for (let at = 0; at < ms; at += LOOK_MS) await clock.advance(LOOK_MS)
  }
  const running = collectAtRest(clock, stop.signal, { collect, used: () => used, busy: () => busy })
  await clock.advance(FIRST_MS)
  assert.equal(times, 1, 'after the start')
  await looks(REST_MS)
  assert.equal(times, 1, 'nothing has grown')
  used += 8 << 20
  busy = 0.5
  await looks(REST_MS)
  assert.equal(times, 1, 'busy')
  busy = 0.001
  await looks(REST_MS - LOOK_MS)
  assert.equal(times, 1, 'no minute of rest')
  await looks(LOOK_MS)
  assert.equal(times, 2)
  used += 30 << 20
  await looks(LOOK_MS)
  assert.equal(times, 3, 'much garbage: a short rest is enough')
  used += 30 << 20
  busy = 0.5
  await looks(LOOK_MS)
  assert.equal(times, 3, 'busy with it')
  stop.abort()
  await running
})

test('without the engine’s leave nothing is done', async () => {
  await collectAtRest(new FakeClock(), new AbortController().signal, { collect: undefined })
})
