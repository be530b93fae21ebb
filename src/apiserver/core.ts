/** What the verbs work with: one call after the door (identity, authorization, negotiation), and the server's shared parts. */
import type { ApiRequest, ApiResponse, UserInfo } from '../api/contract.ts'
import type { ResourceDef } from '../api/kinds.ts'
import type { Clock } from '../base/clock.ts'
import type { Store } from '../store/store.ts'
import type { Admission } from './admission/chain.ts'
import type { Authenticator } from './authn/authenticator.ts'
import type { ServiceAccountTokens } from './authn/service-account.ts'
import type { Authorizer } from './authz/authorizer.ts'
import type { Rbac } from './authz/rbac.ts'
import { badRequest } from '../api/status.ts'
import type { Accepted } from './negotiate.ts'
import type { PodStreams } from './ports.ts'
import type { ResourceRequest } from './request-info.ts'
import type { Resources } from './resources.ts'
import type { Obj } from './stored-text.ts'
import type { WatchCache } from './watch-cache.ts'

export interface Core {
  readonly store: Store
  readonly cache: WatchCache
  readonly clock: Clock
  readonly resources: Resources
  readonly authenticator: Authenticator
  readonly authorizer: Authorizer
  readonly rbac: Rbac
  readonly tokens: ServiceAccountTokens
  readonly admission: Admission
  readonly podStreams: PodStreams | undefined
  readonly serviceCidr: string
}

export interface Call {
  readonly def: ResourceDef
  readonly info: ResourceRequest
  readonly user: UserInfo
  readonly query: URLSearchParams
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: ApiRequest['body']
  readonly accepted: Accepted
  readonly signal: AbortSignal
  /** The door through which the object is written, where it is not the resource's own: how the write shows there, and back. */
  readonly door?: { readonly subresource: string; readonly kind: { readonly group: string; readonly version: string; readonly kind: string }; show(object: Obj): Obj; write(object: Obj, shown: Obj): void }
  /** Texts for `Warning` headers, in order; verbs add to it. */
  readonly warnings: string[]
}

/** A JSON answer; warnings become RFC 7234 `Warning: 299` values. */
export function answer(call: Pick<Call, 'warnings'>, status: number, body: string | AsyncIterable<string | Uint8Array>): ApiResponse {
  const headers: Record<string, string> = { 'content-type': 'application/json', 'cache-control': 'no-cache, private' }
  if (call.warnings.length > 0) headers.warning = call.warnings.map(warningText).join(', ')
  return { status, headers, body }
}

function warningText(text: string): string {
  // Header values are one line of printable ASCII; a quoted string escapes quotes and backslashes.
  return `299 - "${text.replace(/[^\x20-\x7e]/g, '?').slice(0, 4_096).replace(/["\\]/g, '\\$&')}"`
}

/** @throws ApiError 400 for another value than `All` */
export function isDryRun(query: URLSearchParams): boolean {
  const values = query.getAll('dryRun')
  for (const value of values) if (value !== 'All') throw badRequest(`invalid dryRun value ${JSON.stringify(value)}: only "All" is supported`)
  return values.length > 0
}

let stamped = { second: Number.NaN, text: '' }

/** Now as metadata tells times: RFC 3339, whole seconds. */
export function stamp(core: Core): string {
  const second = Math.floor(core.clock.now() / 1_000)
  if (second !== stamped.second) stamped = { second, text: new Date(second * 1_000).toISOString().replace('.000Z', 'Z') }
  return stamped.text
}
