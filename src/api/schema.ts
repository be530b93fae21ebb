/**
 * The one walker over schemas, built-in and custom. In a single pass it finds unknown fields (and prunes them), wrong types,
 * broken value rules and missing fields, fills in defaults, normalises quantities and leaves out empty lists and maps of built-in types
 * that Kubernetes' types leave out. It changes the value it is given.
 *
 * Two dialects differ only in words and in what null means: `built-in` speaks like Kubernetes' JSON decoder (400), `custom` like its
 * CRD validation (422). Callers turn the result into an error with {@link decodeError} or `invalid(...)` of `status.ts`.
 */
import { cloneJson } from '../base/json.ts'
import { hasFormat } from './formats.ts'
import { equal } from './patch/json-patch.ts'
import { quantityText, tryParseQuantity } from './quantity.ts'
import { resolve } from './schema-table.ts'
import type { NamedSchema, Schema } from './schema-types.ts'
import { badRequest, fieldDuplicate, fieldInvalid, fieldRequired, fieldTooLong, fieldTooMany, fieldTypeInvalid } from './status.ts'
import type { ApiError, FieldError } from './status.ts'
import { checkRules } from './schema-rules.ts'
import { isOmittedZero } from './schema-zeros.ts'

export interface WalkOptions {
  /** @default 'built-in' */
  readonly dialect?: 'built-in' | 'custom'
  /** Remove unknown fields. @default true */
  readonly prune?: boolean
  /** Fill in `default`s. @default true */
  readonly defaults?: boolean
  /** The value that this one replaces: value rules do not judge what stayed as it was. For the custom dialect. */
  readonly old?: unknown
  /** Report missing required fields. @default true for custom, false for built-in, whose kinds have rules of their own */
  readonly required?: boolean
}

export interface WalkResult {
  /** Paths of fields the schema does not know, at most 1000. */
  readonly unknown: string[]
  /** What is wrong with values, at most 1000. For the built-in dialect the first is what a decoder would have stopped at. */
  readonly errors: FieldError[]
}

const MAX_REPORTED = 1000
const MAX_DEPTH = 200

/** Walks `value` (changing it, see the header) along `schema`. `path` starts the field names in messages. */
export function walk(schema: Schema, value: unknown, options: WalkOptions = {}, path = ''): WalkResult {
  const dialect = options.dialect ?? 'built-in'
  const walker = new Walker(dialect === 'custom', options.prune ?? true, options.defaults ?? true, options.required ?? dialect === 'custom')
  walker.visit(schema, value, path, '', 0, options.old)
  return { unknown: walker.unknown, errors: walker.errors }
}

class Walker {
  readonly unknown: string[] = []
  readonly errors: FieldError[] = []
  readonly #custom: boolean
  readonly #prune: boolean
  readonly #defaults: boolean
  readonly #required: boolean
  /** Inside of something that did not change. */
  #frozen = false

  constructor(custom: boolean, prune: boolean, defaults: boolean, required: boolean) {
    this.#custom = custom
    this.#prune = prune
    this.#defaults = defaults
    this.#required = required
  }

  /** Returns the value to keep in place of the one given. `owner` names the built-in type around it. */
  visit(ref: Schema, value: unknown, path: string, owner: string, depth: number, old?: unknown): unknown {
    if (old === undefined || this.#frozen) return this.#visit(ref, value, path, owner, depth, undefined)
    this.#frozen = equal(old, value)
    const kept = this.#visit(ref, value, path, owner, depth, old)
    this.#frozen = false
    return kept
  }

  #visit(ref: Schema, value: unknown, path: string, owner: string, depth: number, old: unknown): unknown {
    const schema = resolve(ref)
    const type = ref.$ref ?? owner
    if (depth > MAX_DEPTH) {
      this.#error(fieldInvalid(path, '...', `nested deeper than ${MAX_DEPTH} levels`))
      return value
    }
    if (value === null) {
      if (this.#custom && schema.nullable !== true && schema.type !== undefined) this.#typeError(schema, value, path, type)
      return this.#custom ? value : zeroOf(schema)
    }
    if (schema['x-kubernetes-int-or-string']) {
      const fits = typeof value === 'string' || (typeof value === 'number' && Number.isInteger(value))
      if (!fits) this.#typeError(schema, value, path, type)
      else if (this.#custom) this.#rules(schema, value, path)
      return value
    }
    if (schema.format === 'quantity') return this.#quantity(value, path)
    if (!fitsType(schema, value)) {
      this.#typeError(schema, value, path, type)
      return value
    }
    if (Array.isArray(value)) this.#array(schema, value, path, type, depth, old)
    else if (typeof value === 'object') this.#object(schema, value as Record<string, unknown>, path, type, depth, old)
    else if (typeof value === 'string' && schema.format !== undefined) this.#format(schema.format, value, path)
    if (this.#custom) this.#rules(schema, value, path)
    return value
  }

  #object(schema: Schema, value: Record<string, unknown>, path: string, type: string, depth: number, old: unknown): void {
    const { properties, additionalProperties } = schema
    const before = (typeof old === 'object' && old !== null && !Array.isArray(old) ? old : {}) as Readonly<Record<string, unknown>>
    const open = schema['x-kubernetes-preserve-unknown-fields'] === true || additionalProperties === true
    if (this.#defaults && properties) this.#fillDefaults(properties, value)
    for (const key of Object.keys(value)) {
      if (value[key] === undefined) {
        // In-process callers may leave such a field; on the wire it would not exist.
        delete value[key]
        continue
      }
      const at = childPath(path, key, additionalProperties !== undefined && properties?.[key] === undefined)
      const property = properties !== undefined && Object.hasOwn(properties, key) ? properties[key] : undefined
      // A null where none may be is absent, when there is no default for it.
      const own = property ?? (typeof additionalProperties === 'object' ? additionalProperties : undefined)
      if (this.#custom && this.#defaults && own && value[key] === null && resolve(own).nullable !== true) {
        delete value[key]
        continue
      }
      if (property !== undefined) {
        if (value[key] === null && !this.#custom) delete value[key]
        else {
          const kept = this.visit(property, value[key], at, type, depth + 1, before[key])
          if (!this.#custom && (isEmpty(kept) ? isOmitted(schema, key, property) : isOmittedZero(schema, key, kept))) delete value[key]
          else value[key] = kept
        }
      } else if (typeof additionalProperties === 'object') {
        value[key] = this.visit(additionalProperties, value[key], at, type, depth + 1, before[key])
      } else if (schema['x-kubernetes-embedded-resource'] && (key === 'apiVersion' || key === 'kind' || key === 'metadata')) {
        value[key] = this.visit(key === 'metadata' ? { $ref: 'ObjectMeta' } : { type: 'string' }, value[key], at, type, depth + 1)
      } else if (!open && (properties !== undefined || schema.type === 'object')) {
        if (this.unknown.length < MAX_REPORTED) this.unknown.push(at)
        if (this.#prune) delete value[key]
      }
    }
    if (this.#custom && this.#required && schema['x-kubernetes-embedded-resource']) {
      for (const name of ['apiVersion', 'kind']) if (!value[name]) this.#error(fieldRequired(childPath(path, name), 'must not be empty'))
    }
    if (this.#required) {
      for (const name of schema.required ?? []) {
        const missing = value[name] === undefined || (value[name] === null && !this.#custom)
        if (missing && (this.#custom || !isStruct(properties?.[name]))) this.#error(fieldRequired(childPath(path, name)))
      }
    }
  }

  #fillDefaults(properties: Readonly<Record<string, Schema>>, value: Record<string, unknown>): void {
    for (const [key, property] of defaultsOf(properties)) {
      // A null where null is not allowed counts as absent when there is a default.
      if (value[key] === undefined || (value[key] === null && property.nullable !== true)) value[key] = cloneJson(property.default)
    }
  }

  #array(schema: Schema, value: unknown[], path: string, type: string, depth: number, old: unknown): void {
    const { items } = schema
    const listType = schema['x-kubernetes-list-type']
    const keys = schema['x-kubernetes-list-map-keys'] ?? []
    // Only the items of a map list are the same thing as before; of other lists nobody knows.
    const keyOf = (item: unknown): string => JSON.stringify(keys.map((k) => (item as Record<string, unknown> | null)?.[k]))
    const before = Array.isArray(old) && listType === 'map' ? new Map(old.map((o) => [keyOf(o), o as unknown])) : undefined
    if (items) for (let i = 0; i < value.length; i++) value[i] = this.visit(items, value[i], `${path}[${i}]`, type, depth + 1, before?.get(keyOf(value[i])))
    if (!this.#custom) return
    if (listType !== 'set' && listType !== 'map') return
    const seen = new Set<string>()
    for (const [i, item] of value.entries()) {
      const identity = listType === 'set' ? item : Object.fromEntries(keys.map((k) => [k, (item as Record<string, unknown> | null)?.[k]]))
      const text = JSON.stringify(identity)
      if (seen.has(text)) this.#error(fieldDuplicate(`${path}[${i}]`, identity))
      seen.add(text)
    }
  }

  #quantity(value: unknown, path: string): unknown {
    const q = typeof value === 'string' || typeof value === 'number' ? tryParseQuantity(value) : undefined
    if (q !== undefined) return quantityText(q)
    this.#error(fieldInvalid(path, value, "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"))
    return value
  }

  #format(format: string, value: string, path: string): void {
    if (hasFormat(format, value)) return
    if (this.#custom) this.#judged(fieldTypeInvalid(path, value, `${path} in body must be of type ${format}: ${JSON.stringify(value)}`))
    else if (format === 'date-time') {
      this.#error(fieldInvalid(path, value, `parsing time ${JSON.stringify(value)} as "2006-01-02T15:04:05Z07:00": cannot parse it as a time`))
    } else this.#error(fieldInvalid(path, value, `illegal ${format === 'byte' ? 'base64' : format} data`))
  }

  #typeError(schema: Schema, value: unknown, path: string, owner: string): void {
    const seen = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value === 'number' && Number.isInteger(value) ? 'integer' : typeof value
    const jsonType = seen === 'boolean' ? 'bool' : seen === 'integer' ? 'number' : seen
    const wanted = schema['x-kubernetes-int-or-string'] ? 'integer,string' : (schema.type ?? 'object')
    if (this.#custom) {
      this.#judged(fieldTypeInvalid(path || '<nil>', seen, `${path} in body must be of type ${wanted}: ${JSON.stringify(seen)}`))
      return
    }
    const plain = path.replace(/\[[^\]]*\]/g, '')
    const number = seen === 'number' ? ` ${String(value)}` : ''
    this.#error({
      field: path,
      reason: 'FieldValueTypeInvalid',
      message: `json: cannot unmarshal ${jsonType}${number} into Go struct field ${owner}.${plain} of type ${goType(schema, owner)}`,
    })
  }

  #rules(schema: Schema, value: unknown, path: string): void {
    if (schema.enum && !schema.enum.some((e) => equal(e, value))) {
      const known = schema.enum.map((e) => (typeof e === 'string' ? JSON.stringify(e) : JSON.stringify(JSON.stringify(e))))
      this.#judged({ field: path, reason: 'FieldValueNotSupported', message: `Unsupported value: ${JSON.stringify(value)}: supported values: ${known.join(', ')}` })
    }
    if (typeof value === 'string' && schema.maxLength !== undefined && [...value].length > schema.maxLength) this.#judged(fieldTooLong(path, schema.maxLength))
    if (Array.isArray(value) && schema.maxItems !== undefined && value.length > schema.maxItems) this.#judged(fieldTooMany(path, value.length, schema.maxItems))
    const count = typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.keys(value).length : undefined
    if (count !== undefined && schema.maxProperties !== undefined && count > schema.maxProperties) this.#judged(fieldTooMany(path, count, schema.maxProperties))
    for (const detail of checkRules(schema, value, path)) this.#judged(fieldInvalid(path || '<nil>', Array.isArray(value) ? value.length : (count ?? value), detail))
    this.#junctors(schema, value, path)
  }

  /** allOf, anyOf, oneOf and not only judge: they neither prune nor fill in. What the nearest alternative lacked is told too. */
  #junctors(schema: Schema, value: unknown, path: string): void {
    if (!schema.allOf && !schema.anyOf && !schema.oneOf && !schema.not) return
    const faults = (s: Schema): FieldError[] => {
      const probe = new Walker(true, false, false, true)
      probe.visit({ ...s, 'x-kubernetes-preserve-unknown-fields': true }, value, path, '', 0)
      return probe.errors
    }
    const tell = (found: readonly FieldError[], text: string): void => {
      for (const fault of found) this.#judged(fault)
      this.#judged(fieldInvalid('<nil>', '', `${JSON.stringify(path)} must ${text}`))
    }
    const nearest = (all: readonly FieldError[][]): readonly FieldError[] => all.reduce((a, b) => (b.length < a.length ? b : a))
    const all = (schema.allOf ?? []).map(faults)
    if (all.some((f) => f.length > 0)) tell(all.flat(), 'validate all the schemas (allOf)')
    const any = (schema.anyOf ?? []).map(faults)
    if (any.length > 0 && any.every((f) => f.length > 0)) tell(nearest(any), 'validate at least one schema (anyOf)')
    const one = (schema.oneOf ?? []).map(faults)
    const valid = one.filter((f) => f.length === 0).length
    if (one.length > 0 && valid !== 1) tell(valid === 0 ? nearest(one) : [], `validate one and only one schema (oneOf). ${valid === 0 ? 'Found none valid' : `Found ${valid} valid alternatives`}`)
    if (schema.not && faults(schema.not).length === 0) tell([], 'not validate the schema (not)')
  }

  /** A fault of a value, which may stay when the value does. */
  #judged(error: FieldError): void {
    if (!this.#frozen) this.#error(error)
  }

  #error(error: FieldError): void {
    if (this.errors.length < MAX_REPORTED) this.errors.push(error)
  }
}

/** Lists of built-in types that are optional, and shown when they are empty. An empty list of owners means that they are to be forgotten. */
const SHOWN = new Set([
  'ClusterRole.rules', 'CustomResourceDefinitionStatus.conditions', 'CustomResourceDefinitionStatus.storedVersions', 'EndpointSlice.endpoints',
  'EndpointSlice.ports', 'HorizontalPodAutoscalerStatus.currentMetrics', 'ObjectMeta.managedFields', 'Role.rules',
])

/** True for lists and maps that Kubernetes' types do not show when they are empty: all that need not be there. Structures are shown. */
function isOmitted(owner: Schema & Partial<NamedSchema>, key: string, field: Schema): boolean {
  const { type: shape, additionalProperties, properties } = resolve(field)
  if (shape !== 'array' && !(shape === 'object' && typeof additionalProperties === 'object' && properties === undefined)) return false
  return !owner.required?.includes(key) && !SHOWN.has(`${owner['x-name']?.split('.').at(-1)}.${key}`)
}

function isEmpty(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (Array.isArray(value)) return value.length === 0
  for (const _ in value) return false
  return true
}

/** Properties that have a default, by the table of properties: few have any, and each object asks. */
const defaults = new WeakMap<Readonly<Record<string, Schema>>, readonly (readonly [string, Schema])[]>()

function defaultsOf(properties: Readonly<Record<string, Schema>>): readonly (readonly [string, Schema])[] {
  let found = defaults.get(properties)
  if (!found) defaults.set(properties, (found = Object.entries(properties).filter(([, p]) => p.default !== undefined)))
  return found
}

/** What Kubernetes' own types make of a null in a list or map, where nothing can be left out. */
function zeroOf(schema: Schema): unknown {
  if (schema['x-kubernetes-preserve-unknown-fields'] || schema.format === 'date-time') return null
  if (schema.format === 'quantity') return '0'
  switch (schema.type) {
    case 'object':
      return {}
    case 'string':
      return ''
    case 'boolean':
      return false
    case 'integer':
    case 'number':
      return 0
    default:
      return null
  }
}

function fitsType(schema: Schema, value: unknown): boolean {
  switch (schema.type) {
    case undefined:
      return true
    case 'object':
      return typeof value === 'object' && !Array.isArray(value)
    case 'array':
      return Array.isArray(value)
    case 'integer':
      return typeof value === 'number' && Number.isInteger(value) && inRange(schema.format, value)
    case 'number':
      return typeof value === 'number'
    default:
      return typeof value === schema.type
  }
}

function inRange(format: string | undefined, value: number): boolean {
  return format !== 'int32' || (value >= -2147483648 && value <= 2147483647)
}

function goType(schema: Schema, owner: string): string {
  switch (schema.type) {
    case 'integer':
      return schema.format ?? 'int64'
    case 'number':
      return 'float64'
    case 'boolean':
      return 'bool'
    case 'string':
      return schema.format === 'byte' ? '[]uint8' : schema.format === 'date-time' ? 'time.Time' : 'string'
    case 'array':
      return `[]${schema.items?.$ref ? `v1.${schema.items.$ref}` : goType(schema.items ?? {}, owner)}`
    default:
      return schema['x-kubernetes-int-or-string'] ? 'intstr.IntOrString' : schema.additionalProperties ? 'map[string]string' : `v1.${owner}`
  }
}

/** A field that is a struct in Kubernetes' own types has a usable zero value, so that its absence is no fault. */
function isStruct(field: Schema | undefined): boolean {
  return field !== undefined && resolve(field).type === 'object'
}

/** `spec.containers`, `metadata.labels[app.kubernetes.io/name]`. */
function childPath(path: string, key: string, mapKey = false): string {
  if (path === '') return key
  return mapKey ? `${path}[${key}]` : `${path}.${key}`
}

/** The 400 for a body that does not decode; undefined when it does. `kind` and `version` are those of the request's resource. */
export function decodeError(result: WalkResult, kind: string, version: string): ApiError | undefined {
  const first = result.errors[0]
  if (first === undefined) return undefined
  const text = first.message.startsWith('json:') ? first.message : `${first.field}: ${first.message}`
  return badRequest(`${kind} in version "${version}" cannot be handled as a ${kind}: ${text}`)
}

/** The texts of field validation: for `Warning` headers, or joined by {@link strictError}. */
export function strictTexts(unknown: readonly string[], duplicates: readonly string[]): string[] {
  return [...duplicates.map((p) => `duplicate field "${p}"`), ...unknown.map((p) => `unknown field "${p}"`)]
}

/** The 400 of `fieldValidation=Strict`. */
export function strictError(texts: readonly string[], kind: string, version: string): ApiError {
  return badRequest(`${kind} in version "${version}" cannot be handled as a ${kind}: strict decoding error: ${texts.join(', ')}`)
}
