import assert from 'node:assert/strict'
import { EventEmitter, getEventListeners } from 'node:events'
import { test } from 'node:test'
import { abortable, aborted } from './abort.ts'
import { drained } from './drained.ts'

test('aborted resolves with the abort, or at once', async () => {
  const stop = new AbortController()
  let over = false
  const waiting = aborted(stop.signal).then(() => (over = true))
  await Promise.resolve()
  assert.equal(over, false)
  stop.abort()
  await waiting
  await aborted(stop.signal)
})

test('abortable settles like the work and leaves no listener', async () => {
  const stop = new AbortController()
  assert.equal(await abortable(Promise.resolve(1), stop.signal), 1)
  await assert.rejects(abortable(Promise.reject(new Error('no')), stop.signal), /no/)
  assert.equal(await abortable(Promise.resolve(2), undefined), 2)
  assert.equal(getEventListeners(stop.signal, 'abort').length, 0)
})

test('abortable gives up with the reason; a late failure of the work is not unhandled', async () => {
  const stop = new AbortController()
  const work = Promise.withResolvers<void>()
  const waiting = assert.rejects(abortable(work.promise, stop.signal), /enough/)
  stop.abort(new Error('enough'))
  await waiting
  work.reject(new Error('late'))
  await assert.rejects(abortable(Promise.withResolvers<void>().promise, stop.signal), /enough/)
  // An unhandled rejection would fail this file.
  await new Promise((resolve) => setImmediate(resolve))
})

test('drained ends on drain, close or abort, and takes its listeners along', async () => {
  const stop = new AbortController()
  for (const end of [(s: EventEmitter) => s.emit('drain'), (s: EventEmitter) => s.emit('close'), () => stop.abort()]) {
    const stream = new EventEmitter()
    const waiting = drained(stream, stop.signal)
    end(stream)
    await waiting
    assert.deepEqual(stream.eventNames(), [])
  }
  assert.equal(getEventListeners(stop.signal, 'abort').length, 0)
  await drained(new EventEmitter(), stop.signal)
})
