/** Schemas as they stand in OpenAPI documents: full names, references, words of version 2 or 3. Used by `openapi.ts`. */
import { KINDS, RESOURCES } from './kinds.ts'
import { fieldDefault, zeroOf } from './openapi-defaults.ts'
import type { ResourceDef } from './resource.ts'
import type { Descriptions } from './schema-table.ts'
import { schemaTable } from './schema-table.ts'
import type { GroupVersionKind, Schema } from './schema-types.ts'

export type OpenApiVersion = 2 | 3
export type Json = Record<string, unknown>

/** Collects the schemas that a document mentions, each once. */
export class SchemaSet {
  readonly #version: OpenApiVersion
  readonly #descriptions: Descriptions
  readonly #gvks: ReadonlyMap<string, readonly GroupVersionKind[]>
  readonly #pending: string[] = []
  readonly #named = new Set<string>()
  readonly #out: Record<string, Json> = {}

  constructor(version: OpenApiVersion, descriptions: Descriptions, defs: readonly ResourceDef[]) {
    this.#version = version
    this.#descriptions = descriptions
    this.#gvks = kindsOfTypes(defs)
  }

  /** A reference to a built-in type; the type and all it needs join the document. */
  ref(type: string): Json {
    const named = schemaTable()[type]
    if (named === undefined) return { type: 'object' }
    if (!this.#named.has(type)) {
      this.#named.add(type)
      this.#pending.push(type)
    }
    return { $ref: this.#pointer(named['x-name']) }
  }

  /** References to the kind of a custom resource and to its list; both join the document. */
  custom(def: ResourceDef): { object: Json; list: Json } {
    const name = customName(def, def.kind)
    const list = customName(def, def.listKind)
    if (this.#out[name] === undefined) {
      const gvk = (kind: string): Json => ({ 'x-kubernetes-group-version-kind': [{ group: def.group, version: def.version, kind }] })
      const schema = def.custom?.schema ?? { type: 'object' }
      const properties = this.#rootProperties(schema)
      this.#out[name] = { ...this.#plain(schema), properties, ...gvk(def.kind) }
      this.#out[list] = {
        description: `${def.listKind} is a list of ${def.kind}`,
        type: 'object',
        required: ['items'],
        properties: {
          ...this.#typeMeta(),
          metadata: { ...this.#field('ListMeta'), description: 'Standard list metadata.' },
          items: { type: 'array', description: `List of ${def.resource}.`, items: { $ref: this.#pointer(name) } },
        },
        ...gvk(def.listKind),
      }
    }
    return { object: { $ref: this.#pointer(name) }, list: { $ref: this.#pointer(list) } }
  }

  /** All schemas by full name, in alphabetical order. */
  finish(): Record<string, Json> {
    for (let type = this.#pending.pop(); type !== undefined; type = this.#pending.pop()) {
      const named = schemaTable()[type]
      if (named) this.#out[named['x-name']] = this.#builtin(type, named)
    }
    return Object.fromEntries(Object.entries(this.#out).sort(([a], [b]) => (a < b ? -1 : 1)))
  }

  #pointer(name: string): string {
    return (this.#version === 2 ? '#/definitions/' : '#/components/schemas/') + name
  }

  #builtin(type: string, schema: Schema): Json {
    const [text, fields, enums = {}] = this.#descriptions[type] ?? NO_TEXTS
    const out: Json = { ...(text !== '' && { description: text }), ...this.#scalar(type, schema) }
    if (schema.properties) {
      out.properties = Object.fromEntries(
        Object.entries(schema.properties).map(([name, field]) => {
          const plain = this.#withDefaults(field, fieldDefault(type, schema, name, field))
          const values = enums[name]
          if (values && this.#version === 3) Object.assign(field.type === 'array' ? (plain.items as Json) : plain, { enum: values })
          const words = fields[name]
          if (words === undefined) return [name, plain]
          // Version 2 knows no enumerations, and does not speak of them.
          const description = this.#version === 2 ? (words.split(/\n+Possible enum values:/)[0] as string) : words
          // Beside a $ref nothing else counts in version 3, so the reference moves into an allOf.
          if (this.#version === 3 && '$ref' in plain) return [name, { allOf: [{ $ref: plain.$ref }], description }]
          return [name, { description, ...plain }]
        }),
      )
    }
    const gvks = this.#gvks.get(type)
    if (gvks) out['x-kubernetes-group-version-kind'] = gvks
    return out
  }

  /** A field of a built-in type; in version 3 with what absence means, for its items and values too. */
  #withDefaults(field: Schema, value: unknown): Json {
    const plain = this.#plain(field)
    if (this.#version === 2) return plain
    for (const inner of ['items', 'additionalProperties'] as const) {
      const of = field[inner]
      if (typeof of === 'object') plain[inner] = this.#withDefaults(of, zeroOf(of))
    }
    if (value === undefined) return plain
    if ('$ref' in plain) return { allOf: [{ $ref: plain.$ref }], default: value }
    return { ...plain, default: value }
  }

  #scalar(type: string, schema: Schema): Json {
    if (type === 'IntOrString') {
      return this.#version === 2 ? { type: 'string', format: 'int-or-string' } : { format: 'int-or-string', oneOf: [{ type: 'integer' }, { type: 'string' }] }
    }
    if (type === 'Quantity') return this.#version === 2 ? { type: 'string' } : { oneOf: [{ type: 'string' }, { type: 'number' }] }
    const mapType = schema['x-kubernetes-map-type']
    return {
      ...(schema.type && { type: schema.type }),
      ...(schema.format && { format: schema.format }),
      ...(schema.required && { required: schema.required }),
      ...(mapType && { 'x-kubernetes-map-type': mapType }),
    }
  }

  /** A schema with its references written out; what version 2 cannot say is left out of it. */
  #plain(schema: Schema): Json {
    const out: Json = {}
    for (const [key, value] of Object.entries(schema)) {
      if (value === undefined || key === '$ref') continue
      if (this.#version === 2 && NOT_IN_V2.has(key)) continue
      if (key === 'properties') out[key] = mapValues(value as Record<string, Schema>, (s) => this.#plain(s))
      else if (key === 'items' || key === 'not' || (key === 'additionalProperties' && typeof value === 'object')) out[key] = this.#plain(value as Schema)
      else if (key === 'allOf' || key === 'anyOf' || key === 'oneOf') out[key] = (value as Schema[]).map((s) => this.#plain(s))
      else out[key] = value
    }
    if (schema.$ref === undefined) return out
    const target = this.ref(schema.$ref)
    return Object.keys(out).length === 0 || this.#version === 2 ? { ...out, ...target } : { ...out, allOf: [target] }
  }

  #rootProperties(schema: Schema): Json {
    const own = mapValues(schema.properties ?? {}, (s) => this.#plain(s))
    return { ...own, ...this.#typeMeta(), metadata: { ...this.#field('ObjectMeta'), description: 'Standard object metadata.' } }
  }

  #field(type: string): Json {
    const target = this.ref(type)
    return this.#version === 2 ? target : { allOf: [target] }
  }

  #typeMeta(): Json {
    const [, fields] = this.#descriptions['Pod'] ?? NO_TEXTS
    const text = (name: string): Json => ({ type: 'string', ...(fields[name] !== undefined && { description: fields[name] }) })
    return { apiVersion: text('apiVersion'), kind: text('kind') }
  }
}

const NO_TEXTS: Descriptions[string] = ['', {}]
const NOT_IN_V2 = new Set(['nullable', 'anyOf', 'oneOf', 'not', 'allOf', 'default'])

/** `io.kubeedge.devices.v1beta1.Device` for the group `devices.kubeedge.io`. */
function customName(def: ResourceDef, kind: string): string {
  return [...def.group.split('.').reverse(), def.version, kind].join('.')
}

function mapValues<T>(record: Readonly<Record<string, T>>, fn: (value: T) => unknown): Json {
  return Object.fromEntries(Object.entries(record).map(([k, v]) => [k, fn(v)]))
}

/** Name of the list type of a built-in kind in the schema table. */
export function listSchema(def: ResourceDef): string {
  const name = `${def.schema}List`
  return schemaTable()[name] ? name : def.listKind
}

/** Which kinds each type is the body of. DeleteOptions and the like belong to every group and version. */
function kindsOfTypes(defs: readonly ResourceDef[]): Map<string, GroupVersionKind[]> {
  const out = new Map<string, GroupVersionKind[]>()
  const add = (type: string, gvk: GroupVersionKind): void => {
    const list = out.get(type) ?? []
    if (!list.some((g) => g.group === gvk.group && g.version === gvk.version && g.kind === gvk.kind)) list.push(gvk)
    out.set(type, list)
  }
  for (const r of RESOURCES) {
    add(r.schema, { group: r.group, version: r.version, kind: r.kind })
    if (r.verbs.includes('list')) add(listSchema(r), { group: r.group, version: r.version, kind: r.listKind })
  }
  add('Scale', { group: 'autoscaling', version: 'v1', kind: 'Scale' })
  add('Eviction', { group: 'policy', version: 'v1', kind: 'Eviction' })
  add('AuthenticationTokenRequest', { group: 'authentication.k8s.io', version: 'v1', kind: 'TokenRequest' })
  add('Binding', { group: '', version: 'v1', kind: 'Binding' })
  add('Status', { group: '', version: 'v1', kind: 'Status' })
  for (const d of [KINDS.Pod, ...defs, ...RESOURCES]) {
    for (const kind of ['DeleteOptions', 'WatchEvent']) add(kind, { group: d.group, version: d.version, kind })
  }
  return out
}
