/**
 * The collector's storage: records in SQLite, their attachments in files beside it. Synchronous and alone: it lives in the
 * thread of `records-worker.ts`. What a method took is durable (fsynced) when it returns.
 *
 * Invariants: a record counts once by namespace/stream/id, a spool's sequence number once by node/epoch; the order of one
 * node's records is the order of its spool; at most `maxBytes` are kept: reviewed records go first, oldest first, then
 * the oldest of the others, and what went is in a ledger.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite'
import { AppError } from '../base/errors.ts'
import { openSqlite, sqliteError } from '../base/sqlite.ts'
import type { Loss } from '../telemetry/mod.ts'
import { keepAttachment, removeAttachment, removeStrays } from './attachments.ts'
import { MIGRATIONS } from './schema.ts'
import type { Batch, Dropped, KeptRecord, ListQuery, NewRecord, NodeLoss, ReviewState, StreamInfo } from './types.ts'

const WAY_OUT = 'move the file aside to start with an empty collector'
/** What one row costs beside its texts, bytes; a guess on the high side. */
const ROW_BYTES = 400
/** A page of records ends at this size even below its limit. */
const PAGE_BYTES = 4 << 20
/** Spools remembered a node: a new one comes only with a new disk. */
const MAX_EPOCHS = 8
const MAX_LOSSES_PER_NODE = 1000
const MAX_DROPPED_ROWS = 1000

interface Row {
  seq: number; version: number; namespace: string; stream: string; id: string; node: string; pod: string | null; author: string | null
  time_ms: number; received_ms: number; data: string; bytes: number; state: ReviewState
  reviewer: string | null; review_ms: number | null; note: string | null; issue: number | null
}

/** Storage of one collector; whoever holds it is the only writer of its directory. */
export class RecordStore {
  readonly #db: DatabaseSync
  readonly #files: string
  readonly #maxBytes: number
  readonly #statements = new Map<string, StatementSync>()
  #bytes: number
  #version: number

  /** @throws AppError `corrupt` (names the file and the way out), `unavailable`, `full` */
  constructor(directory: string, maxBytes: number) {
    this.#maxBytes = maxBytes
    this.#files = join(directory, 'attachments')
    mkdirSync(this.#files, { recursive: true, mode: 0o700 })
    this.#db = openSqlite(join(directory, 'records.db'), { what: 'records', wayOut: WAY_OUT, migrations: MIGRATIONS })
    this.#bytes = Number(this.#one('SELECT sum(bytes) AS n FROM records')?.n ?? 0)
    this.#version = Number(this.#one('SELECT max(version) AS n FROM records')?.n ?? 0)
    removeStrays(this.#files, (sha256) => this.#one('SELECT 1 FROM attachments WHERE sha256 = ? LIMIT 1', sha256) !== undefined)
  }

  /** Takes a node's batch. @returns the sequence number up to which everything is kept, and the streams that changed */
  ingest(batch: Batch, nowMs: number): { acked: number; changed: readonly string[] } {
    return this.#write('take batch', () => {
      let last = Number(this.#one('SELECT seq FROM spools WHERE node = ? AND epoch = ?', batch.node, batch.epoch)?.seq ?? 0)
      const changed = new Set<string>()
      for (const { seq, record } of batch.records) {
        if (seq <= last) continue // sent again because our answer was lost
        last = seq
        if (this.#insert(record, nowMs)) changed.add(`${record.namespace}/${record.stream}`)
      }
      this.#run(
        'INSERT INTO spools (node, epoch, seq, seen_ms) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq, seen_ms = excluded.seen_ms',
        batch.node, batch.epoch, last, nowMs,
      )
      this.#run('DELETE FROM spools WHERE node = ?1 AND epoch NOT IN (SELECT epoch FROM spools WHERE node = ?1 ORDER BY seen_ms DESC LIMIT ?2)', batch.node, MAX_EPOCHS)
      for (const loss of batch.losses) this.#keepLoss(batch.node, batch.epoch, loss)
      return { acked: last, changed: [...changed] }
    })
  }

  /** Takes one record from a user or thing. @returns the record kept under its id, and whether it is new */
  create(record: NewRecord, nowMs: number): { record: KeptRecord; created: boolean } {
    return this.#write('take record', () => {
      const created = this.#insert(record, nowMs)
      return { record: this.get(record.namespace, record.stream, record.id), created }
    })
  }

  /** @throws AppError `not-found`; `conflict` naming the decision that stands */
  review(namespace: string, stream: string, id: string, state: 'approved' | 'rejected', by: string, note: string, nowMs: number): KeptRecord {
    return this.#write('review record', () => {
      const { review } = this.get(namespace, stream, id)
      if (review.state !== 'pending') {
        throw new AppError('conflict', `review record "${id}": "${review.by ?? ''}" ${review.state} it at ${review.at ?? 'an unknown time'}; the first decision stands`)
      }
      let issue: number | null = null
      if (state === 'approved') {
        this.#run('INSERT INTO streams (namespace, stream, issued) VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET issued = issued + 1', namespace, stream)
        issue = Number(this.#one('SELECT issued FROM streams WHERE namespace = ? AND stream = ?', namespace, stream)?.issued)
      }
      this.#run(
        'UPDATE records SET state = ?, reviewer = ?, review_ms = ?, note = ?, issue = ?, version = ? WHERE namespace = ? AND stream = ? AND id = ?',
        state, by, nowMs, note, issue, ++this.#version, namespace, stream, id,
      )
      return this.get(namespace, stream, id)
    })
  }

  /** @throws AppError `not-found` */
  get(namespace: string, stream: string, id: string): KeptRecord {
    const row = this.#one('SELECT * FROM records WHERE namespace = ? AND stream = ? AND id = ?', namespace, stream, id)
    if (!row) throw new AppError('not-found', `record "${id}" not found in stream "${stream}"`)
    return this.#record(row as unknown as Row)
  }

  /** Records in order of arrival, or the newest first. `next` is the cursor of the last one when there are more. */
  list(query: ListQuery): { items: KeptRecord[]; next: string | undefined } {
    const where = ['namespace = ?', 'stream = ?']
    const values: SQLInputValue[] = [query.namespace, query.stream]
    const add = (condition: string, value: SQLInputValue | undefined): void => {
      if (value === undefined) return
      where.push(condition)
      values.push(value)
    }
    add(query.newestFirst ? 'seq < ?' : 'seq > ?', query.after)
    add('state = ?', query.review)
    add('time_ms >= ?', query.sinceMs)
    const rows = this.#statement(`SELECT * FROM records WHERE ${where.join(' AND ')} ORDER BY seq ${query.newestFirst ? 'DESC' : 'ASC'} LIMIT ?`).iterate(...values, query.limit + 1)
    const { items, more } = this.#page(rows as Iterable<unknown> as Iterable<Row>, query.limit)
    return { items: items.map((i) => i.record), next: more ? items.at(-1)?.record.cursor : undefined }
  }

  /** Records changed after `version`, in order of change; each once, as it is now. */
  changes(namespace: string, stream: string, version: number, limit: number): { version: number; record: KeptRecord }[] {
    const rows = this.#statement('SELECT * FROM records WHERE namespace = ? AND stream = ? AND version > ? ORDER BY version LIMIT ?').iterate(namespace, stream, version, limit)
    return this.#page(rows as Iterable<unknown> as Iterable<Row>, limit).items
  }

  streams(namespace: string): { streams: StreamInfo[]; nodeLosses: NodeLoss[] } {
    const rows = this.#all(
      `SELECT stream, count(*) AS records, sum(bytes) AS bytes, sum(state = 'pending') AS pending, sum(state = 'approved') AS approved,
       sum(state = 'rejected') AS rejected, max(time_ms) AS newestMs FROM records WHERE namespace = ? GROUP BY stream`,
      namespace,
    ) as unknown as Omit<StreamInfo, 'dropped'>[]
    const dropped = this.#all('SELECT *, from_ms AS fromMs, to_ms AS toMs FROM dropped WHERE namespace = ? ORDER BY day', namespace).map(
      ({ from_ms: _from, to_ms: _to, ...row }) => ({ ...row, reason: 'full' }) as unknown as Dropped,
    )
    const empty = { records: 0, bytes: 0, pending: 0, approved: 0, rejected: 0, newestMs: 0 }
    const names = [...new Set([...rows, ...dropped].map((r) => r.stream))].sort()
    return {
      streams: names.map((stream) => ({ stream, ...empty, ...rows.find((r) => r.stream === stream), dropped: dropped.filter((d) => d.stream === stream) })),
      nodeLosses: this.#all(
        'SELECT node, epoch, from_seq AS fromSeq, to_seq AS toSeq, from_ms AS fromMs, to_ms AS toMs, bytes, reason FROM losses ORDER BY from_ms LIMIT 1000',
      ) as unknown as NodeLoss[],
    }
  }

  usage(): { bytes: number; version: number } {
    return { bytes: this.#bytes, version: this.#version }
  }

  close(): void {
    this.#db.close()
  }

  #insert(record: NewRecord, nowMs: number): boolean {
    const { namespace, stream, id } = record
    if (this.#one('SELECT 1 FROM records WHERE namespace = ? AND stream = ? AND id = ?', namespace, stream, id)) return false
    const data = JSON.stringify(record.data)
    const bytes = ROW_BYTES + data.length + record.attachments.reduce((sum, a) => sum + a.bytes.length, 0)
    // Files first: a record never names bytes that are not on the disk.
    const kept = record.attachments.map((a) => ({ ...a, sha256: keepAttachment(this.#files, a.bytes) }))
    const { lastInsertRowid } = this.#run(
      'INSERT INTO records (version, namespace, stream, id, node, pod, author, time_ms, received_ms, data, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
      ++this.#version, namespace, stream, id, record.node, record.pod ?? null, record.by ?? null, record.timeMs, nowMs, data, bytes,
    )
    kept.forEach((a, place) =>
      this.#run('INSERT INTO attachments (seq, place, name, content_type, size, sha256) VALUES (?, ?, ?, ?, ?, ?)', lastInsertRowid, place, a.name, a.contentType, a.bytes.length, a.sha256),
    )
    this.#bytes += bytes
    return true
  }

  #keepLoss(node: string, epoch: string, l: Loss): void {
    this.#run(
      `INSERT INTO losses (node, epoch, from_seq, to_seq, from_ms, to_ms, bytes, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET to_seq = excluded.to_seq, to_ms = excluded.to_ms, bytes = excluded.bytes WHERE excluded.to_seq > to_seq`,
      node, epoch, l.fromSeq, l.toSeq, l.fromMs, l.toMs, l.bytes, l.reason,
    )
    this.#run(
      'DELETE FROM losses WHERE node = ?1 AND (epoch, from_seq) NOT IN (SELECT epoch, from_seq FROM losses WHERE node = ?1 ORDER BY from_ms DESC LIMIT ?2)',
      node, MAX_LOSSES_PER_NODE,
    )
  }

  /** Drops records until the rest is within the limit. @returns hashes whose files may have lost their last record */
  #retain(): string[] {
    const orphans: string[] = []
    while (this.#bytes > this.#maxBytes) {
      const row = (this.#one("SELECT * FROM records WHERE state <> 'pending' ORDER BY seq LIMIT 1") ?? this.#one('SELECT * FROM records ORDER BY seq LIMIT 1')) as unknown as Row | undefined
      if (!row) break
      orphans.push(...this.#all('SELECT sha256 FROM attachments WHERE seq = ?', row.seq).map((a) => String(a.sha256)))
      this.#run('DELETE FROM attachments WHERE seq = ?', row.seq)
      this.#run('DELETE FROM records WHERE seq = ?', row.seq)
      this.#bytes -= row.bytes
      this.#run(
        `INSERT INTO dropped (namespace, stream, state, day, records, bytes, from_ms, to_ms) VALUES (?, ?, ?, ?, 1, ?, ?, ?)
         ON CONFLICT DO UPDATE SET records = records + 1, bytes = bytes + excluded.bytes, from_ms = min(from_ms, excluded.from_ms), to_ms = max(to_ms, excluded.to_ms)`,
        row.namespace, row.stream, row.state, new Date(row.received_ms).toISOString().slice(0, 10), row.bytes, row.time_ms, row.time_ms,
      )
    }
    if (orphans.length > 0) {
      this.#run('DELETE FROM dropped WHERE (namespace, stream, state, day) NOT IN (SELECT namespace, stream, state, day FROM dropped ORDER BY day DESC LIMIT ?)', MAX_DROPPED_ROWS)
    }
    return orphans
  }

  /** One transaction, one fsync; retention is part of it. On failure nothing of it remains but perhaps a stray file, which the next start removes. */
  #write<T>(act: string, fn: () => T): T {
    const { bytes, version } = { bytes: this.#bytes, version: this.#version }
    try {
      this.#db.exec('BEGIN IMMEDIATE')
      const result = fn()
      const orphans = this.#retain()
      this.#db.exec('COMMIT')
      for (const sha256 of orphans) if (!this.#one('SELECT 1 FROM attachments WHERE sha256 = ? LIMIT 1', sha256)) removeAttachment(this.#files, sha256)
      return result
    } catch (error) {
      if (this.#db.isTransaction) {
        this.#db.exec('ROLLBACK')
        this.#bytes = bytes
        this.#version = version
      }
      throw diskError(error, act)
    }
  }

  #page(rows: Iterable<Row>, limit: number): { items: { version: number; record: KeptRecord }[]; more: boolean } {
    const items: { version: number; record: KeptRecord }[] = []
    let size = 0
    for (const row of rows) {
      if (items.length >= limit || size > PAGE_BYTES) return { items, more: true }
      size += row.data.length
      items.push({ version: row.version, record: this.#record(row) })
    }
    return { items, more: false }
  }

  #record(row: Row): KeptRecord {
    const attachments = this.#all('SELECT name, content_type AS contentType, size, sha256 FROM attachments WHERE seq = ? ORDER BY place', row.seq) as unknown as KeptRecord['attachments']
    return {
      id: row.id,
      namespace: row.namespace,
      stream: row.stream,
      node: row.node,
      ...(row.pod !== null && { pod: row.pod }),
      ...(row.author !== null && { by: row.author }),
      time: new Date(row.time_ms).toISOString(),
      timeMs: row.time_ms,
      receivedMs: row.received_ms,
      data: JSON.parse(row.data) as unknown,
      attachments: attachments.map((a) => ({ ...a })),
      review: {
        state: row.state,
        ...(row.reviewer !== null && { by: row.reviewer }),
        ...(row.review_ms !== null && { at: new Date(row.review_ms).toISOString() }),
        ...(row.note !== null && row.note !== '' && { note: row.note }),
      },
      issued: row.issue !== null,
      ...(row.issue !== null && { issueNumber: row.issue }),
      cursor: String(row.seq),
    }
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql)
    if (!statement) this.#statements.set(sql, (statement = this.#db.prepare(sql)))
    return statement
  }

  #one(sql: string, ...values: SQLInputValue[]): Record<string, unknown> | undefined {
    return this.#statement(sql).get(...values)
  }

  #all(sql: string, ...values: SQLInputValue[]): Record<string, unknown>[] {
    return this.#statement(sql).all(...values)
  }

  #run(sql: string, ...values: SQLInputValue[]): { lastInsertRowid: number | bigint } {
    return this.#statement(sql).run(...values)
  }
}

/** A failing disk under the attachment files gets the same words as one under SQLite. */
function diskError(error: unknown, act: string): AppError {
  const code = (error as { code?: unknown } | null)?.code
  if (code === 'ENOSPC' || code === 'EDQUOT') return new AppError('full', `${act}: the disk is full; free space, senders will try again`, { cause: error })
  if (code === 'EIO' || code === 'EROFS' || code === 'EACCES') return new AppError('unavailable', `${act}: the disk refuses to write; check it`, { cause: error })
  return sqliteError(error, act, WAY_OUT)
}
