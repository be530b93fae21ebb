/**
 * Stored texts of custom objects. They end with the version they are in, since a definition may change its storage version
 * while objects are stored; and a text older than its definition is shown as today's schema has it: pruned, with defaults.
 */
import { apiVersionOf, type ResourceDef } from '../api/kinds.ts'
import { walk } from '../api/schema.ts'
import type { Stored } from './encode.ts'
import { toStored, type Obj } from './stored-text.ts'

const MARK = ',"apiVersion":"'

/** The text with the version it is in, as its last field. */
export function markVersion(text: string, apiVersion: string): string {
  return `${text.slice(0, -1)}${MARK}${apiVersion}"}`
}

/**
 * Takes the version off again. No field of the object can look like it: its own `apiVersion` is never part of the text, and in
 * a text value the quotes would be escaped.
 */
export function splitVersion(text: string): { readonly text: string; readonly apiVersion: string | undefined } {
  const at = text.lastIndexOf(MARK)
  if (at < 0 || text.indexOf('"', at + MARK.length) !== text.length - 2) return { text, apiVersion: undefined }
  return { text: `${text.slice(0, at)}}`, apiVersion: text.slice(at + MARK.length, -2) }
}

/** Texts that were brought up to date, by the entry they came from; gone with it. */
const known = new WeakMap<Stored, { readonly def: ResourceDef; readonly stored: Stored }>()

/** The object as this version of its resource shows it, without the mark. */
export function settledText(def: ResourceDef, stored: Stored): Stored {
  const { custom } = def
  if (!custom || custom.keepsMark) return stored
  const { text } = splitVersion(stored.text)
  if (custom.since !== undefined && custom.uniform && stored.revision > custom.since) return { text, revision: stored.revision }
  const before = known.get(stored)
  if (before?.def === def) return before.stored
  const object = JSON.parse(text) as Obj
  walk(custom.schema, object, { dialect: 'custom', required: false })
  const settled = { text: toStored(object), revision: stored.revision }
  known.set(stored, { def, stored: settled })
  return settled
}

/** The text to store for an object that is in the storage version, or differs from it by name alone. */
export function customText(def: ResourceDef, object: Obj, version = def.custom?.storageVersion ?? def.version): string {
  return markVersion(toStored(object), apiVersionOf({ group: def.group, version }))
}
