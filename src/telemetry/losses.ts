/**
 * The ledger of a bounded log: rows of what was lost, oldest first. Rows that touch and share a reason grow into one; over
 * {@link MAX_LOSSES} rows, the two oldest neighbours merge whatever their reason, so that the ledger is bounded but nothing
 * lost is ever missing from it. Used by every implementation of BoundedLog.
 */
import type { Loss } from './log.ts'

/** Rows kept before neighbours merge. */
export const MAX_LOSSES = 1000

/** Adds one row in order of sequence; returns the new ledger. */
export function addLoss(ledger: readonly Loss[], loss: Loss): Loss[] {
  const rows = [...ledger]
  let at = rows.length
  while (at > 0 && (rows[at - 1] as Loss).fromSeq > loss.fromSeq) at--
  rows.splice(at, 0, loss)
  mergeAt(rows, at)
  if (at > 0) mergeAt(rows, at - 1)
  while (rows.length > MAX_LOSSES) rows.splice(0, 2, join(rows[0] as Loss, rows[1] as Loss))
  return rows
}

/** True when every sequence number from..to is in the ledger. */
export function coversLoss(ledger: readonly Loss[], from: number, to: number): boolean {
  let next = from
  for (const row of ledger) if (row.fromSeq <= next && row.toSeq >= next) next = row.toSeq + 1
  return next > to
}

function mergeAt(rows: Loss[], at: number): void {
  const a = rows[at]
  const b = rows[at + 1]
  if (a && b && a.reason === b.reason && b.fromSeq <= a.toSeq + 1) rows.splice(at, 2, join(a, b))
}

function join(a: Loss, b: Loss): Loss {
  return {
    fromSeq: Math.min(a.fromSeq, b.fromSeq),
    toSeq: Math.max(a.toSeq, b.toSeq),
    fromMs: Math.min(a.fromMs, b.fromMs),
    toMs: Math.max(a.toMs, b.toMs),
    bytes: a.bytes + b.bytes,
    reason: b.reason,
  }
}
