/**
 * The bounded log on disk: segment files of checksummed records and a small `state.json` (epoch, cursors, ledger).
 *
 * - One writer at a time; what waits while it writes goes out together, with one fsync (group commit). Readers see a record
 *   only once it is as durable as promised.
 * - When bytes run out the oldest segment goes, its unacked part into the ledger; the state is written before the file goes,
 *   so that a crash between the two never turns an acked record into a lost one or the reverse.
 * - A refused write (disk full, I/O error) costs the records of that batch: callers get an error, the ledger gets a row, and
 *   writing goes on in a new segment when the disk lets it. Reads never stop.
 * - Cursors are written at most once a second; after a crash a reader may see again what it acked in the last second.
 */
import { randomUUID } from 'node:crypto'
import { mkdir, readdir, rename, unlink, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { readFileIfAny, syncDirectory, writeFileAtomic } from '../base/atomic-file.ts'
import { systemClock, type Clock, type Timer } from '../base/clock.ts'
import { AppError, messageOf } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { checkRecord, Cursors, Waiters } from './log-parts.ts'
import type { BoundedLog, BoundedLogOptions, LogRecordData, Loss, StoredRecord } from './log.ts'
import { addLoss, coversLoss } from './losses.ts'
import { Segment } from './segment-file.ts'
import { encodeSegmentRecord, recordSize } from './segment-format.ts'
import { isSealed, openRecord, sealRecord } from './sealed-record.ts'

const log = logger('telemetry.log')
/** Appends that wait for the disk, bytes; over it an append is refused, so that a stuck disk cannot fill the memory. */
const MAX_PENDING_BYTES = 32 << 20
const SAVE_EVERY_MS = 1000

export interface SegmentLogDeps {
  readonly clock?: Clock
  /** Replaces the disk's write and sync, for fault tests. */
  readonly disk?: { write(file: FileHandle, bytes: Buffer, position: number): Promise<void>; sync(file: FileHandle): Promise<void> }
}

interface State {
  readonly epoch: string
  /** Lowest sequence number still kept; segments wholly below it were on their way out. */
  readonly first: number
  readonly cursors: [string, number][]
  readonly ledger: readonly Loss[]
}

interface Pending {
  readonly record: StoredRecord
  readonly size: number
  readonly resolve: (seq: number) => void
  readonly reject: (error: unknown) => void
}

/** Opens the log in `options.directory`, made when missing; walks the segments once. @throws the file system's error */
export async function openSegmentLog(options: BoundedLogOptions, deps: SegmentLogDeps = {}): Promise<BoundedLog> {
  await mkdir(options.directory, { recursive: true, mode: 0o700 })
  const state = await loadState(options.directory)
  const segmentLog = new SegmentLog(options, deps, state)
  await segmentLog.load()
  return segmentLog
}

class SegmentLog implements BoundedLog {
  readonly epoch: string
  readonly #options: BoundedLogOptions
  readonly #clock: Clock
  readonly #disk: NonNullable<SegmentLogDeps['disk']>
  readonly #segmentBytes: number
  readonly #waiters = new Waiters()
  readonly #cursors: Cursors
  #ledger: Loss[]
  #segments: Segment[] = []
  #first: number
  #assigned = 0
  #last = 0
  #pending: Pending[] = []
  #pendingBytes = 0
  #turn: Promise<unknown> = Promise.resolve()
  #pumping = false
  /** The segment whose tail is not trusted any more. */
  #sealed: Segment | undefined
  #dirty = false
  /** A disk that refuses is told once. */
  #saveTold = false
  #saveTimer: Timer | undefined
  #closed = false

  constructor(options: BoundedLogOptions, deps: SegmentLogDeps, state: State) {
    this.#options = options
    this.#clock = deps.clock ?? systemClock
    this.#disk = deps.disk ?? { write: writeAll, sync: (file) => file.datasync() }
    this.#segmentBytes = Math.min(8 << 20, Math.max(4096, Math.floor(options.maxBytes / 8)))
    this.epoch = state.epoch
    this.#cursors = new Cursors(state.cursors)
    this.#ledger = [...state.ledger]
    this.#first = state.first
  }

  get last(): number {
    return this.#last
  }

  acked(cursor: string): number {
    return this.#cursors.get(cursor)
  }

  ledger(): readonly Loss[] {
    return this.#ledger
  }

  usage(cursor?: string): { bytes: number; pending: number } {
    const after = cursor === undefined ? this.#cursors.least : this.#cursors.get(cursor)
    let pending = 0
    for (const s of this.#segments) {
      if (s.count === 0 || s.lastSeq <= after) continue
      pending += after < s.firstSeq ? s.count : s.lastSeq - after
    }
    return { bytes: this.#bytes, pending }
  }

  async load(): Promise<void> {
    const { directory } = this.#options
    const bases = (await readdir(directory)).flatMap((f) => (/^\d{16}\.seg$/.test(f) ? [Number(f.slice(0, 16))] : [])).sort((a, b) => a - b)
    for (const [i, base] of bases.entries()) {
      const segment = new Segment(directory, base)
      const newest = i === bases.length - 1
      if (!newest && (bases[i + 1] as number) <= this.#first) {
        await unlink(segment.path)
        continue
      }
      await segment.load(newest)
      if (!newest) await segment.close()
      this.#segments.push(segment)
    }
    this.#findGaps()
    const newest = this.#segments.at(-1)
    this.#last = Math.max(newest?.lastSeq ?? 0, this.#segments.findLast((s) => s.count > 0)?.lastSeq ?? 0)
    // What the ledger or a cursor already speaks of is never numbered again.
    this.#assigned = Math.max(this.#last, (newest?.base ?? this.#first) - 1, this.#cursors.most, this.#ledger.at(-1)?.toSeq ?? 0)
    this.#last = Math.max(this.#last, Math.min(this.#assigned, this.#cursors.most))
    // What is there can be read though nothing can be written now.
    await this.#save().catch((error: unknown) => this.#saveFailed(error))
  }

  append(data: LogRecordData): Promise<number> {
    if (this.#closed) return Promise.reject(new AppError('unavailable', 'append: the log is closed'))
    const { seal, maxBytes } = this.#options
    let kept = data
    try {
      checkRecord(data, this.#options)
      if (seal) checkRecord((kept = sealRecord(seal, data)), { maxBytes, maxRecordBytes: Infinity })
    } catch (error) {
      return Promise.reject(error)
    }
    const record: StoredRecord = { meta: kept.meta, payload: kept.payload, seq: ++this.#assigned, timeMs: this.#clock.now() }
    const size = recordSize(kept)
    if (this.#pendingBytes + size > MAX_PENDING_BYTES) {
      this.#lost(record.seq, record.seq, record.timeMs, record.timeMs, size, 'full')
      return Promise.reject(new AppError('full', `append: ${this.#pendingBytes} bytes already wait for the disk, try again when it has caught up`))
    }
    return new Promise((resolve, reject) => {
      this.#pending.push({ record, size, resolve, reject })
      this.#pendingBytes += size
      if (this.#pumping) return
      this.#pumping = true
      void this.#exclusive(() => this.#pump())
    })
  }

  async read(after: number, maxBytes: number): Promise<readonly StoredRecord[]> {
    for (let next = after; ; ) {
      if (this.#closed) throw new AppError('unavailable', 'read: the log is closed')
      const segment = this.#segments.find((s) => s.count > 0 && s.lastSeq > next)
      if (!segment) return []
      try {
        const records = await segment.read(next, maxBytes, (before, then) => this.#foundBad(Math.max(before, segment.firstSeq - 1) + 1, then - 1, segment))
        const opened = this.#opened(records, segment)
        if (opened.length > 0) return opened
        next = records.at(-1)?.seq ?? segment.lastSeq
      } catch (error) {
        if (this.#segments.includes(segment)) throw error
        // Dropped while it was read: the next one is the oldest now.
      }
    }
  }

  /** What lies sealed, as it was given. What another key sealed cannot come back: it counts as lost, once, and reading goes on behind it. */
  #opened(records: readonly StoredRecord[], segment: Segment): readonly StoredRecord[] {
    if (!records.some(isSealed)) return records
    const lost: [number, number][] = []
    const opened = records.flatMap((record) => {
      try {
        return isSealed(record) ? [openRecord(this.#options.seal, record)] : [record]
      } catch {
        const stretch = lost.at(-1)
        if (stretch?.[1] === record.seq - 1) stretch[1] = record.seq
        else lost.push([record.seq, record.seq])
        return []
      }
    })
    for (const [from, to] of lost) this.#foundBad(from, to, segment, 'their key is not the one this log is opened with, so they cannot be read')
    return opened
  }

  waitFor(after: number, signal: AbortSignal): Promise<boolean> {
    if (this.#closed) return Promise.resolve(false)
    return this.#last > after ? Promise.resolve(!signal.aborted) : this.#waiters.wait(after, signal)
  }

  async ack(cursor: string, seq: number): Promise<void> {
    this.#cursors.set(cursor, Math.min(seq, this.#last))
    this.#saveSoon()
    const least = this.#cursors.least
    const oldest = this.#segments[0]
    if (this.#segments.length > 1 && oldest && (oldest.count === 0 || oldest.lastSeq <= least)) {
      await this.#exclusive(async () => {
        while (this.#segments.length > 1 && (this.#segments[0] as Segment).lastSeq <= this.#cursors.least) await this.#dropOldest()
      })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    await this.#exclusive(() => this.#pump())
    this.#closed = true
    this.#saveTimer?.cancel()
    this.#waiters.close()
    if (this.#dirty) await this.#save().catch((error: unknown) => log.warn('state not saved', { directory: this.#options.directory, error }))
    for (const segment of this.#segments) await segment.close()
  }

  get #bytes(): number {
    let bytes = 0
    for (const s of this.#segments) bytes += s.size
    return bytes
  }

  /** Writes, rotates and drops one after the other. */
  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work)
    this.#turn = result.catch(() => undefined)
    return result
  }

  async #pump(): Promise<void> {
    while (this.#pending.length > 0) {
      const batch: Pending[] = []
      let bytes = 0
      for (const p of this.#pending) {
        if (batch.length > 0 && bytes + p.size > this.#segmentBytes) break
        batch.push(p)
        bytes += p.size
      }
      this.#pending = this.#pending.slice(batch.length)
      this.#pendingBytes -= bytes
      try {
        await this.#write(batch, bytes)
        for (const p of batch) p.resolve(p.record.seq)
      } catch (error) {
        const first = (batch[0] as Pending).record
        const final = (batch.at(-1) as Pending).record
        this.#lost(first.seq, final.seq, first.timeMs, final.timeMs, bytes, 'disk-error')
        const full = ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '')
        const failure = new AppError('full', `append: the disk refused ${bytes} bytes, ${full ? 'free some space' : 'check the disk'}`, { cause: error })
        for (const p of batch) p.reject(failure)
      }
    }
    this.#pumping = false
  }

  async #write(batch: readonly Pending[], bytes: number): Promise<void> {
    let segment = this.#segments.at(-1)
    if (segment && segment.count > 0 && (segment === this.#sealed || segment.size + bytes > this.#segmentBytes)) segment = undefined
    while (this.#bytes + bytes > this.#options.maxBytes && this.#segments.length > 0) {
      if (this.#segments.length === 1) segment = undefined
      await this.#dropOldest()
    }
    segment ??= await this.#rotate((batch[0] as Pending).record.seq)
    const file = await segment.handle(true)
    try {
      await this.#disk.write(file, Buffer.concat(batch.flatMap((p) => encodeSegmentRecord(p.record))), segment.size)
      if (this.#options.durability === 'sync') await this.#disk.sync(file)
    } catch (error) {
      // After a failed write or sync nothing is known about the file's tail: cut it and go on elsewhere.
      await file.truncate(segment.size).catch(() => undefined)
      if (segment.count > 0) this.#sealed = segment
      throw error
    }
    for (const p of batch) segment.noted(p.record.seq, p.record.timeMs, p.size)
    this.#last = (batch.at(-1) as Pending).record.seq
    this.#waiters.wake(this.#last)
  }

  async #rotate(base: number): Promise<Segment> {
    const former = this.#segments.at(-1)
    if (former && former.count === 0) return former
    const segment = new Segment(this.#options.directory, base)
    await segment.handle(true)
    if (this.#options.durability === 'sync') await syncDirectory(this.#options.directory)
    this.#segments.push(segment)
    return segment
  }

  async #dropOldest(): Promise<void> {
    const segment = this.#segments[0] as Segment
    const least = this.#cursors.least
    if (segment.count > 0 && segment.lastSeq > least) {
      const from = Math.max(segment.firstSeq, least + 1)
      const share = (segment.lastSeq - from + 1) / (segment.lastSeq - segment.firstSeq + 1)
      this.#lost(from, segment.lastSeq, segment.firstMs, segment.lastMs, Math.round(segment.size * share), 'full')
    }
    this.#first = Math.max(this.#first, segment.lastSeq + 1, segment.base)
    // A full disk may refuse the state; dropping goes on, because it is what makes room.
    await this.#save().catch((error: unknown) => this.#saveFailed(error))
    this.#segments = this.#segments.slice(1)
    await segment.close()
    await unlink(segment.path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error
    })
  }

  #lost(fromSeq: number, toSeq: number, fromMs: number, toMs: number, bytes: number, reason: Loss['reason']): void {
    this.#ledger = addLoss(this.#ledger, { fromSeq, toSeq, fromMs, toMs, bytes, reason })
    this.#saveSoon()
  }

  #foundBad(from: number, to: number, segment: Segment, why?: string): void {
    if (to < from || to <= this.#cursors.least || coversLoss(this.#ledger, from, to)) return
    this.#lost(Math.max(from, this.#cursors.least + 1), to, segment.firstMs, segment.lastMs, 0, 'corrupt')
    log.warn('records do not check', { directory: this.#options.directory, from, to, ...(why !== undefined && { why }) })
  }

  /** Numbers missing between and inside segments, unless acked or in the ledger, are records that no longer check. */
  #findGaps(): void {
    let next = Math.max(this.#first, 1)
    for (const segment of this.#segments) {
      if (segment.base > next) this.#foundBad(next, segment.base - 1, segment)
      next = Math.max(next, segment.base)
      for (const [from, to] of segment.gaps) this.#foundBad(from, to, segment)
      if (segment.count > 0 && segment.firstSeq > next) this.#foundBad(next, segment.firstSeq - 1, segment)
      next = Math.max(next, segment.lastSeq + 1)
    }
  }

  #saveSoon(): void {
    this.#dirty = true
    this.#saveTimer ??= this.#clock.timer('log state', SAVE_EVERY_MS, () => {
      this.#saveTimer = undefined
      if (!this.#closed) void this.#exclusive(() => this.#save()).catch((error: unknown) => this.#saveFailed(error))
    })
  }

  #saveFailed(error: unknown): void {
    if (!this.#saveTold) log.warn('state not saved, trying again', { directory: this.#options.directory, error: messageOf(error) })
    this.#saveTold = true
    this.#saveSoon()
  }

  async #save(): Promise<void> {
    this.#dirty = false
    const state: State = { epoch: this.epoch, first: this.#first, cursors: this.#cursors.toJSON(), ledger: this.#ledger }
    try {
      await writeFileAtomic(join(this.#options.directory, 'state.json'), JSON.stringify(state), { sync: this.#options.durability === 'sync' })
      this.#saveTold = false
    } catch (error) {
      this.#dirty = true
      throw error
    }
  }
}

async function loadState(directory: string): Promise<State> {
  const path = join(directory, 'state.json')
  const fresh: State = { epoch: randomUUID(), first: 1, cursors: [], ledger: [] }
  const text = await readFileIfAny(path)
  if (text === undefined) return fresh
  try {
    const state = JSON.parse(text) as Partial<State>
    if (typeof state.epoch !== 'string' || !Array.isArray(state.cursors) || !Array.isArray(state.ledger)) throw new AppError('corrupt', 'state.json lacks epoch, cursors or ledger')
    return { ...fresh, ...state }
  } catch (error) {
    // Without its state the log is a new one: records stay, numbers mean something else to readers, and they see so by the epoch.
    await rename(path, `${path}.corrupt`)
    log.error('state does not check, set aside', { path: `${path}.corrupt`, error })
    return fresh
  }
}

async function writeAll(file: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done)
    done += bytesWritten
  }
}
