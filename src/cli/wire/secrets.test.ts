import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setLogSink } from '../../base/log.ts'
import { createMemoryStore } from '../../store/mod.ts'
import { addKey, keyFile, sealSecrets } from './secrets.ts'

const SECRET = '/registry/secrets/default/s'

test('secrets are sealed at start, under the newest key after a rotation, and opened again without the flag', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'ad-secrets-'))
  const former = setLogSink(() => undefined)
  try {
    const path = join(dir, 'state.db')
    await using inner = createMemoryStore()
    const raw = async (): Promise<string> => (await inner.get(SECRET)).entry?.value ?? ''
    assert.equal(await sealSecrets(inner, path, false), inner)
    await inner.put(SECRET, '{"password":"hunter2"}', 0)
    const first = await sealSecrets(inner, path, true)
    const before = await raw()
    assert.ok(before.startsWith('skerry:sealed:') && !before.includes('hunter2'))
    assert.equal((await first.get(SECRET)).entry?.value, '{"password":"hunter2"}')
    const keys = await addKey(keyFile(path))
    const second = await sealSecrets(inner, path, true)
    assert.equal((await raw()).split(':')[3], keys[0]?.id)
    assert.equal((await second.get(SECRET)).entry?.value, '{"password":"hunter2"}')
    const plain = await sealSecrets(inner, path, false)
    assert.deepEqual([await raw(), (await plain.get(SECRET)).entry?.value], ['{"password":"hunter2"}', '{"password":"hunter2"}'])
    assert.equal((JSON.parse(await readFile(keyFile(path), 'utf8')) as { keys: unknown[] }).keys.length, 2)
    await writeFile(keyFile(path), 'torn')
    await assert.rejects(() => sealSecrets(inner, path, true), /restore it from a backup/)
  } finally {
    setLogSink(former)
    await rm(dir, { recursive: true })
  }
})
