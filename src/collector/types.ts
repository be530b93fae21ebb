/** What the collector keeps and answers: records, reviews, streams, losses. Shared by its HTTP side and its storage thread. */
import type { Loss } from '../telemetry/mod.ts'

export type ReviewState = 'pending' | 'approved' | 'rejected'

/** A person's decision on a record; the first one stands. */
export interface Review {
  readonly state: ReviewState
  readonly by?: string
  /** RFC 3339. */
  readonly at?: string
  readonly note?: string
}

/** A record as answered over HTTP. */
export interface KeptRecord {
  readonly id: string
  readonly namespace: string
  readonly stream: string
  /** Node that brought it; empty when a thing or user posted it itself. */
  readonly node: string
  readonly pod?: string
  /** Who posted it, when no node brought it. */
  readonly by?: string
  /** When it happened, RFC 3339, and the same in ms since 1970. */
  readonly time: string
  readonly timeMs: number
  readonly receivedMs: number
  readonly data: unknown
  readonly attachments: readonly { readonly name: string; readonly contentType: string; readonly size: number; readonly sha256: string }[]
  readonly review: Review
  readonly issued: boolean
  /** Runs from 1 in each stream; only issued records have one. */
  readonly issueNumber?: number
  /** Place in the order of arrival; the `after` of a list. */
  readonly cursor: string
}

/** A record on its way in, checked at the door. */
export interface NewRecord {
  readonly id: string
  readonly namespace: string
  readonly stream: string
  readonly node: string
  readonly pod: string | undefined
  readonly by: string | undefined
  readonly timeMs: number
  readonly data: unknown
  readonly attachments: readonly { readonly name: string; readonly contentType: string; readonly bytes: Uint8Array }[]
}

/** A batch of one node's spool. Sequence numbers rise within it. */
export interface Batch {
  readonly node: string
  readonly epoch: string
  readonly records: readonly { readonly seq: number; readonly record: NewRecord }[]
  readonly losses: readonly Loss[]
}

export interface ListQuery {
  readonly namespace: string
  readonly stream: string
  /** Cursor of the last record seen. */
  readonly after: number | undefined
  readonly limit: number
  readonly review: ReviewState | undefined
  /** Only what happened at or after this, ms since 1970. */
  readonly sinceMs: number | undefined
  readonly newestFirst: boolean
}

/** What a retention run took away, by stream, review state and day. */
export interface Dropped {
  readonly namespace: string
  readonly stream: string
  readonly state: ReviewState
  readonly day: string
  readonly records: number
  readonly bytes: number
  readonly fromMs: number
  readonly toMs: number
  readonly reason: 'full'
}

export interface StreamInfo {
  readonly stream: string
  readonly records: number
  readonly bytes: number
  readonly pending: number
  readonly approved: number
  readonly rejected: number
  readonly newestMs: number
  /** What the collector itself dropped to stay within its limit. */
  readonly dropped: readonly Dropped[]
}

export interface NodeLoss extends Loss {
  readonly node: string
  readonly epoch: string
}
