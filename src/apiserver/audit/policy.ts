/** Audit policies (`audit.k8s.io/v1`): read from outside data, and what they say of one request. Pure. */
import type { UserInfo } from '../../api/contract.ts'
import { AppError } from '../../base/errors.ts'
import type { RequestInfo } from '../request-info.ts'

export const LEVELS = ['None', 'Metadata', 'Request', 'RequestResponse'] as const
export type Level = (typeof LEVELS)[number]
export const STAGES = ['RequestReceived', 'ResponseStarted', 'ResponseComplete', 'Panic'] as const
export type Stage = (typeof STAGES)[number]

interface Rule {
  readonly level: Level
  readonly users?: readonly string[]
  readonly userGroups?: readonly string[]
  readonly verbs?: readonly string[]
  readonly namespaces?: readonly string[]
  readonly nonResourceURLs?: readonly string[]
  readonly resources?: readonly { readonly group?: string; readonly resources?: readonly string[]; readonly resourceNames?: readonly string[] }[]
  readonly omitStages?: readonly Stage[]
  readonly omitManagedFields?: boolean
}
export interface Policy {
  readonly rules: readonly Rule[]
  readonly omitStages?: readonly Stage[]
  readonly omitManagedFields?: boolean
}

export interface Verdict {
  readonly level: Level
  readonly omitStages: readonly Stage[]
  readonly omitManagedFields: boolean
}

const SILENT: Verdict = { level: 'None', omitStages: [], omitManagedFields: false }

/** @throws AppError `invalid` naming what is wrong */
export function parsePolicy(value: unknown): Policy {
  const refuse = (why: string): never => {
    throw new AppError('invalid', `read audit policy: ${why}`)
  }
  const policy = value as Partial<Policy> & { kind?: unknown; apiVersion?: unknown }
  if (typeof value !== 'object' || value === null) return refuse('it is not an object')
  if (policy.kind !== 'Policy' || policy.apiVersion !== 'audit.k8s.io/v1') return refuse(`kind ${JSON.stringify(policy.kind)} in ${JSON.stringify(policy.apiVersion)} is not a Policy of audit.k8s.io/v1`)
  if (!Array.isArray(policy.rules) || policy.rules.length === 0) return refuse('it has no rules')
  const stages = (list: unknown, at: string): void => {
    if (list !== undefined && !(Array.isArray(list) && list.every((s) => (STAGES as readonly unknown[]).includes(s)))) refuse(`${at} ${JSON.stringify(list)} is not a list of ${STAGES.join(', ')}`)
  }
  stages(policy.omitStages, 'omitStages')
  for (const [i, rule] of policy.rules.entries()) {
    const at = `rules[${i}]`
    if (!LEVELS.includes((rule as Rule | null)?.level as Level)) refuse(`${at}.level ${JSON.stringify((rule as Rule | null)?.level)} is none of ${LEVELS.join(', ')}`)
    stages(rule.omitStages, `${at}.omitStages`)
    for (const key of ['users', 'userGroups', 'verbs', 'namespaces', 'nonResourceURLs', 'resources'] as const) {
      if (rule[key] !== undefined && !Array.isArray(rule[key])) refuse(`${at}.${key} is not a list`)
    }
    if (rule.nonResourceURLs?.length && (rule.resources?.length || rule.namespaces?.length)) refuse(`${at}: nonResourceURLs cannot stand beside resources or namespaces`)
  }
  return value as Policy
}

/** What the first rule that matches says; a request that no rule matches is not recorded. */
export function verdict(policy: Policy, user: UserInfo, info: RequestInfo): Verdict {
  const rule = policy.rules.find((r) => matches(r, user, info))
  if (!rule || rule.level === 'None') return SILENT
  return {
    level: rule.level,
    omitStages: [...(policy.omitStages ?? []), ...(rule.omitStages ?? [])],
    omitManagedFields: rule.omitManagedFields ?? policy.omitManagedFields ?? false,
  }
}

function matches(rule: Rule, user: UserInfo, info: RequestInfo): boolean {
  if (rule.users?.length && !rule.users.includes(user.name)) return false
  if (rule.userGroups?.length && !rule.userGroups.some((g) => user.groups.includes(g))) return false
  if (rule.verbs?.length && !rule.verbs.includes(info.verb)) return false
  if (!info.isResource) {
    if (rule.resources?.length || rule.namespaces?.length) return false
    return !rule.nonResourceURLs?.length || rule.nonResourceURLs.some((url) => url === '*' || url === info.path || (url.endsWith('*') && info.path.startsWith(url.slice(0, -1))))
  }
  if (rule.nonResourceURLs?.length) return false
  if (rule.namespaces?.length && !rule.namespaces.includes(info.namespace ?? '')) return false
  if (!rule.resources?.length) return true
  const whole = info.subresource === undefined ? info.resource : `${info.resource}/${info.subresource}`
  return rule.resources.some(
    (r) =>
      (r.group ?? '') === info.group &&
      (!r.resources?.length || r.resources.some((x) => x === whole || x === '*' || x === `${info.resource}/*` || (info.subresource !== undefined && x === `*/${info.subresource}`))) &&
      (!r.resourceNames?.length || r.resourceNames.includes(info.name ?? '')),
  )
}
