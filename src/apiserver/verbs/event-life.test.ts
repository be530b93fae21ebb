import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startHarness } from '../../../test/kit/api-harness.ts'
import { FakeClock } from '../../base/clock.ts'
import { createMemoryStore } from '../../store/mod.ts'

test('Events of a while end together, each after an hour at least', async () => {
  const clock = new FakeClock(Date.UTC(2026, 0, 1, 10, 2))
  const ttls: (number | undefined)[] = []
  const store = createMemoryStore({ clock })
  const put = store.put.bind(store)
  store.put = (key, value, expected, options) => {
    if (key.includes('/events/')) ttls.push(options?.ttlSeconds)
    return put(key, value, expected, options)
  }
  await using h = await startHarness({ clock, store })
  const events = '/api/v1/namespaces/default/events'
  const make = (name: string) => h.call('POST', events, { metadata: { name }, involvedObject: { namespace: 'default' }, reason: 'Test' })
  assert.equal((await make('a')).status, 201)
  await clock.advance(120_000)
  await make('b')
  assert.equal((await h.call('PATCH', `${events}/a`, { count: 2 }, { headers: { 'content-type': 'application/merge-patch+json' } })).status, 200)
  await clock.advance(60_000)
  await make('c')
  await clock.advance(1_000)
  await make('d')
  assert.deepEqual(ttls, [3_780, 3_660, 3_660, 3_600, 3_899])
})
