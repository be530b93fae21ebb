/** The bounded log in memory, for tests and for buffers that need not outlive the process. Same contract suite as the segment log. */
import { randomUUID } from 'node:crypto'
import { systemClock, type Clock } from '../base/clock.ts'
import { AppError } from '../base/errors.ts'
import { checkRecord, Cursors, Waiters } from './log-parts.ts'
import type { BoundedLog, BoundedLogOptions, LogRecordData, Loss, StoredRecord } from './log.ts'
import { addLoss } from './losses.ts'
import { recordSize } from './segment-format.ts'

export type MemoryLogOptions = Pick<BoundedLogOptions, 'maxBytes' | 'maxRecordBytes'> & { readonly clock?: Clock }

/** An empty log. Records go one by one, oldest first, when `maxBytes` is reached; into the ledger when not acked. */
export function createMemoryLog(options: MemoryLogOptions): BoundedLog {
  const clock = options.clock ?? systemClock
  const cursors = new Cursors()
  const waiters = new Waiters()
  const records: { record: StoredRecord; size: number }[] = []
  let ledger: Loss[] = []
  let bytes = 0
  let last = 0
  let closed = false

  const dropOldest = (): void => {
    const gone = records.shift()
    if (!gone) return
    bytes -= gone.size
    const { seq, timeMs } = gone.record
    if (seq > cursors.least) ledger = addLoss(ledger, { fromSeq: seq, toSeq: seq, fromMs: timeMs, toMs: timeMs, bytes: gone.size, reason: 'full' })
  }

  return {
    epoch: randomUUID(),
    get last() {
      return last
    },
    acked: (cursor) => cursors.get(cursor),
    async append(data: LogRecordData): Promise<number> {
      if (closed) throw new AppError('unavailable', 'append: the log is closed')
      checkRecord(data, options)
      const size = recordSize(data)
      while (records.length > 0 && bytes + size > options.maxBytes) dropOldest()
      records.push({ record: { meta: data.meta, payload: Uint8Array.from(data.payload), seq: ++last, timeMs: clock.now() }, size })
      bytes += size
      waiters.wake(last)
      return last
    },
    async read(after, maxBytes) {
      const out: StoredRecord[] = []
      let taken = 0
      for (const { record, size } of records) {
        if (record.seq <= after) continue
        if (out.length > 0 && taken + size > maxBytes) break
        out.push(record)
        taken += size
      }
      return out
    },
    waitFor: (after, signal) => (last > after ? Promise.resolve(!signal.aborted) : waiters.wait(after, signal)),
    async ack(cursor, seq) {
      cursors.set(cursor, Math.min(seq, last))
      while (records[0] && records[0].record.seq <= cursors.least) bytes -= (records.shift() as { size: number }).size
    },
    ledger: () => ledger,
    usage: (cursor) => ({ bytes, pending: records.filter((r) => r.record.seq > (cursor === undefined ? cursors.least : cursors.get(cursor))).length }),
    async [Symbol.asyncDispose]() {
      closed = true
      waiters.close()
    },
  }
}
