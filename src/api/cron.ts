/**
 * Schedules of CronJobs: the five fields of cron with names, ranges, lists and steps, `@daily` and its like, `@every 1h30m`. Pure;
 * refusals are in the words of the parser that Kubernetes uses.
 */

/** Values at which a field fits, and whether it was left open with `*`. */
export interface CronField {
  readonly values: ReadonlySet<number>
  readonly open: boolean
}

export type CronSchedule =
  | { readonly kind: 'fields'; readonly minute: CronField; readonly hour: CronField; readonly day: CronField; readonly month: CronField; readonly weekday: CronField }
  | { readonly kind: 'every'; readonly seconds: number }

interface Bounds {
  readonly min: number
  readonly max: number
  readonly names?: readonly string[]
}

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']
const WEEKDAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat']
const BOUNDS = {
  minute: { min: 0, max: 59 }, hour: { min: 0, max: 23 }, day: { min: 1, max: 31 }, month: { min: 1, max: 12, names: MONTHS }, weekday: { min: 0, max: 6, names: WEEKDAYS },
} as const satisfies Record<string, Bounds>

const DESCRIPTORS: Readonly<Record<string, string>> = {
  '@yearly': '0 0 1 1 *', '@annually': '0 0 1 1 *', '@monthly': '0 0 1 * *', '@weekly': '0 0 * * 0', '@daily': '0 0 * * *', '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
}
const UNITS: Readonly<Record<string, number>> = { ns: 1e-9, us: 1e-6, 'µs': 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600 }

/** Thrown by the parser and caught by {@link cronError}; its message is what the user reads. */
class Refusal extends Error {}
const refuse = (text: string): never => {
  throw new Refusal(text)
}

/** What is wrong with a schedule; undefined when nothing is. */
export function cronError(text: string): string | undefined {
  try {
    parseCron(text)
    return undefined
  } catch (error) {
    if (error instanceof Refusal) return error.message
    throw error
  }
}

/** Reads a schedule. A leading `TZ=…` is skipped: Kubernetes has a field for it. @throws Error saying what does not parse */
export function parseCron(text: string): CronSchedule {
  if (text === '') refuse('empty spec string')
  const zone = /^(?:CRON_)?TZ=\S+\s+/.exec(text)
  const plain = text.slice(zone?.[0].length ?? 0).trim()
  if (plain.startsWith('@every ')) return { kind: 'every', seconds: duration(plain.slice('@every '.length), plain) }
  const spec = plain.startsWith('@') ? (DESCRIPTORS[plain] ?? refuse(`unrecognized descriptor: ${plain}`)) : plain
  const parts = spec.split(/\s+/).filter((p) => p !== '')
  if (parts.length !== 5) refuse(`expected exactly 5 fields, found ${parts.length}: [${parts.join(' ')}]`)
  const [minute, hour, day, month, weekday] = parts as [string, string, string, string, string]
  return {
    kind: 'fields', minute: field(minute, BOUNDS.minute), hour: field(hour, BOUNDS.hour), day: field(day, BOUNDS.day), month: field(month, BOUNDS.month),
    weekday: field(weekday, BOUNDS.weekday),
  }
}

function duration(text: string, whole: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)/g)]
  if (parts.length === 0 || parts.map((p) => p[0]).join('') !== text) refuse(`failed to parse duration ${whole}: time: invalid duration "${text}"`)
  const seconds = parts.reduce((sum, p) => sum + Number(p[1]) * (UNITS[p[2] as string] as number), 0)
  // Less than a second means every second.
  return Math.max(1, Math.floor(seconds))
}

function field(text: string, bounds: Bounds): CronField {
  const values = new Set<number>()
  let open = false
  for (const part of text.split(',').filter((p) => p !== '')) if (range(part, bounds, values)) open = true
  return { values, open }
}

/** Adds the values of one range; true when it is `*` without a step. */
function range(text: string, bounds: Bounds, values: Set<number>): boolean {
  const [span = '', stepText, ...tooMuch] = text.split('/')
  const [low = '', high, ...more] = span.split('-')
  let [start, end] = [bounds.min, bounds.max]
  const star = low === '*' || low === '?'
  if (!star) {
    start = numberOf(low, bounds)
    if (more.length > 0) refuse(`too many hyphens: ${text}`)
    end = high === undefined ? start : numberOf(high, bounds)
  }
  if (tooMuch.length > 0) refuse(`too many slashes: ${text}`)
  const step = stepText === undefined ? 1 : integer(stepText)
  // "5/10" means "5-59/10".
  if (stepText !== undefined && high === undefined) end = bounds.max
  if (start < bounds.min) refuse(`beginning of range (${start}) below minimum (${bounds.min}): ${text}`)
  if (end > bounds.max) refuse(`end of range (${end}) above maximum (${bounds.max}): ${text}`)
  if (start > end) refuse(`beginning of range (${start}) beyond end of range (${end}): ${text}`)
  if (step === 0) refuse(`step of range should be a positive number: ${text}`)
  for (let value = start; value <= end; value += step) values.add(value)
  return star && step === 1
}

function numberOf(text: string, bounds: Bounds): number {
  const named = bounds.names?.indexOf(text.toLowerCase()) ?? -1
  return named >= 0 ? named + bounds.min : integer(text)
}

function integer(text: string): number {
  if (!/^[+-]?\d+$/.test(text)) refuse(`failed to parse int from ${text}: strconv.Atoi: parsing "${text}": invalid syntax`)
  const n = Number(text)
  if (n < 0) refuse(`negative number (${n}) not allowed: ${text}`)
  return n
}
