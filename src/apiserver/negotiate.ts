/** Which shape the caller wants: whole objects, a Table, or only metadata; pure. Used by the read and write verbs. */
import { ApiError } from '../api/status.ts'
import type { MetaVersion } from '../api/table.ts'

export type Shape = 'object' | 'table' | 'meta' | 'aggregated'

export interface Accepted {
  readonly shape: Shape
  readonly yaml: boolean
  /** For metadata only: of one object or of a list, as the caller named it. */
  readonly partial?: 'one' | 'list'
  /** Of a Table or of metadata: the older version, for those who ask for it. @default v1 */
  readonly beta?: true
}

/** The apiVersion of a Table or of metadata that goes to this caller. */
export function metaVersion({ beta }: Accepted): MetaVersion {
  return beta ? 'meta.k8s.io/v1beta1' : 'meta.k8s.io/v1'
}

const META = 'meta.k8s.io'
const PROTOBUF = 'application/vnd.kubernetes.protobuf'
const ANY: Accepted = { shape: 'object', yaml: false }

/** Answers by header; clients send the same few over and over. At most {@link KNOWN_MAX}. */
const known = new Map<string, Accepted>()
const KNOWN_MAX = 100

/**
 * @param tables whether the resource can be shown as a Table: reviews cannot
 * @throws ApiError 406 when none of the types asked for can be made
 */
export function negotiate(accept: string | undefined, tables = true): Accepted {
  if (accept === undefined || accept === '' || accept === '*/*') return ANY
  if (!tables) return negotiated(accept, false)
  let found = known.get(accept)
  if (found) return found
  found = negotiated(accept, true)
  if (known.size >= KNOWN_MAX) known.clear()
  known.set(accept, found)
  return found
}

function negotiated(accept: string, tables: boolean): Accepted {
  const options = accept
    .split(',')
    .map((text, order) => {
      const [type = '', ...rest] = text.trim().split(/\s*;\s*/)
      const params = new Map(rest.map((p) => p.split('=', 2) as [string, string]))
      return { type: type.toLowerCase(), params, q: Number(params.get('q') ?? 1), order }
    })
    .sort((a, b) => b.q - a.q || a.order - b.order)
  for (const { type, params, q } of options) {
    if (!(q > 0)) continue
    if (type === '*/*' || type === 'application/*') return ANY
    if (type !== 'application/json' && type !== 'application/yaml') continue
    const yaml = type === 'application/yaml'
    const as = params.get('as')
    if (as === undefined) return { shape: 'object', yaml }
    const v = params.get('v')
    const version = v === 'v1' ? {} : v === 'v1beta1' ? { beta: true as const } : undefined
    if (version && (params.get('g') ?? META) === META) {
      if (as === 'Table' && tables) return { shape: 'table', yaml, ...version }
      if (as === 'PartialObjectMetadata') return { shape: 'meta', yaml, partial: 'one', ...version }
      if (as === 'PartialObjectMetadataList') return { shape: 'meta', yaml, partial: 'list', ...version }
    }
    if (as === 'APIGroupDiscoveryList' && (v === 'v2' || v === 'v2beta1')) return { shape: 'aggregated', yaml }
  }
  // Clients of Kubernetes that speak protobuf decode what the answer says it is: JSON, which is all there is.
  if (options.some(({ type, params, q }) => type === PROTOBUF && q > 0 && !params.has('as'))) return ANY
  throw notAcceptable('only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf')
}

/** The 406 for an answer that cannot be made as it was asked for. */
export function notAcceptable(message: string): ApiError {
  return new ApiError({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason: 'NotAcceptable', code: 406 })
}
