import { test } from 'node:test'
import assert from 'node:assert/strict'
import { FakeApi } from '../../test/kit/fake-api.ts'
import { FakeClock } from '../base/clock.ts'
import { createClient, runElection } from './mod.ts'

test('one leads, another takes over when it goes silent, and gives back on stop', async () => {
  const api = new FakeApi()
  const clock = new FakeClock()
  const leading: string[] = []
  const candidate = (identity: string) => {
    const own = { away: false }
    const client = createClient({ request: (r, s) => (own.away ? Promise.reject(new Error('cut off')) : api.request(r, s)) })
    const stop = new AbortController()
    const lead = async (signal: AbortSignal): Promise<void> => {
      leading.push(identity)
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
      leading.splice(leading.indexOf(identity), 1)
    }
    const done = runElection({ client, clock, namespace: 'kube-system', name: 'skerry', identity, lead }, stop.signal)
    return { own, stop, done }
  }
  const a = candidate('a')
  await clock.advance(100)
  const b = candidate('b')
  await clock.advance(30_000)
  assert.deepEqual(leading, ['a'])
  a.own.away = true
  await clock.advance(12_500)
  assert.deepEqual(leading, [], 'a stops before b may start')
  await clock.advance(8_000)
  assert.deepEqual(leading, ['b'])
  a.own.away = false
  b.stop.abort()
  await b.done
  await clock.advance(4_000)
  assert.deepEqual(leading, ['a'])
  a.stop.abort()
  await a.done
})
