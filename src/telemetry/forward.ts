/**
 * The node's way of results to the collector: reads the spool in order, posts one batch at a time, moves its cursor on when
 * the collector says it has them. The collector drops repeats by epoch and sequence number, so a lost answer costs bytes and
 * nothing else. Waits with capped, jittered backoff while the link is away; `kick` ends the wait when it is back.
 */
import { abortable } from '../base/abort.ts'
import type { Clock } from '../base/clock.ts'
import { AppError, messageOf } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { waitAfter, type RetrySchedule } from '../base/retry.ts'
import { BATCH_CONTENT_TYPE, encodeRecord } from './batch.ts'
import type { BoundedLog, Loss, StoredRecord } from './log.ts'

const log = logger('telemetry.forward')
/** Where batches go. */
export const INGEST_PATH = '/collect/v1/ingest'
/** Header naming the spool's epoch: sequence numbers mean something only within it. */
export const EPOCH_HEADER = 'x-skerry-epoch'
/** Header with ledger rows the collector has not been told of, a JSON array of Loss, at most {@link LOSSES_PER_BATCH}. */
export const LOSSES_HEADER = 'x-skerry-losses'
const LOSSES_PER_BATCH = 20
const ANSWER_LIMIT = 64 << 10

/** One request to the server over whatever link there is. Rejects when it cannot be reached. */
export type FetchLike = (request: {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
  readonly signal?: AbortSignal
}) => Promise<{ readonly status: number; readonly headers: Readonly<Record<string, string>>; readonly body: AsyncIterable<Uint8Array> }>

export interface ForwarderOptions {
  readonly spool: BoundedLog
  readonly request: FetchLike
  readonly clock: Clock
  /** Cursor in the spool. @default 'collector' */
  readonly cursor?: string
  /** Records sent at once, bytes. @default 1 MiB */
  readonly maxBatchBytes?: number
  /** How long one batch may take, ms. @default 60000 */
  readonly deadlineMs?: number
  /** @default 0.5 s doubling to 30 s, half of it random */
  readonly schedule?: RetrySchedule
  /** Told of a record the collector will never take; it is skipped and reported as a loss. */
  readonly onRefused?: (record: StoredRecord, why: string) => void
}

export interface Forwarder {
  /** Forwards until the signal aborts. */
  run(signal: AbortSignal): Promise<void>
  /** The link is back: try now. */
  kick(): void
  /** What it is doing, for status and metrics. */
  state(): { readonly pending: number; readonly acked: number; readonly failures: number; readonly lastError: string | undefined }
}

const DEFAULT_SCHEDULE: RetrySchedule = { firstMs: 500, factor: 2, maxMs: 30_000, jitter: 0.5 }

/** Makes the forwarder; nothing is sent before `run`. */
export function createForwarder(options: ForwarderOptions): Forwarder {
  const { spool, clock } = options
  const cursor = options.cursor ?? 'collector'
  const maxBatch = options.maxBatchBytes ?? 1 << 20
  const schedule = options.schedule ?? DEFAULT_SCHEDULE
  const told = new Map<number, number>() // fromSeq -> toSeq of ledger rows the collector knows; as bounded as the ledger
  const refused: Loss[] = []
  let failures = 0
  let lastError: string | undefined
  let limit = maxBatch
  let kicked = false
  let wake = (): void => undefined

  const untold = (): Loss[] => [...spool.ledger(), ...refused].filter((l) => (told.get(l.fromSeq) ?? -1) < l.toSeq).slice(0, LOSSES_PER_BATCH)

  async function send(records: readonly StoredRecord[], losses: readonly Loss[], signal: AbortSignal): Promise<void> {
    const late = new AbortController()
    const timer = clock.timer('send results', options.deadlineMs ?? 60_000, () => late.abort(new AppError('timeout', 'send results: no answer in time')))
    try {
      await sendUntil(records, losses, AbortSignal.any([signal, late.signal]))
    } finally {
      timer.cancel()
    }
  }

  async function sendUntil(records: readonly StoredRecord[], losses: readonly Loss[], deadline: AbortSignal): Promise<void> {
    const answer = await abortable(
      options.request({
        method: 'POST',
        path: INGEST_PATH,
        headers: {
          'content-type': BATCH_CONTENT_TYPE,
          [EPOCH_HEADER]: spool.epoch,
          ...(losses.length > 0 && { [LOSSES_HEADER]: JSON.stringify(losses) }),
        },
        body: Buffer.concat(records.map(encodeRecord)),
        signal: deadline,
      }),
      deadline,
    )
    const text = await abortable(readText(answer.body), deadline)
    const first = records[0]
    const last = records.at(-1)
    if ([400, 413, 422].includes(answer.status) && first && last) {
      if (records.length > 1) {
        limit = 1 // find the one it does not take
        return
      }
      refuse(first, text || `status ${answer.status}`)
      await spool.ack(cursor, first.seq)
      return
    }
    if (answer.status < 200 || answer.status > 299) throw new AppError('unavailable', `send results: the collector answered ${answer.status} "${text.slice(0, 200)}"`)
    for (const l of losses) told.set(l.fromSeq, l.toSeq)
    if (!first || !last) return
    const acked = ackedIn(text)
    if (acked < first.seq) throw new AppError('unavailable', `send results: the collector acked ${acked} of ${first.seq}..${last.seq}, will send again`)
    await spool.ack(cursor, Math.min(acked, last.seq))
    limit = maxBatch
  }

  function refuse(record: StoredRecord, why: string): void {
    log.error('the collector refuses a record, skipped', { seq: record.seq, why })
    refused.push({ fromSeq: record.seq, toSeq: record.seq, fromMs: record.timeMs, toMs: record.timeMs, bytes: record.payload.length, reason: 'too-large' })
    if (refused.length > LOSSES_PER_BATCH) refused.shift()
    options.onRefused?.(record, why)
  }

  return {
    async run(signal) {
      await spool.ack(cursor, 0) // makes the cursor known, so that nothing counts as done with before it was sent
      while (!signal.aborted) {
        const after = spool.acked(cursor)
        if (untold().length === 0 && !(await spool.waitFor(after, signal))) return
        kicked = false
        try {
          const records = await spool.read(after, limit)
          await send(records, untold(), signal)
          if (failures > 0) log.info('results flow again', { after: failures })
          failures = 0
          lastError = undefined
        } catch (error) {
          if (signal.aborted) return
          failures++
          lastError = messageOf(error)
          if (failures === 1) log.warn('results wait in the spool', { error, pending: spool.usage(cursor).pending })
          if (kicked) continue // the link came back while this try was failing
          const woken = new AbortController()
          wake = () => woken.abort()
          await clock.sleep(waitAfter(schedule, failures), AbortSignal.any([signal, woken.signal])).catch(() => undefined)
        }
      }
    },
    kick() {
      kicked = true
      wake()
    },
    state: () => ({ pending: spool.usage(cursor).pending, acked: spool.acked(cursor), failures, lastError }),
  }
}

function ackedIn(text: string): number {
  try {
    const { acked } = JSON.parse(text) as { acked?: unknown }
    if (typeof acked === 'number' && Number.isSafeInteger(acked)) return acked
  } catch {
    // said below, with what was seen
  }
  throw new AppError('unavailable', `send results: the answer "${text.slice(0, 100)}" does not say {"acked": number}`)
}

async function readText(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > ANSWER_LIMIT) throw new AppError('unavailable', `send results: the answer is over ${ANSWER_LIMIT} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
