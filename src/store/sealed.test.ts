import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { storeSuite } from '../../test/suites/store.ts'
import { createMemoryStore } from './memory.ts'
import { reseal, sealStore, type SealKey } from './sealed.ts'

const key = (id: string): SealKey => ({ id, secret: randomBytes(32) })
const KEYS = [key('one'), key('two')]

storeSuite('sealed memory', async (options) => {
  const inner = createMemoryStore(options)
  const sealed = sealStore(inner, { prefixes: [''], keys: KEYS, writeWith: 'one' })
  return Object.assign(sealed, { stats: () => inner.stats() })
})

test('values below the prefixes are sealed at rest, others are not, and watchers see them open', async () => {
  await using inner = createMemoryStore()
  const store = sealStore(inner, { prefixes: ['/s/'], keys: KEYS, writeWith: 'one' })
  const revision = await store.put('/s/a', 'hunter2', 0)
  await store.put('/c/a', 'plain', 0)
  await store.put('/s/a', 'hunter3', revision)
  assert.match((await inner.get('/s/a')).entry?.value ?? '', /^skerry:sealed:v1:one:[A-Za-z0-9+/=]+$/)
  assert.equal((await inner.get('/c/a')).entry?.value, 'plain')
  assert.deepEqual((await store.list('/')).entries.map((e) => e.value), ['plain', 'hunter3'])
  const stop = new AbortController()
  const seen: (string | undefined)[] = []
  for await (const batch of store.watch('/s/', 0, stop.signal)) {
    for (const e of batch) seen.push(e.value, e.previous)
    if (seen.length >= 4) stop.abort()
  }
  assert.deepEqual(seen, ['hunter2', undefined, 'hunter3', 'hunter2'])
})

test('a sealed value that was changed, moved or lost its key does not open', async () => {
  await using inner = createMemoryStore()
  const store = sealStore(inner, { prefixes: ['/s/'], keys: KEYS, writeWith: 'one' })
  await store.put('/s/a', 'hunter2', 0)
  const sealed = (await inner.get('/s/a')).entry?.value as string
  await inner.put('/s/moved', sealed, 0)
  await assert.rejects(() => store.get('/s/moved'), /"\/s\/moved": its sealed value does not open/)
  const bytes = Buffer.from(sealed.split(':').at(-1) as string, 'base64')
  bytes[bytes.length - 1] = (bytes[bytes.length - 1] as number) ^ 1
  await inner.put('/s/bent', `skerry:sealed:v1:one:${bytes.toString('base64')}`, 0)
  await assert.rejects(() => store.get('/s/bent'), { code: 'corrupt' })
  const without = sealStore(inner, { prefixes: ['/s/'], keys: KEYS.slice(1), writeWith: 'two' })
  await assert.rejects(() => without.get('/s/a'), /sealed with key "one", which is not among the keys/)
})

test('reseal brings plain and old values under the newest key, and back into the clear', async () => {
  await using inner = createMemoryStore()
  await inner.put('/s/plain', 'p', 0)
  await sealStore(inner, { prefixes: ['/s/'], keys: KEYS, writeWith: 'one' }).put('/s/old', 'o', 0)
  const now = { prefixes: ['/s/'], keys: KEYS, writeWith: 'two' }
  assert.equal(await reseal(inner, now), 2)
  assert.equal(await reseal(inner, now), 0)
  assert.deepEqual((await inner.list('/s/')).entries.map((e) => e.value.split(':')[3]), ['two', 'two'])
  assert.deepEqual((await sealStore(inner, { ...now, keys: KEYS.slice(1) }).list('/s/')).entries.map((e) => e.value), ['o', 'p'])
  assert.equal(await reseal(inner, { ...now, writeWith: undefined }), 2)
  assert.deepEqual((await inner.list('/s/')).entries.map((e) => e.value), ['o', 'p'])
})
