/** What a definition's status says right after its write: names accepted or held by another, established, versions stored. Used by the write verbs. */
import type { CustomResourceDefinition, CustomResourceDefinitionNames } from '../api/gen/types.ts'
import { APPROVED, approvalOf, isProtectedGroup } from '../api/validate/crd.ts'
import { stamp, type Core } from './core.ts'
import type { Obj } from './stored-text.ts'

/** Holds a definition back until its instances are gone. */
export const CLEANUP = 'customresourcecleanup.apiextensions.k8s.io'

/** A stored definition. */
export interface Crd extends Obj {
  spec: CustomResourceDefinition['spec']
  status?: { conditions?: Condition[]; acceptedNames?: object; storedVersions?: string[] }
}
interface Condition {
  type: string
  status: string
  reason: string
  message: string
  lastTransitionTime?: string
}

/** Sets the status a definition has right after its write. */
export function acceptDefinition(core: Core, object: Obj): void {
  const crd = object as Crd
  if (!crd.spec?.names || !crd.spec.versions) return
  const old = crd.status ?? {}
  const { accepted, problems } = acceptNames(core, crd)
  const [problem] = problems
  const established = !problem || isTrue(crd, 'Established')
  const storage = crd.spec.versions.find((v) => v.storage)?.name
  const settled = [
    problem ? condition(core, crd, 'NamesAccepted', 'False', problem.reason, problem.message) : condition(core, crd, 'NamesAccepted', 'True', 'NoConflicts', 'no conflicts found'),
    established ? condition(core, crd, 'Established', 'True', 'InitialNamesAccepted', 'the initial names have been accepted') : condition(core, crd, 'Established', 'False', 'NotAccepted', 'not all names are accepted'),
    ...approval(core, crd),
  ]
  const own = new Set([...settled.map((c) => c.type), 'NonStructuralSchema', 'KubernetesAPIApprovalPolicyConformant'])
  crd.status = {
    conditions: [...settled, ...(old.conditions ?? []).filter((c) => !own.has(c.type))],
    acceptedNames: accepted,
    storedVersions: [...new Set([...(old.storedVersions ?? []), ...(storage === undefined ? [] : [storage])])],
  }
  if (object.metadata.deletionTimestamp === undefined) object.metadata.finalizers = [...new Set([...(object.metadata.finalizers ?? []), CLEANUP])]
}

/** True when the condition stands and is `True`. */
export function isTrue(crd: Crd, type: string): boolean {
  return crd.status?.conditions?.some((c) => c.type === type && c.status === 'True') === true
}

/** A condition as of now; its time stays while its status does. */
export function condition(core: Core, crd: Crd, type: string, status: 'True' | 'False', reason: string, message: string): Condition {
  const before = crd.status?.conditions?.find((c) => c.type === type)
  return { type, status, reason, message, lastTransitionTime: before?.status === status && before.lastTransitionTime ? before.lastTransitionTime : stamp(core) }
}

/** True when a definition that had to wait for names could have them now. */
export function couldBeAccepted(core: Core, crd: Crd): boolean {
  return crd.status?.conditions?.some((c) => c.type === 'NamesAccepted' && c.status === 'False') === true && acceptNames(core, crd).problems.length === 0
}

function approval(core: Core, crd: Crd): Condition[] {
  if (!isProtectedGroup(crd.spec.group)) return []
  const text = crd.metadata.annotations?.[APPROVED]
  const type = 'KubernetesAPIApprovalPolicyConformant'
  switch (approvalOf(crd as unknown as CustomResourceDefinition)) {
    case 'approved':
      return [condition(core, crd, type, 'True', 'ApprovedAnnotation', `approved in ${text}`)]
    case 'bypassed':
      return [condition(core, crd, type, 'False', 'UnapprovedAnnotation', `not approved: ${JSON.stringify(text)}`)]
    case 'missing':
      return [condition(core, crd, type, 'False', 'MissingAnnotation', `protected groups must have approval annotation "${APPROVED}", see https://github.com/kubernetes/enhancements/pull/1111`)]
    default:
      return [condition(core, crd, type, 'False', 'InvalidAnnotation', `protected groups must have approval annotation "${APPROVED}" with either a URL or a reason starting with "unapproved"`)]
  }
}

/** Each name by itself: one that another definition of the group holds is not taken over, the others are. */
function acceptNames(core: Core, crd: Crd): { accepted: object; problems: { reason: string; message: string }[] } {
  const { group, names } = crd.spec
  const others = core.resources.all.filter((d) => d.group === group && d.custom?.crd !== crd.metadata.name)
  const resources = new Set(others.flatMap((d) => [d.resource, d.singular, ...d.shortNames]))
  const kinds = new Set(others.flatMap((d) => [d.kind, d.listKind]))
  const accepted: Record<string, unknown> = { ...(crd.status?.acceptedNames ?? {}) }
  const problems: { reason: string; message: string }[] = []
  const take = (key: keyof CustomResourceDefinitionNames, reason: string, taken: ReadonlySet<string>): void => {
    const wanted = names[key]
    const refused = (Array.isArray(wanted) ? wanted : [wanted]).filter((n) => n !== undefined && taken.has(n))
    if (refused.length > 0) problems.push({ reason, message: refused.length === 1 ? `"${refused[0]}" is already in use` : `[${refused.map((n) => `"${n}" is already in use`).join(', ')}]` })
    else if (wanted === undefined) delete accepted[key]
    else accepted[key] = wanted
  }
  take('plural', 'PluralConflict', resources)
  take('singular', 'SingularConflict', resources)
  take('shortNames', 'ShortNamesConflict', resources)
  take('kind', 'KindConflict', kinds)
  take('listKind', 'ListKindConflict', kinds)
  if (names.categories === undefined) delete accepted.categories
  else accepted.categories = names.categories
  accepted.plural ??= ''
  accepted.kind ??= ''
  return { accepted, problems }
}
