import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FakeClock } from '../base/clock.ts'
import { allottedMs, MAX_REQUEST_MS, within } from './deadline.ts'
import { requestInfo } from './request-info.ts'

const allotted = (path: string, query = ''): number | undefined => allottedMs(requestInfo('GET', path, new URLSearchParams(query)), new URLSearchParams(query))

test('a request has a minute, less when it says so, and what streams has no limit', () => {
  assert.equal(allotted('/api/v1/pods'), MAX_REQUEST_MS)
  assert.equal(allotted('/version', 'timeout=1m30s'), MAX_REQUEST_MS)
  for (const [text, ms] of [['5s', 5_000], ['1.5s', 1_500], ['20ms', 20], ['1s500ms', 1_500], ['0s', MAX_REQUEST_MS], ['0', MAX_REQUEST_MS]] as const) assert.equal(allotted('/api/v1/pods', `timeout=${text}`), ms, text)
  assert.equal(allotted('/api/v1/pods', 'watch=1&timeout=5s'), undefined)
  assert.equal(allotted('/api/v1/namespaces/default/pods/p/log'), undefined)
  for (const text of ['5', 'soon', '-5s', '5 s', 's']) assert.throws(() => allotted('/api/v1/pods', `timeout=${text}`), /invalid timeout specified in the request URL/, text)
})

test('an answer that comes in time is given, one that does not is let go and told as 504', async () => {
  const clock = new FakeClock()
  const late: string[] = []
  const work = Promise.withResolvers<string>()
  assert.equal(await within(clock, 100, Promise.resolve('quick'), (o) => late.push(o)), 'quick')
  await assert.rejects(within(clock, 100, Promise.reject<string>(new Error('own')), (o) => late.push(o)), /own/)
  const slow = within(clock, 100, work.promise, (o) => late.push(o))
  const told = assert.rejects(slow, (e: Error & { status: { code: number; reason: string } }) => e.status.code === 504 && e.status.reason === 'Timeout')
  await clock.advance(100)
  await told
  work.resolve('slow')
  await clock.advance(0)
  assert.deepEqual(late, ['slow'])
})
