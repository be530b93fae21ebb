/**
 * Numbers and pure decisions of the node connection: how often to ping, how long silence may last, when to dial again.
 *
 * Cost of liveness: a ping and its answer are 2 x 39 bytes of TLS record, each in an IP/TCP packet with 52 bytes of headers,
 * and one bare acknowledgement: 234 bytes. With the default detection of 40 s the server pings every 20 s: 42 kB an hour.
 */
import { waitAfter, type RetrySchedule } from '../base/retry.ts'

/** A dead peer is noticed within this time, ms. */
export const DETECT_MS = 40_000

/** Per-stream and per-connection receive window, bytes: a copy over a link of 100 ms keeps 40 MB/s. */
export const WINDOW = 4 << 20

/** Streams of one link open at the same time; more wait for a place, and time out as every slow open does. */
export const MAX_STREAMS = 256

/** A link that lived this long counts as a success and ends the growth of waits, ms. */
export const STABLE_MS = 30_000

/** Time for the whole TLS handshake and the hub's first word, ms. */
export const HANDSHAKE_MS = 10_000

export interface Liveness {
  /** The server pings this often. */
  readonly pingMs: number
  /** The server gives an answer this long; bytes of any kind count as an answer. */
  readonly answerMs: number
  /** The node gives the link up after this much silence. */
  readonly silenceMs: number
}

/** Splits a detection time so that the worst case (death right after an answer) still fits, with a little to spare. */
export function liveness(detectMs: number): Liveness {
  return { pingMs: detectMs / 2, answerMs: (detectMs * 3) / 8, silenceMs: (detectMs * 7) / 8 }
}

/** What has gone wrong since the last stable link. */
export interface DialHistory {
  /** Dials in a row that did not get a TCP connection. */
  readonly unreachable: number
  /** Connections in a row that were refused or ended before {@link STABLE_MS}. */
  readonly refused: number
  /** Time since the link was last up, or since the start, ms. */
  readonly outageMs: number
}

/** Nobody answers: dialling costs one small packet, so a network that returns is used within 2 s. */
const UNREACHABLE: RetrySchedule = { firstMs: 200, factor: 2, maxMs: 1_500, jitter: 0.5 }
/** After five minutes without the network, ask less often: a metered line to a server that is gone should cost little. */
const LONG_UNREACHABLE: RetrySchedule = { firstMs: 8_000, factor: 1, maxMs: 8_000, jitter: 0.5 }
/** Somebody answers and refuses, or links break at once: handshakes are dear, and a fleet must not storm its server. */
const REFUSED: RetrySchedule = { firstMs: 400, factor: 2, maxMs: 30_000, jitter: 0.5 }
const LONG_OUTAGE_MS = 300_000

/** How long to wait before the next dial, ms. */
export function nextDialMs(history: DialHistory, random: () => number = Math.random): number {
  const refused = history.refused > 0 ? waitAfter(REFUSED, history.refused, random) : 0
  const schedule = history.outageMs > LONG_OUTAGE_MS ? LONG_UNREACHABLE : UNREACHABLE
  return history.unreachable > 0 ? waitAfter(schedule, history.unreachable, random) : refused
}

/** How long one dial may wait for TCP, ms: mostly short, as a lost first packet is repeated by the system only after 1, 3 and 7 s. */
export function connectTimeoutMs(unreachable: number): number {
  return unreachable % 4 === 3 ? 10_000 : 2_000
}
