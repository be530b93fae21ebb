/** Bootstrap tokens in kubeadm's format: Secrets `kube-system/bootstrap-token-<id>`. Used by authentication. */
import { timingSafeEqual } from 'node:crypto'
import { GROUP_AUTHENTICATED, GROUP_BOOTSTRAPPERS, type UserInfo } from '../../api/contract.ts'
import type { Clock } from '../../base/clock.ts'
import { AppError } from '../../base/errors.ts'
import type { WatchCache } from '../watch-cache.ts'

const TOKEN = /^([a-z0-9]{6})\.([a-z0-9]{16})$/
const GROUP = /^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$/

/** True for what looks like a bootstrap token (and so is never taken for a JWT). */
export function isBootstrapToken(token: string): boolean {
  return TOKEN.test(token)
}

/** @throws AppError `unauthorized` that says why, never the secret */
export function bootstrapUser(token: string, cache: WatchCache, clock: Clock): UserInfo {
  const [, id, secret] = TOKEN.exec(token) as unknown as [string, string, string]
  const secrets = cache.resource('secrets')
  const object = secrets.get(`${secrets.prefix}kube-system/bootstrap-token-${id}`)?.parsed() as
    | { type?: string; data?: Record<string, string>; metadata: { deletionTimestamp?: string } }
    | undefined
  const refuse = (why: string): AppError => new AppError('unauthorized', `check bootstrap token "${id}": ${why}, make a new one with \`skerry token create\``)
  if (!object || object.type !== 'bootstrap.kubernetes.io/token' || object.metadata.deletionTimestamp) throw refuse('it is not known (never made, used up or revoked)')
  const field = (name: string): string => Buffer.from(object.data?.[name] ?? '', 'base64').toString()
  const stored = Buffer.from(field('token-secret'))
  const shown = Buffer.from(secret)
  if (field('token-id') !== id || stored.length !== shown.length || !timingSafeEqual(stored, shown)) throw refuse('its secret does not match')
  const expiration = field('expiration')
  if (expiration !== '' && !(Date.parse(expiration) > clock.now())) throw refuse(`it expired at ${expiration}`)
  if (field('usage-bootstrap-authentication') !== 'true') throw refuse('it is not meant for authentication')
  const extra = field('auth-extra-groups').split(',').filter((g) => GROUP.test(g))
  return { name: `system:bootstrap:${id}`, groups: [GROUP_BOOTSTRAPPERS, ...extra, GROUP_AUTHENTICATED] }
}
