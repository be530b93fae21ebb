/** Value rules of custom schemas: lengths, ranges, patterns. Texts are those of Kubernetes' validation. Used by `schema.ts`. */
import { messageOf } from '../base/errors.ts'
import { Re2 } from './re2.ts'
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
    if (schema.pattern !== undefined && !matches(schema.pattern, value)) wrong.push(`${body} should match '${schema.pattern}'`)
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
/** Compiled patterns, or why they are none; emptied when it is full, since compiling again is cheap. */
const compiled = new Map<string, Re2 | string>()

/** A pattern of a schema, in RE2's syntax as Kubernetes has it; or why it is none (a CRD with such a pattern is refused beforehand). */
export function pattern(text: string): Re2 | string {
  let known = compiled.get(text)
  if (known !== undefined) return known
  try {
    known = new Re2(text)
  } catch (error) {
    known = messageOf(error)
  }
  if (compiled.size >= MAX_PATTERNS) compiled.clear()
  compiled.set(text, known)
  return known
}

function matches(text: string, value: string): boolean {
  const re = pattern(text)
  return typeof re === 'string' || re.test(value)
}
