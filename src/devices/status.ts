/** A device's state as the API shows it: Device.status (all but conditions) and KubeEdge's DeviceStatus. Pure; values are cut to a bounded size. */
import type { DeviceState } from './driver.ts'
import type { Twin } from './twin.ts'
import type { DeviceStatusFields, DeviceStatusObject, StatusTwin, StatusValue } from './types.ts'
import { DEVICE_API_VERSION } from './types.ts'
import { toText } from './convert.ts'

/** Largest value shown in a status, bytes of JSON; larger ones are on the bus. */
const VALUE_MAX = 1024
const SUMMARY_MAX = 80
const SUMMARY_VALUES = 5

export interface DeviceView {
  readonly state: DeviceState
  readonly message: string
  readonly lastSeenMs: number | undefined
  readonly twin: Twin
  /** Problems of desired values that are tried again, by property. */
  readonly trouble: ReadonlyMap<string, string>
  /** Properties to show, in the model's order, with their types. */
  readonly shown: readonly { readonly name: string; readonly type: string }[]
  readonly generation: number
}

/** The status as the node writes it. */
export function statusFields(view: DeviceView): DeviceStatusFields {
  const twins: StatusTwin[] = []
  const main: string[] = []
  for (const { name, type } of view.shown) {
    const p = view.twin.properties[name]
    if (!p || (!p.desired && !p.reported)) continue
    const message = p.refused && p.refused.version === p.desired?.version ? p.refused.message : view.trouble.get(name)
    twins.push({
      propertyName: name,
      ...(p.desired && { observedDesired: { value: bounded(p.desired.value) } }),
      ...(p.reported && { reported: valueAt(p.reported.value, p.reported.timeMs, type) }),
      ...(message !== undefined && { message }),
    })
    if (p.reported && main.length < SUMMARY_VALUES) main.push(`${name}=${short(p.reported.value)}`)
  }
  const summary = main.join(' ')
  return {
    state: view.state,
    message: view.message,
    ...(view.lastSeenMs !== undefined && { lastOnlineTime: iso(view.lastSeenMs) }),
    summary: summary.length > SUMMARY_MAX ? `${summary.slice(0, SUMMARY_MAX - 1)}…` : summary,
    twins,
    observedGeneration: view.generation,
  }
}

/** The same for KubeEdge's clients: values are text there. */
export function deviceStatusObject(fields: DeviceStatusFields, namespace: string, name: string, uid: string | undefined): DeviceStatusObject {
  const asText = (v: StatusValue): StatusValue => ({ ...v, value: toText(v.value) })
  return {
    apiVersion: DEVICE_API_VERSION,
    kind: 'DeviceStatus',
    metadata: { name, namespace, ...(uid !== undefined && { ownerReferences: [{ apiVersion: DEVICE_API_VERSION, kind: 'Device', name, uid }] }) },
    status: {
      state: fields.state ?? 'unknown',
      ...(fields.lastOnlineTime !== undefined && { lastOnlineTime: fields.lastOnlineTime }),
      twins: (fields.twins ?? []).map((t) => ({
        propertyName: t.propertyName,
        ...(t.reported && { reported: asText(t.reported) }),
        ...(t.observedDesired && { observedDesired: asText(t.observedDesired) }),
      })),
    },
  }
}

function valueAt(value: unknown, timeMs: number, type: string): StatusValue {
  return { value: bounded(value), metadata: { timestamp: String(timeMs), type: type.toLowerCase() } }
}

function bounded(value: unknown): unknown {
  const text = JSON.stringify(value) ?? 'null'
  return text.length <= VALUE_MAX ? value : `(${text.length} bytes, whole on the node's bus)`
}

function short(value: unknown): string {
  const text = typeof value === 'number' ? String(Number(value.toPrecision(6))) : toText(value)
  return text.length > 20 ? `${text.slice(0, 19)}…` : text
}

/** Seconds are enough for people, and keep a status from changing with every reading. */
function iso(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`
}
