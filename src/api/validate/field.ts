/**
 * The words of validation: a list of findings that rules add to, one method for each way a field can be wrong. Texts are
 * Kubernetes' own. Paths are dotted, e.g. `spec.containers[0].name`. Used by the rules of every kind.
 */
import { isCidr, isIpv4, isIpv6 } from '../formats.ts'
import { fieldDuplicate, fieldForbidden, fieldInvalid, fieldNotFound, fieldNotSupported, fieldRequired, fieldTooLong, fieldTooMany } from '../status.ts'
import type { FieldError } from '../status.ts'

/** Says what is wrong with a text; empty when nothing is. */
export type TextRule = (text: string) => readonly string[]

export const NOT_NEGATIVE = 'must be greater than or equal to 0'
export const NOT_POSITIVE = 'must be greater than zero'
export const IMMUTABLE = 'field is immutable'
export const PORT_TEXT = 'must be between 1 and 65535, inclusive'
export const IP_TEXT = 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'
export const CIDR_TEXT = 'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'
const MAX_ID = 2147483647

/** What is wrong with an object, in the order found. */
export class Findings {
  readonly list: FieldError[] = []

  add(errors: readonly FieldError[]): void {
    this.list.push(...errors)
  }
  invalid(path: string, value: unknown, detail: string): void {
    this.list.push(fieldInvalid(path, value, detail))
  }
  /** `Invalid value` without the value: for findings about several fields at once. */
  wrong(path: string, detail: string): void {
    this.list.push({ field: path, reason: 'FieldValueInvalid', message: `Invalid value: ${detail}` })
  }
  required(path: string, detail = ''): void {
    this.list.push(fieldRequired(path, detail))
  }
  forbidden(path: string, detail: string): void {
    this.list.push(fieldForbidden(path, detail))
  }
  duplicate(path: string, value: unknown, detail = ''): void {
    const error = fieldDuplicate(path, value)
    this.list.push(detail ? { ...error, message: `${error.message}: ${detail}` } : error)
  }
  notFound(path: string, value: unknown, detail = ''): void {
    const error = fieldNotFound(path, value)
    this.list.push(detail ? { ...error, message: `${error.message}: ${detail}` } : error)
  }
  unsupported(path: string, value: unknown, supported: readonly string[]): void {
    this.list.push(fieldNotSupported(path, value, supported))
  }
  tooLong(path: string, max: number): void {
    this.list.push(fieldTooLong(path, max))
  }
  tooMany(path: string, count: number, max: number): void {
    this.list.push(fieldTooMany(path, count, max))
  }

  /** Each message of the rule, for a text that is given (an empty one is judged too). */
  text(path: string, value: string | undefined, rule: TextRule): void {
    if (value !== undefined) for (const detail of rule(value)) this.invalid(path, value, detail)
  }
  /** A text that may be left out or empty. */
  optional(path: string, value: string | undefined, rule: TextRule): void {
    if (value) this.text(path, value, rule)
  }
  /** A text that must be there. True when it is. */
  named(path: string, value: string | undefined, rule?: TextRule): boolean {
    if (!value) this.required(path)
    else if (rule) this.text(path, value, rule)
    return Boolean(value)
  }
  /** One of a list, and it must be said. The list is in the order in which Kubernetes names it. */
  choice(path: string, value: string | undefined, supported: readonly string[], detail = ''): void {
    if (!value) this.required(path, detail)
    else this.chosen(path, value, supported)
  }
  /** One of a list, when it is said. */
  chosen(path: string, value: string | undefined, supported: readonly string[]): void {
    if (value !== undefined && !supported.includes(value)) this.unsupported(path, value, supported)
  }
  notNegative(path: string, value: number | undefined): void {
    if (value !== undefined && value < 0) this.invalid(path, value, NOT_NEGATIVE)
  }
  /** The same for several fields below a path. */
  notNegatives<T extends object>(path: string, object: T | undefined, keys: readonly (keyof T & string)[]): void {
    for (const key of keys) this.notNegative(`${path}.${key}`, object?.[key] as number | undefined)
  }
  between(path: string, value: number | undefined, low: number, high: number): void {
    if (value !== undefined && (value < low || value > high)) this.invalid(path, value, `must be between ${low} and ${high}, inclusive`)
  }
  /** A user or group id. */
  id(path: string, value: number | undefined): void {
    this.between(path, value, 0, MAX_ID)
  }
  port(path: string, value: number | undefined): void {
    if (!isPort(value)) this.invalid(path, value ?? 0, PORT_TEXT)
  }
  ip(path: string, value: string | undefined): void {
    if (!isIp(value)) this.invalid(path, value ?? '', IP_TEXT)
  }
  cidr(path: string, value: string): void {
    if (!isCidr(value)) this.invalid(path, value, CIDR_TEXT)
  }
}

/** Runs rules on a new list and returns it. */
export function findings(rules: (e: Findings) => void): FieldError[] {
  const e = new Findings()
  rules(e)
  return e.list
}

/** Each item of a list that is not too long; with `key`, no two alike. */
export function each<T>(e: Findings, at: string, list: readonly T[] | undefined, max: number, rule: (item: T, at: string) => void, key?: (item: T) => string): void {
  const items = list ?? []
  if (items.length > max) return e.tooMany(at, items.length, max)
  for (const [i, item] of items.entries()) rule(item, `${at}[${i}]`)
  if (!key) return
  const seen = new Set<string>()
  for (const [i, item] of items.entries()) {
    const k = key(item)
    if (seen.has(k)) e.duplicate(`${at}[${i}]`, k)
    seen.add(k)
  }
}

export const isPort = (n: unknown): boolean => typeof n === 'number' && n >= 1 && n <= 65535
export const isIp = (text: string | undefined): boolean => text !== undefined && (isIpv4(text) || isIpv6(text))

/** Whether addresses are of both families, and at most one of each. */
export function isDualStack(addresses: readonly string[]): boolean {
  const six = addresses.filter((a) => a.includes(':')).length
  return addresses.length === 2 && six === 1
}

/** Bytes of a text in UTF-8. */
export function byteLength(text: string): number {
  let bytes = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 0x80) bytes += 1
    else if (code < 0x800) bytes += 2
    else if (code >= 0xd800 && code < 0xdc00) {
      bytes += 4
      i++
    } else bytes += 3
  }
  return bytes
}

/** Adds `Unsupported value` when a value is given that is not in the list. */
export function supported(value: string | undefined, values: readonly string[], path: string, errors: FieldError[]): void {
  if (value !== undefined && !values.includes(value)) errors.push(fieldNotSupported(path, value, values))
}
