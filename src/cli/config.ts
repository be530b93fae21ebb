/**
 * Settings of a command: flags over `SKERRY_*` variables over `/etc/skerry/config.yaml` (keys are the flag names) over
 * defaults. One description of the flags serves parsing, help and checks. The only reader of env, argv and settings files.
 */
import { existsSync, readFileSync } from 'node:fs'
import { load } from 'js-yaml'
import { AppError, messageOf } from '../base/errors.ts'

export interface Flag {
  readonly name: string
  readonly type: 'string' | 'boolean' | 'number' | 'list'
  readonly help: string
  readonly default?: string | number | boolean
  /** Shown in help for the value, e.g. `PATH`. */
  readonly value?: string
}

export type Settings = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>

export interface Parsed {
  readonly settings: Settings
  readonly positionals: readonly string[]
}

export const CONFIG_FILE = '/etc/skerry/config.yaml'

/** Reads argv by the flags given; unknown flags and wrong types are refused with what is possible. */
export function parseSettings(
  flags: readonly Flag[],
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  configFile = env['SKERRY_CONFIG'] ?? CONFIG_FILE,
  /** All flag names there are: a settings file may serve several commands, but a key of none is a mistake. */
  everyName: ReadonlySet<string> = new Set(flags.map((f) => f.name)),
): Parsed {
  const byName = new Map(flags.map((f) => [f.name, f]))
  const given = new Map<string, string[]>()
  const positionals: string[] = []
  let config = configFile
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i] as string
    if (arg === '--') {
      positionals.push(...argv.slice(i + 1))
      break
    }
    // No flag begins with a digit: `-5` is a value.
    if (!/^-\D/.test(arg)) {
      positionals.push(arg)
      continue
    }
    const [name, inline] = split(arg.replace(/^--?/, ''))
    if (name === 'config') {
      config = inline ?? argv[++i] ?? ''
      if (!existsSync(config)) throw new AppError('invalid', `read settings: --config names "${config}", which does not exist`)
      continue
    }
    const flag = byName.get(name)
    if (!flag) throw new AppError('invalid', `read flags: unknown flag "${arg}", known are ${flags.map((f) => `--${f.name}`).join(' ')}`)
    const value = inline ?? (flag.type === 'boolean' ? 'true' : argv[++i])
    if (value === undefined) throw new AppError('invalid', `read flags: --${name} needs a value`)
    given.set(name, [...(given.get(name) ?? []), value])
  }
  const file = existsSync(config) ? readConfig(config, byName, everyName) : {}
  const settings: Record<string, string | number | boolean | readonly string[] | undefined> = {}
  for (const flag of flags) {
    const variable = `SKERRY_${flag.name.toUpperCase().replaceAll('-', '_')}`
    const fromFlag = given.get(flag.name)
    const fromEnv = env[variable]
    if (fromFlag) settings[flag.name] = convert(flag, fromFlag, `--${flag.name}`)
    else if (fromEnv !== undefined && fromEnv !== '') settings[flag.name] = convert(flag, flag.type === 'list' ? fromEnv.split(',') : [fromEnv], variable)
    else if (file[flag.name] !== undefined) settings[flag.name] = convert(flag, [file[flag.name]].flat().map(String), `"${flag.name}" in ${config}`)
    else settings[flag.name] = flag.default ?? (flag.type === 'list' ? [] : undefined)
  }
  return { settings, positionals }
}

/** Help text of the flags, one line each. */
export function helpOf(flags: readonly Flag[]): string {
  const left = flags.map((f) => `  --${f.name}${f.type === 'boolean' ? '' : ` ${f.value ?? f.type.toUpperCase()}`}`)
  const width = Math.max(0, ...left.map((l) => l.length))
  return flags.map((f, i) => `${(left[i] as string).padEnd(width + 2)}${f.help}${f.default === undefined ? '' : ` (default ${f.default})`}`).join('\n')
}

function split(text: string): [string, string | undefined] {
  const at = text.indexOf('=')
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)]
}

function convert(flag: Flag, values: readonly string[], origin: string): string | number | boolean | readonly string[] {
  const last = values.at(-1) ?? ''
  switch (flag.type) {
    case 'list':
      return values
    case 'string':
      return last
    case 'boolean':
      if (last === 'true' || last === '1') return true
      if (last === 'false' || last === '0') return false
      throw new AppError('invalid', `read settings: ${origin} is "${last}", expected true or false`)
    case 'number': {
      const n = Number(last)
      if (last.trim() === '' || !Number.isFinite(n)) throw new AppError('invalid', `read settings: ${origin} is "${last}", expected a number`)
      return n
    }
    default:
      return flag.type satisfies never
  }
}

function readConfig(path: string, known: ReadonlyMap<string, Flag>, everyName: ReadonlySet<string>): Record<string, unknown> {
  let value: unknown
  try {
    value = load(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new AppError('invalid', `read settings: "${path}" is not valid YAML: ${messageOf(error)}`, { cause: error })
  }
  if (value === undefined || value === null) return {}
  if (typeof value !== 'object' || Array.isArray(value)) throw new AppError('invalid', `read settings: "${path}" is not a mapping of flag names to values`)
  // A file may serve server and agent alike: keys of other commands are fine.
  const unknown = Object.keys(value).find((k) => !everyName.has(k))
  if (unknown !== undefined) throw new AppError('invalid', `read settings: unknown key "${unknown}" in ${path}, known are ${[...everyName].join(' ')}`)
  return Object.fromEntries(Object.entries(value).filter(([k]) => known.has(k)))
}

/** A string setting that must be there. */
export function need(settings: Settings, name: string, why: string): string {
  const value = settings[name]
  if (typeof value !== 'string' || value === '') throw new AppError('invalid', `read settings: --${name} is missing: ${why}`)
  return value
}
