/** CEL functions on texts: the standard ones, the strings extension, regular expressions, `format`, named formats. Used by the engine. */
import { codesOf, Re2 } from '../../api/re2.ts'
import { messageOf } from '../../base/errors.ts'
import { format } from './format-text.ts'
import { elements, matching, plus, product, reading, sameSize, scaled, TRAVERSE, type Functions, type Size } from './functions.ts'
import { NAMED_FORMATS } from './named-formats.ts'
import { CelError, Opaque, Optional } from './values.ts'

const MAX_PATTERNS = 256
const patterns = new Map<string, Re2>()
const ZERO: Size = { min: 0, max: 0 }

/** A pattern, compiled once; the cache is emptied when it is full. @throws CelError */
export function regex(pattern: string): Re2 {
  let known = patterns.get(pattern)
  if (known) return known
  try {
    known = new Re2(pattern)
  } catch (error) {
    throw new CelError(messageOf(error))
  }
  if (patterns.size >= MAX_PATTERNS) patterns.clear()
  patterns.set(pattern, known)
  return known
}

/** Defines them. */
export function defineText(f: Functions): void {
  f.define('string!contains(string): bool', (s: string, t: string) => s.includes(t), { cost: (z) => product(scaled(z[0] ?? ZERO, TRAVERSE), scaled(z[1] ?? ZERO, TRAVERSE)) })
  f.define('string!startsWith(string): bool', (s: string, t: string) => s.startsWith(t), { cost: reading(1) })
  f.define('string!endsWith(string): bool', (s: string, t: string) => s.endsWith(t), { cost: reading(1) })
  for (const signature of ['matches(string, string): bool', 'string!matches(string): bool']) f.define(signature, (s: string, p: string) => regex(p).test(s), { cost: matching })
  extension(f)
  find(f)
  formats(f)
}

const range = (i: bigint | number): CelError => new CelError(`index out of range: ${i}`)

function extension(f: Functions): void {
  const whole = { cost: reading(0), size: sameSize(0) }
  f.define('string!charAt(int): string', (s: string, i: bigint) => {
    const letters = Array.from(s)
    if (i < 0n || i > BigInt(letters.length)) throw range(i)
    return letters[Number(i)] ?? ''
  })
  const indexOf = (s: string, t: string, from = 0n): bigint => {
    const letters = Array.from(s)
    if (from < 0n || from > BigInt(letters.length)) throw range(from)
    const head = letters.slice(0, Number(from)).join('').length
    const at = s.indexOf(t, head)
    return at < 0 ? -1n : BigInt(Array.from(s.slice(0, at)).length)
  }
  f.define('string!indexOf(string): int', (s: string, t: string) => indexOf(s, t), { cost: reading(0) })
  f.define('string!indexOf(string, int): int', indexOf, { cost: reading(0) })
  const lastIndexOf = (s: string, t: string, from?: bigint): bigint => {
    const letters = Array.from(s)
    if (from !== undefined && (from < 0n || from > BigInt(letters.length))) throw range(from)
    const at = s.lastIndexOf(t, from === undefined ? undefined : letters.slice(0, Number(from)).join('').length)
    return at < 0 ? -1n : BigInt(Array.from(s.slice(0, at)).length)
  }
  f.define('string!lastIndexOf(string): int', (s: string, t: string) => lastIndexOf(s, t), { cost: reading(0) })
  f.define('string!lastIndexOf(string, int): int', lastIndexOf, { cost: reading(0) })
  f.define('string!lowerAscii(): string', (s: string) => s.replace(/[A-Z]+/g, (c) => c.toLowerCase()), whole)
  f.define('string!upperAscii(): string', (s: string) => s.replace(/[a-z]+/g, (c) => c.toUpperCase()), whole)
  f.define('string!trim(): string', (s: string) => s.replace(/^[\s\u0085]+|[\s\u0085]+$/gu, ''), whole)
  f.define('string!reverse(): string', (s: string) => Array.from(s).toReversed().join(''), whole)
  const substring = (s: string, from: bigint, to?: bigint): string => {
    const letters = Array.from(s)
    const length = BigInt(letters.length)
    if (from < 0n || from > length) throw range(from)
    if (to !== undefined && (to < 0n || to > length)) throw range(to)
    if (to !== undefined && from > to) throw new CelError(`invalid substring range. start: ${from}, end: ${to}`)
    return letters.slice(Number(from), to === undefined ? undefined : Number(to)).join('')
  }
  f.define('string!substring(int): string', substring, whole)
  f.define('string!substring(int, int): string', substring, whole)
  const replaced = { cost: reading(0, 2), size: replacedSize }
  f.define('string!replace(string, string): string', (s: string, a: string, b: string) => replace(s, a, b, -1n), replaced)
  f.define('string!replace(string, string, int): string', replace, replaced)
  const parts = { cost: reading(0, 2), size: (z: readonly Size[]): Size => ({ min: 0, max: z[0]?.max ?? 0 }) }
  const split = (s: string, by: string, n = -1n): string[] => {
    if (n === 0n) return []
    const all = by === '' ? Array.from(s) : s.split(by)
    return n < 0n || BigInt(all.length) <= n ? all : [...all.slice(0, Number(n) - 1), all.slice(Number(n) - 1).join(by)]
  }
  f.define('string!split(string): list<string>', split, parts)
  f.define('string!split(string, int): list<string>', split, parts)
  const joinedSize = ([list = ZERO, by = ZERO]: readonly Size[]): Size => {
    const gaps = { min: Math.max(0, list.min - 1), max: Math.max(0, list.max - 1) }
    return plus(product(list, list.each ?? ZERO), product(by, gaps))
  }
  const joined = { cost: (z: readonly Size[]): Size => scaled(joinedSize(z), TRAVERSE), size: joinedSize }
  f.define('list<string>!join(): string', (l: string[]) => l.join(''), joined)
  f.define('list<string>!join(string): string', (l: string[], by: string) => l.join(by), joined)
  f.define('strings.quote(string): string', (s: string) => JSON.stringify(s), { cost: reading(0) })
  f.define('string!format(list<dyn>): string', (s: string, args: unknown[]) => format(s, args), { cost: reading(0) })
}

function replace(s: string, from: string, to: string, times: bigint): string {
  if (times < 0n) return s.replaceAll(from, () => to)
  let [out, rest] = ['', s]
  for (let i = 0n; i < times; i++) {
    const at = rest.indexOf(from)
    if (at < 0 || (from === '' && rest === '' && i > 0n)) break
    const step = from === '' ? Array.from(rest)[0]?.length ?? 0 : 0
    out += rest.slice(0, at) + to + rest.slice(at, at + step)
    rest = rest.slice(at + from.length + step)
  }
  return out + rest
}

/** The longest and shortest text that a replacement can leave, as Kubernetes estimates it. */
function replacedSize([s = ZERO, from = ZERO, to = ZERO]: readonly Size[]): Size {
  const max = from.min === 0 ? (s.max + 1) * to.max + s.max : to.max <= from.min ? s.max : Math.ceil(s.max / from.min) * to.max
  const min = from.max === 0 ? (s.min + 1) * to.min + s.min : from.max <= to.min ? s.min : Math.ceil(s.min / from.max) * to.min
  return { min: Math.min(min, max), max: Number.isNaN(max) ? Number.POSITIVE_INFINITY : max }
}

function find(f: Functions): void {
  f.define('string!find(string): string', (s: string, p: string) => {
    const codes = codesOf(s)
    const m = regex(p).exec(codes)
    return m ? String.fromCodePoint(...codes.slice(m.start, m.end)) : ''
  }, { cost: matching, size: (z) => ({ min: 0, max: z[0]?.max ?? 0 }) })
  const findAll = (s: string, p: string, limit = -1n): string[] => {
    const codes = codesOf(s)
    const re = regex(p)
    const out: string[] = []
    const most = limit < 0n ? Number.POSITIVE_INFINITY : Number(limit)
    for (let from = 0; from <= codes.length && out.length < most; ) {
      const m = re.exec(codes, from)
      if (!m) break
      out.push(String.fromCodePoint(...codes.slice(m.start, m.end)))
      from = m.end > m.start ? m.end : m.end + 1
    }
    return out
  }
  const facts = { cost: matching, size: (z: readonly Size[]): Size => ({ min: 0, max: z[0]?.max ?? 0 }) }
  f.define('string!findAll(string): list<string>', findAll, facts)
  f.define('string!findAll(string, int): list<string>', findAll, facts)
}

class Format extends Opaque {
  readonly type = 'kubernetes.NamedFormat'
  readonly name: string
  constructor(name: string) {
    super()
    this.name = name
  }
  equals(other: unknown): boolean {
    return other instanceof Format && other.name === this.name
  }
}

function formats(f: Functions): void {
  for (const name of Object.keys(NAMED_FORMATS)) f.define(`format.${name}(): kubernetes.NamedFormat`, () => new Format(name))
  f.define('format.named(string): optional<kubernetes.NamedFormat>', (name: string) => (Object.hasOwn(NAMED_FORMATS, name) ? new Optional(new Format(name)) : Optional.none))
  f.define('kubernetes.NamedFormat!validate(string): optional<list<string>>', (one: Format, text: string) => {
    const found = NAMED_FORMATS[one.name]?.(text) ?? []
    return found.length > 0 ? new Optional(found) : Optional.none
  }, { cost: elements(1) })
}
