/** A checked expression as closures that run with a bounded cost. The unit of cost is cel-go's. */
import type { Call, Checked } from './checker.ts'
import { ONE, type Overload, type Size } from './functions.ts'
import type { Fold, Node } from './parser.ts'
import { DYN, fits, type Type } from './type.ts'
import { CelError, findKey, Optional, sizeOf, Struct, TypeValue } from './values.ts'

/** One evaluation took more than it may. */
export class CostError extends Error {}

interface State {
  readonly vars: Map<string, unknown>
  cost: number
  readonly limit: number
}
type Run = (s: State) => unknown

export interface Program {
  /** @throws CelError for faults of the values, CostError when `limit` is reached. The cost is told also when it throws. */
  run(variables: Readonly<Record<string, unknown>>, limit: number): { readonly value: unknown; readonly cost: number }
}

const LIST_COST = 10
const MAP_COST = 30

/** Compiles. */
export function program(checked: Checked): Program {
  const run = new Compiler(checked).compile(checked.node)
  return {
    run(variables, limit) {
      const state: State = { vars: new Map(Object.entries(variables)), cost: 0, limit }
      const value = run(state)
      return { value, cost: state.cost }
    },
  }
}

function spend(s: State, cost: number): void {
  s.cost += cost
  if (s.cost > s.limit) throw new CostError('operation cancelled: actual cost limit exceeded')
}

class Compiler {
  readonly #checked: Checked
  /** The accumulator of the loop around, when it is a list being filled: it may grow in place. */
  #filling: string | undefined

  constructor(checked: Checked) {
    this.#checked = checked
  }

  compile(node: Node): Run {
    const named = this.#checked.typeNames.get(node)
    if (named !== undefined) {
      const value = new TypeValue(named)
      return () => value
    }
    switch (node.k) {
      case 'lit':
        return () => node.value
      case 'id':
        return (s) => {
          spend(s, 1)
          return s.vars.get(node.name)
        }
      case 'sel':
        return this.#select(node)
      case 'list':
        return this.#list(node)
      case 'map':
        return this.#map(node)
      case 'fold':
        return this.#fold(node.fold)
      case 'call':
        return this.#call(node)
    }
  }

  #select(node: Node & { k: 'sel' }): Run {
    const on = this.compile(node.on)
    const { field } = node
    if (node.test) return (s) => hasField(on(s), field)
    return (s) => {
      const value = on(s)
      spend(s, 1)
      return readField(value, field)
    }
  }

  #list({ items, optional }: Node & { k: 'list' }): Run {
    const parts = items.map((i) => this.compile(i))
    return (s) => {
      spend(s, LIST_COST)
      const out: unknown[] = []
      for (const [i, part] of parts.entries()) {
        const value = part(s)
        if (!optional.has(i)) out.push(value)
        else if (value instanceof Optional) {
          if (value.present) out.push(value.value)
        } else throw new CelError('no such overload')
      }
      return out
    }
  }

  #map({ entries }: Node & { k: 'map' }): Run {
    const parts = entries.map((e) => ({ key: this.compile(e.key), value: this.compile(e.value), optional: e.optional }))
    return (s) => {
      spend(s, MAP_COST)
      const out = new Map<unknown, unknown>()
      for (const { key, value, optional } of parts) {
        const k = key(s)
        const v = value(s)
        if (findKey(out, k)) throw new CelError(`Failed with repeated key`)
        if (!optional) out.set(k, v)
        else if (v instanceof Optional) {
          if (v.present) out.set(k, v.value)
        } else throw new CelError('no such overload')
      }
      return out
    }
  }

  #fold({ range, v1, v2, accu, init, cond, step, result }: Fold): Run {
    const [over, start] = [this.compile(range), this.compile(init)]
    const before = this.#filling
    this.#filling = init.k === 'list' && init.items.length === 0 ? accu : undefined
    const [go, next] = [this.compile(cond), this.compile(step)]
    this.#filling = before
    const end = this.compile(result)
    const names = v2 === undefined ? [accu, v1] : [accu, v1, v2]
    return (s) => {
      const elements = over(s)
      const first = start(s)
      const saved = names.map((n) => s.vars.get(n))
      s.vars.set(accu, first)
      try {
        const each = (a: unknown, b: unknown): boolean => {
          s.vars.set(v1, a)
          if (v2 !== undefined) s.vars.set(v2, b)
          if (settle(() => go(s)) !== true) return false
          // A quantifier carries the error of one turn along: a later one may decide.
          s.vars.set(accu, settle(() => next(s)))
          return true
        }
        if (Array.isArray(elements)) {
          for (const [i, v] of elements.entries()) if (!(v2 === undefined ? each(v, undefined) : each(BigInt(i), v))) break
        } else if (elements instanceof Map) {
          for (const [k, v] of elements) if (!each(k, v)) break
        } else throw new CelError('no such overload')
        const last = s.vars.get(accu)
        if (last instanceof Failure && !mentions(result, accu)) throw last.error
        return end(s)
      } finally {
        for (const [i, n] of names.entries()) s.vars.set(n, saved[i])
      }
    }
  }

  #call(node: Node & { k: 'call' }): Run {
    const call = this.#checked.calls.get(node)
    if (node.fn === '_?._') return this.#optionalField(node)
    if (!call) throw new Error(`expression was not checked: ${node.fn}`)
    const grown = this.#grow(node)
    if (grown) return grown
    const args = call.args.map((a) => this.compile(a))
    const [a, b, c] = args as [Run, Run, Run]
    switch (node.fn) {
      case '_&&_':
        return (s) => junction(s, a, b, false)
      case '_||_':
        return (s) => junction(s, a, b, true)
      case '_?_:_':
        return (s) => {
          const which = a(s)
          if (typeof which !== 'boolean') throw fault(which)
          return which ? b(s) : c(s)
        }
      case '@not_strictly_false':
        return (s) => {
          spend(s, 1)
          return settle(() => a(s)) !== false
        }
      case 'or':
      case 'orValue':
        return (s) => {
          spend(s, 1)
          const value = a(s)
          if (!(value instanceof Optional)) throw fault(value)
          return value.present ? (node.fn === 'or' ? value : value.value) : b(s)
        }
      default:
        return dispatch(call, args, call.args.map((x) => this.#checked.types.get(x) ?? DYN))
    }
  }

  #optionalField(node: Node & { k: 'call' }): Run {
    const [on, name] = node.args as [Node, Node & { k: 'lit' }]
    const run = this.compile(on)
    const field = String(name.value)
    return (s) => {
      let value = run(s)
      spend(s, 1)
      if (value instanceof Optional) {
        if (!value.present) return value
        value = value.value
      }
      return hasField(value, field) ? new Optional(readField(value, field)) : Optional.none
    }
  }

  /** `@result + [x]` inside its own loop: the list is nobody else's yet. */
  #grow(node: Node & { k: 'call' }): Run | undefined {
    const [list, more] = node.args
    if (node.fn !== '_+_' || this.#filling === undefined || list?.k !== 'id' || list.name !== this.#filling || more?.k !== 'list' || more.items.length !== 1 || more.optional.size > 0) return undefined
    const name = this.#filling
    this.#filling = undefined
    const item = this.compile(more.items[0] as Node)
    this.#filling = name
    return (s) => {
      spend(s, LIST_COST + 2)
      const out = s.vars.get(name)
      if (out instanceof Failure) throw out.error
      ;(out as unknown[]).push(item(s))
      return out
    }
  }
}

/** An error carried as a value through a loop. */
class Failure {
  readonly error: CelError
  constructor(error: CelError) {
    this.error = error
  }
}

function settle(work: () => unknown): unknown {
  try {
    return work()
  } catch (error) {
    if (error instanceof CelError) return new Failure(error)
    throw error
  }
}

function fault(value: unknown): CelError {
  return value instanceof Failure ? value.error : new CelError('no such overload')
}

function mentions(node: Node, name: string): boolean {
  return node.k === 'id' ? node.name === name : true
}

/** `&&` (decided by false) and `||` (by true): an error on one side gives way to a decision on the other. */
function junction(s: State, a: Run, b: Run, decides: boolean): boolean {
  const left = settle(() => a(s))
  if (left === decides) return decides
  const right = settle(() => b(s))
  if (right === decides) return decides
  if (typeof left !== 'boolean') throw fault(left)
  if (typeof right !== 'boolean') throw fault(right)
  return !decides
}

function dispatch({ overloads }: Call, args: readonly Run[], types: readonly Type[]): Run {
  const [only] = overloads
  const certain = overloads.length === 1 && !types.some(isLoose)
  return (s) => {
    const values = args.map((a) => a(s))
    for (const v of values) if (v instanceof Failure) throw v.error
    const chosen = certain ? only : overloads.find((o) => o.args.every((t, i) => fits(t, values[i]) && deepFits(t, values[i])))
    if (!chosen) throw new CelError('no such overload')
    spend(s, chosen.cost ? actual(chosen, values) : 1)
    return chosen.run(...(values as never[]))
  }
}

function isLoose(t: Type): boolean {
  return t.kind === 'dyn' || t.kind === 'param' || (t.elem !== undefined && isLoose(t.elem))
}

/** Elements of lists whose type was not known before. */
function deepFits(t: Type, v: unknown): boolean {
  return t.kind !== 'list' || !t.elem || !Array.isArray(v) || v.every((x) => fits(t.elem as Type, x))
}

function actual(overload: Overload, values: readonly unknown[]): number {
  const sizes = values.map((v): Size => {
    const size = sizeOf(v)
    if (Array.isArray(v) && typeof v[0] === 'string') {
      const each = v.reduce((sum: number, x) => sum + sizeOf(x), 0) / size
      return { min: size, max: size, each: { min: each, max: each } }
    }
    return size === 1 ? ONE : { min: size, max: size }
  })
  return overload.cost?.(sizes).max ?? 1
}

function hasField(value: unknown, field: string): boolean {
  if (value instanceof Struct) return value.has(field)
  if (value instanceof Map) return value.has(field)
  if (value instanceof Optional) return value.present && hasField(value.value, field)
  throw fault(value)
}

function readField(value: unknown, field: string): unknown {
  if (value instanceof Struct) {
    const found = value.get(field)
    if (found === undefined) throw new CelError(`no such key: ${field}`)
    return found
  }
  if (value instanceof Map) {
    if (!value.has(field)) throw new CelError(`no such key: ${field}`)
    return value.get(field)
  }
  if (value instanceof Optional) return value.present && hasField(value.value, field) ? new Optional(readField(value.value, field)) : Optional.none
  throw fault(value)
}
