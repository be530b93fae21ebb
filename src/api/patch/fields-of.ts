/**
 * From values to sets of fields: what an object consists of, what differs between two, and an object without some of its fields.
 * A container is itself in the set where it came into being with its content; a struct that Kubernetes' own types always have
 * (`ALWAYS_THERE`) is only its fields. Pure. Used by server-side apply and by the tracking of other writes.
 */
import { resolve } from '../schema-table.ts'
import type { Schema } from '../schema-types.ts'
import { isEmpty, type Fields } from './field-set.ts'
import { equal } from './json-patch.ts'
import { isObject } from './merge-patch.ts'

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

/** Facts by the schema that refers to them: each write asks for the same few over and over. */
const known = new WeakMap<Schema, Schema>()
const NO_SCHEMA: Schema = {}

/** The facts of a field: those beside its reference win over those of the type. */
export function factsOf(schema: Schema | undefined): Schema {
  if (schema === undefined) return NO_SCHEMA
  if (schema.$ref === undefined) return schema
  let facts = known.get(schema)
  if (!facts) known.set(schema, (facts = { ...resolve(schema), ...schema }))
  return facts
}

/** The schema of a field or map entry; empty when nothing is known of it. */
export function childSchema(schema: Schema, key: string): Schema {
  const property = isNamed(schema, key) ? schema.properties?.[key] : undefined
  return factsOf(property ?? (typeof schema.additionalProperties === 'object' ? schema.additionalProperties : undefined))
}

const isNamed = (schema: Schema, key: string): boolean => schema.properties !== undefined && Object.hasOwn(schema.properties, key)

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

/** All fields of a value, as its applier owns them: list items and entries of maps are in the set beside what is in them. */
export function fieldsOf(value: unknown, schema: Schema): Fields {
  const out: MutableFields = {}
  switch (shapeOf(schema, value)) {
    case 'fields':
      for (const [k, v] of Object.entries(value as object)) {
        if (v === undefined) continue
        const child = childSchema(schema, k)
        const node = fieldsOf(v, child) as MutableFields
        // An empty list that merges by item owns nothing, not even itself.
        if (Array.isArray(v) && v.length === 0 && shapeOf(child, v) === 'items') continue
        if (!isNamed(schema, k) && Object.keys(node).length > 0) node['.'] = {}
        out[`f:${k}`] = node
      }
      break
    case 'items':
      for (const item of value as unknown[]) {
        const node = fieldsOf(item, factsOf(schema.items)) as MutableFields
        if (Object.keys(node).length > 0) node['.'] = {}
        out[itemKey(schema, item)] = node
      }
      break
    case 'whole':
      break
  }
  return out
}

export interface Difference {
  /** Added, or of another value, in the second. */
  readonly changed: Fields
  /** Only in the first. */
  readonly removed: Fields
}

/** What differs between two values of one schema. */
export function compare(a: unknown, b: unknown, schema: Schema): Difference {
  const { changed = {}, removed = {} } = differ(withStructs(a, schema, true), b, schema)
  return { changed, removed }
}

/** Items by identity; of a second one of the same key, which cannot be told from the first, nothing is kept. */
function itemsOf(value: unknown, schema: Schema): Map<string, unknown> {
  const out = new Map<string, unknown>()
  for (const v of Array.isArray(value) ? value : []) {
    const key = itemKey(schema, v)
    if (!out.has(key)) out.set(key, v)
  }
  return out
}

/** A field's own value, where there is one. */
const fieldOf = (value: Readonly<Record<string, unknown>>, key: string): unknown => (Object.hasOwn(value, key) ? value[key] : undefined)

function isBare(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return value === null
  for (const _key in value) return false
  return true
}

/** Both are there; null stands for an empty container of whatever the other one is. */
function differ(a: unknown, b: unknown, schema: Schema): { changed?: Fields; removed?: Fields } {
  const shape = shapeOf(schema, b === null ? a : b)
  const alike = a === null || b === null || shapeOf(schema, a) === shape
  if (shape === 'whole' || !alike || (isBare(a) && isBare(b))) {
    if (equal(a, b)) return {}
    // What becomes another kind of thing changes itself, gains what is in the new one and loses what was in the old.
    const { '.': _self, ...gone } = alike ? {} : whole(a, schema)
    return { changed: alike ? {} : whole(b, schema), ...(Object.keys(gone).length > 0 && { removed: gone }) }
  }
  const changed: MutableFields = {}
  const removed: MutableFields = {}
  const both = (key: string, old: unknown, value: unknown, child: Schema): void => {
    const inner = differ(old, value, child)
    if (inner.changed) changed[key] = inner.changed as MutableFields
    if (inner.removed) removed[key] = inner.removed as MutableFields
  }
  if (shape === 'fields') {
    const [before, after] = [isObject(a) ? a : NOTHING, isObject(b) ? b : NOTHING]
    for (const k of Object.keys(after)) {
      const [old, value] = [fieldOf(before, k), after[k]]
      // Most of an object is the same in both: told at once, without its schema.
      if (value === undefined || equal(old, value)) continue
      if (old === undefined) changed[`f:${k}`] = whole(value, childSchema(schema, k)) as MutableFields
      else both(`f:${k}`, old, value, childSchema(schema, k))
    }
    for (const k of Object.keys(before)) {
      const old = before[k]
      if (old !== undefined && fieldOf(after, k) === undefined) removed[`f:${k}`] = whole(old, childSchema(schema, k)) as MutableFields
    }
  } else {
    const [before, after] = [itemsOf(a, schema), itemsOf(b, schema)]
    const items = factsOf(schema.items)
    for (const [key, value] of after) {
      const old = before.get(key)
      if (old === undefined) changed[key] = whole(value, items) as MutableFields
      else if (!equal(old, value)) both(key, old, value, items)
    }
    for (const [key, old] of before) if (!after.has(key)) removed[key] = whole(old, items) as MutableFields
  }
  return { ...(!isEmpty(changed) && { changed }), ...(!isEmpty(removed) && { removed }) }
}
const NOTHING: Readonly<Record<string, unknown>> = {}

/** A value that is only on one side: each container in it, and all they contain. */
function whole(value: unknown, schema: Schema): Fields {
  const shape = shapeOf(schema, value)
  if (shape === 'whole' || isBare(value)) return {}
  const out: MutableFields = { '.': {} }
  if (shape === 'fields' && isObject(value)) {
    for (const k of Object.keys(value)) if (value[k] !== undefined) out[`f:${k}`] = whole(value[k], childSchema(schema, k)) as MutableFields
  } else for (const [key, v] of itemsOf(value, schema)) out[key] = whole(v, factsOf(schema.items)) as MutableFields
  return out
}

/** Fields by type that a Kubernetes object has even when nothing is said of them: structs, and lists that may be null. */
const ALWAYS_THERE: Readonly<Record<string, string>> = {
  DeploymentSpec: 'template strategy', StatefulSetSpec: 'template updateStrategy', DaemonSetSpec: 'template updateStrategy', ReplicaSetSpec: 'template',
  JobSpec: 'template', CronJobSpec: 'jobTemplate', JobTemplateSpec: 'metadata spec', PodTemplateSpec: 'metadata spec', PodSpec: 'containers',
  ServiceStatus: 'loadBalancer', IngressStatus: 'loadBalancer', PersistentVolumeClaimSpec: 'resources', NodeStatus: 'daemonEndpoints nodeInfo',
  NodeDaemonEndpoints: 'kubeletEndpoint', HorizontalPodAutoscalerSpec: 'scaleTargetRef', V2HorizontalPodAutoscalerSpec: 'scaleTargetRef',
}
const ROOT = 'metadata spec status template'

/** The value with what its type always has; nothing is changed in place. */
function withStructs(value: unknown, schema: Schema, root = false): unknown {
  if (!isObject(value)) return value
  if (!root && !Object.hasOwn(ALWAYS_THERE, schema.$ref ?? '')) return value
  // A custom object is what was sent and no more.
  const names = root ? ('x-name' in schema ? ROOT : '') : (ALWAYS_THERE[schema.$ref ?? ''] ?? '')
  let out = value
  for (const name of names === '' ? [] : names.split(' ')) {
    if (!isNamed(schema, name)) continue
    const child = childSchema(schema, name)
    const field = out[name] ?? (child.type === 'array' ? null : {})
    const full = withStructs(field, child)
    if (full !== out[name]) out = { ...out, [name]: full }
  }
  return out
}

/** The set with every named field of a struct that has members below it: what goes with the last of these. */
export function withParents(fields: Fields, schema: Schema): Fields {
  const out: MutableFields = {}
  for (const [key, node] of Object.entries(fields)) {
    if (key === '.') {
      out[key] = {}
      continue
    }
    const child = key.startsWith('f:') ? childSchema(schema, key.slice(2)) : factsOf(schema.items)
    const inner = withParents(node, child) as MutableFields
    if (Object.keys(inner).length > 0 && key.startsWith('f:') && isNamed(schema, key.slice(2))) inner['.'] = {}
    out[key] = inner
  }
  return out
}

/** The value without the members of a set. A container that this leaves empty stays empty: it is no member, so someone owns it. */
export function removeFields(value: unknown, fields: Fields, schema: Schema): unknown {
  const isMember = (node: Fields): boolean => '.' in node || Object.keys(node).length === 0
  switch (shapeOf(schema, value)) {
    case 'fields': {
      const out: Record<string, unknown> = {}
      for (const [key, v] of Object.entries(value as object)) {
        const node = fields[`f:${key}`]
        if (node !== undefined && isMember(node)) continue
        const value = node === undefined ? v : removeFields(v, node, childSchema(schema, key))
        Object.defineProperty(out, key, { value, writable: true, enumerable: true, configurable: true })
      }
      return out
    }
    case 'items': {
      const items = factsOf(schema.items)
      return (value as unknown[]).flatMap((item) => {
        const node = fields[itemKey(schema, item)]
        if (node === undefined) return [item]
        return isMember(node) ? [] : [removeFields(item, node, items)]
      })
    }
    case 'whole':
      return value
  }
}
