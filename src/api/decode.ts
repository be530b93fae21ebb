/**
 * From a parsed body to an object of its kind: types checked, unknown fields dropped or refused, quantities normalised, defaults
 * filled in. The one entry for everything that is written to the API. Changes the object it is given.
 */
import { applyDefaults } from './defaults/mod.ts'
import { duplicateFields } from './duplicates.ts'
import type { KubeObject } from './meta.ts'
import type { ResourceDef } from './resource.ts'
import { decodeError, strictError, strictTexts, walk } from './schema.ts'
import { schemaOf } from './schema-table.ts'
import { invalid } from './status.ts'

export type FieldValidation = 'Ignore' | 'Warn' | 'Strict'

export interface DecodeOptions {
  /** @default 'Warn' */
  readonly validation?: FieldValidation
  /** The JSON text of the body, for finding duplicate fields; without it none are reported. */
  readonly text?: string | undefined
  /** What strict reading of the body found already, told with the rest. */
  readonly found?: readonly string[]
  /** Another type than the resource's own: the body of a subresource (`Scale`). */
  readonly schema?: string
}

/**
 * Settles an object; returns the texts for `Warning` headers.
 * @throws ApiError 400 for what does not decode and for strict findings; 422 for a custom object without readable metadata
 */
export function decode(def: ResourceDef, object: KubeObject, options: DecodeOptions = {}): string[] {
  const validation = options.validation ?? 'Warn'
  const custom = options.schema === undefined ? def.custom : undefined
  const type = options.schema ?? def.schema
  const schema = custom ? custom.schema : schemaOf(type)
  const result = walk(schema, object, { dialect: custom ? 'custom' : 'built-in' })
  const duplicates = validation === 'Ignore' || options.text === undefined ? [] : duplicateFields(options.text)
  const texts = validation === 'Ignore' ? [] : [...(options.found ?? []), ...strictTexts(result.unknown, duplicates)]
  if (!custom) {
    const error = decodeError(result, def.kind, def.version)
    if (error) throw error
  }
  if (validation === 'Strict' && texts.length > 0) throw strictError(texts, def.kind, def.version)
  // Its content is judged when it is about to be stored, beside what it replaces; what it is must be readable at once.
  const identity = custom ? result.errors.filter((e) => /^(metadata|apiVersion|kind)\b/.test(e.field)) : []
  if (identity.length > 0) throw invalid(def, object.metadata?.name ?? '', identity)
  if (!custom) applyDefaults(type, object)
  return texts
}
