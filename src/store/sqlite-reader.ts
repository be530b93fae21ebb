/**
 * Reads of the log file, on the caller's thread: SQLite's write-ahead log lets them go on while a write or its fsync is under
 * way. Every read names the revision it wants to see, so that a reader never sees more than what was published.
 * Used by `sqlite.ts` only.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { openSqlite, sqliteError } from '../base/sqlite.ts'
import { STORE_OPEN, STORE_WAY_OUT } from './sqlite-log.ts'
import type { Entry, Revision, StoreEvent } from './store.ts'

/** Behind every key with the prefix: U+10FFFF is the last character in SQLite's byte order. */
const LAST = '\u{10ffff}'

/** One reading connection. Throws AppErrors only. */
export class SqliteReader {
  readonly #path: string
  readonly #db: DatabaseSync
  readonly #get: StatementSync
  readonly #value: StatementSync
  readonly #list: StatementSync
  readonly #count: StatementSync
  readonly #history: StatementSync
  readonly #due: StatementSync

  constructor(path: string) {
    this.#path = path
    const db = (this.#db = openSqlite(path, { ...STORE_OPEN, readOnly: true }))
    const prepare = (sql: string): StatementSync => {
      const statement = db.prepare(sql)
      statement.setReturnArrays(true)
      return statement
    }
    this.#get = prepare('SELECT key, value, revision, created, deleted FROM log WHERE key = ? AND revision <= ? ORDER BY revision DESC LIMIT 1')
    this.#value = prepare('SELECT value FROM log WHERE revision = ?')
    // The inner select needs the index alone, in key order; CROSS JOIN keeps it outside and so keeps the order.
    const newest = 'SELECT max(revision) AS r, deleted AS d FROM log WHERE key >= ? AND key < ? AND revision <= ? GROUP BY key HAVING d = 0'
    this.#list = prepare(`SELECT l.key, l.value, l.revision, l.created FROM (${newest} ORDER BY key LIMIT ?) CROSS JOIN log l ON l.revision = r`)
    this.#count = prepare(`SELECT count(*) FROM (${newest})`)
    this.#due = prepare('SELECT 1 FROM log WHERE expires IS NOT NULL AND expires <= ? LIMIT 1')
    this.#history = prepare(
      `SELECT l.revision, l.key, l.created, l.deleted, l.value, p.value FROM log l LEFT JOIN log p ON p.revision = l.prev
       WHERE l.revision > ? AND l.revision <= ? AND +l.key >= ? AND +l.key < ? ORDER BY l.revision LIMIT ?`,
    )
  }

  get(key: string, at: Revision): Entry | undefined {
    const row = this.#run(() => this.#get.get(key, at) as unknown as [string, string, number, number, number] | undefined)
    return row && row[4] === 0 ? { key: row[0], value: row[1], revision: row[2], created: row[3] } : undefined
  }

  /** The text of one revision; undefined when compacted away. */
  valueAt(revision: Revision): string | undefined {
    return this.#run(() => (this.#value.get(revision) as unknown as [string] | undefined)?.[0])
  }

  list(prefix: string, at: Revision, limit: number | undefined, after: string | undefined): { entries: Entry[]; remaining: number } {
    const from = after !== undefined && after >= prefix ? next(after) : prefix
    const to = prefix + LAST
    return this.#run(() => {
      const rows = this.#list.all(from, to, at, limit ?? -1) as unknown as [string, string, number, number][]
      const entries = rows.map(([key, value, revision, created]) => ({ key, value, revision, created }))
      if (limit === undefined || entries.length < limit) return { entries, remaining: 0 }
      const last = entries.at(-1)
      const [remaining] = this.#count.get(last ? next(last.key) : from, to, at) as unknown as [number]
      return { entries, remaining }
    })
  }

  history(prefix: string, after: Revision, upTo: Revision, limit: number): { events: StoreEvent[]; through: Revision } {
    return this.#run(() => {
      const rows = this.#history.all(after, upTo, prefix, prefix + LAST, limit) as unknown as [number, string, number, number, string, string | null][]
      const events = rows.map(([revision, key, created, deleted, value, previous]): StoreEvent =>
        deleted
          ? { type: 'delete', key, revision, created, value: previous ?? '', previous: previous ?? undefined }
          : { type: 'put', key, revision, created, value, previous: previous ?? undefined },
      )
      return { events, through: rows.length < limit ? upTo : (events.at(-1)?.revision ?? upTo) }
    })
  }

  /** True when the time of some key may be over. */
  due(wall: number): boolean {
    return this.#run(() => this.#due.get(wall) !== undefined)
  }

  close(): void {
    this.#db.close()
  }

  #run<T>(fn: () => T): T {
    try {
      return fn()
    } catch (error) {
      throw sqliteError(error, `read store "${this.#path}"`, STORE_WAY_OUT)
    }
  }
}

/** The first possible key behind `key`. */
function next(key: string): string {
  return key + '\0'
}
