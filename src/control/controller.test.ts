import { test } from 'node:test'
import assert from 'node:assert/strict'
import { FakeApi } from '../../test/kit/fake-api.ts'
import { until } from '../../test/kit/until.ts'
import { systemClock } from '../base/clock.ts'
import { KINDS } from '../api/kinds.ts'
import { createCaches, createClient } from '../client/mod.ts'
import { setLogSink } from '../base/log.ts'
import { createController, createManager, TerminalError, watchObjects } from './mod.ts'

test('a controller reconciles each object after sync, retries failures and gives up on terminal ones', async () => {
  const former = setLogSink(() => {})
  const client = createClient(new FakeApi())
  const configs = client.resource(KINDS.ConfigMap)
  for (const name of ['ok', 'flaky', 'bad']) await configs.create({ metadata: { name, namespace: 'd' } })
  const caches = createCaches(client)
  const cache = caches.cache(KINDS.ConfigMap)
  const calls: string[] = []
  const controller = createController({
    name: 'test',
    clock: systemClock,
    sources: [watchObjects(cache)],
    caches: [cache],
    schedule: { firstMs: 1, factor: 1, maxMs: 1, jitter: 0 },
    async reconcile(key) {
      calls.push(key)
      if (key === 'd/bad') throw new TerminalError('no use')
      if (key === 'd/flaky' && calls.filter((c) => c === key).length < 3) throw new Error('not yet')
    },
  })
  const stop = new AbortController()
  const manager = createManager([controller])
  const running = Promise.all([caches.run(stop.signal), manager.run(stop.signal)])
  await manager.ready
  await until('three tries', () => calls.filter((c) => c === 'd/flaky').length === 3)
  await configs.patch('bad', 'd', { data: { a: 'b' } }, 'merge')
  await until('the change', () => calls.filter((c) => c === 'd/bad').length === 2)
  stop.abort()
  await running
  assert.deepEqual(calls.toSorted(), ['d/bad', 'd/bad', 'd/flaky', 'd/flaky', 'd/flaky', 'd/ok'])
  setLogSink(former)
})
