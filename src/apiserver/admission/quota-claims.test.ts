import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FakeClock } from '../../base/clock.ts'
import { setLogSink } from '../../base/log.ts'
import { createMemoryStore } from '../../store/mod.ts'
import type { Store } from '../../store/store.ts'
import { startHarness, type Harness } from '../../../test/kit/api-harness.ts'
import { until } from '../../../test/kit/until.ts'

setLogSink(() => undefined)
const MAPS = '/api/v1/namespaces/default/configmaps'
const QUOTAS = '/api/v1/namespaces/default/resourcequotas'

/** A memory store that does not know what is newest, as one does that others write to; with what was noted in it. */
function sharedStore(): { store: Store; noted(): Promise<number> } {
  const inner = createMemoryStore()
  const store: Store = {
    get: (key, revision) => inner.get(key, revision),
    list: (prefix, options) => inner.list(prefix, options),
    put: (key, value, expected, options) => inner.put(key, value, expected, options),
    delete: (key, expected) => inner.delete(key, expected),
    watch: (prefix, from, signal) => inner.watch(prefix, from, signal),
    compact: (revision) => inner.compact(revision),
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  }
  return { store, noted: async () => (JSON.parse((await inner.get('/registry/ranges/quotas/default')).entry?.value ?? '[]') as unknown[]).length }
}

const create = async (h: Harness, name: string): Promise<number> => (await h.call('POST', MAPS, { metadata: { name } })).status

test('several servers together never exceed a quota, and what is deleted is free at once', async () => {
  const { store } = sharedStore()
  await using one = await startHarness({ store })
  await using two = await startHarness({ store })
  await one.call('POST', QUOTAS, { metadata: { name: 'q' }, spec: { hard: { configmaps: '5' } } })
  await until('the other server knows the quota', async () => (await two.call('GET', `${QUOTAS}/q`)).status === 200)
  for (let round = 0; round < 3; round++) {
    const said = await Promise.all(Array.from({ length: 12 }, (_, i) => create(i % 2 ? one : two, `m-${round}-${i}`)))
    assert.deepEqual(said.toSorted(), [...Array(5).fill(201), ...Array(7).fill(403)])
    const refused = await two.call<{ message: string }>('POST', MAPS, { metadata: { name: 'more' } })
    assert.equal(refused.body.message, 'configmaps "more" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=5, limited: configmaps=5')
    await Promise.all(said.map((status, i) => status === 201 && (i % 2 ? two : one).call('DELETE', `${MAPS}/m-${round}-${i}`)))
  }
  assert.equal(await create(one, 'last'), 201)
})

test('a write that was noted and refused later counts only for a while; the notes go with the last quota', async () => {
  const clock = new FakeClock()
  const { store, noted } = sharedStore()
  await using h = await startHarness({ store, clock })
  await h.call('POST', QUOTAS, { metadata: { name: 'q' }, spec: { hard: { configmaps: '2' } } })
  assert.equal(await create(h, 'a'), 201)
  assert.equal(await create(h, 'a'), 409, 'refused after it was noted')
  assert.equal(await create(h, 'b'), 403, 'its note counts')
  await clock.advance(11_000)
  assert.equal(await create(h, 'b'), 201)
  assert.ok((await noted()) > 0)
  await h.call('DELETE', `${QUOTAS}/q`)
  assert.equal(await noted(), 0)
})
