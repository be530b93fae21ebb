/**
 * The device kinds as TypeScript: KubeEdge's `devices.kubeedge.io/v1beta1` with our superset in the status. Objects come from
 * users, so everything below `spec` is optional here and checked by `model.ts`.
 */
import type { Condition, KubeObject } from '../api/meta.ts'
import type { ResourceRef } from '../client/mod.ts'

const GROUP = { group: 'devices.kubeedge.io', version: 'v1beta1', namespaced: true } as const
export const DEVICES: ResourceRef = { ...GROUP, resource: 'devices', kind: 'Device' }
export const DEVICE_MODELS: ResourceRef = { ...GROUP, resource: 'devicemodels', kind: 'DeviceModel' }
export const DEVICE_STATUSES: ResourceRef = { ...GROUP, resource: 'devicestatuses', kind: 'DeviceStatus' }
export const DEVICE_API_VERSION = 'devices.kubeedge.io/v1beta1'

/** What an Event about a device refers to; objects out of a list do not always say their kind. */
export function referenceTo(device: DeviceObject): { apiVersion: string; kind: string; name: string; namespace: string; uid: string } {
  const { name = '', namespace = '', uid = '' } = device.metadata ?? {}
  return { apiVersion: DEVICE_API_VERSION, kind: 'Device', name, namespace, uid }
}

export interface Visitor {
  readonly protocolName?: string
  readonly configData?: Readonly<Record<string, unknown>>
}

export interface ModelProperty {
  readonly name: string
  readonly description?: string
  readonly type?: string
  readonly accessMode?: string
  readonly minimum?: unknown
  readonly maximum?: unknown
  readonly unit?: string
  readonly visitors?: Visitor
}

export interface DeviceModelObject extends KubeObject {
  spec?: {
    readonly protocol?: string
    readonly protocolConfigData?: Readonly<Record<string, unknown>>
    readonly properties?: readonly ModelProperty[]
  }
}

export interface DevicePropertySpec {
  readonly name: string
  readonly desired?: { readonly value?: unknown; readonly metadata?: Readonly<Record<string, string>> }
  readonly visitors?: Visitor
  readonly reportCycle?: number
  readonly collectCycle?: number
  readonly reportToCloud?: boolean
}

export interface DeviceSpec {
  readonly deviceModelRef?: { readonly name?: string }
  readonly nodeName?: string
  readonly protocol?: Visitor
  readonly properties?: readonly DevicePropertySpec[]
  readonly methods?: readonly { readonly name: string; readonly description?: string; readonly propertyNames?: readonly string[] }[]
}

/** A value as it stands in a status: JSON, with when it was taken. */
export interface StatusValue {
  readonly value: unknown
  readonly metadata?: Readonly<Record<string, string>>
}

export interface StatusTwin {
  readonly propertyName: string
  readonly observedDesired?: StatusValue
  readonly reported?: StatusValue
  /** Why the desired value is not on the device, when it is not. */
  readonly message?: string
}

/** What the node writes (all but `conditions`, which the device controller on the server writes). */
export interface DeviceStatusFields {
  readonly state?: string
  readonly message?: string
  readonly lastOnlineTime?: string
  readonly summary?: string
  readonly twins?: readonly StatusTwin[]
  readonly observedGeneration?: number
  readonly conditions?: readonly Condition[]
}

export interface DeviceObject extends KubeObject {
  spec?: DeviceSpec
  status?: DeviceStatusFields
}

/** KubeEdge's object of reported state: same name as its Device, owned by it. */
export interface DeviceStatusObject extends KubeObject {
  status?: {
    readonly state?: string
    readonly lastOnlineTime?: string
    readonly twins?: readonly { readonly propertyName: string; readonly reported?: StatusValue; readonly observedDesired?: StatusValue }[]
    readonly extensions?: Readonly<Record<string, unknown>>
  }
}
