/** `string.format(list)` of CEL's string library: %s %d %f %e %x %X %o %b, with precision. Pure. */

/** @throws Error for a missing argument or one that does not fit its verb */
export function format(pattern: string, args: readonly unknown[]): string {
  let next = 0
  return pattern.replace(/%(?:%|(?:\.(\d+))?([a-zA-Z]))/g, (all, precision: string | undefined, verb: string | undefined) => {
    if (verb === undefined) return '%'
    if (next >= args.length) throw new Error(`index ${next} out of range`)
    const value = args[next++]
    const whole = (): bigint => {
      if (typeof value === 'bigint') return value
      throw new Error(`${all} clause can only be used on integers`)
    }
    const number = (): number => {
      if (typeof value === 'number' || typeof value === 'bigint') return Number(value)
      throw new Error(`${all} clause can only be used on numbers`)
    }
    switch (verb) {
      case 's':
        return text(value)
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
        const hex = typeof value === 'string' ? Buffer.from(value).toString('hex') : whole().toString(16)
        return verb === 'X' ? hex.toUpperCase() : hex
      }
      default:
        throw new Error(`unrecognized formatting clause "${verb}"`)
    }
  })
}

function text(value: unknown): string {
  if (value === null) return 'null'
  if (value instanceof Date) return value.toISOString().replace('.000Z', 'Z')
  if (Array.isArray(value)) return `[${value.map(text).join(', ')}]`
  if (typeof value === 'object') {
    if (Object.hasOwn(value, 'toString') || (value.constructor !== Object && value.constructor !== undefined && value.constructor.prototype.hasOwnProperty('toString'))) return String(value)
    return `{${Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)).map(([k, v]) => `${k}: ${text(v)}`).join(', ')}}`
  }
  return String(value)
}
