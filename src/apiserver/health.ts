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
      return json({ major, minor, gitVersion: GIT_VERSION, gitCommit: parts.gitCommit, gitTreeState: 'clean', buildDate: '1970-01-01T00:00:00Z', goVersion: `node ${process.version}`, compiler: 'node', platform: `linux/${goArch}` })
    }
    case '/metrics':
      return text(parts.metrics.text())
    case '/openid/v1/jwks':
      return { ...json(parts.tokens.jwks()), headers: { 'content-type': 'application/jwk-set+json', 'cache-control': 'public, max-age=3600' } }
    case '/.well-known/openid-configuration':
      return json({
        issuer: parts.tokens.issuer,
        jwks_uri: `${parts.tokens.issuer}/openid/v1/jwks`,
        response_types_supported: ['id_token'],
        subject_types_supported: ['public'],
        id_token_signing_alg_values_supported: ['ES256'],
      })
  }
  const [, root, one] = /^\/(healthz|livez|readyz)(?:\/([\w-]+))?\/?$/.exec(path) ?? []
  if (root === undefined) return undefined
  const checks = Object.entries(parts.checks).filter(([name]) => one === undefined || one === name)
  if (one !== undefined && checks.length === 0) return one === 'ping' ? text('ok') : undefined
  const lines = checks.map(([name, check]) => ({ name, ok: check() }))
  const ok = lines.every((l) => l.ok)
  if (ok && query.get('verbose') === null) return text('ok')
  const detail = lines.map((l) => (l.ok ? `[+]${l.name} ok` : `[-]${l.name} failed`)).join('\n')
  return text(`${detail}\n${root} check ${ok ? 'passed' : 'failed'}\n`, ok ? 200 : 500)
}
