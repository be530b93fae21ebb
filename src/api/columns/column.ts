/** What a printed column is, and the small texts that many kinds print. Cells come from pure functions of object and time. */
import { COLUMN_TEXTS_JSON } from '../gen/column-texts.ts'
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

/** What a row says beside its cells: `Completed` lets clients tell pods that have ended. */
export interface RowCondition {
  readonly type: 'Completed'
  readonly status: 'True'
  readonly reason: string
  readonly message: string
}

/** The columns of one kind and how to fill them; `now` in ms. */
export interface Printer {
  readonly columns: readonly ColumnDef[]
  cells(object: KubeObject, now: number): Cell[]
  readonly conditions?: (object: KubeObject) => readonly RowCondition[] | undefined
  /** In which order rows of one answer stand, when not in that of the list. */
  readonly order?: (a: KubeObject, b: KubeObject) => number
}

/**
 * One column as a text: `Name`, with `+` behind it when only `-o wide` shows it, with `n:`, `b:` or `d:` before it when it is an integer, a
 * boolean or a date. After ` | ` stands what it means, or `Type.field` whose published description says so.
 */
export type ColumnText = string

/** Columns from their texts. */
export function columns(...texts: ColumnText[]): ColumnDef[] {
  return texts.map((text) => {
    const [, type, name = '', wide, meaning] = /^(?:([nbd]):)?(.*?)(\+)?(?: \| (.*))?$/s.exec(text) ?? []
    const about = meaning ?? ALWAYS[name] ?? ''
    return {
      name,
      type: TYPES[type ?? ''] ?? 'string',
      format: name === 'Name' ? 'name' : '',
      description: /^\w+\.\w+$/.test(about) ? fieldText(about) : about,
      priority: wide === undefined ? 0 : 1,
    }
  })
}

const TYPES: Readonly<Record<string, ColumnDef['type']>> = { n: 'integer', b: 'boolean', d: 'date' }
const ALWAYS: Readonly<Record<string, string>> = {
  Name: 'ObjectMeta.name',
  Age: 'ObjectMeta.creationTimestamp',
  'Created At': 'ObjectMeta.creationTimestamp',
  Containers: 'Names of each container in the template.',
  Images: 'Images referenced by each container in the template.',
}

let texts: Readonly<Record<string, string>> | undefined

function fieldText(field: string): string {
  texts ??= JSON.parse(COLUMN_TEXTS_JSON) as Record<string, string>
  return texts[field] ?? ''
}

/** A printer of typed objects; the cast happens here, once, because the kind of the object is the table row's promise. */
export function printer<T extends KubeObject>(
  names: readonly ColumnText[],
  cells: (object: T, now: number) => Cell[],
  more: Pick<Printer, 'conditions' | 'order'> = {},
): Printer {
  let defs: ColumnDef[] | undefined
  return {
    // Made when a table is first asked for: most kinds of most servers never are.
    get columns() {
      return (defs ??= columns(...names))
    },
    cells: (object, now) => cells(object as T, now),
    ...more,
  }
}

/** Name and creation time, for kinds without columns of their own. */
export const DEFAULT_PRINTER: Printer = printer(['Name', 'd:Created At'], (o) => [nameOf(o), o.metadata?.creationTimestamp ?? ''])

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
  const s = Math.trunc(ms / 1000)
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

/** The first few joined with commas, and how many there are beside them: `a,b,c + 2 more...`. */
export function atMost(few: number, texts: readonly string[], joint = ','): string {
  const shown = texts.slice(0, few).join(joint)
  return texts.length > few ? `${shown} + ${texts.length - few} more...` : shown
}

/** Joined with commas, or `<none>`. */
export const orNone = (texts: readonly string[]): string => (texts.length === 0 ? '<none>' : texts.join(','))
