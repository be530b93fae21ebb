/** The table of built-in types at run time: parsed once at first use; descriptions are loaded only when someone asks to explain. */
import { AppError } from '../base/errors.ts'
import { SCHEMAS_JSON } from './gen/schemas.ts'
import type { NamedSchema, Schema } from './schema-types.ts'

let table: Readonly<Record<string, NamedSchema>> | undefined

/** All built-in types by our name. */
export function schemaTable(): Readonly<Record<string, NamedSchema>> {
  return (table ??= JSON.parse(SCHEMAS_JSON) as Record<string, NamedSchema>)
}

/** The schema of a built-in type. @throws AppError `internal` for a name the table does not have */
export function schemaOf(name: string): NamedSchema {
  const schema = schemaTable()[name]
  if (!schema) throw new AppError('internal', `reading the schema table: no type "${name}"`)
  return schema
}

/** Follows `$ref`, keeping the facts that stand beside it; the referred type's name comes along for messages. */
export function resolve(schema: Schema): Schema {
  return schema.$ref === undefined ? schema : schemaOf(schema.$ref)
}

/** Text of a type at index 0, then of its fields by name, then the values of fields (or of list items) that have only a few. */
export type Descriptions = Readonly<Record<string, readonly [string, Readonly<Record<string, string>>, Readonly<Record<string, readonly string[]>>?]>>

/** Loads the descriptions (half a megabyte of text); callers keep no reference when done. */
export async function loadDescriptions(): Promise<Descriptions> {
  const { DESCRIPTIONS_JSON } = await import('./gen/descriptions.ts')
  return JSON.parse(DESCRIPTIONS_JSON) as Descriptions
}
