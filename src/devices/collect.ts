/**
 * Where apps hand over results (`SKERRY_COLLECT_URL` is its prefix): POST /streams/{stream}/records with
 * `{id, time, data, attachments: [{name, contentType, base64}]}`. Answered with 202 only when the record is synced in the node's
 * spool, so nothing is taken here that the collector would refuse later. Node, namespace and pod are stamped, never taken from the
 * app. The same id again is fine: the collector keeps one.
 */
import type { Clock } from '../base/clock.ts'
import { AppError } from '../base/errors.ts'
import { readJson } from '../base/read-body.ts'
import { BASE64, CONTENT_TYPE, MAX_ATTACHMENTS, MAX_META, MAX_PAYLOAD, type BoundedLog, type CollectRecord } from '../telemetry/mod.ts'
import { seen } from './convert.ts'
import { Answer, type LocalHandler, type PodIdentity } from './local-http.ts'

/** base64 takes 4 bytes for 3. */
const BODY_MAX = Math.ceil((MAX_PAYLOAD * 4) / 3) + MAX_META + (64 << 10)
const KEYS: readonly string[] = ['id', 'time', 'data', 'attachments']

/** @param spool a log with durability `sync` */
export function createCollectHandler(spool: BoundedLog, node: string, clock: Clock): LocalHandler {
  return async ({ method, parts, raw, caller }) => {
    const [top, stream, what, ...rest] = parts
    if (top !== 'streams' || what !== 'records' || rest.length > 0) throw new AppError('not-found', `nothing is at "${parts.join('/')}", records go to streams/{stream}/records`)
    if (method !== 'POST') throw new AppError('invalid', `${method} is not taken here, use POST`)
    const { record, payload } = toRecord(await readJson(raw, BODY_MAX), stream ?? '', node, caller, clock.now())
    const meta = JSON.stringify(record)
    if (Buffer.byteLength(meta) > MAX_META) throw new AppError('too-large', `record "${record.id}": ${Buffer.byteLength(meta)} bytes without attachments are over ${MAX_META}`)
    return new Answer(202, { seq: await spool.append({ meta, payload }) })
  }
}

/** Checks what the app sent and stamps it. @throws AppError `invalid` or `too-large` naming the field and what was seen */
export function toRecord(body: unknown, stream: string, node: string, caller: PodIdentity, nowMs: number): { record: CollectRecord; payload: Uint8Array } {
  const wrong = (what: string): AppError => new AppError('invalid', `record refused: ${what}`)
  if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(stream)) throw wrong(`stream is ${seen(stream)}, use 1 to 63 lower-case letters, digits and "-"`)
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw wrong(`the body is ${seen(body)}, it must be an object with id, time, data and attachments`)
  const { id, time, data = {}, attachments = [] } = body as Record<string, unknown>
  const unknown = Object.keys(body).find((k) => !KEYS.includes(k))
  if (unknown !== undefined) throw wrong(`field ${seen(unknown)} is not known, there are ${KEYS.join(', ')}; your own go into data`)
  if (typeof id !== 'string' || id.length === 0 || id.length > 253 || /\p{Cc}/u.test(id)) throw wrong(`id is ${seen(id)}, it must be 1 to 253 characters that name this result for ever`)
  if (typeof data !== 'object' || data === null || Array.isArray(data)) throw wrong(`data is ${seen(data)}, it must be an object`)
  const timeMs = time === undefined ? nowMs : typeof time === 'number' ? time : Date.parse(String(time))
  if (!Number.isFinite(timeMs) || Math.abs(timeMs) > 8.64e15) throw wrong(`time is ${seen(time)}, use RFC 3339 or milliseconds since 1970`)
  if (!Array.isArray(attachments) || attachments.length > MAX_ATTACHMENTS) throw wrong(`attachments must be a list of at most ${MAX_ATTACHMENTS}`)
  const parts = attachments.map((a: unknown, i) => attachment(a, i, wrong))
  const twice = parts.find((p, i) => parts.findIndex((q) => q.name === p.name) < i)
  if (twice) throw wrong(`two attachments are named ${seen(twice.name)}, a name says which`)
  const payload = Buffer.concat(parts.map((p) => p.bytes))
  if (payload.length > MAX_PAYLOAD) throw new AppError('too-large', `record "${id}": attachments of ${payload.length} bytes are over ${MAX_PAYLOAD}`)
  return {
    record: {
      id,
      stream,
      namespace: caller.namespace,
      node,
      pod: caller.pod,
      timeMs,
      data: data as Record<string, unknown>,
      attachments: parts.map(({ name, contentType, bytes }) => ({ name, contentType, size: bytes.length })),
    },
    payload,
  }
}

function attachment(a: unknown, i: number, wrong: (what: string) => AppError): { name: string; contentType: string; bytes: Buffer } {
  const { name, contentType, base64 } = (typeof a === 'object' && a !== null ? a : {}) as Record<string, unknown>
  if (typeof name !== 'string' || !/^[\w.-]{1,100}$/.test(name) || /^\.+$/.test(name)) throw wrong(`attachments[${i}].name is ${seen(name)}, use 1 to 100 letters, digits, ".", "_" or "-"`)
  if (typeof contentType !== 'string' || !CONTENT_TYPE.test(contentType)) throw wrong(`attachments[${i}].contentType is ${seen(contentType)}, e.g. image/jpeg`)
  if (typeof base64 !== 'string' || !BASE64.test(base64)) throw wrong(`attachments[${i}].base64 is ${seen(base64)}, it must be the bytes in base64`)
  return { name, contentType, bytes: Buffer.from(base64, 'base64') }
}
