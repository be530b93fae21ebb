/**
 * Sets of fields as `managedFields` keeps them (FieldsV1): a tree whose keys are `f:name`, `k:{"key":"value"}` or `v:value`. A node
 * is itself in the set when it is empty or has a `.`. Pure. Used by server-side apply and by the tracking of other writes.
 */
import { resolve } from '../schema-table.ts'
import type { Schema } from '../schema-types.ts'
import { equal } from './json-patch.ts'
import { isObject } from './merge-patch.ts'

export interface Fields {
  readonly [path: string]: Fields
}

type MutableFields = { [path: string]: MutableFields }

/** How a value merges: as fields, as list items by identity, or only as a whole. */
export type Shape = 'fields' | 'items' | 'whole'

/** How `value` merges under `schema`; what has no schema merges by field, lists as a whole. */
export function shapeOf(schema: Schema, value: unknown): Shape {
  if (Array.isArray(value)) {
    const type = schema['x-kubernetes-list-type']
    return type === 'map' || type === 'set' ? 'items' : 'whole'
  }
  return isObject(value) && schema['x-kubernetes-map-type'] !== 'atomic' ? 'fields' : 'whole'
}

/** The facts of a field: those beside its reference win over those of the type. */
export function factsOf(schema: Schema | undefined): Schema {
  if (schema === undefined) return {}
  return schema.$ref === undefined ? schema : { ...resolve(schema), ...schema }
}

/** The schema of a field or map entry; empty when nothing is known of it. */
export function childSchema(schema: Schema, key: string): Schema {
  const property = schema.properties !== undefined && Object.hasOwn(schema.properties, key) ? schema.properties[key] : undefined
  return factsOf(property ?? (typeof schema.additionalProperties === 'object' ? schema.additionalProperties : undefined))
}

/** A field that the schema would drop; nobody owns such a thing. */
function isUnknown(schema: Schema, key: string): boolean {
  if (schema.properties === undefined || schema.additionalProperties !== undefined) return false
  return !Object.hasOwn(schema.properties, key) && schema['x-kubernetes-preserve-unknown-fields'] !== true
}

/** Identity of a list item among its siblings, e.g. `k:{"name":"web"}` or `v:"a"`. */
export function itemKey(schema: Schema, item: unknown): string {
  if (schema['x-kubernetes-list-type'] === 'set') return `v:${JSON.stringify(item)}`
  const items = factsOf(schema.items)
  const keys: Record<string, unknown> = {}
  for (const k of [...(schema['x-kubernetes-list-map-keys'] ?? [])].sort()) {
    const value = isObject(item) ? (item[k] ?? items.properties?.[k]?.default) : undefined
    if (value !== undefined) keys[k] = value
  }
  return `k:${JSON.stringify(keys)}`
}

/** All fields of a value. */
export function fieldsOf(value: unknown, schema: Schema): Fields {
  const out: MutableFields = {}
  switch (shapeOf(schema, value)) {
    case 'fields':
      for (const [k, v] of Object.entries(value as object)) {
        if (v === undefined || v === null || isUnknown(schema, k)) continue
        out[`f:${k}`] = fieldsOf(v, childSchema(schema, k)) as MutableFields
      }
      // A map is a thing of its own beside its entries; a struct is only its fields.
      if (schema.additionalProperties !== undefined && Object.keys(out).length > 0) out['.'] = {}
      break
    case 'items':
      for (const item of value as unknown[]) {
        const children = schema['x-kubernetes-list-type'] === 'map' ? { '.': {}, ...fieldsOf(item, factsOf(schema.items)) } : {}
        out[itemKey(schema, item)] = children
      }
      break
    case 'whole':
      break
  }
  return out
}

/** What differs: `changed` was added or has another value in `b`, `removed` is only in `a`. */
export function compare(a: unknown, b: unknown, schema: Schema): { changed: Fields; removed: Fields } {
  const changed: MutableFields = {}
  const removed: MutableFields = {}
  const parts = (value: unknown): Map<string, readonly [value: unknown, schema: Schema]> => {
    if (shapeOf(schema, value) === 'fields') {
      const entries = Object.entries(value as object).filter(([, v]) => v !== undefined && v !== null)
      return new Map(entries.map(([k, v]) => [`f:${k}`, [v, childSchema(schema, k)] as const]))
    }
    const items = factsOf(schema.items)
    return new Map((value as unknown[]).map((v) => [itemKey(schema, v), [v, items] as const]))
  }
  const [before, after] = [parts(a), parts(b)]
  for (const [key, [v, s]] of after) {
    const old = before.get(key)
    if (old === undefined) {
      const all = fieldsOf(v, s) as MutableFields
      changed[key] = key.startsWith('k:') ? { '.': {}, ...all } : all
    } else if (!equal(old[0], v)) {
      const deep = shapeOf(s, v) !== 'whole' && shapeOf(s, old[0]) === shapeOf(s, v)
      if (!deep) {
        changed[key] = fieldsOf(v, s) as MutableFields
        continue
      }
      const inner = compare(old[0], v, s)
      if (Object.keys(inner.changed).length > 0) changed[key] = inner.changed as MutableFields
      if (Object.keys(inner.removed).length > 0) removed[key] = inner.removed as MutableFields
    }
  }
  for (const [key, [v, s]] of before) {
    if (!after.has(key)) removed[key] = key.startsWith('k:') ? { '.': {}, ...(fieldsOf(v, s) as MutableFields) } : (fieldsOf(v, s) as MutableFields)
  }
  return { changed, removed }
}

const isMember = (node: Fields | undefined): boolean => node !== undefined && ('.' in node || Object.keys(node).length === 0)

/** The set of paths for which `keep(in a, in b)` holds. */
function combine(a: Fields, b: Fields, keep: (inA: boolean, inB: boolean) => boolean): Fields {
  const out: MutableFields = {}
  for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
    if (key === '.') continue
    const children = combine(a[key] ?? {}, b[key] ?? {}, keep) as MutableFields
    const member = keep(isMember(a[key]), isMember(b[key]))
    const hasChildren = Object.keys(children).length > 0
    if (member && hasChildren) children['.'] = {}
    if (member || hasChildren) out[key] = children
  }
  return out
}

export const union = (a: Fields, b: Fields): Fields => (isEmpty(a) ? b : isEmpty(b) ? a : combine(a, b, (x, y) => x || y))
export const intersection = (a: Fields, b: Fields): Fields => combine(a, b, (x, y) => x && y)
export const difference = (a: Fields, b: Fields): Fields => (isEmpty(a) || isEmpty(b) ? a : combine(a, b, (x, y) => x && !y))
export const isEmpty = (a: Fields): boolean => Object.keys(a).length === 0

/** Members of a set as people read them: `.spec.containers[name="web"].image`. */
export function pathsOf(fields: Fields, prefix = ''): string[] {
  return Object.entries(fields).flatMap(([key, node]) => {
    if (key === '.') return []
    const path = prefix + readable(key)
    const own = isMember(node) ? [path] : []
    return [...own, ...pathsOf(node, path)]
  })
}

function readable(key: string): string {
  const body = key.slice(2)
  if (key.startsWith('f:')) return `.${body}`
  if (key.startsWith('v:')) return `[=${body}]`
  const keys = Object.entries(JSON.parse(body) as Record<string, unknown>)
  return `[${keys.map(([k, v]) => `${k}=${JSON.stringify(v)}`).join(',')}]`
}
