/**
 * CEL values: ints are bigints, doubles numbers, lists arrays (those of a schema know whether they are sets or maps), maps are
 * Maps, objects of a schema read their fields when asked. Equality is CEL's: numbers across types, lists as their schema says.
 */

/** What an evaluation ends with; the text is CEL's own. */
export class CelError extends Error {}

/** An unsigned int of 64 bits. */
export class Uint {
  readonly v: bigint
  constructor(v: bigint) {
    this.v = v
  }
}

/** Seconds and nanoseconds since 1970. */
export class Timestamp {
  readonly ns: bigint
  constructor(ns: bigint) {
    this.ns = ns
  }
}

/** A span of time in nanoseconds. */
export class Duration {
  readonly ns: bigint
  constructor(ns: bigint) {
    this.ns = ns
  }
}

/** A type as a value: `type(x)`. */
export class TypeValue {
  readonly name: string
  constructor(name: string) {
    this.name = name
  }
}

/** A value that may be absent. */
export class Optional {
  static readonly none = new Optional(undefined, false)
  readonly value: unknown
  readonly present: boolean
  constructor(value: unknown, present = true) {
    this.value = value
    this.present = present
  }
}

/** A value of a library's own type: quantities, URLs, addresses. */
export abstract class Opaque {
  abstract readonly type: string
  abstract equals(other: unknown): boolean
}

/** An object with declared fields; absent ones are errors to read. */
export abstract class Struct {
  abstract readonly typeName: string
  abstract has(field: string): boolean
  /** undefined: it is not there. */
  abstract get(field: string): unknown
  abstract fields(): readonly string[]
}

/** Where a list of a schema keeps how it compares and adds. */
export const LIST_KIND: unique symbol = Symbol('list kind')
export interface ListKind {
  readonly type: 'set' | 'map'
  /** Names of the key fields, as rules name them. */
  readonly keys: readonly string[]
}
export type List = unknown[] & { [LIST_KIND]?: ListKind }

/** Deep equality; never fails. */
export function equals(a: unknown, b: unknown): boolean {
  if (a === b) return true
  const [x, y] = [numeric(a), numeric(b)]
  if (x !== undefined && y !== undefined) return compareNumbers(x, y) === 0
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Array.isArray(a)) return Array.isArray(b) && listsEqual(a as List, b as List)
  if (a instanceof Map) return b instanceof Map ? mapsEqual(a as Map<unknown, unknown>, b as Map<unknown, unknown>) : b instanceof Struct && mapsEqual(a as Map<unknown, unknown>, fieldMap(b))
  if (a instanceof Struct) return b instanceof Struct ? structsEqual(a, b) : b instanceof Map && mapsEqual(fieldMap(a), b as Map<unknown, unknown>)
  if (a instanceof Uint8Array) return b instanceof Uint8Array && Buffer.compare(a, b) === 0
  if (a instanceof Timestamp) return b instanceof Timestamp && a.ns === b.ns
  if (a instanceof Duration) return b instanceof Duration && a.ns === b.ns
  if (a instanceof TypeValue) return b instanceof TypeValue && a.name === b.name
  if (a instanceof Optional) return b instanceof Optional && a.present === b.present && (!a.present || equals(a.value, b.value))
  if (a instanceof Opaque) return a.equals(b)
  return false
}

function fieldMap(s: Struct): Map<unknown, unknown> {
  return new Map(s.fields().map((f) => [f, s.get(f)]))
}

function structsEqual(a: Struct, b: Struct): boolean {
  const [x, y] = [a.fields(), b.fields()]
  return x.length === y.length && x.every((f) => b.has(f) && equals(a.get(f), b.get(f)))
}

function mapsEqual(a: ReadonlyMap<unknown, unknown>, b: ReadonlyMap<unknown, unknown>): boolean {
  if (a.size !== b.size) return false
  for (const [k, v] of a) {
    const key = findKey(b, k)
    if (key === undefined || !equals(v, b.get(key.key))) return false
  }
  return true
}

/** The key of a map that equals `k`, across number types. */
export function findKey(map: ReadonlyMap<unknown, unknown>, k: unknown): { readonly key: unknown } | undefined {
  if (map.has(k)) return { key: k }
  const n = numeric(k)
  if (n === undefined) return undefined
  for (const key of map.keys()) if (equals(key, k)) return { key }
  return undefined
}

function listsEqual(a: List, b: List): boolean {
  if (a.length !== b.length) return false
  const kind = a[LIST_KIND] ?? b[LIST_KIND]
  if (!kind) return a.every((v, i) => equals(v, b[i]))
  if (kind.type === 'map') {
    const byKey = new Map(b.map((v) => [listKey(kind, v), v]))
    return a.every((v) => byKey.has(listKey(kind, v)) && equals(v, byKey.get(listKey(kind, v))))
  }
  return a.every((v) => b.some((w) => equals(v, w)))
}

function listKey(kind: ListKind, item: unknown): string {
  return JSON.stringify(kind.keys.map((k) => {
    const v = item instanceof Struct ? item.get(k) : item instanceof Map ? (item.get(k) as unknown) : undefined
    return typeof v === 'bigint' ? Number(v) : v
  }))
}

/** `a + b` of lists: sets take over what is new, maps replace what has the same keys. */
export function addLists(a: List, b: List): List {
  const kind = a[LIST_KIND]
  if (!kind) return [...a, ...b]
  const out: List = [...a]
  out[LIST_KIND] = kind
  if (kind.type === 'set') {
    for (const v of b) if (!out.some((w) => equals(v, w))) out.push(v)
    return out
  }
  const at = new Map(a.map((v, i) => [listKey(kind, v), i]))
  for (const v of b) {
    const i = at.get(listKey(kind, v))
    if (i === undefined) out.push(v)
    else out[i] = v
  }
  return out
}

/** A number of any kind as bigint or number; undefined for what is none. */
export function numeric(v: unknown): bigint | number | undefined {
  if (typeof v === 'bigint' || typeof v === 'number') return v
  return v instanceof Uint ? v.v : undefined
}

/** -1, 0 or 1; NaN compares to nothing. */
export function compareNumbers(a: bigint | number, b: bigint | number): number {
  if (typeof a === 'number' && Number.isNaN(a)) return Number.NaN
  if (typeof b === 'number' && Number.isNaN(b)) return Number.NaN
  return a < b ? -1 : a > b ? 1 : 0
}

/** Length of a text in code points, without copying it. */
export function runes(text: string): number {
  let n = 0
  for (let i = 0; i < text.length; i++, n++) {
    const c = text.charCodeAt(i)
    if (c >= 0xd800 && c <= 0xdbff) i++
  }
  return n
}

/** What costs count of a value: characters, bytes or elements; 1 for the rest. */
export function sizeOf(v: unknown): number {
  if (typeof v === 'string') return runes(v)
  if (Array.isArray(v) || v instanceof Uint8Array) return v.length
  return v instanceof Map ? v.size : 1
}
