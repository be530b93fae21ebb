/** Validation of nodes and name spaces. */
import type { Namespace, Node, Taint } from '../gen/types.ts'
import { labelKeyErrors, labelValueErrors } from '../names.ts'
import type { FieldError } from '../status.ts'
import { findings, isDualStack } from './field.ts'
import type { Findings } from './field.ts'
import { finalizerErrors } from './meta.ts'
import { TAINT_EFFECTS } from './placement.ts'
import { quantity } from './quantities.ts'

/** A node on create: CIDRs, taints, what it has. */
export function nodeCreateErrors(n: Node): FieldError[] {
  return findings((e) => {
    taints(e, n.spec?.taints ?? [])
    resources(e, n)
    const { podCIDRs = [] } = n.spec ?? {}
    for (const [i, c] of podCIDRs.entries()) e.cidr(`spec.podCIDRs[${i}]`, c)
    if (podCIDRs.length < 2) return
    if (!isDualStack(podCIDRs)) e.invalid('spec.podCIDRs', podCIDRs, 'may specify no more than one CIDR for each IP family')
    for (const [i, c] of podCIDRs.entries()) if (podCIDRs.indexOf(c) < i) e.duplicate(`spec.podCIDRs[${i}]`, c)
  })
}

/** Kubernetes tells of a node's taints so. */
function taints(e: Findings, list: readonly Taint[]): void {
  const seen = new Set<string>()
  for (const [i, t] of list.entries()) {
    const at = `metadata.taints[${i}]`
    e.text(`${at}.key`, t.key ?? '', labelKeyErrors)
    const wrong = labelValueErrors(t.value ?? '')
    if (wrong.length > 0) e.invalid(`${at}.value`, t.value, wrong.join(';'))
    e.choice(`${at}.effect`, t.effect, TAINT_EFFECTS)
    const key = `${t.effect}/${t.key}`
    if (seen.has(key)) e.duplicate(at, t, 'taints must be unique by key and effect pair')
    seen.add(key)
  }
}

function resources(e: Findings, n: Node): void {
  for (const key of ['capacity', 'allocatable'] as const) {
    for (const [name, text] of Object.entries(n.status?.[key] ?? {})) quantity(e, `status.${key}.${name}`, name, text)
  }
}

/** An update of a node, through itself or its status: it keeps its network and who made it. */
export function nodeUpdateErrors(next: Node, old: Node): FieldError[] {
  return findings((e) => {
    resources(e, next)
    const addresses = next.status?.addresses ?? []
    for (const [i, a] of addresses.entries()) {
      const twice = addresses.slice(0, i).some((b) => a.type === b.type && a.address === b.address)
      if (twice) e.duplicate(`status.addresses[${i}]`, { Type: a.type, Address: a.address })
    }
    const [n, o] = [next.spec ?? {}, old.spec ?? {}]
    const [after, before] = [n.podCIDRs ?? [], o.podCIDRs ?? []]
    if (before.length > 0 && before.join() !== after.join()) e.forbidden('spec.podCIDRs', 'node updates may not change podCIDR except from "" to valid')
    if (o.providerID && n.providerID !== o.providerID) e.forbidden('spec.providerID', 'node updates may not change providerID except from "" to valid')
    taints(e, n.taints ?? [])
    if ((n.externalID ?? '') !== (o.externalID ?? '')) e.forbidden('spec.externalID', 'may not be updated')
  })
}

export const namespaceErrors = (n: Namespace): FieldError[] => (n.spec?.finalizers ?? []).flatMap((f) => finalizerErrors(f, 'spec.finalizers'))
export const namespaceFinalizeErrors = (n: Namespace): FieldError[] =>
  (n.spec?.finalizers ?? []).flatMap((f, i) => [
    ...findings((e) => e.text(`spec.finalizers[${i}]`, f, labelKeyErrors)), ...finalizerErrors(f, `spec.finalizers[${i}]`),
  ])

/** The phase says whether the name space is going. */
export function namespaceStatusErrors(next: Namespace): FieldError[] {
  return findings((e) => {
    const going = next.metadata?.deletionTimestamp !== undefined
    const phase = next.status?.phase ?? ''
    if (!going && phase !== 'Active') e.invalid('status.Phase', phase, "may only be 'Active' if `deletionTimestamp` is empty")
    if (going && phase !== 'Terminating') e.invalid('status.Phase', phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")
  })
}
