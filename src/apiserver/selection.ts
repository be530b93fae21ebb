/** Label and field selectors of a request as one test on cache entries; what they read of an entry is parsed at most once. */
import type { ResourceDef } from '../api/kinds.ts'
import { matchesFields, matchesLabels, parseFieldSelector, parseLabelSelector } from '../api/selectors.ts'
import { badRequest } from '../api/status.ts'
import type { CacheEntry } from './watch-cache.ts'

export interface Selection {
  matches(entry: CacheEntry): boolean
}

/** undefined when everything matches. @throws ApiError 400 for a selector that does not parse or a field that cannot be selected */
export function selection(def: ResourceDef, query: URLSearchParams): Selection | undefined {
  const labelText = query.get('labelSelector')
  const fieldText = query.get('fieldSelector')
  const labels = labelText ? parseLabelSelector(labelText) : []
  const fields = fieldText ? parseFieldSelector(fieldText) : []
  if (labels.length === 0 && fields.length === 0) return undefined
  // Names stand in the key, so a selector on them needs no parse.
  const keyed = fields.filter((f) => f.field === 'metadata.name' || f.field === 'metadata.namespace')
  const others = fields.filter((f) => !keyed.includes(f))
  for (const { field } of others) {
    if (!Object.hasOwn(def.selectable, field)) throw badRequest(unsupported(def, field))
  }
  return {
    matches(entry) {
      if (!keyed.every((f) => ((f.field === 'metadata.name' ? entry.name : entry.namespace) === f.value) === f.equal)) return false
      if (labels.length === 0 && others.length === 0) return true
      const object = entry.parsed()
      return matchesLabels(labels, object.metadata.labels) && matchesFields(others, (field) => def.selectable[field]?.(object) ?? '')
    },
  }
}

/** Kubernetes has one text for kinds with fields of their own to select by, and one for the others. */
function unsupported(def: ResourceDef, field: string): string {
  if (def.custom || Object.keys(def.selectable).length > 0) return `field label not supported: ${field}`
  return `"${field}" is not a known field selector: only "metadata.name", "metadata.namespace"`
}
