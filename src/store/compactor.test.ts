import assert from 'node:assert/strict'
import { it } from 'node:test'
import { FakeClock } from '../base/clock.ts'
import { compactionTarget, runCompactor } from './compactor.ts'

const policy = { intervalMs: 60_000, keepMs: 300_000, keepRevisions: 1000, maxRevisions: 100_000, stepRevisions: 100 }
const target = (atMs: number, revision: number, samples: [number, number][], compacted = 0) =>
  compactionTarget(samples.map(([at, r]) => ({ atMs: at, revision: r })), { atMs, revision }, compacted, policy)

it('keeps five minutes and the newest thousand revisions, whichever is more', () => {
  assert.equal(target(300_000, 5000, [[0, 2000], [60_000, 4000]]), 2000, 'five minutes ago it was at 2000')
  assert.equal(target(300_000, 2500, [[0, 2000]]), 1500, 'a thousand stay however old')
  assert.equal(target(120_000, 5000, [[0, 2000]]), undefined, 'nothing is old enough')
  assert.equal(target(300_000, 5000, [[0, 2000]], 2000), undefined, 'already done')
  assert.equal(target(300_000, 5000, [[0, 2000]], 1901), undefined, 'not worth it for 99')
  assert.equal(target(300_000, 5000, [[0, 2000]], 1900), 2000, 'a hundred are')
})

it('forgets even young history when there is too much of it', () => {
  assert.equal(target(120_000, 250_000, [[0, 10]]), 150_000)
})

it('compacts as time goes by, survives failures, and stops on abort', async () => {
  const clock = new FakeClock()
  const stop = new AbortController()
  const asked: number[] = []
  let revision = 0
  const store = {
    revision: () => (revision += 2000),
    compacted: () => asked.at(-1) ?? 0,
    compact: async (r: number) => void asked.push(r),
  }
  const running = runCompactor(store, clock, {}, stop.signal)
  await clock.advance(20 * 60_000)
  assert.ok(asked.length >= 10, `${asked.length} compactions in 20 minutes`)
  assert.ok(revision - (asked.at(-1) ?? 0) <= 2000 * 8, 'about five minutes are kept')
  stop.abort()
  await assert.rejects(running, { name: 'AbortError' })
  assert.equal(clock.pending, 0)
})
