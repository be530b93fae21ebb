import assert from 'node:assert/strict'
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { hasCode } from '../../base/errors.ts'
import { setLogSink } from '../../base/log.ts'
import { createSeal, openSealing, type Tpm } from './sealing.ts'

setLogSink(() => {})

const none: Tpm = { present: async () => false, encrypt: async () => { throw new Error('no') }, decrypt: async () => { throw new Error('no') } }
/** Keeps keys inside and gives names out. */
class FakeTpm implements Tpm {
  readonly keys: Buffer[] = []
  works = true
  present = async (): Promise<boolean> => true
  async encrypt(key: Uint8Array): Promise<string> {
    if (!this.works) throw new Error('tpm is broken')
    return String(this.keys.push(Buffer.from(key)) - 1)
  }
  async decrypt(path: string): Promise<Buffer> {
    return this.keys[Number(await readFile(path, 'utf8'))] as Buffer
  }
}

async function inDir(work: (dir: string) => Promise<void>): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'skerry-seal-'))
  try {
    await work(dir)
  } finally {
    await rm(dir, { recursive: true })
  }
}
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString()

describe('sealed bytes', () => {
  const seal = createSeal(Buffer.alloc(32, 1))
  test('open with the same key only, unchanged only, and never look alike', () => {
    const sealed = seal.seal(Buffer.from('password'))
    assert.equal(text(seal.open(sealed)), 'password')
    assert.ok(!text(sealed).includes('password'))
    assert.notDeepEqual(sealed, seal.seal(Buffer.from('password')))
    assert.throws(() => createSeal(Buffer.alloc(32, 2)).open(sealed), (e) => hasCode(e, 'corrupt'))
    for (const at of [4, 20, sealed.length - 1]) {
      const changed = Buffer.from(sealed)
      changed[at] = (changed[at] as number) ^ 1
      assert.throws(() => seal.open(changed), (e) => hasCode(e, 'corrupt'))
    }
    assert.throws(() => seal.open(sealed.subarray(0, 10)), (e) => hasCode(e, 'corrupt'))
  })
  test('what was written before there was a key is read as it is', () => assert.equal(text(seal.open(Buffer.from('{"a":1}'))), '{"a":1}'))
})

describe('where the key is', () => {
  test('beside the data when the machine offers no place, and it says so', () =>
    inDir(async (directory) => {
      const one = await openSealing({ directory, keyFile: undefined, tpm: none })
      assert.equal(one.apart, false)
      assert.match(one.message, /beside the data.*--seal-key-file/)
      const sealed = one.seal.seal(Buffer.from('x'))
      assert.equal(text((await openSealing({ directory, keyFile: undefined, tpm: none })).seal.open(sealed)), 'x')
    }))

  test('in the TPM when there is one: nothing on disk opens the data', () =>
    inDir(async (directory) => {
      const tpm = new FakeTpm()
      const one = await openSealing({ directory, keyFile: undefined, tpm })
      assert.equal(one.apart, true)
      const sealed = one.seal.seal(Buffer.from('x'))
      for (const name of await readdir(directory)) assert.ok(!(await readFile(join(directory, name))).includes(tpm.keys[0] as Buffer), name)
      assert.equal(text((await openSealing({ directory, keyFile: undefined, tpm })).seal.open(sealed)), 'x')
    }))

  test('a TPM that does not work is as good as none', () =>
    inDir(async (directory) => {
      const tpm = new FakeTpm()
      tpm.works = false
      assert.equal((await openSealing({ directory, keyFile: undefined, tpm })).apart, false)
    }))

  test('on other media: taken over from beside, gone from there, and missed when the medium is', () =>
    inDir(async (directory) => {
      const sealed = (await openSealing({ directory, keyFile: undefined, tpm: none })).seal.seal(Buffer.from('x'))
      const keyFile = join(directory, 'stick.key')
      const moved = await openSealing({ directory, keyFile, tpm: none })
      assert.equal(moved.apart, true)
      assert.equal(text(moved.seal.open(sealed)), 'x')
      assert.ok(!(await readdir(directory)).includes('seal.key'))
      await assert.rejects(openSealing({ directory, keyFile: undefined, tpm: none }), /--seal-key-file/)
      await writeFile(keyFile, Buffer.alloc(32, 7))
      await assert.rejects(openSealing({ directory, keyFile, tpm: none }), (e) => hasCode(e, 'corrupt'))
      await rm(keyFile)
      await assert.rejects(openSealing({ directory, keyFile, tpm: none }), /put its medium back/)
    }))

  test("another node's key file is not written over", () =>
    inDir(async (directory) => {
      const keyFile = join(directory, 'stick.key')
      await writeFile(keyFile, 'something else')
      await assert.rejects(openSealing({ directory, keyFile, tpm: none }), (e) => hasCode(e, 'exists'))
      assert.equal(await readFile(keyFile, 'utf8'), 'something else')
    }))
})
