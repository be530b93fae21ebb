/** Kinds that are answered at once and never kept: token and access reviews. Used by the pipeline. */
import type { ApiResponse, UserInfo } from '../api/contract.ts'
import { badRequest, fieldInvalid, fieldRequired, invalid, methodNotAllowed, notFound, type FieldError } from '../api/status.ts'
import { AppError, messageOf } from '../base/errors.ts'
import { nodeName } from './authz/node.ts'
import { readObject } from './body.ts'
import { answer, type Call, type Core } from './core.ts'
import { decodeObject } from './kind-rules.ts'
import { negotiate } from './negotiate.ts'
import type { Attributes } from './ports.ts'
import { provide } from './provided.ts'
import type { Obj } from './stored-text.ts'

interface Selector {
  rawSelector?: string
  requirements?: { key: string; operator: string; values?: string[] }[]
}

interface AccessSpec {
  resourceAttributes?: { verb?: string; group?: string; version?: string; resource?: string; subresource?: string; namespace?: string; name?: string; fieldSelector?: Selector; labelSelector?: Selector }
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
  if (def.kind === 'ComponentStatus') return await provide({ def, get: (name) => Promise.reject(notFound(def, name)), list: () => Promise.resolve([]) }, call, core.clock.now())
  if (info.verb !== 'create') throw methodNotAllowed(def, info.verb)
  negotiate(call.headers.accept, false)
  const object = decodeObject(call, (await readObject(call)).sent)
  const done = (status: object): ApiResponse => answer(call, 201, JSON.stringify({ ...object, status }))
  switch (def.kind) {
    case 'TokenReview':
      return done(await reviewToken(core, object))
    case 'SelfSubjectReview':
      return done({ userInfo: userInfo(call.user) })
    case 'SubjectAccessReview':
    case 'LocalSubjectAccessReview':
    case 'SelfSubjectAccessReview':
      return done(reviewAccess(core, call, object))
    case 'SelfSubjectRulesReview':
      return done(reviewRules(core, call.user, object))
    case 'Binding':
      return (await import('./subresources.ts')).bindNamed(core, call, object.metadata?.name)
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

/** @throws ApiError 422, Kubernetes' checks and words */
function checkAccess(def: Call['def'], object: Obj, local: string | undefined): void {
  const { resourceAttributes: r, nonResourceAttributes: n, user, groups } = (object.spec ?? {}) as AccessSpec
  const errors: FieldError[] = []
  if (n && r) errors.push(fieldInvalid('spec.nonResourceAttributes', n, 'cannot be specified in combination with resourceAttributes'))
  if (!n && !r) errors.push(fieldInvalid('spec.resourceAttributes', r ?? null, 'exactly one of nonResourceAttributes or resourceAttributes must be specified'))
  if (def.kind !== 'SelfSubjectAccessReview' && !user && !groups?.length) errors.push(fieldInvalid('spec.user', user ?? '', 'at least one of user or group must be specified'))
  if (local !== undefined) {
    if (n) errors.push(fieldInvalid('spec.nonResourceAttributes', n, 'disallowed on this kind of request'))
    if (r && (r.namespace ?? '') !== local) errors.push(fieldInvalid('spec.resourceAttributes.namespace', r.namespace ?? '', 'must match metadata.namespace'))
  }
  for (const which of ['fieldSelector', 'labelSelector'] as const) {
    const selector = r?.[which]
    const at = `spec.resourceAttributes.${which}`
    if (selector?.rawSelector && selector.requirements?.length) errors.push(fieldInvalid(`${at}.rawSelector`, selector.rawSelector, 'may not specified at the same time as requirements'))
    if (selector && !selector.rawSelector && !selector.requirements?.length) errors.push(fieldRequired(`${at}.requirements`, `when ${at} is specified, requirements or rawSelector is required`))
  }
  if (errors.length > 0) throw invalid(def, '', errors)
}

/** A selector's conditions as text. One that says more than text can say is left out: that never allows more. */
function selectorText(selector: Selector | undefined): string | undefined {
  if (!selector?.requirements?.length) return selector?.rawSelector || undefined
  const words = selector.requirements.map(({ key, operator, values = [] }) => {
    if (operator === 'In') return values.length === 1 ? `${key}=${escaped(values[0] as string)}` : undefined
    if (operator === 'NotIn') return values.map((v) => `${key}!=${escaped(v)}`).join(',')
    return undefined
  })
  return words.filter((w) => w !== undefined).join(',') || undefined
}

function escaped(value: string): string {
  return value.replace(/[\\,=]/g, '\\$&')
}

function reviewAccess(core: Core, call: Call, object: Obj): object {
  const { def, info } = call
  const spec = (object.spec ?? {}) as AccessSpec
  const local = def.kind === 'LocalSubjectAccessReview' ? (info.namespace ?? '') : undefined
  checkAccess(def, object, local)
  const { resourceAttributes: r, nonResourceAttributes: n, user, groups = [], uid, extra } = spec
  const who: UserInfo = def.kind === 'SelfSubjectAccessReview' ? call.user : { name: user ?? '', groups, ...(uid === undefined ? {} : { uid }), ...(extra === undefined ? {} : { extra }) }
  const text = (name: 'group' | 'version' | 'resource' | 'subresource' | 'namespace' | 'name'): object => (r?.[name] ? { [name]: r[name] } : {})
  const [fieldSelector, labelSelector] = [selectorText(r?.fieldSelector), selectorText(r?.labelSelector)]
  const attributes: Attributes = n
    ? { verb: n.verb ?? '', path: n.path ?? '' }
    : { verb: r?.verb ?? '', resource: '', ...text('group'), ...text('version'), ...text('resource'), ...text('subresource'), ...text('namespace'), ...text('name'), ...(fieldSelector ? { fieldSelector } : {}), ...(labelSelector ? { labelSelector } : {}) }
  const { allowed, reason } = core.authorizer.authorize(who, attributes)
  return { allowed, ...(reason === '' ? {} : { reason }) }
}

function reviewRules(core: Core, user: UserInfo, object: Obj): object {
  const { namespace } = (object.spec ?? {}) as AccessSpec
  if (!namespace) throw badRequest('no namespace on request')
  const rules = core.rbac.rules(user, namespace)
  const problem = [nodeName(user) === undefined ? '' : 'node authorizer does not support user rule resolution', core.rbac.problems(user, namespace)].filter((p) => p !== '').join(', ')
  return {
    resourceRules: rules.filter((r) => r.resources).map(({ verbs, apiGroups, resources, resourceNames }) => ({ verbs, apiGroups, resources, ...(resourceNames ? { resourceNames } : {}) })),
    nonResourceRules: rules.filter((r) => r.nonResourceURLs).map(({ verbs, nonResourceURLs }) => ({ verbs, nonResourceURLs })),
    incomplete: problem !== '',
    ...(problem === '' ? {} : { evaluationError: problem }),
  }
}

function userInfo(user: UserInfo): object {
  return { username: user.name, ...(user.uid === undefined ? {} : { uid: user.uid }), groups: user.groups, ...(user.extra && Object.keys(user.extra).length > 0 ? { extra: user.extra } : {}) }
}
