/**
 * RBAC: who may do what, compiled from the four RBAC resources in the watch cache whenever one of them changes.
 * Rules only add; no match is a refusal. Aggregated ClusterRoles are resolved here, when compiling. Used by the authorizer.
 */
import type { UserInfo } from '../../api/contract.ts'
import type { LabelSelector } from '../../api/gen/types.ts'
import { labelSelectorOf, matchesLabels, type Selector } from '../../api/selectors.ts'
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
  /** The role does not exist: how Kubernetes says so. */
  readonly missing?: string
}

interface Subject {
  kind?: string
  name?: string
  namespace?: string
}
interface Role {
  rules?: PolicyRule[]
  aggregationRule?: { clusterRoleSelectors?: LabelSelector[] }
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
  /** Rules of aggregated ClusterRoles by name. */
  readonly aggregated: Map<string, readonly PolicyRule[]>
}

/** RBAC as of the watch cache: a change counts as soon as the server has seen it. */
export class Rbac {
  readonly #sources: readonly ResourceCache[]
  #compiled: Compiled | undefined

  constructor(cache: WatchCache) {
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

  /** The rules behind a role reference, as a binding in `namespace` sees it; undefined when there is no such role. */
  roleRules(kind: string, name: string, namespace: string | undefined): readonly PolicyRule[] | undefined {
    const aggregated = this.#compile().aggregated
    return kind === 'Role' ? this.#role(`${namespace}/${name}`) : this.#clusterRole(name, aggregated)
  }

  /** The ClusterRoles that take over others' rules, with the rules they are to have. */
  aggregated(): ReadonlyMap<string, readonly PolicyRule[]> {
    const { aggregated } = this.#compile()
    for (const entry of (this.#sources[0] as ResourceCache).scan()) this.#clusterRole(entry.name, aggregated)
    return aggregated
  }

  /** What keeps a user's bindings from counting, in Kubernetes' words: roles that do not exist. Empty when nothing does. */
  problems(user: UserInfo, namespace: string | undefined): string {
    const missing = new Set([...this.#grants(user, namespace)].flatMap((grant) => (grant.missing === undefined ? [] : [grant.missing])))
    return missing.size === 0 ? '' : `RBAC: ${missing.size === 1 ? [...missing][0] : `[${[...missing].join(', ')}]`}`
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
    const aggregated = new Map<string, readonly PolicyRule[]>()
    const grant = (rules: readonly PolicyRule[] | undefined, role: string, by: string): Grant => ({ rules: rules ?? [], by, ...(rules ? {} : { missing: `${role} not found` }) })
    for (const entry of (caches[1] as ResourceCache).scan()) {
      const { subjects, roleRef } = entry.parsed(true) as Binding
      if (!roleRef) continue
      const rules = this.#clusterRole(roleRef.name, aggregated)
      add(cluster, subjects, grant(rules, `clusterrole.${GROUP} "${roleRef.name}"`, `ClusterRoleBinding "${entry.name}" of ClusterRole "${roleRef.name}" to ${WHO}`))
    }
    for (const entry of (caches[3] as ResourceCache).scan()) {
      const namespace = namespaceOf(entry)
      const { subjects, roleRef } = entry.parsed(true) as Binding
      if (!roleRef) continue
      let inside = namespaces.get(namespace)
      if (!inside) namespaces.set(namespace, (inside = new Map()))
      const rules = roleRef.kind === 'Role' ? this.#role(`${namespace}/${roleRef.name}`) : this.#clusterRole(roleRef.name, aggregated)
      add(inside, subjects, grant(rules, `${roleRef.kind.toLowerCase()}.${GROUP} "${roleRef.name}"`, `RoleBinding "${entry.name}/${namespace}" of ${roleRef.kind} "${roleRef.name}" to ${WHO}`), namespace)
    }
    return (this.#compiled = { stamp, cluster, namespaces, aggregated })
  }

  #role(path: string): readonly PolicyRule[] | undefined {
    const cache = this.#sources[2] as ResourceCache
    const role = cache.get(cache.prefix + path)?.parsed(true) as Role | undefined
    return role && (role.rules ?? [])
  }

  /** A role that takes over others' rules may be taken over itself; `aggregated` remembers, and ends circles. */
  #clusterRole(name: string, aggregated: Map<string, readonly PolicyRule[]>): readonly PolicyRule[] | undefined {
    const cache = this.#sources[0] as ResourceCache
    const role = cache.get(cache.prefix + name)?.parsed(true) as Role | undefined
    const selectors = role?.aggregationRule?.clusterRoleSelectors
    if (!role || !selectors) return role && (role.rules ?? [])
    const known = aggregated.get(name)
    if (known) return known
    aggregated.set(name, [])
    const parsed = selectors.flatMap((s) => selectorOf(s))
    const rules = new Map<string, PolicyRule>()
    for (const entry of cache.scan()) {
      if (entry.name === name || !parsed.some((s) => matchesLabels(s, (entry.parsed(true) as unknown as Role).metadata.labels))) continue
      for (const rule of this.#clusterRole(entry.name, aggregated) ?? []) rules.set(JSON.stringify(rule), rule)
    }
    aggregated.set(name, [...rules.values()])
    return aggregated.get(name)
  }
}

/** None for a selector that cannot be read: it takes nothing over, and must not keep others from being decided. */
function selectorOf(selector: LabelSelector): Selector[] {
  try {
    return [labelSelectorOf(selector)]
  } catch {
    return []
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

/** Stands for the subject in a grant's words, until it is asked about a user. */
const WHO = '\0'

function add(map: Map<string, Grant[]>, subjects: readonly Subject[] | undefined, grant: Grant, namespace?: string): void {
  for (const s of subjects ?? []) {
    const account = s.namespace || namespace
    const key = s.kind === 'Group' ? `g:${s.name}` : s.kind === 'User' ? `u:${s.name}` : s.kind === 'ServiceAccount' && account ? `u:system:serviceaccount:${account}:${s.name}` : undefined
    if (key === undefined) continue
    const who = s.kind === 'ServiceAccount' ? `ServiceAccount "${s.name}/${account}"` : `${s.kind} "${s.name}"`
    const named = { ...grant, by: grant.by.replace(WHO, who) }
    const list = map.get(key)
    if (list) list.push(named)
    else map.set(key, [named])
  }
}

function namespaceOf(entry: CacheEntry): string {
  return entry.key.split('/')[3] as string
}
