/** The macros of CEL: quantifiers, `map`, `filter`, `has`, `cel.bind`, two-variable loops, `optMap`. Pure; used by the parser. */
import { CelSyntaxError } from './lexer.ts'
import type { Fold, Node } from './parser.ts'

const ACCU = '@result'

type Build = (at: number, target: Node, args: readonly Node[]) => Node

const lit = (at: number, value: unknown): Node => ({ k: 'lit', at, value })
const id = (at: number, name: string): Node => ({ k: 'id', at, name })
const call = (at: number, fn: string, ...args: Node[]): Node => ({ k: 'call', at, fn, target: undefined, args })
const list = (at: number, ...items: Node[]): Node => ({ k: 'list', at, items, optional: new Set() })
const fold = (at: number, parts: Omit<Fold, 'accu' | 'result'> & { readonly result?: Node }): Node => ({ k: 'fold', at, fold: { accu: ACCU, result: id(at, ACCU), ...parts } })

function nameOf(node: Node | undefined): string {
  if (node?.k !== 'id') throw new CelSyntaxError('argument must be a simple name', node?.at ?? 0)
  if (node.name === ACCU) throw new CelSyntaxError('iteration variable overwrites accumulator variable', node.at)
  return node.name
}

const all = (range: Node, v1: string, v2: string | undefined, p: Node, at: number): Node =>
  fold(at, { range, v1, v2, init: lit(at, true), cond: call(at, '@not_strictly_false', id(at, ACCU)), step: call(at, '_&&_', id(at, ACCU), p) })
const exists = (range: Node, v1: string, v2: string | undefined, p: Node, at: number): Node =>
  fold(at, { range, v1, v2, init: lit(at, false), cond: call(at, '@not_strictly_false', call(at, '!_', id(at, ACCU))), step: call(at, '_||_', id(at, ACCU), p) })
const existsOne = (range: Node, v1: string, v2: string | undefined, p: Node, at: number): Node =>
  fold(at, { range, v1, v2, init: lit(at, 0n), cond: lit(at, true), step: call(at, '_?_:_', p, call(at, '_+_', id(at, ACCU), lit(at, 1n)), id(at, ACCU)), result: call(at, '_==_', id(at, ACCU), lit(at, 1n)) })
const gather = (at: number, range: Node, v1: string, v2: string | undefined, init: Node, filter: Node | undefined, next: Node): Node =>
  fold(at, { range, v1, v2, init, cond: lit(at, true), step: filter ? call(at, '_?_:_', filter, next, id(at, ACCU)) : next })

const plus = (at: number, item: Node): Node => call(at, '_+_', id(at, ACCU), list(at, item))

/** Of members, by name and number of arguments. */
const MEMBERS: Readonly<Record<string, Build>> = {
  'all/2': (at, t, [v, p]) => all(t, nameOf(v), undefined, p as Node, at),
  'all/3': (at, t, [v, w, p]) => all(t, nameOf(v), nameOf(w), p as Node, at),
  'exists/2': (at, t, [v, p]) => exists(t, nameOf(v), undefined, p as Node, at),
  'exists/3': (at, t, [v, w, p]) => exists(t, nameOf(v), nameOf(w), p as Node, at),
  'exists_one/2': (at, t, [v, p]) => existsOne(t, nameOf(v), undefined, p as Node, at),
  'existsOne/2': (at, t, [v, p]) => existsOne(t, nameOf(v), undefined, p as Node, at),
  'existsOne/3': (at, t, [v, w, p]) => existsOne(t, nameOf(v), nameOf(w), p as Node, at),
  'map/2': (at, t, [v, f]) => gather(at, t, nameOf(v), undefined, list(at), undefined, plus(at, f as Node)),
  'map/3': (at, t, [v, p, f]) => gather(at, t, nameOf(v), undefined, list(at), p, plus(at, f as Node)),
  'filter/2': (at, t, [v, p]) => gather(at, t, nameOf(v), undefined, list(at), p, plus(at, v as Node)),
  'transformList/3': (at, t, [v, w, f]) => gather(at, t, nameOf(v), nameOf(w), list(at), undefined, plus(at, f as Node)),
  'transformList/4': (at, t, [v, w, p, f]) => gather(at, t, nameOf(v), nameOf(w), list(at), p, plus(at, f as Node)),
  'transformMap/3': (at, t, [v, w, f]) => gather(at, t, nameOf(v), nameOf(w), { k: 'map', at, entries: [] }, undefined, call(at, 'cel.@mapInsert', id(at, ACCU), v as Node, f as Node)),
  'transformMap/4': (at, t, [v, w, p, f]) => gather(at, t, nameOf(v), nameOf(w), { k: 'map', at, entries: [] }, p, call(at, 'cel.@mapInsert', id(at, ACCU), v as Node, f as Node)),
  'transformMapEntry/3': (at, t, [v, w, f]) => gather(at, t, nameOf(v), nameOf(w), { k: 'map', at, entries: [] }, undefined, call(at, 'cel.@mapInsert', id(at, ACCU), f as Node)),
  'transformMapEntry/4': (at, t, [v, w, p, f]) => gather(at, t, nameOf(v), nameOf(w), { k: 'map', at, entries: [] }, p, call(at, 'cel.@mapInsert', id(at, ACCU), f as Node)),
  'optMap/2': (at, t, [v, f]) => call(at, '_?_:_', member(at, t, 'hasValue'), member(at, id(at, 'optional'), 'of', bind(at, nameOf(v), member(at, t, 'value'), f as Node)), member(at, id(at, 'optional'), 'none')),
  'optFlatMap/2': (at, t, [v, f]) => call(at, '_?_:_', member(at, t, 'hasValue'), bind(at, nameOf(v), member(at, t, 'value'), f as Node), member(at, id(at, 'optional'), 'none')),
}

const member = (at: number, target: Node, fn: string, ...args: Node[]): Node => ({ k: 'call', at, fn, target, args })

/** A variable for one expression: a loop over nothing, as cel-go has it. */
const bind = (at: number, name: string, value: Node, body: Node): Node => ({ k: 'fold', at, fold: { range: list(at), v1: '#unused', v2: undefined, accu: name, init: value, cond: lit(at, false), step: id(at, name), result: body } })

/** The expansion of a call; undefined when it is no macro. @throws CelSyntaxError for arguments of the wrong shape */
export function expandMacro(fn: string, target: Node | undefined, args: readonly Node[], at: number): Node | undefined {
  if (target === undefined) {
    if (fn !== 'has' || args.length !== 1) return undefined
    const [arg] = args
    if (arg?.k !== 'sel') throw new CelSyntaxError('invalid argument to has() macro', arg?.at ?? at)
    return { ...arg, test: true }
  }
  if (target.k === 'id' && target.name === 'cel' && fn === 'bind' && args.length === 3) return bind(at, nameOf(args[0]), args[1] as Node, args[2] as Node)
  const key = `${fn}/${args.length}`
  const build = Object.hasOwn(MEMBERS, key) ? MEMBERS[key] : undefined
  return build?.(at, target, args)
}
