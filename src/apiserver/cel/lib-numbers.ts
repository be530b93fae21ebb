/** Kubernetes' CEL functions on quantities and semantic versions. Used by the engine. */
import { parseQuantity, quantityNumber, quantityText, tryParseQuantity, type Quantity } from '../../api/quantity.ts'
import { messageOf } from '../../base/errors.ts'
import { reading, type Functions } from './functions.ts'
import { CelError, Opaque } from './values.ts'

const NANO = 1_000_000_000n
const MAX_INT = 2n ** 63n - 1n
const SEMVER = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?$/

class Amount extends Opaque {
  readonly type = 'kubernetes.Quantity'
  readonly q: Quantity
  constructor(q: Quantity) {
    super()
    this.q = q
  }
  equals(other: unknown): boolean {
    return other instanceof Amount && other.q.nano === this.q.nano
  }
  override toString(): string {
    return quantityText(this.q)
  }
}

class Semver extends Opaque {
  readonly type = 'kubernetes.Semver'
  readonly numbers: readonly bigint[]
  readonly pre: readonly string[]
  constructor(numbers: readonly bigint[], pre: readonly string[]) {
    super()
    this.numbers = numbers
    this.pre = pre
  }
  equals(other: unknown): boolean {
    return other instanceof Semver && compareSemver(this, other) === 0n
  }
}

/** A quantity as a value of the language. @throws CelError */
export const quantityValue = (text: string): unknown => new Amount(readQuantity(text))

/** A semantic version as a value of the language. @throws CelError */
export const versionValue = (text: string): unknown => parseSemver(text)

/** Defines them. */
export function defineNumbers(env: Functions): void {
  quantities(env)
  versions(env)
}

function quantities(env: Functions): void {
  env.define('isQuantity(string): bool', (t: string) => tryParseQuantity(t) !== undefined, { cost: reading(0) })
  env.define('quantity(string): kubernetes.Quantity', (t: string) => new Amount(readQuantity(t)), { cost: reading(0) })
  const whole = (a: Amount): bigint => {
    if (a.q.nano % NANO !== 0n || a.q.nano / NANO > MAX_INT || a.q.nano / NANO < -MAX_INT - 1n) throw new CelError('cannot convert value to integer')
    return a.q.nano / NANO
  }
  const order = (a: Amount, b: Amount): bigint => (a.q.nano < b.q.nano ? -1n : a.q.nano > b.q.nano ? 1n : 0n)
  const plus = (a: Amount, nano: bigint): Amount => new Amount({ nano: a.q.nano + nano, format: a.q.format })
  const of = 'kubernetes.Quantity'
  env.define(`${of}!sign(): int`, (a: Amount) => (a.q.nano > 0n ? 1n : a.q.nano < 0n ? -1n : 0n))
  env.define(`${of}!isInteger(): bool`, (a: Amount) => a.q.nano % NANO === 0n && a.q.nano / NANO <= MAX_INT)
  env.define(`${of}!asInteger(): int`, whole)
  env.define(`${of}!asApproximateFloat(): double`, (a: Amount) => quantityNumber(a.q))
  env.define(`${of}!isGreaterThan(${of}): bool`, (a: Amount, b: Amount) => order(a, b) > 0n)
  env.define(`${of}!isLessThan(${of}): bool`, (a: Amount, b: Amount) => order(a, b) < 0n)
  env.define(`${of}!compareTo(${of}): int`, order)
  env.define(`${of}!add(${of}): ${of}`, (a: Amount, b: Amount) => plus(a, b.q.nano))
  env.define(`${of}!add(int): ${of}`, (a: Amount, b: bigint) => plus(a, b * NANO))
  env.define(`${of}!sub(${of}): ${of}`, (a: Amount, b: Amount) => plus(a, -b.q.nano))
  env.define(`${of}!sub(int): ${of}`, (a: Amount, b: bigint) => plus(a, -b * NANO))
}

function versions(env: Functions): void {
  const of = 'kubernetes.Semver'
  env.define('isSemver(string): bool', (t: string) => SEMVER.test(t))
  env.define('isSemver(string, bool): bool', (t: string, loose: boolean) => SEMVER.test(loose ? normal(t) : t))
  env.define(`semver(string): ${of}`, (t: string) => parseSemver(t))
  env.define(`semver(string, bool): ${of}`, (t: string, loose: boolean) => parseSemver(loose ? normal(t) : t))
  for (const [i, name] of ['major', 'minor', 'patch'].entries()) env.define(`${of}!${name}(): int`, (v: Semver) => v.numbers[i] as bigint)
  env.define(`${of}!isGreaterThan(${of}): bool`, (a: Semver, b: Semver) => compareSemver(a, b) > 0n)
  env.define(`${of}!isLessThan(${of}): bool`, (a: Semver, b: Semver) => compareSemver(a, b) < 0n)
  env.define(`${of}!compareTo(${of}): int`, compareSemver)
}

function readQuantity(text: string): Quantity {
  try {
    return parseQuantity(text)
  } catch (error) {
    throw new CelError(messageOf(error))
  }
}

/** As the `normalize` argument asks: a leading `v`, leading zeros and missing parts are put right. */
function normal(text: string): string {
  const m = /^v?(\d+)(?:\.(\d+))?(?:\.(\d+))?([-+].*)?$/.exec(text)
  return m ? `${[m[1], m[2] ?? '0', m[3] ?? '0'].map((n) => BigInt(n as string)).join('.')}${m[4] ?? ''}` : text
}

function parseSemver(text: string): Semver {
  const m = SEMVER.exec(text)
  if (!m) throw new CelError(`invalid semantic version ${JSON.stringify(text)}`)
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
