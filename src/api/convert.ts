/**
 * Resources that share storage with another version or group: what is stored and what each speaks. Events are stored as core
 * Events; HorizontalPodAutoscalers as `autoscaling/v2`. Used by the API server between wire and store; other kinds need none.
 */
import { autoscalerFromV2, autoscalerToV2 } from './convert-autoscaler.ts'
import type { Event, EventsEvent } from './gen/types.ts'
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
