/** `string.format(list)` of CEL's strings extension: %s %d %f %e %x %X %o %b, with precision. Pure. */
import { durationText, timestampText } from './time.ts'
import { doubleText } from './lib-core.ts'
import { CelError, Duration, Optional, Struct, Timestamp, TypeValue, Uint } from './values.ts'
import { typeName } from './type.ts'

/** @throws CelError for a missing argument or one that does not fit its verb */
export function format(pattern: string, args: readonly unknown[]): string {
  let next = 0
  return pattern.replace(/%(?:%|(?:\.(\d+))?([\s\S]?))/g, (all, precision: string | undefined, verb: string | undefined) => {
    if (all === '%%') return '%'
    if (!verb) throw new CelError('could not parse formatting clause: unexpected end of string')
    if (next >= args.length) throw new CelError(`index ${next} out of range`)
    const value = args[next++]
    const whole = (): bigint => {
      if (typeof value === 'bigint') return value
      if (value instanceof Uint) return value.v
      throw new CelError(`error during formatting: ${verb === 'd' ? 'decimal' : verb === 'o' ? 'octal' : verb === 'b' ? 'binary' : 'hex'} clause can only be used on integers${verb === 'b' ? ' and bools' : ''}, was given ${typeName(value)}`)
    }
    const number = (): number => {
      if (typeof value === 'number') return value
      if (typeof value === 'bigint' || value instanceof Uint) return Number(whole())
      throw new CelError(`error during formatting: ${verb === 'e' ? 'scientific' : 'fixed-point'} clause can only be used on doubles, was given ${typeName(value)}`)
    }
    switch (verb) {
      case 's':
        return textOf(value)
      case 'd':
        return whole().toString()
      case 'f':
        return number().toFixed(Math.min(100, Number(precision ?? 6)))
      case 'e':
        return number().toExponential(Math.min(100, Number(precision ?? 6))).replace(/e([+-])(\d)$/, 'e$10$2')
      case 'b':
        return typeof value === 'boolean' ? (value ? '1' : '0') : whole().toString(2)
      case 'o':
        return whole().toString(8)
      case 'x':
      case 'X': {
        const hex = typeof value === 'string' ? Buffer.from(value).toString('hex') : value instanceof Uint8Array ? Buffer.from(value).toString('hex') : whole().toString(16)
        return verb === 'X' ? hex.toUpperCase() : hex
      }
      default:
        throw new CelError(`could not parse formatting clause: unrecognized formatting clause "${verb}"`)
    }
  })
}

function textOf(value: unknown): string {
  if (value === null) return 'null'
  if (typeof value === 'number') return doubleText(value)
  if (value instanceof Uint) return String(value.v)
  if (value instanceof Timestamp) return timestampText(value)
  if (value instanceof Duration) return durationText(value)
  if (value instanceof Uint8Array) return Buffer.from(value).toString()
  if (value instanceof TypeValue) return value.name
  if (Array.isArray(value)) return `[${value.map(textOf).join(', ')}]`
  if (value instanceof Map) return `{${[...value].map(([k, v]) => `${textOf(k)}: ${textOf(v)}`).sort().join(', ')}}`
  if (value instanceof Struct || value instanceof Optional) throw new CelError(`error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps, was given ${typeName(value)}`)
  return String(value)
}
