/**
 * One segment of a log: a file of records from `base` on, with a sparse index in memory (an entry every 4 KiB). Opening
 * walks the whole file once, cuts a torn tail, and reports stretches that do not check. Used by the segment log alone.
 */
import { open, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import type { StoredRecord } from './log.ts'
import { announcedSize, RECORD_HEADER, resync, scan } from './segment-format.ts'

const INDEX_STEP = 4096

/** A segment: its file, its bounds and its index. `load` first, when the file exists. */
export class Segment {
  readonly base: number
  readonly path: string
  /** Bytes of whole, committed records. */
  size = 0
  count = 0
  firstSeq = 0
  lastSeq = 0
  firstMs = 0
  lastMs = 0
  /** Stretches of numbers missing between records, found by `load`. */
  readonly gaps: [number, number][] = []
  #seqs: number[] = []
  #offsets: number[] = []
  #handle: FileHandle | undefined

  constructor(directory: string, base: number) {
    this.base = base
    this.path = join(directory, `${String(base).padStart(16, '0')}.seg`)
  }

  /** Notes a committed record at the end of the file. */
  noted(seq: number, timeMs: number, size: number): void {
    if (this.count === 0 || this.size - (this.#offsets.at(-1) ?? 0) >= INDEX_STEP) {
      this.#seqs.push(seq)
      this.#offsets.push(this.size)
    }
    if (this.count === 0) {
      this.firstSeq = seq
      this.firstMs = timeMs
    }
    this.count++
    this.lastSeq = seq
    this.lastMs = timeMs
    this.size += size
  }

  /** The open file; made when missing only if `create`, so that reading a dropped segment fails instead of making it anew. */
  async handle(create = false): Promise<FileHandle> {
    return (this.#handle ??= await open(this.path, 'r+').catch((error: NodeJS.ErrnoException) => {
      if (create && error.code === 'ENOENT') return open(this.path, 'wx+', 0o600)
      throw error
    }))
  }

  async close(): Promise<void> {
    const handle = this.#handle
    this.#handle = undefined
    await handle?.close()
  }

  /**
   * Rebuilds size, index and gaps from the file. What follows the last good record is cut off when `cut` (the newest
   * segment: a write that never finished) and ignored otherwise.
   */
  async load(cut: boolean): Promise<void> {
    const handle = await this.handle()
    const bytes = await readExactly(handle, 0, (await handle.stat()).size)
    for (let at = 0; at >= 0 && at < bytes.length; ) {
      const from = at
      const result = scan(bytes.subarray(from), ({ record, offset, size }) => {
        if (this.count > 0 && record.seq > this.lastSeq + 1) this.gaps.push([this.lastSeq + 1, record.seq - 1])
        this.size = from + offset // skipped bytes stay in the file; the index points behind them
        this.noted(record.seq, record.timeMs, size)
      })
      if (result.end === 'border') break
      at = resync(bytes, from + result.at + 1)
    }
    if (cut && this.size < bytes.length) await handle.truncate(this.size)
  }

  /**
   * Whole records with seq > `after`, at least one and at most `maxBytes`. Empty when this file has none.
   * A stretch that does not check any more is skipped and told to `bad` as in `load`.
   */
  async read(after: number, maxBytes: number, bad: (before: number, after: number) => void): Promise<StoredRecord[]> {
    const handle = await this.handle()
    const end = this.size
    let offset = this.#offsetOf(after + 1)
    let want = Math.max(maxBytes, RECORD_HEADER) + INDEX_STEP
    const out: StoredRecord[] = []
    let taken = 0
    let before = 0
    while (offset < end && out.length === 0) {
      const bytes = await readExactly(handle, offset, Math.min(want, end - offset))
      if (bytes.length === 0) break
      const result = scan(bytes, ({ record, size }) => {
        before = record.seq
        if (record.seq <= after) return true
        if (out.length > 0 && taken + size > maxBytes) return false
        out.push(record)
        taken += size
        return true
      })
      if (out.length > 0) break
      if (result.end === 'bad' || (result.end === 'partial' && offset + bytes.length >= end)) {
        const rest = await readExactly(handle, offset + result.at, end - offset - result.at)
        const next = resync(rest, 1)
        bad(before, next < 0 ? this.lastSeq + 1 : rest.readDoubleBE(next + 16))
        if (next < 0) break
        offset += result.at + next
      } else {
        if (result.at === 0) want = Math.max(announcedSize(bytes, 0), want * 2)
        offset += result.at
      }
    }
    return out
  }

  #offsetOf(seq: number): number {
    let low = 0
    let high = this.#seqs.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((this.#seqs[middle] as number) <= seq) low = middle
      else high = middle - 1
    }
    return this.#offsets[low] ?? 0
  }
}

async function readExactly(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length)
  let got = 0
  while (got < length) {
    const { bytesRead } = await handle.read(buffer, got, length - got, position + got)
    if (bytesRead === 0) break
    got += bytesRead
  }
  return buffer.subarray(0, got)
}
