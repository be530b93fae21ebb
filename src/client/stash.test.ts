import { test } from 'node:test'
import assert from 'node:assert/strict'
import { appendFile, mkdtemp, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from '../../test/kit/until.ts'
import { FakeClock } from '../base/clock.ts'
import { openFileStash, type FileStashOptions } from './stash.ts'

const ID = 'core/v1/pods?fieldSelector=spec.nodeName%3Da'
const pod = (name: string, text = '') => ({ metadata: { name, namespace: 'd' }, text })

async function inDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-stash-'))
  try {
    await work(directory)
  } finally {
    await rm(directory, { recursive: true })
  }
}

async function names(directory: string, options: FileStashOptions = {}): Promise<string> {
  await using stash = await openFileStash(directory, options)
  const state = await stash.load(ID)
  return state === undefined ? 'none' : `${state.objects.map((o) => o.metadata?.name).join()}@${state.resourceVersion}`
}

test('what was written is read back, changes and deletions included', async () => {
  await inDirectory(async (directory) => {
    assert.equal(await names(directory), 'none')
    {
      await using stash = await openFileStash(directory)
      stash.replace(ID, { resourceVersion: '5', objects: [pod('a'), pod('b')] })
      await stash.flush()
      stash.append(ID, 'd/c', pod('c'))
      stash.append(ID, 'd/a', undefined)
      stash.progress(ID, '7')
    }
    assert.equal(await names(directory), 'b,c@7')
  })
})

test('a torn tail is cut off and the state before it holds', async () => {
  await inDirectory(async (directory) => {
    {
      await using stash = await openFileStash(directory)
      stash.replace(ID, { resourceVersion: '5', objects: [pod('a')] })
      await stash.flush()
      stash.append(ID, 'd/b', pod('b'))
      stash.progress(ID, '6')
    }
    const path = join(directory, (await readdir(directory))[0] as string)
    const good = await readFile(path)
    await appendFile(path, Buffer.from([0, 0, 1, 0, 9, 9, 9, 9, 1, 2, 3]))
    assert.equal(await names(directory), 'a,b@6')
    assert.deepEqual(await readFile(path), good)
    await writeFile(path, good.subarray(0, good.length - 3))
    assert.equal(await names(directory), 'a@5')
  })
})

test('a damaged snapshot is moved aside and reported, and counts as absent', async () => {
  await inDirectory(async (directory) => {
    {
      await using stash = await openFileStash(directory)
      stash.replace(ID, { resourceVersion: '5', objects: [pod('a'), pod('b')] })
    }
    const path = join(directory, (await readdir(directory))[0] as string)
    const bytes = await readFile(path)
    bytes[bytes.length - 4] = (bytes[bytes.length - 4] as number) ^ 1
    await writeFile(path, bytes)
    const reported: string[] = []
    assert.equal(await names(directory, { onCorrupt: (p, why) => reported.push(`${p.includes('.corrupt-')} ${why}`) }), 'none')
    assert.match(reported.join(), /^true checksum does not fit at byte \d+ of \d+$/)
    assert.equal((await readdir(directory)).length, 1)
  })
})

test('records are sealed, and a stash of another key counts as damaged', async () => {
  await inDirectory(async (directory) => {
    const xor = (key: number) => (bytes: Uint8Array) => bytes.map((b) => b ^ key)
    const sealed = { seal: xor(7), open: xor(7) }
    {
      await using stash = await openFileStash(directory, sealed)
      stash.replace(ID, { resourceVersion: '5', objects: [pod('a', 'plain text')] })
    }
    const path = join(directory, (await readdir(directory))[0] as string)
    assert.ok(!(await readFile(path)).includes('plain text'))
    assert.equal(await names(directory, sealed), 'a@5')
    assert.equal(await names(directory, { ...sealed, open: xor(8), onCorrupt: () => {} }), 'none')
  })
})

test('a log that outgrows its snapshot is folded', async () => {
  await inDirectory(async (directory) => {
    await using stash = await openFileStash(directory)
    stash.replace(ID, { resourceVersion: '1', objects: [] })
    const path = async (): Promise<string> => join(directory, (await readdir(directory))[0] as string)
    for (let i = 2; i < 40; i++) {
      stash.append(ID, 'd/a', pod('a', 'x'.repeat(5_000)))
      stash.progress(ID, String(i))
      await stash.flush()
    }
    assert.ok((await readFile(await path())).length < 100_000)
  })
})

test('what a disk refused is written when it takes it again, without another change', async () => {
  await inDirectory(async (directory) => {
    const clock = new FakeClock()
    const home = join(directory, 'stash')
    await using stash = await openFileStash(home, { clock })
    // A file where the directory was: no write can succeed.
    await rename(home, `${home}.away`)
    await writeFile(home, '')
    stash.replace(ID, { resourceVersion: '7', objects: [pod('a')] })
    await stash.flush()
    await rm(home)
    await rename(`${home}.away`, home)
    assert.deepEqual(await readdir(home), [])
    await clock.advance(10_000)
    await until('the file', async () => (await readdir(home)).some((f) => f.endsWith('.stash')))
    assert.equal(await names(home), 'a@7')
  })
})
