/** JSON Merge Patch (RFC 7386): null deletes, objects merge, all else replaces. Pure. */

import { cloneJson } from '../../base/json.ts'

/** The document after the patch; neither argument is changed, and the result shares no structure with the patch. */
export function applyMergePatch(document: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return cloneJson(patch)
  const out: Record<string, unknown> = isObject(document) ? { ...document } : {}
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete out[key]
    else Object.defineProperty(out, key, { value: applyMergePatch(out[key], value), writable: true, enumerable: true, configurable: true })
  }
  return out
}

/** The smallest merge patch that turns `from` into `to`. Undefined when they are equal. */
export function diffMergePatch(from: unknown, to: unknown): unknown {
  if (!isObject(from) || !isObject(to)) return JSON.stringify(from) === JSON.stringify(to) ? undefined : to
  const patch: Record<string, unknown> = {}
  for (const key of Object.keys(from)) if (to[key] === undefined) patch[key] = null
  for (const [key, value] of Object.entries(to)) {
    if (value === undefined) continue
    const d = Object.hasOwn(from, key) && from[key] !== undefined ? diffMergePatch(from[key], value) : value
    if (d !== undefined) patch[key] = d
  }
  return Object.keys(patch).length === 0 ? undefined : patch
}

/** True for a JSON object: no list, no null. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
