/**
 * May this user do that with records? Asked of the API by SubjectAccessReview, so RBAC decides; the stream is the resource's
 * name, so a Role may list streams under `resourceNames`. Answers are kept for a few seconds, at most {@link MAX_KEPT} of them.
 */
import type { UserInfo } from '../api/contract.ts'
import { forbidden, unauthorized } from '../api/status.ts'
import type { Clock } from '../base/clock.ts'
import { callJson, type Client } from '../client/mod.ts'

export const COLLECT_GROUP = 'collect.skerry.io'
const KEEP_MS = 5000
const MAX_KEPT = 1000
const REVIEWS = '/apis/authorization.k8s.io/v1/subjectaccessreviews'

export interface Access {
  readonly verb: 'get' | 'list' | 'watch' | 'create'
  readonly namespace: string
  readonly stream: string | undefined
  readonly subresource?: 'review'
}

export type Authorize = (user: UserInfo | undefined, access: Access) => Promise<UserInfo>

/** @returns a check that gives back the user, or throws ApiError 401 or 403, AppError `unavailable` when the API cannot be asked */
export function createAuthorizer(client: Client, clock: Clock): Authorize {
  const kept = new Map<string, { readonly allowed: boolean; readonly reason: string; readonly until: number }>()

  async function ask(user: UserInfo, access: Access): Promise<{ allowed: boolean; reason: string }> {
    const { verb, namespace, stream, subresource } = access
    const { status } = await callJson<{ status?: { allowed?: boolean; reason?: string } }>(client.transport, {
      method: 'POST',
      path: REVIEWS,
      body: {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SubjectAccessReview',
        spec: {
          user: user.name,
          groups: user.groups,
          ...(user.uid !== undefined && { uid: user.uid }),
          ...(user.extra && { extra: user.extra }),
          resourceAttributes: { group: COLLECT_GROUP, version: 'v1', resource: 'records', verb, namespace, ...(stream !== undefined && { name: stream }), ...(subresource && { subresource }) },
        },
      },
    })
    return { allowed: status?.allowed === true, reason: status?.reason ?? '' }
  }

  return async (user, access) => {
    if (!user) throw unauthorized()
    const key = JSON.stringify([user.name, user.uid, user.groups, user.extra, access])
    let answer = kept.get(key)
    if (!answer || answer.until <= clock.monotonic()) {
      answer = { ...(await ask(user, access)), until: clock.monotonic() + KEEP_MS }
      kept.delete(key)
      kept.set(key, answer)
      const oldest = kept.keys().next().value
      if (kept.size > MAX_KEPT && oldest !== undefined) kept.delete(oldest)
    }
    if (!answer.allowed) {
      const what = access.subresource ? `records/${access.subresource}` : 'records'
      const why = `User "${user.name}" cannot ${access.verb} resource "${what}" in API group "${COLLECT_GROUP}" in the namespace "${access.namespace}"`
      throw forbidden({ group: COLLECT_GROUP, resource: what }, access.stream ?? '', answer.reason ? `${why}: ${answer.reason}` : why)
    }
    return user
  }
}
