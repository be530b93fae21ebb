/** /version, /healthz, /livez, /readyz, /metrics and the OIDC documents of service-account tokens. */
import { arch } from 'node:process'
import type { ApiResponse } from '../api/contract.ts'
import type { Metrics } from '../base/metrics.ts'
import type { ServiceAccountTokens } from './authn/service-account.ts'

/** The Kubernetes API that is served. */
const KUBERNETES = { major: '1', minor: '35', patch: '0' }
export const GIT_VERSION = `v${KUBERNETES.major}.${KUBERNETES.minor}.${KUBERNETES.patch}+skerry`

const text = (body: string, status = 200): ApiResponse => ({ status, headers: { 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff' }, body })
const json = (body: object): ApiResponse => ({ status: 200, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })

export interface HealthParts {
  readonly tokens: ServiceAccountTokens
  readonly metrics: Metrics
  /** Brings the metrics that are only looked at up to date. */
  readonly sample: () => void
  readonly gitCommit: string
  /** Named checks; each is true when fine. */
  readonly checks: Readonly<Record<string, () => boolean>>
}

/** The answer for one of these paths; undefined for any other. */
export function healthPath(parts: HealthParts, path: string, query: URLSearchParams): ApiResponse | undefined {
  switch (path) {
    case '/version':
    case '/version/': {
      const { major, minor } = KUBERNETES
      const goArch = arch === 'x64' ? 'amd64' : arch
      return json({
        major, minor, emulationMajor: major, emulationMinor: minor, minCompatibilityMajor: major, minCompatibilityMinor: String(Number(minor) - 1),
        gitVersion: GIT_VERSION, gitCommit: parts.gitCommit, gitTreeState: 'clean', buildDate: '1970-01-01T00:00:00Z', goVersion: `node ${process.version}`,
        compiler: 'node', platform: `linux/${goArch}`,
      })
    }
    case '/metrics':
      parts.sample()
      return { ...text(parts.metrics.text()), headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' } }
    case '/openid/v1/jwks':
      return { ...json(parts.tokens.jwks()), headers: { 'content-type': 'application/jwk-set+json', 'cache-control': 'public, max-age=3600' } }
    case '/.well-known/openid-configuration':
      return { ...json(parts.tokens.discovery()), headers: { 'content-type': 'application/json', 'cache-control': 'public, max-age=3600' } }
  }
  const [, root, one] = /^\/(healthz|livez|readyz)(?:\/([\w/-]+?))?\/?$/.exec(path) ?? []
  if (root === undefined) return undefined
  const checks = checksOf(parts, root)
  if (one !== undefined) {
    const check = checks.find(([name]) => name === one)?.[1]
    return check && (check() ? text('ok') : text(`internal server error: ${one} failed: reason withheld\n`, 500))
  }
  return report(root, checks, query)
}

/** What `GET /` tells: all paths that are not below a resource. */
export function pathIndex(parts: HealthParts, discovered: readonly string[]): ApiResponse {
  const checks = ['healthz', 'livez', 'readyz'].flatMap((root) => [`/${root}`, ...checksOf(parts, root).map(([name]) => `/${root}/${name}`)])
  const others = ['/.well-known/openid-configuration', '/metrics', '/openapi/v2', '/openapi/v3', '/openapi/v3/', '/openid/v1/jwks', '/version']
  const paths = [...discovered, ...checks, ...others].toSorted()
  return { ...json({}), body: JSON.stringify({ paths }, null, 2) }
}

function checksOf(parts: HealthParts, root: string): (readonly [string, () => boolean])[] {
  return Object.entries(parts.checks).filter(([name]) => root === 'readyz' || !READY_ONLY.has(name))
}

/** Checks that say whether to send requests here, not whether to start the process anew. */
const READY_ONLY: ReadonlySet<string> = new Set(['shutdown'])

/** All checks but those excluded; `verbose` lists them also when all is well. */
function report(root: string, checks: readonly (readonly [string, () => boolean])[], query: URLSearchParams): ApiResponse {
  const excluded = new Set(query.getAll('exclude').flatMap((names) => names.split(',')).filter((name) => name !== ''))
  let ok = true
  const lines = checks.map(([name, check]) => {
    if (excluded.delete(name)) return `[+]${name} excluded: ok`
    if (check()) return `[+]${name} ok`
    ok = false
    return `[-]${name} failed: reason withheld`
  })
  if (ok && query.get('verbose') === null) return text('ok')
  if (excluded.size > 0) lines.push(`warn: some health checks cannot be excluded: no matches for ${[...excluded].map((name) => JSON.stringify(name)).join(',')}`)
  return text(`${lines.join('\n')}\n${root} check ${ok ? 'passed' : 'failed'}\n`, ok ? 200 : 500)
}
