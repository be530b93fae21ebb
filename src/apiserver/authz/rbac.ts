/**
 * RBAC: who may do what, compiled from the four RBAC resources in the watch cache whenever one of them changes.
 * Rules only add; no match is a refusal. Aggregated ClusterRoles are resolved here, when compiling. Used by the authorizer.
 */
import type { UserInfo } from '../../api/contract.ts'
import type { Attributes } from '../ports.ts'
import type { CacheEntry, ResourceCache, WatchCache } from '../watch-cache.ts'

export interface PolicyRule {
  readonly verbs: readonly string[]
  readonly apiGroups?: readonly string[]
  readonly resources?: readonly string[]
  readonly resourceNames?: readonly string[]
  readonly nonResourceURLs?: readonly string[]
}

interface Grant {
  readonly rules: readonly PolicyRule[]
  /** Human words for the reason, e.g. `ClusterRoleBinding "x"`. */
  readonly by: string
}

interface Subject {
  kind?: string
  name?: string
  namespace?: string
}
interface Role {
  rules?: PolicyRule[]
  aggregationRule?: { clusterRoleSelectors?: { matchLabels?: Record<string, string> }[] }
  metadata: { labels?: Record<string, string> }
}
interface Binding {
  subjects?: Subject[]
  roleRef?: { kind: string; name: string }
}

const GROUP = 'rbac.authorization.k8s.io'
const RESOURCES = ['clusterroles', 'clusterrolebindings', 'roles', 'rolebindings'] as const

/** Grants by subject (`u:alice`, `g:system:nodes`), for the cluster and per namespace. */
interface Compiled {
  /** Versions of the four resources together: each only grows, so the sum is another one after any change. */
  readonly stamp: number
  readonly cluster: Map<string, Grant[]>
  readonly namespaces: Map<string, Map<string, Grant[]>>
}

/** RBAC as of the watch cache: a change counts as soon as the server has seen it. */
export class Rbac {
  readonly #cache: WatchCache
  readonly #sources: readonly ResourceCache[]
  #compiled: Compiled | undefined

  constructor(cache: WatchCache) {
    this.#cache = cache
    this.#sources = RESOURCES.map((r) => cache.resource(`${r}.${GROUP}`))
  }

  /** The reason when some rule allows it, else undefined. */
  allows(user: UserInfo, attributes: Attributes): string | undefined {
    for (const grant of this.#grants(user, attributes.namespace)) {
      if (grant.rules.some((rule) => ruleAllows(rule, attributes))) return `RBAC: allowed by ${grant.by}`
    }
    return undefined
  }

  /** All rules a user has in a namespace, cluster-wide ones included; for SelfSubjectRulesReview and escalation checks. */
  rules(user: UserInfo, namespace: string | undefined): PolicyRule[] {
    return [...this.#grants(user, namespace)].flatMap((g) => g.rules)
  }

  /** The rules behind a role reference, as a binding in `namespace` sees it. */
  roleRules(kind: string, name: string, namespace: string | undefined): readonly PolicyRule[] {
    return kind === 'Role' ? this.#role('roles', `${namespace}/${name}`) : this.#clusterRole(name)
  }

  *#grants(user: UserInfo, namespace: string | undefined): Generator<Grant> {
    const { cluster, namespaces } = this.#compile()
    const inside = namespace ? namespaces.get(namespace) : undefined
    for (const subject of [`u:${user.name}`, ...user.groups.map((g) => `g:${g}`)]) {
      yield* cluster.get(subject) ?? []
      if (inside) yield* inside.get(subject) ?? []
    }
  }

  #compile(): Compiled {
    const caches = this.#sources
    let stamp = 0
    for (const cache of caches) stamp += cache.version
    if (this.#compiled?.stamp === stamp) return this.#compiled
    const cluster = new Map<string, Grant[]>()
    const namespaces = new Map<string, Map<string, Grant[]>>()
    for (const entry of (caches[1] as ResourceCache).scan()) {
      const { subjects, roleRef } = entry.parsed(true) as Binding
      if (!roleRef) continue
      add(cluster, subjects, { rules: this.#clusterRole(roleRef.name), by: `ClusterRoleBinding "${entry.name}" of ClusterRole "${roleRef.name}"` })
    }
    for (const entry of (caches[3] as ResourceCache).scan()) {
      const namespace = namespaceOf(entry)
      const { subjects, roleRef } = entry.parsed(true) as Binding
      if (!roleRef) continue
      let inside = namespaces.get(namespace)
      if (!inside) namespaces.set(namespace, (inside = new Map()))
      const rules = this.roleRules(roleRef.kind, roleRef.name, namespace)
      add(inside, subjects, { rules, by: `RoleBinding "${entry.name}/${namespace}" of ${roleRef.kind} "${roleRef.name}"` }, namespace)
    }
    return (this.#compiled = { stamp, cluster, namespaces })
  }

  #role(resource: string, path: string): readonly PolicyRule[] {
    const cache = this.#cache.resource(`${resource}.${GROUP}`)
    return ((cache.get(cache.prefix + path)?.parsed(true) as Role | undefined)?.rules ?? []) as PolicyRule[]
  }

  #clusterRole(name: string): readonly PolicyRule[] {
    const cache = this.#cache.resource(`clusterroles.${GROUP}`)
    const role = cache.get(cache.prefix + name)?.parsed(true) as Role | undefined
    const selectors = role?.aggregationRule?.clusterRoleSelectors
    if (!selectors) return role?.rules ?? []
    const rules = [...(role.rules ?? [])]
    for (const entry of cache.scan()) {
      if (entry.name === name) continue
      const other = entry.parsed(true) as unknown as Role
      const labels = other.metadata.labels ?? {}
      if (selectors.some((s) => Object.entries(s.matchLabels ?? { '': '' }).every(([k, v]) => labels[k] === v))) rules.push(...(other.rules ?? []))
    }
    return rules
  }
}

/** True when one rule covers one act; pure. */
export function ruleAllows(rule: PolicyRule, a: Attributes): boolean {
  if (!has(rule.verbs, a.verb)) return false
  if (a.path !== undefined) {
    return (rule.nonResourceURLs ?? []).some((url) => url === '*' || url === a.path || (url.endsWith('*') && (a.path as string).startsWith(url.slice(0, -1))))
  }
  if (!has(rule.apiGroups, a.group ?? '')) return false
  const wanted = a.subresource ? `${a.resource}/${a.subresource}` : (a.resource ?? '')
  const resources = rule.resources ?? []
  if (!has(resources, wanted) && !(a.subresource && resources.includes(`*/${a.subresource}`))) return false
  const names = rule.resourceNames ?? []
  return names.length === 0 || (a.name !== undefined && names.includes(a.name))
}

function has(list: readonly string[] | undefined, value: string): boolean {
  return list !== undefined && (list.includes(value) || list.includes('*'))
}

function add(map: Map<string, Grant[]>, subjects: readonly Subject[] | undefined, grant: Grant, namespace?: string): void {
  for (const s of subjects ?? []) {
    const key =
      s.kind === 'Group' ? `g:${s.name}` : s.kind === 'User' ? `u:${s.name}` : `u:system:serviceaccount:${s.namespace ?? namespace}:${s.name}`
    const list = map.get(key)
    if (list) list.push(grant)
    else map.set(key, [grant])
  }
}

function namespaceOf(entry: CacheEntry): string {
  return entry.key.split('/')[3] as string
}
