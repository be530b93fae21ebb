/**
 * The buffers between devices and apps: one bounded log a streamed property, so that an app that restarts or is updated goes
 * on where its cursor stands. In the run directory (memory) unless the property's visitor says `buffer: disk`; `maxBytes`
 * there bounds it. Used by the device layer and the bus.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import { openSegmentLog, type BoundedLog } from '../telemetry/mod.ts'
import type { PropertyConfig, Reading } from './driver.ts'

/** Bytes a stream keeps unless its visitor says otherwise. */
export const STREAM_BYTES = 32 << 20
const LEAST_BYTES = 64 << 10

export interface StreamsOptions {
  /** Where streams with `buffer: disk` are kept; survives a reboot. */
  readonly dataDir: string
  /** Where the others are; memory on most machines. */
  readonly runDir: string
  readonly clock: Clock
}

/** The streams of all devices of a node. */
export class Streams {
  readonly #options: StreamsOptions
  readonly #logs = new Map<string, Promise<BoundedLog>>()

  constructor(options: StreamsOptions) {
    this.#options = options
  }

  /** The log of a device's property, opened at first use. */
  open(device: string, property: PropertyConfig): Promise<BoundedLog> {
    const key = `${device}/${property.name}`
    let log = this.#logs.get(key)
    if (!log) {
      const { buffer, maxBytes } = property.visitor
      const bytes = typeof maxBytes === 'number' && maxBytes >= LEAST_BYTES ? maxBytes : STREAM_BYTES
      log = openSegmentLog(
        { directory: join(this.#base(buffer === 'disk'), ...pathOf(device), fileName(property.name)), maxBytes: bytes, durability: 'os' },
        { clock: this.#options.clock },
      )
      log.catch(() => this.#logs.delete(key)) // the next use tries again
      this.#logs.set(key, log)
    }
    return log
  }

  /** True when the log is in use already, so that a value of an ordinary property is worth keeping. */
  isOpen(device: string, property: string): boolean {
    return this.#logs.has(`${device}/${property}`)
  }

  /** Keeps one reading. Resolves when it survives the end of this process. */
  async keep(device: string, property: PropertyConfig, reading: Reading): Promise<void> {
    const log = await this.open(device, property)
    const { value } = reading
    const bytes = 'bytes' in value
    const meta = JSON.stringify({ ...reading.meta, contentType: bytes ? value.contentType : 'application/json', timeMs: reading.timeMs })
    await log.append({ meta, payload: bytes ? value.bytes : Buffer.from(JSON.stringify(value.json ?? null)) })
  }

  /** Forgets a device that is gone, with its files. */
  async remove(device: string): Promise<void> {
    for (const [key, log] of this.#logs) {
      if (!key.startsWith(`${device}/`)) continue
      this.#logs.delete(key)
      await (await log)[Symbol.asyncDispose]()
    }
    for (const disk of [false, true]) await rm(join(this.#base(disk), ...pathOf(device)), { recursive: true, force: true })
  }

  async close(): Promise<void> {
    const logs = [...this.#logs.values()]
    this.#logs.clear()
    for (const log of logs) await (await log.catch(() => undefined))?.[Symbol.asyncDispose]()
  }

  #base(disk: boolean): string {
    return join(disk ? this.#options.dataDir : this.#options.runDir, 'streams')
  }
}

/** `namespace/name` as two directories. */
function pathOf(device: string): string[] {
  return device.split('/').map(fileName)
}

/** A name that stays one name inside its directory, whatever it holds. */
function fileName(name: string): string {
  return encodeURIComponent(name).replace(/^\.+/, (dots) => '%2E'.repeat(dots.length))
}
