/**
 * What a path asks for: verb, group, version, resource, subresource, namespace, name; pure. Paths are taken as they came,
 * split first and decoded part by part, so an encoded slash never becomes a separator (and is refused in names). Used by the pipeline and authorization.
 */
import { AppError } from '../base/errors.ts'

export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete' | 'deletecollection'

export interface ResourceRequest {
  readonly isResource: true
  readonly verb: Verb
  readonly group: string
  readonly version: string
  readonly namespace: string | undefined
  readonly resource: string
  readonly name: string | undefined
  readonly subresource: string | undefined
  /** What follows the subresource, for proxies: `/metrics`, with its last slash. */
  readonly rest: string
}

export interface PathRequest {
  readonly isResource: false
  readonly verb: string
  readonly path: string
}

export type RequestInfo = ResourceRequest | PathRequest

const WRITE_VERBS: Readonly<Record<string, Verb>> = { POST: 'create', PUT: 'update', PATCH: 'patch', DELETE: 'delete' }
/** Parts of a namespace that are its own subresources, not resources inside it. */
const NAMESPACE_SUBRESOURCES = new Set(['status', 'finalize'])

/** @throws AppError `invalid` for a path that does not decode or hides dots */
export function requestInfo(method: string, path: string, query: URLSearchParams): RequestInfo {
  const parts = path.split('/').slice(1).map(decode)
  const slash = parts.at(-1) === ''
  if (slash) parts.pop()
  const nonResource: PathRequest = { isResource: false, verb: method.toLowerCase() === 'get' ? 'get' : (WRITE_VERBS[method] ?? method.toLowerCase()), path }
  const at = parts[0] === 'api' ? 1 : parts[0] === 'apis' ? 2 : 0
  if (at === 0 || parts.length < at + 2) return nonResource
  const group = at === 1 ? '' : (parts[1] as string)
  const version = parts[at] as string
  let rest = parts.slice(at + 1)
  // The old `/watch/` prefix is the same list with `watch=true`.
  let prefixed = false
  if (rest[0] === 'watch' && rest.length > 1) {
    prefixed = true
    rest = rest.slice(1)
  }
  let namespace: string | undefined
  if (rest[0] === 'namespaces' && rest.length > 2 && !NAMESPACE_SUBRESOURCES.has(rest[2] as string)) {
    namespace = rest[1]
    rest = rest.slice(2)
  }
  const [resource, name, subresource, ...tail] = rest
  // An empty part names nothing: no such path, rather than an object without a name.
  if (resource === undefined || [namespace, resource, name, subresource].includes('')) return nonResource
  // A slash inside a segment could only ever mean another object's key.
  for (const part of [namespace, resource, name, subresource]) {
    if (part?.includes('/')) throw new AppError('invalid', `read path: "${part}" must not contain a slash`)
  }
  if (resource === 'namespaces' && at === 1) namespace = name
  const verb: Verb =
    method === 'GET' || method === 'HEAD'
      ? prefixed || (name === undefined && isTrue(query.get('watch')))
        ? 'watch'
        : name === undefined
          ? 'list'
          : 'get'
      : method === 'DELETE' && name === undefined
        ? 'deletecollection'
        : (WRITE_VERBS[method] ?? 'get')
  return { isResource: true, verb, group, version, namespace, resource, name, subresource, rest: subresource === undefined ? '' : `${tail.map((t) => `/${encodeURIComponent(t)}`).join('')}${slash ? '/' : ''}` }
}

/** A boolean of a query: there and not `false` or `0`. */
export function isTrue(value: string | null): boolean {
  return value !== null && value !== 'false' && value !== '0' && value !== 'False'
}

function decode(part: string): string {
  let text: string
  try {
    text = decodeURIComponent(part)
  } catch (cause) {
    throw new AppError('invalid', `read path: "${part.slice(0, 80)}" is not percent-encoded UTF-8`, { cause })
  }
  if (text === '.' || text === '..' || text.includes('\0')) throw new AppError('invalid', `read path: segment "${text}" is not allowed`)
  return text
}
