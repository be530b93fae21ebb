/** Which webhooks a write concerns: rules, scope, selectors, and under which version of the resource it is shown. Pure. */
import type { LabelSelector, RuleWithOperations } from '../../api/gen/types.ts'
import type { ResourceDef } from '../../api/kinds.ts'
import { labelSelectorOf, matchesLabels, type Labels } from '../../api/selectors.ts'

export interface Matchable {
  readonly rules?: readonly RuleWithOperations[]
  readonly matchPolicy?: string
  readonly namespaceSelector?: LabelSelector
  readonly objectSelector?: LabelSelector
}

export type Operation = 'CREATE' | 'UPDATE' | 'DELETE' | 'CONNECT'

export interface Facts {
  readonly def: ResourceDef
  /** The same objects under other versions or groups. */
  readonly equivalents: readonly ResourceDef[]
  readonly subresource: string | undefined
  readonly operation: Operation
  readonly labels: Labels | undefined
  readonly oldLabels: Labels | undefined
  readonly hasObject: boolean
  readonly hasOld: boolean
  /** Labels of the namespace it lives in, or its own when it is one; undefined for other cluster-wide objects. */
  readonly namespaceLabels: Labels | undefined
}

/** The resource under which the write is shown to the webhook; undefined when it does not concern it. */
export function concerns(hook: Matchable, facts: Facts): ResourceDef | undefined {
  const rules = hook.rules ?? []
  const shown = rules.some((rule) => ruleMatches(rule, facts.def, facts)) ? facts.def : hook.matchPolicy === 'Exact' ? undefined : facts.equivalents.find((d) => rules.some((rule) => ruleMatches(rule, d, facts)))
  if (!shown) return undefined
  if (facts.namespaceLabels !== undefined && !matchesLabels(labelSelectorOf(hook.namespaceSelector ?? {}), facts.namespaceLabels)) return undefined
  const selector = labelSelectorOf(hook.objectSelector ?? {})
  // Moving into the selection counts as much as moving out of it.
  return (facts.hasObject && matchesLabels(selector, facts.labels)) || (facts.hasOld && matchesLabels(selector, facts.oldLabels)) ? shown : undefined
}

function ruleMatches(rule: RuleWithOperations, def: ResourceDef, { subresource, operation }: Facts): boolean {
  const any = (list: readonly string[] | undefined, value: string): boolean => list !== undefined && (list.includes('*') || list.includes(value))
  if (!any(rule.operations, operation) || !any(rule.apiGroups, def.group) || !any(rule.apiVersions, def.version)) return false
  if (rule.scope === 'Namespaced' && !def.namespaced) return false
  // A Namespace is cluster-wide, whatever its requests look like.
  if (rule.scope === 'Cluster' && def.namespaced) return false
  return (rule.resources ?? []).some((text) => {
    const [resource = '', sub] = text.split('/')
    if (resource !== '*' && resource !== def.resource) return false
    return sub === '*' ? true : sub === subresource
  })
}
