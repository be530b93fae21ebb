/**
 * The OpenAPI version 2 document in gnostic's protobuf, which client-go's discovery asks for: GitOps tools read the types of a cluster so.
 * Types and paths are carried whole. Loaded when the first such request comes. Field numbers are facts of gnostic's `OpenAPIv2.proto`.
 */
type Json = Readonly<Record<string, unknown>>
type Field = readonly [number: number, value: Uint8Array | string | boolean | undefined]

const SCHEMA = { $ref: 1, format: 2, title: 3, description: 4, pattern: 13, uniqueItems: 16, required: 19, additionalProperties: 21, type: 22, items: 23, properties: 25 } as const
const VENDOR = 31
const METHODS = { get: 2, put: 3, post: 4, delete: 5, patch: 8 } as const

/** The whole document as bytes. */
export function openApiProtobuf(document: Json): Buffer {
  const info = document.info as { title: string; version: string }
  return message([
    [1, String(document.swagger)],
    [2, message([[1, info.title], [2, info.version]])],
    [8, message(Object.entries(document.paths as Record<string, Json>).map(([path, item]) => [2, message([[1, path], [2, pathItem(item)]])]))],
    [9, message(named(document.definitions as Record<string, Json>))],
  ])
}

/** A map as repeated named schemas. */
function named(schemas: Readonly<Record<string, Json>>): Field[] {
  return Object.entries(schemas).map(([name, schema]) => [1, message([[1, name], [2, encode(schema)]])])
}

function encode(schema: Json): Buffer {
  const fields: Field[] = []
  for (const key of ['$ref', 'format', 'title', 'description', 'pattern'] as const) if (schema[key] !== undefined) fields.push([SCHEMA[key], String(schema[key])])
  if (schema.uniqueItems === true) fields.push([SCHEMA.uniqueItems, true])
  for (const name of (schema.required ?? []) as string[]) fields.push([SCHEMA.required, name])
  const more = schema.additionalProperties
  if (typeof more === 'object' && more !== null) fields.push([SCHEMA.additionalProperties, message([[1, encode(more as Json)]])])
  else if (typeof more === 'boolean') fields.push([SCHEMA.additionalProperties, message([[2, more]])])
  if (schema.type !== undefined) fields.push([SCHEMA.type, message([schema.type].flat().map((type) => [1, String(type)]))])
  if (schema.items !== undefined) fields.push([SCHEMA.items, message([[1, encode(schema.items as Json)]])])
  if (schema.properties !== undefined) fields.push([SCHEMA.properties, message(named(schema.properties as Record<string, Json>))])
  return message([...fields, ...vendor(VENDOR, schema)])
}

/** The words that begin with `x-`. Their values are YAML, of which JSON is a part. */
function vendor(number: number, of: Json): Field[] {
  return Object.entries(of).filter(([key]) => key.startsWith('x-')).map(([key, value]) => [number, message([[1, key], [2, message([[2, JSON.stringify(value)]])]])])
}

function pathItem(item: Json): Buffer {
  const operations = Object.entries(METHODS).flatMap(([method, number]): Field[] => (item[method] === undefined ? [] : [[number, operation(item[method] as Json)]]))
  return message([...operations, ...parameters(9, item.parameters)])
}

function operation(op: Json): Buffer {
  const texts = (number: number, list: unknown): Field[] => ((list ?? []) as string[]).map((text) => [number, text])
  const answers = Object.entries(op.responses as Record<string, Json>).map(([code, answer]): Field => {
    const schema = answer.schema === undefined ? undefined : message([[1, encode(answer.schema as Json)]])
    return [1, message([[1, code], [2, message([[1, message([[1, String(answer.description)], [2, schema]])]])]])]
  })
  return message([
    ...texts(1, op.tags), [3, String(op.description)], [5, String(op.operationId)], ...texts(6, op.produces), ...texts(7, op.consumes),
    ...parameters(8, op.parameters), [9, message(answers)], ...texts(10, op.schemes), ...vendor(13, op),
  ])
}

/** Parameters of the body, the path and the query, each in a message of its own with numbers of its own. */
function parameters(number: number, list: unknown): Field[] {
  return ((list ?? []) as Json[]).map((p): Field => {
    const text = (key: string): string | undefined => (p[key] === undefined ? undefined : String(p[key]))
    const required: Field = [p.in === 'body' ? 4 : 1, p.required === true ? true : undefined]
    if (p.in === 'body') {
      return [number, message([[1, message([[1, message([[1, text('description')], [2, text('name')], [3, 'body'], required, [5, encode(p.schema as Json)]])]])]])]
    }
    const query = p.in === 'query'
    const own = message([required, [2, text('in')], [3, text('description')], [4, text('name')], [query ? 6 : 5, text('type')], [query ? 20 : 19, p.uniqueItems === true ? true : undefined]])
    return [number, message([[1, message([[2, message([[query ? 3 : 4, own]])]])]])]
  })
}

function message(fields: readonly Field[]): Buffer {
  const parts: Uint8Array[] = []
  for (const [number, value] of fields) {
    if (value === undefined) continue
    if (typeof value === 'boolean') {
      parts.push(varint(number << 3), varint(value ? 1 : 0))
      continue
    }
    const bytes = typeof value === 'string' ? Buffer.from(value) : value
    parts.push(varint((number << 3) | 2), varint(bytes.length), bytes)
  }
  return Buffer.concat(parts)
}

function varint(value: number): Uint8Array {
  const bytes: number[] = []
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 128) return Uint8Array.from([...bytes, rest])
    bytes.push((rest & 127) | 128)
  }
}
