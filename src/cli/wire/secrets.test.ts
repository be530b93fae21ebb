import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setLogSink } from '../../base/log.ts'
import { MemoryRecords } from '../../../test/kit/records.ts'
import { createMemoryStore } from '../../store/mod.ts'
import { addKey, keyFile, keysInFile, keysInStore, sealSecrets } from './secrets.ts'
import { shareIdentity } from './shared-identity.ts'

const SECRET = '/registry/secrets/default/s'

test('secrets are sealed at start, under the newest key after a rotation, and opened again without the flag', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'ad-secrets-'))
  const former = setLogSink(() => undefined)
  try {
    const path = keyFile(join(dir, 'state.db'))
    const place = keysInFile(path)
    await using inner = createMemoryStore()
    const raw = async (): Promise<string> => (await inner.get(SECRET)).entry?.value ?? ''
    assert.equal(await sealSecrets(inner, place, []), inner)
    await inner.put(SECRET, '{"password":"hunter2"}', 0)
    const first = await sealSecrets(inner, place, ['secrets'])
    const before = await raw()
    assert.ok(before.startsWith('skerry:sealed:') && !before.includes('hunter2'))
    assert.equal((await first.get(SECRET)).entry?.value, '{"password":"hunter2"}')
    const { keys } = await addKey(place)
    const second = await sealSecrets(inner, place, ['secrets'])
    assert.equal((await raw()).split(':')[3], keys[0]?.id)
    assert.equal((await second.get(SECRET)).entry?.value, '{"password":"hunter2"}')
    const plain = await sealSecrets(inner, place, [])
    assert.deepEqual([await raw(), (await plain.get(SECRET)).entry?.value], ['{"password":"hunter2"}', '{"password":"hunter2"}'])
    assert.equal((JSON.parse(await readFile(path, 'utf8')) as { keys: unknown[] }).keys.length, 2)
    await writeFile(path, 'torn')
    await assert.rejects(() => sealSecrets(inner, place, ['secrets']), /restore it from a backup/)
  } finally {
    setLogSink(former)
    await rm(dir, { recursive: true })
  }
})

test('other resources are sealed by pattern, and written in the clear again when they are no longer named', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'ad-secrets-'))
  const former = setLogSink(() => undefined)
  try {
    const place = keysInFile(keyFile(join(dir, 'state.db')))
    await using inner = createMemoryStore()
    const keys = ['secrets/a/s', 'configmaps/a/c', 'deployments.apps/a/d', 'devices.devices.kubeedge.io/a/x', 'events/a/e'].map((k) => `/registry/${k}`)
    for (const key of keys) await inner.put(key, `{"of":"${key}"}`, 0)
    const sealedNow = async (): Promise<string> => (await Promise.all(keys.map(async (k) => ((await inner.get(k)).entry?.value.startsWith('skerry:sealed:') ? 'x' : '-')))).join('')
    for (const [patterns, expected] of [[['configmaps'], '-x---'], [['*.apps', 'secrets'], 'x-x--'], [['*.'], 'xx---'], [['*.*'], 'xxxx-'], [['devices.devices.kubeedge.io'], '---x-'], [[], '-----']] as const) {
      const store = await sealSecrets(inner, place, patterns)
      assert.equal(await sealedNow(), expected, patterns.join())
      for (const key of keys) assert.equal((await store.get(key)).entry?.value, `{"of":"${key}"}`)
    }
    await assert.rejects(sealSecrets(inner, place, ['kms://x']), /names no resource/)
  } finally {
    setLogSink(former)
    await rm(dir, { recursive: true })
  }
})

test('servers that share a store share its keys: sealed with their token, and a newer key is learned when it is met', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'ad-secrets-'))
  const former = setLogSink(() => undefined)
  try {
    const records = new MemoryRecords()
    await shareIdentity(dir, records, undefined)
    const place = keysInStore(records, dir)
    await using inner = createMemoryStore()
    await inner.put(SECRET, '{"password":"hunter2"}', 0)
    const one = await sealSecrets(inner, place, ['secrets'])
    const [a, b] = await Promise.all([addKey(place), addKey(place)])
    assert.equal(Math.max(a.keys.length, b.keys.length), 3, 'neither of two at once is lost')
    const two = await sealSecrets(inner, place, ['secrets'])
    await two.put('/registry/secrets/default/new', '{"by":"two"}', 0)
    assert.equal((await one.get('/registry/secrets/default/new')).entry?.value, '{"by":"two"}', 'the first learns the newer key')
    assert.equal((await one.list('/registry/secrets/')).entries.length, 2)
    assert.ok(![...records.kept.values()].join().includes(Buffer.from(a.keys[0]?.secret ?? '').toString('base64')))
  } finally {
    setLogSink(former)
    await rm(dir, { recursive: true })
  }
})
