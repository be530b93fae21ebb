/**
 * Records on the wire, node to collector and local bus to app: one after the other, each as
 * `u32 metaLength, u32 payloadLength, f64 seq, f64 timeMs` (big endian), then meta (UTF-8 JSON) and payload.
 * For collected results `meta` is a {@link CollectRecord} and the payload its attachments one behind the other.
 */
import { AppError } from '../base/errors.ts'
import type { StoredRecord } from './log.ts'

export const BATCH_CONTENT_TYPE = 'application/x-skerry-batch'
/** Largest record accepted from outside, bytes (4 MiB of payload and 64 KiB of meta). */
export const MAX_META = 64 << 10
export const MAX_PAYLOAD = 4 << 20
/** Attachments of one record, at most. */
export const MAX_ATTACHMENTS = 16
/** What may stand as an attachment's content type. The node checks by it before it says 202, the collector before it keeps. */
export const CONTENT_TYPE = /^[\w.+-]{1,60}\/[\w.+-]{1,60}(; ?[\w.+-]{1,30}=[\w.+-]{1,60})?$/
/** Bytes as they come in JSON. */
export const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/
const HEADER = 24

/** A generic collected record. Its identity is `namespace/stream/id`: sent twice, it counts once. */
export interface CollectRecord {
  /** Chosen by the app so that a repeat is recognised, e.g. `cam-1/epoch/frame`. At most 253 characters. */
  readonly id: string
  readonly stream: string
  readonly namespace: string
  /** Node that sent it, and the pod that made it; stamped by the node, never taken from the app. */
  readonly node: string
  readonly pod?: string
  /** When it happened, ms since 1970. */
  readonly timeMs: number
  readonly data: Readonly<Record<string, unknown>>
  readonly attachments: readonly { readonly name: string; readonly contentType: string; readonly size: number }[]
}

/** One record as it goes on the wire. */
export function encodeRecord(record: StoredRecord): Buffer {
  const meta = Buffer.from(record.meta)
  const head = Buffer.allocUnsafe(HEADER)
  head.writeUInt32BE(meta.length, 0)
  head.writeUInt32BE(record.payload.length, 4)
  head.writeDoubleBE(record.seq, 8)
  head.writeDoubleBE(record.timeMs, 16)
  return Buffer.concat([head, meta, record.payload])
}

/** Decodes records from chunks of any size; refuses lengths over the limits before allocating for them. */
export class RecordDecoder {
  #rest: Buffer = Buffer.alloc(0)

  /** True when the input so far ended on a record's border. */
  get atBorder(): boolean {
    return this.#rest.length === 0
  }

  /** @throws AppError `too-large` or `invalid` */
  push(chunk: Uint8Array): StoredRecord[] {
    this.#rest = this.#rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#rest, chunk])
    const records: StoredRecord[] = []
    let at = 0
    while (this.#rest.length - at >= HEADER) {
      const metaLength = this.#rest.readUInt32BE(at)
      const payloadLength = this.#rest.readUInt32BE(at + 4)
      if (metaLength > MAX_META) throw new AppError('too-large', `decode record: meta of ${metaLength} bytes is over ${MAX_META}`)
      if (payloadLength > MAX_PAYLOAD) throw new AppError('too-large', `decode record: payload of ${payloadLength} bytes is over ${MAX_PAYLOAD}`)
      if (this.#rest.length - at < HEADER + metaLength + payloadLength) break
      const seq = this.#rest.readDoubleBE(at + 8)
      if (!Number.isSafeInteger(seq) || seq < 0) throw new AppError('invalid', `decode record: seq "${seq}" is not a whole number`)
      const metaAt = at + HEADER
      records.push({
        seq,
        timeMs: this.#rest.readDoubleBE(at + 16),
        meta: this.#rest.toString('utf8', metaAt, metaAt + metaLength),
        payload: this.#rest.subarray(metaAt + metaLength, metaAt + metaLength + payloadLength),
      })
      at = metaAt + metaLength + payloadLength
    }
    this.#rest = this.#rest.subarray(at)
    return records
  }
}
