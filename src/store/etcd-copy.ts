/**
 * Copies between an etcd and the SQLite file that backups are: behind `skerry store backup`, `restore` and `move`. A copy into
 * etcd ends with the mark, so one that broke off is no store yet and is done anew. What is copied starts at a higher
 * revision with no history, so that every client that remembers a revision lists again instead of missing changes.
 */
import { existsSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { syncDirectory } from '../base/atomic-file.ts'
import { AppError } from '../base/errors.ts'
import { openSqlite, sqliteError } from '../base/sqlite.ts'
import { EtcdClient, leaseId, type EtcdAddress, type RangeAnswer } from './etcd-client.ts'
import { EtcdLayout, readMark } from './etcd-layout.ts'
import { REVISION_JUMP, restoreSqliteStore, type Progress } from './sqlite-backup.ts'
import { lockStore, SqliteLog, STORE_WAY_OUT, type Op } from './sqlite-log.ts'
import type { Revision } from './store.ts'

/** What was copied. */
export interface Copied {
  readonly entries: number
  /** The revision that the copy shows, or starts at. */
  readonly revision: Revision
}

const PAGE = 500
/** etcd takes 128 operations and 1.5 MiB in one transaction. */
const TXN_OPS = 100
const TXN_BYTES = 1_000_000

/** Writes the state of one moment to the SQLite file `to`, while servers work; the file appears whole or not at all. */
export async function backupEtcd(address: EtcdAddress, to: string, now: number, progress?: Progress): Promise<Copied> {
  const client = new EtcdClient(address)
  const layout = new EtcdLayout(address.prefix)
  const partial = `${to}.partial`
  await removeFile(partial)
  let file: SqliteLog | undefined
  try {
    if (!(await hasMark(client, layout))) throw new AppError('not-found', `back up store: etcd at ${client.name} holds none below "${address.prefix}"; give the --store that the server has`)
    const { base, offset } = await readMark(client, layout)
    file = new SqliteLog(partial, Infinity)
    const start = layout.data('')
    const rangeEnd = layout.dataEnd
    let [key, at, entries] = [start, 0, 0]
    for (;;) {
      const page = await client.call<RangeAnswer>('Range', { key, rangeEnd, limit: PAGE, revision: at }, { again: true })
      // All further pages show what the first one showed.
      if (at === 0) at = page.header.revision
      const ops: Op[] = []
      for (const kv of page.kvs) {
        const ttl = kv.lease === 0 ? 0 : (await client.call<{ TTL: number }>('LeaseTimeToLive', { ID: kv.lease }, { again: true })).TTL
        ops.push({ key: layout.keyOf(kv.key) ?? '', value: kv.value.toString(), expected: 0, expires: kv.lease === 0 ? null : now + ttl * 1000 })
      }
      if (ops.length > 0) file.apply(ops)
      entries += ops.length
      progress?.(entries, entries + page.count - page.kvs.length)
      const last = page.kvs.at(-1)
      if (!last || page.count <= page.kvs.length) break
      key = Buffer.concat([last.key, Buffer.from([0])])
    }
    const revision = at - base + offset
    file.compact(Math.max(revision, file.revision))
    file.close()
    file = undefined
    await rename(partial, to)
    await syncDirectory(dirname(to))
    return { entries, revision }
  } catch (error) {
    throw error instanceof AppError ? error : sqliteError(error, `back up store to "${to}"`, 'choose another place for the file')
  } finally {
    file?.close()
    await removeFile(partial)
    client.close()
  }
}

/** Puts the backup `from` into an etcd that holds no store below the prefix. @throws AppError `exists`, `corrupt` */
export function restoreEtcd(from: string, address: EtcdAddress, now: number, progress?: Progress): Promise<Copied> {
  return intoEtcd(from, 'restore backup', 'take another backup', address, now, progress)
}

/** Moves the store file `path`, which no server may have open, into etcd; the file is kept as `<path>.moved`. */
export async function moveToEtcd(path: string, address: EtcdAddress, now: number, progress?: Progress): Promise<Copied> {
  const held = lockStore(path)
  try {
    const copied = await intoEtcd(path, 'move store', STORE_WAY_OUT, address, now, progress)
    for (const suffix of ['', '-wal', '-shm']) await rename(path + suffix, `${path}.moved${suffix}`).catch(ignoreMissing)
    await syncDirectory(dirname(path))
    return copied
  } finally {
    held.close()
  }
}

/**
 * Copies the store in etcd to the file `path`, which must not exist; its servers are to be stopped. What is in etcd stays.
 * @throws AppError `exists`
 */
export async function moveFromEtcd(address: EtcdAddress, path: string, now: number, progress?: Progress): Promise<Copied> {
  if (existsSync(path)) throw new AppError('exists', `move store: "${path}" is there already; move it away, or give another --data-dir`)
  const copy = `${path}.moving`
  try {
    const { entries } = await backupEtcd(address, copy, now, progress)
    return { entries, revision: await restoreSqliteStore(copy, path) }
  } finally {
    await removeFile(copy)
  }
}

async function intoEtcd(path: string, act: string, wayOut: string, address: EtcdAddress, now: number, progress?: Progress): Promise<Copied> {
  const client = new EtcdClient(address)
  const layout = new EtcdLayout(address.prefix)
  const file = openSqlite(path, { what: 'store', wayOut, readOnly: true })
  try {
    const held = (): AppError => new AppError('exists', `${act}: etcd at ${client.name} holds a store below "${address.prefix}" already; name another one, as in etcd://${client.name}/name, and start the servers with that`)
    if (await hasMark(client, layout)) throw held()
    // What a copy that broke off has left.
    await client.call('DeleteRange', { key: layout.data(''), rangeEnd: layout.dataEnd })
    const rows = file.prepare('SELECT l.key, l.value, l.expires FROM (SELECT max(revision) AS r, deleted AS d FROM log GROUP BY key HAVING d = 0) CROSS JOIN log l ON l.revision = r').iterate()
    const all = Number(file.prepare('SELECT count(*) AS n FROM (SELECT max(revision), deleted AS d FROM log GROUP BY key HAVING d = 0)').get()?.['n'])
    let [batch, bytes, entries]: [object[], number, number] = [[], 0, 0]
    const flush = async (): Promise<void> => {
      if (batch.length > 0) await client.call('Txn', { success: batch })
      progress?.(entries, all)
      ;[batch, bytes] = [[], 0]
    }
    for (const row of rows as Iterable<Record<string, unknown>>) {
      const value = Buffer.from(String(row['value']))
      const expires = row['expires'] === null ? 0 : Number(row['expires'])
      const lease = expires === 0 ? 0 : leaseId()
      if (lease !== 0) await client.call('LeaseGrant', { TTL: Math.max(1, Math.ceil((expires - now) / 1000)), ID: lease })
      if (batch.length >= TXN_OPS || bytes + value.length > TXN_BYTES) await flush()
      batch.push({ requestPut: { key: layout.data(String(row['key'])), value, lease } })
      bytes += value.length
      entries++
    }
    await flush()
    const newest = file.prepare("SELECT max(coalesce((SELECT max(revision) FROM log), 0), coalesce((SELECT value FROM meta WHERE name = 'compacted'), 0)) AS r").get()
    const mark = await readMark(client, layout, Number(newest?.['r']) + REVISION_JUMP)
    if (!mark.made) throw held()
    return { entries, revision: mark.offset }
  } catch (error) {
    throw error instanceof AppError ? error : sqliteError(error, `${act} "${path}"`, wayOut)
  } finally {
    file.close()
    client.close()
  }
}

async function hasMark(client: EtcdClient, layout: EtcdLayout): Promise<boolean> {
  return (await client.call<RangeAnswer>('Range', { key: layout.mark, keysOnly: true }, { again: true })).kvs.length > 0
}

async function removeFile(path: string): Promise<void> {
  for (const suffix of ['', '-wal', '-shm', '.lock']) await rm(path + suffix, { force: true })
}

function ignoreMissing(error: unknown): void {
  if ((error as { code?: unknown }).code !== 'ENOENT') throw error
}
