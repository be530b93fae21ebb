/**
 * Service-account tokens, checked on the node without the server: the signature against the cluster's public keys, the pod
 * they are bound to against the pods of this node. A token past its date counts while its pod runs here: during an outage
 * nobody can renew it, and a wrong clock must not lock a pod out. Used for answers that the node gives itself.
 */
import { createPublicKey, verify, type JsonWebKey, type KeyObject } from 'node:crypto'
import { AppError } from '../../base/errors.ts'

/** The cluster's token keys as its JWKS gives them, and the issuer they speak for. */
export interface TokenKeys {
  readonly issuer: string
  readonly keys: readonly (JsonWebKey & { readonly kid?: string })[]
}

export interface Caller {
  readonly namespace: string
  readonly account: string
  readonly podUid: string | undefined
}

/** A token is at most this long, characters: more is no token of ours. */
const MAX_TOKEN = 16_384

/** The key that a token names; undefined when it names none. */
export function keyIdOf(token: string): string | undefined {
  try {
    const { kid } = json(token.split('.')[0] ?? '') as { kid?: unknown }
    return typeof kid === 'string' ? kid : undefined
  } catch {
    return undefined
  }
}

/**
 * The service account behind a token.
 * @param podHere whether a pod of this uid is known on this node
 * @throws AppError `unauthorized` saying what is wrong with it
 */
export function readCaller(token: string, trust: TokenKeys, podHere: (uid: string) => boolean): Caller {
  const [head = '', body = '', signature = '', more] = token.length > MAX_TOKEN ? [] : token.split('.')
  if (signature === '' || more !== undefined) throw refuse('it is not a signed token')
  const { alg, kid } = json(head) as { alg?: unknown; kid?: unknown }
  if (alg !== 'ES256') throw refuse(`it is signed by "${String(alg).slice(0, 20)}", expected ES256`)
  const signed = Buffer.from(`${head}.${body}`)
  const proof = Buffer.from(signature, 'base64url')
  const keys = trust.keys.filter((k) => k.kid === undefined || kid === undefined || k.kid === kid)
  if (!keys.some((k) => verify('sha256', signed, { key: keyOf(k), dsaEncoding: 'ieee-p1363' }, proof))) throw refuse('no key of this cluster has signed it')
  const claims = json(body) as { iss?: unknown; aud?: unknown; 'kubernetes.io'?: { namespace?: unknown; serviceaccount?: { name?: unknown }; pod?: { uid?: unknown } } }
  if (claims.iss !== trust.issuer) throw refuse(`its issuer is "${String(claims.iss).slice(0, 80)}"`)
  if (![claims.aud ?? []].flat().includes(trust.issuer)) throw refuse('its audience is not this API')
  const { namespace, serviceaccount, pod } = claims['kubernetes.io'] ?? {}
  if (typeof namespace !== 'string' || typeof serviceaccount?.name !== 'string') throw refuse('it carries no service account')
  const podUid = typeof pod?.uid === 'string' ? pod.uid : undefined
  // Without the server only what runs here vouches for a token: one bound to nothing could have been withdrawn long ago.
  if (podUid === undefined || !podHere(podUid)) throw refuse('it is not of a pod of this node')
  return { namespace, account: serviceaccount.name, podUid }
}

const made = new WeakMap<object, KeyObject>()

function keyOf(jwk: JsonWebKey): KeyObject {
  let key = made.get(jwk)
  if (!key) made.set(jwk, (key = createPublicKey({ key: jwk, format: 'jwk' })))
  return key
}

function json(part: string): object {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString())
    if (typeof value === 'object' && value !== null) return value
  } catch {
    // told below
  }
  throw refuse('it does not read as a token')
}

function refuse(why: string): AppError {
  return new AppError('unauthorized', `check service-account token: ${why}`)
}
