/**
 * HorizontalPodAutoscalers between `autoscaling/v1` and the stored `autoscaling/v2`. What the old version has no field for travels
 * in annotations, as Kubernetes writes them, so that nothing is lost by a client that reads and writes the old one.
 */
import type {
  HorizontalPodAutoscaler, V2HorizontalPodAutoscaler, V2HorizontalPodAutoscalerBehavior, V2HPAScalingRules, V2MetricSpec, V2MetricStatus,
} from './gen/types.ts'
import type { KubeObject } from './meta.ts'

const PREFIX = 'autoscaling.alpha.kubernetes.io/'
const METRICS = `${PREFIX}metrics`
const CURRENT = `${PREFIX}current-metrics`
const CONDITIONS = `${PREFIX}conditions`
const BEHAVIOR = `${PREFIX}behavior`
/** Percent of its requests that pods are scaled to when nothing is said. */
const DEFAULT_CPU = 80

type Flat = Record<string, unknown>
type Nested = Record<string, Flat | undefined>

const given = (o: Flat): Flat => Object.fromEntries(Object.entries(o).filter(([, v]) => v !== undefined))

/** The names of a metric's parts in the old version, per kind of source: of its name, its selector, its target, its amounts. */
interface Words {
  readonly name: string | undefined
  readonly selector: string
  readonly value: string
  readonly average: string
  readonly share: string
}
const words = (prefix: 'target' | 'current'): Readonly<Record<string, Words>> => {
  const plain: Words = { name: undefined, selector: '', value: '', average: `${prefix}AverageValue`, share: `${prefix}AverageUtilization` }
  return {
    resource: plain,
    containerResource: plain,
    pods: { ...plain, name: 'metricName', selector: 'selector', share: '' },
    object: { name: 'metricName', selector: 'selector', value: `${prefix}Value`, average: 'averageValue', share: '' },
    external: { name: 'metricName', selector: 'metricSelector', value: `${prefix}Value`, average: `${prefix}AverageValue`, share: '' },
  }
}
const WORDS = { target: words('target'), current: words('current') }

function flatten(metric: V2MetricSpec | V2MetricStatus, which: 'target' | 'current'): Flat {
  const out: Flat = { type: metric.type }
  for (const [key, w] of Object.entries(WORDS[which])) {
    const source = (metric as unknown as Nested)[key]
    if (!source) continue
    const amounts = (source[which] ?? {}) as Flat
    const id = (source.metric ?? {}) as Flat
    out[key] = given({
      ...(key === 'object' && { target: source.describedObject }),
      ...(w.name ? { [w.name]: id.name, [w.selector]: id.selector } : { name: source.name }),
      ...(key === 'containerResource' && { container: source.container }),
      ...(w.share && { [w.share]: amounts.averageUtilization }),
      ...(w.value && { [w.value]: amounts.value }),
      [w.average]: amounts.averageValue,
    })
  }
  return out
}

function unflatten(metric: Flat, which: 'target' | 'current'): Flat {
  const out: Flat = { type: metric.type }
  for (const [key, w] of Object.entries(WORDS[which])) {
    const source = metric[key] as Flat | undefined
    if (!source) continue
    const share = w.share ? source[w.share] : undefined
    const value = w.value ? source[w.value] : undefined
    const average = source[w.average]
    // The old version writes a target value of nothing beside an average.
    const whole = average !== undefined && value === '0' ? undefined : value
    const type = share !== undefined ? 'Utilization' : whole !== undefined ? 'Value' : 'AverageValue'
    out[key] = given({
      ...(key === 'object' && { describedObject: source.target }),
      ...(w.name ? { metric: given({ name: source[w.name], selector: source[w.selector] }) } : { name: source.name }),
      ...(key === 'containerResource' && { container: source.container }),
      [which]: given({ ...(which === 'target' && { type }), averageUtilization: share, averageValue: average, value: whole }),
    })
  }
  return out
}

/** Kubernetes writes the behavior with the names that it has inside the server. */
function behaviorText(b: V2HorizontalPodAutoscalerBehavior): string {
  const rules = (r: V2HPAScalingRules | undefined): Flat | null =>
    r
      ? {
          StabilizationWindowSeconds: r.stabilizationWindowSeconds ?? null,
          SelectPolicy: r.selectPolicy ?? null,
          Policies: r.policies?.map((p) => ({ Type: p.type, Value: p.value, PeriodSeconds: p.periodSeconds })) ?? null,
          Tolerance: r.tolerance ?? null,
        }
      : null
  return JSON.stringify({ ScaleUp: rules(b.scaleUp), ScaleDown: rules(b.scaleDown) })
}

function behaviorOf(text: string): Flat | undefined {
  const parsed = json(text) as Nested | undefined
  if (!parsed) return undefined
  const rules = (r: Flat | null | undefined): Flat | undefined =>
    r
      ? given({
          stabilizationWindowSeconds: r.StabilizationWindowSeconds ?? undefined,
          selectPolicy: r.SelectPolicy ?? undefined,
          policies: (r.Policies as Flat[] | null | undefined)?.map((p) => ({ type: p.Type, value: p.Value, periodSeconds: p.PeriodSeconds })),
          tolerance: r.Tolerance ?? undefined,
        })
      : undefined
  return given({ scaleUp: rules(parsed.ScaleUp), scaleDown: rules(parsed.ScaleDown) })
}

/** An annotation that a client wrote; what is no JSON counts as not there. */
function json(text: string | undefined): unknown {
  if (text === undefined) return undefined
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const isCpuShare = (m: V2MetricSpec): boolean => m.type === 'Resource' && m.resource?.name === 'cpu' && m.resource.target.averageUtilization !== undefined

/** The old version as it is stored. */
export function autoscalerToV2(h: HorizontalPodAutoscaler): KubeObject {
  const { spec, status, metadata, ...rest } = h
  const { targetCPUUtilizationPercentage: share, ...specRest } = spec ?? { maxReplicas: 0, scaleTargetRef: { kind: '', name: '' } }
  const annotations = { ...metadata?.annotations }
  const list = (key: string): Flat[] => {
    const value = json(annotations[key])
    return Array.isArray(value) ? (value as Flat[]) : []
  }
  const cpu = (averageUtilization: number): V2MetricSpec => ({ type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization } } })
  const metrics = [...(share === undefined ? [] : [cpu(share)]), ...list(METRICS).map((m) => unflatten(m, 'target') as unknown as V2MetricSpec)]
  const behavior = annotations[BEHAVIOR] === undefined ? undefined : behaviorOf(annotations[BEHAVIOR])
  const [current, conditions] = [list(CURRENT).map((m) => unflatten(m, 'current')), list(CONDITIONS)]
  for (const key of [METRICS, CURRENT, CONDITIONS, BEHAVIOR]) delete annotations[key]
  const { annotations: _annotations, ...meta } = metadata ?? {}
  const out = {
    ...rest,
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    ...(metadata && { metadata: { ...meta, ...(Object.keys(annotations).length > 0 && { annotations }) } }),
    spec: { ...specRest, metrics: metrics.length > 0 ? metrics : [cpu(DEFAULT_CPU)], ...(behavior && { behavior }) },
  } as V2HorizontalPodAutoscaler
  if (status) {
    const { currentCPUUtilizationPercentage: now, currentReplicas, ...statusRest } = status
    const own = now === undefined ? [] : [{ type: 'Resource', resource: { name: 'cpu', current: { averageUtilization: now } } }]
    const seen = (current.length > 0 ? current : own) as unknown as V2MetricStatus[]
    out.status = { ...statusRest, ...(currentReplicas && { currentReplicas }), ...(seen.length > 0 && { currentMetrics: seen }), ...(conditions.length > 0 && { conditions }) } as unknown as NonNullable<typeof out.status>
  }
  return out
}

/** The stored version as the old one says it. */
export function autoscalerFromV2(h: V2HorizontalPodAutoscaler): KubeObject {
  const { spec, status, metadata, ...rest } = h
  const annotations = { ...metadata?.annotations }
  const out: HorizontalPodAutoscaler = { ...rest, spec: { maxReplicas: 0, scaleTargetRef: { kind: '', name: '' } } }
  if (spec) {
    const { metrics = [], behavior, ...specRest } = spec
    const cpu = metrics.find((m) => m.type === 'Resource' && m.resource?.name === 'cpu')?.resource?.target.averageUtilization
    const others = metrics.filter((m) => !isCpuShare(m))
    out.spec = { ...specRest, ...(cpu !== undefined && { targetCPUUtilizationPercentage: cpu }) }
    if (others.length > 0) annotations[METRICS] = JSON.stringify(others.map((m) => flatten(m, 'target')))
    if (behavior) annotations[BEHAVIOR] = behaviorText(behavior)
  }
  if (status) {
    const { currentMetrics = [], conditions = [], ...statusRest } = status
    const now = currentMetrics.find((m) => m.type === 'Resource' && m.resource?.name === 'cpu')?.resource?.current.averageUtilization
    out.status = {
      ...statusRest, desiredReplicas: status.desiredReplicas ?? 0, currentReplicas: status.currentReplicas ?? 0,
      ...(now !== undefined && { currentCPUUtilizationPercentage: now }),
    }
    if (currentMetrics.length > 0) annotations[CURRENT] = JSON.stringify(currentMetrics.map((m) => flatten(m, 'current')))
    if (conditions.length > 0) annotations[CONDITIONS] = JSON.stringify(conditions)
  }
  if (metadata) out.metadata = { ...metadata, ...(Object.keys(annotations).length > 0 && { annotations }) }
  return out
}
