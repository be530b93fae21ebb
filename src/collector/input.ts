/** The door: outside bytes become records here or are refused, with the value seen. Pure. Used by `collector.ts`. */
import { AppError } from '../base/errors.ts'
import { BASE64, CONTENT_TYPE, MAX_ATTACHMENTS, MAX_META, MAX_PAYLOAD, RecordDecoder, type Loss, type StoredRecord } from '../telemetry/mod.ts'
import type { Batch, ListQuery, NewRecord, ReviewState } from './types.ts'

/** Largest batch, bytes: the largest record and what fits beside it. */
export const MAX_BATCH = 3 * MAX_PAYLOAD
/** Largest JSON body: the largest payload in base64, and its data. */
export const MAX_JSON = Math.ceil((MAX_PAYLOAD * 4) / 3) + 2 * MAX_META
const MAX_NAME = 253
const MAX_LIMIT = 1000
const MAX_HEADER_LOSSES = 100

type Fields = Readonly<Record<string, unknown>>

/** @throws AppError `invalid` (also when a record names another node: its sender lies, or took over another's spool) */
export function parseBatch(node: string, epoch: string | undefined, body: Uint8Array, losses: string | undefined): Batch {
  if (epoch === undefined || !/^[\w.-]{1,64}$/.test(epoch)) throw bad(`take batch: header x-skerry-epoch is "${epoch ?? ''}", want the id of the spool`)
  const decoder = new RecordDecoder()
  const stored = decoder.push(body)
  if (!decoder.atBorder) throw bad(`take batch: the body of ${body.length} bytes ends within a record`)
  let last = 0
  const records = stored.map((s) => {
    if (s.seq <= last) throw bad(`take batch: sequence number ${s.seq} comes after ${last}`)
    last = s.seq
    return { seq: s.seq, record: parseStored(node, s) }
  })
  return { node, epoch, records, losses: parseLosses(losses) }
}

function parseStored(node: string, stored: StoredRecord): NewRecord {
  const where = `take record ${stored.seq}`
  const meta = parseObject(stored.meta, where)
  if (meta.node !== node) throw bad(`${where}: it names node "${String(meta.node)}" but came from node "${node}"`)
  const listed = arrayOf(meta.attachments ?? [], `${where}: attachments`)
  let at = 0
  const attachments = listed.map((a) => {
    const size = isObject(a) ? a.size : undefined
    if (!isObject(a) || typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) throw bad(`${where}: attachment ${JSON.stringify(a)} has no size`)
    at += size
    return { ...nameAndType(a, where), bytes: stored.payload.subarray(at - size, at) }
  })
  if (at !== stored.payload.length) throw bad(`${where}: attachments of ${at} bytes are announced, ${stored.payload.length} came`)
  return {
    ...identity(meta.namespace, meta.stream, meta.id, where),
    node,
    pod: meta.pod === undefined ? undefined : text(meta.pod, `${where}: pod`),
    by: undefined,
    timeMs: time(meta.timeMs, where),
    data: dataOf(meta.data, where),
    attachments: distinct(attachments, where),
  }
}

/** A record as a user or thing posts it: `{id, time, data, attachments: [{name, contentType, base64}]}`. */
export function parsePosted(namespace: string, stream: string, by: string, body: string): NewRecord {
  const where = 'take record'
  const o = parseObject(body, where)
  const attachments = arrayOf(o.attachments ?? [], `${where}: attachments`).map((a) => {
    if (!isObject(a) || typeof a.base64 !== 'string' || !BASE64.test(a.base64)) throw bad(`${where}: attachment ${show(isObject(a) ? a.name : a)} has no base64 of its bytes`)
    return { ...nameAndType(a, where), bytes: Buffer.from(a.base64, 'base64') }
  })
  const size = attachments.reduce((sum, a) => sum + a.bytes.length, 0)
  if (size > MAX_PAYLOAD) throw new AppError('too-large', `${where}: attachments of ${size} bytes are over ${MAX_PAYLOAD}`)
  return {
    ...identity(namespace, stream, o.id, where),
    node: '',
    pod: undefined,
    by,
    timeMs: time(o.timeMs ?? o.time, where),
    data: dataOf(o.data, where),
    attachments: distinct(attachments, where),
  }
}

/** `{"decision": "approve"|"reject", "note": ""}` */
export function parseDecision(body: string): { state: 'approved' | 'rejected'; note: string } {
  const { decision, note = '' } = parseObject(body, 'review record')
  if (decision !== 'approve' && decision !== 'reject') throw bad(`review record: decision is ${show(decision)}, want "approve" or "reject"`)
  if (typeof note !== 'string' || note.length > 4096) throw bad('review record: note is not a text of at most 4096 characters')
  return { state: decision === 'approve' ? 'approved' : 'rejected', note }
}

/** Query of a list: after, limit (1 to 1000, 100 unless told), review, since (RFC 3339 or ms), order. @throws AppError `invalid` */
export function parseList(namespace: string, stream: string, query: URLSearchParams): ListQuery {
  const review = query.get('review')
  if (review !== null && !['pending', 'approved', 'rejected'].includes(review)) throw bad(`list records: review is "${review}", want pending, approved or rejected`)
  const order = query.get('order') ?? 'oldest'
  if (!['oldest', 'asc', 'newest', 'desc'].includes(order)) throw bad(`list records: order is "${order}", want oldest or newest`)
  const since = query.get('since')
  return {
    namespace,
    stream,
    after: whole(query.get('after'), 'after'),
    limit: Math.min(MAX_LIMIT, Math.max(1, whole(query.get('limit'), 'limit') ?? 100)),
    review: (review as ReviewState | null) ?? undefined,
    sinceMs: since === null ? undefined : time(/^\d+$/.test(since) ? Number(since) : since, 'list records'),
    newestFirst: order === 'newest' || order === 'desc',
  }
}

/** A cursor or count from outside; undefined when absent. */
export function whole(value: string | null | undefined, what: string): number | undefined {
  if (value === null || value === undefined || value === '') return undefined
  if (!/^\d{1,15}$/.test(value)) throw bad(`read records: ${what} is "${value}", want a whole number`)
  return Number(value)
}

/** @throws AppError `invalid` for a name that could not be in a path or a selector */
export function checkName(value: unknown, what: string): string {
  if (typeof value !== 'string' || value.length > MAX_NAME || !/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(value)) {
    throw bad(`${what} is ${show(value)}, want lower case letters, digits, "-" and "."`)
  }
  return value
}

function parseLosses(header: string | undefined): Loss[] {
  if (header === undefined || header === '') return []
  let rows: unknown
  try {
    rows = JSON.parse(header)
  } catch {
    rows = undefined
  }
  if (!Array.isArray(rows) || rows.length > MAX_HEADER_LOSSES) throw bad(`take batch: header x-skerry-losses is not a list of at most ${MAX_HEADER_LOSSES}`)
  return rows.map((row: unknown) => {
    if (!isObject(row)) throw bad(`take batch: loss ${show(row)} is no object`)
    const number = (key: string): number => {
      const v = row[key]
      if (typeof v !== 'number' || !Number.isFinite(v) || v < 0) throw bad(`take batch: ${key} of a loss is ${show(v)}`)
      return v
    }
    const reason = String(row.reason).slice(0, 64) as Loss['reason']
    return { fromSeq: Math.floor(number('fromSeq')), toSeq: Math.floor(number('toSeq')), fromMs: number('fromMs'), toMs: number('toMs'), bytes: Math.floor(number('bytes')), reason }
  })
}

function identity(namespace: unknown, stream: unknown, id: unknown, where: string): { namespace: string; stream: string; id: string } {
  return { namespace: checkName(namespace, `${where}: namespace`), stream: checkName(stream, `${where}: stream`), id: text(id, `${where}: id`) }
}

function nameAndType(a: Fields, where: string): { name: string; contentType: string } {
  const name = text(a.name, `${where}: attachment name`)
  if (name.includes('/')) throw bad(`${where}: attachment name "${name}" has a slash`)
  const contentType = a.contentType ?? 'application/octet-stream'
  if (typeof contentType !== 'string' || !CONTENT_TYPE.test(contentType)) throw bad(`${where}: contentType is ${show(contentType)}`)
  return { name, contentType }
}

function distinct<T extends { readonly name: string }>(attachments: readonly T[], where: string): readonly T[] {
  if (attachments.length > MAX_ATTACHMENTS) throw new AppError('too-large', `${where}: ${attachments.length} attachments are over ${MAX_ATTACHMENTS}`)
  const names = new Set(attachments.map((a) => a.name))
  if (names.size !== attachments.length) throw bad(`${where}: two attachments have one name`)
  return attachments
}

function dataOf(value: unknown, where: string): unknown {
  if (!isObject(value)) throw bad(`${where}: data is ${show(value)}, want an object`)
  const size = JSON.stringify(value).length
  if (size > MAX_META) throw new AppError('too-large', `${where}: data of ${size} characters is over ${MAX_META}`)
  return value
}

/** Milliseconds since 1970 from a number or RFC 3339 text; within what a Date can say. */
function time(value: unknown, where: string): number {
  const ms = typeof value === 'number' ? value : typeof value === 'string' ? Date.parse(value) : NaN
  if (!Number.isFinite(ms) || Math.abs(ms) > 8.64e15) throw bad(`${where}: time is ${show(value)}, want RFC 3339 or milliseconds since 1970`)
  return ms
}

/** A short text without control characters. */
function text(value: unknown, what: string): string {
  if (typeof value !== 'string' || value === '' || value.length > MAX_NAME || /\p{Cc}/u.test(value)) {
    throw bad(`${what} is ${show(value)}, want 1 to ${MAX_NAME} printable characters`)
  }
  return value
}

function parseObject(body: string, where: string): Fields {
  let value: unknown
  try {
    value = JSON.parse(body)
  } catch (error) {
    throw new AppError('invalid', `${where}: the body is no JSON, it begins with ${show(body.slice(0, 40))}`, { cause: error })
  }
  if (!isObject(value)) throw bad(`${where}: the body is ${show(value)}, want an object`)
  return value
}

function arrayOf(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw bad(`${what} is ${show(value)}, want a list`)
  return value
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function show(value: unknown): string {
  return (JSON.stringify(value) ?? 'missing').slice(0, 100)
}

function bad(message: string): AppError {
  return new AppError('invalid', message)
}
