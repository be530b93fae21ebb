/**
 * Values between text, JSON and a property's type, with its bounds. Pure. KubeEdge writes every value as text; we take text or
 * JSON in, and keep JSON of the property's own type. Used by the model check, drivers, bus and twin.
 */
import { AppError } from '../base/errors.ts'
import type { DeviceValue, PropertyConfig } from './driver.ts'

type Typed = Pick<PropertyConfig, 'name' | 'type' | 'minimum' | 'maximum'>
const SEEN_MAX = 60

/** Shows a value in a message, cut to a readable length. */
export function seen(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value))
  return JSON.stringify(text.length > SEEN_MAX ? `${text.slice(0, SEEN_MAX)}…` : text)
}

/**
 * The value in the property's own type.
 * @throws AppError `invalid`: `fps: "fast" is not an INT`, or out of its bounds
 */
export function toProperty(property: Typed, value: unknown): unknown {
  const wrong = (what: string): AppError => new AppError('invalid', `${property.name}: ${seen(value)} is not ${what}`)
  switch (property.type) {
    case 'INT':
    case 'FLOAT':
    case 'DOUBLE': {
      const n = typeof value === 'string' && value.trim() !== '' ? Number(value) : value
      if (typeof n !== 'number' || !Number.isFinite(n)) throw wrong(property.type === 'INT' ? 'an INT' : `a ${property.type}`)
      if (property.type === 'INT' && !Number.isSafeInteger(n)) throw wrong('an INT')
      const { minimum, maximum } = property
      if (minimum !== undefined && n < Number(minimum)) throw new AppError('invalid', `${property.name}: ${n} is below the minimum ${minimum}`)
      if (maximum !== undefined && n > Number(maximum)) throw new AppError('invalid', `${property.name}: ${n} is above the maximum ${maximum}`)
      return n
    }
    case 'BOOLEAN':
      if (value === true || value === false) return value
      if (value === 'true' || value === 'false') return value === 'true'
      throw wrong('a BOOLEAN, use true or false')
    case 'STRING':
      if (typeof value === 'string') return value
      if (typeof value === 'number' || typeof value === 'boolean') return String(value)
      throw wrong('a STRING')
    case 'BYTES':
    case 'STREAM':
      if (typeof value === 'string') return value
      throw wrong(`${property.type} as text`)
    case 'JSON':
      return value
    default:
      return property.type satisfies never
  }
}

/**
 * What a device sent as bytes, in the property's type. `path` picks a field of JSON, dots between names; undefined when the
 * JSON has no such field, as when one topic carries several properties and tells only what changed.
 * @throws AppError `invalid` naming what was seen
 */
export function fromBytes(property: Typed, bytes: Uint8Array, options: { readonly contentType?: string; readonly path?: string } = {}): DeviceValue | undefined {
  if (property.type === 'BYTES' || property.type === 'STREAM') return { bytes, contentType: options.contentType ?? 'application/octet-stream' }
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new AppError('invalid', `${property.name}: ${bytes.length} bytes that start with 0x${Buffer.from(bytes.subarray(0, 8)).toString('hex')} are not text`)
  }
  if (property.type !== 'JSON' && options.path === undefined) return { json: toProperty(property, text) }
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw new AppError('invalid', `${property.name}: ${seen(text)} is not JSON`)
  }
  if (options.path === undefined) return { json }
  for (const key of options.path.split('.')) json = json !== null && typeof json === 'object' ? (json as Record<string, unknown>)[key] : undefined
  return json === undefined ? undefined : { json: toProperty(property, json) }
}

/** A value as text for a device that takes text. */
export function toText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/** Deep equality of JSON values, whatever the order of keys. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null || Array.isArray(a) !== Array.isArray(b)) return false
  const x = Object.entries(a)
  return x.length === Object.keys(b).length && x.every(([k, v]) => Object.hasOwn(b, k) && sameJson(v, (b as Record<string, unknown>)[k]))
}
