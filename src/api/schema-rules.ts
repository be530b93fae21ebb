/** Value rules of custom schemas: lengths, ranges, patterns. Texts are those of Kubernetes' validation. Used by `schema.ts`. */
import type { Schema } from './schema-types.ts'

/** What is wrong with a value that already has the right type. */
export function checkRules(schema: Schema, value: unknown, path: string): string[] {
  const wrong: string[] = []
  const body = `${path} in body`
  if (typeof value === 'number') {
    const { minimum, maximum, multipleOf } = schema
    if (minimum !== undefined && (schema.exclusiveMinimum ? value <= minimum : value < minimum)) {
      wrong.push(`${body} should be greater than ${schema.exclusiveMinimum ? '' : 'or equal to '}${minimum}`)
    }
    if (maximum !== undefined && (schema.exclusiveMaximum ? value >= maximum : value > maximum)) {
      wrong.push(`${body} should be less than ${schema.exclusiveMaximum ? '' : 'or equal to '}${maximum}`)
    }
    if (multipleOf !== undefined && !isMultiple(value, multipleOf)) wrong.push(`${body} should be a multiple of ${multipleOf}`)
  } else if (typeof value === 'string') {
    if (schema.minLength !== undefined && [...value].length < schema.minLength) wrong.push(`${body} should be at least ${schema.minLength} chars long`)
    if (schema.pattern !== undefined && pattern(schema.pattern)?.test(value) === false) wrong.push(`${body} should match '${schema.pattern}'`)
  } else if (Array.isArray(value)) {
    if (schema.minItems !== undefined && value.length < schema.minItems) wrong.push(`${body} should have at least ${schema.minItems} items`)
    if (schema.uniqueItems && new Set(value.map((v) => JSON.stringify(v))).size < value.length) wrong.push(`${body} shouldn't contain duplicates`)
  } else if (typeof value === 'object' && value !== null) {
    if (schema.minProperties !== undefined && Object.keys(value).length < schema.minProperties) wrong.push(`${body} should have at least ${schema.minProperties} properties`)
  }
  return wrong
}

function isMultiple(value: number, of: number): boolean {
  const quotient = value / of
  return Math.abs(quotient - Math.round(quotient)) < 1e-9
}

const MAX_PATTERNS = 1000
/** Compiled patterns; emptied when it is full, since compiling again is cheap. */
const compiled = new Map<string, RegExp | undefined>()

/** A pattern as a RegExp; undefined when it cannot be compiled (a CRD with such a pattern is refused beforehand). */
export function pattern(text: string): RegExp | undefined {
  if (compiled.has(text)) return compiled.get(text)
  if (compiled.size >= MAX_PATTERNS) compiled.clear()
  const regex = compile(text)
  compiled.set(text, regex)
  return regex
}

function compile(text: string): RegExp | undefined {
  // Go's inline flags at the start and its \A, \z anchors have equals here.
  const flags = /^\(\?([ims]+)\)/.exec(text)
  const body = text.slice(flags?.[0].length ?? 0).replaceAll('\\A', '^').replaceAll('\\z', '$')
  for (const unicode of ['u', '']) {
    try {
      return new RegExp(body, (flags?.[1] ?? '') + unicode)
    } catch {
      // Tried again without the stricter unicode grammar; then it is no pattern at all.
    }
  }
  return undefined
}
