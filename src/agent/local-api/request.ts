/** What a request to the node-local API asks for, read from its method, path and query; pure. */

export interface LocalRequest {
  readonly method: string
  /** Without query, as on the wire. */
  readonly path: string
  readonly query: URLSearchParams
  /** Undefined for paths that are not of a resource: `/version`, `/apis`, … */
  readonly resource: ResourceRequest | undefined
}

export interface ResourceRequest {
  readonly verb: 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete' | 'deletecollection'
  readonly group: string
  readonly version: string
  readonly resource: string
  readonly namespace?: string
  readonly name?: string
  readonly subresource?: string
}

/** Paths of the Kubernetes API; nothing else of the server is reached through the node. */
const SERVED = /^\/(api|apis|version|openapi|healthz|livez|readyz|\.well-known|openid)(\/|$)/

/** Undefined for a path that is not of the Kubernetes API. */
export function readRequest(method: string, url: string): LocalRequest | undefined {
  const mark = url.indexOf('?')
  const path = mark < 0 ? url : url.slice(0, mark)
  if (!SERVED.test(path) || path.includes('//') || /(^|\/)\.\.?(\/|$)/.test(path)) return undefined
  const query = new URLSearchParams(mark < 0 ? '' : url.slice(mark + 1))
  return { method, path, query, resource: resourceOf(method, path, query) }
}

function resourceOf(method: string, path: string, query: URLSearchParams): ResourceRequest | undefined {
  let parts: string[]
  try {
    parts = path.split('/').filter((p) => p !== '').map(decodeURIComponent)
  } catch {
    return undefined // a broken escape names nothing
  }
  const core = parts[0] === 'api'
  if (!core && parts[0] !== 'apis') return undefined
  const [group, version, rest] = core ? ['', parts[1], parts.slice(2)] : [parts[1] ?? '', parts[2], parts.slice(3)]
  if (version === undefined || rest.length === 0) return undefined
  // `namespaces/NAME` and its status are the namespace itself; what follows any other word is inside it.
  const inside = rest[0] === 'namespaces' && rest.length > 2 && rest[2] !== 'status' && rest[2] !== 'finalize'
  const namespace = rest[0] === 'namespaces' && rest.length > 1 ? rest[1] : undefined
  const [resource, name, subresource] = inside ? rest.slice(2) : rest
  const verb = verbOf(method, name, query)
  if (resource === undefined || verb === undefined) return undefined
  return { verb, group, version, resource, ...(namespace === undefined ? {} : { namespace }), ...(name === undefined ? {} : { name }), ...(subresource === undefined ? {} : { subresource }) }
}

function verbOf(method: string, name: string | undefined, query: URLSearchParams): ResourceRequest['verb'] | undefined {
  switch (method) {
    case 'GET':
    case 'HEAD':
      if (name !== undefined) return 'get'
      return ['true', '1'].includes(query.get('watch') ?? '') ? 'watch' : 'list'
    case 'POST':
      return 'create'
    case 'PUT':
      return 'update'
    case 'PATCH':
      return 'patch'
    case 'DELETE':
      return name === undefined ? 'deletecollection' : 'delete'
    default:
      return undefined
  }
}
