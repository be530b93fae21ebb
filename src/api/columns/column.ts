/** What a printed column is, and the small texts that many kinds print. Cells come from pure functions of object and time. */
import type { Condition, KubeObject } from '../meta.ts'

/** `metav1.TableColumnDefinition`. */
export interface ColumnDef {
  readonly name: string
  readonly type: 'string' | 'integer' | 'number' | 'boolean' | 'date'
  readonly format: string
  readonly description: string
  /** 0 is shown always, 1 with `-o wide`. */
  readonly priority: number
}

export type Cell = string | number | boolean | null

/** The columns of one kind and how to fill them; `now` in ms. */
export interface Printer {
  readonly columns: readonly ColumnDef[]
  cells(object: KubeObject, now: number): Cell[]
}

/** Columns from names; a name ending in `+` is shown with `-o wide` only, a name `n:X` is an integer. */
export function columns(...names: string[]): ColumnDef[] {
  return names.map((n) => {
    const wide = n.endsWith('+')
    const integer = n.startsWith('n:')
    const name = n.replace(/^n:/, '').replace(/\+$/, '')
    const format = name === 'Name' ? 'name' : ''
    return { name, type: integer ? 'integer' : 'string', format, description: DESCRIPTIONS[name] ?? '', priority: wide ? 1 : 0 }
  })
}

const NAME_DESCRIPTION =
  'Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names'
const CREATED_DESCRIPTION =
  'CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.'
const DESCRIPTIONS: Readonly<Record<string, string>> = { Name: NAME_DESCRIPTION, Age: CREATED_DESCRIPTION, 'Created At': CREATED_DESCRIPTION }

/** A printer of typed objects; the cast happens here, once, because the kind of the object is the table row's promise. */
export function printer<T extends KubeObject>(names: readonly string[], cells: (object: T, now: number) => Cell[]): Printer {
  return { columns: columns(...names), cells: (object, now) => cells(object as T, now) }
}

/** Name and creation time, for kinds without columns of their own. */
export const DEFAULT_PRINTER: Printer = {
  columns: columns('Name', 'Created At').map((c) => (c.name === 'Created At' ? { ...c, type: 'date' } : c)),
  cells: (o) => [o.metadata?.name ?? '', o.metadata?.creationTimestamp ?? ''],
}

export const NAME_AGE: Printer = printer(['Name', 'Age'], (o, now) => [nameOf(o), age(o, now)])

export const nameOf = (o: KubeObject): string => o.metadata?.name ?? ''

/** `5m`, `3d4h`; `<unknown>` without a time. */
export function age(o: KubeObject, now: number): string {
  return since(o.metadata?.creationTimestamp, now)
}

/** How long ago a time was, as kubectl shows it; `<unknown>` when there is none. */
export function since(time: string | null | undefined, now: number): string {
  const at = time ? Date.parse(time) : Number.NaN
  return Number.isNaN(at) ? '<unknown>' : humanDuration(now - at)
}

/** A duration in at most two units, shorter as it grows: `45s`, `5m10s`, `3h`, `2d4h`, `1y3d`. */
export function humanDuration(ms: number): string {
  const s = Math.floor(ms / 1000)
  if (s < -1) return '<invalid>'
  if (s < 0) return '0s'
  if (s < 120) return `${s}s`
  const m = Math.floor(s / 60)
  if (m < 10) return two(m, 'm', s % 60, 's')
  if (m < 180) return `${m}m`
  const h = Math.floor(m / 60)
  if (h < 8) return two(h, 'h', m % 60, 'm')
  if (h < 48) return `${h}h`
  const d = Math.floor(h / 24)
  if (h < 192) return two(d, 'd', h % 24, 'h')
  if (h < 365 * 24 * 2) return `${d}d`
  const y = Math.floor(d / 365)
  return y < 8 ? two(y, 'y', d % 365, 'd') : `${y}y`
}

function two(a: number, unitA: string, b: number, unitB: string): string {
  return b === 0 ? `${a}${unitA}` : `${a}${unitA}${b}${unitB}`
}

/** `a=1,b=2`, or `<none>`. */
export function labelsText(labels: Readonly<Record<string, string>> | undefined): string {
  const entries = Object.entries(labels ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))
  return entries.length === 0 ? '<none>' : entries.map(([k, v]) => `${k}=${v}`).join(',')
}

/** The condition of a type, if the list has it. */
export function conditionOf(conditions: readonly Condition[] | undefined, type: string): Condition | undefined {
  return conditions?.find((c) => c.type === type)
}

/** Joined with commas, or `<none>`. */
export const orNone = (texts: readonly string[]): string => (texts.length === 0 ? '<none>' : texts.join(','))
