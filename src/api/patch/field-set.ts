/**
 * Sets of fields as `managedFields` keeps them (FieldsV1): a tree whose keys are `f:name`, `k:{"key":"value"}` or `v:value`. A node
 * is itself in the set when it is empty or has a `.`. Pure. Used by server-side apply and by the tracking of other writes.
 */

export interface Fields {
  readonly [path: string]: Fields
}

type MutableFields = { [path: string]: MutableFields }

const isMember = (node: Fields | undefined): boolean => node !== undefined && ('.' in node || isEmpty(node))

/** The set of paths for which `keep(in a, in b)` holds. */
function combine(a: Fields, b: Fields, keep: (inA: boolean, inB: boolean) => boolean): Fields {
  const out: MutableFields = {}
  for (const key of Object.keys(a)) {
    if (key === '.') continue
    const [inA, inB] = [a[key] as Fields, b[key]]
    if (inB === undefined) {
      // Only one of them goes on here: all of that stays, or none of it.
      if (keep(true, false)) out[key] = inA as MutableFields
      continue
    }
    const children = combine(inA, inB, keep) as MutableFields
    const member = keep(isMember(inA), isMember(inB))
    const hasChildren = !isEmpty(children)
    if (member && hasChildren) children['.'] = {}
    if (member || hasChildren) out[key] = children
  }
  if (keep(false, true)) for (const key of Object.keys(b)) if (key !== '.' && a[key] === undefined) out[key] = b[key] as MutableFields
  return out
}

export const union = (a: Fields, b: Fields): Fields => (isEmpty(a) ? b : isEmpty(b) ? a : combine(a, b, (x, y) => x || y))
export const intersection = (a: Fields, b: Fields): Fields => combine(a, b, (x, y) => x && y)
export const difference = (a: Fields, b: Fields): Fields => (isEmpty(a) || isEmpty(b) ? a : combine(a, b, (x, y) => x && !y))
/** Whether a set has no member: asked without a list of its keys. */
export function isEmpty(a: Fields): boolean {
  for (const _key in a) return false
  return true
}

/** Whether all members of `a` are in `b`. */
export const isSubset = (a: Fields, b: Fields): boolean => isEmpty(difference(a, b))

/** What a FieldsV1 of a client means; undefined when it is none. `.` at its root means nothing. */
export function readFields(value: unknown): Fields | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const out: MutableFields = {}
  for (const [key, node] of Object.entries(value)) {
    if (key === '.') out[key] = {}
    else if (/^[fvk]:/.test(key)) {
      const inner = readFields(node)
      if (inner === undefined || (key.startsWith('k:') && !isKey(key.slice(2)))) return undefined
      out[key] = inner as MutableFields
    } else if (!/^i:\d+$/.test(key)) return undefined
  }
  return out
}

function isKey(text: string): boolean {
  try {
    const keys: unknown = JSON.parse(text)
    return typeof keys === 'object' && keys !== null
  } catch {
    // Not JSON: no key of ours or of Kubernetes.
    return false
  }
}

/** Members of a set as people read them: `.spec.containers[name="web"].image`. */
export function pathsOf(fields: Fields, prefix = ''): string[] {
  return Object.entries(fields).flatMap(([key, node]) => {
    if (key === '.') return []
    const path = prefix + readable(key)
    const own = isMember(node) ? [path] : []
    return [...own, ...pathsOf(node, path)]
  })
}

function readable(key: string): string {
  const body = key.slice(2)
  if (key.startsWith('f:')) return `.${body}`
  if (key.startsWith('v:')) return `[=${body}]`
  const keys = Object.entries(JSON.parse(body) as Record<string, unknown>)
  return `[${keys.map(([k, v]) => `${k}=${JSON.stringify(v)}`).join(',')}]`
}
