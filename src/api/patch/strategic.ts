/**
 * Strategic merge patch: a merge patch whose lists merge by key where the schema says so, with the directives `$patch`,
 * `$retainKeys`, `$setElementOrder/<list>` and `$deleteFromPrimitiveList/<list>`. Pure. For built-in kinds only.
 */
import { AppError } from '../../base/errors.ts'
import { cloneJson } from '../../base/json.ts'
import { resolve } from '../schema-table.ts'
import type { Schema } from '../schema-types.ts'
import { equal } from './json-patch.ts'
import { isObject } from './merge-patch.ts'

type Obj = Record<string, unknown>
const ORDER = '$setElementOrder/'
const DELETE_PRIMITIVES = '$deleteFromPrimitiveList/'

/** @throws AppError `invalid` for a directive that cannot be read or a list element without its merge key */
export function applyStrategicPatch(document: Obj, patch: unknown, schema: Schema): Obj {
  if (!isObject(patch)) throw new AppError('invalid', 'reading a strategic merge patch: the patch must be an object')
  return mergeObject(cloneJson(document), patch, schema)
}

function mergeObject(original: Obj, patch: Obj, ref: Schema | undefined): Obj {
  const schema = ref && resolve(ref)
  switch (patch.$patch) {
    case undefined:
    case 'merge':
      break
    case 'replace':
      return strip(withoutDirectives(patch)) as Obj
    case 'delete':
      return {}
    default:
      throw new AppError('invalid', `unknown patch type: ${String(patch.$patch)} in map: ${goText(patch)}`)
  }
  retainKeys(original, patch)
  for (const [key, value] of Object.entries(patch)) {
    if (isDirective(key)) continue
    if (value === null) {
      delete original[key]
      continue
    }
    const field = fieldOf(schema, key)
    const before = Object.hasOwn(original, key) ? original[key] : undefined
    original[key] = mergeValue(before, value, field, patch[ORDER + key])
  }
  for (const [directive, values] of Object.entries(patch)) {
    if (!directive.startsWith(DELETE_PRIMITIVES)) continue
    const key = directive.slice(DELETE_PRIMITIVES.length)
    const list = original[key]
    const gone = listOf(directive, values)
    if (Array.isArray(list)) original[key] = list.filter((v) => !gone.some((g) => equal(g, v)))
  }
  for (const [directive, order] of Object.entries(patch)) {
    const key = directive.startsWith(ORDER) ? directive.slice(ORDER.length) : ''
    const list = original[key]
    if (key === '' || patch[key] !== undefined || !Array.isArray(list)) continue
    original[key] = reorder(list, list, listOf(directive, order), mergeKeyOf(fieldOf(schema, key)))
  }
  return original
}

function mergeValue(before: unknown, value: unknown, field: Schema | undefined, order: unknown): unknown {
  const strategies = (field?.['x-kubernetes-patch-strategy'] ?? '').split(',')
  if (isObject(value)) {
    return isObject(before) && !strategies.includes('replace') ? mergeObject(before, value, field) : mergeObject({}, value, field)
  }
  if (Array.isArray(value) && strategies.includes('merge')) {
    return mergeList(Array.isArray(before) ? before : [], value, field as Schema, order)
  }
  return strip(value)
}

function mergeList(original: unknown[], patch: unknown[], field: Schema, order: unknown): unknown[] {
  const key = mergeKeyOf(field)
  const items = resolve(field).items
  const desired = order === undefined ? undefined : listOf('$setElementOrder', order)
  if (key === undefined) {
    const merged = [...original]
    for (const v of patch) if (!merged.some((m) => equal(m, v))) merged.push(v)
    return reorder(merged, original, desired ?? patch, undefined)
  }
  if (patch.some((p) => isObject(p) && p.$patch === 'replace')) {
    return patch.flatMap((p) => (isObject(p) && p.$patch === 'replace' ? keepRest(p) : [strip(p)]))
  }
  let merged = [...original]
  const kept: unknown[] = []
  for (const p of patch) {
    if (!isObject(p)) throw new AppError('invalid', `cannot merge a list by key "${key}": found the element ${JSON.stringify(p)}, which is no object`)
    const id = p[key]
    if (id === undefined || id === null) {
      throw new AppError('invalid', `map: ${goText(p)} does not contain declared merge key: ${key}`)
    }
    const at = merged.findIndex((m) => isObject(m) && equal(m[key], id))
    if (p.$patch === 'delete') {
      merged = merged.filter((m) => !(isObject(m) && equal(m[key], id)))
      continue
    }
    kept.push(p)
    if (at < 0) merged.push(mergeObject({}, p, items))
    else merged[at] = mergeObject(merged[at] as Obj, p, items)
  }
  return reorder(merged, original, desired ?? kept, key)
}

/** An element `{$patch: replace}` alone only marks the list; with more fields it is an element too. */
function keepRest(element: Obj): unknown[] {
  const rest = withoutDirectives(element)
  return Object.keys(rest).length === 0 ? [] : [strip(rest)]
}

/**
 * Puts the elements named in `order` in that order; the others keep their places among them. An element that the server did
 * not have comes before those it only had, as in Kubernetes.
 */
function reorder(merged: unknown[], server: readonly unknown[], order: readonly unknown[], key: string | undefined): unknown[] {
  const idOf = (v: unknown): unknown => (key !== undefined && isObject(v) ? v[key] : v)
  const place = (list: readonly unknown[], v: unknown): number => list.findIndex((o) => equal(idOf(o), idOf(v)))
  const named = merged.filter((v) => place(order, v) >= 0).sort((a, b) => place(order, a) - place(order, b))
  const others = merged.filter((v) => place(order, v) < 0)
  const out: unknown[] = []
  let n = 0
  let o = 0
  while (n < named.length && o < others.length) {
    const placeNamed = place(server, named[n])
    const otherFirst = placeNamed >= 0 && place(server, others[o]) < placeNamed
    out.push(otherFirst ? others[o++] : named[n++])
  }
  return [...out, ...named.slice(n), ...others.slice(o)]
}

function retainKeys(original: Obj, patch: Obj): void {
  if (patch.$retainKeys === undefined) return
  const keep = new Set(listOf('$retainKeys', patch.$retainKeys))
  for (const key of Object.keys(patch)) {
    if (!isDirective(key) && patch[key] !== null && !keep.has(key)) {
      throw new AppError('invalid', `unexpected key ${JSON.stringify(key)} in the patch: it is not in its $retainKeys list`)
    }
  }
  for (const key of Object.keys(original)) if (!keep.has(key)) delete original[key]
}

function fieldOf(schema: Schema | undefined, key: string): Schema | undefined {
  const property = schema?.properties?.[key]
  if (property) return property
  return typeof schema?.additionalProperties === 'object' ? schema.additionalProperties : undefined
}

const mergeKeyOf = (field: Schema | undefined): string | undefined => field?.['x-kubernetes-patch-merge-key']
const isDirective = (key: string): boolean =>
  key === '$patch' || key === '$retainKeys' || key.startsWith(ORDER) || key.startsWith(DELETE_PRIMITIVES)

function withoutDirectives(object: Obj): Obj {
  return Object.fromEntries(Object.entries(object).filter(([k]) => !isDirective(k)))
}

/** A value taken over as new: directives and nulls inside it mean nothing any more. */
function strip(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(strip)
  if (!isObject(value)) return value
  return Object.fromEntries(Object.entries(withoutDirectives(value)).flatMap(([k, v]) => (v === null ? [] : [[k, strip(v)]])))
}

function listOf(directive: string, value: unknown): unknown[] {
  if (!Array.isArray(value)) throw new AppError('invalid', `reading ${directive}: it must be a list, found ${JSON.stringify(value)}`)
  return value
}

/** A value as Go prints it, since Kubernetes' texts show maps so: `map[image:app:1 name:web]`. */
function goText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(goText).join(' ')}]`
  if (!isObject(value)) return value === null ? '<nil>' : String(value)
  return `map[${Object.keys(value).sort().map((k) => `${k}:${goText(value[k])}`).join(' ')}]`
}
