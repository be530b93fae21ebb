/** What survives kill -9, a failing, slow, full or torn disk; judged from outside the process where possible. */
import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, openSync, closeSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Worker } from 'node:worker_threads'
import { FakeClock } from '../base/clock.ts'
import { AppError, type ErrorCode } from '../base/errors.ts'
import { setLogSink } from '../base/log.ts'
import { backupSqliteStore, openSqliteStore, restoreSqliteStore } from './mod.ts'

const directory = mkdtempSync(join(tmpdir(), 'skerry-durable-'))
const child = fileURLToPath(new URL('../../test/suites/store-child.ts', import.meta.url))
after(() => rmSync(directory, { recursive: true, force: true }))

const fails = (code: ErrorCode, text: RegExp) => (e: unknown) => {
  assert.ok(e instanceof AppError, String(e))
  assert.equal(e.code, code, e.message)
  assert.match(e.message, text)
  return true
}

/** strace, when this machine lets us use it. */
const strace = spawnSync('strace', ['-f', '-e', 'trace=fdatasync', 'true']).status === 0
const noStrace = strace ? false : 'strace is missing or may not trace here'
const traced = (mode: string, path: string, args: readonly string[]): string =>
  execFileSync('strace', ['-f', ...args, process.execPath, child, path, mode], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })

describe('sqlite store durability', () => {
  it('acknowledges a write only after the kernel has synced it', { skip: noStrace }, () => {
    const path = join(directory, 'sync.db')
    const trace = join(directory, 'trace')
    const output = traced('sequence', path, ['-y', '-o', trace, '-e', 'trace=fdatasync,fsync,pwrite64,write'])
    let [dirty, synced, syncs, acks] = [false, false, 0, 0]
    for (const line of readFileSync(trace, 'utf8').split('\n')) {
      // A call that another thread's line interrupts is printed in two parts; it counts when it has returned.
      if (/pwrite64\(\d+<[^>]*sync\.db-wal>/.test(line)) [dirty, synced] = [true, false]
      if (/(fdatasync|fsync)(\(\d+<[^>]*sync\.db-wal>\)| resumed>.*\)) += 0/.test(line)) {
        synced = dirty
        syncs++
      }
      if (/write\(1<[^>]*>, "ack /.test(line)) {
        acks++
        assert.ok(synced, `ack ${acks} came before a sync of what was written`)
        synced = dirty = false
      }
    }
    assert.equal(acks, 20)
    const stats = JSON.parse(/stats (.*)/.exec(output)?.[1] ?? '{}') as { syncs: number; writes: number }
    assert.equal(stats.writes, 20)
    assert.equal(stats.syncs, 20, 'one sync for each write that came alone')
    assert.ok(syncs >= stats.syncs, `the kernel saw ${syncs} syncs`)
  })

  it('shares one sync among writes that wait together', async () => {
    await using store = await openSqliteStore({ path: join(directory, 'group.db') })
    await Promise.all(Array.from({ length: 200 }, (_, i) => store.put(`/k/${i}`, 'x', 0)))
    const { syncs, writes } = await store.stats()
    assert.equal(writes, 200)
    assert.ok(syncs <= 2, `${syncs} syncs`)
  })

  it('does not stall the event loop or reads while a sync takes 150 ms', { skip: noStrace }, () => {
    const output = traced('slow', join(directory, 'slow.db'), ['-o', '/dev/null', '-e', 'inject=fsync,fdatasync:delay_exit=150000'])
    const { gap, read, perPut } = JSON.parse(output) as { gap: number; read: number; perPut: number }
    assert.ok(perPut >= 140, `puts were to wait for the sync, took ${perPut} ms`)
    assert.ok(gap < 100 && read < 100, `event loop away ${gap} ms, read ${read} ms`)
  })

  it('answers a failing sync with an error, keeps nothing of that write, and goes on when the disk does', { skip: noStrace }, () => {
    const output = traced('faulty', join(directory, 'faulty.db'), ['-o', '/dev/null', '-e', 'inject=fsync,fdatasync:error=EIO:when=8..9'])
    const lines = output.trim().split('\n')
    const failed = lines.filter((l) => l !== 'ok kept')
    assert.equal(lines.length, 12)
    assert.ok(failed.length >= 1 && failed.every((l) => l === 'unavailable absent'), lines.join())
    assert.equal(lines.at(-1), 'ok kept')
  })

  it('answers a full disk with "full", reads on, and writes again when there is room', { skip: noStrace }, () => {
    const output = traced('faulty', join(directory, 'nospace.db'), ['-o', '/dev/null', '-e', 'inject=pwrite64:error=ENOSPC:when=40..46'])
    const lines = output.trim().split('\n')
    const failed = lines.filter((l) => l !== 'ok kept')
    assert.ok(failed.length >= 1 && failed.every((l) => l === 'full absent'), lines.join())
    assert.equal(lines.at(-1), 'ok kept')
  })

  it('refuses puts over its own limit with "full" while reads and deletes go on', async () => {
    await using store = await openSqliteStore({ path: join(directory, 'limit.db'), maxBytes: 200_000 })
    const keys: [string, number][] = []
    await assert.rejects(async () => {
      for (let i = 0; i < 100; i++) keys.push([`/k/${i}`, await store.put(`/k/${i}`, 'x'.repeat(10_000), 0)])
    }, fails('full', /limit of 200000 bytes; delete objects/))
    assert.ok(keys.length > 10 && (await store.list('/k/')).entries.length === keys.length)
    let last = 0
    for (const [key, revision] of keys) last = await store.delete(key, revision)
    await store.compact(last)
    await store.put('/again', 'x', 0)
  })

  it('loses nothing acknowledged when it is killed while it writes', async () => {
    const rounds = Number(process.env.SKERRY_SOAK ?? 0) || 4
    const path = join(directory, 'killed.db')
    const acked = new Map<string, { value: string | undefined; revision: number }>()
    let newest = 0
    for (let round = 0; round < rounds; round++) {
      const process_ = spawn(process.execPath, [child, path, 'flood'], { stdio: ['ignore', 'pipe', 'inherit'] })
      let output = ''
      process_.stdout.setEncoding('utf8').on('data', (chunk: string) => {
        if (output === '') setTimeout(() => process_.kill('SIGKILL'), 30 + Math.random() * 150)
        output += chunk
      })
      await once(process_, 'close')
      // The last key each writer was at: one more write of it may have been kept without an answer.
      const unsure = new Map<string, string>()
      for (const line of output.slice(0, output.lastIndexOf('\n')).split('\n')) {
        const [, act, key = '', revision, value] = /^(put|delete) (\S+) (\d+) ?(.*)$/s.exec(line) ?? assert.fail(`unreadable line "${line}"`)
        acked.set(key, { value: act === 'put' ? value : undefined, revision: Number(revision) })
        unsure.set(key.slice(0, key.lastIndexOf('/')), key)
        newest = Math.max(newest, Number(revision))
      }
      await using store = await openSqliteStore({ path })
      const { entries, revision } = await store.list('/')
      assert.ok(revision >= newest)
      const kept = new Map(entries.map((e) => [e.key, e]))
      for (const key of unsure.values()) {
        const [was, entry] = [acked.get(key), kept.get(key)]
        const further = entry ? entry.revision > (was?.revision ?? 0) && entry.value.startsWith('second') : was?.value?.startsWith('second')
        if (further) acked.set(key, { value: entry?.value, revision: entry?.revision ?? revision })
      }
      for (const [key, { value, revision: at }] of acked) assert.equal(kept.get(key)?.value, value, `${key} acknowledged at ${at}`)
    }
    assert.ok(acked.size > 50)
  })

  it('names a file that does not check, and the way out', async () => {
    const path = join(directory, 'torn.db')
    {
      await using store = await openSqliteStore({ path })
      await Promise.all(Array.from({ length: 300 }, (_, i) => store.put(`/k/${i}`, 'x'.repeat(500), 0)))
    }
    const whole = readFileSync(path)
    const torn: [string, () => void][] = [
      ['garbage in the middle', () => overwrite(path, 8192, 8192)],
      ['cut short', () => truncateSync(path, statSync(path).size - 40_960)],
      ['not a database', () => writeFileSync(path, 'hello, this is a text file and no database at all'.repeat(50))],
    ]
    for (const [what, tear] of torn) {
      writeFileSync(path, whole)
      tear()
      await assert.rejects(openSqliteStore({ path }), fails('corrupt', /torn\.db.*skerry store restore/s), what)
    }
  })

  it('opens with what is whole of a torn write-ahead log', async () => {
    const path = join(directory, 'wal.db')
    const process_ = spawn(process.execPath, [child, path, 'flood'], { stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    process_.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk
      if (output.split('\n').length > 400) process_.kill('SIGKILL')
    })
    await once(process_, 'close')
    const wal = readFileSync(`${path}-wal`)
    assert.ok(wal.length > 50_000, `${wal.length} bytes`)
    const written = new Map([...output.matchAll(/^put (\S+) (\d+) (.*)$/gm)].map((m) => [Number(m[2]), m[3]]))
    const torn: [string, () => void][] = [
      ['cut in the middle of a page', () => truncateSync(`${path}-wal`, Math.floor(wal.length / 2) + 17)],
      ['garbage in the middle', () => overwrite(`${path}-wal`, Math.floor(wal.length / 2), 4096)],
      ['garbage at its beginning', () => overwrite(`${path}-wal`, 0, 64)],
    ]
    const whole = readFileSync(path)
    let seen = Infinity
    for (const [what, tear] of torn) {
      for (const end of ['-shm', '-wal']) rmSync(path + end, { force: true })
      writeFileSync(path, whole)
      writeFileSync(`${path}-wal`, wal)
      tear()
      await using store = await openSqliteStore({ path })
      const { entries, revision } = await store.list('/')
      for (const e of entries) if (written.has(e.revision)) assert.equal(e.value, written.get(e.revision), what)
      assert.ok(revision <= seen, what)
      seen = revision
      assert.equal(await store.put('/on', what, 0), revision + 1)
    }
  })

  it('writes nothing in an hour without changes, and little to forget a storm', async () => {
    const clock = new FakeClock()
    await using store = await openSqliteStore({ path: join(directory, 'idle.db'), clock })
    await clock.advance(3_600_000)
    assert.equal((await store.stats()).commits, 0)
    let last = 0
    for (let i = 0; i < 50; i++) last = (await Promise.all(Array.from({ length: 60 }, (_, j) => store.put(`/k/${i}/${j}`, 'x', 0)))).at(-1) ?? 0
    const before = (await store.stats()).commits
    await clock.advance(3_600_000)
    const { commits, compacted } = await store.stats()
    assert.equal(compacted, last - 1000)
    assert.ok(commits - before <= 10, `${commits - before} commits to forget 2000 revisions`)
  })

  it('refuses a second process on the same file, and names it', async () => {
    const path = join(directory, 'two.db')
    await using store = await openSqliteStore({ path })
    await store.put('/a', '', 0)
    await assert.rejects(openSqliteStore({ path }), fails('unavailable', /two\.db.*another process/s))
  })

  it('starts its writer again when the thread dies, and watchers miss nothing', async () => {
    const started: Worker[] = []
    const onWorker = (worker: Worker): void => void started.push(worker)
    process.on('worker', onWorker)
    const sink = setLogSink(() => {})
    try {
      await using store = await openSqliteStore({ path: join(directory, 'died.db') })
      await store.put('/a', '1', 0)
      const events = store.watch('/', 1, AbortSignal.timeout(5000))[Symbol.asyncIterator]()
      const first = events.next()
      const inFlight = store.put('/b', '2', 0).then(() => 'ok', (e: AppError) => e.code)
      await started[0]?.terminate()
      assert.ok(['ok', 'unavailable'].includes(await inFlight))
      const created = await retryPut(() => store.put('/c', '3', 0))
      const seen = [...((await first).value ?? [])]
      while ((seen.at(-1)?.revision ?? 0) < created) seen.push(...((await events.next()).value ?? []))
      assert.deepEqual(seen.map((e) => e.revision), Array.from({ length: created - 1 }, (_, i) => i + 2))
      await events.return?.()
    } finally {
      process.off('worker', onWorker)
      setLogSink(sink)
    }
  })

  it('ends its writer when nothing is written, and has one again for the next write', async () => {
    const started: Worker[] = []
    const onWorker = (worker: Worker): void => void started.push(worker)
    process.on('worker', onWorker)
    try {
      const clock = new FakeClock()
      const path = join(directory, 'rest.db')
      await using store = await openSqliteStore({ path, clock, restMs: 20_000 })
      await store.put('/a', '1', 0)
      const ended = once(started[0] as Worker, 'exit')
      await clock.advance(50_000)
      await ended
      assert.equal((await store.get('/a')).entry?.value, '1', 'reads need no writer')
      await assert.rejects(openSqliteStore({ path }), fails('unavailable', /another process/), 'the file stays ours')
      await Promise.all([store.put('/a', '2', 1), store.put('/b', '1', 0, { ttlSeconds: 5 }), store.compact(1)])
      assert.equal(started.length, 2)
      assert.equal((await store.stats()).writes, 3, 'counted over all writers')
      const gone = store.watch('/b', 3, AbortSignal.timeout(10_000))[Symbol.asyncIterator]().next()
      await clock.advance(60_000)
      assert.equal((await gone).value?.[0]?.type, 'delete', 'a key whose time is over wakes it')
    } finally {
      process.off('worker', onWorker)
    }
  })

  it('restores a backup made in use, at a revision that tells old clients to list again', async () => {
    const path = join(directory, 'live.db')
    const copy = join(directory, 'backup.db')
    {
      await using store = await openSqliteStore({ path })
      await store.put('/a', 'kept', 0)
      await backupSqliteStore(path, copy)
      await store.put('/b', 'after the backup', 0)
      await assert.rejects(restoreSqliteStore(copy, path), fails('unavailable', /another process/))
    }
    writeFileSync(path, 'torn')
    const revision = await restoreSqliteStore(copy, path)
    await using store = await openSqliteStore({ path })
    assert.deepEqual((await store.list('/')).entries.map((e) => e.value), ['kept'])
    assert.equal((await store.get('/a')).revision, revision)
    await assert.rejects(async () => {
      for await (const _ of store.watch('/', 2, AbortSignal.timeout(1000))) assert.fail('no history')
    }, fails('compacted', /list again/))
    assert.equal(readFileSync(`${path}.replaced`, 'utf8'), 'torn')
  })
})

function overwrite(path: string, at: number, length: number): void {
  const file = openSync(path, 'r+')
  writeSync(file, Buffer.alloc(length, 0x5a), 0, length, at)
  closeSync(file)
}

async function retryPut(put: () => Promise<number>): Promise<number> {
  for (;;) {
    try {
      return await put()
    } catch (error) {
      if (!(error instanceof AppError) || !error.retryable) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}
