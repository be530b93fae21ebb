import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '../base/clock.ts'
import { createMemoryStore, type Store } from '../store/mod.ts'
import { WatchCache } from './watch-cache.ts'

test('reads of a store that others write to are answered from memory after one question for all, and show what was written before', async () => {
  await using inner = createMemoryStore()
  let asked = 0
  const slow: Store = {
    get: async (key, revision) => {
      asked++
      const found = await inner.get(key, revision)
      await new Promise((resolve) => setImmediate(resolve))
      return found
    },
    list: (prefix, options) => inner.list(prefix, options),
    put: (key, value, expected, options) => inner.put(key, value, expected, options),
    delete: (key, expected) => inner.delete(key, expected),
    watch: (prefix, from, signal) => inner.watch(prefix, from, signal),
    compact: (revision) => inner.compact(revision),
    [Symbol.asyncDispose]: async () => {},
  }
  const key = '/registry/configmaps/default/a'
  const stop = new AbortController()
  const cache = new WatchCache(slow, systemClock)
  await cache.load()
  const running = cache.run(stop.signal)
  try {
    let revision = 0
    let answers = 0
    const reader = async (): Promise<void> => {
      for (let i = 0; i < 10; i++, answers++) {
        const written = revision
        const found = await cache.read(key)
        assert.ok((found?.revision ?? 0) >= written, `${found?.revision} is older than ${written}`)
      }
    }
    const writer = async (): Promise<void> => {
      for (let i = 0; i < 20; i++) {
        revision = await inner.put(key, `{"metadata":{"name":"a"},"n":${i}}`, revision)
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    await Promise.all([writer(), ...Array.from({ length: 16 }, reader)])
    assert.equal(answers, 160)
    assert.ok(asked <= 40, `${asked} questions`)
    assert.match((await cache.read(key))?.text ?? '', /"n":19/)
    await inner.delete(key, revision)
    assert.equal(await cache.read(key), undefined)
  } finally {
    stop.abort()
    await running
  }
})
