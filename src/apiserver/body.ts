/**
 * Request bodies into objects: JSON or YAML text, bytes, or (in process) an object that must not be changed.
 * Limits: {@link MAX_BODY} bytes, {@link MAX_DEPTH} levels. Used by the write verbs.
 */
import type { ApiRequest } from '../api/contract.ts'
import { duplicateFields } from '../api/duplicates.ts'
import { ApiError, badRequest, tooLarge, unsupportedMediaType } from '../api/status.ts'

/** Largest body of an API write, bytes: Kubernetes' own limit. */
export const MAX_BODY = 3 << 20
/** Deepest nesting, levels: far over any real object, far under what recursion on the stack bears. */
export const MAX_DEPTH = 250
/** Most values that a YAML text with aliases may stand for: a few bytes can name the same thing very often. */
const MAX_ALIASED = 100_000

/** Body text of a write. Objects given in process become text, so that nobody shares them. */
export function bodyText(body: ApiRequest['body']): string {
  if (body === undefined) return ''
  if (typeof body === 'string') return body
  if (body instanceof Uint8Array) {
    if (body.length > MAX_BODY) throw tooLarge()
    return Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8')
  }
  return JSON.stringify(body)
}

const PROTOBUF = 'application/vnd.kubernetes.protobuf'
/** Media types of whole objects. */
export const OBJECT_TYPES = ['application/json', 'application/yaml', PROTOBUF]

/** A body's object and, for JSON, its text (field validation looks for duplicates there). @throws as {@link parseBody} */
export async function readObject(call: { readonly body: ApiRequest['body']; readonly headers: Readonly<Record<string, string>> }): Promise<{ sent: unknown; text: string | undefined }> {
  const type = mediaType(call.headers)
  if (type === PROTOBUF && call.body instanceof Uint8Array) {
    if (call.body.length > MAX_BODY) throw tooLarge()
    const { decodeProtobuf } = await import('./protobuf/decode.ts')
    return { sent: decodeProtobuf(call.body), text: undefined }
  }
  const text = bodyText(call.body)
  if (text.trim() === '') return { sent: undefined, text: undefined }
  return { sent: await parseBody(text, type), text: type.endsWith('yaml') ? undefined : text }
}

/**
 * A parsed body. `type` is the content type without parameters; JSON unless it says YAML.
 * @throws ApiError 400 for what does not parse, 413, 415 for other types (protobuf included)
 */
export async function parseBody(text: string, type: string, accepted: readonly string[] = OBJECT_TYPES): Promise<unknown> {
  if (text.length > MAX_BODY) throw tooLarge()
  if (type !== '' && !accepted.includes(type)) throw unsupportedMediaType(accepted)
  if (depthOf(text) > MAX_DEPTH) throw badRequest(`the object provided is nested more than ${MAX_DEPTH} levels deep`)
  if (type.endsWith('yaml') && !text.trimStart().startsWith('{')) {
    // Loaded on first need: most servers never see YAML on the wire.
    const { load, JSON_SCHEMA } = await import('js-yaml')
    try {
      // A key that stands twice is field validation's to judge; the last one counts, as in JSON.
      const value: unknown = load(text, { schema: JSON_SCHEMA, json: true })
      if (/[*]/.test(text) && nodesOf(value, MAX_ALIASED) > MAX_ALIASED) throw badRequest(`error decoding YAML: document contains excessive aliasing: it stands for more than ${MAX_ALIASED} values`)
      return value
    } catch (cause) {
      if (cause instanceof ApiError) throw cause
      throw badRequest(`error decoding YAML: ${cause instanceof Error ? cause.message.split('\n')[0] : String(cause)}`)
    }
  }
  try {
    return JSON.parse(text) as unknown
  } catch (cause) {
    throw badRequest(`the object provided is unrecognized (must be of type JSON or YAML): ${cause instanceof Error ? cause.message : String(cause)}`)
  }
}

/** Says which key of a YAML (or JSON) text stands twice, in the words of Kubernetes' YAML reader; undefined when none does. */
export async function duplicateKeys(text: string): Promise<string | undefined> {
  if (text.trimStart().startsWith('{')) {
    const paths = duplicateFields(text)
    const line = (path: string): string => `  line 1: key ${JSON.stringify(path.slice(path.lastIndexOf('.') + 1))} already set in map`
    return paths.length === 0 ? undefined : ['yaml: unmarshal errors:', ...paths.map(line)].join('\n')
  }
  const { load, JSON_SCHEMA } = await import('js-yaml')
  try {
    load(text, { schema: JSON_SCHEMA })
    return undefined
  } catch (error) {
    const { reason, mark } = error as { reason?: string; mark?: { line: number; buffer: string; position: number } }
    if (reason !== 'duplicated mapping key' || !mark) return undefined
    const key = /^[\s,{]*(?:- )*"?([^":\s]+)/.exec(mark.buffer.split('\n')[mark.line] ?? '')?.[1] ?? ''
    return `yaml: unmarshal errors:\n  line ${mark.line + 1}: key ${JSON.stringify(key)} already set in map`
  }
}

/** How many values a document stands for when its aliases are written out; counting ends above `limit`. */
function nodesOf(value: unknown, limit: number): number {
  let count = 1
  if (typeof value === 'object' && value !== null) {
    for (const part of Object.values(value)) {
      count += nodesOf(part, limit - count)
      if (count > limit) break
    }
  }
  return count
}

/** Deepest nesting of brackets outside strings; cheap, and done before the parser sees the text. */
export function depthOf(text: string): number {
  let depth = 0
  let deepest = 0
  let inString = false
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (inString) {
      if (c === 92) i++
      else if (c === 34) inString = false
    } else if (c === 34) inString = true
    else if (c === 123 || c === 91) {
      if (++depth > deepest) deepest = depth
    } else if (c === 125 || c === 93) depth--
  }
  return deepest
}

/** The media type of a request, lower case, without parameters. */
export function mediaType(headers: Readonly<Record<string, string>>): string {
  return (headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
}
