/**
 * The bounded log port: append, read from, ack, and a ledger of what was lost. Used by the node's spool (results on their
 * way to the collector), by device streams on the local bus, and by the collector's ingest. Segment files stand behind it.
 *
 * Invariants (`test/suites/log.ts`): sequence numbers rise by one from 1 and never repeat in an epoch; a record is either
 * readable, acked, or counted in the ledger; `append` resolves after the record is durable as `durability` says.
 */

export interface LogRecordData {
  /** Small JSON text that travels with the payload. */
  readonly meta: string
  readonly payload: Uint8Array
}

export interface StoredRecord extends LogRecordData {
  readonly seq: number
  /** Wall clock at append, ms; for people, never for order. */
  readonly timeMs: number
}

/** A stretch of records that are gone before anyone acked them. */
export interface Loss {
  readonly fromSeq: number
  readonly toSeq: number
  readonly fromMs: number
  readonly toMs: number
  readonly bytes: number
  readonly reason: 'full' | 'disk-error' | 'corrupt' | 'too-large'
}

export interface BoundedLogOptions {
  readonly directory: string
  /** Bytes of segment files kept at most; the oldest segment goes first, into the ledger when not acked. */
  readonly maxBytes: number
  /** Largest record, bytes. @default 4 MiB */
  readonly maxRecordBytes?: number
  /** `sync`: fsynced (group commit) before append resolves. `os`: in the page cache: survives kill -9, not power loss. */
  readonly durability: 'sync' | 'os'
  /** Encrypts records at rest; those written without one before are read all the same. */
  readonly seal?: LogSeal
}

/** Encryption of what lies on the disk. */
export interface LogSeal {
  seal(plain: Uint8Array): Uint8Array
  /** @throws for what another key sealed */
  open(sealed: Uint8Array): Uint8Array
}

export interface BoundedLog extends AsyncDisposable {
  /** Random id made with the directory: sequence numbers mean something only within it. */
  readonly epoch: string
  /** Sequence number of the newest record, 0 when none ever. */
  readonly last: number
  /** Everything up to here was acked by cursor `cursor` (0 when never). */
  acked(cursor: string): number
  /** @throws AppError `too-large`; `full` when the disk refuses (the loss is in the ledger) */
  append(record: LogRecordData): Promise<number>
  /** Records with seq > `after`, oldest first, at most `maxBytes` of them (at least one). Empty when none. */
  read(after: number, maxBytes: number): Promise<readonly StoredRecord[]>
  /** Resolves when a record with seq > `after` exists, or on abort (then false). */
  waitFor(after: number, signal: AbortSignal): Promise<boolean>
  /** Everything up to `seq` is done with for `cursor`; segments acked by all known cursors may go. */
  ack(cursor: string, seq: number): Promise<void>
  /** What was lost, oldest first; at most 1,000 rows, then neighbours merge. */
  ledger(): readonly Loss[]
  /** Bytes on disk now and records not yet acked by `cursor`. */
  usage(cursor?: string): { bytes: number; pending: number }
}
