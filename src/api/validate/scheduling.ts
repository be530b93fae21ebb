/** Validation of PriorityClass, RuntimeClass and Lease. */
import type { Lease, PriorityClass, RuntimeClass } from '../gen/types.ts'
import { dnsLabelErrors, labelKeyErrors } from '../names.ts'
import type { FieldError } from '../status.ts'
import { fieldForbidden } from '../status.ts'
import { findings } from './field.ts'
import { immutable, labelErrors } from './meta.ts'
import { tolerations } from './placement.ts'
import { requirements } from './quantities.ts'

/** What users may give at most. */
const HIGHEST_PRIORITY = 1_000_000_000
const SYSTEM: Readonly<Record<string, number>> = { 'system-cluster-critical': 2_000_000_000, 'system-node-critical': 2_000_001_000 }

/** PriorityClass: the names and values above those of users are Kubernetes' own. */
export function priorityClassErrors(p: PriorityClass): FieldError[] {
  return findings((e) => {
    const name = p.metadata?.name ?? ''
    const value = p.value ?? 0
    if (name.startsWith('system-')) {
      const known = SYSTEM[name]
      const why =
        known === undefined ? `${name} is not a known system priority class`
        : known !== value ? `value of ${name} PriorityClass must be ${known}`
        : p.globalDefault ? `globalDefault of ${name} PriorityClass must be false`
        : ''
      if (why) e.forbidden('metadata.name', `priority class names with 'system-' prefix are reserved for system use only. error: ${why}`)
    } else if (value > HIGHEST_PRIORITY) e.forbidden('value', `maximum allowed value of a user defined priority is ${HIGHEST_PRIORITY}`)
    if (p.preemptionPolicy === '') e.required('preemptionPolicy')
    else e.chosen('preemptionPolicy', p.preemptionPolicy, ['PreemptLowerPriority', 'Never'])
  })
}

export const priorityClassUpdateErrors = (next: PriorityClass, old: PriorityClass): FieldError[] => [
  ...((next.value ?? 0) === (old.value ?? 0) ? [] : [fieldForbidden('value', 'may not be changed in an update.')]),
  ...immutable('preemptionPolicy', next.preemptionPolicy, old.preemptionPolicy),
]

/** RuntimeClass: what runs its pods, what that costs, where it is. */
export function runtimeClassErrors(r: RuntimeClass): FieldError[] {
  return findings((e) => {
    e.text('handler', r.handler ?? '', dnsLabelErrors)
    if (r.overhead) requirements(e, 'overhead', { limits: r.overhead.podFixed ?? {} }, new Set())
    if (!r.scheduling) return
    e.add(labelErrors(r.scheduling.nodeSelector, 'scheduling.nodeSelector'))
    const list = r.scheduling.tolerations ?? []
    tolerations(e, 'scheduling.tolerations', list)
    const keys = list.map((t) => JSON.stringify([t.key, t.operator, t.value, t.effect]))
    for (const [i, t] of list.entries()) if (keys.indexOf(keys[i] as string) < i) e.duplicate(`scheduling.tolerations[${i}]`, t)
  })
}

export const runtimeClassUpdateErrors = (next: RuntimeClass, old: RuntimeClass): FieldError[] => immutable('handler', next.handler, old.handler)

/** Lease: sensible counts, and a strategy when somebody is preferred. */
export function leaseErrors(l: Lease): FieldError[] {
  return findings((e) => {
    const { leaseDurationSeconds: seconds, leaseTransitions, strategy, preferredHolder } = l.spec ?? {}
    if (seconds !== undefined && seconds <= 0) e.invalid('spec.leaseDurationSeconds', seconds, 'must be greater than 0')
    e.notNegative('spec.leaseTransitions', leaseTransitions)
    if (strategy?.includes('/')) e.text('spec.strategy.strategy', strategy, labelKeyErrors)
    else e.chosen('spec.strategy.strategy', strategy, ['OldestEmulationVersion'])
    if (preferredHolder && !strategy) e.forbidden('spec.preferredHolder', 'may only be specified if `strategy` is defined')
  })
}
