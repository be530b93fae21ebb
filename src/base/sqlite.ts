/**
 * Opening SQLite files the one way Skerry does: write-ahead log, an fsync per commit, errors in our words.
 * Used by the store and the collector, in their worker threads; a reader may be opened beside the one writer.
 */
import { existsSync, mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { AppError, messageOf, type ErrorCode } from './errors.ts'

export interface SqliteOpenOptions {
  /** What the file is, in messages: `store`. */
  readonly what: string
  /** What to do about a file that does not check: `restore a backup with "skerry store restore"`. */
  readonly wayOut: string
  /** @default false */
  readonly readOnly?: boolean
  /** Statements that make schema version `i + 1` from version `i`; run in one transaction each. Only the writer gives them. */
  readonly migrations?: readonly string[]
  /** This process has opened, and so checked, the file before. @default false */
  readonly checked?: boolean
}

/** Files up to this size, and files that were not closed cleanly, are checked as a whole when a writer opens them; about 100 ms. */
const CHECK_BYTES = 32 << 20

/**
 * Opens `path`, made with its directory when missing. A writer brings the schema up to date.
 * @throws AppError `corrupt` (names file and way out), `unsupported` (made by a newer version), `full`, `unavailable`
 */
export function openSqlite(path: string, options: SqliteOpenOptions): DatabaseSync {
  let db: DatabaseSync | undefined
  try {
    const before = existsSync(path) ? statSync(path).size : 0
    // A clean close removes the -wal file, so one that is there and not empty tells of a crash.
    const crashed = existsSync(`${path}-wal`) && statSync(`${path}-wal`).size > 0
    if (!options.readOnly) mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    db = new DatabaseSync(path, { readOnly: options.readOnly ?? false })
    db.exec('PRAGMA busy_timeout=2000; PRAGMA cache_size=-4096; PRAGMA temp_store=MEMORY')
    if (!options.readOnly) {
      db.exec('PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA journal_size_limit=16777216')
      if (options.checked !== true && before > 0 && (crashed || before <= CHECK_BYTES)) check(db, path, options)
      migrate(db, path, options)
    }
    return db
  } catch (error) {
    db?.close()
    throw sqliteError(error, `open ${options.what} "${path}"`, options.wayOut)
  }
}

function check(db: DatabaseSync, path: string, options: SqliteOpenOptions): void {
  const row = db.prepare('PRAGMA quick_check(1)').get()
  const found = row && Object.values(row)[0]
  if (found !== 'ok') throw new AppError('corrupt', `open ${options.what} "${path}": the file does not check ("${String(found)}"); ${options.wayOut}`)
}

function migrate(db: DatabaseSync, path: string, options: SqliteOpenOptions): void {
  const steps = options.migrations ?? []
  const version = Number(db.prepare('PRAGMA user_version').get()?.user_version)
  if (version > steps.length) {
    throw new AppError('unsupported', `open ${options.what} "${path}": schema ${version} was made by a newer Skerry, this one knows ${steps.length}; start the newer version`)
  }
  for (let i = version; i < steps.length; i++) db.exec(`BEGIN IMMEDIATE; ${steps[i]}; PRAGMA user_version=${i + 1}; COMMIT`)
}

/** Any thrown thing as an AppError: disk full, corruption and a busy or failing disk get their codes; an AppError passes unchanged. */
export function sqliteError(error: unknown, act: string, wayOut: string): AppError {
  if (error instanceof AppError) return error
  const code = (error as { errcode?: unknown } | null)?.errcode
  const [meaning, advice] = typeof code === 'number' ? explain(code & 0xff, wayOut) : (['internal', ''] as const)
  return new AppError(meaning, `${act}: ${messageOf(error)}${advice}`)
}

/** SQLite's primary result codes, https://sqlite.org/rescode.html */
function explain(primary: number, wayOut: string): readonly [ErrorCode, string] {
  switch (primary) {
    case 11: // CORRUPT
    case 26: // NOTADB
      return ['corrupt', `; ${wayOut}`]
    case 13: // FULL
      return ['full', '; free disk space, writes then go on by themselves']
    case 5: // BUSY
    case 6: // LOCKED
      return ['unavailable', '; another process holds the file']
    case 8: // READONLY
    case 10: // IOERR
    case 14: // CANTOPEN
      return ['unavailable', '; check the disk and the permissions of the directory']
    default:
      return ['internal', '']
  }
}
