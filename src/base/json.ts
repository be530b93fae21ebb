/** Copies of JSON values. `structuredClone` crosses into C++ and back and costs several times as much on the small objects of the API. */

/** A copy that shares nothing with `value`: what JSON knows (objects, lists, texts, numbers, booleans, null); `undefined` stays. */
export function cloneJson<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(cloneJson) as T
  const out: Record<string, unknown> = {}
  for (const key of Object.keys(value)) {
    const copy = cloneJson((value as Record<string, unknown>)[key])
    // A key of this name would set the prototype.
    if (key === '__proto__') Object.defineProperty(out, key, { value: copy, writable: true, enumerable: true, configurable: true })
    else out[key] = copy
  }
  return out as T
}
