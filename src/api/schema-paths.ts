/** Field paths of CRDs (`fieldPath` of a rule, `jsonPath` of a selectable field): `.a.b['c.d']`, along a schema's properties. Pure. */
import type { Schema } from './schema-types.ts'

/** Where a path leads; or why it leads nowhere, as a text. */
export function fieldPathSchema(schema: Schema, path: string): { readonly keys: readonly string[]; readonly schema: Schema } | string {
  const keys: string[] = []
  let at: Schema = schema
  let rest = path.trim()
  if (rest === '') return 'empty field path'
  if (!rest.startsWith('.') && !rest.startsWith('[')) return `expected [ or . but got: ${rest}`
  while (rest !== '') {
    const m = /^(?:\.([A-Za-z_][\w-]*)|\[(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\])/.exec(rest)
    if (!m) {
      if (rest === '.') return 'unexpected end of JSON path'
      return rest.startsWith('[') ? `expected single quoted string but got ${rest.slice(1).split(']')[0] ?? ''}` : `unexpected ${rest.slice(0, 1)} in ${path}`
    }
    rest = rest.slice(m[0].length)
    const key = (m[1] ?? m[2] ?? m[3] ?? '').replace(/\\(.)/g, '$1')
    const map = typeof at.additionalProperties === 'object' ? at.additionalProperties : undefined
    const next = at.properties && Object.hasOwn(at.properties, key) ? at.properties[key] : at.properties === undefined ? map : undefined
    if (!next) return `does not refer to a valid field`
    keys.push(key)
    at = next
  }
  return { keys, schema: at }
}
