/** Kinds that are answered at once and never kept: token and access reviews. Used by the pipeline. */
import type { ApiResponse, UserInfo } from '../api/contract.ts'
import { badRequest, methodNotAllowed } from '../api/status.ts'
import { AppError, messageOf } from '../base/errors.ts'
import { readObject } from './body.ts'
import { answer, type Call, type Core } from './core.ts'
import { decodeObject } from './kind-rules.ts'
import type { Attributes } from './ports.ts'
import type { Obj } from './stored-text.ts'

interface AccessSpec {
  resourceAttributes?: { verb?: string; group?: string; version?: string; resource?: string; subresource?: string; namespace?: string; name?: string }
  nonResourceAttributes?: { path?: string; verb?: string }
  user?: string
  groups?: string[]
  uid?: string
  extra?: Record<string, string[]>
  namespace?: string
}

/** Answers a create of a kind that is never kept. @throws ApiError 400, 405 */
export async function virtualCreate(core: Core, call: Call): Promise<ApiResponse> {
  const { def, info } = call
  if (def.kind === 'ComponentStatus') return answer(call, 200, JSON.stringify({ kind: 'ComponentStatusList', apiVersion: 'v1', metadata: {}, items: [] }))
  if (info.verb !== 'create') throw methodNotAllowed(def, info.verb)
  const object = decodeObject(call, (await readObject(call)).sent)
  const done = (status: object): ApiResponse => answer(call, 201, JSON.stringify({ ...object, status }))
  switch (def.kind) {
    case 'TokenReview':
      return done(await reviewToken(core, object))
    case 'SelfSubjectReview':
      return done({ userInfo: userInfo(call.user) })
    case 'SubjectAccessReview':
    case 'LocalSubjectAccessReview':
      return done(reviewAccess(core, otherUser(object), object, info.namespace))
    case 'SelfSubjectAccessReview':
      return done(reviewAccess(core, call.user, object, undefined))
    case 'SelfSubjectRulesReview':
      return done(reviewRules(core, call.user, object))
    case 'Binding':
      throw badRequest('create the binding at pods/<name>/binding')
    default:
      throw methodNotAllowed(def, info.verb)
  }
}

async function reviewToken(core: Core, object: Obj): Promise<object> {
  const { token, audiences } = (object.spec ?? {}) as { token?: string; audiences?: string[] }
  if (!token) throw badRequest('token is required for TokenReview in authentication')
  try {
    const found = await core.authenticator.token(token, audiences?.length ? audiences : undefined)
    return { authenticated: true, user: userInfo(found.user), audiences: found.audiences }
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'unauthorized') throw error
    return { user: {}, error: messageOf(error) }
  }
}

function otherUser(object: Obj): UserInfo {
  const { user, groups, uid, extra } = (object.spec ?? {}) as AccessSpec
  if (!user && !groups?.length) throw badRequest('spec.user: at least one of user or group must be specified')
  return { name: user ?? '', groups: groups ?? [], ...(uid === undefined ? {} : { uid }), ...(extra === undefined ? {} : { extra }) }
}

function reviewAccess(core: Core, user: UserInfo, object: Obj, local: string | undefined): object {
  const spec = (object.spec ?? {}) as AccessSpec
  const { resourceAttributes: r, nonResourceAttributes: n } = spec
  if ((r === undefined) === (n === undefined)) throw badRequest('spec: exactly one of resourceAttributes or nonResourceAttributes must be specified')
  if (local !== undefined && (r?.namespace ?? '') !== local) throw badRequest(`spec.resourceAttributes.namespace: must match metadata.namespace "${local}"`)
  const attributes: Attributes = n
    ? { verb: n.verb ?? '', path: n.path ?? '' }
    : Object.fromEntries(Object.entries({ ...r, verb: r?.verb ?? '' }).filter(([, v]) => v !== '' && v !== undefined)) as unknown as Attributes
  const { allowed, reason } = core.authorizer.authorize(user, attributes)
  return { allowed, ...(reason === '' ? {} : { reason }) }
}

function reviewRules(core: Core, user: UserInfo, object: Obj): object {
  const { namespace } = (object.spec ?? {}) as AccessSpec
  if (!namespace) throw badRequest('no namespace on request')
  const rules = user.groups.includes('system:masters')
    ? [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }, { verbs: ['*'], nonResourceURLs: ['*'] }]
    : core.rbac.rules(user, namespace)
  return {
    resourceRules: rules.filter((r) => r.resources).map(({ verbs, apiGroups, resources, resourceNames }) => ({ verbs, apiGroups, resources, ...(resourceNames ? { resourceNames } : {}) })),
    nonResourceRules: rules.filter((r) => r.nonResourceURLs).map(({ verbs, nonResourceURLs }) => ({ verbs, nonResourceURLs })),
    incomplete: false,
  }
}

function userInfo(user: UserInfo): object {
  return { username: user.name, ...(user.uid === undefined ? {} : { uid: user.uid }), groups: user.groups, ...(user.extra && Object.keys(user.extra).length > 0 ? { extra: user.extra } : {}) }
}
