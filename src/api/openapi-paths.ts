/** Paths of OpenAPI documents: which verbs a resource has where, with the parameters that clients look for. Used by `openapi.ts`. */
import { PATCH_TYPES } from './contract.ts'
import type { Json, OpenApiVersion, SchemaSet } from './openapi-schemas.ts'
import { listSchema } from './openapi-schemas.ts'
import { apiVersionOf } from './resource.ts'
import type { ResourceDef, SubresourceDef } from './resource.ts'

interface Parameter {
  readonly name: string
  readonly type: 'string' | 'boolean' | 'integer'
  readonly description: string
}

const p = (name: string, type: Parameter['type'], description: string): Parameter => ({ name, type, description })

const DRY_RUN = p(
  'dryRun', 'string',
  'When present, indicates that modifications should not be persisted. An invalid or unrecognized dryRun directive will result in an error response and no further processing of the request. Valid values are: - All: all dry run stages will be processed',
)
const FIELD_MANAGER = p(
  'fieldManager', 'string',
  'fieldManager is a name associated with the actor or entity that is making these changes. The value must be less than or 128 characters long, and only contain printable characters.',
)
const FIELD_VALIDATION = p(
  'fieldValidation', 'string',
  'fieldValidation instructs the server on how to handle objects in the request containing unknown or duplicate fields. Valid values are: - Ignore: unknown and duplicate fields are dropped silently - Warn: a warning header names each of them, the default - Strict: the request fails with a BadRequest error',
)
const FORCE = p('force', 'boolean', 'Force is going to "force" Apply requests. It means user will re-acquire conflicting fields owned by other people. Only for apply patch requests.')
const WRITE = [DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION]
const LIST = [
  p('allowWatchBookmarks', 'boolean', 'allowWatchBookmarks requests watch events with type "BOOKMARK".'),
  p('continue', 'string', 'The continue option should be set when retrieving more results from the server.'),
  p('fieldSelector', 'string', 'A selector to restrict the list of returned objects by their fields. Defaults to everything.'),
  p('labelSelector', 'string', 'A selector to restrict the list of returned objects by their labels. Defaults to everything.'),
  p('limit', 'integer', 'limit is a maximum number of responses to return for a list call.'),
  p('resourceVersion', 'string', 'resourceVersion sets a constraint on what resource versions a request may be served from.'),
  p('resourceVersionMatch', 'string', 'resourceVersionMatch determines how resourceVersion is applied to list calls.'),
  p('sendInitialEvents', 'boolean', '`sendInitialEvents=true` may be set together with `watch=true`: the watch then begins with the state as synthetic events.'),
  p('timeoutSeconds', 'integer', 'Timeout for the list/watch call.'),
  p('watch', 'boolean', 'Watch for changes to the described resources and return them as a stream of add, update, and remove notifications.'),
]
const DELETE = [
  DRY_RUN,
  p('gracePeriodSeconds', 'integer', 'The duration in seconds before the object should be deleted. The value zero indicates delete immediately.'),
  p('orphanDependents', 'boolean', 'Deprecated: please use the PropagationPolicy.'),
  p('propagationPolicy', 'string', "Whether and how garbage collection will be performed: 'Orphan', 'Background' or 'Foreground'."),
]
const PRETTY = p('pretty', 'string', 'If true, then the output is pretty printed.')

/** Adds the paths of one resource and its subresources to `paths`. */
export function addPaths(paths: Record<string, Json>, def: ResourceDef, schemas: SchemaSet, version: OpenApiVersion): void {
  const maker = new PathMaker(def, schemas, version)
  const base = `${def.group === '' ? '/api' : '/apis'}/${apiVersionOf(def)}`
  const prefix = def.namespaced ? `${base}/namespaces/{namespace}` : base
  const collection = maker.collection()
  if (Object.keys(collection).length > 1) paths[`${prefix}/${def.resource}`] = collection
  if (def.namespaced && def.verbs.includes('list')) paths[`${base}/${def.resource}`] = maker.everywhere()
  const item = maker.item()
  if (Object.keys(item).length > 1) paths[`${prefix}/${def.resource}/{name}`] = item
  for (const sub of def.subresources) paths[`${prefix}/${def.resource}/{name}/${sub.name}`] = maker.sub(sub)
}

class PathMaker {
  readonly #def: ResourceDef
  readonly #version: OpenApiVersion
  readonly #schemas: SchemaSet
  readonly #object: Json
  readonly #list: Json
  readonly #id: string

  constructor(def: ResourceDef, schemas: SchemaSet, version: OpenApiVersion) {
    this.#def = def
    this.#version = version
    this.#schemas = schemas
    const custom = def.custom && schemas.custom(def)
    this.#object = custom?.object ?? schemas.ref(def.schema)
    this.#list = custom?.list ?? (def.verbs.includes('list') ? schemas.ref(listSchema(def)) : {})
    this.#id = `${groupId(def)}${capital(def.version)}`
  }

  collection(): Json {
    const { verbs } = this.#def
    return {
      ...(verbs.includes('list') && { get: this.#op('list', 'list', LIST, this.#list) }),
      ...(verbs.includes('create') && { post: this.#op('create', 'post', WRITE, this.#object, this.#object) }),
      ...(verbs.includes('deletecollection') && {
        delete: this.#op('deleteCollection', 'deletecollection', [...LIST, ...DELETE], this.#schemas.ref('Status'), this.#schemas.ref('DeleteOptions')),
      }),
      parameters: this.#pathParameters(false),
    }
  }

  everywhere(): Json {
    const op = this.#op('list', 'list', LIST, this.#list, undefined, undefined, 'ForAllNamespaces')
    return { get: op, parameters: [this.#parameter(PRETTY, 'query')] }
  }

  item(): Json {
    const { verbs } = this.#def
    return {
      ...(verbs.includes('get') && { get: this.#op('read', 'get', [], this.#object) }),
      ...(verbs.includes('update') && { put: this.#op('replace', 'put', WRITE, this.#object, this.#object) }),
      ...(verbs.includes('patch') && { patch: this.#op('patch', 'patch', [...WRITE, FORCE], this.#object, this.#schemas.ref('Patch')) }),
      ...(verbs.includes('delete') && {
        delete: this.#op('delete', 'delete', DELETE, this.#schemas.ref('Status'), this.#schemas.ref('DeleteOptions')),
      }),
      parameters: this.#pathParameters(true),
    }
  }

  sub(sub: SubresourceDef): Json {
    const own = sub.kind === this.#def.kind && sub.group === undefined
    const body = own ? this.#object : sub.stream ? { type: 'string' } : this.#schemas.ref(SUB_TYPES[sub.kind] ?? sub.kind)
    const ops: Json = {}
    for (const verb of sub.verbs) {
      const method = METHODS[verb]
      if (!method) continue
      const writes = verb !== 'get' && !sub.stream
      const sent = verb === 'patch' ? this.#schemas.ref('Patch') : body
      const action = sub.stream && sub.name !== 'log' ? 'connect' : (method[1] as string)
      ops[method[0] as string] = this.#op(method[2] as string, action, writes ? (verb === 'patch' ? [...WRITE, FORCE] : WRITE) : [], body, writes ? sent : undefined, sub)
    }
    return { ...ops, parameters: this.#pathParameters(true) }
  }

  #op(word: string, action: string, query: readonly Parameter[], answer: Json, sent?: Json, sub?: SubresourceDef, suffix = ''): Json {
    const def = this.#def
    const group = sub?.group ?? def.group
    const gvk = { group, version: sub?.version ?? def.version, kind: sub?.kind ?? def.kind }
    const scope = def.namespaced && suffix === '' ? 'Namespaced' : ''
    const [verb, rest] = word === 'deleteCollection' ? ['delete', 'Collection'] : [word, '']
    const method = action === 'connect' ? capital(HTTP_METHODS[word] ?? '') : ''
    const id = `${action === 'connect' ? 'connect' : verb}${this.#id}${method}${rest}${scope}${def.kind}${sub ? capital(sub.name) : ''}${suffix}`
    const parameters = query.map((q) => this.#parameter(q, 'query'))
    const success = { description: 'OK', ...this.#content(answer, ['application/json']) }
    const responses: Json = { 200: success, ...(word === 'create' && { 201: { ...success, description: 'Created' } }), 401: { description: 'Unauthorized' } }
    const op: Json = { tags: [`${this.#id[0]?.toLowerCase()}${this.#id.slice(1)}`], description: describe(word, def), operationId: id, parameters, responses }
    if (sent) this.#attachBody(op, sent, word === 'patch')
    else if (this.#version === 2) op.consumes = ['*/*']
    if (this.#version === 2) Object.assign(op, { produces: ['application/json', 'application/yaml'], schemes: ['https'] })
    return { ...op, 'x-kubernetes-action': action, 'x-kubernetes-group-version-kind': gvk }
  }

  #attachBody(op: Json, schema: Json, patch: boolean): void {
    const types = patch ? (this.#def.custom ? Object.values(PATCH_TYPES).filter((t) => t !== PATCH_TYPES.strategic) : Object.values(PATCH_TYPES)) : ['*/*']
    if (this.#version === 3) {
      op.requestBody = { required: true, ...this.#content(schema, types) }
      return
    }
    op.consumes = types
    op.parameters = [{ name: 'body', in: 'body', required: true, schema }, ...(op.parameters as Json[])]
  }

  #content(schema: Json, types: readonly string[]): Json {
    return this.#version === 2 ? { schema } : { content: Object.fromEntries(types.map((t) => [t, { schema }])) }
  }

  #parameter(q: Parameter, where: 'query' | 'path'): Json {
    const type = this.#version === 2 ? { type: q.type } : { schema: { type: q.type } }
    return { name: q.name, in: where, description: q.description, ...(where === 'path' && { required: true }), ...type, uniqueItems: this.#version === 2 ? true : undefined }
  }

  #pathParameters(named: boolean): Json[] {
    const out: Json[] = []
    if (named) out.push(this.#parameter(p('name', 'string', `name of the ${this.#def.kind}`), 'path'))
    if (this.#def.namespaced) out.push(this.#parameter(p('namespace', 'string', 'object name and auth scope, such as for teams and projects'), 'path'))
    out.push(this.#parameter(PRETTY, 'query'))
    return out
  }
}

/** HTTP method, action and word of a verb of subresources. */
const METHODS: Readonly<Record<string, readonly string[] | undefined>> = {
  get: ['get', 'get', 'read'],
  create: ['post', 'post', 'create'],
  update: ['put', 'put', 'replace'],
  patch: ['patch', 'patch', 'patch'],
  delete: ['delete', 'delete', 'delete'],
}
const HTTP_METHODS: Readonly<Record<string, string>> = Object.fromEntries(Object.values(METHODS).map((m) => [m?.[2], m?.[0]]))
const SUB_TYPES: Readonly<Record<string, string>> = { TokenRequest: 'AuthenticationTokenRequest' }

function describe(word: string, def: ResourceDef): string {
  switch (word) {
    case 'list':
      return `list or watch objects of kind ${def.kind}`
    case 'create':
      return `create ${article(def.kind)} ${def.kind}`
    case 'read':
      return `read the specified ${def.kind}`
    case 'replace':
      return `replace the specified ${def.kind}`
    case 'patch':
      return `partially update the specified ${def.kind}`
    case 'deleteCollection':
      return `delete collection of ${def.kind}`
    default:
      return `${word} ${article(def.kind)} ${def.kind}`
  }
}

const article = (kind: string): string => (/^[AEIOU]/.test(kind) ? 'an' : 'a')
const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)

/** `Core`, `Apps`, `RbacAuthorization`; whole names for the groups of CRDs. */
function groupId(def: ResourceDef): string {
  if (def.group === '') return 'Core'
  return def.group.replace(/\.k8s\.io$/, '').split(/[.-]/).map(capital).join('')
}
