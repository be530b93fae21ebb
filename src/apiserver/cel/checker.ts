/** Types of an expression before it runs: what it names must exist, what it calls must fit. Messages are cel-go's. Pure. */
import { matchingOverloads, type Functions, type Overload } from './functions.ts'
import type { Fold, Node } from './parser.ts'
import { assignable, BOOL, BYTES, DOUBLE, DYN, INT, listOf, mapOf, NULL, optionalOf, STRING, substitute, TYPE, typeText, UINT, type Type } from './type.ts'
import { Uint } from './values.ts'

/** What expressions may name and call. */
export interface Env {
  readonly variables: ReadonlyMap<string, Type>
  readonly functions: Functions
}

export interface Call {
  readonly overloads: readonly Overload[]
  /** The receiver first, when there is one. */
  readonly args: readonly Node[]
}

export interface Checked {
  readonly node: Node
  readonly type: Type
  readonly types: ReadonlyMap<Node, Type>
  readonly calls: ReadonlyMap<Node, Call>
  /** Names that mean types: `type(x) == int`. */
  readonly typeNames: ReadonlyMap<Node, string>
}

export interface Issue {
  readonly at: number
  readonly message: string
}

/** All that is wrong with an expression. */
export class CelIssues extends Error {
  readonly issues: readonly Issue[]
  constructor(issues: readonly Issue[]) {
    super(issues[0]?.message ?? '')
    this.issues = issues
  }
}

const TYPE_NAMES = new Set(['bool', 'int', 'uint', 'double', 'string', 'bytes', 'list', 'map', 'null_type', 'type', 'google.protobuf.Timestamp', 'google.protobuf.Duration', 'net.IP', 'net.CIDR', 'kubernetes.Quantity', 'kubernetes.URL'])
const OPEN: Type = { kind: 'param', name: '_' }
type Scope = { readonly name: string; readonly type: Type; readonly next: Scope } | undefined

/** @throws CelIssues */
export function check(env: Env, node: Node): Checked {
  const checker = new Checker(env)
  const type = checker.infer(node, undefined)
  if (checker.issues.length > 0) throw new CelIssues(checker.issues)
  return { node, type, types: checker.types, calls: checker.calls, typeNames: checker.typeNames }
}

class Checker {
  readonly types = new Map<Node, Type>()
  readonly calls = new Map<Node, Call>()
  readonly typeNames = new Map<Node, string>()
  readonly issues: Issue[] = []
  readonly #env: Env
  /** Inside the arguments of `format`, whose list is of anything. */
  #mixed = false

  constructor(env: Env) {
    this.#env = env
  }

  infer(node: Node, scope: Scope): Type {
    const type = this.#infer(node, scope)
    this.types.set(node, type)
    return type
  }

  /** Goes on as if it could be anything, so that one fault is told once. */
  #issue(at: number, message: string): Type {
    this.issues.push({ at, message })
    return DYN
  }

  #infer(node: Node, scope: Scope): Type {
    switch (node.k) {
      case 'lit':
        return literalType(node.value)
      case 'id':
        return this.#name(node, scope) ?? this.#issue(node.at, `undeclared reference to '${node.name}' (in container '')`)
      case 'sel':
        return this.#select(node, scope)
      case 'list':
        return listOf(this.#common(node.items, (i) => node.optional.has(i), scope))
      case 'map': {
        const key = this.#common(node.entries.map((e) => e.key), () => false, scope)
        return mapOf(key, this.#common(node.entries.map((e) => e.value), (i) => node.entries[i]?.optional === true, scope))
      }
      case 'fold':
        return this.#fold(node.fold, scope)
      case 'call':
        return this.#call(node, scope)
    }
  }

  #name(node: Node & { k: 'id' }, scope: Scope): Type | undefined {
    for (let s = scope; s; s = s.next) if (s.name === node.name) return s.type
    const known = this.#env.variables.get(node.name)
    if (known) return known
    if (!TYPE_NAMES.has(node.name)) return undefined
    this.typeNames.set(node, node.name)
    return TYPE
  }

  /** `a.b` of plain names, when `a` is no variable. */
  #qualified(node: Node, scope: Scope): string | undefined {
    if (node.k === 'sel' && !node.test) {
      const on = this.#qualified(node.on, scope)
      return on === undefined ? undefined : `${on}.${node.field}`
    }
    if (node.k !== 'id' || this.#env.variables.has(node.name)) return undefined
    for (let s = scope; s; s = s.next) if (s.name === node.name) return undefined
    return node.name
  }

  #select(node: Node & { k: 'sel' }, scope: Scope): Type {
    const qualified = this.#qualified(node, scope)
    if (qualified !== undefined && TYPE_NAMES.has(qualified)) {
      this.typeNames.set(node, qualified)
      return TYPE
    }
    const found = this.#field(this.infer(node.on, scope), node.field, node.at)
    return node.test ? BOOL : found
  }

  #field(on: Type, field: string, at: number): Type {
    switch (on.kind) {
      case 'object':
        return on.fields?.get(field) ?? this.#issue(at, `undefined field '${field}'`)
      case 'map':
        return on.elem ?? DYN
      case 'optional':
        return optionalOf(unwrapped(this.#field(on.elem ?? DYN, field, at)))
      case 'dyn':
      case 'param':
        return DYN
      default:
        return this.#issue(at, `type '${typeText(on)}' does not support field selection`)
    }
  }

  /** The type of all of them: they must agree, or be dyn. */
  #common(items: readonly Node[], isOptional: (index: number) => boolean, scope: Scope): Type {
    let common: Type | undefined
    for (const [i, item] of items.entries()) {
      let type = this.infer(item, scope)
      if (isOptional(i)) {
        if (type.kind !== 'optional' && type.kind !== 'dyn') this.#issue(item.at, `expected type 'optional_type(${typeText(type)})' but found '${typeText(type)}'`)
        type = type.elem ?? DYN
      }
      if (!common) common = type
      else if (assignable(type, common, new Map()) && !assignable(common, type, new Map())) common = type
      else if (!assignable(common, type, new Map()) && this.#mixed) common = DYN
      else if (!assignable(common, type, new Map())) this.#issue(item.at, `expected type '${typeText(common)}' but found '${typeText(type)}'`)
    }
    return common ?? OPEN
  }

  #fold({ range, v1, v2, accu, init, cond, step, result }: Fold, scope: Scope): Type {
    const over = this.infer(range, scope)
    let [first, second]: [Type, Type] = [DYN, DYN]
    if (over.kind === 'list') [first, second] = v2 === undefined ? [over.elem ?? DYN, DYN] : [INT, over.elem ?? DYN]
    else if (over.kind === 'map') [first, second] = [over.key ?? DYN, over.elem ?? DYN]
    else if (over.kind !== 'dyn' && over.kind !== 'param') this.#issue(range.at, `expression of type '${typeText(over)}' cannot be range of a comprehension (must be list, map, or dynamic)`)
    const start = this.infer(init, scope)
    const inner: Scope = { name: accu, type: start, next: scope }
    const vars: Scope = v2 === undefined ? { name: v1, type: first, next: inner } : { name: v2, type: second, next: { name: v1, type: first, next: inner } }
    // The accumulator is found before the variables are: none of them may hide it.
    const loop: Scope = { name: accu, type: start, next: vars }
    this.#want(cond, BOOL, loop)
    const next = this.infer(step, loop)
    const settled = assignable(start, next, new Map()) ? next : start
    return this.infer(result, { name: accu, type: settled, next: scope })
  }

  #want(node: Node, type: Type, scope: Scope): void {
    const found = this.infer(node, scope)
    if (!assignable(type, found, new Map())) this.#issue(node.at, `expected type '${typeText(type)}' but found '${typeText(found)}'`)
  }

  #call(node: Node & { k: 'call' }, scope: Scope): Type {
    const { fn, target } = node
    if (fn === '_?._') return this.#optionalField(node, scope)
    const namespace = target && this.#qualified(target, scope)
    const qualified = namespace !== undefined && this.#env.functions.has(`${namespace}.${fn}`) ? `${namespace}.${fn}` : undefined
    const member = target !== undefined && qualified === undefined
    const candidates = this.#env.functions.of(qualified ?? fn, member)
    const args = member ? [target, ...node.args] : node.args
    const before = this.#mixed
    this.#mixed ||= member && fn === 'format'
    const types = args.map((a) => this.infer(a, scope))
    this.#mixed = before
    if (candidates.length === 0) return this.#issue(node.at, `undeclared reference to '${fn}' (in container '')`)
    const found = matchingOverloads(candidates, types)
    if (found.length === 0) {
      const shown = types.map(typeText)
      return this.#issue(node.at, `found no matching overload for '${qualified ?? fn}' applied to '${member ? `${shown[0]}.` : ''}(${shown.slice(member ? 1 : 0).join(', ')})'`)
    }
    this.calls.set(node, { overloads: found.map((f) => f.overload), args })
    const results = found.map(({ overload, bound }) => substitute(overload.result, bound))
    return results.every((r) => typeText(r) === typeText(results[0] as Type)) ? (results[0] as Type) : DYN
  }

  #optionalField(node: Node & { k: 'call' }, scope: Scope): Type {
    const [on, name] = node.args as [Node, Node & { k: 'lit' }]
    const type = this.infer(on, scope)
    this.infer(name, scope)
    return optionalOf(unwrapped(this.#field(type.kind === 'optional' ? (type.elem ?? DYN) : type, String(name.value), node.at)))
  }
}


function unwrapped(t: Type): Type {
  return t.kind === 'optional' ? (t.elem ?? DYN) : t
}

function literalType(value: unknown): Type {
  switch (typeof value) {
    case 'boolean':
      return BOOL
    case 'bigint':
      return INT
    case 'number':
      return DOUBLE
    case 'string':
      return STRING
    default:
      return value === null ? NULL : value instanceof Uint ? UINT : BYTES
  }
}
