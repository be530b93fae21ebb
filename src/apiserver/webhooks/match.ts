/** Which webhooks a write concerns: rules, scope, selectors. Pure. Versions are matched as they are sent (`matchPolicy: Exact`). */
import type { LabelSelector, RuleWithOperations } from '../../api/gen/types.ts'
import type { ResourceDef } from '../../api/kinds.ts'
import { labelSelectorOf, matchesLabels, type Labels } from '../../api/selectors.ts'

export interface Matchable {
  readonly rules?: readonly RuleWithOperations[]
  readonly namespaceSelector?: LabelSelector
  readonly objectSelector?: LabelSelector
}

export interface Facts {
  readonly def: Pick<ResourceDef, 'group' | 'version' | 'resource' | 'namespaced'>
  readonly subresource: string | undefined
  readonly operation: 'CREATE' | 'UPDATE' | 'DELETE'
  readonly labels: Labels | undefined
  readonly oldLabels: Labels | undefined
  readonly hasObject: boolean
  readonly hasOld: boolean
  /** Labels of the namespace it lives in, or its own when it is one; undefined for other cluster-wide objects. */
  readonly namespaceLabels: Labels | undefined
}

/** True when rules and selectors take the write in. */
export function concerns(hook: Matchable, facts: Facts): boolean {
  if (!(hook.rules ?? []).some((rule) => ruleMatches(rule, facts))) return false
  if (facts.namespaceLabels !== undefined && !matchesLabels(labelSelectorOf(hook.namespaceSelector ?? {}), facts.namespaceLabels)) return false
  const selector = labelSelectorOf(hook.objectSelector ?? {})
  // Moving into the selection counts as much as moving out of it.
  return (facts.hasObject && matchesLabels(selector, facts.labels)) || (facts.hasOld && matchesLabels(selector, facts.oldLabels))
}

function ruleMatches(rule: RuleWithOperations, { def, subresource, operation }: Facts): boolean {
  const any = (list: readonly string[] | undefined, value: string): boolean => list !== undefined && (list.includes('*') || list.includes(value))
  if (!any(rule.operations, operation) || !any(rule.apiGroups, def.group) || !any(rule.apiVersions, def.version)) return false
  if (rule.scope === 'Namespaced' && !def.namespaced) return false
  if (rule.scope === 'Cluster' && def.namespaced) return false
  return (rule.resources ?? []).some((text) => {
    const [resource = '', sub] = text.split('/')
    if (resource !== '*' && resource !== def.resource) return false
    return sub === '*' ? true : sub === subresource
  })
}
