/**
 * The append log in its file, as the writer thread sees it: decide compare-and-swap, append a row a revision, forget old
 * rows in slices. Synchronous and single: whoever holds it is the only writer of the file, which a lock file beside it ensures.
 * `sqlite-writer.ts` runs it in a thread; `sqlite.ts` reads the same file.
 */
import { mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { AppError, type ErrorCode } from '../base/errors.ts'
import { openSqlite, sqliteError } from '../base/sqlite.ts'
import { mismatch } from './mismatch.ts'
import type { Moved } from './sqlite-expiry.ts'
import type { Revision } from './store.ts'

export const STORE_WAY_OUT = 'put a backup in its place with "skerry store restore"'
export const STORE_OPEN = { what: 'store', wayOut: STORE_WAY_OUT } as const

/**
 * `prev` is the revision this row replaces, 0 for a create; compaction follows it and needs no search.
 * The index holds all that a list must know, so that it reads only the rows it returns.
 */
const MIGRATIONS = [
  `CREATE TABLE log (
     revision INTEGER PRIMARY KEY, key TEXT NOT NULL, created INTEGER NOT NULL, prev INTEGER NOT NULL,
     deleted INTEGER NOT NULL, expires INTEGER, value TEXT NOT NULL);
   CREATE INDEX log_key ON log (key, revision, deleted);
   CREATE INDEX log_expires ON log (expires) WHERE expires IS NOT NULL;
   CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID`,
]

/** One write. `value` null deletes; `expires` is wall clock ms. */
export interface Op {
  readonly key: string
  readonly value: string | null
  readonly expected: Revision
  readonly expires: number | null
}

/** What became of one write. */
export type OpResult =
  | { readonly ok: true; readonly key: string; readonly revision: Revision; readonly created: Revision; readonly prev: Revision; readonly deleted: boolean }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string }

/** About how many changed pages (4 KiB) the write-ahead log takes before they are moved into the file. */
const CHECKPOINT_PAGES = 1000
/** Rows looked at in one compaction transaction: a few milliseconds in which writes wait. */
const SLICE = 500

/** How a log is opened beyond its defaults. */
export interface LogOptions {
  /** The caller holds the lock of the file. @default the log takes it */
  readonly locked?: boolean
  /** This process has checked the file before. @default false */
  readonly checked?: boolean
}

interface LogRow {
  readonly revision: number
  readonly created: number
  readonly deleted: number
}

/** One open file. Every method throws AppErrors only; `apply`, `expire` and `compact` are durable when they return. */
export class SqliteLog {
  readonly #path: string
  readonly #db: DatabaseSync
  readonly #lock: DatabaseSync | undefined
  readonly #maxBytes: number
  readonly #latest: StatementSync
  readonly #insert: StatementSync
  readonly #setMeta: StatementSync
  #revision: Revision
  #compacted: Revision
  #scanned: Revision
  #pages = 0
  #syncs = 0
  #commits = 0
  #writes = 0

  /** @throws AppError `corrupt`, `unsupported`, `unavailable` (another process has it open), `full` */
  constructor(path: string, maxBytes: number, options: LogOptions = {}) {
    this.#path = path
    this.#maxBytes = maxBytes
    this.#lock = options.locked === true ? undefined : lockStore(path)
    try {
      const db = (this.#db = openSqlite(path, { ...STORE_OPEN, migrations: MIGRATIONS, checked: options.checked ?? false }))
      // Checkpoints are made here, after the answers went out; SQLite's own is only the net below.
      db.exec('PRAGMA wal_autocheckpoint=8000')
      const meta = (name: string): number => Number(db.prepare('SELECT value FROM meta WHERE name = ?').get(name)?.value ?? 0)
      this.#compacted = meta('compacted')
      this.#scanned = meta('scanned')
      // The newest row may have been a delete that compaction took away, so `compacted` counts too.
      this.#revision = Math.max(Number(db.prepare('SELECT max(revision) AS r FROM log').get()?.r ?? 0), this.#compacted)
      this.#latest = db.prepare('SELECT revision, created, deleted FROM log WHERE key = ? ORDER BY revision DESC LIMIT 1')
      this.#insert = db.prepare('INSERT INTO log (revision, key, created, prev, deleted, expires, value) VALUES (?, ?, ?, ?, ?, ?, ?)')
      this.#setMeta = db.prepare('INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value')
    } catch (error) {
      this.#lock?.close()
      throw sqliteError(error, `open store "${path}"`, STORE_WAY_OUT)
    }
  }

  get revision(): Revision {
    return this.#revision
  }

  get compacted(): Revision {
    return this.#compacted
  }

  /** Applies writes in one transaction with one fsync. Throws when the disk refuses; then none of them happened. */
  apply(ops: readonly Op[]): OpResult[] {
    return this.#commit('write', () => {
      const full = this.#usedBytes() > this.#maxBytes
      return ops.map((op) => this.#one(op, full))
    })
  }

  #one(op: Op, full: boolean): OpResult {
    const { key, value, expected } = op
    const latest = this.#latest.get(key) as unknown as LogRow | undefined
    const live = latest !== undefined && latest.deleted === 0 ? latest : undefined
    const actual = live?.revision ?? 0
    if (value === null && !live) return refuse('not-found', `delete "${key}": there is no such key`)
    if (actual !== expected) return refuse(...mismatch(value === null ? 'delete' : 'put', key, expected, actual))
    if (value !== null && full) {
      return refuse('full', `put "${key}": the store holds its limit of ${this.#maxBytes} bytes; delete objects or raise the limit`)
    }
    const revision = ++this.#revision
    const created = live?.created ?? revision
    const deleted = value === null
    this.#insert.run(revision, key, created, actual, deleted ? 1 : 0, op.expires, value ?? '')
    // A row and its index entry; both counted as whole pages, and what the text needs beyond.
    this.#pages += 3 + ((value?.length ?? 0) >> 12)
    this.#writes++
    return { ok: true, key, revision, created, prev: actual, deleted }
  }

  /** Deletes keys whose time is over, at most `limit`; ends that `moved` names are put off or brought forward before. */
  expire(wall: number, limit: number, moved?: Moved): OpResult[] {
    if (moved) {
      this.#commit('move expiry times of', () => {
        this.#db.prepare('UPDATE log SET expires = expires + ? WHERE expires IS NOT NULL AND revision > ?').run(moved.by, moved.since)
        this.#pages += 10
      })
    }
    const due = this.#db.prepare('SELECT revision, key FROM log WHERE expires IS NOT NULL AND expires <= ? ORDER BY expires LIMIT ?').all(wall, limit) as unknown as { revision: number; key: string }[]
    if (due.length === 0) return []
    return this.#commit('expire keys of', () =>
      due.flatMap(({ revision, key }) => {
        this.#db.prepare('UPDATE log SET expires = NULL WHERE revision = ?').run(revision)
        this.#pages += 2
        // A newer row means the key was written again since, with a time of its own or none.
        const latest = this.#latest.get(key) as unknown as LogRow
        return latest.revision === revision ? [this.#one({ key, value: null, expected: revision, expires: null }, false)] : []
      }),
    )
  }

  /** Marks history before `target` as forgotten. The rows go with {@link compactSlice}. */
  compact(target: Revision): void {
    if (target <= this.#compacted) return
    this.#commit('compact', () => {
      this.#setMeta.run('compacted', target)
      this.#pages++
    })
    this.#compacted = target
  }

  /** True when rows of forgotten history are still to be removed, perhaps from before a crash. */
  get sliceDue(): boolean {
    return this.#scanned < this.#compacted
  }

  /** Removes the next few forgotten rows. @returns true when none is left */
  compactSlice(): boolean {
    if (!this.sliceDue) return true
    const rows = this.#db.prepare('SELECT revision, prev, deleted FROM log WHERE revision > ? AND revision <= ? ORDER BY revision LIMIT ?').all(this.#scanned, this.#compacted, SLICE) as unknown as { revision: number; prev: number; deleted: number }[]
    const scanned = rows.length < SLICE ? this.#compacted : (rows.at(-1)?.revision ?? this.#compacted)
    this.#commit('compact', () => {
      const remove = this.#db.prepare('DELETE FROM log WHERE revision = ?')
      for (const row of rows) {
        if (row.prev > 0) remove.run(row.prev)
        if (row.deleted) remove.run(row.revision)
      }
      this.#setMeta.run('scanned', scanned)
      this.#pages += rows.length >> 1
    })
    this.#scanned = scanned
    return !this.sliceDue
  }

  /** Moves the write-ahead log into the file when it has grown. Its failure loses nothing and is the next call's to repeat. */
  checkpoint(): void {
    if (this.#pages < CHECKPOINT_PAGES) return
    const row = this.#db.prepare('PRAGMA wal_checkpoint(PASSIVE)').get()
    // One sync of the log, one of the file.
    if (Number(row?.checkpointed) > 0) this.#syncs += 2
    this.#pages = 0
  }

  /** Writes the file anew without the room of what was forgotten. Takes as much free disk as the file has. */
  vacuum(): void {
    try {
      this.#db.exec('VACUUM; PRAGMA wal_checkpoint(TRUNCATE)')
    } catch (error) {
      throw sqliteError(error, `compact store "${this.#path}"`, STORE_WAY_OUT)
    }
  }

  stats(): { syncs: number; commits: number; writes: number; revision: Revision; compacted: Revision; bytes: number } {
    const size = (p: string): number => statSync(p, { throwIfNoEntry: false })?.size ?? 0
    return {
      syncs: this.#syncs,
      commits: this.#commits,
      writes: this.#writes,
      revision: this.#revision,
      compacted: this.#compacted,
      bytes: size(this.#path) + size(`${this.#path}-wal`),
    }
  }

  close(): void {
    this.#db.close()
    this.#lock?.close()
  }

  /** Runs `fn` in a transaction; on failure nothing of it remains, in the file or here. */
  #commit<T>(act: string, fn: () => T): T {
    const { revision, writes, pages } = { revision: this.#revision, writes: this.#writes, pages: this.#pages }
    try {
      this.#db.exec('BEGIN IMMEDIATE')
      const result = fn()
      const changed = this.#pages !== pages
      this.#db.exec(changed ? 'COMMIT' : 'ROLLBACK')
      if (changed) {
        this.#commits++
        this.#syncs++ // synchronous=FULL in WAL mode: one sync of the log at each commit
      }
      return result
    } catch (error) {
      this.#revision = revision
      this.#writes = writes
      this.#pages = pages
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
      throw sqliteError(error, `${act} store "${this.#path}"`, STORE_WAY_OUT)
    }
  }

  #usedBytes(): number {
    const pragma = (name: string): number => Number(this.#db.prepare(`PRAGMA ${name}`).get()?.[name])
    return (pragma('page_count') - pragma('freelist_count')) * 4096
  }
}

function refuse(code: ErrorCode, message: string): OpResult {
  return { ok: false, code, message }
}

/** Holds `<path>.lock` as an SQLite lock, which the system releases when the process ends, however it ends. */
export function lockStore(path: string): DatabaseSync {
  let file: DatabaseSync
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    file = new DatabaseSync(`${path}.lock`)
  } catch (error) {
    throw sqliteError(error, `open store lock "${path}.lock"`, 'remove the lock file')
  }
  try {
    file.exec('PRAGMA busy_timeout=500; PRAGMA journal_mode=OFF; BEGIN EXCLUSIVE')
    return file
  } catch (error) {
    file.close()
    throw new AppError('unavailable', `open store "${path}": another process has it open; stop the other server of this data directory first`, { cause: error, retryable: false })
  }
}
