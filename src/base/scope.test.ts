import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Scope } from './scope.ts'

test('close aborts, waits for the work, then runs the closers, last registered first', async () => {
  const scope = new Scope('s')
  const seen: string[] = []
  scope.onClose(() => void seen.push('first'))
  scope.onClose(async () => void seen.push('second'))
  scope.run('work', async (signal) => {
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
    await Promise.resolve()
    seen.push('work')
  })
  await Promise.all([scope.close(), scope.close()])
  assert.deepEqual(seen, ['work', 'second', 'first'])
  await scope.close()
  assert.equal(seen.length, 3, 'a later close does nothing again')
})

test('the first failure aborts everything and is what done and close throw', async () => {
  const scope = new Scope('s')
  const told: unknown[] = []
  scope.onFailure((error) => told.push(error))
  const failure = new Error('first')
  scope.run('other', async (signal) => {
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
    throw new Error('second, because of the first')
  })
  scope.run('work', async () => {
    await Promise.resolve()
    throw failure
  })
  await assert.rejects(scope.done(), failure)
  assert.ok(scope.signal.aborted)
  await assert.rejects(scope.close(), failure)
  assert.deepEqual(told, [failure])
})

test('an abort of the scope is no failure, an abort of something else is', async () => {
  const parent = new AbortController()
  const scope = new Scope('s', parent.signal)
  scope.run('work', (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))))
  parent.abort()
  await scope.done()
  await scope.close()

  const other = new Scope('o')
  other.run('work', () => Promise.reject(AbortSignal.abort().reason))
  await assert.rejects(other.done(), { name: 'AbortError' })
  await assert.rejects(other.close(), { name: 'AbortError' })
})

test('a closer that fails does not stop the others', async () => {
  const scope = new Scope('s')
  let ran = false
  scope.onClose(() => void (ran = true))
  scope.onClose(() => Promise.reject(new Error('stuck')))
  await assert.rejects(scope.close(), /stuck/)
  assert.ok(ran)
})

test('a scope whose parent has ended already begins aborted', async () => {
  await using scope = new Scope('s', AbortSignal.abort())
  assert.ok(scope.signal.aborted)
})
