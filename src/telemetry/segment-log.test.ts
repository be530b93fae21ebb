import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { logSuite } from '../../test/suites/log.ts'
import { setLogSink } from '../base/log.ts'
import type { BoundedLog, LogSeal } from './log.ts'
import { openSegmentLog } from './segment-log.ts'

setLogSink(() => undefined)
const root = await mkdtemp(join(tmpdir(), 'skerry-log-'))
after(() => rm(root, { recursive: true, force: true }))
let n = 0
const fresh = (): string => join(root, String(n++))
const payload = new Uint8Array(100)

/** A seal that knows its own key. */
const sealOf = (key: number): LogSeal => ({
  seal: (plain) => Uint8Array.from([key, ...plain.map((b) => b ^ key)]),
  open(sealed) {
    assert.equal(sealed[0], key, 'another key')
    return sealed.subarray(1).map((b) => b ^ key)
  },
})
/** The log as it is, and with a key. */
const KEYS = [['', {}], [' (sealed)', { seal: sealOf(0x5a) }]] as const

for (const [name, key] of KEYS) {
  logSuite(`segment log${name}`, async () => {
    const directory = fresh()
    let used = { maxBytes: 0 }
    return {
      open: (options) => openSegmentLog({ directory, durability: 'os', ...key, ...(used = options) }),
      reopen: async (log) => {
        await log[Symbol.asyncDispose]()
        return openSegmentLog({ directory, durability: 'os', ...key, ...used })
      },
    }
  })
}

test('a record whose append resolved survives kill -9, in a loop', { timeout: 20_000 }, async () => {
  const directory = fresh()
  const child = `import { openSegmentLog } from ${JSON.stringify(new URL('./segment-log.ts', import.meta.url).href)}
    const log = await openSegmentLog({ directory: ${JSON.stringify(directory)}, maxBytes: 1e8, durability: 'sync' })
    for (;;) {
      const seqs = await Promise.all(Array.from({ length: 5 }, () => log.append({ meta: '{}', payload: new Uint8Array(5000) })))
      process.stdout.write(seqs.at(-1) + '\\n')
    }`
  let promised = 0
  for (let round = 0; round < 4; round++) {
    const writer = spawn(process.execPath, ['--input-type=module', '-e', child], { stdio: ['ignore', 'pipe', 'inherit'] })
    let text = ''
    writer.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()))
    await once(writer.stdout, 'data')
    await new Promise((resolve) => setTimeout(resolve, 40 + round * 30))
    writer.kill('SIGKILL')
    await once(writer, 'close')
    promised = Number(text.trimEnd().split('\n').at(-1))
    await using log = await openSegmentLog({ directory, maxBytes: 1e8, durability: 'sync' })
    assert.ok(log.last >= promised, `promised ${promised}, have ${log.last}`)
    let count = 0
    for (let at = 0; ; ) {
      const records = await log.read(at, 1 << 20)
      if (records.length === 0) break
      for (const r of records) assert.equal(r.seq, ++count)
      at = count
    }
    assert.equal(count, log.last)
    assert.deepEqual(log.ledger(), [])
  }
})

for (const [name, key] of KEYS) {
  test(`a torn tail is cut, and numbering goes on behind the last whole record${name}`, async () => {
    const directory = fresh()
    const options = { directory, maxBytes: 1 << 20, durability: 'os', ...key } as const
    {
      await using log = await openSegmentLog(options)
      for (let i = 0; i < 3; i++) await log.append({ meta: '{}', payload })
    }
    const file = join(directory, '0000000000000001.seg')
    const whole = await readFile(file)
    await appendFile(file, whole.subarray(0, 60))
    await using log = await openSegmentLog(options)
    assert.equal(log.last, 3)
    assert.equal(await log.append({ meta: '{}', payload }), 4)
    assert.deepEqual((await log.read(0, 1e6)).map((r) => r.seq), [1, 2, 3, 4])
    assert.deepEqual(log.ledger(), [])
  })
}

for (const [name, key] of KEYS) {
  test(`a record that no longer checks is skipped and stands in the ledger as corrupt${name}`, async () => {
    const directory = fresh()
    const options = { directory, maxBytes: 1 << 20, durability: 'os', ...key } as const
    {
      await using log = await openSegmentLog(options)
      for (let i = 0; i < 5; i++) await log.append({ meta: '{}', payload })
    }
    const file = await open(join(directory, '0000000000000001.seg'), 'r+')
    await file.write(Buffer.from([255]), 0, 1, ((await file.stat()).size / 5) * 2 + 50)
    await file.close()
    await using log = await openSegmentLog(options)
    const seqs: number[] = []
    for (let at = 0; ; at = seqs.at(-1) ?? 0) {
      const records = await log.read(at, 1e6)
      if (records.length === 0) break
      seqs.push(...records.map((r) => r.seq))
    }
    assert.deepEqual(seqs, [1, 2, 4, 5])
    assert.deepEqual(log.ledger().map((l) => [l.fromSeq, l.toSeq, l.reason]), [[3, 3, 'corrupt']])
  })
}

for (const [name, key] of KEYS) {
  test(`a full disk costs the refused record, says so in the ledger, and reads and later writes go on${name}`, async () => {
    const directory = fresh()
    let full = false
    const disk = {
      async write(file: { write(b: Buffer, o: number, l: number, p: number): Promise<unknown> }, bytes: Buffer, position: number) {
        if (full) {
          await file.write(bytes, 0, 20, position) // a part goes through, as on a real disk
          throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
        }
        await file.write(bytes, 0, bytes.length, position)
      },
      sync: async () => undefined,
    }
    const options = { directory, maxBytes: 1 << 20, durability: 'sync', ...key } as const
    {
      await using log = await openSegmentLog(options, { disk })
      await log.append({ meta: '{}', payload })
      full = true
      await assert.rejects(log.append({ meta: '{}', payload }), { code: 'full', message: /free some space/ })
      await assert.rejects(log.append({ meta: '{}', payload }), { code: 'full' })
      assert.deepEqual((await log.read(0, 1e6)).map((r) => r.seq), [1])
      full = false
      assert.equal(await log.append({ meta: '{}', payload }), 4)
      assert.deepEqual(log.ledger().map((l) => [l.fromSeq, l.toSeq, l.reason]), [[2, 3, 'disk-error']])
    }
    await using log = await openSegmentLog(options)
    assert.deepEqual([...(await log.read(0, 1e6)), ...(await log.read(1, 1e6))].map((r) => r.seq), [1, 4])
    assert.deepEqual(log.ledger().map((l) => [l.fromSeq, l.toSeq, l.reason]), [[2, 3, 'disk-error']])
  })
}

test('cursors survive a restart, and a spoiled state file is set aside', async () => {
  const directory = fresh()
  const options = { directory, maxBytes: 1 << 20, durability: 'os' } as const
  let epoch: string
  {
    await using log = await openSegmentLog(options)
    for (let i = 0; i < 5; i++) await log.append({ meta: '{}', payload })
    await log.ack('app', 3)
    epoch = log.epoch
  }
  {
    await using log = await openSegmentLog(options)
    assert.equal(log.acked('app'), 3)
    assert.equal(log.epoch, epoch)
    assert.equal(log.usage('app').pending, 2)
  }
  await writeFile(join(directory, 'state.json'), '{"epoch":')
  await using log = await openSegmentLog(options)
  assert.notEqual(log.epoch, epoch)
  assert.equal(log.last, 5)
  assert.ok((await readdir(directory)).includes('state.json.corrupt'))
})

test('appends that wait together share a sync', async () => {
  let syncs = 0
  const disk = {
    write: async (file: { write(b: Buffer, o: number, l: number, p: number): Promise<unknown> }, bytes: Buffer, position: number) => void (await file.write(bytes, 0, bytes.length, position)),
    sync: async (file: { datasync(): Promise<void> }) => {
      syncs++
      await file.datasync()
    },
  }
  await using log = await openSegmentLog({ directory: fresh(), maxBytes: 1 << 20, durability: 'sync' }, { disk })
  await Promise.all(Array.from({ length: 200 }, () => log.append({ meta: '{}', payload })))
  assert.ok(syncs >= 1 && syncs <= 3, `${syncs} syncs for 200 appends`)
})

test('records from before there was a key are read beside sealed ones; a lost key costs those it sealed, is told once, and nothing waits for them', async () => {
  const directory = fresh()
  const options = { directory, maxBytes: 1 << 20, durability: 'os' } as const
  const append = async (more: { seal?: LogSeal }, text: string): Promise<void> => {
    await using log = await openSegmentLog({ ...options, ...more })
    await log.append({ meta: `{"of":"${text}"}`, payload: Buffer.from(text) })
  }
  await append({}, 'a plain one')
  await append({ seal: sealOf(0x5a) }, 'a photo')
  await append({ seal: sealOf(0x5a) }, 'another photo')
  const onDisk = await readFile(join(directory, '0000000000000001.seg'), 'latin1')
  assert.match(onDisk, /a plain one/)
  assert.doesNotMatch(onDisk, /photo/)
  const texts = async (log: BoundedLog): Promise<string[]> => (await log.read(0, 1e6)).map((r) => `${r.meta} ${Buffer.from(r.payload).toString()}`)
  {
    await using log = await openSegmentLog({ ...options, seal: sealOf(0x5a) })
    assert.deepEqual(await texts(log), ['{"of":"a plain one"} a plain one', '{"of":"a photo"} a photo', '{"of":"another photo"} another photo'])
    assert.deepEqual(log.ledger(), [])
  }
  const told: string[] = []
  setLogSink((line) => void told.push(JSON.stringify(line)))
  after(() => setLogSink(() => undefined))
  for (const other of [{ seal: sealOf(0x21) }, {}]) {
    await using log = await openSegmentLog({ ...options, ...other })
    assert.deepEqual((await log.read(0, 1e6)).map((r) => r.seq), [1])
    assert.deepEqual(await log.read(1, 1e6), [], 'read on, behind what is lost')
    assert.deepEqual(log.ledger().map((l) => [l.fromSeq, l.toSeq, l.reason]), [[2, 3, 'corrupt']])
  }
  assert.equal(told.filter((line) => /their key is not the one/.test(line)).length, 1, told.join('\n'))
})
