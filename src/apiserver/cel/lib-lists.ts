/** Kubernetes' list functions, the sets and the math extension of CEL. Used by the engine. */
import { compared, elements, plus, product, ONE, scaled, type Functions, type Size } from './functions.ts'
import { compareText, int } from './lib-core.ts'
import { CelError, compareNumbers, Duration, equals, numeric, Uint, type Timestamp } from './values.ts'

type Order = (a: never, b: never) => number

const ORDERS: Readonly<Record<string, Order>> = {
  int: (a: bigint, b: bigint) => compareNumbers(a, b),
  uint: (a: Uint, b: Uint) => compareNumbers(a.v, b.v),
  double: (a: number, b: number) => compareNumbers(a, b),
  bool: (a: boolean, b: boolean) => Number(a) - Number(b),
  string: compareText,
  bytes: (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b),
  timestamp: (a: Timestamp, b: Timestamp) => compareNumbers(a.ns, b.ns),
  duration: (a: Duration, b: Duration) => compareNumbers(a.ns, b.ns),
}

/** Defines them. */
export function defineLists(f: Functions): void {
  const each = { cost: compared(0) }
  for (const [type, order] of Object.entries(ORDERS)) {
    const compare = order as (a: unknown, b: unknown) => number
    f.define(`list<${type}>!isSorted(): bool`, (l: unknown[]) => l.every((v, i) => i === 0 || compare(l[i - 1], v) <= 0), each)
    for (const [name, sign] of [['min', -1], ['max', 1]] as const) {
      f.define(`list<${type}>!${name}(): ${type}`, (l: unknown[]) => {
        if (l.length === 0) throw new CelError(`${name} called on empty list`)
        return l.reduce((a, b) => (Math.sign(compare(b, a)) === sign ? b : a))
      }, each)
    }
  }
  f.define('list<int>!sum(): int', (l: bigint[]) => l.reduce((a, b) => int(a + b), 0n), each)
  f.define('list<uint>!sum(): uint', (l: Uint[]) => new Uint(l.reduce((a, b) => a + b.v, 0n)), each)
  f.define('list<double>!sum(): double', (l: number[]) => l.reduce((a, b) => a + b, 0), each)
  f.define('list<duration>!sum(): duration', (l: Duration[]) => new Duration(l.reduce((a, b) => int(a + b.ns), 0n)), each)
  f.define('list<A>!indexOf(A): int', (l: unknown[], v: unknown) => BigInt(l.findIndex((x) => equals(x, v))), each)
  f.define('list<A>!lastIndexOf(A): int', (l: unknown[], v: unknown) => BigInt(l.findLastIndex((x) => equals(x, v))), each)
  sets(f)
  math(f)
}

function sets(f: Functions): void {
  const within = (a: unknown[], b: unknown[]): boolean => a.every((x) => b.some((y) => equals(x, y)))
  const cost = (factor: number) => ([a = ONE, b = ONE]: readonly Size[]): Size => plus(scaled(product(a, b), factor), ONE)
  f.define('sets.contains(list<A>, list<A>): bool', (a: unknown[], b: unknown[]) => within(b, a), { cost: cost(1) })
  f.define('sets.equivalent(list<A>, list<A>): bool', (a: unknown[], b: unknown[]) => within(a, b) && within(b, a), { cost: cost(2) })
  f.define('sets.intersects(list<A>, list<A>): bool', (a: unknown[], b: unknown[]) => a.some((x) => b.some((y) => equals(x, y))), { cost: cost(1) })
}

function math(f: Functions): void {
  const pick = (sign: number) => (...args: unknown[]): unknown => args.reduce((a, b) => (Math.sign(compareNumbers(number(b), number(a))) === sign ? b : a))
  for (const [name, sign] of [['greatest', 1], ['least', -1]] as const) {
    for (const type of ['int', 'uint', 'double']) {
      f.define(`math.${name}(${type}): ${type}`, pick(sign))
      f.define(`math.${name}(${type}, ${type}): ${type}`, pick(sign))
      f.define(`math.${name}(list<${type}>): ${type}`, (l: unknown[]) => {
        if (l.length === 0) throw new CelError(`math.@${name === 'greatest' ? 'max' : 'min'}(list) argument must not be empty`)
        return pick(sign)(...l)
      }, { cost: elements(0) })
    }
    for (const count of [2, 3, 4, 5]) f.define(`math.${name}(${Array.from({ length: count }, () => 'dyn').join(', ')}): dyn`, pick(sign))
  }
  const rounds: Readonly<Record<string, (v: number) => number>> = { ceil: Math.ceil, floor: Math.floor, trunc: Math.trunc, round: (v) => Math.sign(v) * Math.round(Math.abs(v)), sqrt: Math.sqrt }
  for (const [name, round] of Object.entries(rounds)) f.define(`math.${name}(double): double`, round)
  f.define('math.isInf(double): bool', (v: number) => v === Infinity || v === -Infinity)
  f.define('math.isNaN(double): bool', (v: number) => Number.isNaN(v))
  f.define('math.isFinite(double): bool', (v: number) => Number.isFinite(v))
  f.define('math.abs(int): int', (v: bigint) => int(v < 0n ? -v : v))
  f.define('math.abs(double): double', (v: number) => Math.abs(v))
  f.define('math.sign(int): int', (v: bigint) => (v < 0n ? -1n : v > 0n ? 1n : 0n))
  f.define('math.sign(double): double', (v: number) => Math.sign(v))
  f.define('math.bitAnd(int, int): int', (a: bigint, b: bigint) => a & b)
  f.define('math.bitOr(int, int): int', (a: bigint, b: bigint) => a | b)
  f.define('math.bitXor(int, int): int', (a: bigint, b: bigint) => a ^ b)
  f.define('math.bitNot(int): int', (a: bigint) => ~a)
  const shift = (a: bigint, n: bigint, left: boolean): bigint => {
    if (n < 0n) throw new CelError(`math.bitShift${left ? 'Left' : 'Right'}() negative offset: ${n}`)
    if (n >= 64n) return 0n
    return left ? BigInt.asIntN(64, a << n) : BigInt.asIntN(64, BigInt.asUintN(64, a) >> n)
  }
  f.define('math.bitShiftLeft(int, int): int', (a: bigint, n: bigint) => shift(a, n, true))
  f.define('math.bitShiftRight(int, int): int', (a: bigint, n: bigint) => shift(a, n, false))
}

function number(v: unknown): bigint | number {
  const n = numeric(v)
  if (n === undefined) throw new CelError('no such overload')
  return n
}
