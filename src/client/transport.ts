/**
 * What the transports share: paths of resources, bodies as bytes, and lines out of chunks. `http.ts` and `inprocess.ts`
 * implement the {@link Transport} port; `resources.ts` speaks through it and cannot tell which one it has.
 */
import { AppError } from '../base/errors.ts'
import type { ApiResponse } from '../api/contract.ts'
import type { ResourceRef, Transport } from './ports.ts'

export type { Transport }

/** Longest line of a watch, characters: an object is at most 3 MiB, twice over for old fields and escapes. */
export const MAX_LINE = 16 << 20
/** Largest body that is read whole, bytes; a list is paged well below it. */
export const MAX_BODY = 256 << 20

/** Path of a collection (no name), an object, or a subresource of it, percent-encoded. A missing namespace means all. */
export function resourcePath(ref: ResourceRef, namespace?: string, name?: string, subresource?: string): string {
  let path = ref.group === '' ? `/api/${ref.version}` : `/apis/${ref.group}/${ref.version}`
  if (ref.namespaced && namespace !== undefined) path += `/namespaces/${encodeURIComponent(namespace)}`
  path += `/${ref.resource}`
  if (name !== undefined) path += `/${encodeURIComponent(name)}`
  if (subresource !== undefined) path += `/${subresource}`
  return path
}

/** The whole body as text. @throws AppError `too-large` over {@link MAX_BODY} */
export async function bodyText(body: ApiResponse['body']): Promise<string> {
  if (typeof body === 'string') return body
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of body) {
    text += typeof chunk === 'string' ? chunk : decoder.decode(chunk, { stream: true })
    if (text.length > MAX_BODY) throw new AppError('too-large', `read answer: over ${MAX_BODY} bytes, ask for pages with "limit"`)
  }
  return text + decoder.decode()
}

/** Non-empty lines of a streamed body. Stopping early ends the stream. @throws AppError `too-large` over {@link MAX_LINE} */
export async function* bodyLines(body: ApiResponse['body']): AsyncGenerator<string> {
  if (typeof body === 'string') {
    for (const line of body.split('\n')) if (line !== '') yield line
    return
  }
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of body) {
    rest += typeof chunk === 'string' ? chunk : decoder.decode(chunk, { stream: true })
    for (let at = rest.indexOf('\n'); at >= 0; at = rest.indexOf('\n')) {
      const line = rest.slice(0, at)
      rest = rest.slice(at + 1)
      if (line !== '') yield line
    }
    if (rest.length > MAX_LINE) throw new AppError('too-large', `read watch: a line of over ${MAX_LINE} characters`)
  }
  if (rest.trim() !== '') yield rest
}
