import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, it } from 'node:test'
import { ExpiryClock } from './sqlite-expiry.ts'
import { SqliteLog, type Op } from './sqlite-log.ts'

const directory = mkdtempSync(join(tmpdir(), 'skerry-log-'))
after(() => rmSync(directory, { recursive: true }))
const put = (key: string, expected: number, expires: number | null = null): Op => ({ key, value: 'x'.repeat(100), expected, expires })

/** Revisions in the file, read from outside. */
function rows(path: string): number[] {
  const db = new DatabaseSync(path, { readOnly: true })
  const found = db.prepare('SELECT revision FROM log ORDER BY revision').all().map((r) => Number(r.revision))
  db.close()
  return found
}

it('removes in slices what is forgotten, and goes on after a restart in the midst of it', () => {
  const path = join(directory, 'slices.db')
  let log = new SqliteLog(path, Infinity)
  log.apply([put('/kept', 0)])
  for (let r = 1; r < 1200; ) r = (log.apply([put('/hot', r === 1 ? 0 : r)])[0] as { revision: number }).revision
  log.apply([put('/gone', 0)])
  log.apply([{ key: '/gone', value: null, expected: 1201, expires: null }])
  log.compact(1202)
  assert.equal(log.compactSlice(), false, 'more than one slice')
  log.close()
  log = new SqliteLog(path, Infinity)
  assert.equal(log.sliceDue, true)
  while (!log.compactSlice());
  assert.deepEqual(rows(path), [1, 1200])
  assert.equal(log.revision, 1202)
  log.close()
})

it('undoes a whole group when one of its writes cannot be kept', () => {
  const path = join(directory, 'group.db')
  const log = new SqliteLog(path, Infinity)
  log.apply([put('/a', 0)])
  assert.throws(() => log.apply([put('/b', 0), { ...put('/c', 0), key: null as unknown as string }]), { name: 'AppError' })
  assert.deepEqual([log.revision, log.stats().writes, rows(path)], [1, 1, [1]])
  assert.equal((log.apply([put('/b', 0)])[0] as { revision: number }).revision, 2)
  log.close()
})

it('makes no commit, and so no sync, of a group in which every write is refused', () => {
  const log = new SqliteLog(join(directory, 'refused.db'), Infinity)
  log.apply([put('/a', 0)])
  assert.deepEqual(log.apply([put('/a', 0), put('/b', 3)]).map((r) => (r.ok ? 'ok' : r.code)), ['exists', 'conflict'])
  assert.equal(log.stats().commits, 1)
  log.close()
})

it('expires nothing early when the wall clock jumps, and all of it in time', () => {
  const path = join(directory, 'jump.db')
  const log = new SqliteLog(path, Infinity)
  const clock = new ExpiryClock(log.revision)
  const expire = (wall: number, mono: number) => log.expire(wall, 10, clock.tick(wall, mono, log.revision))
  assert.deepEqual(expire(1000, 0), [])
  log.apply([put('/a', 0, 61_000), put('/b', 0, 120_000)]) // stamped by a clock that thinks it is 1970
  const jumped = 1_700_000_000_000
  assert.deepEqual(expire(jumped, 20_000), [], 'twenty seconds went by, whatever the wall says')
  assert.deepEqual(expire(jumped + 45_000, 65_000).map((r) => r.ok && r.key), ['/a'])
  assert.deepEqual(expire(jumped + 110_000, 130_000).map((r) => r.ok && r.key), ['/b'])
  log.close()
})
