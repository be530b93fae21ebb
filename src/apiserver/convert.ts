/**
 * Kinds that share a storage but not a shape: `events.k8s.io` Events are kept as core ones, `autoscaling/v1` autoscalers as v2.
 * Every other kind is stored as it is sent. Used where objects meet the store's texts.
 */
import { KINDS, type ResourceDef } from '../api/kinds.ts'
import type { Obj } from './stored-text.ts'

interface Converter {
  toStorage(object: Obj): Obj
  fromStorage(object: Obj): Obj
}

/** Field of events.k8s.io to field of core. */
const EVENT_FIELDS: readonly (readonly [string, string])[] = [
  ['regarding', 'involvedObject'],
  ['note', 'message'],
  ['reportingController', 'reportingComponent'],
  ['deprecatedSource', 'source'],
  ['deprecatedFirstTimestamp', 'firstTimestamp'],
  ['deprecatedLastTimestamp', 'lastTimestamp'],
  ['deprecatedCount', 'count'],
]

function rename(object: Obj, from: 0 | 1): Obj {
  const to = from === 0 ? 1 : 0
  const names = new Map(EVENT_FIELDS.map((pair) => [pair[from], pair[to]]))
  return Object.fromEntries(Object.entries(object).map(([k, v]) => [names.get(k) ?? k, v])) as Obj
}

interface V2Spec {
  targetCPUUtilizationPercentage?: number
  metrics?: { type: string; resource?: { name: string; target?: { type: string; averageUtilization?: number } } }[]
}

const CONVERTERS = new Map<ResourceDef, Converter>([
  [KINDS.EventsEvent, { toStorage: (o) => rename(o, 0), fromStorage: (o) => rename(o, 1) }],
  [
    KINDS.HorizontalPodAutoscaler,
    {
      toStorage(object) {
        const { targetCPUUtilizationPercentage: percent, ...spec } = (object.spec ?? {}) as V2Spec
        if (percent === undefined) return { ...object, spec }
        return { ...object, spec: { ...spec, metrics: [{ type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: percent } } }] } }
      },
      fromStorage(object) {
        const { metrics, ...spec } = (object.spec ?? {}) as V2Spec
        const cpu = metrics?.find((m) => m.type === 'Resource' && m.resource?.name === 'cpu')?.resource?.target?.averageUtilization
        return { ...object, spec: { ...spec, ...(cpu === undefined ? {} : { targetCPUUtilizationPercentage: cpu }) } }
      },
    },
  ],
])

/** True when texts of this resource cannot be spliced: the stored shape is another one. */
export function converts(def: ResourceDef): boolean {
  return CONVERTERS.has(def)
}

/** The object in the stored shape; the same object when shapes agree. */
export function toStorage(def: ResourceDef, object: Obj): Obj {
  return CONVERTERS.get(def)?.toStorage(object) ?? object
}

/** The stored object in the shape of `def`; the same object when shapes agree. */
export function fromStorage(def: ResourceDef, object: Obj): Obj {
  return CONVERTERS.get(def)?.fromStorage(object) ?? object
}
