import { test } from 'node:test'
import assert from 'node:assert/strict'
import { FakeClock } from '../base/clock.ts'
import { WorkQueue } from './queue.ts'

test('a key is handed out once, and again after work when it was added meanwhile', async () => {
  const queue = new WorkQueue('t', new FakeClock())
  const stop = new AbortController()
  queue.add('a')
  queue.add('a')
  assert.equal(await queue.next(stop.signal), 'a')
  queue.add('a')
  const second = queue.next(stop.signal)
  queue.add('b')
  assert.equal(await second, 'b')
  queue.done('a')
  assert.equal(await queue.next(stop.signal), 'a')
  queue.done('a')
  queue.done('b')
  assert.equal(queue.length, 0)
  const waiting = queue.next(stop.signal)
  stop.abort()
  await assert.rejects(waiting, { name: 'AbortError' })
})

test('delays take the earliest, failures back off, forgetting starts over', async () => {
  const clock = new FakeClock()
  const queue = new WorkQueue('t', clock, { firstMs: 100, factor: 2, maxMs: 300, jitter: 0 })
  queue.addAfter('a', 50)
  queue.addAfter('a', 500)
  await clock.advance(49)
  assert.equal(queue.length, 0)
  await clock.advance(1)
  assert.equal(queue.length, 1)
  const signal = new AbortController().signal
  for (const wait of [100, 200, 300, 300]) {
    const key = await queue.next(signal)
    queue.retry(key)
    queue.done(key)
    await clock.advance(wait - 1)
    assert.equal(queue.length, 0)
    await clock.advance(1)
    assert.equal(queue.length, 1)
  }
  const key = await queue.next(signal)
  queue.forget(key)
  assert.equal(queue.retry(key), 1)
  queue.close()
  assert.equal(clock.pending, 0)
})
