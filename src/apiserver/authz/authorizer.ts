/** The one question "may this user do that", asked in order: masters, paths open to all, the Node authorizer, RBAC. Used by the pipeline and the access reviews. */
import { GROUP_MASTERS, type UserInfo } from '../../api/contract.ts'
import type { Attributes, Decision } from '../ports.ts'
import type { NodeAuthorizer } from './node.ts'
import type { Rbac } from './rbac.ts'

/** Answered for anyone, as Kubernetes' probes need. */
const OPEN_PATHS = new Set(['/healthz', '/livez', '/readyz', '/version'])

/** Decides from memory, at once; never throws. */
export class Authorizer {
  readonly #node: NodeAuthorizer
  readonly #rbac: Rbac

  constructor(node: NodeAuthorizer, rbac: Rbac) {
    this.#node = node
    this.#rbac = rbac
  }

  authorize(user: UserInfo, attributes: Attributes): Decision {
    if (user.groups.includes(GROUP_MASTERS)) return { allowed: true, reason: '' }
    if (attributes.path !== undefined && attributes.verb === 'get' && isOpen(attributes.path)) return { allowed: true, reason: '' }
    const node = this.#node.decide(user, attributes)
    if (node?.allowed) return node
    const reason = this.#rbac.allows(user, attributes)
    if (reason !== undefined) return { allowed: true, reason }
    return { allowed: false, reason: [node?.reason ?? '', this.#rbac.problems(user, attributes.namespace)].filter((r) => r !== '').join(', ') }
  }
}

function isOpen(path: string): boolean {
  return OPEN_PATHS.has(path) || path.startsWith('/livez/') || path.startsWith('/readyz/') || path.startsWith('/healthz/')
}

/** Kubernetes' words for a refusal; pure. @param reason what the authorizer said of it */
export function refusal(user: UserInfo, a: Attributes, reason = ''): string {
  const who = `User ${JSON.stringify(user.name)}`
  const why = reason === '' ? '' : `: ${reason}`
  if (a.path !== undefined) return `${who} cannot ${a.verb} path ${JSON.stringify(a.path)}${why}`
  const what = a.subresource ? `${a.resource}/${a.subresource}` : a.resource
  const where = a.namespace ? ` in the namespace ${JSON.stringify(a.namespace)}` : ' at the cluster scope'
  return `${who} cannot ${a.verb} resource ${JSON.stringify(what)} in API group ${JSON.stringify(a.group ?? '')}${where}${why}`
}
