/** Validation of PodDisruptionBudgets. */
import type { PodDisruptionBudget } from '../gen/types.ts'
import { labelKeyErrors } from '../names.ts'
import type { FieldError } from '../status.ts'
import { notOverAll, share } from './apps.ts'
import { findings } from './field.ts'
import { selector } from './placement.ts'

/** A budget: one of its two bounds, and whose pods it counts. */
export function budgetErrors(b: PodDisruptionBudget): FieldError[] {
  return findings((e) => {
    const spec = b.spec ?? {}
    if (spec.minAvailable !== undefined && spec.maxUnavailable !== undefined) {
      e.invalid('spec', { MinAvailable: spec.minAvailable, Selector: spec.selector ?? null, MaxUnavailable: spec.maxUnavailable, UnhealthyPodEvictionPolicy: spec.unhealthyPodEvictionPolicy ?? null }, 'minAvailable and maxUnavailable cannot be both set')
    }
    for (const key of ['minAvailable', 'maxUnavailable'] as const) {
      share(e, `spec.${key}`, spec[key])
      notOverAll(e, `spec.${key}`, spec[key])
    }
    selector(e, 'spec.selector', spec.selector)
    e.chosen('spec.unhealthyPodEvictionPolicy', spec.unhealthyPodEvictionPolicy, ['AlwaysAllow', 'IfHealthyBudget'])
  })
}

/** What a controller may say of a budget. */
export function budgetStatusErrors(next: PodDisruptionBudget): FieldError[] {
  return findings((e) => {
    for (const [i, c] of (next.status?.conditions ?? []).entries()) {
      const at = `status.conditions[${i}]`
      e.named(`${at}.type`, c.type, labelKeyErrors)
      e.choice(`${at}.status`, c.status, ['False', 'True', 'Unknown'])
      if (c.observedGeneration !== undefined && c.observedGeneration < 0) e.invalid(`${at}.observedGeneration`, c.observedGeneration, 'must be greater than or equal to zero')
      e.named(`${at}.lastTransitionTime`, c.lastTransitionTime)
      e.named(`${at}.reason`, c.reason)
    }
    e.notNegatives('status', next.status, ['disruptionsAllowed', 'currentHealthy', 'desiredHealthy', 'expectedPods'])
  })
}
