/** What the mapper and a driver's worker say to each other. A handle names one opening of one device; answers carry the id of their request. */
import type { Fields, Level } from '../base/log.ts'
import type { Publication } from './app-topics.ts'
import type { BrokerOptions } from './broker.ts'
import type { DeviceConfig, DeviceState, DeviceValue, Reading } from './driver.ts'

/** What a worker is started with. */
export interface DriverWorkerData {
  readonly protocol: string
  /** File URL of a driver that is not built in. */
  readonly module: string | undefined
  readonly broker: BrokerOptions
}

export type Request =
  | { readonly op: 'open'; readonly device: DeviceConfig }
  | { readonly op: 'close' }
  | { readonly op: 'read'; readonly property: string }
  | { readonly op: 'write'; readonly property: string; readonly value: DeviceValue }
  | { readonly op: 'call'; readonly method: string; readonly args: unknown }

export type ToWorker =
  | { readonly kind: 'request'; readonly id: number; readonly handle: number; readonly request: Request }
  /** The caller waits no longer. */
  | { readonly kind: 'abort'; readonly id: number; readonly why: string }
  /** Readings up to number `upTo` of each handle are kept. */
  | { readonly kind: 'taken'; readonly handle: number; readonly upTo: number }
  /** For apps on the embedded broker; nothing happens when it is not running. */
  | { readonly kind: 'publish'; readonly publications: readonly Publication[] }
  /** The answer to `who`. */
  | { readonly kind: 'pod'; readonly id: number; readonly namespace: string | undefined }
  | { readonly kind: 'ping' }

export type FromWorker =
  | { readonly kind: 'answer'; readonly id: number; readonly value?: unknown; readonly error?: { readonly code: string; readonly message: string } }
  /** Readings in the order they came; numbers rise by one a handle. */
  | { readonly kind: 'readings'; readonly readings: readonly { readonly handle: number; readonly n: number; readonly reading: Reading }[] }
  | { readonly kind: 'state'; readonly handle: number; readonly state: DeviceState; readonly why: string }
  /** `times` of the same since the last message. */
  | { readonly kind: 'refused'; readonly handle: number; readonly what: string; readonly times: number }
  /** The embedded broker asks which pod has this address. */
  | { readonly kind: 'who'; readonly id: number; readonly ip: string }
  /** Apps listen on the embedded broker, or none does any more. */
  | { readonly kind: 'listening'; readonly anyone: boolean }
  | { readonly kind: 'log'; readonly level: Level; readonly logger: string; readonly message: string; readonly fields: Fields }
  | { readonly kind: 'pong' }

/** Readings of one device on their way to the mapper at most; what a driver pushes beyond is refused, and counted. */
export const WINDOW_READINGS = 4096
export const WINDOW_BYTES = 32 << 20
