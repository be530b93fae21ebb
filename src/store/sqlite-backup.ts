/**
 * Copies of the store's file: made while it is in use, put back while it is not. Behind `skerry store backup` and
 * `skerry store restore`. A restored store starts at a higher revision with no history, so that every client that
 * remembers a revision from before is told `compacted` and lists again, instead of missing changes.
 */
import { existsSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { backup } from 'node:sqlite'
import { syncDirectory } from '../base/atomic-file.ts'
import { AppError } from '../base/errors.ts'
import { openSqlite, sqliteError } from '../base/sqlite.ts'
import { lockStore, SqliteLog, STORE_OPEN, STORE_WAY_OUT } from './sqlite-log.ts'
import type { Revision } from './store.ts'

/** Further than a store can get between a backup and its loss. */
export const REVISION_JUMP = 1_000_000_000

/** Told now and then how far a copy is, in parts of the same size each. */
export type Progress = (done: number, all: number) => void

/** Writes a consistent copy of the store `path`, which may be in use, to `to`; the copy appears whole or not at all. */
export async function backupSqliteStore(path: string, to: string, progress?: Progress): Promise<void> {
  if (!existsSync(path)) throw new AppError('not-found', `back up store "${path}": there is no such file; give the --data-dir or the --store that the server has`)
  const source = openSqlite(path, { ...STORE_OPEN, readOnly: true })
  try {
    await backup(source, `${to}.partial`, { rate: 1000, progress: ({ totalPages, remainingPages }) => progress?.(totalPages - remainingPages, totalPages) })
    await rename(`${to}.partial`, to)
    await syncDirectory(dirname(to))
  } catch (error) {
    await rm(`${to}.partial`, { force: true })
    throw sqliteError(error, `back up store "${path}" to "${to}"`, STORE_WAY_OUT)
  } finally {
    source.close()
  }
}

/**
 * Puts the backup `from` in the place of the store `path`; what was there is kept as `<path>.replaced`.
 * @returns the revision the restored store starts at
 * @throws AppError `corrupt` when the backup does not check (the store is untouched), `unavailable` while the store is open
 */
export async function restoreSqliteStore(from: string, path: string, progress?: Progress): Promise<Revision> {
  if (!existsSync(from)) throw new AppError('not-found', `restore backup "${from}": there is no such file`)
  const fresh = `${path}.restoring`
  await removeStore(fresh)
  const source = openSqlite(from, { what: 'backup', wayOut: 'take another backup', readOnly: true })
  try {
    await backup(source, fresh, { rate: 1000, progress: ({ totalPages, remainingPages }) => progress?.(totalPages - remainingPages, totalPages) })
  } catch (error) {
    throw sqliteError(error, `restore backup "${from}"`, 'take another backup')
  } finally {
    source.close()
  }
  const log = new SqliteLog(fresh, Infinity)
  const revision = log.revision + REVISION_JUMP
  log.compact(revision)
  log.close()
  const held = lockStore(path)
  try {
    for (const suffix of ['', '-wal', '-shm']) await rename(path + suffix, `${path}.replaced${suffix}`).catch(ignoreMissing)
    await rename(fresh, path)
    await syncDirectory(dirname(path))
  } finally {
    held.close()
    await removeStore(fresh)
  }
  return revision
}

/**
 * Forgets all history and gives its room back. No server may have the store open: a running one forgets by itself, but keeps
 * the room for what comes. @returns the size of the file before and after, bytes
 */
export async function compactSqliteStore(path: string): Promise<{ before: number; after: number }> {
  if (!existsSync(path)) throw new AppError('not-found', `compact store "${path}": there is no such file; give the --data-dir or the --store that the server has`)
  const log = new SqliteLog(path, Infinity)
  try {
    const before = log.stats().bytes
    log.compact(log.revision)
    while (!log.compactSlice()) continue
    log.vacuum()
    return { before, after: log.stats().bytes }
  } finally {
    log.close()
  }
}

async function removeStore(path: string): Promise<void> {
  for (const suffix of ['', '-wal', '-shm', '.lock']) await rm(path + suffix, { force: true })
}

function ignoreMissing(error: unknown): void {
  if ((error as { code?: unknown }).code !== 'ENOENT') throw error
}
