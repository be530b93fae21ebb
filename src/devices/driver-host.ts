/**
 * Keeps one driver's worker alive and its devices open: every request has a deadline; a worker that dies or stops answering
 * is ended and started again with backoff, with all its devices; a device that does not open is tried again with a backoff
 * of its own. One host a protocol, so what happens in one driver never touches the devices of another. Used by the mapper.
 *
 * Modes of the worker: `idle` (no device), `up`, `waiting` (for the next start). Only `#start`, `#down` and `#rest` change them.
 */
import type { Worker } from 'node:worker_threads'
import type { Clock, Timer } from '../base/clock.ts'
import { AppError, messageOf, type ErrorCode } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { waitAfter, type RetrySchedule } from '../base/retry.ts'
import { startWorker } from '../base/worker.ts'
import type { Publication } from './app-topics.ts'
import type { BrokerOptions } from './broker.ts'
import type { DeviceConfig, DeviceState, DeviceValue, Reading } from './driver.ts'
import type { DriverWorkerData, FromWorker, Request, ToWorker } from './driver-messages.ts'

const log = logger('devices.driver')
const SCHEDULE: RetrySchedule = { firstMs: 500, factor: 2, maxMs: 30_000, jitter: 0.3 }
const OPEN_SCHEDULE: RetrySchedule = { firstMs: 1000, factor: 2, maxMs: 60_000, jitter: 0.3 }
/** A worker up for this long has proved itself: its backoff starts over. */
const STABLE_MS = 30_000
/** A driver's heap, MB; one that leaks dies alone. */
const HEAP_MB = 128

/** Who hears of a device. Readings come in order; the promise says when one is kept. */
export interface DeviceSink {
  reading(reading: Reading): Promise<void>
  state(state: DeviceState, why: string): void
  refused(what: string, times: number): void
  /** The device is open (again): what was written before may be forgotten. */
  opened(): void
  /** The device is not open now; it is tried again unless `final`. */
  lost(why: string, final: boolean): void
}

export interface OpenDevice {
  /** @throws AppError of the driver, `timeout` after the deadline, `unavailable` while the device is not open */
  read(property: string, signal?: AbortSignal): Promise<DeviceValue>
  write(property: string, value: DeviceValue, signal?: AbortSignal): Promise<DeviceValue | undefined>
  call(method: string, args: unknown, signal?: AbortSignal): Promise<unknown>
  /** Resolves when the driver has let go of it, or cannot any more. */
  close(): Promise<void>
}

export interface DriverHostOptions {
  readonly protocol: string
  readonly module?: string | undefined
  readonly broker: BrokerOptions
  readonly clock: Clock
  /** Namespace of the pod with this address, for the embedded broker. */
  readonly namespaceAt?: (ip: string) => string | undefined
  /** Apps listen on the embedded broker, each time one more does, or none does any more. */
  readonly listening?: (anyone: boolean) => void
  /** Longest a request may take, ms. @default 10000 */
  readonly deadlineMs?: number
  /** How often a worker must show that it lives, ms; silent for two of them, it is ended. @default 7500 */
  readonly pingMs?: number
}

interface Device {
  /** Of the newest opening; what an older one still says is not listened to. */
  handle: number
  readonly config: DeviceConfig
  readonly sink: DeviceSink
  open: boolean
  failures: number
  retry: Timer | undefined
}

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

/** Runs the driver of one protocol and keeps the devices given to it open. */
export class DriverRunner {
  readonly #options: DriverHostOptions
  readonly #deadlineMs: number
  readonly #pingMs: number
  readonly #devices = new Set<Device>()
  readonly #handles = new Map<number, Device>()
  readonly #waiting = new Map<number, Waiting>()
  #worker: Worker | undefined
  #next = 1
  #failures = 0
  #startedAt = 0
  #restart: Timer | undefined
  #ping: Timer | undefined
  #heard = true
  #ended: Promise<unknown> = Promise.resolve()
  #closed = false
  /** Numbers of readings kept, a handle. */
  readonly #takenOf = new Map<number, { upTo: number; ready: Set<number> }>()
  #ackScheduled = false

  constructor(options: DriverHostOptions) {
    this.#options = options
    this.#deadlineMs = options.deadlineMs ?? 10_000
    this.#pingMs = options.pingMs ?? 7_500
  }

  /** Keeps the device open until closed; never throws, the sink is told how it goes. */
  open(config: DeviceConfig, sink: DeviceSink): OpenDevice {
    const device: Device = { handle: 0, config, sink, open: false, failures: 0, retry: undefined }
    this.#devices.add(device)
    if (this.#worker) void this.#openDevice(device)
    else if (!this.#restart) this.#startAfter(0)
    return {
      read: async (property, signal) => (await this.#request(device, { op: 'read', property }, signal)) as DeviceValue,
      write: async (property, value, signal) => (await this.#request(device, { op: 'write', property, value }, signal)) as DeviceValue | undefined,
      call: (method, args, signal) => this.#request(device, { op: 'call', method, args }, signal),
      close: () => this.#closeDevice(device),
    }
  }

  /** Passes messages to apps on the embedded broker, if it runs. */
  publish(publications: readonly Publication[]): void {
    this.#send({ kind: 'publish', publications })
  }

  /** Ends the worker whatever it does. Devices left open hear nothing more. */
  async close(): Promise<void> {
    this.#closed = true
    for (const device of this.#devices) device.retry?.cancel()
    this.#devices.clear()
    this.#handles.clear()
    await this.#rest()
  }

  #start(): void {
    const { protocol, module, broker, clock } = this.#options
    const workerData: DriverWorkerData = { protocol, module, broker }
    const worker = startWorker('driver-host', new URL('./driver-worker.ts', import.meta.url), { workerData, resourceLimits: { maxOldGenerationSizeMb: HEAP_MB, maxYoungGenerationSizeMb: 8 } })
    this.#worker = worker
    this.#startedAt = clock.monotonic()
    this.#heard = true
    worker.on('message', (message: FromWorker) => {
      if (this.#worker === worker) this.#hear(message)
    })
    worker.on('error', (error: unknown) => this.#down(worker, `the driver failed: ${messageOf(error)}`))
    worker.on('exit', () => this.#down(worker, 'the driver ended'))
    this.#watch(worker)
    for (const device of this.#devices) void this.#openDevice(device)
  }

  #watch(worker: Worker): void {
    this.#ping = this.#options.clock.timer('driver ping', this.#pingMs, () => {
      if (this.#worker !== worker) return
      if (!this.#heard) {
        this.#ended = worker.terminate()
        return this.#down(worker, `the driver has not answered for ${Math.round((2 * this.#pingMs) / 1000)} s`)
      }
      this.#heard = false
      this.#send({ kind: 'ping' })
      this.#watch(worker)
    })
  }

  /** The worker is gone, however it went. */
  #down(worker: Worker, why: string): void {
    if (this.#worker !== worker) return
    this.#worker = undefined
    this.#ping?.cancel()
    this.#options.listening?.(false)
    const { clock, protocol } = this.#options
    this.#failAll(new AppError('unavailable', why))
    if (this.#closed || this.#devices.size === 0) return
    this.#failures = clock.monotonic() - this.#startedAt > STABLE_MS ? 1 : this.#failures + 1
    const wait = waitAfter(SCHEDULE, this.#failures)
    log.warn('driver down, starting it again', { protocol, why, inMs: Math.round(wait) })
    for (const device of this.#devices) {
      device.open = false
      device.retry?.cancel()
      device.sink.lost(`${why}, it is started again`, false)
    }
    this.#startAfter(wait)
  }

  /** Starts the worker when the former has really ended: it may hold a port or a bus. */
  #startAfter(waitMs: number): void {
    this.#restart = this.#options.clock.timer('driver start', waitMs, () => {
      void this.#startAgain()
    })
  }

  async #startAgain(): Promise<void> {
    await this.#ended.catch(() => undefined)
    this.#restart = undefined
    if (!this.#closed && !this.#worker && this.#devices.size > 0) this.#start()
  }

  async #rest(): Promise<void> {
    const worker = this.#worker
    this.#worker = undefined
    this.#restart?.cancel()
    this.#restart = undefined
    this.#ping?.cancel()
    this.#failAll(new AppError('unavailable', 'the driver is closed'))
    this.#ended = worker ? worker.terminate() : this.#ended
    await this.#ended
  }

  #failAll(error: AppError): void {
    for (const waiting of this.#waiting.values()) waiting.reject(error)
    this.#waiting.clear()
  }

  async #openDevice(device: Device): Promise<void> {
    const worker = this.#worker
    this.#handles.delete(device.handle)
    const handle = (device.handle = this.#next++)
    this.#handles.set(handle, device)
    try {
      await this.#ask(device, { op: 'open', device: device.config }, undefined, this.#deadlineMs * 1.5)
      if (device.handle !== handle || !this.#devices.has(device) || this.#worker !== worker) return
      device.open = true
      device.failures = 0
      device.sink.opened()
    } catch (error) {
      if (device.handle !== handle || !this.#devices.has(device) || this.#worker !== worker) return
      if (error instanceof AppError && error.code === 'timeout') this.#send({ kind: 'request', id: this.#next++, handle, request: { op: 'close' } })
      const final = error instanceof AppError && (error.code === 'invalid' || error.code === 'unsupported')
      device.sink.lost(messageOf(error), final)
      if (final) return
      device.retry = this.#options.clock.timer('device open', waitAfter(OPEN_SCHEDULE, ++device.failures), () => {
        if (this.#worker === worker) void this.#openDevice(device)
      })
    }
  }

  async #closeDevice(device: Device): Promise<void> {
    if (!this.#devices.delete(device)) return
    device.retry?.cancel()
    if (this.#devices.size === 0) return await this.#rest()
    this.#handles.delete(device.handle)
    // A driver that does not let go in time keeps what it holds; its worker's end frees it.
    if (this.#worker) await this.#ask(device, { op: 'close' }, undefined, this.#deadlineMs).catch((error: unknown) => log.warn('device did not close', { device: device.config.name, error }))
  }

  #request(device: Device, request: Request, signal?: AbortSignal): Promise<unknown> {
    if (!device.open) return Promise.reject(new AppError('unavailable', `${request.op}: device "${device.config.name}" is not open now`))
    return this.#ask(device, request, signal, this.#deadlineMs)
  }

  async #ask(device: Device, request: Request, signal: AbortSignal | undefined, deadlineMs: number): Promise<unknown> {
    signal?.throwIfAborted()
    const id = this.#next++
    const giveUp = (error: AppError): void => {
      this.#waiting.get(id)?.reject(error)
      this.#send({ kind: 'abort', id, why: error.message })
    }
    // The driver may say more about it than we can: it gets half a second to fail by itself before the caller does.
    const soft = this.#options.clock.timer('driver deadline', deadlineMs, () => this.#send({ kind: 'abort', id, why: `no answer within ${deadlineMs} ms` }))
    const timer = this.#options.clock.timer('driver deadline', deadlineMs + 500, () => giveUp(new AppError('timeout', `${request.op} "${device.config.name}": the driver has not answered within ${deadlineMs} ms`)))
    const onAbort = (): void => giveUp(new AppError('timeout', `${request.op} "${device.config.name}": called off`))
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      return await new Promise((resolve, reject) => {
        this.#waiting.set(id, { resolve, reject })
        if (!this.#send({ kind: 'request', id, handle: device.handle, request })) reject(new AppError('unavailable', 'the driver is not running now'))
      })
    } finally {
      this.#waiting.delete(id)
      soft.cancel()
      timer.cancel()
      signal?.removeEventListener('abort', onAbort)
    }
  }

  #send(message: ToWorker): boolean {
    this.#worker?.postMessage(message)
    return this.#worker !== undefined
  }

  #hear(message: FromWorker): void {
    this.#heard = true
    switch (message.kind) {
      case 'pong':
        return
      case 'who':
        return void this.#send({ kind: 'pod', id: message.id, namespace: this.#options.namespaceAt?.(message.ip) })
      case 'listening':
        return this.#options.listening?.(message.anyone)
      case 'log':
        return logger(message.logger)[message.level](message.message, message.fields)
      case 'answer': {
        const waiting = this.#waiting.get(message.id)
        if (message.error) waiting?.reject(new AppError(message.error.code as ErrorCode, message.error.message))
        else waiting?.resolve(message.value)
        return
      }
      case 'readings':
        for (const { handle, n, reading } of message.readings) this.#take(handle, n, reading)
        return
      case 'state':
        return this.#handles.get(message.handle)?.sink.state(message.state, message.why)
      case 'refused':
        return this.#handles.get(message.handle)?.sink.refused(message.what, message.times)
      default:
        message satisfies never
    }
  }

  #take(handle: number, n: number, reading: Reading): void {
    const device = this.#handles.get(handle)
    if (!device) return
    void this.#keep(device, handle, n, reading)
  }

  async #keep(device: Device, handle: number, n: number, reading: Reading): Promise<void> {
    try {
      await device.sink.reading(reading)
    } catch (error) {
      device.sink.refused(`reading of ${reading.property} not kept: ${messageOf(error)}`, 1)
    }
    this.#taken(handle, n)
  }

  /** Streams of one device are kept independently, so readings may be kept out of order; acknowledged is the whole stretch. */
  #taken(handle: number, n: number): void {
    let state = this.#takenOf.get(handle)
    if (!state) this.#takenOf.set(handle, (state = { upTo: 0, ready: new Set() }))
    state.ready.add(n)
    if (this.#ackScheduled) return
    this.#ackScheduled = true
    setImmediate(() => {
      this.#ackScheduled = false
      for (const [h, s] of this.#takenOf) {
        const before = s.upTo
        while (s.ready.delete(s.upTo + 1)) s.upTo++
        if (s.upTo > before) this.#send({ kind: 'taken', handle: h, upTo: s.upTo })
        if (!this.#handles.has(h)) this.#takenOf.delete(h)
      }
    })
  }
}
