/** Timestamps and durations of CEL, to the nanosecond: texts to values and back, and what they are made of. Pure. */
import { isDateTime } from '../../api/formats.ts'
import type { Functions } from './functions.ts'
import { CelError, Duration, Timestamp } from './values.ts'

const UNITS: Readonly<Record<string, bigint>> = { ns: 1n, us: 1_000n, µs: 1_000n, μs: 1_000n, ms: 1_000_000n, s: 1_000_000_000n, m: 60_000_000_000n, h: 3_600_000_000_000n }
const SECOND = 1_000_000_000n

/** RFC 3339. @throws CelError */
export function parseTimestamp(text: string): Timestamp {
  if (!isDateTime(text)) throw new CelError(`parsing time ${JSON.stringify(text)} as "2006-01-02T15:04:05Z07:00": cannot parse ${JSON.stringify(text)} as "2006"`)
  const fraction = /\.(\d+)/.exec(text)?.[1] ?? ''
  return new Timestamp(BigInt(Date.parse(text.replace(/\.\d+/, ''))) * 1_000_000n + BigInt(fraction.slice(0, 9).padEnd(9, '0')))
}

/** `1h30m`, `-1.5s`. @throws CelError */
export function parseDuration(text: string): Duration {
  const m = /^([+-]?)(0|(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)$/.exec(text)
  if (!m) throw new CelError(`time: invalid duration ${JSON.stringify(text)}`)
  let ns = 0n
  for (const [, count = '', unit = ''] of (m[2] as string).matchAll(/(\d+(?:\.\d*)?|\.\d+)([a-zµμ]+)/g)) ns += decimal(count, UNITS[unit] as bigint)
  if (ns > 2n ** 63n - 1n) throw new CelError(`time: invalid duration ${JSON.stringify(text)}`)
  return new Duration(m[1] === '-' ? -ns : ns)
}

function decimal(count: string, unit: bigint): bigint {
  const [whole = '', part = ''] = count.split('.')
  return BigInt(whole || '0') * unit + (part === '' ? 0n : (BigInt(part) * unit) / 10n ** BigInt(part.length))
}

/** Words and units of the `duration` format of schemas, longer than CEL's own: `3 days`. undefined for what is none. */
export function formatDuration(text: string): Duration | undefined {
  const units: Readonly<Record<string, bigint>> = { ...UNITS, d: 86_400n * SECOND, w: 604_800n * SECOND }
  let ns = 0n
  let seen = false
  for (const [, count = '', unit = ''] of text.matchAll(/(\d+(?:\.\d*)?|\.\d+)\s*([a-zµμ]+)/gi)) {
    const size = units[unit.toLowerCase()] ?? units[unit.slice(0, 1).toLowerCase()]
    if (size === undefined) return undefined
    seen = true
    ns += decimal(count, size)
  }
  return seen || text === '0' ? new Duration(text.startsWith('-') ? -ns : ns) : undefined
}

/** As Go prints seconds: `5400s`, `0.5s`. */
export function durationText(d: Duration): string {
  const ns = d.ns < 0n ? -d.ns : d.ns
  const part = (ns % SECOND).toString().padStart(9, '0').replace(/0+$/, '')
  return `${d.ns < 0n ? '-' : ''}${ns / SECOND}${part === '' ? '' : `.${part}`}s`
}

/** RFC 3339 in UTC, with as many decimals as there are. */
export function timestampText(t: Timestamp): string {
  const part = (((t.ns % SECOND) + SECOND) % SECOND).toString().padStart(9, '0').replace(/0+$/, '')
  return new Date(Number(floorDiv(t.ns, 1_000_000n))).toISOString().replace(/\.\d+Z$/, `${part === '' ? '' : `.${part}`}Z`)
}

function floorDiv(a: bigint, b: bigint): bigint {
  return a >= 0n ? a / b : -((-a + b - 1n) / b)
}

const DAY_MS = 86_400_000
const GETTERS: Readonly<Record<string, (d: Date) => number>> = {
  getFullYear: (d) => d.getUTCFullYear(),
  getMonth: (d) => d.getUTCMonth(),
  getDayOfMonth: (d) => d.getUTCDate() - 1,
  getDate: (d) => d.getUTCDate(),
  getDayOfWeek: (d) => d.getUTCDay(),
  getDayOfYear: (d) => Math.floor((Date.UTC(d.getUTCFullYear(), d.getUTCMonth(), d.getUTCDate()) - Date.UTC(d.getUTCFullYear(), 0, 1)) / DAY_MS),
  getHours: (d) => d.getUTCHours(),
  getMinutes: (d) => d.getUTCMinutes(),
  getSeconds: (d) => d.getUTCSeconds(),
  getMilliseconds: (d) => d.getUTCMilliseconds(),
}

/** Defines the parts of timestamps and durations. */
export function defineTime(f: Functions): void {
  for (const [name, get] of Object.entries(GETTERS)) {
    const read = (t: Timestamp, zone: string): bigint => BigInt(get(new Date(Number(floorDiv(t.ns, 1_000_000n)) + offsetMs(t, zone))))
    f.define(`timestamp!${name}(): int`, (t: Timestamp) => read(t, 'UTC'))
    f.define(`timestamp!${name}(string): int`, read)
  }
  for (const [name, unit] of [['getHours', 3_600n * SECOND], ['getMinutes', 60n * SECOND], ['getSeconds', SECOND]] as const) f.define(`duration!${name}(): int`, (d: Duration) => d.ns / unit)
  f.define('duration!getMilliseconds(): int', (d: Duration) => d.ns / 1_000_000n)
}

function offsetMs(t: Timestamp, zone: string): number {
  const fixed = /^([+-]?)(\d\d):(\d\d)$/.exec(zone)
  if (fixed) return (fixed[1] === '-' ? -1 : 1) * (Number(fixed[2]) * 60 + Number(fixed[3])) * 60_000
  if (zone === 'UTC' || zone === '') return 0
  try {
    const text = new Intl.DateTimeFormat('en-US', { timeZone: zone, timeZoneName: 'longOffset' }).format(new Date(Number(floorDiv(t.ns, 1_000_000n))))
    const m = /GMT(?:([+-])(\d\d):(\d\d))?/.exec(text)
    return m?.[1] ? (m[1] === '-' ? -1 : 1) * (Number(m[2]) * 60 + Number(m[3])) * 60_000 : 0
  } catch {
    throw new CelError(`unknown time zone ${zone}`)
  }
}
