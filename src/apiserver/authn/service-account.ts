/**
 * Service-account tokens: ES256 JWTs in Kubernetes' shape, made by TokenRequest and checked on each call against the
 * objects they are bound to, by uid: deleting the pod or the account ends the token. Verified signatures are remembered
 * (bounded, {@link REMEMBERED}), the bindings are looked up every time. Used by authentication and the token subresource.
 */
import { createHash, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { importPKCS8, importSPKI, jwtVerify, SignJWT, type JWTPayload, type CryptoKey } from 'jose'
import { GROUP_AUTHENTICATED, type UserInfo } from '../../api/contract.ts'
import type { Clock } from '../../base/clock.ts'
import { AppError } from '../../base/errors.ts'
import type { ServiceAccountKey } from '../ports.ts'
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

interface KubernetesClaim {
  namespace: string
  serviceaccount: { name: string; uid: string }
  pod?: { name: string; uid: string }
  secret?: { name: string; uid: string }
  node?: { name: string; uid?: string }
}

/** Signs and verifies the tokens of one server's key. */
export class ServiceAccountTokens {
  readonly #clock: Clock
  readonly #cache: WatchCache
  readonly #issuer: string
  readonly #private: CryptoKey
  readonly #public: CryptoKey
  readonly #jwk: Record<string, unknown>
  readonly #kid: string
  readonly #verified = new Map<string, JWTPayload>()

  private constructor(parts: { clock: Clock; cache: WatchCache; issuer: string; priv: CryptoKey; pub: CryptoKey; key: KeyObject }) {
    this.#clock = parts.clock
    this.#cache = parts.cache
    this.#issuer = parts.issuer
    this.#private = parts.priv
    this.#public = parts.pub
    this.#jwk = parts.key.export({ format: 'jwk' }) as Record<string, unknown>
    this.#kid = createHash('sha256').update(parts.key.export({ type: 'spki', format: 'der' })).digest('base64url')
  }

  /** @throws AppError `invalid` when the keys are not PEM keys on P-256 */
  static async create(key: ServiceAccountKey, cache: WatchCache, clock: Clock): Promise<ServiceAccountTokens> {
    try {
      // EC keys come as SEC1 or PKCS8 PEM; jose reads the latter.
      const pkcs8 = createPrivateKey(key.privateKeyPem).export({ type: 'pkcs8', format: 'pem' }) as string
      const publicKey = createPublicKey(key.publicKeyPem)
      const spki = publicKey.export({ type: 'spki', format: 'pem' }) as string
      const [priv, pub] = await Promise.all([importPKCS8(pkcs8, 'ES256'), importSPKI(spki, 'ES256')])
      return new ServiceAccountTokens({ clock, cache, issuer: key.issuer ?? DEFAULT_ISSUER, priv, pub, key: publicKey })
    } catch (cause) {
      throw new AppError('invalid', 'load service-account key: not an EC P-256 key pair in PEM', { cause })
    }
  }

  get issuer(): string {
    return this.#issuer
  }

  /** The key set at `/openid/v1/jwks`. */
  jwks(): object {
    return { keys: [{ ...this.#jwk, use: 'sig', alg: 'ES256', kid: this.#kid }] }
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
      .setProtectedHeader({ alg: 'ES256', kid: this.#kid })
      .setIssuer(this.#issuer)
      .setSubject(`system:serviceaccount:${claims.namespace}:${claims.name}`)
      .setAudience([...claims.audiences])
      .setIssuedAt(now)
      .setNotBefore(now)
      .setExpirationTime(now + claims.seconds)
      .setJti(crypto.randomUUID())
      .sign(this.#private)
    return { token, expiresMs: (now + claims.seconds) * 1000 }
  }

  /**
   * The user behind a token, and the audiences of `wanted` it is good for.
   * @throws AppError `unauthorized` saying what is wrong with it
   */
  async verify(token: string, wanted: readonly string[] = [this.#issuer]): Promise<{ user: UserInfo; audiences: string[] }> {
    const payload = await this.#payload(token)
    const audiences = [payload.aud ?? []].flat().filter((a) => wanted.includes(a))
    if (audiences.length === 0) throw refuse(`its audiences ${JSON.stringify(payload.aud)} do not include this API`)
    const claim = payload['kubernetes.io'] as KubernetesClaim | undefined
    if (!claim?.serviceaccount?.uid || !claim.namespace) throw refuse('it carries no service account')
    const { namespace, serviceaccount } = claim
    this.#alive('serviceaccounts', `${namespace}/${serviceaccount.name}`, serviceaccount.uid, 'service account')
    if (claim.pod) this.#alive('pods', `${namespace}/${claim.pod.name}`, claim.pod.uid, 'pod')
    if (claim.secret) this.#alive('secrets', `${namespace}/${claim.secret.name}`, claim.secret.uid, 'secret')
    const extra: Record<string, string[]> = {}
    if (payload.jti) extra['authentication.kubernetes.io/credential-id'] = [`JTI=${payload.jti}`]
    if (claim.pod) {
      extra['authentication.kubernetes.io/pod-name'] = [claim.pod.name]
      extra['authentication.kubernetes.io/pod-uid'] = [claim.pod.uid]
    }
    if (claim.node) extra['authentication.kubernetes.io/node-name'] = [claim.node.name]
    return {
      user: {
        name: `system:serviceaccount:${namespace}:${serviceaccount.name}`,
        uid: serviceaccount.uid,
        groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, GROUP_AUTHENTICATED],
        extra,
      },
      audiences,
    }
  }

  async #payload(token: string): Promise<JWTPayload> {
    const now = this.#clock.now()
    const known = this.#verified.get(token)
    if (known) {
      if ((known.exp ?? 0) * 1000 > now) return known
      this.#verified.delete(token)
    }
    try {
      const { payload } = await jwtVerify(token, this.#public, { issuer: this.#issuer, algorithms: ['ES256'], currentDate: new Date(now), clockTolerance: 5 })
      if (this.#verified.size >= REMEMBERED) this.#verified.delete(this.#verified.keys().next().value as string)
      this.#verified.set(token, payload)
      return payload
    } catch (cause) {
      throw refuse(cause instanceof Error ? cause.message : 'it does not verify', cause)
    }
  }

  #alive(resource: string, path: string, uid: string, what: string): void {
    const cache = this.#cache.resource(resource)
    const object = cache.get(cache.prefix + path)?.parsed().metadata
    if (!object) throw refuse(`its ${what} "${path}" is gone`)
    if (object.uid !== uid) throw refuse(`its ${what} "${path}" was replaced by another of that name`)
    const deleted = object.deletionTimestamp
    if (deleted && Date.parse(deleted) + DELETED_GRACE_MS < this.#clock.now()) throw refuse(`its ${what} "${path}" was deleted`)
  }
}

function refuse(why: string, cause?: unknown): AppError {
  return new AppError('unauthorized', `check service-account token: ${why}`, { cause })
}
