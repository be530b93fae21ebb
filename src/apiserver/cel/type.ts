/** CEL types: how they are written, what is assignable to what, and which runtime values belong to them. Pure. */
import { Duration, Opaque, Optional, Struct, Timestamp, TypeValue, Uint } from './values.ts'

export interface Type {
  readonly kind: 'bool' | 'int' | 'uint' | 'double' | 'string' | 'bytes' | 'null' | 'dyn' | 'timestamp' | 'duration' | 'type' | 'list' | 'map' | 'object' | 'opaque' | 'optional' | 'param'
  /** Of objects, opaque types and parameters. */
  readonly name?: string
  /** Of lists, maps and optionals. */
  readonly elem?: Type
  readonly key?: Type
  readonly fields?: ReadonlyMap<string, Type>
  /** Most elements or characters, where a schema bounds them; for cost estimates. */
  readonly max?: number
}

export const BOOL: Type = { kind: 'bool' }
export const INT: Type = { kind: 'int' }
export const UINT: Type = { kind: 'uint' }
export const DOUBLE: Type = { kind: 'double' }
export const STRING: Type = { kind: 'string' }
export const BYTES: Type = { kind: 'bytes' }
export const NULL: Type = { kind: 'null' }
export const DYN: Type = { kind: 'dyn' }
export const TIMESTAMP: Type = { kind: 'timestamp' }
export const DURATION: Type = { kind: 'duration' }
export const TYPE: Type = { kind: 'type' }

export const listOf = (elem: Type): Type => ({ kind: 'list', elem })
export const mapOf = (key: Type, elem: Type): Type => ({ kind: 'map', key, elem })
export const optionalOf = (elem: Type): Type => ({ kind: 'optional', elem })
export const opaque = (name: string): Type => ({ kind: 'opaque', name })

const NAMES: Readonly<Record<string, Type>> = { bool: BOOL, int: INT, uint: UINT, double: DOUBLE, string: STRING, bytes: BYTES, null: NULL, dyn: DYN, timestamp: TIMESTAMP, duration: DURATION, type: TYPE }

/** Reads `list<A>`, `map<string, dyn>`, `optional<A>`, single capitals as parameters, other names as opaque types. */
export function readType(text: string): Type {
  const t = text.trim()
  const known = NAMES[t]
  if (known) return known
  if (/^[A-Z]$/.test(t)) return { kind: 'param', name: t }
  const m = /^(list|map|optional)<(.*)>$/.exec(t)
  if (!m) return opaque(t)
  const inner = m[2] as string
  if (m[1] === 'list') return listOf(readType(inner))
  if (m[1] === 'optional') return optionalOf(readType(inner))
  const comma = inner.indexOf(',')
  return mapOf(readType(inner.slice(0, comma)), readType(inner.slice(comma + 1)))
}

/** As messages write it. */
export function typeText(t: Type): string {
  switch (t.kind) {
    case 'list':
      return `list(${typeText(t.elem ?? DYN)})`
    case 'map':
      return `map(${typeText(t.key ?? DYN)}, ${typeText(t.elem ?? DYN)})`
    case 'optional':
      return `optional_type(${typeText(t.elem ?? DYN)})`
    case 'type':
      return 'type'
    case 'timestamp':
    case 'duration':
      return `google.protobuf.${t.kind === 'timestamp' ? 'Timestamp' : 'Duration'}`
    case 'object':
    case 'opaque':
    case 'param':
      return t.name ?? t.kind
    default:
      return t.kind
  }
}

/** What parameters stand for so far. */
export type Bound = Map<string, Type>

/** True when a value of `from` may stand where `to` is wanted; binds the parameters of `to`, widening to dyn where they disagree in dyn. */
export function assignable(to: Type, from: Type, bound: Bound): boolean {
  if (to.kind === 'param') {
    const known = bound.get(to.name as string)
    if (!known) {
      bound.set(to.name as string, from)
      return true
    }
    if (assignable(known, from, bound)) {
      // An empty literal says nothing of its elements: the other one does.
      if (isOpen(known) && !isOpen(from)) bound.set(to.name as string, from)
      return true
    }
    if (!assignable(from, known, bound)) return false
    bound.set(to.name as string, from)
    return true
  }
  if (to.kind === 'dyn' || from.kind === 'dyn' || from.kind === 'param') return true
  if (from.kind === 'null') return to.kind === 'null' || to.kind === 'object' || to.kind === 'timestamp' || to.kind === 'duration'
  if (to.kind !== from.kind) return false
  switch (to.kind) {
    case 'list':
    case 'optional':
      return assignable(to.elem ?? DYN, from.elem ?? DYN, bound)
    case 'map':
      return assignable(to.key ?? DYN, from.key ?? DYN, bound) && assignable(to.elem ?? DYN, from.elem ?? DYN, bound)
    case 'object':
    case 'opaque':
      return to.name === from.name
    default:
      return true
  }
}

function isOpen(t: Type): boolean {
  return t.kind === 'dyn' || t.kind === 'param' || (t.elem !== undefined && isOpen(t.elem))
}

/** `t` with parameters replaced by what they stand for; unknown ones are dyn. */
export function substitute(t: Type, bound: Bound): Type {
  if (t.kind === 'param') return bound.get(t.name as string) ?? DYN
  if (!t.elem && !t.key) return t
  return { ...t, ...(t.elem ? { elem: substitute(t.elem, bound) } : {}), ...(t.key ? { key: substitute(t.key, bound) } : {}) }
}

/** True when a runtime value may be of the type, as far as its outermost part tells. */
export function fits(t: Type, v: unknown): boolean {
  switch (t.kind) {
    case 'dyn':
    case 'param':
      return true
    case 'bool':
      return typeof v === 'boolean'
    case 'int':
      return typeof v === 'bigint'
    case 'uint':
      return v instanceof Uint
    case 'double':
      return typeof v === 'number'
    case 'string':
      return typeof v === 'string'
    case 'bytes':
      return v instanceof Uint8Array
    case 'null':
      return v === null
    case 'timestamp':
      return v instanceof Timestamp
    case 'duration':
      return v instanceof Duration
    case 'type':
      return v instanceof TypeValue
    case 'list':
      return Array.isArray(v)
    case 'map':
      return v instanceof Map
    case 'optional':
      return v instanceof Optional
    case 'object':
      return v instanceof Struct
    case 'opaque':
      return v instanceof Opaque && v.type === t.name
  }
}

/** The name of a value's type, as `type(v)` and messages of the runtime have it. */
export function typeName(v: unknown): string {
  switch (typeof v) {
    case 'bigint':
      return 'int'
    case 'number':
      return 'double'
    case 'boolean':
      return 'bool'
    case 'string':
      return 'string'
    default:
      if (v === null) return 'null_type'
      if (Array.isArray(v)) return 'list'
      if (v instanceof Map) return 'map'
      if (v instanceof Uint) return 'uint'
      if (v instanceof Uint8Array) return 'bytes'
      if (v instanceof Timestamp) return 'google.protobuf.Timestamp'
      if (v instanceof Duration) return 'google.protobuf.Duration'
      if (v instanceof TypeValue) return 'type'
      if (v instanceof Optional) return 'optional_type'
      if (v instanceof Struct) return v.typeName
      return v instanceof Opaque ? v.type : 'dyn'
  }
}
