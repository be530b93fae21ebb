/** Turns models into the schema table: references, types, formats, required fields, and our own facts about merging. */
import { DEFAULT_FACTS, MERGE_FACTS, NEWER_FACTS, OPEN_FACTS, QUANTITY_FACTS, factLines } from '../../src/api/schema-facts.ts'
import { ourName } from './models.ts'
import type { Model } from './models.ts'
import { publishedNames } from './packages.ts'

type Mutable = Record<string, unknown>

export interface Built {
  /** By our name; each has `x-name`, its published name. */
  readonly schemas: Record<string, Mutable>
  /** By our name: text of the type at index 0, then text by field name, then the values of fields that have only a few. */
  readonly descriptions: Record<string, [string, Record<string, string>, Record<string, readonly string[]>?]>
  /** The models behind the table, without what is newer than the API we serve. */
  readonly kept: readonly Model[]
}

/** Well-known types that are no models: what their JSON looks like. */
const BUILT_IN: Record<string, Mutable> = {
  Quantity: { 'x-name': 'io.k8s.apimachinery.pkg.api.resource.Quantity', type: 'string', format: 'quantity' },
  IntOrString: { 'x-name': 'io.k8s.apimachinery.pkg.util.intstr.IntOrString', 'x-kubernetes-int-or-string': true },
  Time: { 'x-name': 'io.k8s.apimachinery.pkg.apis.meta.v1.Time', type: 'string', format: 'date-time' },
  ...openTypes('io.k8s.apimachinery.pkg.apis.meta.v1', { FieldsV1: true }),
  ...openTypes('io.k8s.apimachinery.pkg.runtime', { RawExtension: true }),
  ...openTypes('io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1', {
    CustomResourceSubresourceStatus: true, JSON: false, JSONSchemaPropsOrArray: false, JSONSchemaPropsOrBool: false, JSONSchemaPropsOrStringArray: false,
  }),
  Patch: { 'x-name': 'io.k8s.apimachinery.pkg.apis.meta.v1.Patch', type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
  MicroTime: { 'x-name': 'io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime', type: 'string', format: 'date-time' },
}

/** Types whose content is anything: any object where true, else any JSON. */
function openTypes(group: string, types: Readonly<Record<string, boolean>>): Record<string, Mutable> {
  const entry = ([name, object]: [string, boolean]): [string, Mutable] => [
    name,
    { 'x-name': `${group}.${name}`, ...(object && { type: 'object' }), 'x-kubernetes-preserve-unknown-fields': true },
  ]
  return Object.fromEntries(Object.entries(types).map(entry))
}

/** @throws Error when a fact names a type or field that the models do not have, so that the table cannot rot */
export function buildSchemas(models: readonly Model[]): Built {
  const newer = new Map(factLines(NEWER_FACTS).map(([type, ...fields]) => [type as string, new Set(fields)]))
  const quantities = fieldSet(QUANTITY_FACTS)
  const open = new Map<string, string>(factLines(OPEN_FACTS).flatMap(([type, ...facts]) => facts.map((f) => [`${type}.${splitOnce(f, '=')[0]}`, splitOnce(f, '=')[1]] as const)))
  const trimmed = models
    .filter((m) => newer.get(m.name)?.size !== 0)
    .map((m) => ({ ...m, fields: m.fields.filter((f) => !newer.get(m.name)?.has(f.name)) }))
  const names = publishedNames(usesOf(trimmed))
  const kept = trimmed.filter((m) => names.has(m.name))
  const schemas: Record<string, Mutable> = { ...BUILT_IN }
  const descriptions: Built['descriptions'] = {}
  for (const m of kept) {
    const properties: Record<string, Mutable> = {}
    for (const f of m.fields) {
      const key = `${m.name}.${f.name}`
      properties[f.name] = fieldSchema(f.type, f.format, quantities.delete(key) ? 'Quantity' : open.get(key))
      open.delete(key)
    }
    const required = m.fields.filter((f) => f.required).map((f) => f.name)
    schemas[m.name] = {
      'x-name': names.get(m.name),
      type: 'object',
      ...(m.fields.length > 0 && { properties }),
      ...(required.length > 0 && { required }),
    }
    const texts = m.fields.flatMap((f) => (f.description === undefined ? [] : [[f.name, f.description] as const]))
    descriptions[m.name] = [m.description ?? '', Object.fromEntries(texts)]
  }
  const unused = [...quantities, ...open.keys()]
  if (unused.length > 0) throw new Error(`generating schemas: facts name fields that no model has: ${unused.join(' ')}`)
  applyMergeFacts(schemas)
  return { schemas, descriptions, kept }
}

/** What each type refers to. A key `=Name` marks a type whose published name is shared by another package's. */
function usesOf(models: readonly Model[]): Map<string, readonly string[]> {
  const uses = new Map<string, readonly string[]>()
  for (const m of models) {
    uses.set(m.name, m.fields.flatMap((f) => refIn(f.type) ?? []))
    if (/^(?!Core)[A-Z][a-z]+V\d/.test(m.source)) uses.set(`=${m.name}`, [])
  }
  return uses
}

function refIn(type: string): string | undefined {
  const m = /\b([A-Z][A-Za-z]*V\d\w+|V\d\w+)\b/.exec(type)
  return m ? ourName(m[1] as string) : undefined
}

/** `leaf` is the well-known type at the bottom of the field, where a fact names one. */
function fieldSchema(type: string, format: string, leaf: string | undefined): Mutable {
  const array = /^Array<(.*)>$/.exec(type)
  if (array) return { type: 'array', items: fieldSchema(array[1] as string, format, leaf) }
  const map = /^\{ \[key: string\]: (.*); \}$/.exec(type)
  if (map) return { type: 'object', additionalProperties: fieldSchema(map[1] as string, format, leaf) }
  if (leaf !== undefined) return { $ref: leaf }
  switch (type) {
    case 'any':
      return { 'x-kubernetes-preserve-unknown-fields': true }
    case 'IntOrString':
      return { $ref: 'IntOrString' }
    case 'Date':
      return { $ref: 'Time' }
    case 'V1MicroTime':
      return { $ref: 'MicroTime' }
    case 'string':
      if (format === 'date-time') return { $ref: 'Time' }
      if (format === 'date-time-micro') return { $ref: 'MicroTime' }
      return format === '' ? { type: 'string' } : { type: 'string', format }
    case 'boolean':
      return { type: 'boolean' }
    case 'number':
      return { type: format === 'double' ? 'number' : 'integer', format: format === '' ? 'int32' : format }
  }
  const ref = refIn(type)
  if (ref === undefined) throw new Error(`generating schemas: cannot read the model type "${type}"`)
  return { $ref: ref }
}

function applyMergeFacts(schemas: Record<string, Mutable>): void {
  for (const [type, ...facts] of factLines(MERGE_FACTS)) {
    for (const fact of facts) {
      const [field, words] = splitOnce(fact, '=')
      Object.assign(target(schemas, type as string, field), ...words.split('+').map((w) => mergeFact(w, field === '.')))
    }
  }
  for (const [type, field, value] of factLines(DEFAULT_FACTS)) Object.assign(target(schemas, type as string, field as string), { default: value })
}

function target(schemas: Record<string, Mutable>, type: string, field: string): Mutable {
  const schema = schemas[type]
  const found = field === '.' ? schema : (schema?.properties as Record<string, Mutable> | undefined)?.[field]
  if (!found) throw new Error(`generating schemas: a fact names ${type}.${field}, which no model has`)
  return found
}

function mergeFact(word: string, ofType: boolean): Mutable {
  const m = /^(\w+)(?:\(([^:)]*):?([^)]*)\))?(?::(\w+))?$/.exec(word)
  switch (m?.[1]) {
    case 'map':
      if (m[4]) return { 'x-kubernetes-map-type': m[4] }
      return { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': (m[2] ?? '').split(',') }
    case 'set':
      return { 'x-kubernetes-list-type': 'set' }
    case 'atomic':
      return { [ofType ? 'x-kubernetes-map-type' : 'x-kubernetes-list-type']: 'atomic' }
    case 'patch':
      return { 'x-kubernetes-patch-strategy': m[2], ...(m[3] && { 'x-kubernetes-patch-merge-key': m[3] }) }
  }
  throw new Error(`generating schemas: cannot read the fact "${word}"`)
}

function fieldSet(table: string): Set<string> {
  return new Set(factLines(table).flatMap(([type, ...fields]) => fields.map((f) => `${type}.${f}`)))
}

function splitOnce(text: string, by: string): [string, string] {
  const at = text.indexOf(by)
  return [text.slice(0, at), text.slice(at + 1)]
}
