/**
 * Between structural schemas and CEL: the type that a schema means, with the sizes it allows, and JSON values as values of
 * that type, objects field by field when asked. What a schema does not declare cannot be named by a rule.
 */
import type { Schema } from '../../api/schema-types.ts'
import { formatDuration, parseTimestamp } from './time.ts'
import { BOOL, BYTES, DOUBLE, DURATION, DYN, INT, listOf, mapOf, STRING, TIMESTAMP, type Type } from './type.ts'
import { CelError, LIST_KIND, Struct, type List, type ListKind } from './values.ts'

/** Bytes of the largest request; sizes that nothing else bounds end here. */
export const MAX_REQUEST = 3 << 20
const MIN_STRING = 2
const RESERVED = new Set(['true', 'false', 'null', 'in', 'as', 'break', 'const', 'continue', 'else', 'for', 'function', 'if', 'import', 'let', 'loop', 'package', 'namespace', 'return', 'var', 'void', 'while'])
const META: Schema = { type: 'object', properties: { name: { type: 'string' }, generateName: { type: 'string' } } }
const IDENTITY: Record<string, Schema> = { apiVersion: { type: 'string' }, kind: { type: 'string' }, metadata: META }

/** A schema as CEL sees it. */
export interface Decl {
  readonly type: Type
  /** Fewest bytes that such a value takes in a request. */
  readonly minSize: number
  /** The value for a JSON value that fits the schema. */
  convert(value: unknown): unknown
}

/** The whole object's type: its identity is always there. */
export function rootDecl(schema: Schema): Decl | undefined {
  return declOf({ ...schema, type: 'object', properties: { ...schema.properties, ...IDENTITY } }, 'selfType')
}

/** undefined: rules cannot see such a value. @param name of the type in messages */
export function declOf(schema: Schema, name: string): Decl | undefined {
  if (schema.$ref === 'ObjectMeta') return declOf(META, name)
  if (schema['x-kubernetes-int-or-string']) return { type: { ...DYN, max: MAX_REQUEST - 2 }, minSize: 1, convert: dynValue }
  switch (schema.type) {
    case 'array':
      return listDecl(schema, name)
    case 'object':
      return typeof schema.additionalProperties === 'object' ? mapDecl(schema, schema.additionalProperties, name) : objectDecl(schema, name)
    case 'string':
      return stringDecl(schema)
    case 'boolean':
      return { type: { ...BOOL, max: 0 }, minSize: 4, convert: (v) => v }
    case 'integer':
      return { type: { ...INT, max: 0 }, minSize: 1, convert: (v) => (typeof v === 'number' && Number.isInteger(v) ? BigInt(v) : v) }
    case 'number':
      return { type: { ...DOUBLE, max: 0 }, minSize: 1, convert: (v) => v }
    default:
      return undefined
  }
}

function stringDecl(schema: Schema): Decl {
  const lengths = (schema.enum ?? []).flatMap((e) => (typeof e === 'string' ? Array.from(e).length : []))
  const bounded = (fallback: number): number => Math.max(0, schema.maxLength === undefined ? (lengths.length > 0 ? Math.max(...lengths) : fallback) : schema.maxLength * 4)
  switch (schema.format) {
    case 'byte':
      return { type: { ...BYTES, max: schema.maxLength ?? MAX_REQUEST - 2 }, minSize: MIN_STRING, convert: (v) => new Uint8Array(Buffer.from(String(v), 'base64')) }
    case 'duration':
      return { type: { ...DURATION, max: 32 }, minSize: 3, convert: (v) => formatDuration(String(v)) ?? bad(v, 'duration') }
    case 'date':
      return { type: { ...TIMESTAMP, max: 12 }, minSize: 12, convert: (v) => parseTimestamp(`${String(v)}T00:00:00Z`) }
    case 'date-time':
      return { type: { ...TIMESTAMP, max: 35 }, minSize: 21, convert: (v) => parseTimestamp(String(v)) }
    default:
      return { type: { ...STRING, max: bounded(MAX_REQUEST - 2) }, minSize: MIN_STRING, convert: (v) => v }
  }
}

function bad(value: unknown, format: string): never {
  throw new CelError(`Invalid ${format} ${String(value)}`)
}

function listDecl(schema: Schema, name: string): Decl | undefined {
  const items = schema.items && declOf(schema.items, `${name}.@idx`)
  if (!items) return undefined
  const listType = schema['x-kubernetes-list-type']
  const kind: ListKind | undefined = listType === 'set' || listType === 'map' ? { type: listType, keys: (schema['x-kubernetes-list-map-keys'] ?? []).map((k) => escapeField(k) ?? k) } : undefined
  return {
    type: { ...listOf(items.type), max: schema.maxItems ?? Math.floor((MAX_REQUEST - 2) / (items.minSize + 1)) },
    minSize: 2,
    convert(value) {
      const out: List = (value as unknown[]).map((v) => orNull(v, items))
      if (kind) out[LIST_KIND] = kind
      return out
    },
  }
}

function mapDecl(schema: Schema, valueSchema: Schema, name: string): Decl | undefined {
  const values = declOf(valueSchema, `${name}.@elem`)
  if (!values) return undefined
  const key: Type = { ...STRING, max: MAX_REQUEST - 2 }
  return {
    type: { ...mapOf(key, values.type), max: schema.maxProperties ?? Math.floor((MAX_REQUEST - 2) / (values.minSize + 6)) },
    minSize: 2,
    convert: (value) => new Map(Object.entries(value as object).map(([k, v]) => [k, orNull(v, values)])),
  }
}

function orNull(value: unknown, decl: Decl): unknown {
  return value === null ? null : decl.convert(value)
}

interface Field {
  readonly key: string
  readonly decl: Decl
}

function objectDecl(schema: Schema, name: string): Decl {
  const properties = { ...schema.properties, ...(schema['x-kubernetes-embedded-resource'] ? IDENTITY : {}) }
  const fields = new Map<string, Field>()
  let minSize = 2
  for (const [key, property] of Object.entries(properties)) {
    const decl = declOf(property, `${name}.${key}`)
    if (!decl) continue
    if (schema.required?.includes(key) && property.default === undefined) minSize += key.length + decl.minSize + 4
    const escaped = escapeField(key)
    if (escaped !== undefined) fields.set(escaped, { key, decl })
  }
  const type: Type = { kind: 'object', name, fields: new Map([...fields].map(([f, { decl }]) => [f, decl.type])), max: 0 }
  return { type, minSize, convert: (value) => new SchemaObject(name, value as Readonly<Record<string, unknown>>, fields) }
}

class SchemaObject extends Struct {
  readonly typeName: string
  readonly #raw: Readonly<Record<string, unknown>>
  readonly #declared: ReadonlyMap<string, Field>
  #known: Map<string, unknown> | undefined

  constructor(typeName: string, raw: Readonly<Record<string, unknown>>, declared: ReadonlyMap<string, Field>) {
    super()
    this.typeName = typeName
    this.#raw = raw
    this.#declared = declared
  }

  /** A null counts as absent. */
  has(field: string): boolean {
    const value = this.#raw[this.#declared.get(field)?.key ?? field]
    return value !== undefined && value !== null
  }

  get(field: string): unknown {
    if (this.#known?.has(field)) return this.#known.get(field)
    const declared = this.#declared.get(field)
    const value = this.#raw[declared?.key ?? field]
    const converted = value === undefined || value === null ? undefined : declared ? declared.decl.convert(value) : dynValue(value)
    ;(this.#known ??= new Map()).set(field, converted)
    return converted
  }

  fields(): readonly string[] {
    const names = new Map([...this.#declared].map(([f, { key }]) => [key, f]))
    return Object.keys(this.#raw).filter((k) => this.#raw[k] !== undefined && this.#raw[k] !== null).map((k) => names.get(k) ?? k)
  }
}

/** A value of no declared type: whole numbers are ints, objects are maps. */
export function dynValue(value: unknown): unknown {
  if (typeof value === 'number') return Number.isInteger(value) ? BigInt(value) : value
  if (Array.isArray(value)) return value.map(dynValue)
  return typeof value === 'object' && value !== null ? new Map(Object.entries(value).filter(([, v]) => v !== undefined).map(([k, v]) => [k, dynValue(v)])) : value
}

/** How a rule names a property: reserved words and letters that identifiers lack are escaped. undefined: a rule cannot name it. */
export function escapeField(key: string): string | undefined {
  if (RESERVED.has(key)) return `__${key}__`
  if (!/^[A-Za-z_.\-/][\w.\-/]*$/.test(key)) return undefined
  return key.replaceAll('__', '__underscores__').replaceAll('.', '__dot__').replaceAll('-', '__dash__').replaceAll('/', '__slash__')
}
