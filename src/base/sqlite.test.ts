import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, it } from 'node:test'
import { openSqlite, sqliteError } from './sqlite.ts'

const directory = mkdtempSync(join(tmpdir(), 'skerry-sqlite-'))
after(() => rmSync(directory, { recursive: true }))
const options = { what: 'test file', wayOut: 'restore it' }
const MIGRATIONS = ['CREATE TABLE a (x)', 'CREATE TABLE b (x)']

it('opens with an fsync per commit and brings the schema up to date, step by step', () => {
  const path = join(directory, 'sub', 'a.db')
  openSqlite(path, { ...options, migrations: MIGRATIONS.slice(0, 1) }).close()
  const db = openSqlite(path, { ...options, migrations: MIGRATIONS })
  assert.equal(db.prepare('PRAGMA synchronous').get()?.synchronous, 2)
  assert.equal(db.prepare('PRAGMA journal_mode').get()?.journal_mode, 'wal')
  assert.equal(db.prepare('SELECT count(*) AS n FROM b').get()?.n, 0)
  db.close()
})

it('refuses a file of a newer version, and one that is no database, naming the way out', () => {
  const path = join(directory, 'newer.db')
  openSqlite(path, { ...options, migrations: MIGRATIONS }).close()
  assert.throws(() => openSqlite(path, { ...options, migrations: MIGRATIONS.slice(0, 1) }), { code: 'unsupported', message: /schema 2 was made by a newer Skerry, this one knows 1/ })
  writeFileSync(path, 'x'.repeat(5000))
  assert.throws(() => openSqlite(path, options), { code: 'corrupt', message: /open test file ".*newer\.db": .*; restore it/ })
})

it('says in our words what SQLite says in numbers', () => {
  const code = (errcode: number): string => sqliteError(Object.assign(new Error('x'), { errcode }), 'act', 'way').code
  assert.deepEqual([13, 11, 26, 5, 10 | (4 << 8), 1].map(code), ['full', 'corrupt', 'corrupt', 'unavailable', 'unavailable', 'internal'])
})
