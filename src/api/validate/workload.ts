/** Validation of workloads: selectors that match their templates, rollout limits, what an update may not change. */
import type { DaemonSet, Deployment, Job, LabelSelector, PodTemplateSpec, ReplicaSet, StatefulSet } from '../gen/types.ts'
import { labelKeyErrors, labelValueErrors } from '../names.ts'
import { labelSelectorOf, matchesLabels } from '../selectors.ts'
import { fieldForbidden, fieldInvalid, fieldNotSupported, fieldRequired } from '../status.ts'
import type { FieldError } from '../status.ts'
import { immutable } from './meta.ts'
import { templateErrors } from './pod.ts'

/** A LabelSelector at `path`. */
export function selectorErrors(selector: LabelSelector | undefined, path: string): FieldError[] {
  const errors: FieldError[] = []
  for (const [k, v] of Object.entries(selector?.matchLabels ?? {})) {
    errors.push(...labelKeyErrors(k).map((e) => fieldInvalid(`${path}.matchLabels`, k, e)))
    errors.push(...labelValueErrors(v).map((e) => fieldInvalid(`${path}.matchLabels`, v, e)))
  }
  for (const [i, r] of (selector?.matchExpressions ?? []).entries()) {
    const at = `${path}.matchExpressions[${i}]`
    const count = r.values?.length ?? 0
    const [wants, takesNone] = [r.operator === 'In' || r.operator === 'NotIn', r.operator === 'Exists' || r.operator === 'DoesNotExist']
    if (!wants && !takesNone) errors.push(fieldInvalid(`${at}.operator`, r.operator, 'not a valid selector operator'))
    if (wants && count === 0) errors.push(fieldRequired(`${at}.values`, "must be specified when `operator` is 'In' or 'NotIn'"))
    if (takesNone && count > 0) errors.push(fieldForbidden(`${at}.values`, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
    errors.push(...labelKeyErrors(r.key ?? '').map((e) => fieldInvalid(`${at}.key`, r.key, e)))
  }
  return errors
}

function nonNegative(values: Readonly<Record<string, number | undefined>>): FieldError[] {
  return Object.entries(values).flatMap(([path, v]) => (v !== undefined && v < 0 ? [fieldInvalid(path, v, 'must be greater than or equal to 0')] : []))
}

function selectsTemplate(selector: LabelSelector | undefined, template: PodTemplateSpec | undefined, kind: string): FieldError[] {
  const errors: FieldError[] = []
  if (!selector) errors.push(fieldRequired('spec.selector'))
  else {
    errors.push(...selectorErrors(selector, 'spec.selector'))
    const empty = Object.keys(selector.matchLabels ?? {}).length === 0 && !selector.matchExpressions?.length
    if (empty) errors.push(fieldInvalid('spec.selector', selector, `empty selector is invalid for ${kind}`))
    else if (errors.length === 0 && template && !matchesLabels(labelSelectorOf(selector), template.metadata?.labels ?? {})) {
      errors.push(fieldInvalid('spec.template.metadata.labels', template.metadata?.labels ?? null, '`selector` does not match template `labels`'))
    }
  }
  errors.push(...templateErrors(template, 'spec.template'))
  const policy = template?.spec?.restartPolicy
  if (policy === 'Never' || policy === 'OnFailure') errors.push(fieldNotSupported('spec.template.spec.restartPolicy', policy, ['Always']))
  return errors
}

/** Deployment: counts, selector, template, strategy. */
export function deploymentErrors(d: Deployment): FieldError[] {
  const { spec } = d
  if (!spec) return [fieldRequired('spec.selector'), fieldRequired('spec.template')]
  const errors = [
    ...nonNegative({
      'spec.replicas': spec.replicas,
      'spec.minReadySeconds': spec.minReadySeconds,
      'spec.revisionHistoryLimit': spec.revisionHistoryLimit,
      'spec.progressDeadlineSeconds': spec.progressDeadlineSeconds,
    }),
    ...selectsTemplate(spec.selector, spec.template, 'deployment'),
    ...strategyErrors(spec.strategy),
  ]
  if (spec.progressDeadlineSeconds !== undefined && spec.progressDeadlineSeconds <= (spec.minReadySeconds ?? 0)) {
    errors.push(fieldInvalid('spec.progressDeadlineSeconds', spec.progressDeadlineSeconds, 'must be greater than minReadySeconds'))
  }
  return errors
}

type Share = number | string | undefined

function strategyErrors(strategy: NonNullable<Deployment['spec']>['strategy']): FieldError[] {
  const { type, rollingUpdate: rolling } = strategy ?? {}
  const path = 'spec.strategy'
  if (type === 'Recreate') return rolling ? [fieldForbidden(`${path}.rollingUpdate`, "may not be specified when strategy `type` is 'Recreate'")] : []
  if (type !== undefined && type !== 'RollingUpdate') return [fieldNotSupported(`${path}.type`, type, ['Recreate', 'RollingUpdate'])]
  if (!rolling) return []
  const errors = [
    ...shareErrors(rolling.maxUnavailable, `${path}.rollingUpdate.maxUnavailable`, true),
    ...shareErrors(rolling.maxSurge, `${path}.rollingUpdate.maxSurge`, false),
  ]
  const isZero = (share: Share): boolean => share === 0 || share === '0%'
  if (isZero(rolling.maxUnavailable) && isZero(rolling.maxSurge)) {
    errors.push(fieldInvalid(`${path}.rollingUpdate.maxUnavailable`, rolling.maxUnavailable, 'may not be 0 when `maxSurge` is 0'))
  }
  return errors
}

/** A count, or a percentage as text; `capped` refuses more than 100%. */
export function shareErrors(share: Share, path: string, capped: boolean): FieldError[] {
  if (share === undefined) return []
  if (typeof share === 'number') return nonNegative({ [path]: share })
  if (!/^[0-9]+%$/.test(share)) {
    const text = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
    return [fieldInvalid(path, share, text)]
  }
  return capped && Number.parseInt(share, 10) > 100 ? [fieldInvalid(path, share, 'must not be greater than 100%')] : []
}

type Selecting = { readonly spec?: { readonly selector?: LabelSelector } }
export const selectorUpdateErrors = (next: Selecting, old: Selecting): FieldError[] => immutable('spec.selector', next.spec?.selector, old.spec?.selector)

/** ReplicaSet: counts, selector, template. */
export function replicaSetErrors(r: ReplicaSet): FieldError[] {
  if (!r.spec) return [fieldRequired('spec.selector')]
  const counts = nonNegative({ 'spec.replicas': r.spec.replicas, 'spec.minReadySeconds': r.spec.minReadySeconds })
  return [...counts, ...selectsTemplate(r.spec.selector, r.spec.template, 'deployment')]
}

/** DaemonSet: selector, template. */
export function daemonSetErrors(d: DaemonSet): FieldError[] {
  if (!d.spec) return [fieldRequired('spec.selector')]
  return [...selectsTemplate(d.spec.selector, d.spec.template, 'daemonset'), ...nonNegative({ 'spec.minReadySeconds': d.spec.minReadySeconds })]
}

/** StatefulSet: counts, selector, template. */
export function statefulSetErrors(s: StatefulSet): FieldError[] {
  if (!s.spec) return [fieldRequired('spec.selector')]
  return [...nonNegative({ 'spec.replicas': s.spec.replicas }), ...selectsTemplate(s.spec.selector, s.spec.template, 'statefulset')]
}

const STATEFUL_CHANGEABLE = ['replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy', 'minReadySeconds']

/** The few fields of a StatefulSet that may change. */
export function statefulSetUpdateErrors(next: StatefulSet, old: StatefulSet): FieldError[] {
  const rest = (s: StatefulSet): unknown => Object.fromEntries(Object.entries(s.spec ?? {}).filter(([k]) => !STATEFUL_CHANGEABLE.includes(k)))
  if (immutable('spec', rest(next), rest(old)).length === 0) return []
  const names = STATEFUL_CHANGEABLE.map((n) => `'${n}'`)
  const text = `updates to statefulset spec for fields other than ${names.slice(0, -1).join(', ')} and ${names.at(-1)} are forbidden`
  return [fieldForbidden('spec', text)]
}

/** Job: counts, template, a restart policy that ends. */
export function jobErrors(j: Job): FieldError[] {
  if (!j.spec) return [fieldRequired('spec.template')]
  const errors = [
    ...nonNegative({ 'spec.parallelism': j.spec.parallelism, 'spec.completions': j.spec.completions, 'spec.backoffLimit': j.spec.backoffLimit }),
    ...templateErrors(j.spec.template, 'spec.template'),
  ]
  if (j.spec.template?.spec?.restartPolicy === 'Always') {
    errors.push(fieldRequired('spec.template.spec.restartPolicy', 'valid values: "OnFailure", "Never"'))
  }
  return errors
}
