/**
 * Between structural schemas and CEL: the type that a schema means, and a JSON value as a value of that type. Objects with
 * properties become message types, so that a rule that names a missing field is refused when it is written.
 */
import { evaluate, type Environment } from '@marcbachmann/cel-js'
import type { Schema } from '../../api/schema-types.ts'
import { same } from './lib-collections.ts'

/** A schema as CEL sees it. */
export interface CelType {
  /** The engine's name: `list<Object.spec>`. */
  readonly name: string
  /** The value for a JSON value that fits the schema; undefined is no value. */
  convert(value: unknown): unknown
}

const RESERVED = new Set(['true', 'false', 'null', 'in', 'as', 'break', 'const', 'continue', 'else', 'for', 'function', 'if', 'import', 'let', 'loop', 'package', 'namespace', 'return', 'var', 'void', 'while'])
const META: Schema = { type: 'object', properties: { name: { type: 'string' }, generateName: { type: 'string' } } }
const SCALARS: Readonly<Record<string, CelType>> = {
  string: { name: 'string', convert: same1 },
  boolean: { name: 'bool', convert: same1 },
  integer: { name: 'int', convert: (v) => (typeof v === 'number' && Number.isInteger(v) ? BigInt(v) : v) },
  number: { name: 'double', convert: same1 },
  'date-time': { name: 'google.protobuf.Timestamp', convert: (v) => new Date(v as string) },
  date: { name: 'google.protobuf.Timestamp', convert: (v) => new Date(`${v as string}T00:00:00Z`) },
  duration: { name: 'google.protobuf.Duration', convert: duration },
  byte: { name: 'bytes', convert: (v) => new Uint8Array(Buffer.from(v as string, 'base64')) },
}
/** A value of no declared type: whole numbers are ints. */
export const DYN: CelType = { name: 'dyn', convert: dyn }

/** Makes the types of one schema in one environment. */
export class CelTypes {
  readonly #env: Environment
  #names = new Set<string>()

  constructor(env: Environment) {
    this.#env = env
  }

  /** @param path names the type in messages: `Object.spec` */
  of(schema: Schema, path = 'Object'): CelType {
    if (schema.$ref === 'ObjectMeta') return this.of(META, path)
    if (schema['x-kubernetes-int-or-string']) return DYN
    switch (schema.type) {
      case 'array': {
        const item = this.of(schema.items ?? {}, `${path}.items`)
        return { name: `list<${item.name}>`, convert: (v) => (v as unknown[]).map(item.convert) }
      }
      case 'object':
        return this.#object(schema, path)
      case undefined:
        return DYN
      default:
        return (schema.type === 'string' ? SCALARS[schema.format ?? ''] : undefined) ?? (SCALARS[schema.type] as CelType)
    }
  }

  #object(schema: Schema, path: string): CelType {
    if (typeof schema.additionalProperties === 'object') {
      const item = this.of(schema.additionalProperties, `${path}.values`)
      return { name: `map<string, ${item.name}>`, convert: (v) => mapValues(v as object, item.convert) }
    }
    const embedded: Record<string, Schema> = schema['x-kubernetes-embedded-resource'] ? { apiVersion: { type: 'string' }, kind: { type: 'string' }, metadata: { $ref: 'ObjectMeta' } } : {}
    const properties = Object.entries({ ...schema.properties, ...embedded })
    if (properties.length === 0) return schema['x-kubernetes-preserve-unknown-fields'] || schema.additionalProperties === true ? DYN : { name: 'map<string, dyn>', convert: dyn }
    const fields = new Map<string, { name: string; type: CelType }>()
    for (const [key, property] of properties) {
      const name = escapeField(key)
      if (name !== undefined) fields.set(key, { name, type: this.of(property, `${path}.${/^\w+$/.test(key) ? key : 'field'}`) })
    }
    const name = this.#unique(path)
    class Message {
      [field: string]: unknown
    }
    this.#env.registerType(name, { ctor: Message, fields: Object.fromEntries([...fields.values()].map((f) => [f.name, f.type.name])) })
    this.#env.registerOperator(`${name} == ${name}`, same)
    return {
      name,
      convert(value) {
        const message = new Message()
        for (const [key, v] of Object.entries(value as object)) {
          const field = fields.get(key)
          if (field && v !== null) message[field.name] = field.type.convert(v)
        }
        return message
      },
    }
  }

  #unique(path: string): string {
    let name = path
    for (let i = 2; this.#names.has(name); i++) name = `${path}${i}`
    this.#names.add(name)
    return name
  }
}

/** How a rule names a property: reserved words and letters that identifiers lack are escaped. undefined: a rule cannot name it. */
export function escapeField(key: string): string | undefined {
  if (RESERVED.has(key)) return `__${key}__`
  if (!/^[A-Za-z_.\-/][\w.\-/]*$/.test(key)) return undefined
  return key.replaceAll('__', '__underscores__').replaceAll('.', '__dot__').replaceAll('-', '__dash__').replaceAll('/', '__slash__')
}

function dyn(value: unknown): unknown {
  if (typeof value === 'number') return Number.isInteger(value) ? BigInt(value) : value
  if (Array.isArray(value)) return value.map(dyn)
  return typeof value === 'object' && value !== null ? mapValues(value, dyn) : value
}

function mapValues(object: object, each: (value: unknown) => unknown): object {
  return Object.fromEntries(Object.entries(object).map(([k, v]) => [k, each(v)]))
}

function same1(value: unknown): unknown {
  return value
}

const UNIT_MS: Readonly<Record<string, number>> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1e3, m: 60e3, h: 3_600e3, d: 86_400e3, w: 604_800e3 }

/** Sum of the parts of a text that has the `duration` format, as the engine's own kind of duration. */
function duration(value: unknown): unknown {
  const text = String(value)
  let ms = 0
  for (const [, count, unit] of text.matchAll(/(\d+(?:\.\d*)?|\.\d+)\s*([a-zµ]+)/g)) {
    ms += Number(count) * (UNIT_MS[unit as string] ?? UNIT_MS[(unit as string)[0] as string] ?? 0)
  }
  return evaluate(`duration("${text.startsWith('-') ? '-' : ''}${ms.toFixed(6)}ms")`)
}
