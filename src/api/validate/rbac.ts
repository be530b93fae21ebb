/** Validation of roles and bindings. */
import type { ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding } from '../gen/types.ts'
import { dnsSubdomainErrors, pathSegmentErrors } from '../names.ts'
import { equal } from '../patch/json-patch.ts'
import { fieldInvalid } from '../status.ts'
import type { FieldError } from '../status.ts'
import { findings } from './field.ts'
import type { Findings } from './field.ts'
import { selector } from './placement.ts'

const RBAC = 'rbac.authorization.k8s.io'

/** Role or ClusterRole (`cluster`): each rule says what it allows on what. */
export function roleErrors(r: Role | ClusterRole, cluster: boolean): FieldError[] {
  return findings((e) => {
    for (const [i, rule] of (r.rules ?? []).entries()) policyRule(e, `rules[${i}]`, rule, cluster)
    const aggregation = (r as ClusterRole).aggregationRule
    if (!cluster || !aggregation) return
    const at = 'aggregationRule.clusterRoleSelectors'
    if (!aggregation.clusterRoleSelectors?.length) e.required(at, 'at least one clusterRoleSelector required if aggregationRule is non-nil')
    for (const [i, s] of (aggregation.clusterRoleSelectors ?? []).entries()) selector(e, `${at}[${i}]`, s)
  })
}

function policyRule(e: Findings, at: string, rule: PolicyRule, cluster: boolean): void {
  if (!rule.verbs?.length) e.required(`${at}.verbs`, 'verbs must contain at least one value')
  const urls = rule.nonResourceURLs
  if (urls?.length) {
    if (!cluster) e.invalid(`${at}.nonResourceURLs`, urls, 'namespaced rules cannot apply to non-resource URLs')
    if (rule.apiGroups?.length || rule.resources?.length || rule.resourceNames?.length) {
      e.invalid(`${at}.nonResourceURLs`, urls, 'rules cannot apply to both regular resources and non-resource URLs')
    }
    return
  }
  if (!rule.apiGroups?.length) e.required(`${at}.apiGroups`, 'resource rules must supply at least one api group')
  if (!rule.resources?.length) e.required(`${at}.resources`, 'resource rules must supply at least one resource')
}

/** RoleBinding or ClusterRoleBinding (`cluster`): role and subjects. */
export function bindingErrors(b: RoleBinding | ClusterRoleBinding, cluster: boolean): FieldError[] {
  return findings((e) => {
    const { apiGroup = '', kind = '', name } = b.roleRef ?? {}
    e.chosen('roleRef.apiGroup', apiGroup, [RBAC])
    e.chosen('roleRef.kind', kind, cluster ? ['ClusterRole'] : ['Role', 'ClusterRole'])
    e.named('roleRef.name', name, pathSegmentErrors)
    for (const [i, s] of (b.subjects ?? []).entries()) {
      const at = `subjects[${i}]`
      e.named(`${at}.name`, s.name, s.kind === 'ServiceAccount' ? dnsSubdomainErrors : undefined)
      if (s.kind === 'ServiceAccount') {
        e.chosen(`${at}.apiGroup`, s.apiGroup, [''])
        if (cluster && !s.namespace) e.required(`${at}.namespace`)
      } else if (s.kind === 'User' || s.kind === 'Group') e.chosen(`${at}.apiGroup`, s.apiGroup ?? '', [RBAC])
      else e.unsupported(`${at}.kind`, s.kind ?? '', ['ServiceAccount', 'User', 'Group'])
    }
  })
}

/** What a binding grants is fixed; who has it may change. */
export function bindingUpdateErrors(next: RoleBinding | ClusterRoleBinding, old: RoleBinding | ClusterRoleBinding): FieldError[] {
  return equal(next.roleRef, old.roleRef) ? [] : [fieldInvalid('roleRef', next.roleRef, 'cannot change roleRef')]
}
