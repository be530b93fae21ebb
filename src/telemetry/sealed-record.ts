/**
 * A record as a log with a key keeps it: meta and payload are one sealed payload, under a meta that no caller writes (it is not JSON). Number
 * and time stay readable, as do sizes: order, torn tails and the ledger are worked out without the key. Used by the segment log.
 */
import { AppError } from '../base/errors.ts'
import type { LogRecordData, LogSeal, StoredRecord } from './log.ts'

const SEALED = '\0sealed'
const LENGTH = 4

export const isSealed = (record: LogRecordData): boolean => record.meta === SEALED

/** The record to write in the place of `data`. */
export function sealRecord(seal: LogSeal, { meta, payload }: LogRecordData): LogRecordData {
  const length = Buffer.byteLength(meta)
  const plain = Buffer.allocUnsafe(LENGTH + length + payload.length)
  plain.writeUInt32BE(length, 0)
  plain.write(meta, LENGTH, 'utf8')
  plain.set(payload, LENGTH + length)
  return { meta: SEALED, payload: seal.seal(plain) }
}

/** The record as it was given. @throws AppError `corrupt` without a key or with another; the seal's own */
export function openRecord(seal: LogSeal | undefined, record: StoredRecord): StoredRecord {
  if (!seal) throw new AppError('corrupt', `open record ${record.seq}: it is sealed and the log was opened without a key: give the one it was written with`)
  const opened = seal.open(record.payload)
  const plain = Buffer.from(opened.buffer, opened.byteOffset, opened.byteLength)
  const end = LENGTH + plain.readUInt32BE(0)
  return { ...record, meta: plain.toString('utf8', LENGTH, end), payload: plain.subarray(end) }
}
