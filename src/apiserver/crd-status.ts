/** What a definition's status says right after its write: names accepted or held by another, established, versions stored. Used by the write verbs. */
import type { CustomResourceDefinition } from '../api/gen/types.ts'
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
  const at = stamp(core)
  const old = crd.status ?? {}
  const problem = nameConflict(core, crd)
  const set = (type: string, status: boolean, reason: string, message: string): Condition => {
    const before = old.conditions?.find((c) => c.type === type)
    const text = status ? 'True' : 'False'
    return { type, status: text, reason, message, lastTransitionTime: before?.status === text && before.lastTransitionTime ? before.lastTransitionTime : at }
  }
  const established = !problem || old.conditions?.some((c) => c.type === 'Established' && c.status === 'True') === true
  const storage = crd.spec.versions.find((v) => v.storage)?.name
  const { plural, kind, singular, listKind, shortNames, categories } = crd.spec.names
  crd.status = {
    conditions: [
      problem ? set('NamesAccepted', false, problem.reason, problem.message) : set('NamesAccepted', true, 'NoConflicts', 'no conflicts found'),
      established ? set('Established', true, 'InitialNamesAccepted', 'the initial names have been accepted') : set('Established', false, 'NotAccepted', 'not all names are accepted'),
      ...(old.conditions ?? []).filter((c) => c.type !== 'NamesAccepted' && c.type !== 'Established'),
    ],
    acceptedNames: JSON.parse(JSON.stringify({ plural, singular, kind, listKind, shortNames, categories })) as object,
    storedVersions: [...new Set([...(old.storedVersions ?? []), ...(storage === undefined ? [] : [storage])])],
  }
  if (object.metadata.deletionTimestamp === undefined) object.metadata.finalizers = [...new Set([...(object.metadata.finalizers ?? []), CLEANUP])]
}

function nameConflict(core: Core, crd: Crd): { reason: string; message: string } | undefined {
  const { group, names } = crd.spec
  for (const d of core.resources.all) {
    if (d.group !== group || d.custom?.crd === crd.metadata.name) continue
    if (d.resource === names.plural) return { reason: 'PluralConflict', message: `"${names.plural}" is already in use` }
    if (d.kind === names.kind) return { reason: 'KindConflict', message: `"${names.kind}" is already in use` }
    const short = (names.shortNames ?? []).find((s) => d.shortNames.includes(s) || d.resource === s)
    if (short) return { reason: 'ShortNamesConflict', message: `"${short}" is already in use` }
  }
  return undefined
}
