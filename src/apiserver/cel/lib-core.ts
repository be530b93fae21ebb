/** Operators and standard functions of CEL: arithmetic with overflow checks, comparison, conversion, optionals. Used by the engine. */
import { parseDuration, parseTimestamp, durationText, timestampText } from './time.ts'
import { comparing, elements, plus, reading, scaled, TRAVERSE, type Functions } from './functions.ts'
import { addLists, CelError, compareNumbers, Duration, equals, findKey, numeric, Optional, runes, Struct, Timestamp, TypeValue, Uint, type List } from './values.ts'
import { typeName } from './type.ts'

const MAX_INT = 2n ** 63n - 1n
const MAX_UINT = 2n ** 64n - 1n

/** An int of 64 bits. @throws CelError */
export function int(v: bigint): bigint {
  if (v > MAX_INT || v < -MAX_INT - 1n) throw new CelError('integer overflow')
  return v
}
const uint = (v: bigint): Uint => {
  if (v > MAX_UINT || v < 0n) throw new CelError('unsigned integer overflow')
  return new Uint(v)
}
const span = (ns: bigint): Duration => new Duration(int(ns))
const nonZero = <T extends bigint>(v: T, what: string): T => {
  if (v === 0n) throw new CelError(what)
  return v
}

/** Defines them. */
export function defineCore(f: Functions): void {
  arithmetic(f)
  comparison(f)
  collections(f)
  conversions(f)
  optionals(f)
}

function arithmetic(f: Functions): void {
  f.define('_+_(int, int): int', (a: bigint, b: bigint) => int(a + b))
  f.define('_-_(int, int): int', (a: bigint, b: bigint) => int(a - b))
  f.define('_*_(int, int): int', (a: bigint, b: bigint) => int(a * b))
  f.define('_/_(int, int): int', (a: bigint, b: bigint) => int(a / nonZero(b, 'division by zero')))
  f.define('_%_(int, int): int', (a: bigint, b: bigint) => a % nonZero(b, 'modulus by zero'))
  f.define('_+_(uint, uint): uint', (a: Uint, b: Uint) => uint(a.v + b.v))
  f.define('_-_(uint, uint): uint', (a: Uint, b: Uint) => uint(a.v - b.v))
  f.define('_*_(uint, uint): uint', (a: Uint, b: Uint) => uint(a.v * b.v))
  f.define('_/_(uint, uint): uint', (a: Uint, b: Uint) => uint(a.v / nonZero(b.v, 'division by zero')))
  f.define('_%_(uint, uint): uint', (a: Uint, b: Uint) => uint(a.v % nonZero(b.v, 'modulus by zero')))
  f.define('_+_(double, double): double', (a: number, b: number) => a + b)
  f.define('_-_(double, double): double', (a: number, b: number) => a - b)
  f.define('_*_(double, double): double', (a: number, b: number) => a * b)
  f.define('_/_(double, double): double', (a: number, b: number) => a / b)
  f.define('-_(int): int', (a: bigint) => int(-a))
  f.define('-_(double): double', (a: number) => -a)
  f.define('_+_(timestamp, duration): timestamp', (a: Timestamp, b: Duration) => new Timestamp(a.ns + b.ns))
  f.define('_+_(duration, timestamp): timestamp', (a: Duration, b: Timestamp) => new Timestamp(a.ns + b.ns))
  f.define('_+_(duration, duration): duration', (a: Duration, b: Duration) => span(a.ns + b.ns))
  f.define('_-_(timestamp, timestamp): duration', (a: Timestamp, b: Timestamp) => span(a.ns - b.ns))
  f.define('_-_(timestamp, duration): timestamp', (a: Timestamp, b: Duration) => new Timestamp(a.ns - b.ns))
  f.define('_-_(duration, duration): duration', (a: Duration, b: Duration) => span(a.ns - b.ns))
  const both = (s: readonly { min: number; max: number }[]): { min: number; max: number } => plus(s[0] ?? { min: 0, max: 0 }, s[1] ?? { min: 0, max: 0 })
  f.define('_+_(string, string): string', (a: string, b: string) => a + b, { cost: (s) => scaled(both(s), TRAVERSE), size: both })
  f.define('_+_(bytes, bytes): bytes', (a: Uint8Array, b: Uint8Array) => Buffer.concat([a, b]), { cost: (s) => scaled(both(s), TRAVERSE), size: both })
  f.define('_+_(list<A>, list<A>): list<A>', (a: List, b: List) => addLists(a, b), { size: both })
}

function comparison(f: Functions): void {
  f.define('_==_(A, A): bool', equals, { cost: comparing })
  f.define('_!=_(A, A): bool', (a: unknown, b: unknown) => !equals(a, b), { cost: comparing })
  f.define('_&&_(bool, bool): bool', (a: boolean, b: boolean) => a && b)
  f.define('_||_(bool, bool): bool', (a: boolean, b: boolean) => a || b)
  f.define('_?_:_(bool, A, A): A', (which: boolean, a: unknown, b: unknown) => (which ? a : b))
  f.define('!_(bool): bool', (a: boolean) => !a)
  f.define('@not_strictly_false(bool): bool', (a: boolean) => a)
  const kinds = ['int', 'uint', 'double']
  const tests: readonly (readonly [string, (order: number) => boolean])[] = [['<', (o) => o < 0], ['<=', (o) => o <= 0], ['>', (o) => o > 0], ['>=', (o) => o >= 0]]
  for (const [op, holds] of tests) {
    for (const a of kinds) for (const b of kinds) f.define(`_${op}_(${a}, ${b}): bool`, (x: unknown, y: unknown) => holds(compareNumbers(numeric(x) as number, numeric(y) as number)))
    f.define(`_${op}_(string, string): bool`, (x: string, y: string) => holds(compareText(x, y)), { cost: comparing })
    f.define(`_${op}_(bytes, bytes): bool`, (x: Uint8Array, y: Uint8Array) => holds(Buffer.compare(x, y)), { cost: comparing })
    f.define(`_${op}_(bool, bool): bool`, (x: boolean, y: boolean) => holds(Number(x) - Number(y)))
    for (const t of ['timestamp', 'duration']) f.define(`_${op}_(${t}, ${t}): bool`, (x: Timestamp, y: Timestamp) => holds(compareNumbers(x.ns, y.ns)))
  }
}

/** By code points, as Go compares bytes of UTF-8. */
export function compareText(a: string, b: string): number {
  if (a === b) return 0
  return /[\ud800-\udfff]/.test(a + b) ? Buffer.compare(Buffer.from(a), Buffer.from(b)) : a < b ? -1 : 1
}

function collections(f: Functions): void {
  f.define('@in(A, list<A>): bool', (v: unknown, l: unknown[]) => l.some((x) => equals(x, v)), { cost: elements(1) })
  f.define('@in(A, map<A, B>): bool', (v: unknown, m: Map<unknown, unknown>) => findKey(m, v) !== undefined)
  f.define('_[_](list<A>, int): A', (l: unknown[], i: bigint) => at(l, i))
  f.define('_[_](map<A, B>, A): B', (m: Map<unknown, unknown>, k: unknown) => entry(m, k))
  f.define('_[?_](list<A>, int): optional<A>', (l: unknown[], i: bigint) => (i >= 0n && i < BigInt(l.length) ? new Optional(l[Number(i)]) : Optional.none))
  f.define('_[?_](map<A, B>, A): optional<B>', (m: Map<unknown, unknown>, k: unknown) => optionalEntry(m, k))
  f.define('_[_](optional<list<A>>, int): optional<A>', (o: Optional, i: bigint) => (o.present ? new Optional(at(o.value as unknown[], i)) : o))
  f.define('_[_](optional<map<A, B>>, A): optional<B>', (o: Optional, k: unknown) => (o.present ? optionalEntry(o.value as Map<unknown, unknown>, k) : o))
  f.define('_[?_](optional<list<A>>, int): optional<A>', (o: Optional, i: bigint) => (o.present && i >= 0n && i < BigInt((o.value as unknown[]).length) ? new Optional((o.value as unknown[])[Number(i)]) : Optional.none))
  f.define('_[?_](optional<map<A, B>>, A): optional<B>', (o: Optional, k: unknown) => (o.present ? optionalEntry(o.value as Map<unknown, unknown>, k) : o))
  for (const signature of ['size(list<A>): int', 'list<A>!size(): int']) f.define(signature, (l: unknown[]) => BigInt(l.length))
  for (const signature of ['size(map<A, B>): int', 'map<A, B>!size(): int']) f.define(signature, (m: Map<unknown, unknown>) => BigInt(m.size))
  for (const signature of ['size(string): int', 'string!size(): int']) f.define(signature, (s: string) => BigInt(runes(s)))
  for (const signature of ['size(bytes): int', 'bytes!size(): int']) f.define(signature, (b: Uint8Array) => BigInt(b.length))
  const insert = (m: Map<unknown, unknown>, k: unknown, v: unknown): Map<unknown, unknown> => {
    if (m.has(k)) throw new CelError(`insert failed: key ${String(k)} already exists`)
    return new Map(m).set(k, v)
  }
  f.define('cel.@mapInsert(map<A, B>, A, B): map<A, B>', insert)
  f.define('cel.@mapInsert(map<A, B>, map<A, B>): map<A, B>', (m: Map<unknown, unknown>, n: Map<unknown, unknown>) => {
    let out = m
    for (const [k, v] of n) out = insert(out, k, v)
    return out
  })
}

function at(l: unknown[], i: bigint): unknown {
  if (i < 0n || i >= BigInt(l.length)) throw new CelError(`index out of bounds: ${i}`)
  return l[Number(i)]
}

function entry(m: Map<unknown, unknown>, k: unknown): unknown {
  const found = findKey(m, k)
  if (!found) throw new CelError(`no such key: ${k instanceof Uint ? k.v : String(k)}`)
  return m.get(found.key)
}

function optionalEntry(m: Map<unknown, unknown>, k: unknown): Optional {
  const found = findKey(m, k)
  return found ? new Optional(m.get(found.key)) : Optional.none
}

function conversions(f: Functions): void {
  f.define('dyn(A): dyn', (v: unknown) => v)
  f.define('type(A): type', (v: unknown) => new TypeValue(typeName(v)))
  f.define('bool(bool): bool', (v: boolean) => v)
  f.define('bool(string): bool', (s: string) => {
    if (/^(1|t|T|true|TRUE|True)$/.test(s)) return true
    if (/^(0|f|F|false|FALSE|False)$/.test(s)) return false
    throw new CelError(`type conversion error from 'string' to 'bool'`)
  })
  f.define('int(int): int', (v: bigint) => v)
  f.define('int(uint): int', (v: Uint) => int(v.v))
  f.define('int(double): int', (v: number) => {
    if (!Number.isFinite(v) || Math.abs(v) >= 2 ** 63) throw new CelError('integer overflow')
    return BigInt(Math.trunc(v))
  })
  f.define('int(string): int', (s: string) => {
    if (!/^[+-]?\d+$/.test(s)) throw new CelError(`strconv.ParseInt: parsing ${JSON.stringify(s)}: invalid syntax`)
    return int(BigInt(s.replace('+', '')))
  })
  f.define('int(timestamp): int', (t: Timestamp) => t.ns / 1_000_000_000n)
  f.define('int(duration): int', (d: Duration) => d.ns)
  f.define('uint(uint): uint', (v: Uint) => v)
  f.define('uint(int): uint', (v: bigint) => uint(v))
  f.define('uint(double): uint', (v: number) => {
    if (!Number.isFinite(v) || v < 0 || v >= 2 ** 64) throw new CelError('unsigned integer overflow')
    return uint(BigInt(Math.trunc(v)))
  })
  f.define('uint(string): uint', (s: string) => {
    if (!/^\d+$/.test(s)) throw new CelError(`strconv.ParseUint: parsing ${JSON.stringify(s)}: invalid syntax`)
    return uint(BigInt(s))
  })
  f.define('double(double): double', (v: number) => v)
  f.define('double(int): double', (v: bigint) => Number(v))
  f.define('double(uint): double', (v: Uint) => Number(v.v))
  f.define('double(string): double', (s: string) => {
    const n = /^[+-]?inf(inity)?$/i.test(s) ? (s.startsWith('-') ? -Infinity : Infinity) : /^nan$/i.test(s) ? Number.NaN : /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(s) ? Number(s) : undefined
    if (n === undefined) throw new CelError(`strconv.ParseFloat: parsing ${JSON.stringify(s)}: invalid syntax`)
    return n
  })
  f.define('string(string): string', (s: string) => s)
  f.define('string(bool): string', (v: boolean) => String(v))
  f.define('string(int): string', (v: bigint) => String(v))
  f.define('string(uint): string', (v: Uint) => String(v.v))
  f.define('string(double): string', doubleText)
  f.define('string(bytes): string', (b: Uint8Array) => {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(b)
    } catch {
      throw new CelError('invalid UTF-8 in bytes, cannot convert to string')
    }
  }, { cost: reading(0) })
  f.define('string(timestamp): string', timestampText)
  f.define('string(duration): string', durationText)
  f.define('bytes(bytes): bytes', (b: Uint8Array) => b)
  f.define('bytes(string): bytes', (s: string) => new TextEncoder().encode(s), { cost: reading(0), size: (s) => ({ min: s[0]?.min ?? 0, max: (s[0]?.max ?? 0) * 4 }) })
  f.define('timestamp(timestamp): timestamp', (t: Timestamp) => t)
  f.define('timestamp(string): timestamp', parseTimestamp)
  f.define('timestamp(int): timestamp', (v: bigint) => new Timestamp(v * 1_000_000_000n))
  f.define('duration(duration): duration', (d: Duration) => d)
  f.define('duration(string): duration', parseDuration)
  f.define('duration(int): duration', (v: bigint) => new Duration(v))
}

/** As Go prints it: the shortest text that reads back the same, with an exponent for very large and small numbers. */
export function doubleText(v: number): string {
  if (Number.isNaN(v)) return 'NaN'
  if (!Number.isFinite(v)) return v > 0 ? '+Inf' : '-Inf'
  const size = Math.abs(v)
  if (size !== 0 && (size < 1e-4 || size >= 1e21)) return v.toExponential().replace(/e([+-])(\d)$/, 'e$10$2')
  return String(v)
}

function optionals(f: Functions): void {
  f.define('optional.of(A): optional<A>', (v: unknown) => new Optional(v))
  f.define('optional.none(): optional<A>', () => Optional.none)
  f.define('optional.ofNonZeroValue(A): optional<A>', (v: unknown) => (isZero(v) ? Optional.none : new Optional(v)))
  f.define('optional<A>!hasValue(): bool', (o: Optional) => o.present)
  f.define('optional<A>!value(): A', (o: Optional) => {
    if (!o.present) throw new CelError('optional.none() dereference')
    return o.value
  })
  // Evaluated where it is needed: the argument only when there is no value.
  f.define('optional<A>!or(optional<A>): optional<A>', (o: Optional, other: Optional) => (o.present ? o : other))
  f.define('optional<A>!orValue(A): A', (o: Optional, other: unknown) => (o.present ? o.value : other))
  f.define('optional.unwrap(list<optional<A>>): list<A>', (l: Optional[]) => l.filter((o) => o.present).map((o) => o.value))
  f.define('list<optional<A>>!unwrapOpt(): list<A>', (l: Optional[]) => l.filter((o) => o.present).map((o) => o.value))
}

function isZero(v: unknown): boolean {
  if (v === null || v === false || v === 0 || v === 0n || v === '') return true
  if (Array.isArray(v) || v instanceof Uint8Array) return v.length === 0
  if (v instanceof Map) return v.size === 0
  if (v instanceof Uint) return v.v === 0n
  if (v instanceof Struct) return v.fields().length === 0
  return v instanceof Duration && v.ns === 0n
}
