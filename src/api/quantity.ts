/**
 * Quantities: exact numbers with a unit (`500m`, `1.5Gi`, `12e6`), kept as a whole count of nano-units in a bigint, so that adding
 * and comparing never rounds. Used by the scheduler, the agent (cgroups), validation and kinds' columns.
 */
import { AppError } from '../base/errors.ts'

type Format = 'DecimalSI' | 'BinarySI' | 'DecimalExponent'

const NANO = 1_000_000_000n
const PATTERN = /^([+-]?)(\d+\.?\d*|\.\d+)(?:(Ki|Mi|Gi|Ti|Pi|Ei)|([numkMGTPE])|[eE]([+-]?\d+))?$/
const BINARY = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei']
const DECIMAL: readonly (readonly [suffix: string, power: number])[] = [
  ['E', 18], ['P', 15], ['T', 12], ['G', 9], ['M', 6], ['k', 3], ['', 0], ['m', -3], ['u', -6], ['n', -9],
]
/** Exponents beyond this are refused rather than computed; no quantity in use comes near. */
const MAX_EXPONENT = 60

export interface Quantity {
  /** The value times 10^9. */
  readonly nano: bigint
  readonly format: Format
}

/** @throws AppError `invalid` with Kubernetes' text, naming the value */
export function parseQuantity(text: string | number): Quantity {
  const value = tryParseQuantity(text)
  if (value === undefined) {
    throw new AppError(
      'invalid',
      `quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$': found ${JSON.stringify(text)}`,
    )
  }
  return value
}

/** Undefined when the text is no quantity. Parts smaller than a nano-unit are rounded up, away from zero, as Kubernetes does. */
export function tryParseQuantity(text: string | number): Quantity | undefined {
  const m = PATTERN.exec(String(text))
  if (!m || m[2] === undefined) return undefined
  const [whole = '', fraction = ''] = m[2].split('.')
  const exponent = m[5] !== undefined ? Number(m[5]) : m[4] !== undefined ? (DECIMAL.find(([s]) => s === m[4])?.[1] ?? 0) : 0
  if (Math.abs(exponent) > MAX_EXPONENT || m[2].length > 200) return undefined
  // value = digits * 10^(exponent - fraction.length) * 1024^n, in nano-units.
  let numerator = BigInt(whole + fraction) * 1024n ** BigInt(Math.max(0, BINARY.indexOf(m[3] ?? '')))
  const shift = exponent - fraction.length + 9
  if (shift >= 0) numerator *= 10n ** BigInt(shift)
  const divisor = shift < 0 ? 10n ** BigInt(-shift) : 1n
  const nano = (numerator + divisor - 1n) / divisor
  const format = m[3] !== undefined ? 'BinarySI' : m[5] !== undefined ? 'DecimalExponent' : 'DecimalSI'
  return { nano: m[1] === '-' ? -nano : nano, format }
}

/** The canonical text: no fraction, the largest unit that keeps it whole. */
export function quantityText(q: Quantity): string {
  if (q.nano === 0n) return '0'
  const sign = q.nano < 0n ? '-' : ''
  const nano = q.nano < 0n ? -q.nano : q.nano
  if (q.format === 'BinarySI' && nano % NANO === 0n && nano >= 1024n * NANO) {
    let value = nano / NANO
    let unit = 0
    while (value % 1024n === 0n && unit < BINARY.length - 1) {
      value /= 1024n
      unit++
    }
    return `${sign}${value}${BINARY[unit]}`
  }
  for (const [suffix, power] of DECIMAL) {
    const unit = 10n ** BigInt(power + 9)
    if (nano % unit !== 0n) continue
    if (q.format === 'DecimalExponent') return `${sign}${nano / unit}${power === 0 ? '' : `e${power}`}`
    return `${sign}${nano / unit}${suffix}`
  }
  return `${sign}${nano}n`
}

/** Negative, zero or positive, as sorting wants it. */
export function compareQuantities(a: Quantity, b: Quantity): number {
  return a.nano < b.nano ? -1 : a.nano > b.nano ? 1 : 0
}

/** The sum, in the format of `a` (of `b` when `a` is zero). */
export function addQuantities(a: Quantity, b: Quantity): Quantity {
  return { nano: a.nano + b.nano, format: a.nano === 0n ? b.format : a.format }
}

/** The value as a number, possibly rounded: bytes, cores. */
export function quantityNumber(q: Quantity | string | number): number {
  const { nano } = typeof q === 'object' ? q : parseQuantity(q)
  const whole = nano / NANO
  return Number(whole) + Number(nano - whole * NANO) / 1e9
}

/** Thousandths, rounded up: CPU millicores. */
export function quantityMillis(q: Quantity | string | number): number {
  const { nano } = typeof q === 'object' ? q : parseQuantity(q)
  const unit = NANO / 1000n
  return Number(nano > 0n ? (nano + unit - 1n) / unit : nano / unit)
}
