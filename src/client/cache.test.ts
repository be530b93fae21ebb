import { test } from 'node:test'
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FakeApi } from '../../test/kit/fake-api.ts'
import { until } from '../../test/kit/until.ts'
import type { KubeObject } from '../api/meta.ts'
import { createCaches, createClient, openFileStash, type ResourceRef } from './mod.ts'

interface Config extends KubeObject {
  data?: Record<string, string>
}
const CONFIGS: ResourceRef = { group: '', version: 'v1', resource: 'configmaps', kind: 'ConfigMap', namespaced: true }
const QUICK = { firstMs: 2, factor: 1, maxMs: 2, jitter: 0 }

function setup() {
  const api = new FakeApi()
  const client = createClient(api)
  const configs = client.resource<Config>(CONFIGS)
  const put = (name: string, value: string): Promise<Config> => configs.create({ metadata: { name, namespace: 'a' }, data: { value } })
  return { api, client, configs, put }
}

async function withCaches<T>(caches: ReturnType<typeof createCaches>, work: () => Promise<T>): Promise<T> {
  const stop = new AbortController()
  const running = caches.run(stop.signal)
  try {
    return await work()
  } finally {
    stop.abort()
    await running
  }
}

test('a cache lists, follows changes, keeps indexes and tells listeners', async () => {
  const { client, configs, put } = setup()
  await put('one', 'x')
  const caches = createCaches(client, { schedule: QUICK })
  const cache = caches.cache<Config>(CONFIGS, { indexes: { value: (c) => [c.data?.['value'] ?? ''] } })
  assert.equal(caches.cache(CONFIGS), cache)
  await withCaches(caches, async () => {
    await cache.synced()
    const seen: string[] = []
    cache.onChange((now, old) => seen.push(`${old?.data?.['value']}>${now?.data?.['value']}`))
    await put('two', 'x')
    await until('two', () => cache.byIndex('value', 'x').length === 2)
    await configs.patch('one', 'a', { data: { value: 'y' } }, 'merge')
    await configs.delete('two', 'a')
    await until('gone', () => cache.get('two', 'a') === undefined && cache.byIndex('value', 'y').length === 1)
    assert.deepEqual(cache.byIndex('value', 'x'), [])
    assert.deepEqual(seen, ['undefined>x', 'undefined>x', 'x>y', 'x>undefined'])
    assert.equal(cache.list('a').length, 1)
    assert.equal(cache.list('b').length, 0)
  })
})

test('after a break the watch resumes without a list and misses nothing', async () => {
  const { api, client, put } = setup()
  const caches = createCaches(client, { schedule: QUICK })
  const cache = caches.cache<Config>(CONFIGS)
  await withCaches(caches, async () => {
    await cache.synced()
    await put('before', '1')
    await until('before', () => cache.get('before', 'a'))
    api.setAway(true)
    await until('a try', () => api.calls.filter((c) => c.includes('watch')).length > 1)
    api.setAway(false)
    await put('after', '2')
    await until('after', () => cache.get('after', 'a'))
    assert.equal(api.calls.filter((c) => c.startsWith('GET') && !c.includes('watch')).length, 1)
  })
})

test('when the revision is compacted the cache lists again and tells what went meanwhile', async () => {
  const { api, client, configs, put } = setup()
  await put('stays', '1')
  await put('goes', '1')
  const caches = createCaches(client, { schedule: QUICK })
  const cache = caches.cache<Config>(CONFIGS)
  await withCaches(caches, async () => {
    await cache.synced()
    const seen: string[] = []
    cache.onChange((now, old) => seen.push(now ? `+${now.metadata?.name}` : `-${old?.metadata?.name}`))
    api.setAway(true)
    api.setAway(false)
    await configs.delete('goes', 'a')
    api.compact()
    await until('the deletion', () => cache.get('goes', 'a') === undefined)
    assert.deepEqual(seen, ['+stays', '+goes', '-goes'])
  })
})

test('a stash fills the cache without the API, and the watch goes on from its revision', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-stash-'))
  try {
    const { api, client, put } = setup()
    await put('known', '1')
    {
      await using stash = await openFileStash(directory, { delayMs: 1 })
      const caches = createCaches(client, { schedule: QUICK, stash })
      const cache = caches.cache<Config>(CONFIGS)
      await withCaches(caches, async () => {
        await cache.synced()
        await put('late', '2')
        await until('late', () => cache.get('late', 'a'))
      })
    }
    api.setAway(true)
    api.calls.length = 0
    await using stash = await openFileStash(directory)
    const caches = createCaches(client, { schedule: QUICK, stash })
    const cache = caches.cache<Config>(CONFIGS)
    await withCaches(caches, async () => {
      await cache.synced(AbortSignal.timeout(2_000))
      assert.deepEqual(cache.list().map((c) => c.metadata?.name), ['known', 'late'])
      api.setAway(false)
      await put('online', '3')
      await until('online', () => cache.get('online', 'a'))
      assert.ok(api.calls.every((c) => c.startsWith('POST') || c.includes('watch=true')), api.calls.join())
    })
  } finally {
    await rm(directory, { recursive: true })
  }
})
