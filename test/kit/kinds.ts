/**
 * Tables of what a kind's rules say: one object that is right, changed at one path or more, and the refusals in full. Used by the tests
 * of `src/api`.
 */
import assert from 'node:assert/strict'
import { decode } from '../../src/api/decode.ts'
import type { KubeObject } from '../../src/api/meta.ts'
import { prepareCreate, prepareUpdate } from '../../src/api/prepare.ts'
import type { ResourceDef } from '../../src/api/resource.ts'
import type { FieldError } from '../../src/api/status.ts'
import { validateCreate, validateUpdate, warnings } from '../../src/api/validate/mod.ts'

/** Values by path, `spec.containers[0].image`; undefined removes. A path of `[+]` appends. */
export type Changes = Readonly<Record<string, unknown>>
/** What is changed, and all that is said to it as `field: message`, in order. One text stands for a list of one. */
export type Case = readonly [changes: Changes, said: string | readonly string[]]

const REASONS: Readonly<Record<string, string>> = {
  'Invalid value': 'FieldValueInvalid',
  'Required value': 'FieldValueRequired',
  'Unsupported value': 'FieldValueNotSupported',
  'Duplicate value': 'FieldValueDuplicate',
  'Not found': 'FieldValueNotFound',
  Forbidden: 'FieldValueForbidden',
  'Too long': 'FieldValueTooLong',
  'Too many': 'FieldValueTooMany',
}

/** An object with changes applied; the object itself stays as it is. */
export function changed<T extends object>(object: T, changes: Changes): T {
  const copy = structuredClone(object)
  for (const [path, value] of Object.entries(changes)) set(copy, steps(path), structuredClone(value))
  return copy
}

/** `a.b[0][x.y]` as its steps; what stands in brackets is one step. */
const steps = (path: string): string[] => [...path.matchAll(/\[([^\]]*)\]|([^.[\]]+)/g)].map((m) => m[1] ?? (m[2] as string))

function set(object: object, path: readonly string[], value: unknown): void {
  const [first = '', ...rest] = path
  const at = object as Record<string, unknown>
  const key = Array.isArray(object) && first === '+' ? String(object.length) : first
  if (rest.length === 0) {
    if (value === undefined) delete at[key]
    else at[key] = value
    return
  }
  at[key] ??= /^(\d+|\+)$/.test(rest[0] as string) ? [] : {}
  set(at[key] as object, rest, value)
}

/** An object as it is when it has been decoded, defaulted and prepared for its creation. */
export function settled(def: ResourceDef, object: object, prepare = true): KubeObject {
  const o = structuredClone(object) as KubeObject
  o.metadata = { name: 'x', ...(def.namespaced && { namespace: 'default' }), ...o.metadata }
  decode(def, o)
  if (prepare) prepareCreate(def, o as never)
  return o
}

function texts(errors: readonly FieldError[]): string[] {
  for (const e of errors) assert.equal(e.reason, REASONS[/^[A-Za-z ]+/.exec(e.message)?.[0] as string], `the reason of ${e.field}: ${e.message}`)
  return errors.map((e) => `${e.field}: ${e.message}`)
}

const listed = (said: string | readonly string[]): readonly string[] => (typeof said === 'string' ? [said] : said)

/** What a creation is refused with. */
export const onCreate = (def: ResourceDef, object: object): string[] => texts(validateCreate(def, settled(def, object)))

/** What an update of a stored object to its changed self is refused with, through the main door or a subresource. */
export function onUpdate(def: ResourceDef, old: object, changes: Changes, subresource?: string): string[] {
  const before = settled(def, old)
  const { status } = old as { status?: object }
  if (status) Object.assign(before, { status: structuredClone(status) })
  const after = settled(def, changed(before, changes), false)
  prepareUpdate(def, after as never, before as never, subresource)
  return texts(validateUpdate(def, after, before, subresource))
}

/** What is warned of. */
export const warned = (def: ResourceDef, object: object): string[] => warnings(def, settled(def, object), undefined)

/** Each case of changes to an object that is right, refused as told. All differences are shown at once. */
export function refuses(def: ResourceDef, base: object, cases: readonly Case[]): void {
  assert.deepEqual(onCreate(def, base), [], 'the object itself is right')
  compare(cases, (changes) => onCreate(def, changed(base, changes)))
}

/** The same for updates of an object to the changed one. */
export function refusesUpdate(def: ResourceDef, base: object, cases: readonly Case[], subresource?: string): void {
  compare(cases, (changes) => onUpdate(def, base, changes, subresource))
}

/** The same for Warnings. */
export function warns(def: ResourceDef, base: object, cases: readonly Case[]): void {
  compare(cases, (changes) => warned(def, changed(base, changes)))
}

function compare(cases: readonly Case[], act: (changes: Changes) => string[]): void {
  const all = cases.map(([changes, wanted]) => ({ changes: JSON.stringify(changes).slice(0, 200), said: act(changes), wanted: [...listed(wanted)] }))
  const other = all.filter(({ said, wanted }) => JSON.stringify(said) !== JSON.stringify(wanted))
  assert.deepEqual(other.map(({ changes, said }) => ({ changes, said })), other.map(({ changes, wanted }) => ({ changes, said: wanted })))
}
