import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { probePathMtu } from './path-mtu.ts'

test('probing is turned on where it is off, and left alone where somebody chose', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'mtu-'))
  t.after(() => rm(dir, { recursive: true }))
  const file = join(dir, 'tcp_mtu_probing')
  for (const [before, after] of [['0\n', '1'], ['1\n', '1\n'], ['2\n', '2\n']] as const) {
    await writeFile(file, before)
    await probePathMtu(file)
    assert.equal(await readFile(file, 'utf8'), after)
  }
  await probePathMtu(join(dir, 'not-there'))
})
