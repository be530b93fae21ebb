/**
 * The OpenAPI version 2 document in gnostic's protobuf, which client-go's discovery asks for: GitOps tools read the types of a cluster so.
 * Types are carried whole, paths are not (nothing that is in use reads them from here). Loaded when the first such request comes.
 * Field numbers are facts of gnostic's `OpenAPIv2.proto`.
 */
type Json = Readonly<Record<string, unknown>>
type Field = readonly [number: number, value: Uint8Array | string | boolean | undefined]

const SCHEMA = { $ref: 1, format: 2, title: 3, description: 4, pattern: 13, uniqueItems: 16, required: 19, additionalProperties: 21, type: 22, items: 23, properties: 25 } as const
const VENDOR = 31

/** The whole document as bytes. */
export function openApiProtobuf(document: Json): Buffer {
  const info = document.info as { title: string; version: string }
  return message([
    [1, String(document.swagger)],
    [2, message([[1, info.title], [2, info.version]])],
    [8, message([])],
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
  // Their values are YAML, of which JSON is a part.
  for (const [key, value] of Object.entries(schema)) {
    if (key.startsWith('x-')) fields.push([VENDOR, message([[1, key], [2, message([[2, JSON.stringify(value)]])]])])
  }
  return message(fields)
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
