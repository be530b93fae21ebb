/**
 * The `x-kubernetes-validations` of one schema: compiled and priced when a definition is written or first used, evaluated along
 * each object. What did not change since the old object is not judged again, save by rules that compare with it (`oldSelf`).
 */
import type { Schema, ValidationRule } from '../../api/schema-types.ts'
import { fieldDuplicate, fieldForbidden, fieldInvalid, fieldRequired, type FieldError } from '../../api/status.ts'
import { CALL_LIMIT, compile, CompileError, OBJECT_BUDGET, type Compiled } from './engine.ts'
import { CostError } from './evaluate.ts'
import { declOf, MAX_REQUEST, rootDecl, type Decl } from './schema-type.ts'
import { optionalOf } from './type.ts'
import { Optional } from './values.ts'

/** Errors of one object beyond these are not looked for: nobody reads more. */
const MAX_ERRORS = 100
/** What one rule, and what all rules of a schema, may be estimated to cost: Kubernetes' limits. */
const RULE_LIMIT = 10_000_000
const SCHEMA_LIMIT = 100_000_000
/** How many of the most expensive rules are named when all together cost too much. */
const NAMED = 4

interface Rule {
  readonly source: ValidationRule
  readonly transition: boolean
  readonly holds: Compiled
  readonly message: Compiled | undefined
  /** Dotted, as it is appended to the path of the schema; `` for the place itself. */
  readonly at: string
}

/** One place of a schema that has rules, or has such places below it. */
interface Place {
  readonly schema: Schema
  readonly decl: Decl | undefined
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

/** Compiles every rule; `errors` names those that do not compile or cost too much, at paths below `path`. */
export function compileRules(schema: Schema, path = ''): { rules: CompiledRules; errors: FieldError[] } {
  const reader = new Reader()
  const root = reader.place(schema, path, { root: true, uncorrelated: undefined, count: 1 })
  reader.total(path)
  return {
    errors: reader.errors,
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

interface Around {
  readonly root: boolean
  /** The list or map around in which an item has no old self. */
  readonly uncorrelated: string | undefined
  /** How many such values an object may have; undefined: as many as a request holds. */
  readonly count: number | undefined
}

class Reader {
  readonly errors: FieldError[] = []
  readonly #costs: { readonly at: string; readonly cost: number }[] = []

  place(schema: Schema, path: string, around: Around): Place | undefined {
    if (!hasRules(schema)) return undefined
    const below = { root: false, uncorrelated: around.uncorrelated, count: around.count }
    const inside = schema['x-kubernetes-map-type'] === 'atomic' ? { ...below, uncorrelated: around.uncorrelated ?? path } : below
    const properties = new Map<string, Place>()
    for (const [key, s] of Object.entries(schema.properties ?? {})) {
      const place = this.place(s, `${path}.properties[${key}]`, inside)
      if (place) properties.set(key, place)
    }
    const many = (most: number | undefined): number | undefined => (around.count === undefined || most === undefined ? undefined : around.count * most)
    const values = typeof schema.additionalProperties === 'object' ? this.place(schema.additionalProperties, `${path}.additionalProperties`, { ...inside, count: many(schema.maxProperties) }) : undefined
    const items = schema.items && this.place(schema.items, `${path}.items`, { ...below, uncorrelated: around.uncorrelated ?? (schema['x-kubernetes-list-type'] === 'map' ? undefined : path), count: many(schema.maxItems) })
    const sources = schema['x-kubernetes-validations'] ?? []
    const decl = sources.length === 0 ? undefined : around.root ? rootDecl(schema) : declOf(schema, 'selfType')
    const rules = decl ? sources.flatMap((source, i) => this.#rule(source, `${path}.x-kubernetes-validations[${i}]`, decl, around)) : []
    return { schema, decl, rules, properties, values, items }
  }

  /** Refuses schemas whose rules cost too much together. */
  total(path: string): void {
    const sum = this.#costs.reduce((a, c) => a + c.cost, 0)
    if (sum <= SCHEMA_LIMIT) return
    for (const { at } of this.#costs.toSorted((a, b) => b.cost - a.cost).slice(0, NAMED)) this.errors.push(fieldForbidden(at, 'contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema'))
    this.errors.push(fieldForbidden(path, tooDear('x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema', sum, SCHEMA_LIMIT)))
  }

  #rule(source: ValidationRule, at: string, decl: Decl, { uncorrelated, count }: Around): Rule[] {
    if (!source.rule?.trim()) return []
    const variables = { self: decl.type, oldSelf: source.optionalOldSelf ? optionalOf(decl.type) : decl.type }
    const times = count ?? Math.floor(MAX_REQUEST / (decl.minSize + 1))
    const build = (text: string, wanted: 'bool' | 'string', field: 'rule' | 'messageExpression', prefix: string, cost: string): Compiled | undefined => {
      try {
        const compiled = compile(text, variables, wanted)
        // A message is made once, however many places its rule has.
        const price = field === 'rule' ? compiled.maxCost * times : compiled.maxCost
        if (price > RULE_LIMIT) this.errors.push(fieldForbidden(`${at}.${field}`, tooDear(cost, price, RULE_LIMIT)))
        this.#costs.push({ at: `${at}.${field}`, cost: price })
        return compiled
      } catch (error) {
        if (!(error instanceof CompileError)) throw error
        const plain = field === 'rule' ? 'cel expression must evaluate to a bool' : 'messageExpression must evaluate to a string'
        this.errors.push(fieldInvalid(`${at}.${field}`, source, error.message === '' ? plain : `${prefix}compilation failed: ${error.message}`))
        return undefined
      }
    }
    const holds = build(source.rule, 'bool', 'rule', '', 'estimated rule cost')
    const message = source.messageExpression ? build(source.messageExpression, 'string', 'messageExpression', 'messageExpression ', 'estimated messageExpression cost') : undefined
    if (!holds) return []
    const transition = holds.names.has('oldSelf')
    if (transition && uncorrelated !== undefined) this.errors.push(fieldInvalid(`${at}.rule`, source.rule, `oldSelf cannot be used on the uncorrelatable portion of the schema within ${uncorrelated}`))
    if (!transition && source.optionalOldSelf !== undefined) this.errors.push(fieldInvalid(`${at}.optionalOldSelf`, source.optionalOldSelf, 'may not be set if oldSelf is not used in rule'))
    return [{ source, transition, holds, message, at: source.fieldPath ?? '' }]
  }
}

function tooDear(what: string, cost: number, limit: number): string {
  const factor = cost / limit
  const text = factor > 100 ? 'more than 100x' : factor < 1.5 ? `${factor.toFixed(6)}x` : `${factor.toFixed(1)}x`
  return `${what} exceeds budget by factor of ${text} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)`
}

class Walk {
  readonly #found: FieldError[]
  #left = OBJECT_BUDGET
  #over = false

  constructor(found: FieldError[]) {
    this.#found = found
  }

  visit(place: Place, value: unknown, old: unknown, path: string): void {
    if (value === null || value === undefined || this.#full) return
    const unchanged = old !== undefined && JSON.stringify(old) === JSON.stringify(value)
    if (place.decl && place.rules.length > 0) this.#judge(place, place.decl, value, old, path, unchanged)
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
    return this.#over || this.#found.length >= MAX_ERRORS
  }

  #judge(place: Place, decl: Decl, value: unknown, old: unknown, path: string, unchanged: boolean): void {
    let variables: { self: unknown; oldSelf: unknown } | undefined
    for (const rule of place.rules) {
      if (this.#full || (unchanged && !rule.transition)) continue
      // A rule that compares has nothing to say of what is new, unless it asked for the absence.
      if (rule.transition && (old === undefined || old === null) && !rule.source.optionalOldSelf) continue
      try {
        variables ??= { self: decl.convert(value), oldSelf: old === undefined || old === null ? undefined : decl.convert(old) }
        const { self, oldSelf } = variables
        const own = rule.source.optionalOldSelf ? { self, oldSelf: oldSelf === undefined ? Optional.none : new Optional(oldSelf) } : variables
        const { value: held, cost } = rule.holds.program.run(own, Math.min(CALL_LIMIT, this.#left))
        this.#left -= cost
        if (held !== true) this.#report(place.schema, rule, path, this.#message(rule, own))
      } catch (error) {
        this.#report(place.schema, { ...rule, at: '', source: { ...rule.source, reason: 'FieldValueInvalid' } }, path, this.#fault(rule, error as Error))
      }
    }
  }

  #fault({ source }: Rule, error: Error): string {
    const shown = (source.message ?? '').trim() || source.rule.trim()
    if (error instanceof CostError) {
      this.#over = true
      if (this.#left < CALL_LIMIT) return 'validation failed due to running out of cost budget, no further validation rules will be run'
      return `'${error.message}': no further validation rules will be run due to call cost exceeds limit for rule: ${shown}`
    }
    if (error.message.startsWith('no such overload')) return `'${error.message}': call arguments did not match a supported operator, function or macro signature for rule: ${shown}`
    return `${error.message} evaluating rule: ${shown}`
  }

  #message(rule: Rule, variables: Readonly<Record<string, unknown>>): string {
    const plain = rule.source.message?.trim() || `failed rule: ${rule.source.rule.trim()}`
    if (!rule.message) return plain
    try {
      const { value, cost } = rule.message.program.run(variables, Math.min(CALL_LIMIT, this.#left))
      this.#left -= cost
      const text = String(value).trim()
      return text === '' || /[\n\r]/.test(text) || text.length > 5_120 ? plain : text
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
        this.#found.push(fieldDuplicate(field, schema.type ?? ''))
        return
      default:
        this.#found.push(fieldInvalid(field, schema.type ?? '', detail))
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
