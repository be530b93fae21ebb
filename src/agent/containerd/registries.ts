/**
 * `registries.yaml` as users of K3s know it: where images of a registry are looked for (mirrors), and how registries and mirrors are
 * entered (configs). Parsed and turned into what containerd reads; pure but for the check that named files exist. Logins stand in
 * containerd's own configuration, everything else in `hosts.toml` files, which it reads anew for each pull.
 */
import { accessSync, constants } from 'node:fs'
import { load } from 'js-yaml'
import { AppError, messageOf } from '../../base/errors.ts'

export interface RegistryMirror {
  readonly endpoints: readonly URL[]
  /** Applied to the repository's name in order; the first that changes it counts. */
  readonly rewrites: readonly { readonly pattern: RegExp; readonly to: string }[]
}

export interface RegistryLogin {
  readonly username?: string
  readonly password?: string
  /** base64 of `username:password` */
  readonly auth?: string
  readonly identityToken?: string
}

export interface RegistryTls {
  readonly caFile?: string
  readonly certFile?: string
  readonly keyFile?: string
  readonly insecureSkipVerify: boolean
}

export interface RegistryConfig {
  readonly login: RegistryLogin | undefined
  readonly tls: RegistryTls | undefined
}

export interface Registries {
  /** By registry, `*` for those not named. */
  readonly mirrors: ReadonlyMap<string, RegistryMirror>
  /** By host as in a URL, with its port if it has one. */
  readonly configs: ReadonlyMap<string, RegistryConfig>
}

export const NO_REGISTRIES: Registries = { mirrors: new Map(), configs: new Map() }

const HOST = /^(\*|[\w.-]+(:\d+)?|\[[0-9a-fA-F:]+\](:\d+)?)$/

/** @throws AppError `invalid` with file, key and value */
export function parseRegistries(text: string, file: string): Registries {
  let root: unknown
  try {
    root = load(text)
  } catch (error) {
    // Empty, or comments only.
    if (text.split('\n').every((l) => /^\s*(#.*)?$/.test(l))) return NO_REGISTRIES
    throw new AppError('invalid', `read registries: "${file}" is not valid YAML: ${messageOf(error)}`, { cause: error })
  }
  const bad = (key: string, value: unknown, want: string): never => {
    const hidden = /password|identity_token|\.auth\.auth$/.test(key)
    throw new AppError('invalid', `read registries: ${key} in "${file}" is ${hidden ? 'not' : `${JSON.stringify(value)}, expected`} ${want}`)
  }
  const map = (value: unknown, key: string, known?: readonly string[]): [string, unknown][] => {
    if (value === undefined || value === null) return []
    if (typeof value !== 'object' || Array.isArray(value)) return bad(key, value, 'a mapping')
    for (const k of Object.keys(value)) if (known && !known.includes(k)) throw new AppError('invalid', `read registries: unknown key "${key === 'the file' ? '' : `${key}.`}${k}" in "${file}", known there are ${known.join(', ')}`)
    return Object.entries(value)
  }
  const string = (value: unknown, key: string): string | undefined => (value === undefined || value === null ? undefined : typeof value === 'string' || typeof value === 'number' ? String(value) : bad(key, value, 'a text'))
  const existing = (value: unknown, key: string): string | undefined => {
    const path = string(value, key)
    if (path === undefined || path === '') return undefined
    try {
      accessSync(path, constants.R_OK)
    } catch (error) {
      throw new AppError('invalid', `read registries: ${key} in "${file}" names "${path}", which cannot be read (${(error as NodeJS.ErrnoException).code}): give the whole path of a file that is there`)
    }
    return path
  }
  const mirrors = new Map<string, RegistryMirror>()
  const configs = new Map<string, RegistryConfig>()
  const top = Object.fromEntries(map(root, 'the file', ['mirrors', 'configs']))
  for (const [host, value] of map(top['mirrors'], 'mirrors')) {
    if (!HOST.test(host)) bad('mirrors', host, 'a registry like docker.io or reg.example:5000, or "*"')
    const key = `mirrors."${host}"`
    const fields = Object.fromEntries(map(value, key, ['endpoint', 'rewrite']))
    const listed = fields['endpoint'] ?? []
    if (!Array.isArray(listed)) bad(`${key}.endpoint`, listed, 'a list')
    mirrors.set(host, {
      endpoints: (listed as unknown[]).map((e, i) => {
        const text = string(e, `${key}.endpoint[${i}]`) ?? ''
        const url = /^[a-z]+:\/\//.test(text) ? text : `https://${text}`
        if (!/^https?:/.test(url) || !URL.canParse(url)) return bad(`${key}.endpoint[${i}]`, e, 'like https://mirror.example:5000')
        return new URL(url)
      }),
      rewrites: map(fields['rewrite'], `${key}.rewrite`).map(([from, to]) => {
        try {
          // ${1} is how Go writes what JavaScript writes $1.
          return { pattern: new RegExp(from, 'g'), to: (string(to, `${key}.rewrite."${from}"`) ?? '').replace(/\$\{(\d+)\}/g, '$$$1') }
        } catch (error) {
          if (error instanceof AppError) throw error
          return bad(`${key}.rewrite`, from, `a regular expression (${messageOf(error)})`)
        }
      }),
    })
  }
  for (const [host, value] of map(top['configs'], 'configs')) {
    if (!HOST.test(host) || host === '*') bad('configs', host, 'a host like reg.example:5000')
    const key = `configs."${host}"`
    const fields = Object.fromEntries(map(value, key, ['auth', 'tls']))
    const auth = Object.fromEntries(map(fields['auth'], `${key}.auth`, ['username', 'password', 'auth', 'identity_token']))
    const tls = Object.fromEntries(map(fields['tls'], `${key}.tls`, ['ca_file', 'cert_file', 'key_file', 'insecure_skip_verify']))
    const [username, password, whole, identityToken] = ['username', 'password', 'auth', 'identity_token'].map((k) => string(auth[k], `${key}.auth.${k}`))
    const [caFile, certFile, keyFile] = ['ca_file', 'cert_file', 'key_file'].map((k) => existing(tls[k], `${key}.tls.${k}`))
    const skip = tls['insecure_skip_verify'] ?? false
    if (typeof skip !== 'boolean') bad(`${key}.tls.insecure_skip_verify`, skip, 'true or false')
    if ((certFile === undefined) !== (keyFile === undefined)) bad(`${key}.tls`, certFile ?? keyFile, 'both cert_file and key_file, or none')
    configs.set(host, {
      login: fields['auth'] === undefined || fields['auth'] === null ? undefined : { ...(username !== undefined && { username }), ...(password !== undefined && { password }), ...(whole !== undefined && { auth: whole }), ...(identityToken !== undefined && { identityToken }) },
      tls: fields['tls'] === undefined || fields['tls'] === null ? undefined : { ...(caFile !== undefined && { caFile }), ...(certFile !== undefined && { certFile }), ...(keyFile !== undefined && { keyFile }), insecureSkipVerify: skip === true },
    })
  }
  return { mirrors, configs }
}

/** The part of a path on the agent's mirror that names the n-th endpoint of a registry. */
const keyOf = (registry: string, endpoint: number): string => encodeURIComponent(`${registry === '*' ? 'any' : registry}_${endpoint}`)

/** The registry that such a key begins with. */
export function hostsOf(name: string): string {
  return name === 'any' ? '*' : name
}

/**
 * The `hosts.toml` texts by directory name. Each registry is first asked for on the server, through the agent's mirror, then at its endpoints,
 * then itself. An endpoint that is asked for other names than the image's goes through the agent, as containerd does not rename.
 */
export function hostsFiles(registries: Registries, mirror: string | undefined): Map<string, string> {
  const files = new Map<string, string>()
  const names = new Set(['*', ...registries.mirrors.keys(), ...[...registries.configs].filter(([, c]) => c.tls).map(([host]) => host)])
  for (const name of names) {
    const own = registries.configs.get(name)?.tls
    const lines = own ? [`server = ${q(`https://${name}`)}`, ...tlsLines(own)] : []
    if (mirror !== undefined) lines.push(`[host.${q(mirror)}]`, ...CAPABILITIES)
    const { endpoints, rewrites } = registries.mirrors.get(name) ?? registries.mirrors.get('*') ?? { endpoints: [], rewrites: [] }
    for (const [i, url] of endpoints.entries()) {
      if (rewrites.length > 0 && mirror !== undefined) {
        lines.push(`[host.${q(`${mirror}/rewrite/${keyOf(registries.mirrors.has(name) ? name : '*', i)}/v2`)}]`, ...CAPABILITIES, '  override_path = true')
        continue
      }
      const plain = url.pathname === '/'
      const tls = registries.configs.get(url.host)?.tls
      lines.push(`[host.${q(plain ? url.origin : url.href.replace(/\/$/, ''))}]`, ...CAPABILITIES, ...(plain ? [] : ['  override_path = true']), ...(tls ? tlsLines(tls).map((l) => `  ${l}`) : []))
    }
    files.set(name === '*' ? '_default' : name, lines.map((l) => `${l}\n`).join(''))
  }
  return files
}

/** Logins, as a part of containerd's configuration; empty when there are none. */
export function loginsToml(registries: Registries): string {
  return [...registries.configs]
    .flatMap(([host, { login }]) => (login ? [[host, login] as const] : []))
    .map(([host, l]) => {
      const fields = [['username', l.username], ['password', l.password], ['auth', l.auth], ['identitytoken', l.identityToken]].filter(([, v]) => v !== undefined)
      return `\n[plugins."io.containerd.grpc.v1.cri".registry.configs.${q(host)}.auth]\n${fields.map(([k, v]) => `  ${k} = ${q(v as string)}\n`).join('')}`
    })
    .join('')
}

const CAPABILITIES = ['  capabilities = ["pull", "resolve"]']
/** JSON's strings are TOML's, but for DEL, which no name or path here holds. */
const q = (text: string): string => JSON.stringify(text)

function tlsLines(tls: RegistryTls): string[] {
  return [
    ...(tls.caFile === undefined ? [] : [`ca = ${q(tls.caFile)}`]),
    ...(tls.certFile === undefined ? [] : [`client = [[${q(tls.certFile)}, ${q(tls.keyFile ?? '')}]]`]),
    ...(tls.insecureSkipVerify ? ['skip_verify = true'] : []),
  ]
}
