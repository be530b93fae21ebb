import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AppError, hasCode, isAbort, messageOf } from './errors.ts'

test('a code is found anywhere down the causes', () => {
  const error = new Error('outer', { cause: new AppError('conflict', 'write: changed meanwhile', { cause: new Error('db') }) })
  assert.ok(hasCode(error, 'conflict'))
  assert.ok(!hasCode(error, 'unavailable'))
  assert.ok(!hasCode('text', 'conflict'))
})

test('the code says whether trying again helps, unless told otherwise', () => {
  assert.deepEqual(['unavailable', 'timeout', 'full', 'invalid', 'conflict'].map((c) => new AppError(c as 'full', '').retryable), [true, true, true, false, false])
  assert.equal(new AppError('unavailable', 'closed for good', { retryable: false }).retryable, false)
})

test('the message has the causes, and none of them twice', () => {
  const io = new Error('ENOSPC: no space')
  assert.equal(messageOf(new AppError('full', 'append: the disk refused', { cause: io })), 'append: the disk refused: ENOSPC: no space')
  assert.equal(messageOf(new AppError('full', 'append: ENOSPC: no space', { cause: io })), 'append: ENOSPC: no space')
  assert.equal(messageOf(new AggregateError([new Error('a'), new Error('b'), new Error('a')])), 'a; b')
  assert.equal(messageOf(undefined), 'undefined')
  assert.equal(messageOf(new TypeError('')), 'TypeError')
})

test('an abort is known by name or code', () => {
  assert.ok(isAbort(AbortSignal.abort().reason))
  assert.ok(isAbort(Object.assign(new Error('x'), { code: 'ABORT_ERR' })))
  assert.ok(!isAbort(new AppError('timeout', 'x')))
})
