/**
 * The `x-kubernetes-validations` of one schema: compiled when a definition is written or first used, evaluated along each
 * object. What did not change since the old object is not judged again, save by rules that compare with it (`oldSelf`).
 */
import { Optional } from '@marcbachmann/cel-js'
import type { Schema, ValidationRule } from '../../api/schema-types.ts'
import { fieldDuplicate, fieldForbidden, fieldInvalid, fieldRequired, type FieldError } from '../../api/status.ts'
import { BudgetError, OBJECT_BUDGET, compile, environment, type Budget, type Expression } from './engine.ts'
import { CelTypes, type CelType } from './types.ts'

const REASONS = ['FieldValueInvalid', 'FieldValueForbidden', 'FieldValueRequired', 'FieldValueDuplicate']
/** Errors of one object beyond these are not looked for: nobody reads more. */
const MAX_ERRORS = 100

interface Rule {
  readonly source: ValidationRule
  readonly transition: boolean
  readonly holds: Expression
  readonly message: Expression | undefined
  /** Dotted, as it is appended to the path of the schema; `` for the place itself. */
  readonly at: string
}

/** One place of a schema that has rules, or has such places below it. */
interface Place {
  readonly schema: Schema
  readonly type: CelType | undefined
  readonly rules: readonly Rule[]
  readonly properties: ReadonlyMap<string, Place>
  readonly values: Place | undefined
  readonly items: Place | undefined
}

export interface CompiledRules {
  /** What the rules say of an object that fits its schema. `old` for an update. */
  check(object: unknown, old: unknown): FieldError[]
}

/** True when a schema has a rule anywhere. */
export function hasRules(schema: Schema): boolean {
  if (schema['x-kubernetes-validations']?.length) return true
  const below = [...Object.values(schema.properties ?? {}), ...(schema.items ? [schema.items] : []), ...(typeof schema.additionalProperties === 'object' ? [schema.additionalProperties] : [])]
  return below.some(hasRules)
}

/** Compiles every rule; `errors` names those that do not compile, at paths below `path`. */
export function compileRules(schema: Schema, path = ''): { rules: CompiledRules; errors: FieldError[] } {
  const errors: FieldError[] = []
  const root = placeOf(schema, path, 'Object', true, errors)
  return {
    errors,
    rules: {
      check(object, old) {
        const found: FieldError[] = []
        const walk = new Walk(found)
        if (root) walk.visit(root, object, old, '')
        return found
      },
    },
  }
}

function placeOf(schema: Schema, path: string, name: string, correlatable: boolean, errors: FieldError[]): Place | undefined {
  if (!hasRules(schema)) return undefined
  const properties = new Map<string, Place>()
  for (const [key, s] of Object.entries(schema.properties ?? {})) {
    const place = placeOf(s, `${path}.properties[${key}]`, `${name}.${key}`, correlatable, errors)
    if (place) properties.set(key, place)
  }
  const values = typeof schema.additionalProperties === 'object' ? placeOf(schema.additionalProperties, `${path}.additionalProperties`, `${name}.values`, correlatable, errors) : undefined
  const keyed = schema['x-kubernetes-list-type'] === 'map'
  const items = schema.items ? placeOf(schema.items, `${path}.items`, `${name}.items`, correlatable && keyed, errors) : undefined
  const sources = schema['x-kubernetes-validations'] ?? []
  if (sources.length === 0) return { schema, type: undefined, rules: [], properties, values, items }
  const env = environment()
  const type = new CelTypes(env).of(schema)
  const rules = sources.flatMap((source, i) => {
    const at = `${path}.x-kubernetes-validations[${i}]`
    const one = env.clone().registerVariable('self', type.name)
    if (source.rule?.includes('oldSelf') || source.messageExpression?.includes('oldSelf') || source.optionalOldSelf) {
      one.registerVariable('oldSelf', source.optionalOldSelf ? `optional<${type.name}>` : type.name)
    }
    return ruleOf(one, source, at, schema, correlatable, errors)
  })
  return { schema, type, rules, properties, values, items }
}

function ruleOf(env: ReturnType<typeof environment>, source: ValidationRule, at: string, schema: Schema, correlatable: boolean, errors: FieldError[]): Rule[] {
  const before = errors.length
  if (!source.rule?.trim()) errors.push(fieldRequired(`${at}.rule`, 'rule is not specified'))
  if (source.message?.includes('\n')) errors.push(fieldInvalid(`${at}.message`, source.message, 'message must not contain line breaks'))
  if (source.reason !== undefined && source.reason !== '' && !REASONS.includes(source.reason)) {
    errors.push({ field: `${at}.reason`, reason: 'FieldValueNotSupported', message: `Unsupported value: ${JSON.stringify(source.reason)}: supported values: ${REASONS.toSorted().map((r) => `"${r}"`).join(', ')}` })
  }
  if (source.fieldPath && !pathExists(schema, source.fieldPath)) errors.push(fieldInvalid(`${at}.fieldPath`, source.fieldPath, 'fieldPath must be a valid path: it does not refer to a field of the schema'))
  const transition = /\boldSelf\b/.test(source.rule ?? '')
  if (transition && !correlatable) errors.push(fieldInvalid(`${at}.rule`, source.rule, 'oldSelf cannot be used on the uncorrelatable portion of the schema within an array that is not of x-kubernetes-list-type "map"'))
  const build = (text: string | undefined, wanted: 'bool' | 'string', field: string): Expression | undefined => {
    if (!text) return undefined
    try {
      return compile(env, text, wanted)
    } catch (error) {
      errors.push(fieldInvalid(`${at}.${field}`, text, `compilation failed: ${(error as Error).message}`))
      return undefined
    }
  }
  const holds = build(source.rule, 'bool', 'rule')
  const message = build(source.messageExpression, 'string', 'messageExpression')
  return holds && errors.length === before ? [{ source, transition, holds, message, at: source.fieldPath ?? '' }] : []
}

/** A fieldPath is `.a.b` or `['a']` into properties (not into list items). */
function pathExists(schema: Schema, path: string): boolean {
  let at: Schema | undefined = schema
  let rest = path
  while (rest !== '') {
    const m = /^(?:\.([A-Za-z_][\w-]*)|\['((?:[^'\\]|\\.)+)'\])/.exec(rest)
    if (!m) return false
    rest = rest.slice(m[0].length)
    at = at?.properties?.[(m[1] ?? m[2]) as string] ?? (typeof at?.additionalProperties === 'object' ? at.additionalProperties : undefined)
    if (!at) return false
  }
  return true
}

class Walk {
  readonly #found: FieldError[]
  readonly #budget: Budget = { left: OBJECT_BUDGET }

  constructor(found: FieldError[]) {
    this.#found = found
  }

  visit(place: Place, value: unknown, old: unknown, path: string): void {
    if (value === null || value === undefined || this.#full) return
    const unchanged = old !== undefined && JSON.stringify(old) === JSON.stringify(value)
    if (place.type) this.#judge(place, place.type, value, old, path, unchanged)
    if (Array.isArray(value)) {
      if (place.items) for (const [i, item] of value.entries()) this.visit(place.items, item, correlate(place.schema, item, old), `${path}[${i}]`)
    } else if (typeof value === 'object') {
      const before = typeof old === 'object' && old !== null && !Array.isArray(old) ? (old as Record<string, unknown>) : {}
      for (const [key, v] of Object.entries(value)) {
        const property = place.properties.get(key)
        const next = property ?? place.values
        if (next) this.visit(next, v, before[key] ?? undefined, property ? (path === '' ? key : `${path}.${key}`) : `${path}[${key}]`)
      }
    }
  }

  get #full(): boolean {
    return this.#budget.left < 0 || this.#found.length >= MAX_ERRORS
  }

  #judge(place: Place, type: CelType, value: unknown, old: unknown, path: string, unchanged: boolean): void {
    let variables: Record<string, unknown> | undefined
    for (const rule of place.rules) {
      if (this.#full || (unchanged && !rule.transition)) continue
      // A rule that compares has nothing to say of what is new, unless it asked for the absence.
      if (rule.transition && old === undefined && !rule.source.optionalOldSelf) continue
      variables ??= { self: type.convert(value), ...(old === undefined ? {} : { oldSelf: type.convert(old) }) }
      const own = rule.source.optionalOldSelf ? { ...variables, oldSelf: old === undefined ? Optional.none() : Optional.of(variables.oldSelf) } : variables
      try {
        if (rule.holds(own, this.#budget) !== true) this.#report(place.schema, rule, path, this.#message(rule, own))
      } catch (error) {
        this.#report(place.schema, rule, path, error instanceof BudgetError ? 'validation failed due to running out of cost budget, no further validation rules will be run' : `${(error as Error).message} evaluating rule: ${rule.source.message ?? rule.source.rule}`)
      }
    }
  }

  #message(rule: Rule, variables: Readonly<Record<string, unknown>>): string {
    const plain = rule.source.message?.trim() || `failed rule: ${rule.source.rule.trim()}`
    if (!rule.message) return plain
    try {
      const text = (rule.message(variables, this.#budget) as string).trim()
      return text === '' || text.includes('\n') ? plain : text
    } catch {
      // A message that cannot be made leaves the written one; Kubernetes does the same.
      return plain
    }
  }

  #report(schema: Schema, rule: Rule, path: string, detail: string): void {
    const at = rule.at === '' ? path : path === '' ? rule.at.replace(/^\./, '') : `${path}${rule.at}`
    const field = at === '' ? '<nil>' : at.replace(/\['([^']+)'\]/g, '[$1]')
    switch (rule.source.reason) {
      case 'FieldValueForbidden':
        this.#found.push(fieldForbidden(field, detail))
        return
      case 'FieldValueRequired':
        this.#found.push(fieldRequired(field, detail))
        return
      case 'FieldValueDuplicate':
        this.#found.push(fieldDuplicate(field, schema.type ?? 'any'))
        return
      default:
        this.#found.push(fieldInvalid(field, schema.type ?? 'any', detail))
    }
  }
}

/** The item of the old list that is the same thing: by the keys of a map list. */
function correlate(schema: Schema, item: unknown, old: unknown): unknown {
  const keys = schema['x-kubernetes-list-map-keys']
  if (schema['x-kubernetes-list-type'] !== 'map' || !keys || !Array.isArray(old) || typeof item !== 'object' || item === null) return undefined
  const of = (o: unknown): string => JSON.stringify(keys.map((k) => (o as Record<string, unknown> | null)?.[k]))
  const wanted = of(item)
  return old.find((o) => of(o) === wanted)
}
