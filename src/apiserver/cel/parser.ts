/** CEL text to a tree, macros expanded as cel-go expands them, so that costs agree. Depth and size are bounded. */
import { CelSyntaxError, tokens, type Token } from './lexer.ts'
import { expandMacro } from './macros.ts'

/** `at` is the offset that messages point at. */
export type Node =
  | { readonly k: 'lit'; readonly at: number; readonly value: unknown }
  | { readonly k: 'id'; readonly at: number; readonly name: string }
  | { readonly k: 'sel'; readonly at: number; readonly on: Node; readonly field: string; readonly test: boolean }
  | { readonly k: 'call'; readonly at: number; readonly fn: string; readonly target: Node | undefined; readonly args: readonly Node[] }
  | { readonly k: 'list'; readonly at: number; readonly items: readonly Node[]; readonly optional: ReadonlySet<number> }
  | { readonly k: 'map'; readonly at: number; readonly entries: readonly Entry[] }
  | { readonly k: 'fold'; readonly at: number; readonly fold: Fold }

export interface Entry {
  readonly key: Node
  readonly value: Node
  readonly optional: boolean
}

/** A loop: `accu` starts as `init`; while `cond` holds, each element makes it `step`; in the end it is `result`. */
export interface Fold {
  readonly range: Node
  readonly v1: string
  readonly v2: string | undefined
  readonly accu: string
  readonly init: Node
  readonly cond: Node
  readonly step: Node
  readonly result: Node
}

const MAX_DEPTH = 250
/** Operators of one kind, or selections, in a row. */
const MAX_CHAIN = 500
const MAX_NODES = 100_000
const RESERVED = new Set(['as', 'break', 'const', 'continue', 'else', 'for', 'function', 'if', 'import', 'let', 'loop', 'package', 'namespace', 'return', 'var', 'void', 'while'])
const BINARY: readonly (readonly string[])[] = [['||'], ['&&'], ['==', '!=', '<', '<=', '>', '>=', 'in'], ['+', '-'], ['*', '/', '%']]

/** @throws CelSyntaxError */
export function parse(text: string): Node {
  return new Parser(tokens(text)).whole()
}

class Parser {
  readonly #tokens: readonly Token[]
  #i = 0
  #depth = 0
  #nodes = 0

  constructor(all: readonly Token[]) {
    this.#tokens = all
  }

  whole(): Node {
    const node = this.#expr()
    if (this.#now.kind !== 'end') throw this.#unexpected()
    return node
  }

  get #now(): Token {
    return this.#tokens[this.#i] as Token
  }

  #is(op: string): boolean {
    const { kind, text } = this.#now
    return text === op && (kind === 'op' || (kind === 'id' && op === 'in'))
  }

  #take(op: string): Token | undefined {
    return this.#is(op) ? this.#tokens[this.#i++] : undefined
  }

  #need(op: string): Token {
    const found = this.#take(op)
    if (!found) throw this.#unexpected(`'${op}'`)
    return found
  }

  #unexpected(wanted?: string): CelSyntaxError {
    const { text, at } = this.#now
    const expecting = wanted ? ` expecting ${wanted}` : this.#now.kind === 'end' ? ` expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}` : ''
    return new CelSyntaxError(`Syntax error: ${this.#now.kind === 'end' || wanted ? 'mismatched' : 'extraneous'} input '${text}'${expecting}`, at)
  }

  #node<T extends Node>(node: T): T {
    if (++this.#nodes > MAX_NODES) throw new CelSyntaxError(`expression is larger than ${MAX_NODES} parts`, node.at)
    return node
  }

  #nested<T>(work: () => T): T {
    if (++this.#depth > MAX_DEPTH) throw new CelSyntaxError(`expression recursion limit exceeded: ${MAX_DEPTH}`, this.#now.at)
    const out = work()
    this.#depth--
    return out
  }

  #expr(): Node {
    return this.#nested(() => {
      const condition = this.#binary(0)
      const op = this.#take('?')
      if (!op) return condition
      const yes = this.#binary(0)
      this.#need(':')
      return this.#call('_?_:_', op.at, [condition, yes, this.#expr()])
    })
  }

  #call(fn: string, at: number, args: readonly Node[], target?: Node): Node {
    return this.#node({ k: 'call', at, fn, target, args })
  }

  #binary(level: number): Node {
    const ops = BINARY[level]
    if (!ops) return this.#unary()
    let left = this.#binary(level + 1)
    // Long chains of && and || become balanced trees, as in cel-go.
    if (level < 2) return this.#junction(ops[0] as string, left, level)
    for (let length = 0; ; length++) {
      const op = ops.find((o) => this.#is(o))
      if (op === undefined) return left
      const { at } = this.#tokens[this.#i++] as Token
      this.#bounded(length, at)
      const right = this.#nested(() => this.#binary(level + 1))
      left = this.#call(op === 'in' ? '@in' : `_${op}_`, at, [left, right])
    }
  }

  #bounded(length: number, at: number): void {
    if (length >= MAX_CHAIN) throw new CelSyntaxError(`expression recursion limit exceeded: ${MAX_CHAIN}`, at)
  }

  #junction(op: string, first: Node, level: number): Node {
    const terms = [first]
    const places: number[] = []
    for (let token = this.#take(op); token; token = this.#take(op)) {
      places.push(token.at)
      terms.push(this.#nested(() => this.#binary(level + 1)))
    }
    const tree = (from: number, to: number): Node => {
      if (from === to) return terms[from] as Node
      const middle = (from + to) >> 1
      return this.#call(`_${op}_`, places[middle] as number, [tree(from, middle), tree(middle + 1, to)])
    }
    return tree(0, terms.length - 1)
  }

  #unary(): Node {
    for (const op of ['!', '-'] as const) {
      if (!this.#is(op)) continue
      const { at } = this.#tokens[this.#i++] as Token
      let many = 1
      while (this.#take(op)) many++
      const next = this.#now
      if (op === '-' && many === 1 && next.kind === 'value' && (typeof next.value === 'bigint' || typeof next.value === 'number')) {
        this.#i++
        return this.#members(this.#node({ k: 'lit', at, value: -next.value as unknown as bigint }))
      }
      const operand = this.#member()
      return many % 2 === 0 ? operand : this.#call(`${op}_`, at, [operand])
    }
    return this.#member()
  }

  #member(): Node {
    return this.#members(this.#primary())
  }

  #members(first: Node): Node {
    let on = first
    for (let length = 0; ; length++) {
      const { at, text, kind } = this.#now
      if (kind !== 'op') return on
      this.#bounded(length, at)
      if (text === '.' || text === '.?') {
        this.#i++
        const id = this.#now
        if (id.kind !== 'id') throw this.#unexpected('IDENTIFIER')
        this.#i++
        const name = typeof id.value === 'string' ? id.value : id.text
        if (text === '.?') on = this.#call('_?._', at, [on, this.#node({ k: 'lit', at: id.at, value: name })])
        else if (this.#is('(')) on = this.#invoke(name, on)
        else on = this.#node({ k: 'sel', at, on, field: name, test: false })
      } else if (text === '[' || text === '[?') {
        this.#i++
        const index = this.#expr()
        this.#need(']')
        on = this.#call(text === '[' ? '_[_]' : '_[?_]', at, [on, index])
      } else return on
    }
  }

  #invoke(fn: string, target: Node | undefined): Node {
    const { at } = this.#need('(')
    const args = this.#items(')', () => this.#expr())
    const expanded = expandMacro(fn, target, args, at)
    return expanded ? this.#node(expanded) : this.#call(fn, at, args, target)
  }

  #items<T>(end: string, one: () => T): T[] {
    const out: T[] = []
    while (!this.#take(end)) {
      out.push(one())
      if (this.#take(',')) continue
      this.#need(end)
      break
    }
    return out
  }

  #primary(): Node {
    const token = this.#now
    const { at } = token
    if (token.kind === 'value') {
      this.#i++
      if (token.value === 2n ** 63n) throw new CelSyntaxError('invalid int literal', at)
      return this.#node({ k: 'lit', at, value: token.value })
    }
    if (token.kind === 'id') return this.#identifier()
    if (this.#take('(')) {
      const inner = this.#expr()
      this.#need(')')
      return inner
    }
    if (this.#take('.')) return this.#identifier()
    if (this.#take('[')) return this.#list(at, false)
    if (this.#take('[?')) return this.#list(at, true)
    if (this.#take('{')) return this.#map(at, false)
    if (this.#take('{?')) return this.#map(at, true)
    throw this.#unexpected()
  }

  #list(at: number, first: boolean): Node {
    const optional = new Set<number>()
    let index = 0
    const items = this.#items(']', () => {
      if ((index === 0 && first) || this.#take('?')) optional.add(index)
      index++
      return this.#expr()
    })
    return this.#node({ k: 'list', at, items, optional })
  }

  #map(at: number, first: boolean): Node {
    let index = 0
    const entries = this.#items('}', () => {
      const optional = (index++ === 0 && first) || this.#take('?') !== undefined
      const key = this.#expr()
      this.#need(':')
      return { key, value: this.#expr(), optional }
    })
    return this.#node({ k: 'map', at, entries })
  }

  #identifier(): Node {
    const { text, at, value } = this.#now
    if (this.#now.kind !== 'id' || value !== undefined) throw this.#unexpected('IDENTIFIER')
    if (text === 'in') throw this.#unexpected()
    this.#i++
    if (text === 'true' || text === 'false') return this.#node({ k: 'lit', at, value: text === 'true' })
    if (text === 'null') return this.#node({ k: 'lit', at, value: null })
    if (RESERVED.has(text)) throw new CelSyntaxError(`reserved identifier: ${text}`, at)
    return this.#is('(') ? this.#invoke(text, undefined) : this.#node({ k: 'id', at, name: text })
  }
}
