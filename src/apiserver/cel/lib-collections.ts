/** Kubernetes' CEL functions on lists, sets, strings, regular expressions and formats. Used by the engine. */
import { Optional, type Environment } from '@marcbachmann/cel-js'
import { format } from './format.ts'
import { NAMED_FORMATS } from './named-formats.ts'
import { registerNamespace } from './namespace.ts'

type Scalar = string | bigint | number | boolean

/** Registers them. */
export function registerCollections(env: Environment): void {
  lists(env)
  strings(env)
  env.registerFunction('string.find(string): string', (s: string, re: string) => regex(re).exec(s)?.[0] ?? '')
  env.registerFunction('string.findAll(string): list<string>', (s: string, re: string) => findAll(s, re, -1))
  env.registerFunction('string.findAll(string, int): list<string>', (s: string, re: string, n: bigint) => findAll(s, re, Number(n)))
  env.registerOperator('optional<V> == optional<V>', (a: Optional, b: Optional) => a.hasValue() === b.hasValue() && (!a.hasValue() || same(a.value(), b.value())))
  class Format {
    readonly check: (text: string) => string[]
    constructor(check: (text: string) => string[]) {
      this.check = check
    }
  }
  env.registerType('kubernetes.NamedFormat', Format)
  registerNamespace(env, 'format', 'kubernetes.FormatNamespace')
  for (const [name, check] of Object.entries(NAMED_FORMATS)) env.registerFunction(`kubernetes.FormatNamespace.${name}(): kubernetes.NamedFormat`, () => new Format(check))
  env.registerFunction('kubernetes.FormatNamespace.named(string): optional<kubernetes.NamedFormat>', (_: unknown, name: string) => {
    const check = Object.hasOwn(NAMED_FORMATS, name) ? NAMED_FORMATS[name] : undefined
    return check ? Optional.of(new Format(check)) : Optional.none()
  })
  env.registerFunction('kubernetes.NamedFormat.validate(string): optional<list<string>>', (f: Format, text: string) => {
    const found = f.check(text)
    return found.length > 0 ? Optional.of(found) : Optional.none()
  })
}

function lists(env: Environment): void {
  env.registerFunction('list<V>.isSorted(): bool', (l: Scalar[]) => l.every((v, i) => i === 0 || (l[i - 1] as Scalar) <= v))
  env.registerFunction('list<V>.sum(): V', (l: (number | bigint)[]) => (l.length === 0 ? 0n : l.reduce((a, b) => ((a as number) + (b as number)) as number | bigint)))
  env.registerFunction('list<V>.min(): V', (l: Scalar[]) => pick(l, 'min', (a, b) => a < b))
  env.registerFunction('list<V>.max(): V', (l: Scalar[]) => pick(l, 'max', (a, b) => a > b))
  env.registerFunction('list<V>.indexOf(V): int', (l: unknown[], v: unknown) => BigInt(l.findIndex((x) => same(x, v))))
  env.registerFunction('list<V>.lastIndexOf(V): int', (l: unknown[], v: unknown) => BigInt(l.findLastIndex((x) => same(x, v))))
  registerNamespace(env, 'sets', 'kubernetes.Sets')
  const within = (a: unknown[], b: unknown[]): boolean => a.every((x) => b.some((y) => same(x, y)))
  env.registerFunction('kubernetes.Sets.contains(list<V>, list<V>): bool', (_: unknown, a: unknown[], b: unknown[]) => within(b, a))
  env.registerFunction('kubernetes.Sets.equivalent(list<V>, list<V>): bool', (_: unknown, a: unknown[], b: unknown[]) => within(a, b) && within(b, a))
  env.registerFunction('kubernetes.Sets.intersects(list<V>, list<V>): bool', (_: unknown, a: unknown[], b: unknown[]) => a.some((x) => b.some((y) => same(x, y))))
}

function strings(env: Environment): void {
  env.registerFunction('string.charAt(int): string', (s: string, at: bigint) => {
    const letters = [...s]
    if (at < 0n || at > BigInt(letters.length)) throw new Error(`index out of range: ${at}`)
    return letters[Number(at)] ?? ''
  })
  const replace = (s: string, from: string, to: string, times: bigint): string => {
    if (times < 0n) return s.replaceAll(from, () => to)
    let [out, rest] = ['', s]
    for (let i = 0n; i < times; i++) {
      const at = rest.indexOf(from)
      if (at < 0) break
      out += rest.slice(0, at) + to
      rest = rest.slice(at + from.length)
    }
    return out + rest
  }
  env.registerFunction('string.replace(string, string): string', (s: string, from: string, to: string) => replace(s, from, to, -1n))
  env.registerFunction('string.replace(string, string, int): string', replace)
  env.registerFunction('string.reverse(): string', (s: string) => [...s].toReversed().join(''))
  env.registerFunction('string.format(list): string', (s: string, args: unknown[]) => format(s, args))
  registerNamespace(env, 'strings', 'kubernetes.Strings')
  env.registerFunction('kubernetes.Strings.quote(string): string', (_: unknown, s: string) => JSON.stringify(s))
}

function pick(list: Scalar[], name: string, better: (a: Scalar, b: Scalar) => boolean): Scalar {
  if (list.length === 0) throw new Error(`${name} called on empty list`)
  return list.reduce((a, b) => (better(b, a) ? b : a))
}

/** Deep equality of engine values. */
export function same(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) {
    // eslint-disable-next-line eqeqeq -- 1n and 1.0 are equal in CEL.
    return (typeof a === 'bigint' && typeof b === 'number') || (typeof a === 'number' && typeof b === 'bigint') ? Number(a) === Number(b) : false
  }
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((v, i) => same(v, b[i]))
  if (a instanceof Date) return b instanceof Date && a.getTime() === b.getTime()
  if ('seconds' in a && 'nanos' in a) return 'seconds' in b && 'nanos' in b && a.seconds === b.seconds && a.nanos === b.nanos
  const [keys, others] = [Object.keys(a), Object.keys(b)]
  return keys.length === others.length && keys.every((k) => Object.hasOwn(b, k) && same((a as Record<string, unknown>)[k], (b as Record<string, unknown>)[k]))
}

function regex(text: string): RegExp {
  try {
    return new RegExp(text, 'u')
  } catch {
    throw new Error(`illegal regular expression: ${text}`)
  }
}

function findAll(s: string, re: string, limit: number): string[] {
  const found = [...s.matchAll(new RegExp(regex(re), 'gu'))].map((m) => m[0])
  return limit < 0 ? found : found.slice(0, limit)
}
