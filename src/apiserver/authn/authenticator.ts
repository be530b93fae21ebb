/**
 * Who is calling: client certificate, bootstrap token or service-account token, in this order; the first that counts wins.
 * Nothing shown: anonymous (undefined). Something shown and none of it good: refused. Then impersonation, which needs the
 * caller's right to it. Used by the pipeline, the listener's routes and TokenReview.
 */
import { GROUP_AUTHENTICATED, type UserInfo } from '../../api/contract.ts'
import type { Clock } from '../../base/clock.ts'
import { forbidden } from '../../api/status.ts'
import { AppError } from '../../base/errors.ts'
import { refusal } from '../authz/authorizer.ts'
import type { Attributes, Decision, Peer, PeerSubject } from '../ports.ts'
import type { WatchCache } from '../watch-cache.ts'
import { bootstrapUser, isBootstrapToken } from './bootstrap-token.ts'
import type { ServiceAccountTokens } from './service-account.ts'

export const ANONYMOUS: UserInfo = { name: 'system:anonymous', groups: ['system:unauthenticated'] }
type Headers = Readonly<Record<string, string | string[] | undefined>>
/** The subprotocol that carries a browser's token begins so. */
export const WS_BEARER = 'base64url.bearer.authorization.k8s.io.'

/** Judges credentials against the CA's verdict, the token Secrets and the token key; keeps nothing of its own. */
export class Authenticator {
  readonly #cache: WatchCache
  readonly #clock: Clock
  readonly #tokens: ServiceAccountTokens

  constructor(cache: WatchCache, clock: Clock, tokens: ServiceAccountTokens) {
    this.#cache = cache
    this.#clock = clock
    this.#tokens = tokens
  }

  /** @throws AppError `unauthorized` */
  async authenticate(peer: Peer | undefined, headers: Headers): Promise<UserInfo | undefined> {
    if (peer?.subject) {
      const { expiresMs } = peer.subject
      if (expiresMs !== undefined && expiresMs < this.#clock.now()) throw new AppError('unauthorized', `check client certificate: it expired at ${new Date(expiresMs).toISOString()}`)
      return subjectUser(peer.subject)
    }
    const token = bearer(headers)
    if (token !== undefined) return (await this.token(token)).user
    if (peer?.problem) throw new AppError('unauthorized', `check client certificate: ${peer.problem}`)
    return undefined
  }

  /** The user behind a bearer token. @throws AppError `unauthorized` */
  async token(token: string, audiences?: readonly string[]): Promise<{ user: UserInfo; audiences: string[] }> {
    if (isBootstrapToken(token)) return { user: bootstrapUser(token, this.#cache, this.#clock), audiences: [this.#tokens.issuer] }
    return this.#tokens.verify(token, audiences)
  }
}

/** Users by the subject of a connection, which its requests share. */
const subjects = new WeakMap<PeerSubject, UserInfo>()

function subjectUser(subject: PeerSubject): UserInfo {
  let user = subjects.get(subject)
  if (!user) {
    const extra = subject.fingerprint === undefined ? {} : { extra: { 'authentication.kubernetes.io/credential-id': [`X509SHA256=${subject.fingerprint}`] } }
    subjects.set(subject, (user = { name: subject.cn, groups: [...new Set([...subject.o, GROUP_AUTHENTICATED])], ...extra }))
  }
  return user
}

/** Bearer token of a header, or of a browser's WebSocket subprotocol list. */
function bearer(headers: Headers): string | undefined {
  const authorization = headers.authorization
  if (typeof authorization === 'string') {
    const [scheme, token] = authorization.trim().split(/\s+/)
    if (scheme?.toLowerCase() === 'bearer') return token ?? ''
  }
  const protocol = String(headers['sec-websocket-protocol'] ?? '')
    .split(/\s*,\s*/)
    .find((p) => p.startsWith(WS_BEARER))
  return protocol === undefined ? undefined : Buffer.from(protocol.slice(WS_BEARER.length), 'base64url').toString()
}

/**
 * Applies `Impersonate-*` headers. Every name, group, uid and extra asked for needs the `impersonate` right.
 * @throws AppError `forbidden` naming the first that is missing, `invalid` for groups without a user
 */
export function impersonate(user: UserInfo, headers: Headers, authorize: (user: UserInfo, a: Attributes) => Decision): UserInfo {
  if (!asksImpersonation(headers)) return user
  const name = one(headers['impersonate-user']) || undefined
  const groups = many(headers['impersonate-group'])
  const uid = one(headers['impersonate-uid']) || undefined
  const extra: Record<string, string[]> = {}
  for (const [header, value] of Object.entries(headers)) {
    if (header.startsWith('impersonate-extra-')) extra[extraKey(header.slice(18))] = many(value)
  }
  if (name === undefined) {
    if (groups.length > 0 || uid !== undefined || Object.keys(extra).length > 0) {
      throw new AppError('invalid', 'impersonate: groups, uid or extra were given without Impersonate-User')
    }
    return user
  }
  const need = (what: Omit<Attributes, 'verb'>): void => {
    const a: Attributes = { ...what, verb: 'impersonate' }
    const { allowed, reason } = authorize(user, a)
    if (!allowed) throw forbidden({ group: a.group ?? '', resource: a.resource ?? '' }, a.name ?? '', refusal(user, a, reason))
  }
  const account = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(name)
  if (account) need({ resource: 'serviceaccounts', namespace: account[1] as string, name: account[2] as string })
  else need({ resource: 'users', name })
  for (const group of groups) need({ resource: 'groups', name: group })
  for (const [key, values] of Object.entries(extra)) {
    for (const value of values) need({ group: 'authentication.k8s.io', version: 'v1', resource: 'userextras', subresource: key, name: value })
  }
  if (uid !== undefined) need({ group: 'authentication.k8s.io', version: 'v1', resource: 'uids', name: uid })
  const implied = account ? ['system:serviceaccounts', `system:serviceaccounts:${account[1]}`] : []
  const all = groups.length > 0 ? groups : implied
  // Kubernetes adds who one is known to be, unless the groups asked for say it.
  const known = name === ANONYMOUS.name ? 'system:unauthenticated' : all.includes('system:unauthenticated') ? [] : GROUP_AUTHENTICATED
  const result: UserInfo = { name, ...(uid === undefined ? {} : { uid }), groups: [...new Set([...all, ...[known].flat()])], extra }
  impersonators.set(result, user)
  return result
}

const impersonators = new WeakMap<UserInfo, UserInfo>()

/** Who speaks as this user; undefined when it is the user. For the audit log. */
export function impersonatorOf(user: UserInfo): UserInfo | undefined {
  return impersonators.get(user)
}

function asksImpersonation(headers: Headers): boolean {
  for (const header in headers) if (header.startsWith('impersonate-')) return true
  return false
}

/** Keys are percent-encoded where a header's name cannot hold them; one that does not decode is taken as it is. */
function extraKey(name: string): string {
  try {
    return decodeURIComponent(name).toLowerCase()
  } catch {
    return name
  }
}

function one(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value
}

/** Node joins repeated unknown headers with `, `. */
function many(value: string | string[] | undefined): string[] {
  return value === undefined ? [] : [value].flat().flatMap((v) => v.split(/, /)).filter((v) => v !== '')
}
