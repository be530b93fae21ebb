/** JSON Patch (RFC 6902). Pure: the document given stays as it is. */
import { AppError } from '../../base/errors.ts'
import { cloneJson } from '../../base/json.ts'

export interface Operation {
  readonly op: 'add' | 'remove' | 'replace' | 'move' | 'copy' | 'test'
  readonly path: string
  readonly from?: string
  readonly value?: unknown
}

/** More operations than this in one patch are refused. */
export const MAX_OPERATIONS = 10_000
/** Most characters that the copies of one patch may add: a few operations could else double a document over and over. */
export const MAX_COPIED = 3 << 20

type Container = Record<string, unknown> | unknown[]

/** @throws AppError `invalid` naming the operation that could not be done; nothing is changed then */
export function applyJsonPatch(document: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch)) throw fail(`json: cannot unmarshal ${kindOf(patch)} into Go value of type jsonpatch.Patch`)
  if (patch.length > MAX_OPERATIONS) throw new AppError('too-large', `Request entity too large: The allowed maximum operations in a JSON patch is ${MAX_OPERATIONS}, got ${patch.length}`)
  const holder: Holder = { root: cloneJson(document), copied: 0 }
  for (const operation of patch) apply(holder, operation as Operation)
  return holder.root
}

interface Holder {
  root: unknown
  /** Characters that copies have added. */
  copied: number
}

function apply(holder: Holder, operation: Operation): void {
  const { op, path } = operation
  if (typeof path !== 'string') throw fail(`operation ${JSON.stringify(op)} has no path`)
  switch (op) {
    case 'add':
      return set(holder, path, need(operation), 'add')
    case 'replace':
      return set(holder, path, need(operation), 'replace')
    case 'remove':
      remove(holder, path)
      return
    case 'test': {
      const seen = get(holder, path, true)
      if (!equal(seen ?? null, operation.value ?? null)) throw fail(`testing value ${path} failed`)
      return
    }
    case 'move': {
      const value = get(holder, from(operation), false)
      if (`${path}/`.startsWith(`${operation.from}/`) && path !== operation.from) throw fail(`move operation cannot move ${operation.from} into itself`)
      remove(holder, from(operation))
      return set(holder, path, value, 'add')
    }
    case 'copy': {
      const value = get(holder, from(operation), false)
      holder.copied += JSON.stringify(value).length
      if (holder.copied > MAX_COPIED) throw fail(`Unable to complete the copy, the accumulated size increase of copy is ${holder.copied}, exceeding the limit ${MAX_COPIED}`)
      return set(holder, path, cloneJson(value), 'add')
    }
    default:
      throw fail(`Unexpected kind: ${String(op)}`)
  }
}

function need(operation: Operation): unknown {
  if (!('value' in operation)) throw fail(`${operation.op} operation at ${operation.path} has no value`)
  // The patch stays the caller's: what is put into the document is a copy, since later operations may change it.
  return cloneJson(operation.value)
}

function from(operation: Operation): string {
  if (typeof operation.from !== 'string') throw fail(`${operation.op} operation at ${operation.path} has no from`)
  return operation.from
}

function parse(path: string): string[] {
  if (path === '') return []
  if (!path.startsWith('/')) throw fail(`path ${JSON.stringify(path)} must start with "/"`)
  return path.slice(1).split('/').map((p) => p.replaceAll('~1', '/').replaceAll('~0', '~'))
}

function parentOf(holder: { root: unknown }, path: string): [Container, string] {
  const keys = parse(path)
  let at: unknown = holder.root
  for (const key of keys.slice(0, -1)) at = step(at, key)
  if (typeof at !== 'object' || at === null) throw missing(path)
  return [at as Container, keys.at(-1) as string]
}

function step(at: unknown, key: string): unknown {
  if (Array.isArray(at)) return at[index(key, at.length - 1)]
  return typeof at === 'object' && at !== null && Object.hasOwn(at, key) ? (at as Record<string, unknown>)[key] : undefined
}

function get(holder: { root: unknown }, path: string, lenient: boolean): unknown {
  let at: unknown = holder.root
  for (const key of parse(path)) {
    at = step(at, key)
    if (at === undefined && !lenient) throw missing(path)
  }
  return at
}

function set(holder: { root: unknown }, path: string, value: unknown, how: 'add' | 'replace'): void {
  if (path === '') {
    holder.root = value
    return
  }
  const [parent, key] = parentOf(holder, path)
  if (Array.isArray(parent)) {
    if (how === 'replace') parent[index(key, parent.length - 1)] = value
    else parent.splice(key === '-' ? parent.length : index(key, parent.length), 0, value)
    return
  }
  if (how === 'replace' && !Object.hasOwn(parent, key)) throw missing(path, 'replace')
  put(parent, key, value)
}

function remove(holder: { root: unknown }, path: string): void {
  if (path === '') throw fail('remove operation does not apply: the document itself cannot be removed')
  const [parent, key] = parentOf(holder, path)
  if (Array.isArray(parent)) parent.splice(index(key, parent.length - 1), 1)
  else if (Object.hasOwn(parent, key)) delete parent[key]
  else throw missing(path, 'remove')
}

/** A field named `__proto__` is data like any other. */
function put(parent: Record<string, unknown>, key: string, value: unknown): void {
  Object.defineProperty(parent, key, { value, writable: true, enumerable: true, configurable: true })
}

function index(key: string, max: number): number {
  // Negative indexes count from the end, as in Kubernetes.
  const n = /^-?(0|[1-9]\d*)$/.test(key) ? Number(key) : Number.NaN
  const at = n < 0 ? max + 1 + n : n
  if (!(at >= 0 && at <= max)) throw fail(`Unable to access invalid index: ${key}`)
  return at
}

/** JSON equality, blind to the order of keys. */
export function equal(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Array.isArray(a) || Array.isArray(b)) {
    return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((x, i) => equal(x, b[i]))
  }
  const keys = Object.keys(a)
  return (
    keys.length === Object.keys(b).length &&
    keys.every((k) => Object.hasOwn(b, k) && equal((a as Record<string, unknown>)[k], (b as Record<string, unknown>)[k]))
  )
}

function kindOf(value: unknown): string {
  return value === null ? 'null' : typeof value
}
const fail = (message: string): AppError => new AppError('invalid', message)
const missing = (path: string, op = 'operation'): AppError => fail(`${op} does not apply: doc is missing path: ${JSON.stringify(path)}: missing value`)
