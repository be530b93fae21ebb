/**
 * The simple JSONPath of printer columns and scale paths: `.spec.replicas`, `.status.conditions[?(@.type=="Ready")].status`,
 * `.items[*].name`, `.a['b.c'][0]`, `[-1:]`, `..name`. Parsed once into steps. Used by `crd.ts` and the CLI.
 */
import { AppError } from '../base/errors.ts'

type Step =
  | { readonly kind: 'field'; readonly name: string }
  | { readonly kind: 'all' }
  | { readonly kind: 'deep' }
  | { readonly kind: 'slice'; readonly from: number | undefined; readonly to: number | undefined; readonly by: number }
  | { readonly kind: 'index'; readonly at: number }
  | { readonly kind: 'union'; readonly names: readonly string[] }
  | { readonly kind: 'filter'; readonly left: Operand; readonly op: string; readonly right: Operand | undefined }

type Operand = { readonly path: JsonPath } | { readonly value: unknown }
export type JsonPath = readonly Step[]

/** @throws AppError `invalid` naming the place that cannot be read */
export function parseJsonPath(text: string): JsonPath {
  const inner = /^\{(.*)\}$/s.exec(text.trim())?.[1] ?? text.trim()
  const parser = new Parser(inner, text)
  return parser.path()
}

class Parser {
  readonly #text: string
  readonly #whole: string
  #at = 0

  constructor(text: string, whole: string) {
    this.#text = text
    this.#whole = whole
  }

  path(): Step[] {
    const steps: Step[] = []
    if (/^[$@]/.test(this.#text)) this.#at = 1
    while (this.#at < this.#text.length) steps.push(...this.#step(steps.length === 0))
    return steps
  }

  #step(first: boolean): Step[] {
    if (this.#take('..')) return this.#text[this.#at] === '[' ? [{ kind: 'deep' }] : [{ kind: 'deep' }, this.#name()]
    if (this.#take('[')) return [this.#bracket()]
    if (this.#take('.')) return this.#text[this.#at] === '[' || this.#at === this.#text.length ? [] : [this.#name()]
    if (first) return [this.#name()]
    return this.#fail()
  }

  #name(): Step {
    if (this.#take('*')) return { kind: 'all' }
    let name = ''
    while (this.#at < this.#text.length && !/[.[\]]/.test(this.#text[this.#at] as string)) {
      if (this.#text[this.#at] === '\\' && this.#at + 1 < this.#text.length) this.#at++
      name += this.#text[this.#at++]
    }
    return name === '' ? this.#fail() : { kind: 'field', name }
  }

  #bracket(): Step {
    const body = this.#untilClose()
    if (body === '*') return { kind: 'all' }
    const filter = /^\?\((.*)\)$/s.exec(body)
    if (filter) return this.#filter(filter[1] as string)
    if (/^['"]/.test(body)) {
      const names = [...body.matchAll(/'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"/g)].map((m) => (m[1] ?? m[2] ?? '').replace(/\\(.)/g, '$1'))
      return names.length === 1 ? { kind: 'field', name: names[0] as string } : { kind: 'union', names }
    }
    if (/^-?\d+$/.test(body)) return { kind: 'index', at: Number(body) }
    const slice = /^(-?\d+)?:(-?\d+)?(?::(\d+))?$/.exec(body)
    if (!slice || slice[3] === '0') return this.#fail()
    const number = (s: string | undefined): number | undefined => (s === undefined ? undefined : Number(s))
    return { kind: 'slice', from: number(slice[1]), to: number(slice[2]), by: number(slice[3]) ?? 1 }
  }

  /** The text up to the `]` that closes, past quotes and inner brackets. */
  #untilClose(): string {
    const start = this.#at
    let depth = 1
    for (; this.#at < this.#text.length; this.#at++) {
      const c = this.#text[this.#at] as string
      if (c === "'" || c === '"') {
        const end = this.#text.indexOf(c, this.#at + 1)
        if (end < 0) return this.#fail()
        this.#at = end
      } else if (c === '[') depth++
      else if (c === ']' && --depth === 0) return this.#text.slice(start, this.#at++).trim()
    }
    return this.#fail()
  }

  #filter(text: string): Step {
    const m = /^\s*(.+?)\s*(==|!=|<=|>=|<|>)\s*(.+?)\s*$/s.exec(text)
    if (!m) return { kind: 'filter', left: this.#operand(text.trim()), op: 'exists', right: undefined }
    return { kind: 'filter', left: this.#operand(m[1] as string), op: m[2] as string, right: this.#operand(m[3] as string) }
  }

  #operand(text: string): Operand {
    if (text.startsWith('@')) return { path: new Parser(text, this.#whole).path() }
    const quoted = /^(['"])(.*)\1$/s.exec(text)
    if (quoted) return { value: quoted[2] }
    if (text === 'true' || text === 'false') return { value: text === 'true' }
    const n = Number(text)
    return Number.isNaN(n) ? this.#fail() : { value: n }
  }

  #take(token: string): boolean {
    if (!this.#text.startsWith(token, this.#at)) return false
    this.#at += token.length
    return true
  }

  #fail(): never {
    throw new AppError('invalid', `reading JSONPath ${JSON.stringify(this.#whole)}: cannot read it at position ${this.#at}`)
  }
}

/** At most this many values are found by one path, so that `..` on a big object stays cheap. */
const MAX_FOUND = 10_000

/** All values a path finds, in order; none when a part is missing. */
export function findPath(path: JsonPath, root: unknown): unknown[] {
  let found: unknown[] = [root]
  for (const step of path) {
    found = found.flatMap((v) => next(step, v)).slice(0, MAX_FOUND)
    if (found.length === 0) return found
  }
  return found
}

function next(step: Step, value: unknown): unknown[] {
  switch (step.kind) {
    case 'field':
      return fieldOf(value, step.name)
    case 'union':
      return step.names.flatMap((n) => fieldOf(value, n))
    case 'all':
      return typeof value === 'object' && value !== null ? Object.values(value) : []
    case 'index': {
      if (!Array.isArray(value)) return []
      const at = step.at < 0 ? value.length + step.at : step.at
      return at in value ? [value[at] as unknown] : []
    }
    case 'slice':
      return Array.isArray(value) ? value.slice(step.from ?? 0, step.to).filter((_, i) => i % step.by === 0) : []
    case 'filter':
      return typeof value === 'object' && value !== null ? Object.values(value).filter((v) => holds(step, v)) : []
    case 'deep':
      return descend(value, [])
  }
}

function fieldOf(value: unknown, name: string): unknown[] {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return []
  return [(value as Record<string, unknown>)[name]]
}

function descend(value: unknown, into: unknown[]): unknown[] {
  if (typeof value !== 'object' || value === null || into.length >= MAX_FOUND) return into
  into.push(value)
  for (const v of Object.values(value)) descend(v, into)
  return into
}

function holds(step: Extract<Step, { kind: 'filter' }>, item: unknown): boolean {
  const values = (o: Operand): unknown[] => ('path' in o ? findPath(o.path, item) : [o.value])
  const left = values(step.left)
  if (step.op === 'exists') return left.length > 0
  const right = step.right === undefined ? [] : values(step.right)
  if (left.length !== 1 || right.length !== 1) return false
  const [a, b] = [left[0], right[0]]
  if (step.op === '==') return a === b
  if (step.op === '!=') return a !== b
  if (!(typeof a === 'number' && typeof b === 'number') && !(typeof a === 'string' && typeof b === 'string')) return false
  return step.op === '<' ? a < b : step.op === '<=' ? a <= b : step.op === '>' ? a > b : a >= b
}
