import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '../base/clock.ts'
import { createMemoryStore } from '../store/mod.ts'
import { WatchCache } from './watch-cache.ts'

const KEY = '/registry/things/'

test('pages of a moment show that moment, while random writes go on', async () => {
  await using store = createMemoryStore()
  const cache = new WatchCache(store, systemClock)
  await cache.load()
  const stop = new AbortController()
  const running = cache.run(stop.signal)
  const things = cache.resource('things')
  let seed = 7
  const random = (n: number): number => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) % n
  const write = async (): Promise<void> => {
    const key = `${KEY}${['a', 'b'][random(2)]}/${random(20)}`
    const { entry } = await store.get(key)
    if (entry && random(3) === 0) await store.delete(key, entry.revision)
    else await store.put(key, `{"metadata":{"n":${random(1_000)}}}`, entry?.revision ?? 0)
  }
  for (let i = 0; i < 60; i++) await write()
  for (let round = 0; round < 60; round++) {
    const prefix = random(2) === 0 ? KEY : `${KEY}a/`
    const { entries, revision } = await store.list(prefix)
    const got: string[] = []
    for (let after = ''; ; ) {
      await cache.refresh()
      const page = things.pageAt(revision, { prefix, after, limit: 1 + random(5) })
      assert.ok(page, 'the window keeps so few changes')
      got.push(...page.items.map((e) => `${e.key} ${e.text} ${e.revision}`))
      after = page.items.at(-1)?.key ?? after
      assert.equal(page.remaining, entries.length - got.length)
      if (page.remaining === 0) break
      for (let n = random(4); n > 0; n--) await write()
    }
    assert.deepEqual(got, entries.map((e) => `${e.key} ${e.value} ${e.revision}`))
  }
  stop.abort()
  await running
})

test('a moment before the state was loaded, or one whose changes have left the window, is not answered', async () => {
  await using store = createMemoryStore()
  for (let i = 0; i < 5; i++) await store.put(`${KEY}${i}`, '{"metadata":{"n":1}}', 0)
  const cache = new WatchCache(store, systemClock)
  await cache.load()
  const things = cache.resource('things')
  assert.equal(things.pageAt(4, { prefix: KEY, after: '', limit: 0 }), undefined)
  assert.equal(things.pageAt(5, { prefix: KEY, after: '', limit: 0 })?.items.length, 5)
  for (let n = 6; n < 1_100; n++) things.apply({ type: 'put', key: `${KEY}0`, value: '{}', revision: n, created: 1, previous: '{}' }, true)
  assert.equal(things.pageAt(5, { prefix: KEY, after: '', limit: 0 }), undefined)
})
