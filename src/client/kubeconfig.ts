/** Credentials as `kubectl` keeps them: writes a kubeconfig, and reads what is needed to call the API out of one. */
import { dump, load } from 'js-yaml'
import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { AppError, messageOf } from '../base/errors.ts'
import type { HttpTransportOptions } from './http.ts'

export interface KubeconfigInput {
  /** Name of cluster, user and context. @default 'skerry' */
  readonly name?: string
  readonly server: string
  readonly caPem: string
  readonly certPem?: string
  readonly keyPem?: string
  readonly token?: string
  /** Default namespace of the context. */
  readonly namespace?: string
}

/** The text of a kubeconfig with everything inline; holds secrets, so write it with mode 0600. */
export function formatKubeconfig(input: KubeconfigInput): string {
  const name = input.name ?? 'skerry'
  const b64 = (pem: string): string => Buffer.from(pem).toString('base64')
  const user = {
    ...(input.certPem === undefined ? {} : { 'client-certificate-data': b64(input.certPem) }),
    ...(input.keyPem === undefined ? {} : { 'client-key-data': b64(input.keyPem) }),
    ...(input.token === undefined ? {} : { token: input.token }),
  }
  const context = { cluster: name, user: name, ...(input.namespace === undefined ? {} : { namespace: input.namespace }) }
  return dump(
    {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name, cluster: { server: input.server, 'certificate-authority-data': b64(input.caPem) } }],
      users: [{ name, user }],
      contexts: [{ name, context }],
      'current-context': name,
      preferences: {},
    },
    { lineWidth: -1 },
  )
}

export interface ParsedKubeconfig extends HttpTransportOptions {
  readonly namespace: string
  readonly context: string
}

/**
 * What a context says, ready for `createHttpTransport`.
 * @param options `context` instead of the current one; `path` of the file, against which file names in it are resolved
 * @throws AppError `invalid` naming what is missing, `unsupported` for exec and auth-provider plugins
 */
export function parseKubeconfig(text: string, options: { context?: string; path?: string } = {}): ParsedKubeconfig {
  const config = table(parseYaml(text), 'the file')
  const context = options.context ?? textOf(config['current-context'])
  if (context === undefined) throw new AppError('invalid', 'read kubeconfig: no current-context, name one with --context')
  const chosen = named(config['contexts'], 'context', context)
  const cluster = named(config['clusters'], 'cluster', textOf(chosen['cluster']) ?? '')
  const user = named(config['users'], 'user', textOf(chosen['user']) ?? '')
  const server = textOf(cluster['server'])
  if (server === undefined) throw new AppError('invalid', `read kubeconfig: the cluster of context "${context}" has no server`)
  for (const plugin of ['exec', 'auth-provider']) {
    if (user[plugin] !== undefined) throw new AppError('unsupported', `read kubeconfig: the user of context "${context}" needs the plugin "${plugin}", use a certificate or a token`)
  }
  const file = (path: string): string => {
    const whole = options.path === undefined ? path : resolve(dirname(options.path), path)
    try {
      return readFileSync(whole, 'utf8')
    } catch (cause) {
      throw new AppError('invalid', `read kubeconfig: file "${whole}" it names is not readable`, { cause })
    }
  }
  const inlineOrFile = (from: Record<string, unknown>, key: string): string | undefined => {
    const data = textOf(from[`${key}-data`])
    if (data !== undefined) return Buffer.from(data, 'base64').toString('utf8')
    const path = textOf(from[key])
    return path === undefined ? undefined : file(path)
  }
  const tokenFile = textOf(user['tokenFile'])
  const found = {
    ca: inlineOrFile(cluster, 'certificate-authority'),
    cert: inlineOrFile(user, 'client-certificate'),
    key: inlineOrFile(user, 'client-key'),
    token: textOf(user['token']) ?? (tokenFile === undefined ? undefined : file(tokenFile).trim()),
    serverName: textOf(cluster['tls-server-name']),
    insecureSkipTlsVerify: cluster['insecure-skip-tls-verify'] === true ? true : undefined,
  }
  const present = Object.fromEntries(Object.entries(found).filter(([, v]) => v !== undefined)) as Partial<HttpTransportOptions>
  return { server, namespace: textOf(chosen['namespace']) ?? 'default', context, ...present }
}

function parseYaml(text: string): unknown {
  try {
    return load(text)
  } catch (error) {
    throw new AppError('invalid', `read kubeconfig: not YAML: ${messageOf(error)}`)
  }
}

function named(list: unknown, what: string, name: string): Record<string, unknown> {
  for (const item of Array.isArray(list) ? list : []) {
    const entry = table(item, `an entry of ${what}s`)
    if (entry['name'] === name) return table(entry[what], `${what} "${name}"`)
  }
  throw new AppError('invalid', `read kubeconfig: no ${what} named "${name}"`)
}

function table(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new AppError('invalid', `read kubeconfig: ${what} is not a mapping`)
  return value as Record<string, unknown>
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}
