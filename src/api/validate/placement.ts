/** Validation of what says where a pod may run: affinity, tolerations, spread. */
import type { Affinity, NodeSelectorTerm, PodSpec, Toleration } from '../gen/types.ts'
import { labelKeyErrors, labelValueErrors } from '../names.ts'
import { fieldForbidden, fieldInvalid, fieldRequired } from '../status.ts'
import type { FieldError } from '../status.ts'
import { supported } from './container.ts'

export const TAINT_EFFECTS: readonly string[] = ['NoExecute', 'NoSchedule', 'PreferNoSchedule']

/** A toleration at `path`. */
export function tolerationErrors(t: Toleration, path: string): FieldError[] {
  const errors: FieldError[] = []
  if (t.key) errors.push(...labelKeyErrors(t.key).map((e) => fieldInvalid(`${path}.key`, t.key, e)))
  else if (t.operator !== 'Exists') {
    errors.push(fieldInvalid(`${path}.operator`, t.operator ?? '', 'operator must be Exists when `key` is empty, which means "match all values and all keys"'))
  }
  supported(t.operator || undefined, ['Equal', 'Exists'], `${path}.operator`, errors)
  if (t.operator === 'Exists' && t.value) errors.push(fieldInvalid(`${path}.operator`, t, "value must be empty when `operator` is 'Exists'"))
  supported(t.effect || undefined, TAINT_EFFECTS, `${path}.effect`, errors)
  if (t.tolerationSeconds !== undefined && t.effect !== 'NoExecute') {
    errors.push(fieldInvalid(`${path}.effect`, t.effect ?? '', "effect must be 'NoExecute' when `tolerationSeconds` is set"))
  }
  return errors
}

/** Node and pod affinity at `path`. */
export function affinityErrors(a: Affinity | undefined, path: string): FieldError[] {
  const errors: FieldError[] = []
  const node = a?.nodeAffinity
  const required = node?.requiredDuringSchedulingIgnoredDuringExecution
  if (required) {
    const at = `${path}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms`
    if (!required.nodeSelectorTerms?.length) errors.push(fieldRequired(at, 'must have at least one node selector term'))
    for (const [i, t] of (required.nodeSelectorTerms ?? []).entries()) errors.push(...nodeTermErrors(t, `${at}[${i}]`))
  }
  for (const [i, t] of (node?.preferredDuringSchedulingIgnoredDuringExecution ?? []).entries()) {
    const at = `${path}.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[${i}]`
    if (!(t.weight >= 1 && t.weight <= 100)) errors.push(fieldInvalid(`${at}.weight`, t.weight, 'must be in the range 1-100'))
    errors.push(...nodeTermErrors(t.preference ?? {}, `${at}.preference`))
  }
  for (const which of ['podAffinity', 'podAntiAffinity'] as const) {
    for (const [i, t] of (a?.[which]?.requiredDuringSchedulingIgnoredDuringExecution ?? []).entries()) {
      const at = `${path}.${which}.requiredDuringSchedulingIgnoredDuringExecution[${i}].topologyKey`
      if (!t.topologyKey) errors.push(fieldRequired(at, 'can not be empty'))
    }
  }
  return errors
}

function nodeTermErrors(t: NodeSelectorTerm, path: string): FieldError[] {
  const errors: FieldError[] = []
  for (const field of ['matchExpressions', 'matchFields'] as const) {
    for (const [i, r] of (t[field] ?? []).entries()) {
      const at = `${path}.${field}[${i}]`
      errors.push(...operatorErrors(r.operator, r.values?.length ?? 0, at))
      if (field === 'matchFields') {
        if (r.key !== 'metadata.name') errors.push(fieldInvalid(`${at}.key`, r.key, 'not a valid field selector key'))
        continue
      }
      errors.push(...labelKeyErrors(r.key ?? '').map((e) => fieldInvalid(`${at}.key`, r.key, e)))
      for (const [j, v] of (r.values ?? []).entries()) errors.push(...labelValueErrors(v).map((e) => fieldInvalid(`${at}.values[${j}]`, v, e)))
    }
  }
  return errors
}

function operatorErrors(operator: string, count: number, at: string): FieldError[] {
  switch (operator) {
    case 'In':
    case 'NotIn':
      return count === 0 ? [fieldRequired(`${at}.values`, "must be specified when `operator` is 'In' or 'NotIn'")] : []
    case 'Exists':
    case 'DoesNotExist':
      return count > 0 ? [fieldForbidden(`${at}.values`, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")] : []
    case 'Gt':
    case 'Lt':
      return count === 1 ? [] : [fieldRequired(`${at}.values`, "must be specified single value when `operator` is 'Lt' or 'Gt'")]
    default:
      return [fieldInvalid(`${at}.operator`, operator, 'not a valid selector operator')]
  }
}

/** Topology spread constraints of the pod spec at `path`. */
export function spreadErrors(spec: PodSpec, path: string): FieldError[] {
  return (spec.topologySpreadConstraints ?? []).flatMap((c, i) => {
    const at = `${path}.topologySpreadConstraints[${i}]`
    const errors: FieldError[] = []
    if (!(c.maxSkew > 0)) errors.push(fieldInvalid(`${at}.maxSkew`, c.maxSkew, 'must be greater than zero'))
    if (!c.topologyKey) errors.push(fieldRequired(`${at}.topologyKey`, 'can not be empty'))
    supported(c.whenUnsatisfiable, ['DoNotSchedule', 'ScheduleAnyway'], `${at}.whenUnsatisfiable`, errors)
    return errors
  })
}
