/**
 * How a record lies in a segment file: `u32 magic, u32 crc32 of all that follows, u32 metaLength, u32 payloadLength,
 * f64 seq, f64 timeMs` (big endian), meta, payload. `scan` walks bytes, skips what does not check, and says where the
 * last good record ends; used at open (index) and for reads.
 */
import { crc32 } from 'node:zlib'
import type { LogRecordData, StoredRecord } from './log.ts'

const MAGIC = 0x534b5231 // "SKR1"
/** Bytes in front of meta and payload. */
export const RECORD_HEADER = 32

/** Size on disk of a record with this content, bytes. */
export function recordSize(record: LogRecordData): number {
  return RECORD_HEADER + Buffer.byteLength(record.meta) + record.payload.length
}

/** The record's bytes as two pieces, so that a payload is never copied. */
export function encodeSegmentRecord(record: StoredRecord): [Buffer, Uint8Array] {
  const metaLength = Buffer.byteLength(record.meta)
  const head = Buffer.allocUnsafe(RECORD_HEADER + metaLength)
  head.writeUInt32BE(MAGIC, 0)
  head.writeUInt32BE(metaLength, 8)
  head.writeUInt32BE(record.payload.length, 12)
  head.writeDoubleBE(record.seq, 16)
  head.writeDoubleBE(record.timeMs, 24)
  head.write(record.meta, RECORD_HEADER, 'utf8')
  head.writeUInt32BE(crc32(record.payload, crc32(head.subarray(8))), 4)
  return [head, record.payload]
}

/** A record found in a buffer; `offset` is where it starts there. */
export interface Found {
  readonly record: StoredRecord
  readonly offset: number
  readonly size: number
}

/** What the walk ended on: a whole record's border, bytes that may be the start of one, or bytes that do not check. */
export type ScanEnd = 'border' | 'partial' | 'bad'

/**
 * Reads whole records from `bytes` until the end, or until `visit` returns false. Stops at the first record that is cut
 * off or does not check. Payloads are views of `bytes`.
 */
export function scan(bytes: Buffer, visit: (found: Found) => boolean | void): { end: ScanEnd; at: number } {
  let at = 0
  while (at < bytes.length) {
    const size = recordAt(bytes, at)
    if (size === 'partial' || size === 'bad') return { end: size, at }
    const metaLength = bytes.readUInt32BE(at + 8)
    const metaAt = at + RECORD_HEADER
    const record: StoredRecord = {
      seq: bytes.readDoubleBE(at + 16),
      timeMs: bytes.readDoubleBE(at + 24),
      meta: bytes.toString('utf8', metaAt, metaAt + metaLength),
      payload: bytes.subarray(metaAt + metaLength, at + size),
    }
    if (visit({ record, offset: at, size }) === false) return { end: 'border', at }
    at += size
  }
  return { end: 'border', at }
}

/** Where the next record that checks starts, searching from `from`; -1 when there is none. */
export function resync(bytes: Buffer, from: number): number {
  const mark = Buffer.alloc(4)
  mark.writeUInt32BE(MAGIC)
  for (let at = bytes.indexOf(mark, from); at >= 0; at = bytes.indexOf(mark, at + 1)) {
    if (typeof recordAt(bytes, at) === 'number') return at
  }
  return -1
}

/** Bytes the record starting at `at` needs, from its header alone; 0 when the header is not all there or not a header. */
export function announcedSize(bytes: Buffer, at: number): number {
  if (bytes.length - at < RECORD_HEADER || bytes.readUInt32BE(at) !== MAGIC) return 0
  return RECORD_HEADER + bytes.readUInt32BE(at + 8) + bytes.readUInt32BE(at + 12)
}

function recordAt(bytes: Buffer, at: number): number | 'partial' | 'bad' {
  if (bytes.length - at < RECORD_HEADER) return 'partial'
  const size = announcedSize(bytes, at)
  if (size === 0) return 'bad'
  if (bytes.length - at < size) return 'partial'
  return bytes.readUInt32BE(at + 4) === crc32(bytes.subarray(at + 8, at + size)) ? size : 'bad'
}
