/** What an expression may cost at most before it is run: cel-go's estimate, over the sizes that a schema allows. Pure. */
import type { Checked } from './checker.ts'
import { either, ONE, plus, product, type Overload, type Size } from './functions.ts'
import type { Node } from './parser.ts'
import { DYN, type Type } from './type.ts'
import { runes } from './values.ts'

const NOTHING: Size = { min: 0, max: 0 }
const ANY: Size = { min: 0, max: Number.POSITIVE_INFINITY }
const LIST_COST: Size = { min: 10, max: 10 }
const MAP_COST: Size = { min: 30, max: 30 }
const SCALARS = new Set(['bool', 'int', 'uint', 'double', 'null', 'timestamp', 'duration', 'type'])

/** At least and at most. */
export function estimate(checked: Checked): Size {
  return new Estimator(checked).cost(checked.node)
}

class Estimator {
  readonly #checked: Checked
  readonly #sizes = new Map<Node, Size>()
  readonly #locals = new Map<string, Size>()

  constructor(checked: Checked) {
    this.#checked = checked
  }

  cost(node: Node): Size {
    switch (node.k) {
      case 'lit':
        return NOTHING
      case 'id':
        return ONE
      case 'sel': {
        const on = this.cost(node.on)
        const { kind } = this.#type(node.on)
        return !node.test && (kind === 'map' || kind === 'object' || kind === 'param') ? plus(on, ONE) : on
      }
      case 'list':
        this.#sizes.set(node, { min: node.items.length, max: node.items.length })
        return node.items.reduce((sum, i) => plus(sum, this.cost(i)), LIST_COST)
      case 'map':
        this.#sizes.set(node, { min: node.entries.length, max: node.entries.length })
        return node.entries.reduce((sum, e) => plus(sum, plus(this.cost(e.key), this.cost(e.value))), MAP_COST)
      case 'fold':
        return this.#fold(node)
      case 'call':
        return this.#call(node)
    }
  }

  #type(node: Node): Type {
    return this.#checked.types.get(node) ?? DYN
  }

  #size(node: Node): Size {
    const size = this.#plainSize(node)
    const { kind, elem } = this.#type(node)
    if (kind !== 'list' || (elem?.kind !== 'string' && elem?.kind !== 'bytes')) return size
    return { ...size, each: elem.max === undefined ? ANY : { min: 0, max: elem.max } }
  }

  #plainSize(node: Node): Size {
    const known = this.#sizes.get(node)
    if (known) return known
    if (node.k === 'lit') return typeof node.value === 'string' ? exactly(runes(node.value)) : node.value instanceof Uint8Array ? exactly(node.value.length) : ONE
    if (node.k === 'id') {
      const local = this.#locals.get(node.name)
      if (local) return local
    }
    const { max, kind } = this.#type(node)
    if (max !== undefined) return { min: 0, max }
    return SCALARS.has(kind) ? ONE : ANY
  }

  #fold(node: Node & { k: 'fold' }): Size {
    const { range, accu, init, cond, step, result } = node.fold
    const before = plus(this.cost(range), this.cost(init))
    const saved = this.#locals.get(accu)
    this.#locals.set(accu, this.#size(init))
    const loop = plus(this.cost(cond), this.cost(step))
    const after = this.cost(result)
    const turns = this.#size(range)
    this.#sizes.set(node, init.k === 'list' || init.k === 'map' ? turns : init.k === 'lit' ? ONE : this.#size(result))
    if (saved) this.#locals.set(accu, saved)
    else this.#locals.delete(accu)
    return plus(plus(before, after), product(turns, loop))
  }

  #call(node: Node & { k: 'call' }): Size {
    const call = this.#checked.calls.get(node)
    if (!call) return plus(ONE, node.args[0] ? this.cost(node.args[0]) : NOTHING)
    const costs = call.args.map((a) => this.cost(a))
    const [a = NOTHING, b = NOTHING, c = NOTHING] = costs
    if (node.fn === '_&&_' || node.fn === '_||_') return { min: a.min, max: a.max + b.max }
    if (node.fn === '_?_:_') {
      this.#sizes.set(node, either(this.#size(call.args[1] as Node), this.#size(call.args[2] as Node)))
      return plus(a, either(b, c))
    }
    const sizes = call.args.map((x) => this.#size(x))
    const own = call.overloads.map((o: Overload) => o.cost?.(sizes) ?? ONE).reduce(either)
    const result = call.overloads.flatMap((o) => o.size?.(sizes) ?? [])
    if (result.length > 0) this.#sizes.set(node, result.reduce(either))
    return costs.reduce(plus, own)
  }
}

const exactly = (n: number): Size => ({ min: n, max: n })
