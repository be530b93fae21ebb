import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readFile, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { readFileIfAny, writeFileAtomic } from './atomic-file.ts'

test('a file is replaced as a whole, with its mode, and nothing is left beside it', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'atomic-'))
  try {
    const path = join(dir, 'made/on/the/way/state.json')
    await writeFileAtomic(path, 'one')
    await writeFileAtomic(path, Buffer.from('two'), { mode: 0o644, sync: false })
    assert.equal(await readFile(path, 'utf8'), 'two')
    assert.equal((await stat(path)).mode & 0o777, 0o644)
    assert.equal((await stat(join(dir, 'made'))).mode & 0o777, 0o700)
    assert.deepEqual(await readdir(join(dir, 'made/on/the/way')), ['state.json'])
  } finally {
    await rm(dir, { recursive: true })
  }
})

test('a write that fails leaves the former content and no temporary file', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'atomic-'))
  try {
    await mkdir(join(dir, 'taken/inside'), { recursive: true })
    await assert.rejects(writeFileAtomic(join(dir, 'taken'), 'text'))
    assert.deepEqual(await readdir(dir), ['taken'])
    assert.deepEqual(await readdir(join(dir, 'taken')), ['inside'])
  } finally {
    await rm(dir, { recursive: true })
  }
})

test('a file that is not there reads as undefined, one that cannot be read is an error', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'atomic-'))
  try {
    await writeFileAtomic(join(dir, 'note'), 'text')
    assert.equal(await readFileIfAny(join(dir, 'note')), 'text')
    assert.equal(await readFileIfAny(join(dir, 'none/at/all')), undefined)
    await assert.rejects(readFileIfAny(dir), { code: 'EISDIR' })
  } finally {
    await rm(dir, { recursive: true })
  }
})
