/**
 * The text of an answer as this client reads it: YAML when its Accept prefers that, indented for people (`pretty`, or a user agent
 * that a person types at), none for HEAD. Streams stay what they are. Used by the HTTP front end only.
 */
import type { ApiRequest, ApiResponse } from '../api/contract.ts'
import { isAbort } from '../base/errors.ts'
import { ListText } from './list-text.ts'
import { negotiate } from './negotiate.ts'

/** User agents that get indented JSON unless they ask otherwise: Kubernetes' own list. */
const PEOPLE = /^(?:curl|Wget|Mozilla\/5\.0)/
/** Larger texts are not indented, characters: parsing and writing them again would hold up others. */
const MAX_PRETTY = 1 << 20

type Seen = Pick<ApiRequest, 'headers'> & { readonly query: URLSearchParams }

/** The answer to send; `response` itself when it is fine as it is. */
export async function present(request: Seen, response: ApiResponse): Promise<ApiResponse> {
  if (response.headers['content-type'] !== 'application/json') return response
  const { body } = response
  if (typeof body !== 'string' && !(body instanceof ListText)) return response
  if (prefersYaml(request.headers?.accept)) return yaml(response, typeof body === 'string' ? body : await joined(body))
  if (typeof body !== 'string' || body.length > MAX_PRETTY || !isPretty(request)) return response
  return { ...response, body: `${JSON.stringify(JSON.parse(body), null, 2)}\n` }
}

function prefersYaml(accept: string | undefined): boolean {
  if (!accept?.includes('yaml')) return false
  try {
    return negotiate(accept).yaml
  } catch (error) {
    if (isAbort(error)) throw error
    // What cannot be met is told in JSON.
    return false
  }
}

async function yaml(response: ApiResponse, text: string): Promise<ApiResponse> {
  // Loaded on first need: nearly all clients take JSON.
  const { dump, JSON_SCHEMA } = await import('js-yaml')
  const body = dump(JSON.parse(text), { schema: JSON_SCHEMA, sortKeys: true, noRefs: true, lineWidth: -1 })
  return { ...response, headers: { ...response.headers, 'content-type': 'application/yaml' }, body }
}

async function joined(list: ListText): Promise<string> {
  const parts: string[] = []
  for await (const part of list) parts.push(part)
  return parts.join('')
}

function isPretty({ query, headers }: Seen): boolean {
  const asked = query.get('pretty')
  if (asked !== null && asked !== '') return asked !== '0' && asked !== 'false'
  return PEOPLE.test(headers?.['user-agent'] ?? '')
}
