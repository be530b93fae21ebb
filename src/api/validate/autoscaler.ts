/** Validation of HorizontalPodAutoscalers, in the shape of `autoscaling/v2` that is stored. */
import type { CrossVersionObjectReference, V2HorizontalPodAutoscaler, V2HPAScalingRules, V2MetricSpec, V2MetricTarget } from '../gen/types.ts'
import { dnsLabelErrors, pathSegmentErrors } from '../names.ts'
import { tryParseQuantity } from '../quantity.ts'
import type { FieldError } from '../status.ts'
import { NOT_POSITIVE, findings } from './field.ts'
import type { Findings } from './field.ts'
import { containerResourceName } from './quantities.ts'

const MAX_PERIOD_SECONDS = 1800
const MAX_WINDOW_SECONDS = 3600
const TYPES = ['ContainerResource', 'External', 'Object', 'Pods', 'Resource']
const SOURCES = { Object: 'object', External: 'external', Pods: 'pods', Resource: 'resource', ContainerResource: 'containerResource' } as const
const TARGETS = ['Utilization', 'Value', 'AverageValue']

type Spec = Partial<NonNullable<V2HorizontalPodAutoscaler['spec']>>

/** An autoscaler on create. */
export const autoscalerCreateErrors = (h: V2HorizontalPodAutoscaler): FieldError[] => findings((e) => autoscalerSpec(e, h.spec ?? {}, 1))
/** One that already scales to nothing may go on so. */
export const autoscalerUpdateErrors = (next: V2HorizontalPodAutoscaler, old: V2HorizontalPodAutoscaler): FieldError[] =>
  findings((e) => autoscalerSpec(e, next.spec ?? {}, old.spec?.minReplicas === 0 ? 0 : 1))
export const autoscalerStatusErrors = (next: V2HorizontalPodAutoscaler): FieldError[] =>
  findings((e) => e.notNegatives('status', next.status, ['currentReplicas', 'desiredReplicas']))

function autoscalerSpec(e: Findings, spec: Spec, least: number): void {
  const { minReplicas: min, maxReplicas: max = 0 } = spec
  if (min !== undefined && min < least) e.invalid('spec.minReplicas', min, `must be greater than or equal to ${least}`)
  if (max < 1) e.invalid('spec.maxReplicas', max, 'must be greater than 0')
  if (min !== undefined && max < min) e.invalid('spec.maxReplicas', max, 'must be greater than or equal to `minReplicas`')
  reference(e, 'spec.scaleTargetRef', spec.scaleTargetRef)
  for (const [i, m] of (spec.metrics ?? []).entries()) metric(e, `spec.metrics[${i}]`, m)
  if (min === 0 && !spec.metrics?.some((m) => m.type === 'Object' || m.type === 'External')) {
    e.forbidden('spec.metrics', 'must specify at least one Object or External metric to support scaling to zero replicas')
  }
  for (const key of ['scaleUp', 'scaleDown'] as const) rules(e, `spec.behavior.${key}`, spec.behavior?.[key])
}

function reference(e: Findings, path: string, ref: CrossVersionObjectReference | undefined): void {
  e.named(`${path}.kind`, ref?.kind, pathSegmentErrors)
  e.named(`${path}.name`, ref?.name, pathSegmentErrors)
}

function metric(e: Findings, at: string, m: V2MetricSpec): void {
  if (!m.type) e.required(`${at}.type`, 'must specify a metric source type')
  e.chosen(`${at}.type`, m.type ?? '', TYPES)
  const given = Object.values(SOURCES).filter((key) => m[key] !== undefined)
  const [first] = given
  if (first !== undefined) source(e, `${at}.${first}`, m, first)
  const expected = SOURCES[m.type as keyof typeof SOURCES] as (typeof SOURCES)[keyof typeof SOURCES] | undefined
  if (expected === undefined) e.unsupported(`${at}.type`, m.type ?? '', TYPES)
  else if (m[expected] === undefined) e.required(`${at}.${expected}`, 'must populate information for the given metric source')
  if (given.length !== 1) for (const key of given) if (key !== expected) e.forbidden(`${at}.${key}`, 'must populate the given metric source only')
}

function source(e: Findings, path: string, m: V2MetricSpec, key: (typeof SOURCES)[keyof typeof SOURCES]): void {
  switch (key) {
    case 'object':
    case 'external': {
      const s = m[key]
      if (key === 'object') reference(e, `${path}.describedObject`, m.object?.describedObject)
      identifier(e, `${path}.metric`, s?.metric)
      target(e, `${path}.target`, s?.target)
      const neither = key === 'object' ? 'must set either a target value or averageValue' : 'must set either a target value for metric or a per-pod target'
      if (s?.target?.value === undefined && s?.target?.averageValue === undefined) e.required(`${path}.target.averageValue`, neither)
      if (key === 'external' && s?.target?.value !== undefined && s.target.averageValue !== undefined) {
        e.forbidden(`${path}.target.value`, 'may not set both a target value for metric and a per-pod target')
      }
      return
    }
    case 'pods':
      identifier(e, `${path}.metric`, m.pods?.metric)
      target(e, `${path}.target`, m.pods?.target)
      if (m.pods?.target?.averageValue === undefined) e.required(`${path}.target.averageValue`, 'must specify a positive target averageValue')
      return
    default: {
      const s = m[key]
      if (!s?.name) e.required(`${path}.name`, 'must specify a resource name')
      else if (key === 'containerResource') containerResourceName(e, `${path}.name`, s.name)
      if (key === 'containerResource') {
        if (!m.containerResource?.container) e.required(`${path}.container`, 'must specify a container')
        else e.text(`${path}.container`, m.containerResource.container, dnsLabelErrors)
      }
      target(e, `${path}.target`, s?.target)
      const [share, value] = [s?.target?.averageUtilization, s?.target?.averageValue]
      if (share === undefined && value === undefined) e.required(`${path}.target.averageUtilization`, 'must set either a target raw value or a target utilization')
      if (share !== undefined && value !== undefined) e.forbidden(`${path}.target.averageValue`, 'may not set both a target raw value and a target utilization')
    }
  }
}

function identifier(e: Findings, path: string, id: { readonly name?: string } | undefined): void {
  if (!id?.name) e.required(`${path}.name`, 'must specify a metric name')
  else e.text(`${path}.name`, id.name, pathSegmentErrors)
}

function target(e: Findings, path: string, t: V2MetricTarget | undefined): void {
  if (!t?.type) e.required(`${path}.type`, 'must specify a metric target type')
  if (!TARGETS.includes(t?.type ?? '')) e.invalid(`${path}.type`, t?.type ?? '', 'must be either Utilization, Value, or AverageValue')
  for (const key of ['value', 'averageValue'] as const) {
    const q = t?.[key] === undefined ? undefined : tryParseQuantity(t[key])
    if (q && q.nano <= 0n) e.invalid(`${path}.${key}`, t?.[key], 'must be positive')
  }
  const share = t?.averageUtilization
  if (share !== undefined && share < 1) e.invalid(`${path}.averageUtilization`, share, 'must be greater than 0')
}

function rules(e: Findings, path: string, r: V2HPAScalingRules | undefined): void {
  if (!r) return
  const window = r.stabilizationWindowSeconds
  const at = `${path}.stabilizationWindowSeconds`
  if (window !== undefined && window < 0) e.invalid(at, window, 'must be greater than or equal to zero')
  if (window !== undefined && window > MAX_WINDOW_SECONDS) e.invalid(at, window, `must be less than or equal to ${MAX_WINDOW_SECONDS}`)
  e.chosen(`${path}.selectPolicy`, r.selectPolicy, ['Disabled', 'Max', 'Min'])
  if (!r.policies?.length) e.required(`${path}.policies`, 'must specify at least one Policy')
  for (const [i, p] of (r.policies ?? []).entries()) {
    const one = `${path}.policies[${i}]`
    e.chosen(`${one}.type`, p.type ?? '', ['Percent', 'Pods'])
    for (const key of ['value', 'periodSeconds'] as const) if (!(p[key] > 0)) e.invalid(`${one}.${key}`, p[key] ?? 0, NOT_POSITIVE)
    if (p.periodSeconds > MAX_PERIOD_SECONDS) e.invalid(`${one}.periodSeconds`, p.periodSeconds, `must be less than or equal to ${MAX_PERIOD_SECONDS}`)
  }
}
