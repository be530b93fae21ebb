/** Kubernetes' CEL functions on quantities and semantic versions. Used by the engine. */
import type { Environment } from '@marcbachmann/cel-js'
import { parseQuantity, quantityNumber, quantityText, tryParseQuantity, type Quantity } from '../../api/quantity.ts'

const NANO = 1_000_000_000n
const MAX_INT = 2n ** 63n - 1n
const SEMVER = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?$/

class Amount {
  readonly q: Quantity
  constructor(q: Quantity) {
    this.q = q
  }
  toString(): string {
    return quantityText(this.q)
  }
}

class Semver {
  readonly numbers: readonly bigint[]
  readonly pre: readonly string[]
  constructor(numbers: readonly bigint[], pre: readonly string[]) {
    this.numbers = numbers
    this.pre = pre
  }
}

/** Registers them. */
export function registerNumbers(env: Environment): void {
  quantities(env)
  versions(env)
}

function quantities(env: Environment): void {
  env.registerType('kubernetes.Quantity', Amount)
  env.registerFunction('isQuantity(string): bool', (t: string) => tryParseQuantity(t) !== undefined)
  env.registerFunction('quantity(string): kubernetes.Quantity', (t: string) => new Amount(parseQuantity(t)))
  const whole = (a: Amount): bigint => {
    if (a.q.nano % NANO !== 0n || a.q.nano / NANO > MAX_INT || a.q.nano / NANO < -MAX_INT - 1n) throw new Error('cannot convert value to integer')
    return a.q.nano / NANO
  }
  const order = (a: Amount, b: Amount): bigint => (a.q.nano < b.q.nano ? -1n : a.q.nano > b.q.nano ? 1n : 0n)
  const plus = (a: Amount, nano: bigint): Amount => new Amount({ nano: a.q.nano + nano, format: a.q.format })
  const of = 'kubernetes.Quantity'
  env.registerFunction(`${of}.sign(): int`, (a: Amount) => (a.q.nano > 0n ? 1n : a.q.nano < 0n ? -1n : 0n))
  env.registerFunction(`${of}.isInteger(): bool`, (a: Amount) => a.q.nano % NANO === 0n && a.q.nano / NANO <= MAX_INT)
  env.registerFunction(`${of}.asInteger(): int`, whole)
  env.registerFunction(`${of}.asApproximateFloat(): double`, (a: Amount) => quantityNumber(a.q))
  env.registerFunction(`${of}.isGreaterThan(${of}): bool`, (a: Amount, b: Amount) => order(a, b) > 0n)
  env.registerFunction(`${of}.isLessThan(${of}): bool`, (a: Amount, b: Amount) => order(a, b) < 0n)
  env.registerFunction(`${of}.compareTo(${of}): int`, order)
  env.registerFunction(`${of}.add(${of}): ${of}`, (a: Amount, b: Amount) => plus(a, b.q.nano))
  env.registerFunction(`${of}.add(int): ${of}`, (a: Amount, b: bigint) => plus(a, b * NANO))
  env.registerFunction(`${of}.sub(${of}): ${of}`, (a: Amount, b: Amount) => plus(a, -b.q.nano))
  env.registerFunction(`${of}.sub(int): ${of}`, (a: Amount, b: bigint) => plus(a, -b * NANO))
  env.registerOperator(`${of} == ${of}`, (a: Amount, b: Amount) => a.q.nano === b.q.nano)
}

function versions(env: Environment): void {
  const of = 'kubernetes.Semver'
  env.registerType(of, Semver)
  env.registerFunction('isSemver(string): bool', (t: string) => SEMVER.test(t))
  env.registerFunction('isSemver(string, bool): bool', (t: string, loose: boolean) => SEMVER.test(loose ? normal(t) : t))
  env.registerFunction(`semver(string): ${of}`, (t: string) => parseSemver(t))
  env.registerFunction(`semver(string, bool): ${of}`, (t: string, loose: boolean) => parseSemver(loose ? normal(t) : t))
  for (const [i, name] of ['major', 'minor', 'patch'].entries()) env.registerFunction(`${of}.${name}(): int`, (v: Semver) => v.numbers[i] as bigint)
  env.registerFunction(`${of}.isGreaterThan(${of}): bool`, (a: Semver, b: Semver) => compareSemver(a, b) > 0n)
  env.registerFunction(`${of}.isLessThan(${of}): bool`, (a: Semver, b: Semver) => compareSemver(a, b) < 0n)
  env.registerFunction(`${of}.compareTo(${of}): int`, compareSemver)
  env.registerOperator(`${of} == ${of}`, (a: Semver, b: Semver) => compareSemver(a, b) === 0n)
}

/** As the `normalize` argument asks: a leading `v`, leading zeros and missing parts are put right. */
function normal(text: string): string {
  const m = /^v?(\d+)(?:\.(\d+))?(?:\.(\d+))?([-+].*)?$/.exec(text)
  return m ? `${[m[1], m[2] ?? '0', m[3] ?? '0'].map((n) => BigInt(n as string)).join('.')}${m[4] ?? ''}` : text
}

function parseSemver(text: string): Semver {
  const m = SEMVER.exec(text)
  if (!m) throw new Error(`invalid semantic version ${JSON.stringify(text)}`)
  return new Semver([m[1], m[2], m[3]].map((n) => BigInt(n as string)), m[4]?.split('.') ?? [])
}

function compareSemver(a: Semver, b: Semver): bigint {
  for (let i = 0; i < 3; i++) {
    const [x, y] = [a.numbers[i] as bigint, b.numbers[i] as bigint]
    if (x !== y) return x < y ? -1n : 1n
  }
  // A release is greater than its pre-releases.
  if (a.pre.length === 0 || b.pre.length === 0) return BigInt(Math.sign(b.pre.length - a.pre.length))
  for (let i = 0; i < Math.min(a.pre.length, b.pre.length); i++) {
    const [x, y] = [a.pre[i] as string, b.pre[i] as string]
    if (x === y) continue
    const [nx, ny] = [/^\d+$/.test(x), /^\d+$/.test(y)]
    if (nx && ny) return BigInt(x) < BigInt(y) ? -1n : 1n
    if (nx !== ny) return nx ? -1n : 1n
    return x < y ? -1n : 1n
  }
  return BigInt(Math.sign(a.pre.length - b.pre.length))
}
