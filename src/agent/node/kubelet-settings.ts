/**
 * The settings of a kubelet that this node has too, under the kubelet's names and in its forms: flags, settings file and `kubelet-arg`
 * come down to this. Pure.
 */
import { AppError } from '../../base/errors.ts'
import type { ImagePolicy } from '../image-gc.ts'
import { parseLimit, SIGNALS, type EvictionSettings, type Limit, type Signal, type Threshold } from './eviction.ts'

export interface KubeletSettings {
  readonly eviction: EvictionSettings
  readonly images: ImagePolicy
  readonly logMaxBytes: number
  readonly logMaxFiles: number
  readonly parallelPulls: number
  /** Time for pods to end when the machine goes down, and the part of it kept for critical ones, ms; 0: the agent leaves them running. */
  readonly shutdown: { readonly graceMs: number; readonly criticalMs: number }
  /** As a KubeletConfiguration has them. */
  readonly configz: Readonly<Record<string, unknown>>
  /** What was given and does not count, for the log. */
  readonly notes: readonly string[]
}

/**
 * Signals of a disk that holds writable layers apart from images. containerd keeps both on one disk, so they are what `imagefs.*` is, and
 * limits of their own do not count, as in a kubelet.
 */
const CONTAINERFS = new Set(['containerfs.available', 'containerfs.inodesFree'])

/** The kubelet's names, and its defaults. */
const DEFAULTS: Readonly<Record<string, string>> = {
  'eviction-hard': 'memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%',
  'eviction-soft': '',
  'eviction-soft-grace-period': '',
  'eviction-max-pod-grace-period': '0',
  'eviction-minimum-reclaim': '',
  'eviction-pressure-transition-period': '5m',
  'image-gc-high-threshold': '85',
  'image-gc-low-threshold': '80',
  'minimum-image-ttl-duration': '2m',
  'image-maximum-gc-age': '0',
  'container-log-max-size': '10Mi',
  'container-log-max-files': '5',
  'serialize-image-pulls': 'false',
  'max-parallel-image-pulls': '3',
  'shutdown-grace-period': '0',
  'shutdown-grace-period-critical-pods': '0',
}

/** Reads settings by the table's names; what is not given has its default. @throws AppError `invalid` naming flag and value */
export function kubeletSettings(given: Readonly<Record<string, string | undefined>> = {}): KubeletSettings {
  const of = (name: string): string => given[name] ?? DEFAULTS[name] ?? ''
  const wrong = (name: string, why: string): AppError => new AppError('invalid', `read settings: --${name} "${of(name)}" ${why}`)
  const time = (name: string): number => durationMs(of(name)) ?? fail(wrong(name, 'is not a time like 90s, 1m30s or 2h'))
  const whole = (name: string, least: number, most: number): number => {
    const n = Number(of(name))
    if (of(name) === '' || !Number.isInteger(n) || n < least || n > most) throw wrong(name, `is not a whole number between ${least} and ${most}`)
    return n
  }
  const notes: string[] = []
  const pairs = (name: string, sign: string): Map<Signal, string> => {
    const found = new Map<Signal, string>()
    for (const part of of(name).split(',').map((s) => s.trim()).filter(Boolean)) {
      const [key = '', value] = part.split(sign)
      if (CONTAINERFS.has(key.trim()) && value !== undefined) {
        notes.push(`--${name} "${part}" does not count: containers are on the disk of the images, for which ${key.trim().replace('containerfs', 'imagefs')} counts`)
        continue
      }
      const signal = SIGNALS.find((s) => s === key.trim())
      if (!signal || value === undefined) throw wrong(name, `has "${part}", which is not like memory.available${sign}...: known are ${SIGNALS.join(', ')}`)
      if (found.has(signal)) throw wrong(name, `names ${signal} twice`)
      found.set(signal, value.trim())
    }
    return found
  }
  const limit = (name: string, text: string): Limit => parseLimit(text) ?? fail(wrong(name, `has "${text}", which is neither an amount like 100Mi nor a part like 10%`))
  const graces = pairs('eviction-soft-grace-period', '=')
  const reclaims = pairs('eviction-minimum-reclaim', '=')
  const thresholds = (name: string, soft: boolean): Threshold[] =>
    [...pairs(name, '<')].flatMap(([signal, text]) => {
      const value = limit(name, text)
      // 0 % and 100 % switch a threshold off, as in the kubelet.
      if ('percent' in value && (value.percent === 0 || value.percent === 100)) return []
      const grace = graces.get(signal)
      if (soft && grace === undefined) throw wrong('eviction-soft-grace-period', `has no time for the soft limit ${signal}: add ${signal}=1m30s`)
      const graceMs = grace === undefined ? 0 : (durationMs(grace) ?? fail(wrong('eviction-soft-grace-period', `has "${grace}", which is not a time like 1m30s`)))
      const reclaim = reclaims.get(signal)
      return [{ signal, limit: value, ...(soft ? { graceMs } : {}), ...(reclaim === undefined ? {} : { reclaim: limit('eviction-minimum-reclaim', reclaim) }) }]
    })
  const [highPercent, lowPercent] = [whole('image-gc-high-threshold', 0, 100), whole('image-gc-low-threshold', 0, 100)]
  if (lowPercent >= highPercent) throw wrong('image-gc-low-threshold', `is not below --image-gc-high-threshold ${highPercent}`)
  const logMaxBytes = size(of('container-log-max-size')) ?? fail(wrong('container-log-max-size', 'is not a size like 10Mi'))
  const serial = of('serialize-image-pulls')
  if (serial !== 'true' && serial !== 'false') throw wrong('serialize-image-pulls', 'is neither true nor false')
  const shutdown = { graceMs: time('shutdown-grace-period'), criticalMs: time('shutdown-grace-period-critical-pods') }
  if (shutdown.criticalMs > shutdown.graceMs) throw wrong('shutdown-grace-period-critical-pods', `is more than --shutdown-grace-period ${of('shutdown-grace-period')}, of which it is a part`)
  return {
    eviction: {
      thresholds: [...thresholds('eviction-hard', false), ...thresholds('eviction-soft', true)],
      maxPodGraceSeconds: whole('eviction-max-pod-grace-period', 0, 86_400),
      transitionMs: time('eviction-pressure-transition-period'),
    },
    images: { highPercent, lowPercent, minAgeMs: time('minimum-image-ttl-duration'), maxAgeMs: time('image-maximum-gc-age') },
    logMaxBytes,
    logMaxFiles: whole('container-log-max-files', 2, 1000),
    parallelPulls: serial === 'true' ? 1 : whole('max-parallel-image-pulls', 1, 100),
    shutdown,
    configz: configuration(of),
    notes,
  }
}

/** The names of the settings in a KubeletConfiguration, and their form there. */
const CONFIGURATION: Readonly<Record<string, readonly [field: string, form: 'pairs' | 'number' | 'boolean' | 'time' | 'text']>> = {
  'eviction-hard': ['evictionHard', 'pairs'],
  'eviction-soft': ['evictionSoft', 'pairs'],
  'eviction-soft-grace-period': ['evictionSoftGracePeriod', 'pairs'],
  'eviction-max-pod-grace-period': ['evictionMaxPodGracePeriod', 'number'],
  'eviction-minimum-reclaim': ['evictionMinimumReclaim', 'pairs'],
  'eviction-pressure-transition-period': ['evictionPressureTransitionPeriod', 'time'],
  'image-gc-high-threshold': ['imageGCHighThresholdPercent', 'number'],
  'image-gc-low-threshold': ['imageGCLowThresholdPercent', 'number'],
  'minimum-image-ttl-duration': ['imageMinimumGCAge', 'time'],
  'image-maximum-gc-age': ['imageMaximumGCAge', 'time'],
  'container-log-max-size': ['containerLogMaxSize', 'text'],
  'container-log-max-files': ['containerLogMaxFiles', 'number'],
  'serialize-image-pulls': ['serializeImagePulls', 'boolean'],
  'max-parallel-image-pulls': ['maxParallelImagePulls', 'number'],
  'shutdown-grace-period': ['shutdownGracePeriod', 'time'],
  'shutdown-grace-period-critical-pods': ['shutdownGracePeriodCriticalPods', 'time'],
}

function configuration(of: (name: string) => string): Record<string, unknown> {
  const forms = {
    pairs: (text: string) => (text === '' ? undefined : Object.fromEntries(text.split(',').map((part) => part.trim().split(/[<=]/, 2)))),
    number: Number,
    boolean: (text: string) => text === 'true',
    time: (text: string) => goTime(durationMs(text) ?? 0),
    text: String,
  }
  return Object.fromEntries(Object.entries(CONFIGURATION).map(([name, [field, form]]) => [field, forms[form](of(name))]))
}

/** A time as Go prints it: `5m0s`. */
function goTime(ms: number): string {
  const [h, m, s] = [Math.floor(ms / 3_600_000), Math.floor(ms / 60_000) % 60, (ms % 60_000) / 1000]
  return `${h > 0 ? `${h}h` : ''}${h > 0 || m > 0 ? `${m}m` : ''}${s}s`
}

/** Go's form of a time: `1h30m`, `90s`, `500ms`, and a plain 0. Undefined when it is none. */
export function durationMs(text: string): number | undefined {
  if (text === '0') return 0
  if (!/^(\d+(\.\d+)?(h|ms|m|s))+$/.test(text)) return undefined
  const unit: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1 }
  return [...text.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s)/g)].reduce((sum, [, n, u]) => sum + Number(n) * (unit[u as string] as number), 0)
}

function size(text: string): number | undefined {
  const value = parseLimit(text)
  return value && 'amount' in value && value.amount > 0 ? value.amount : undefined
}

function fail(error: AppError): never {
  throw error
}
