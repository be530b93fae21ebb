/**
 * Service-account tokens: ES256 JWTs in Kubernetes' shape, made by TokenRequest and checked on each call against the
 * objects they are bound to, by uid: deleting the pod or the account ends the token. Also those that a Secret holds, which do
 * not expire. Verified signatures are remembered (bounded, {@link REMEMBERED}), the bindings are looked up every time. The first
 * key signs, all verify: keys change while tokens of the former one live on. Used by authentication and the token subresource.
 */
import { createHash, createPrivateKey, createPublicKey } from 'node:crypto'
import { decodeProtectedHeader, importPKCS8, importSPKI, jwtVerify, SignJWT, type JWTPayload, type CryptoKey } from 'jose'
import { GROUP_AUTHENTICATED, type UserInfo } from '../../api/contract.ts'
import type { Clock } from '../../base/clock.ts'
import { AppError } from '../../base/errors.ts'
import type { ServiceAccountKey } from '../ports.ts'
import type { Obj } from '../stored-text.ts'
import type { WatchCache } from '../watch-cache.ts'

export const DEFAULT_ISSUER = 'https://kubernetes.default.svc.cluster.local'
const REMEMBERED = 2_000
/** Grace for a deleted pod: its token still lives this long while it shuts down. */
const DELETED_GRACE_MS = 60_000

export interface BoundObject {
  readonly kind: 'Pod' | 'Secret' | 'Node'
  readonly name: string
  readonly uid: string
}

/** Issuer of the tokens in Secrets, as Kubernetes has it. */
const LEGACY_ISSUER = 'kubernetes/serviceaccount'
const LEGACY = 'kubernetes.io/serviceaccount/'
/** From this day on a token in a Secret does not count; set by whoever found it unused. */
const INVALID_SINCE = 'kubernetes.io/legacy-token-invalid-since'
/** Longer texts are no tokens: signatures and claims of ours are below 4 KiB. */
const MAX_TOKEN = 16 << 10

interface KubernetesClaim {
  namespace: string
  serviceaccount: { name: string; uid: string }
  pod?: { name: string; uid: string }
  secret?: { name: string; uid: string }
  node?: { name: string; uid?: string }
}

interface VerifyKey {
  readonly kid: string
  readonly key: CryptoKey
  readonly jwk: object
}

interface Keys {
  /** The first is named in new tokens, all count. */
  readonly issuers: readonly [string, ...string[]]
  readonly jwksUri: string
  readonly signing: CryptoKey
  /** That of `signing` first. */
  readonly verifying: readonly [VerifyKey, ...VerifyKey[]]
}

/** Signs and verifies the tokens of one server's keys. */
export class ServiceAccountTokens {
  readonly #clock: Clock
  readonly #cache: WatchCache
  #keys: Keys
  readonly #verified = new Map<string, JWTPayload>()
  /** Told of each Secret (`namespace/name`) whose token was used. */
  onSecretUsed: (path: string) => void = () => undefined
  /** Told when other keys count. */
  onKeys: () => void = () => undefined

  private constructor(keys: Keys, cache: WatchCache, clock: Clock) {
    this.#clock = clock
    this.#cache = cache
    this.#keys = keys
  }

  /** @throws AppError `invalid` when the keys are not PEM keys on P-256 */
  static async create(key: ServiceAccountKey, cache: WatchCache, clock: Clock): Promise<ServiceAccountTokens> {
    return new ServiceAccountTokens(await loadKeys(key), cache, clock)
  }

  /** Signs with another key from now on; tokens of keys that are no longer given stop counting. @throws AppError as `create` */
  async setKeys(key: ServiceAccountKey): Promise<void> {
    this.#keys = await loadKeys(key)
    this.#verified.clear()
    this.onKeys()
  }

  /** True for a token that names a key which counts no more; not for what is no such token. */
  isSpent(token: string): boolean {
    try {
      const { kid } = decodeProtectedHeader(token)
      return kid !== undefined && !this.#keys.verifying.some((k) => k.kid === kid)
    } catch {
      return false
    }
  }

  get issuer(): string {
    return this.#keys.issuers[0]
  }

  /** What `/.well-known/openid-configuration` says. */
  discovery(): object {
    return {
      issuer: this.issuer,
      jwks_uri: this.#keys.jwksUri,
      response_types_supported: ['id_token'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['ES256'],
    }
  }

  /** The key set at `/openid/v1/jwks`. */
  jwks(): object {
    return { keys: this.#keys.verifying.map((k) => k.jwk) }
  }

  async sign(claims: {
    readonly namespace: string
    readonly name: string
    readonly uid: string
    readonly audiences: readonly string[]
    readonly seconds: number
    readonly bound?: BoundObject
    readonly node?: { readonly name: string; readonly uid?: string }
  }): Promise<{ token: string; expiresMs: number }> {
    const now = Math.floor(this.#clock.now() / 1000)
    const kubernetes: KubernetesClaim = { namespace: claims.namespace, serviceaccount: { name: claims.name, uid: claims.uid } }
    if (claims.bound) {
      const { kind, name, uid } = claims.bound
      kubernetes[kind === 'Pod' ? 'pod' : kind === 'Secret' ? 'secret' : 'node'] = { name, uid }
    }
    if (claims.node) kubernetes.node = claims.node
    const token = await new SignJWT({ 'kubernetes.io': kubernetes })
      .setProtectedHeader({ alg: 'ES256', kid: this.#keys.verifying[0].kid })
      .setIssuer(this.issuer)
      .setSubject(`system:serviceaccount:${claims.namespace}:${claims.name}`)
      .setAudience([...claims.audiences])
      .setIssuedAt(now)
      .setNotBefore(now)
      .setExpirationTime(now + claims.seconds)
      .setJti(crypto.randomUUID())
      .sign(this.#keys.signing)
    return { token, expiresMs: (now + claims.seconds) * 1000 }
  }

  /** A token for a Secret of type `kubernetes.io/service-account-token`: it lives as long as that Secret. */
  async signForSecret(claims: { readonly namespace: string; readonly name: string; readonly uid: string; readonly secret: string }): Promise<string> {
    const { namespace, name, uid, secret } = claims
    return new SignJWT({ [`${LEGACY}namespace`]: namespace, [`${LEGACY}secret.name`]: secret, [`${LEGACY}service-account.name`]: name, [`${LEGACY}service-account.uid`]: uid })
      .setProtectedHeader({ alg: 'ES256', kid: this.#keys.verifying[0].kid })
      .setIssuer(LEGACY_ISSUER)
      .setSubject(`system:serviceaccount:${namespace}:${name}`)
      .sign(this.#keys.signing)
  }

  /**
   * The user behind a token, and the audiences of `wanted` it is good for.
   * @throws AppError `unauthorized` saying what is wrong with it
   */
  async verify(token: string, wanted: readonly string[] = this.#keys.issuers): Promise<{ user: UserInfo; audiences: string[] }> {
    const payload = await this.#payload(token)
    if (payload.iss === LEGACY_ISSUER) return this.#verifyOfSecret(token, payload, wanted)
    const audiences = [payload.aud ?? []].flat().filter((a) => wanted.includes(a))
    if (audiences.length === 0) throw refuse(`its audiences ${JSON.stringify(payload.aud)} do not include this API`)
    const claim = payload['kubernetes.io'] as KubernetesClaim | undefined
    if (!claim?.serviceaccount?.uid || !claim.namespace) throw refuse('it carries no service account')
    const { namespace, serviceaccount } = claim
    this.#alive('serviceaccounts', `${namespace}/${serviceaccount.name}`, serviceaccount.uid, 'service account')
    if (claim.pod) this.#alive('pods', `${namespace}/${claim.pod.name}`, claim.pod.uid, 'pod')
    if (claim.secret) this.#alive('secrets', `${namespace}/${claim.secret.name}`, claim.secret.uid, 'secret')
    // A pod's token names its node as a fact; one that is bound to the node ends with it.
    if (claim.node && !claim.pod && !claim.secret) this.#alive('nodes', claim.node.name, claim.node.uid, 'node')
    const extra: Record<string, string[]> = {}
    if (payload.jti) extra['authentication.kubernetes.io/credential-id'] = [`JTI=${payload.jti}`]
    if (claim.pod) {
      extra['authentication.kubernetes.io/pod-name'] = [claim.pod.name]
      extra['authentication.kubernetes.io/pod-uid'] = [claim.pod.uid]
    }
    if (claim.node) {
      extra['authentication.kubernetes.io/node-name'] = [claim.node.name]
      if (claim.node.uid) extra['authentication.kubernetes.io/node-uid'] = [claim.node.uid]
    }
    return { user: { ...accountUser(namespace, serviceaccount), extra }, audiences }
  }

  #verifyOfSecret(token: string, payload: JWTPayload, wanted: readonly string[]): { user: UserInfo; audiences: string[] } {
    const claim = (name: string): string => String(payload[LEGACY + name] ?? '')
    const [namespace, secret, name, uid] = [claim('namespace'), claim('secret.name'), claim('service-account.name'), claim('service-account.uid')]
    if (!namespace || !secret || !name || !uid) throw refuse('it names no Secret and service account')
    // It carries no audience: it is meant for this API alone.
    const audiences = wanted.filter((a) => this.#keys.issuers.includes(a))
    if (audiences.length === 0) throw refuse(`it is for ${JSON.stringify(this.issuer)} only`)
    const path = `${namespace}/${secret}`
    const holder = this.#alive('secrets', path, undefined, 'secret') as { data?: Record<string, string>; metadata: { labels?: Record<string, string> } }
    if (Buffer.from(holder.data?.['token'] ?? '', 'base64').toString() !== token) throw refuse(`its secret "${path}" holds another token now`)
    const since = holder.metadata.labels?.[INVALID_SINCE]
    if (since !== undefined) throw refuse(`it does not count since ${since}, take the label ${INVALID_SINCE} off its secret "${path}" to use it again`)
    this.#alive('serviceaccounts', `${namespace}/${name}`, uid, 'service account')
    this.onSecretUsed(path)
    return { user: accountUser(namespace, { name, uid }), audiences }
  }

  async #payload(token: string): Promise<JWTPayload> {
    const now = this.#clock.now()
    const known = this.#verified.get(token)
    if (known) {
      if (known.exp === undefined || known.exp * 1000 > now) return known
      this.#verified.delete(token)
    }
    if (token.length > MAX_TOKEN) throw refuse(`it has ${token.length} characters, none of ours has more than ${MAX_TOKEN}`)
    try {
      const { kid } = decodeProtectedHeader(token)
      const key = this.#keys.verifying.find((k) => k.kid === kid)
      if (!key) throw new Error('it is signed by a key that is not known here')
      const { payload } = await jwtVerify(token, key.key, { issuer: [...this.#keys.issuers, LEGACY_ISSUER], algorithms: ['ES256'], currentDate: new Date(now), clockTolerance: 5 })
      if (payload.iss !== LEGACY_ISSUER && payload.exp === undefined) throw new Error('it has no "exp" claim')
      if (this.#verified.size >= REMEMBERED) this.#verified.delete(this.#verified.keys().next().value as string)
      this.#verified.set(token, payload)
      return payload
    } catch (cause) {
      throw refuse(cause instanceof Error ? cause.message : 'it does not verify', cause)
    }
  }

  #alive(resource: string, path: string, uid: string | undefined, what: string): Readonly<Obj> {
    const cache = this.#cache.resource(resource)
    const object = cache.get(cache.prefix + path)?.parsed()
    if (!object) throw refuse(`its ${what} "${path}" is gone`)
    if (uid !== undefined && object.metadata.uid !== uid) throw refuse(`its ${what} "${path}" was replaced by another of that name`)
    const deleted = object.metadata.deletionTimestamp
    if (deleted && Date.parse(deleted) + DELETED_GRACE_MS < this.#clock.now()) throw refuse(`its ${what} "${path}" was deleted`)
    return object
  }
}

function accountUser(namespace: string, account: { readonly name: string; readonly uid: string }): UserInfo {
  return {
    name: `system:serviceaccount:${namespace}:${account.name}`,
    uid: account.uid,
    groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, GROUP_AUTHENTICATED],
  }
}

async function loadKeys(key: ServiceAccountKey): Promise<Keys> {
  try {
    // EC keys come as SEC1 or PKCS8 PEM; jose reads the latter.
    const pkcs8 = createPrivateKey(key.privateKeyPem).export({ type: 'pkcs8', format: 'pem' }) as string
    const [first, ...others] = await Promise.all([key.publicKeyPem, ...(key.formerPublicKeysPem ?? [])].map(verifyKey))
    const issuer = key.issuer ?? DEFAULT_ISSUER
    return { issuers: [issuer, ...(key.formerIssuers ?? [])], jwksUri: key.jwksUri ?? `${issuer.replace(/\/$/, '')}/openid/v1/jwks`, signing: await importPKCS8(pkcs8, 'ES256'), verifying: [first as VerifyKey, ...others] }
  } catch (cause) {
    throw new AppError('invalid', 'load service-account key: not an EC P-256 key pair in PEM', { cause })
  }
}

async function verifyKey(pem: string): Promise<VerifyKey> {
  const key = createPublicKey(pem)
  const kid = createHash('sha256').update(key.export({ type: 'spki', format: 'der' })).digest('base64url')
  const imported = await importSPKI(key.export({ type: 'spki', format: 'pem' }) as string, 'ES256')
  return { kid, key: imported, jwk: { ...key.export({ format: 'jwk' }), use: 'sig', alg: 'ES256', kid } }
}

function refuse(why: string, cause?: unknown): AppError {
  return new AppError('unauthorized', `check service-account token: ${why}`, { cause })
}
