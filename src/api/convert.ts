/**
 * Resources that share storage with another version or group: what is stored and what each speaks. Events are stored as core
 * Events; HorizontalPodAutoscalers as `autoscaling/v2`. Used by the API server between wire and store; other kinds need none.
 */
import type { Event, EventsEvent, HorizontalPodAutoscaler, V2HorizontalPodAutoscaler } from './gen/types.ts'
import type { KubeObject } from './meta.ts'
import { apiVersionOf } from './resource.ts'
import type { ResourceDef } from './resource.ts'

interface Conversion {
  readonly toStored: (object: never) => KubeObject
  readonly fromStored: (object: never) => KubeObject
}

/** By name of the type that is not the stored one. */
const CONVERSIONS: Readonly<Record<string, Conversion>> = {
  EventsEvent: { toStored: eventToCore, fromStored: eventFromCore },
  HorizontalPodAutoscaler: { toStored: autoscalerToV2, fromStored: autoscalerFromV2 },
}

/** True when objects of this resource look different in the store. */
export function isConverted(def: ResourceDef): boolean {
  return !def.custom && CONVERSIONS[def.schema] !== undefined
}

/** The object as it is stored. Kinds without a conversion pass through. */
export function toStored(def: ResourceDef, object: KubeObject): KubeObject {
  return def.custom ? object : (CONVERSIONS[def.schema]?.toStored(object as never) ?? object)
}

/** The stored object as this resource speaks, `apiVersion` and `kind` included. */
export function fromStored(def: ResourceDef, object: KubeObject): KubeObject {
  if (def.custom) return object
  const converted = CONVERSIONS[def.schema]?.fromStored(object as never) ?? object
  return { ...converted, apiVersion: apiVersionOf(def), kind: def.kind }
}

/** The two shapes of an event differ in names only. Pairs of core name and new name. */
const EVENT_NAMES: readonly (readonly [core: keyof Event, events: keyof EventsEvent])[] = [
  ['involvedObject', 'regarding'],
  ['message', 'note'],
  ['reportingComponent', 'reportingController'],
  ['source', 'deprecatedSource'],
  ['firstTimestamp', 'deprecatedFirstTimestamp'],
  ['lastTimestamp', 'deprecatedLastTimestamp'],
  ['count', 'deprecatedCount'],
]

function eventToCore(event: EventsEvent): KubeObject {
  return { ...rename(event, EVENT_NAMES.map(([core, events]) => [events, core])), apiVersion: 'v1', kind: 'Event' }
}

function eventFromCore(event: Event): KubeObject {
  return rename(event, EVENT_NAMES)
}

function rename(object: KubeObject, names: readonly (readonly [from: string, to: string])[]): KubeObject {
  const map = new Map(names)
  return Object.fromEntries(Object.entries(object).map(([k, v]) => [map.get(k) ?? k, v]))
}

function autoscalerToV2(h: HorizontalPodAutoscaler): KubeObject {
  const { spec, status, ...rest } = h
  const { targetCPUUtilizationPercentage: target, ...specRest } = spec ?? { maxReplicas: 0, scaleTargetRef: { kind: '', name: '' } }
  const { currentCPUUtilizationPercentage: current, ...statusRest } = status ?? { currentReplicas: 0, desiredReplicas: 0 }
  const out: V2HorizontalPodAutoscaler = {
    ...rest,
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    spec: {
      ...specRest,
      ...(target !== undefined && { metrics: [{ type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: target } } }] }),
    },
  }
  if (status) {
    out.status = {
      ...statusRest,
      ...(current !== undefined && { currentMetrics: [{ type: 'Resource', resource: { name: 'cpu', current: { averageUtilization: current } } }] }),
    }
  }
  return out
}

/** Metrics that version 1 cannot say are left out of its answer, not of the store. */
function autoscalerFromV2(h: V2HorizontalPodAutoscaler): KubeObject {
  const { spec, status, ...rest } = h
  const target = spec?.metrics?.find((m) => m.resource?.name === 'cpu')?.resource?.target.averageUtilization
  const current = status?.currentMetrics?.find((m) => m.resource?.name === 'cpu')?.resource?.current.averageUtilization
  const out: HorizontalPodAutoscaler = { ...rest, spec: { maxReplicas: 0, scaleTargetRef: { kind: '', name: '' } } }
  if (spec) {
    const { metrics: _metrics, behavior: _behavior, ...specRest } = spec
    out.spec = { ...specRest, ...(target !== undefined && { targetCPUUtilizationPercentage: target }) }
  }
  if (status) {
    const { currentMetrics: _metrics, conditions: _conditions, ...statusRest } = status
    out.status = { ...statusRest, desiredReplicas: status.desiredReplicas ?? 0, currentReplicas: status.currentReplicas ?? 0, ...(current !== undefined && { currentCPUUtilizationPercentage: current }) }
  }
  return out
}
