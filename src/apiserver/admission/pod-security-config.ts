/**
 * PodSecurity for the whole cluster, as Kubernetes' admission configuration file says it: levels for namespaces that say nothing, and who and what
 * is exempt. Checked at the door, every key: a typing error must not leave pods unjudged. Pure; the files are read by `cli/wire`.
 */
import { dnsLabelErrors, dnsSubdomainErrors } from '../../api/names.ts'
import { isObject } from '../../api/patch/merge-patch.ts'
import { AppError } from '../../base/errors.ts'
import type { Level } from './pod-security-checks.ts'

export const LEVELS: readonly string[] = ['privileged', 'baseline', 'restricted'] satisfies Level[]
export const VERSION = /^v1\.(?:0|[1-9]\d{0,3})$/
export const MODES = ['enforce', 'audit', 'warn'] as const
export type Mode = (typeof MODES)[number]

/** A level as of a version of Kubernetes: `latest` or `v1.31`. */
export interface Policy {
  readonly level: Level
  readonly version: string
}

export interface PodSecurityConfig {
  /** For namespaces without the label. */
  readonly defaults: Readonly<Record<Mode, Policy>>
  readonly usernames: ReadonlySet<string>
  readonly namespaces: ReadonlySet<string>
  readonly runtimeClasses: ReadonlySet<string>
}

const FREE: Policy = { level: 'privileged', version: 'latest' }
/** What holds without a file: nobody is exempt, and nothing is forbidden where no label says so. */
export const NO_POD_SECURITY_CONFIG: PodSecurityConfig = { defaults: { enforce: FREE, audit: FREE, warn: FREE }, usernames: new Set(), namespaces: new Set(), runtimeClasses: new Set() }

const FILE_KIND = ['AdmissionConfiguration', 'apiserver.config.k8s.io/v1'] as const
const PLUGIN_KIND = ['PodSecurityConfiguration', 'pod-security.admission.config.k8s.io/v1'] as const

/**
 * PodSecurity's part of an AdmissionConfiguration. `read` gives the content of a file that a plugin's `path` names.
 * @throws AppError `invalid` with the key, its value and what may stand there
 */
export async function parseAdmissionConfig(value: unknown, read: (path: string) => Promise<unknown>): Promise<PodSecurityConfig> {
  const file = objectAt(value, '', ['apiVersion', 'kind', 'plugins'])
  kindAt(file, '', FILE_KIND)
  const seen = new Set<string>()
  let config = NO_POD_SECURITY_CONFIG
  for (const [i, item] of listAt(file.plugins, 'plugins').entries()) {
    const at = `plugins[${i}]`
    const plugin = objectAt(item, at, ['name', 'path', 'configuration'])
    if (plugin.name !== 'PodSecurity') refuse(`${at}.name`, plugin.name, 'is none whose configuration is read here: only PodSecurity is')
    if (seen.has('PodSecurity')) refuse(`${at}.name`, plugin.name, 'stands twice')
    seen.add('PodSecurity')
    const { path, configuration } = plugin
    if ((path === undefined || path === '') === (configuration === undefined || configuration === null)) refuse(at, undefined, 'needs either a path or a configuration')
    if (typeof path === 'string' && path !== '') config = podSecurityAt(await read(path), '')
    else if (path !== undefined && path !== '') refuse(`${at}.path`, path, 'is not the path of a file')
    else config = podSecurityAt(configuration, `${at}.configuration`)
  }
  return config
}

function podSecurityAt(value: unknown, at: string): PodSecurityConfig {
  const config = objectAt(value, at, ['apiVersion', 'kind', 'defaults', 'exemptions'])
  kindAt(config, at, PLUGIN_KIND)
  const below = (key: string): string => (at === '' ? key : `${at}.${key}`)
  const defaults = objectAt(config.defaults ?? {}, below('defaults'), MODES.flatMap((mode) => [mode, `${mode}-version`]))
  const policy = (mode: Mode): Policy => {
    const [level, version] = [defaults[mode] ?? 'privileged', defaults[`${mode}-version`] ?? 'latest']
    if (!LEVELS.includes(level as string)) refuse(`${below('defaults')}.${mode}`, level, `must be one of ${LEVELS.join(', ')}`)
    if (version !== 'latest' && !(typeof version === 'string' && VERSION.test(version))) refuse(`${below('defaults')}.${mode}-version`, version, 'must be "latest" or "v1.x"')
    return { level: level as Level, version: version as string }
  }
  const exemptions = objectAt(config.exemptions ?? {}, below('exemptions'), ['usernames', 'namespaces', 'runtimeClasses'])
  const names = (key: string, rule: (name: string) => readonly string[]): Set<string> => {
    const out = new Set<string>()
    for (const [i, name] of listAt(exemptions[key], below(`exemptions.${key}`)).entries()) {
      const where = `${below(`exemptions.${key}`)}[${i}]`
      if (typeof name !== 'string') return refuse(where, name, 'is not a text')
      const [why] = rule(name)
      if (why !== undefined) refuse(where, name, why)
      if (out.has(name)) refuse(where, name, 'stands twice')
      out.add(name)
    }
    return out
  }
  return {
    defaults: { enforce: policy('enforce'), audit: policy('audit'), warn: policy('warn') },
    usernames: names('usernames', (name) => (name === '' ? ['username must not be empty'] : [])),
    namespaces: names('namespaces', dnsLabelErrors),
    runtimeClasses: names('runtimeClasses', dnsSubdomainErrors),
  }
}

function refuse(at: string, value: unknown, why: string): never {
  throw new AppError('invalid', `${at === '' ? 'its content' : at}${value === undefined ? '' : ` ${JSON.stringify(value)}`} ${why}`)
}

function objectAt(value: unknown, at: string, keys: readonly string[]): Readonly<Record<string, unknown>> {
  if (!isObject(value)) return refuse(at, value ?? null, 'is not an object')
  for (const key of Object.keys(value)) if (!keys.includes(key)) refuse(at === '' ? key : `${at}.${key}`, undefined, `is not a key here: ${keys.join(', ')} are`)
  return value as Readonly<Record<string, unknown>>
}

function listAt(value: unknown, at: string): readonly unknown[] {
  if (value === undefined || value === null) return []
  return Array.isArray(value) ? value : refuse(at, value, 'is not a list')
}

function kindAt(value: Readonly<Record<string, unknown>>, at: string, [kind, apiVersion]: readonly [string, string]): void {
  if (value.kind !== kind || value.apiVersion !== apiVersion) refuse(at, undefined, `is kind ${JSON.stringify(value.kind ?? null)} of ${JSON.stringify(value.apiVersion ?? null)}, not ${kind} of ${apiVersion}`)
}
