/**
 * The schemas of CRDs: what OpenAPI v3 they may use, the rules that make them structural, what their defaults must fit. Types
 * and costs of CEL rules are judged by the API server (`apiserver/cel`); here only how a rule is written. Texts are Kubernetes' own.
 */
import { cloneJson } from '../../base/json.ts'
import { fieldPathSchema } from '../schema-paths.ts'
import { pattern } from '../schema-rules.ts'
import type { Schema } from '../schema-types.ts'
import { walk } from '../schema.ts'
import { fieldForbidden, fieldInvalid, fieldNotSupported, fieldRequired } from '../status.ts'
import type { FieldError } from '../status.ts'

const TYPES = ['array', 'boolean', 'integer', 'number', 'object', 'string']
const REASONS = ['FieldValueDuplicate', 'FieldValueForbidden', 'FieldValueInvalid', 'FieldValueRequired']
/** Deeper schemas would exhaust the walkers; Kubernetes' own limit is its body size. */
const MAX_DEPTH = 100
/** What a root may say when status has a door of its own, in Kubernetes' names. */
const ROOT_FIELDS = ['Description', 'Type', 'Format', 'Title', 'Maximum', 'ExclusiveMaximum', 'Minimum', 'ExclusiveMinimum', 'MaxLength', 'MinLength', 'Pattern', 'MaxItems', 'MinItems', 'UniqueItems', 'MultipleOf', 'Required', 'Items', 'Properties', 'ExternalDocs', 'Example', 'XPreserveUnknownFields', 'XValidations']
const goName = (key: string): string => {
  const name = key.replace('x-kubernetes-', 'x-').replace(/(^|-)(\w)/g, (_all, _dash, letter: string) => letter.toUpperCase())
  return name
}
const META_FIELDS = ['metadata', 'kind', 'apiVersion']
const UNSUPPORTED = ['id', 'additionalItems', 'patternProperties', 'definitions', 'dependencies', '$ref'] as const
type Raw = Schema & { readonly [K in (typeof UNSUPPORTED)[number]]?: unknown }

/** What is wrong with the schema of one version. `status`: its status subresource is on. */
export function schemaErrors(schema: Schema, path: string, status: boolean): FieldError[] {
  const errors: FieldError[] = []
  if (status) {
    if (schema.type !== undefined && schema.type !== 'object') errors.push(fieldInvalid(`${path}.type`, schema.type, 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'))
    const other = Object.keys(schema).find((k) => !ROOT_FIELDS.includes(goName(k)))
    if (other !== undefined) errors.push(fieldInvalid(path, schema, `only [${ROOT_FIELDS.join(' ')}] fields are allowed at the root of the schema if the status subresource is enabled`))
  }
  if (schema.nullable) errors.push(fieldForbidden(`${path}.nullable`, 'nullable cannot be true at the root'))
  if (depthOf(schema) > MAX_DEPTH) return [...errors, fieldForbidden(path, `schemas may not be nested deeper than ${MAX_DEPTH} levels`)]
  const structural = structuralErrors(schema, path)
  errors.push(...structural)
  if (structural.length === 0) errors.push(...defaultErrors(schema, path))
  errors.push(...openApiErrors(schema, path, { root: true, meta: false, noDefaults: undefined }))
  return errors
}

function depthOf(schema: unknown, depth = 0): number {
  if (typeof schema !== 'object' || schema === null || depth > 4 * MAX_DEPTH) return depth > 4 * MAX_DEPTH ? MAX_DEPTH + 1 : 0
  let deepest = 0
  for (const { schema: s } of children(schema as Schema)) deepest = Math.max(deepest, 1 + depthOf(s, depth + 1))
  return deepest
}

interface Child {
  readonly at: string
  readonly schema: Schema
  readonly kind: 'property' | 'items' | 'values' | 'junctor'
  readonly key?: string
}

/** Every schema directly below, with its path. An `items` that is an array has none: it is refused elsewhere. */
function children(schema: Schema): Child[] {
  const out: Child[] = []
  const one = (at: string, s: unknown, kind: Child['kind'], key?: string): void => {
    if (typeof s === 'object' && s !== null && !Array.isArray(s)) out.push({ at, schema: s as Schema, kind, ...(key === undefined ? {} : { key }) })
  }
  one('additionalProperties', schema.additionalProperties, 'values')
  for (const [key, s] of Object.entries(schema.properties ?? {})) one(`properties[${key}]`, s, 'property', key)
  one('not', schema.not, 'junctor')
  for (const key of ['allOf', 'oneOf', 'anyOf'] as const) for (const [i, s] of (schema[key] ?? []).entries()) one(`${key}[${i}]`, s, 'junctor')
  one('items', schema.items, 'items')
  return out
}

interface Place {
  readonly root: boolean
  /** Inside type or object metadata. */
  readonly meta: boolean
  /** Why defaults may not stand here. */
  readonly noDefaults: string | undefined
}

/** What OpenAPI allows, place by place. */
function openApiErrors(schema: Raw, path: string, place: Place): FieldError[] {
  const errors: FieldError[] = []
  const forbid = (key: string, why: string): void => void errors.push(fieldForbidden(`${path}.${key}`, why))
  if (schema.type && !TYPES.includes(schema.type)) errors.push(fieldNotSupported(`${path}.type`, schema.type, TYPES))
  if (schema.default !== undefined && schema.default !== null && place.noDefaults !== undefined) forbid('default', `must not be set ${place.noDefaults}`)
  for (const key of UNSUPPORTED) if (schema[key] !== undefined && schema[key] !== '') forbid(key, `${key} is not supported`)
  if ((schema.type as string) === 'null') forbid('type', 'type cannot be set to null, use nullable as an alternative')
  if (Array.isArray(schema.items)) forbid('items', 'items must be a schema object and not an array')
  if (place.meta && schema['x-kubernetes-embedded-resource']) forbid('x-kubernetes-embedded-resource', 'must not be used inside of resource meta')
  if (schema.uniqueItems) forbid('uniqueItems', 'uniqueItems cannot be set to true since the runtime complexity becomes quadratic')
  if (schema.additionalProperties !== undefined && schema.additionalProperties !== true && schema.properties && Object.keys(schema.properties).length > 0) forbid('additionalProperties', 'additionalProperties and properties are mutual exclusive')
  const wrong = schema.pattern === undefined ? undefined : pattern(schema.pattern)
  if (typeof wrong === 'string') errors.push(fieldInvalid(`${path}.pattern`, schema.pattern, `must be a valid regular expression, but isn't: ${wrong}`))
  for (const { at, schema: s, kind, key } of children(schema)) {
    let next: Place = { ...place, root: false }
    if (kind === 'values' && place.meta) next = { ...next, noDefaults: 'inside additionalProperties applying to object metadata' }
    if (kind === 'property' && (place.root || schema['x-kubernetes-embedded-resource']) && META_FIELDS.includes(key as string)) next = { ...next, meta: true, ...(place.root ? { noDefaults: `in top-level ${key}` } : {}) }
    errors.push(...openApiErrors(s, `${path}.${at}`, next))
  }
  errors.push(...extensionErrors(schema, path))
  for (const [i, rule] of (schema['x-kubernetes-validations'] ?? []).entries()) errors.push(...ruleErrors(schema, rule, `${path}.x-kubernetes-validations[${i}]`))
  return errors
}

function extensionErrors(schema: Schema, path: string): FieldError[] {
  const errors: FieldError[] = []
  const typed = (type: string, extension: string): void => {
    const why = `must be ${type} if ${extension} is specified`
    if (schema.type !== type) errors.push(schema.type ? fieldInvalid(`${path}.type`, schema.type, why) : fieldRequired(`${path}.type`, why))
  }
  if (schema['x-kubernetes-preserve-unknown-fields'] === false) errors.push(fieldInvalid(`${path}.x-kubernetes-preserve-unknown-fields`, false, 'must be true or undefined'))
  const mapType = schema['x-kubernetes-map-type']
  if (mapType !== undefined) {
    typed('object', 'x-kubernetes-map-type')
    if (!['atomic', 'granular'].includes(mapType)) errors.push(fieldNotSupported(`${path}.x-kubernetes-map-type`, mapType, ['atomic', 'granular']))
  }
  const listType = schema['x-kubernetes-list-type']
  const keys = schema['x-kubernetes-list-map-keys'] ?? []
  const items = Array.isArray(schema.items) ? undefined : schema.items
  if (listType !== undefined) {
    typed('array', 'x-kubernetes-list-type')
    if (schema.type === 'array' && listType === 'set' && items) {
      const wrong = (key: 'x-kubernetes-list-type' | 'x-kubernetes-map-type'): void => void errors.push(fieldInvalid(`${path}.items.${key}`, items['x-kubernetes-list-type'] ?? null, 'must be atomic as item of a list with x-kubernetes-list-type=set'))
      if (items.type === 'array' && (items['x-kubernetes-list-type'] ?? 'atomic') !== 'atomic') wrong('x-kubernetes-list-type')
      if (items.type === 'object' && items['x-kubernetes-map-type'] !== 'atomic') wrong('x-kubernetes-map-type')
    }
    if (!['atomic', 'set', 'map'].includes(listType)) errors.push(fieldNotSupported(`${path}.x-kubernetes-list-type`, listType, ['atomic', 'set', 'map']))
  }
  if (keys.length > 0 && listType !== 'map') {
    const why = 'must be map if x-kubernetes-list-map-keys is non-empty'
    errors.push(listType === undefined ? fieldRequired(`${path}.x-kubernetes-list-type`, why) : fieldInvalid(`${path}.x-kubernetes-list-type`, listType, why))
  }
  if (listType === 'map') errors.push(...mapListErrors(schema, items, keys, path))
  if ((listType === 'set' || listType === 'map') && items?.nullable) errors.push(fieldForbidden(`${path}.items.nullable`, `cannot be nullable when x-kubernetes-list-type is ${listType}`))
  if (listType !== 'map' || !items) return errors
  for (const k of keys) {
    const property = items.properties?.[k]
    if (!property) continue
    const at = `${path}.items.properties[${k}]`
    if (!items.required?.includes(k) && property.default === undefined) errors.push(fieldRequired(`${at}.default`, 'this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property'))
    if (property.nullable) errors.push(fieldForbidden(`${at}.nullable`, 'this property is in x-kubernetes-list-map-keys, so it cannot be nullable'))
  }
  return errors
}

function mapListErrors(schema: Schema, items: Schema | undefined, keys: readonly string[], path: string): FieldError[] {
  const errors: FieldError[] = []
  if (keys.length === 0) errors.push(fieldRequired(`${path}.x-kubernetes-list-map-keys`, 'must not be empty if x-kubernetes-list-type is map'))
  if (schema.items === undefined) errors.push(fieldRequired(`${path}.items`, 'must have a schema if x-kubernetes-list-type is map'))
  if (!items) return schema.items === undefined ? errors : [...errors, fieldInvalid(`${path}.items`, schema.items, 'must only have a single schema if x-kubernetes-list-type is map')]
  if (items.type !== 'object') return [...errors, fieldInvalid(`${path}.items.type`, items.type ?? '', "must be object if parent array's x-kubernetes-list-type is map")]
  for (const [i, k] of keys.entries()) {
    const property = items.properties?.[k]
    if (!property) errors.push(fieldInvalid(`${path}.x-kubernetes-list-map-keys`, keys, 'entries must all be names of item properties'))
    else if (property.type === 'array' || property.type === 'object') errors.push(fieldInvalid(`${path}.items.properties[${k}].type`, items.type, "must be a scalar type if parent array's x-kubernetes-list-type is map"))
    if (keys.indexOf(k) < i) errors.push(fieldInvalid(`${path}.x-kubernetes-list-map-keys`, keys, 'must not contain duplicate entries'))
  }
  return errors
}

function ruleErrors(schema: Schema, rule: NonNullable<Schema['x-kubernetes-validations']>[number], at: string): FieldError[] {
  const errors: FieldError[] = []
  const lines = (text: string): boolean => /[\n\r]/.test(text)
  const text = (rule.rule ?? '').trim()
  const message = (rule.message ?? '').trim()
  if (text === '') errors.push(fieldRequired(`${at}.rule`, 'rule is not specified'))
  else if (rule.message && message === '') errors.push(fieldInvalid(`${at}.message`, rule.message, 'message must be non-empty if specified'))
  else if (lines(message)) errors.push(fieldInvalid(`${at}.message`, rule.message, 'message must not contain line breaks'))
  else if (lines(text) && message === '') errors.push(fieldRequired(`${at}.message`, 'message must be specified if rule contains line breaks'))
  if (rule.messageExpression && rule.messageExpression.trim() === '') errors.push(fieldRequired(`${at}.messageExpression`, 'messageExpression must be non-empty if specified'))
  if (rule.reason !== undefined && !REASONS.includes(rule.reason)) errors.push(fieldNotSupported(`${at}.reason`, rule.reason, REASONS))
  if (!rule.fieldPath) return errors
  if (rule.fieldPath.trim() === '') errors.push(fieldInvalid(`${at}.fieldPath`, rule.fieldPath, 'fieldPath must be non-empty if specified'))
  if (lines(rule.fieldPath)) errors.push(fieldInvalid(`${at}.fieldPath`, rule.fieldPath, 'fieldPath must not contain line breaks'))
  if (typeof fieldPathSchema(schema, rule.fieldPath) === 'string') errors.push(fieldInvalid(`${at}.fieldPath`, rule.fieldPath, 'fieldPath must be a valid path'))
  return errors
}

type Level = 'root' | 'property' | 'items'
const NO_TYPE: Readonly<Record<Level, string>> = { root: 'must not be empty at the root', property: 'must not be empty for specified object fields', items: 'must not be empty for specified array items' }

/** The rules of a structural schema: a type everywhere, and nothing but value rules inside junctors, on what the structure has. */
export function structuralErrors(schema: Schema, path: string, level: Level = 'root'): FieldError[] {
  const errors: FieldError[] = []
  const open = schema['x-kubernetes-preserve-unknown-fields'] === true
  const intOrString = schema['x-kubernetes-int-or-string'] === true
  const embedded = schema['x-kubernetes-embedded-resource'] === true
  if (schema.type === 'array' && schema.items === undefined) errors.push(fieldRequired(`${path}.items`, 'must be specified'))
  if (!schema.type) {
    if (level === 'root' || (!intOrString && !open)) errors.push(fieldRequired(`${path}.type`, NO_TYPE[level]))
  } else if (level === 'root' && schema.type !== 'object') errors.push(fieldInvalid(`${path}.type`, schema.type, 'must be object at the root'))
  else if (intOrString) errors.push(fieldForbidden(`${path}.type`, 'must be empty if x-kubernetes-int-or-string is true'))
  if (embedded && schema.type !== 'object') {
    const why = 'must be object if x-kubernetes-embedded-resource is true'
    errors.push(schema.type ? fieldInvalid(`${path}.type`, schema.type, why) : fieldRequired(`${path}.type`, why))
  }
  if (embedded && !open && !schema.properties) errors.push(fieldRequired(`${path}.properties`, 'must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields'))
  for (const key of ['x-kubernetes-preserve-unknown-fields', 'x-kubernetes-embedded-resource'] as const) {
    if (intOrString && schema[key]) errors.push(fieldInvalid(`${path}.${key}`, true, 'must be false if x-kubernetes-int-or-string is true'))
  }
  if (schema.additionalProperties === false) errors.push(fieldForbidden(`${path}.additionalProperties`, 'additionalProperties cannot be set to false'))
  if (level === 'root' || embedded) errors.push(...metaSchemaErrors(schema, path))
  for (const { at, schema: s, kind, key } of children(schema)) {
    if (kind === 'junctor' || (level === 'root' && key === 'metadata' && kind === 'property' && Object.keys(s).length === 0)) continue
    errors.push(...structuralErrors(s, `${path}.${at}`, kind === 'items' ? 'items' : 'property'))
  }
  errors.push(...valueErrors(schema, path, schema, path, intOrString))
  return errors
}

function metaSchemaErrors(schema: Schema, path: string): FieldError[] {
  const errors: FieldError[] = []
  for (const [key, type] of [['kind', 'string'], ['apiVersion', 'string'], ['metadata', 'object']] as const) {
    const property = schema.properties?.[key]
    if (property && property.type !== type) errors.push(fieldInvalid(`${path}.properties[${key}].type`, property.type ?? '', `must be ${type}`))
  }
  const { metadata } = schema.properties ?? {}
  if (!metadata) return errors
  const { properties = {}, type: _type, description: _d, ...rest } = metadata
  const others = Object.keys(properties).filter((k) => k !== 'name' && k !== 'generateName')
  if (others.length > 0 || Object.keys(rest).length > 0) errors.push(fieldForbidden(`${path}.properties[metadata]`, 'must not specify anything other than name and generateName, but metadata is implicitly specified'))
  return errors
}

const NESTED: readonly (readonly [keyof Schema, 'empty' | 'undefined' | 'false'])[] = [
  ['title', 'empty'], ['description', 'empty'], ['default', 'undefined'], ['additionalProperties', 'undefined'], ['nullable', 'false'],
  ['x-kubernetes-preserve-unknown-fields', 'false'], ['x-kubernetes-embedded-resource', 'false'], ['x-kubernetes-int-or-string', 'false'],
  ['x-kubernetes-list-map-keys', 'undefined'], ['x-kubernetes-list-type', 'undefined'], ['x-kubernetes-map-type', 'undefined'],
]

/** The junctors of one place against its structure. `own` and `at`: the structure they must stay within. */
function valueErrors(schema: Schema, path: string, own: Schema, at: string, intOrString: boolean): FieldError[] {
  const errors: FieldError[] = []
  for (const { at: below, schema: s, kind } of children(schema)) {
    if (kind !== 'junctor') continue
    // int-or-string is written as `anyOf: [{type: integer}, {type: string}]`, alone or as the first of an allOf.
    const typesAllowed = intOrString && (below.startsWith('anyOf') || (below === 'allOf[0]' && isIntOrString(s)))
    errors.push(...nestedErrors(s, `${path}.${below}`, own, at, typesAllowed))
  }
  return errors
}

const isIntOrString = (s: Schema): boolean => (s.anyOf ?? []).length === 2 && (s.anyOf ?? []).every((x) => x.type === 'integer' || x.type === 'string')

function nestedErrors(schema: Schema, path: string, own: Schema | undefined, at: string, typesAllowed: boolean): FieldError[] {
  const errors: FieldError[] = []
  if (schema.type && !typesAllowed) errors.push(fieldForbidden(`${path}.type`, 'must be empty to be structural'))
  for (const [key, word] of NESTED) if (schema[key] !== undefined && schema[key] !== false && schema[key] !== '') errors.push(fieldForbidden(`${path}.${key}`, `must be ${word} to be structural`))
  if (schema.properties?.metadata) errors.push(fieldForbidden(`${path}.properties[metadata]`, 'must not be specified in a nested context'))
  for (const [key, s] of Object.entries(schema.properties ?? {})) {
    const property = own?.properties?.[key]
    const missing = own && !property && own.additionalProperties === undefined
    if (missing) errors.push(fieldRequired(`${at}.properties[${key}]`, `because it is defined in ${path}.properties[${key}]`))
    const values = typeof own?.additionalProperties === 'object' ? own.additionalProperties : undefined
    errors.push(...nestedErrors(s, `${path}.properties[${key}]`, property ?? values, property ? `${at}.properties[${key}]` : `${at}.additionalProperties`, false))
  }
  if (schema.items && !Array.isArray(schema.items)) {
    if (own && !own.items) errors.push(fieldRequired(`${at}.items`, `because it is defined in ${path}.items`))
    errors.push(...nestedErrors(schema.items, `${path}.items`, own?.items, `${at}.items`, false))
  }
  for (const { at: below, schema: s, kind } of children(schema)) if (kind === 'junctor') errors.push(...nestedErrors(s, `${path}.${below}`, own, at, typesAllowed))
  return errors
}

/** A default must fit its schema and know no other fields. Embedded metadata is judged when an object is written. */
function defaultErrors(schema: Schema, path: string): FieldError[] {
  const errors: FieldError[] = []
  if (schema.default === null && !schema.nullable) errors.push(fieldInvalid(`${path}.default`, null, 'must not be null unless nullable is true'))
  else if (schema.default !== undefined) {
    const { unknown, errors: found } = walk(schema, cloneJson(schema.default), { dialect: 'custom', prune: false }, `${path}.default`)
    if (unknown.length > 0) errors.push(fieldInvalid(`${path}.default`, schema.default, 'must not have unknown fields'))
    errors.push(...found)
  }
  for (const { at, schema: s, kind } of children(schema)) if (kind !== 'junctor') errors.push(...defaultErrors(s, `${path}.${at}`))
  return errors
}
