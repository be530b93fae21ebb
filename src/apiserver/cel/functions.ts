/**
 * The table of CEL functions and operators: signatures, what they do, what they cost. Costs are cel-go's and Kubernetes' own
 * formulas over sizes, used alike to estimate a rule (ranges) and to meter it (what was really there).
 */
import { assignable, readType, type Bound, type Type } from './type.ts'

/** Characters, bytes or elements: at least, at most. Also a cost. */
export interface Size {
  readonly min: number
  readonly max: number
  /** Of each element, when these are texts or bytes. */
  readonly each?: Size
}

export interface Overload {
  readonly fn: string
  readonly member: boolean
  readonly args: readonly Type[]
  readonly result: Type
  run(...args: never[]): unknown
  /** From the sizes of the arguments, the receiver first. Absent: 1. */
  readonly cost: ((sizes: readonly Size[]) => Size) | undefined
  /** Size of the result, where it can be told. */
  readonly size: ((sizes: readonly Size[]) => Size) | undefined
}

export interface Facts {
  readonly cost?: Overload['cost']
  readonly size?: Overload['size']
}

export const ONE: Size = { min: 1, max: 1 }
export const plus = (a: Size, b: Size): Size => ({ min: a.min + b.min, max: a.max + b.max })
export const product = (a: Size, b: Size): Size => ({ min: times0(a.min, b.min), max: times0(a.max, b.max) })
export const scaled = (a: Size, factor: number): Size => ({ min: Math.ceil(a.min * factor), max: Math.ceil(a.max * factor) })
export const either = (a: Size, b: Size): Size => ({ min: Math.min(a.min, b.min), max: Math.max(a.max, b.max) })
/** Nothing times anything is nothing, however unbounded. */
const times0 = (a: number, b: number): number => (a === 0 || b === 0 ? 0 : a * b)

/** What reading one character costs. */
export const TRAVERSE = 0.1
/** What one character of a regular expression costs. */
const REGEX = 0.25

const arg = (sizes: readonly Size[], i: number): Size => sizes[i] ?? ONE
/** Cost of reading one argument to its end. */
export const reading = (i: number, factor = 1) => (sizes: readonly Size[]): Size => scaled(arg(sizes, i), TRAVERSE * factor)
/** Cost of one unit an element. */
export const elements = (i: number) => (sizes: readonly Size[]): Size => arg(sizes, i)
/** Cost of comparing each element of a list, texts by their length. */
export const compared = (i: number) => (sizes: readonly Size[]): Size => {
  const { each, min, max } = arg(sizes, i)
  return product({ min, max }, each ? plus(ONE, scaled(each, TRAVERSE)) : ONE)
}
export const sameSize = (i: number) => (sizes: readonly Size[]): Size => arg(sizes, i)
/** Cost of comparing: the shorter of both decides. */
export function comparing(sizes: readonly Size[]): Size {
  const max = Math.min(arg(sizes, 0).max, arg(sizes, 1).max)
  return scaled({ min: max > 0 ? 1 : 0, max }, TRAVERSE)
}
export const matching = (sizes: readonly Size[]): Size => product(scaled(plus(arg(sizes, 0), ONE), TRAVERSE), scaled(arg(sizes, 1), REGEX))

/** Functions by name; members under `.name`. */
export class Functions {
  readonly #byName = new Map<string, Overload[]>()

  /** Defines `name(args): result` or `Type.name(args): result`. */
  define(signature: string, run: (...args: never[]) => unknown, facts: Facts = {}): void {
    const m = /^(?:(.+)!(?=\w))?([^(]+)\((.*)\):\s*(.+)$/.exec(signature)
    if (!m) throw new Error(`signature ${signature}`)
    const [, receiver, fn = '', args = '', result = ''] = m
    const overload: Overload = {
      fn,
      member: receiver !== undefined,
      args: [...(receiver === undefined ? [] : [readType(receiver)]), ...split(args).map(readType)],
      result: readType(result),
      run,
      cost: facts.cost,
      size: facts.size,
    }
    const key = (overload.member ? '.' : '') + fn
    this.#byName.set(key, [...(this.#byName.get(key) ?? []), overload])
  }

  of(fn: string, member: boolean): readonly Overload[] {
    return this.#byName.get((member ? '.' : '') + fn) ?? []
  }

  has(fn: string): boolean {
    return this.#byName.has(fn)
  }
}

function split(args: string): string[] {
  const out: string[] = []
  let depth = 0
  let from = 0
  for (let i = 0; i <= args.length; i++) {
    const c = args[i]
    if (c === '<') depth++
    else if (c === '>') depth--
    else if ((c === ',' && depth === 0) || i === args.length) {
      if (i > from) out.push(args.slice(from, i))
      from = i + 1
    }
  }
  return out
}

/** The overloads that take these arguments, each with what its parameters stand for. */
export function matchingOverloads(candidates: readonly Overload[], args: readonly Type[]): { readonly overload: Overload; readonly bound: Bound }[] {
  return candidates.flatMap((overload) => {
    if (overload.args.length !== args.length) return []
    const bound: Bound = new Map()
    return overload.args.every((want, i) => assignable(want, args[i] as Type, bound)) ? [{ overload, bound }] : []
  })
}
