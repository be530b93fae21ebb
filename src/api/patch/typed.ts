/**
 * What an applied object must be to be merged by field: of the types of its schema, with no field the schema does not know, and
 * with list items that can be told apart. The texts are those of Kubernetes' typed values. Pure. Used before server-side apply.
 */
import type { Schema } from '../schema-types.ts'
import { childSchema, factsOf, itemKey, shapeOf } from './fields-of.ts'
import { pathsOf } from './field-set.ts'
import { isObject } from './merge-patch.ts'

const MAX_PROBLEMS = 100

/** What is wrong with an applied object, at most 100 texts such as `.spec.foo: field not declared in schema`. */
export function typeProblems(object: unknown, schema: Schema): string[] {
  const out: string[] = []
  visit(object, schema, '', (path, text) => {
    if (out.length < MAX_PROBLEMS) out.push(path === '' ? text : `${path}: ${text}`)
  })
  return out
}

type Report = (path: string, text: string) => void

const show = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value))

function visit(value: unknown, schema: Schema, path: string, report: Report): void {
  if (value === null || value === undefined) return
  // Quantities, times and numbers that may be texts are anything that is no container.
  const loose = schema.format === 'quantity' || schema.format === 'date-time' || schema['x-kubernetes-int-or-string'] === true
  if (loose || schema.type === undefined) {
    if (isObject(value) && schema.properties) visitFields(value, schema, path, report)
    return
  }
  switch (schema.type) {
    case 'string':
      if (typeof value !== 'string') report(path, `expected string, got &value.valueUnstructured{Value:${show(value)}}`)
      return
    case 'boolean':
      if (typeof value !== 'boolean') report(path, `expected boolean, got &value.valueUnstructured{Value:${show(value)}}`)
      return
    case 'integer':
    case 'number':
      if (typeof value !== 'number') report(path, `expected numeric (int or float), got ${typeof value === 'string' ? 'string' : typeof value === 'boolean' ? 'bool' : Array.isArray(value) ? '[]interface {}' : 'map[string]interface {}'}`)
      return
    case 'array':
      if (!Array.isArray(value)) report(path, `expected list, got &{${show(value)}}`)
      else visitItems(value, schema, path, report)
      return
    case 'object':
      if (!isObject(value)) report(path, `expected map, got &{${show(value)}}`)
      else visitFields(value, schema, path, report)
  }
}

function visitFields(value: Record<string, unknown>, schema: Schema, path: string, report: Report): void {
  const open = schema.additionalProperties !== undefined || schema['x-kubernetes-preserve-unknown-fields'] === true || schema['x-kubernetes-embedded-resource'] === true
  for (const [key, v] of Object.entries(value)) {
    const at = `${path}.${key}`
    if (!open && schema.properties !== undefined && !Object.hasOwn(schema.properties, key)) report(at, 'field not declared in schema')
    else visit(v, childSchema(schema, key), at, report)
  }
}

function visitItems(value: readonly unknown[], schema: Schema, path: string, report: Report): void {
  const items = factsOf(schema.items)
  const merged = shapeOf(schema, value) === 'items'
  const seen = new Set<string>()
  for (const [i, item] of value.entries()) {
    if (!merged) {
      visit(item, items, `${path}[${i}]`, report)
      continue
    }
    if (schema['x-kubernetes-list-type'] === 'map') {
      const missing = (schema['x-kubernetes-list-map-keys'] ?? []).filter((k) => !isObject(item) || ((item[k] ?? null) === null && items.properties?.[k]?.default === undefined))
      // Some keys may be left out as long as one tells the items apart.
      if (missing.length > 0 && missing.length === schema['x-kubernetes-list-map-keys']?.length) {
        report(path, `element ${i}: associative list with keys has an element that omits key field ${JSON.stringify(missing[0])} (and doesn't have default value)`)
        continue
      }
    }
    const key = itemKey(schema, item)
    const [name = ''] = pathsOf({ [key]: {} })
    if (seen.has(key)) report(path, `duplicate entries for key ${name}`)
    seen.add(key)
    visit(item, items, path + name, report)
  }
}
