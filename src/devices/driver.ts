/**
 * The driver port: how Skerry talks to one kind of device. KubeEdge says mapper. A driver runs in a worker of its own, so
 * one that hangs or crashes stops nobody: every call has a deadline, and a dead worker is started again with its devices.
 */

/** A value as it is on the device: JSON of any shape, or bytes with their content type. */
export type DeviceValue = { readonly json: unknown } | { readonly bytes: Uint8Array; readonly contentType: string }

export interface PropertyConfig {
  readonly name: string
  readonly type: 'INT' | 'FLOAT' | 'DOUBLE' | 'STRING' | 'BOOLEAN' | 'BYTES' | 'STREAM' | 'JSON'
  readonly accessMode: 'ReadOnly' | 'ReadWrite'
  readonly minimum?: string
  readonly maximum?: string
  readonly unit?: string
  /** Where on the device: `visitors.configData` of the Device, over the model's defaults. */
  readonly visitor: Readonly<Record<string, unknown>>
  /** How often to read a property that is not pushed, ms. @default 1000 */
  readonly collectCycleMs?: number
  /** How often to report to the cloud at most, ms. @default 1000 */
  readonly reportCycleMs?: number
  readonly reportToCloud: boolean
}

/** Everything a driver gets to know of a device: Device merged over its DeviceModel. */
export interface DeviceConfig {
  readonly namespace: string
  readonly name: string
  readonly protocol: string
  /** `protocol.configData` of the Device, over the model's defaults. */
  readonly config: Readonly<Record<string, unknown>>
  readonly properties: readonly PropertyConfig[]
}

/** A value seen on the device. For frames, `meta` carries what identifies one, e.g. `{ epoch, frame }`. */
export interface Reading {
  readonly property: string
  readonly value: DeviceValue
  /** When the device took it, if it says so, else when it arrived; ms. */
  readonly timeMs: number
  readonly meta?: Readonly<Record<string, string | number>>
}

export type DeviceState = 'online' | 'offline' | 'ok' | 'unhealthy' | 'unknown'

/** What the host offers a driver. Calls never block and never throw. */
export interface DriverHost {
  /** A reading arrived. Resolves when the local bus has taken it (kept it in its bounded log): then the device may be acked. */
  reading(reading: Reading): Promise<void>
  state(state: DeviceState, why: string): void
  /** Refused input from the device (garbage, oversized): shown as an Event, counted, and otherwise ignored. */
  refused(what: string): void
  /** Address of this node's MQTT broker for drivers that need one: `mqtt://host:port`. */
  readonly brokerUrl: string
}

export interface DriverSession {
  /** One value now. @throws AppError `unsupported` when the property is only pushed */
  read(property: PropertyConfig, signal: AbortSignal): Promise<DeviceValue>
  /** Sets a value; resolves when the device has taken it, with the value it says it has now (undefined when it does not say). */
  write(property: PropertyConfig, value: DeviceValue, signal: AbortSignal): Promise<DeviceValue | undefined>
  /** Starts pushing readings of these properties to the host; the others are polled with `read`. */
  subscribe(properties: readonly PropertyConfig[]): Promise<readonly string[]>
  /** Runs a device method. @throws AppError `unsupported` */
  call(method: string, args: unknown, signal: AbortSignal): Promise<unknown>
  close(): Promise<void>
}

export interface Driver {
  /** Protocol names it serves, lower case, e.g. `mqtt`. */
  readonly protocols: readonly string[]
  /** Checks the device's configuration before anything is opened: a list of what is wrong, in words for the user. */
  validate(device: DeviceConfig): readonly string[]
  open(device: DeviceConfig, host: DriverHost, signal: AbortSignal): Promise<DriverSession>
}
