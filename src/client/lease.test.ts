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

test('clocks that are years apart make nobody lead beside another, nor wait longer for one that died', async () => {
  const api = new FakeApi()
  const [behind, ahead] = [new FakeClock(Date.UTC(1970, 0, 2)), new FakeClock(Date.UTC(2040, 0, 1))]
  let leaders: string[] = []
  let most = 0
  const candidate = (identity: string, clock: FakeClock) => {
    const own = { away: false }
    const client = createClient({ request: (r, s) => (own.away ? Promise.reject(new Error('cut off')) : api.request(r, s)) })
    const stop = new AbortController()
    const lead = async (signal: AbortSignal): Promise<void> => {
      leaders.push(identity)
      most = Math.max(most, leaders.length)
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
      leaders = leaders.filter((l) => l !== identity)
    }
    return { own, stop, done: runElection({ client, clock, namespace: 'kube-system', name: 'skerry', identity, lead }, stop.signal) }
  }
  // Both clocks run at the same pace, whatever they show; the wall of one jumps in between.
  const pass = async (ms: number): Promise<void> => {
    for (let t = 0; t < ms; t += 500) await Promise.all([behind.advance(500), ahead.advance(500)])
  }
  const old = candidate('behind', behind)
  await pass(1_000)
  const young = candidate('ahead', ahead)
  await pass(40_000)
  assert.deepEqual(leaders, ['behind'], 'its renewals of 1970 count')
  behind.jump(70 * 365 * 86_400_000)
  await pass(40_000)
  assert.deepEqual(leaders, ['behind'], 'a jump of its own wall clock ends nothing')
  old.own.away = true
  await pass(20_000)
  assert.deepEqual(leaders, ['ahead'], 'silence is measured by who waits')
  assert.equal(most, 1)
  for (const c of [old, young]) c.stop.abort()
  await Promise.all([old.done, young.done])
})
