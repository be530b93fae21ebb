/**
 * Label and field selectors: parsing, matching and printing, as Kubernetes reads them. A parsed selector is a list of
 * requirements that all must hold. Used by the API server (lists, watches), caches, controllers and the scheduler.
 */
import { AppError } from '../base/errors.ts'
import type { LabelSelector } from './gen/types.ts'
import { labelKeyErrors, labelValueErrors } from './names.ts'

export type Operator = 'In' | 'NotIn' | 'Exists' | 'DoesNotExist' | 'Gt' | 'Lt'
export interface Requirement {
  readonly key: string
  readonly operator: Operator
  readonly values: readonly string[]
}
/** All must hold; an empty one matches everything. */
export type Selector = readonly Requirement[]
export type Labels = Readonly<Record<string, string>>

/** Matches every object. */
export const EVERYTHING: Selector = []
/** Matches no object: what a missing LabelSelector means. */
export const NOTHING: Selector = [
  { key: '', operator: 'Exists', values: [] },
  { key: '', operator: 'DoesNotExist', values: [] },
]

const invalid = (message: string): AppError => new AppError('invalid', message)

/**
 * Parses `a=b,c!=d,e in (x,y),f notin (z),g,!h,i>3`.
 * @throws AppError `invalid` naming what was found and what was expected
 */
export function parseLabelSelector(text: string): Selector {
  const tokens = tokenize(text)
  const out: Requirement[] = []
  let at = 0
  const peek = (): string => tokens[at]?.text ?? ''
  const next = (): string => tokens[at++]?.text ?? ''
  const fail = (expected: string): never => {
    throw invalid(`unable to parse requirement: found '${peek()}', expected: ${expected}`)
  }
  while (at < tokens.length) {
    const negated = peek() === '!'
    if (negated) at++
    const key = next()
    if (!isWord(key)) {
      at--
      fail('identifier')
    }
    checkKey(key)
    const op = peek()
    if (negated) {
      out.push({ key, operator: 'DoesNotExist', values: [] })
    } else if (op === '' || op === ',') {
      out.push({ key, operator: 'Exists', values: [] })
    } else {
      at++
      if (op === 'in' || op === 'notin') {
        if (next() !== '(') {
          at--
          fail("'('")
        }
        const values = parseValues()
        out.push({ key, operator: op === 'in' ? 'In' : 'NotIn', values })
      } else if (op === '=' || op === '==' || op === '!=' || op === '>' || op === '<') {
        // The value may be absent (`a=`): it is then the empty text.
        const value = peek() === ',' || peek() === '' ? '' : next()
        if (value !== '' && !isWord(value)) {
          at--
          fail('identifier')
        }
        out.push(requirement(key, op === '!=' ? 'NotIn' : op === '>' ? 'Gt' : op === '<' ? 'Lt' : 'In', [value]))
      } else {
        at--
        fail("in, notin, =, ==, !=, gt, lt")
      }
    }
    if (at < tokens.length) {
      if (next() !== ',') {
        at--
        fail("',' or 'end of string'")
      }
      if (at >= tokens.length) fail('identifier after ","')
    }
  }
  for (const r of out) if (r.operator === 'In' || r.operator === 'NotIn') r.values.forEach((v) => checkValue(r.key, v))
  return out

  function parseValues(): string[] {
    const values: string[] = []
    let expectValue = true
    for (;;) {
      const t = next()
      if (t === ')') {
        if (expectValue) values.push('')
        return [...new Set(values)].sort()
      }
      if (t === ',') {
        if (expectValue) values.push('')
        expectValue = true
      } else if (isWord(t) && expectValue) {
        values.push(t)
        expectValue = false
      } else {
        at--
        fail("',', ')' or identifier")
      }
    }
  }
}

interface Token {
  readonly text: string
}

function tokenize(text: string): Token[] {
  const tokens: Token[] = []
  for (const m of text.matchAll(/\s+|(==|!=|[=!><(),])|([^\s=!><(),]+)/g)) {
    const token = m[1] ?? m[2]
    if (token !== undefined) tokens.push({ text: token })
  }
  return tokens
}

const isWord = (text: string): boolean => text !== '' && !/^[=!><(),]/.test(text)

function requirement(key: string, operator: Operator, values: string[]): Requirement {
  if ((operator === 'Gt' || operator === 'Lt') && !/^[+-]?\d+$/.test(values[0] ?? '')) {
    throw invalid(`unable to parse requirement: values[0][${key}]: Invalid value: "${values[0]}": for 'Gt', 'Lt' operators, the value must be an integer`)
  }
  return { key, operator, values }
}

function checkKey(key: string): void {
  const errors = labelKeyErrors(key)
  if (errors.length > 0) throw invalid(`unable to parse requirement: key: Invalid value: ${JSON.stringify(key)}: ${errors.join('; ')}`)
}

function checkValue(key: string, value: string): void {
  const errors = labelValueErrors(value)
  if (errors.length > 0) {
    throw invalid(`unable to parse requirement: values[0][${key}]: Invalid value: ${JSON.stringify(value)}: ${errors.join('; ')}`)
  }
}

/** Whether labels satisfy a selector. */
export function matchesLabels(selector: Selector, labels: Labels | undefined): boolean {
  return selector.every((r) => satisfies(r.operator, r.values, labels !== undefined && Object.hasOwn(labels, r.key) ? labels[r.key] : undefined))
}

/** Whether one value (undefined: absent) satisfies an operator of labels or node affinity; an unknown operator nothing does. `Gt` and `Lt` compare whole numbers. */
export function satisfies(operator: string, values: readonly string[], value: string | undefined): boolean {
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value)
    case 'NotIn':
      return value === undefined || !values.includes(value)
    case 'Exists':
      return value !== undefined
    case 'DoesNotExist':
      return value === undefined
    case 'Gt':
    case 'Lt': {
      const [a, b] = [value, values[0]].map((text) => (text !== undefined && /^[+-]?\d+$/.test(text) ? BigInt(text.replace('+', '')) : undefined))
      if (a === undefined || b === undefined) return false
      return operator === 'Gt' ? a > b : a < b
    }
    default:
      return false
  }
}

/** Prints a selector so that parsing it gives the same selector. */
export function selectorText(selector: Selector): string {
  return selector.map(requirementText).join(',')
}

function requirementText(r: Requirement): string {
  switch (r.operator) {
    case 'In':
      return r.values.length === 1 ? `${r.key}=${r.values[0]}` : `${r.key} in (${r.values.join(',')})`
    case 'NotIn':
      return r.values.length === 1 ? `${r.key}!=${r.values[0]}` : `${r.key} notin (${r.values.join(',')})`
    case 'Exists':
      return r.key
    case 'DoesNotExist':
      return `!${r.key}`
    case 'Gt':
      return `${r.key}>${r.values[0]}`
    case 'Lt':
      return `${r.key}<${r.values[0]}`
  }
}

/**
 * The selector of a LabelSelector object. Undefined or null selects nothing; an empty one selects everything.
 * @throws AppError `invalid` for an unknown operator
 */
export function labelSelectorOf(selector: Readonly<LabelSelector> | null | undefined): Selector {
  if (selector === undefined || selector === null) return NOTHING
  const out: Requirement[] = Object.entries(selector.matchLabels ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => ({ key, operator: 'In', values: [value] }))
  for (const e of selector.matchExpressions ?? []) {
    if (!['In', 'NotIn', 'Exists', 'DoesNotExist'].includes(e.operator)) throw invalid(`"${e.operator}" is not a valid label selector operator`)
    out.push({ key: e.key, operator: e.operator as Operator, values: [...(e.values ?? [])].sort() })
  }
  return out
}

/** A LabelSelector object as kubectl prints it: `<none>` when it is empty or missing. */
export function labelSelectorText(selector: Readonly<LabelSelector> | null | undefined): string {
  if (selector === undefined || selector === null) return '<none>'
  return selectorText(labelSelectorOf(selector)) || '<none>'
}

export interface FieldRequirement {
  readonly field: string
  readonly equal: boolean
  readonly value: string
}
export type FieldSelector = readonly FieldRequirement[]

/**
 * Parses `metadata.name=x,status.phase!=Running`; `\,`, `\=` and `\\` escape.
 * @throws AppError `invalid`
 */
export function parseFieldSelector(text: string): FieldSelector {
  const out: FieldRequirement[] = []
  for (const term of splitUnescaped(text)) {
    if (term === '') continue
    const m = /^((?:[^\\=!]|\\.)*?)(==|!=|=)(.*)$/s.exec(term)
    if (!m) throw invalid(`invalid selector: '${text}'; can't understand '${term}'`)
    out.push({ field: m[1] as string, equal: m[2] !== '!=', value: unescape(m[3] as string, text) })
  }
  return out
}

function splitUnescaped(text: string): string[] {
  const parts: string[] = []
  let start = 0
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '\\') i++
    else if (text[i] === ',') {
      parts.push(text.slice(start, i))
      start = i + 1
    }
  }
  parts.push(text.slice(start))
  return parts
}

function unescape(value: string, whole: string): string {
  if (/(^|[^\\])(\\\\)*(\\[^\\,=]|\\$|=)/.test(value)) throw invalid(`invalid field selector: ${JSON.stringify(whole)}: invalid escape sequence or unescaped '=' in value ${JSON.stringify(value)}`)
  return value.replace(/\\(.)/gs, '$1')
}

/** Prints a field selector so that parsing it gives the same selector. */
export function fieldSelectorText(selector: FieldSelector): string {
  return selector.map((r) => `${r.field}${r.equal ? '=' : '!='}${r.value.replace(/[\\,=]/g, '\\$&')}`).join(',')
}

/** Whether a field selector holds, given how to read a field. */
export function matchesFields(selector: FieldSelector, read: (field: string) => string): boolean {
  return selector.every((r) => (read(r.field) === r.value) === r.equal)
}
