/**
 * What apps on the node's MQTT broker get to see of devices: `skerry/devices/{namespace}/{name}/{property}` with the value as JSON,
 * and KubeEdge's `$hw/events/device/{namespace}/{name}/twin/update/document`. Pure. Published by the device layer while someone
 * listens; the broker lets only pods of the namespace see them, and nobody else publish there.
 */
import { toText } from './convert.ts'

export interface Publication {
  readonly topic: string
  readonly payload: string
}

const PREFIXES = ['skerry/devices/', '$hw/events/device/'] as const

/** The namespace a topic of ours belongs to; undefined when the topic is not ours. */
export function namespaceOf(topic: string): string | undefined {
  for (const prefix of PREFIXES) if (topic.startsWith(prefix)) return topic.slice(prefix.length).split('/')[0]
  return undefined
}

/** True for topics that only the device layer may publish on. */
export function isReserved(topic: string): boolean {
  return topic.startsWith('skerry/') || topic.startsWith('$hw/')
}

/** True when a subscription may match topics of ours. */
export function mayMatch(filter: string): boolean {
  return isReserved(filter) || filter.startsWith('#') || filter.startsWith('+') || filter.startsWith('$share/')
}

/** A value change as messages; names with `/`, `+` or `#` have no topic and are left out. */
export function publications(namespace: string, name: string, property: string, now: { readonly value: unknown; readonly timeMs: number }, before: unknown): readonly Publication[] {
  if (/[/+#]/.test(property)) return []
  const twin = (value: unknown): unknown => ({ actual: { value: toText(value), metadata: { timestamp: now.timeMs } } })
  const document = { event_id: '', timestamp: now.timeMs, twin: { [property]: { last: before === undefined ? null : twin(before), current: twin(now.value) } } }
  return [
    { topic: `skerry/devices/${namespace}/${name}/${property}`, payload: JSON.stringify(now.value) ?? 'null' },
    { topic: `$hw/events/device/${namespace}/${name}/twin/update/document`, payload: JSON.stringify(document) },
  ]
}
