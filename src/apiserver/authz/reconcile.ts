/**
 * What a start changes in a default role or binding that is there already: missing rules, subjects, labels are added, nothing
 * is taken away, and one whose `autoupdate` annotation is "false" is the administrator's own. Pure; Kubernetes' rules.
 */
import { covers } from './cover.ts'
import type { DefaultObject } from './default-roles.ts'
import type { PolicyRule } from './rbac.ts'

const AUTOUPDATE = 'rbac.authorization.kubernetes.io/autoupdate'

export interface RbacObject {
  readonly metadata: { readonly labels?: Record<string, string>; readonly annotations?: Record<string, string> }
  readonly rules?: readonly PolicyRule[]
  readonly aggregationRule?: { readonly clusterRoleSelectors?: readonly object[] }
  readonly subjects?: readonly { kind?: string; name?: string; namespace?: string }[]
  readonly roleRef?: { kind?: string; name?: string }
}

/** `recreate`: a binding's role cannot be changed. undefined: it is as it should be, or not ours to change. */
export type Reconciled = { readonly do: 'update' | 'recreate'; readonly object: object }

/** What to write over `there` so that it grants at least what `wanted` does. */
export function reconciled(there: RbacObject, wanted: DefaultObject['object']): Reconciled | undefined {
  if (there.metadata.annotations?.[AUTOUPDATE] === 'false') return undefined
  if (wanted.roleRef && !sameRole(there.roleRef, wanted.roleRef)) return { do: 'recreate', object: { ...wanted, subjects: [...(there.subjects ?? []), ...missing(there.subjects, wanted.subjects)] } }
  const labels = { ...there.metadata.labels, ...wanted.metadata.labels }
  const annotations = { ...there.metadata.annotations, ...wanted.metadata.annotations }
  const rules = wanted.aggregationRule ? [] : (wanted.rules ?? []).filter((rule) => !covers(there.rules ?? [], rule))
  const subjects = missing(there.subjects, wanted.subjects)
  const selectors = missing(there.aggregationRule?.clusterRoleSelectors, (wanted.aggregationRule as RbacObject['aggregationRule'])?.clusterRoleSelectors)
  const same = rules.length + subjects.length + selectors.length === 0 && isSame(labels, there.metadata.labels) && isSame(annotations, there.metadata.annotations)
  if (same) return undefined
  return {
    do: 'update',
    object: {
      ...there,
      metadata: { ...there.metadata, labels, annotations },
      ...(rules.length > 0 ? { rules: [...(there.rules ?? []), ...rules] } : {}),
      ...(subjects.length > 0 ? { subjects: [...(there.subjects ?? []), ...subjects] } : {}),
      ...(selectors.length > 0 ? { aggregationRule: { clusterRoleSelectors: [...(there.aggregationRule?.clusterRoleSelectors ?? []), ...selectors] } } : {}),
    },
  }
}

function sameRole(a: RbacObject['roleRef'], b: object): boolean {
  const { kind, name } = b as { kind?: string; name?: string }
  return a?.kind === kind && a?.name === name
}

/** What of `wanted` is not in `there`, by its fields, whatever their order. */
function missing(there: readonly object[] | undefined, wanted: readonly object[] | undefined): object[] {
  const have = new Set((there ?? []).map(canonical))
  return (wanted ?? []).filter((one) => !have.has(canonical(one)))
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) => (typeof part === 'object' && part !== null && !Array.isArray(part) ? Object.fromEntries(Object.entries(part).toSorted(([a], [b]) => (a < b ? -1 : 1))) : part))
}

function isSame(a: Record<string, string>, b: Record<string, string> | undefined): boolean {
  return canonical(a) === canonical(b ?? {})
}
