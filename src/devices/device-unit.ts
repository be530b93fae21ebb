/**
 * One device on this node: its driver session, its twin, its newest values, and when the API hears of what. The thin shell
 * around `twin.ts`; owned by the device layer, read by the bus.
 *
 * What is wanted goes to the device at once and its answer to the API at once; everything else about values goes at most
 * every ten seconds; online and offline at once, at most every second. Readings never go to the API one by one.
 */
import type { Clock, Timer } from '../base/clock.ts'
import { AppError, hasCode, messageOf } from '../base/errors.ts'
import { waitAfter, type RetrySchedule } from '../base/retry.ts'
import type { EventRecorder } from '../client/mod.ts'
import { sameJson, seen, toProperty } from './convert.ts'
import type { DeviceState, DeviceValue, PropertyConfig, Reading } from './driver.ts'
import type { DeviceSink, OpenDevice } from './driver-host.ts'
import type { MergedDevice } from './model.ts'
import { statusFields } from './status.ts'
import type { Streams } from './streams.ts'
import { EMPTY_TWIN, toDeliver, withDelivered, withDesired, withRefused, withReported, withRestart, type Delivery, type Twin } from './twin.ts'
import { referenceTo, type DeviceObject, type DeviceStatusFields } from './types.ts'

/** Least time between status writes for values, and for online or offline, ms. */
export const VALUES_EVERY_MS = 10_000
export const STATE_EVERY_MS = 1_000
/** How old `lastOnlineTime` may become while nothing else changes, ms: a minute reads as "now" to a person, and costs a write a minute and device. */
const LAST_SEEN_EVERY_MS = 60_000
/** A device without an availability of its own is offline after this silence, ms (`silentAfterMs` in protocol.configData). */
const SILENT_AFTER_MS = 60_000
const DELIVERY: RetrySchedule = { firstMs: 1000, factor: 2, maxMs: 30_000, jitter: 0.2 }

/** The newest value of a property, for the bus. Bytes are in the stream; here only how many. */
export interface LastValue {
  readonly value: unknown
  readonly timeMs: number
}

/** What a unit uses of its surroundings. */
export interface UnitContext {
  readonly clock: Clock
  readonly streams: Streams
  readonly recorder: Pick<EventRecorder, 'event'>
  /** Opens the device with the driver of its protocol. */
  open(merged: NonNullable<MergedDevice['config']>, sink: DeviceSink): OpenDevice
  /** The status has changed: write it at once, or this long after the last time. */
  statusChanged(unit: DeviceUnit, sinceLastMs: number): void
  /** A value changed, for apps that watch. */
  valueChanged(unit: DeviceUnit, property: string, value: LastValue, before: unknown): void
  stateChanged(unit: DeviceUnit): void
  counted(what: 'reading' | 'refused', times: number): void
}

interface InFlight {
  readonly version: number
  readonly abort: AbortController
}

/** One device of this node, from its objects to its values. `update` must be called once after making it. */
export class DeviceUnit {
  readonly key: string
  readonly #context: UnitContext
  #device: DeviceObject
  #merged: MergedDevice
  #configText = ''
  #session: OpenDevice | undefined
  #twin: Twin = EMPTY_TWIN
  #state: DeviceState = 'unknown'
  #message = ''
  #lastSeenMs: number | undefined
  #toldSeenAt = -Infinity
  #order = 0
  readonly #values = new Map<string, LastValue>()
  readonly #flying = new Map<string, InFlight>()
  readonly #trouble = new Map<string, string>()
  #failures = 0
  #retry: Timer | undefined
  #silence: Timer | undefined
  #heardAt = 0
  #ready = false
  /** The driver said online since the device was opened or went offline; a reading alone may come before it listens. */
  #saidOnline = false
  #saidEarly: { readonly state: DeviceState; readonly why: string } | undefined
  #closed = false
  #closing: Promise<void> = Promise.resolve()

  constructor(key: string, device: DeviceObject, merged: MergedDevice, context: UnitContext) {
    this.key = key
    this.#context = context
    this.#device = device
    this.#merged = merged
    this.#lastSeenMs = Date.parse(device.status?.lastOnlineTime ?? '') || undefined
    // What it said before this process started, until it says more.
    for (const { propertyName, reported } of device.status?.twins ?? []) {
      if (!reported) continue
      const timeMs = Number(reported.metadata?.['timestamp'] ?? 0)
      this.#values.set(propertyName, { value: reported.value, timeMs })
      this.#twin = withReported(this.#twin, propertyName, reported.value, timeMs, 0)
    }
  }

  get device(): DeviceObject {
    return this.#device
  }

  get state(): DeviceState {
    return this.#state
  }

  get properties(): readonly PropertyConfig[] {
    return this.#merged.config?.properties ?? []
  }

  property(name: string): PropertyConfig | undefined {
    return this.properties.find((p) => p.name === name)
  }

  value(property: string): LastValue | undefined {
    return this.#values.get(property)
  }

  /** Takes in the Device and its model, at first and at every change. What is wanted is delivered before this returns to the event loop. */
  update(device: DeviceObject, merged: MergedDevice): void {
    this.#device = device
    this.#merged = merged
    const before = this.#twin
    this.#twin = withDesired(this.#twin, merged.desired, device.metadata?.generation ?? 1)
    const configText = JSON.stringify(merged.config ?? null)
    if (configText !== this.#configText) this.#reopen(configText)
    if (merged.config === undefined) this.#become('unknown', merged.mistakes[0]?.message ?? '')
    if (this.#twin !== before) {
      this.#failures = 0
      this.#deliver()
      if (this.#ready) this.#context.statusChanged(this, VALUES_EVERY_MS) // before that nothing is known that is worth a write
    }
  }

  status(): DeviceStatusFields {
    return statusFields({
      state: this.#state,
      message: this.#message,
      lastSeenMs: this.#lastSeenMs,
      twin: this.#twin,
      trouble: this.#trouble,
      shown: this.properties.filter((p) => p.reportToCloud || this.#twin.properties[p.name]?.desired),
      generation: this.#device.metadata?.generation ?? 0,
    })
  }

  /** A value from the device itself, or the newest pushed one. */
  async read(name: string, signal?: AbortSignal): Promise<DeviceValue> {
    this.#propertyOr404(name)
    return await this.#sessionOr503().read(name, signal)
  }

  /** An app sets a value. What the Device's spec wants is not an app's to change. */
  async write(name: string, value: unknown, signal?: AbortSignal): Promise<unknown> {
    const property = this.#propertyOr404(name)
    if (property.accessMode === 'ReadOnly') throw new AppError('invalid', `set ${name}: the property is ReadOnly in its DeviceModel`)
    if (this.#twin.properties[name]?.desired) throw new AppError('conflict', `set ${name}: the Device's spec.properties says what it is to be; change it there, or take desired out of it`)
    const typed = toProperty(property, value)
    const answer = await this.#sessionOr503().write(name, { json: typed }, signal)
    if (answer && 'json' in answer) this.#reported(property, answer.json, this.#context.clock.now())
    return answer && 'json' in answer ? answer.json : typed
  }

  async call(method: string, args: unknown, signal?: AbortSignal): Promise<unknown> {
    return await this.#sessionOr503().call(method, args, signal)
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#retry?.cancel()
    this.#silence?.cancel()
    this.#callOff('the device is closed')
    await this.#closing
    const session = this.#session
    this.#session = undefined
    await session?.close()
  }

  // What the driver says.

  readonly sink: DeviceSink = {
    reading: (reading) => this.#reading(reading),
    state: (state, why) => this.#said(state, why),
    refused: (what, times) => this.#refused(what, times),
    opened: () => this.#opened(),
    lost: (why, final) => this.#lost(why, final),
  }

  #reading(reading: Reading): Promise<void> {
    const property = this.property(reading.property)
    if (!property) {
      this.#refused(`reading of "${reading.property}", which is not a property of the device`, 1)
      return Promise.resolve()
    }
    this.#context.counted('reading', 1)
    this.#heard()
    const { value } = reading
    if ('bytes' in value) this.#values.set(property.name, { value: { bytes: value.bytes.length, contentType: value.contentType }, timeMs: reading.timeMs })
    else this.#reported(property, value.json, reading.timeMs)
    const streamed = 'bytes' in value || property.type === 'STREAM' || this.#context.streams.isOpen(this.key, property.name)
    return streamed ? this.#context.streams.keep(this.key, property, reading) : Promise.resolve()
  }

  #refused(what: string, times: number): void {
    this.#context.recorder.event(referenceTo(this.#device), 'Warning', 'InputRefused', times > 1 ? `${what} (${times} times)` : what)
    this.#context.counted('refused', times)
  }

  #opened(): void {
    this.#ready = true
    const early = this.#saidEarly
    this.#saidEarly = undefined
    this.#saidOnline = early?.state === 'online'
    if (early) this.#take(early.state, early.why)
    this.#redeliver()
    this.#context.statusChanged(this, STATE_EVERY_MS)
    this.#watchSilence()
  }

  #lost(why: string, final: boolean): void {
    this.#ready = false
    this.#saidEarly = undefined
    this.#callOff(why)
    this.#become(final ? 'unknown' : 'offline', why)
  }

  #said(state: DeviceState, why: string): void {
    if (!this.#ready) {
      this.#saidEarly = { state, why } // online means that it can be used, so this waits until it is open
      return
    }
    const back = state === 'online' && (this.#state !== 'online' || !this.#saidOnline)
    this.#saidOnline = state === 'online'
    this.#take(state, why)
    if (back) this.#redeliver()
  }

  #take(state: DeviceState, why: string): void {
    if (state === 'online' || state === 'ok') this.#heard()
    this.#become(state, why)
  }

  // Inside.

  #reopen(configText: string): void {
    this.#configText = configText
    this.#ready = false
    this.#callOff('the device is opened anew')
    const former = this.#session
    this.#session = undefined
    this.#closing = this.#replace(this.#closing, former, configText)
  }

  /** The driver may hold the device's only connection: the new session waits until the former has let go. */
  async #replace(before: Promise<void>, former: OpenDevice | undefined, configText: string): Promise<void> {
    await before
    await former?.close().catch(() => undefined)
    const { config } = this.#merged
    if (config && this.#configText === configText && !this.#session && !this.#closed) this.#session = this.#context.open(config, this.sink)
  }

  #heard(): void {
    const { clock } = this.#context
    this.#lastSeenMs = clock.now()
    this.#heardAt = clock.monotonic()
    if (this.#state === 'unknown' || (this.#state === 'offline' && !this.#hasAvailability)) this.#become('online', '')
    if (this.#heardAt - this.#toldSeenAt > LAST_SEEN_EVERY_MS) {
      this.#toldSeenAt = this.#heardAt
      this.#context.statusChanged(this, STATE_EVERY_MS)
    }
  }

  get #hasAvailability(): boolean {
    return this.#merged.config?.config['availabilityTopic'] !== undefined
  }

  #watchSilence(): void {
    this.#silence?.cancel()
    const set = this.#merged.config?.config['silentAfterMs']
    const after = typeof set === 'number' ? set : this.#hasAvailability ? 0 : SILENT_AFTER_MS
    if (after <= 0) return
    const { clock } = this.#context
    const look = (): void => {
      const silent = clock.monotonic() - this.#heardAt
      if (silent >= after && this.#ready && this.#state !== 'offline') this.#become('offline', `nothing heard for ${Math.round(silent / 1000)} s`)
      this.#silence = clock.timer('device silence', silent >= after ? after : after - silent, look)
    }
    this.#heardAt = Math.max(this.#heardAt, clock.monotonic())
    this.#silence = clock.timer('device silence', after, look)
  }

  #become(state: DeviceState, why: string): void {
    if (state === this.#state && why === this.#message) return
    const before = this.#state
    this.#state = state
    this.#message = why
    if (state !== before) {
      this.#context.stateChanged(this)
      if (state === 'offline' || state === 'unhealthy') this.#context.recorder.event(referenceTo(this.#device), 'Warning', state === 'offline' ? 'DeviceOffline' : 'DeviceUnhealthy', why || `the device is ${state}`)
      else if (state === 'online' && before !== 'unknown') this.#context.recorder.event(referenceTo(this.#device), 'Normal', 'DeviceOnline', `the device is back`)
    }
    this.#context.statusChanged(this, STATE_EVERY_MS)
  }

  #reported(property: PropertyConfig, value: unknown, timeMs: number): void {
    const before = this.#values.get(property.name)
    const last = { value, timeMs }
    this.#values.set(property.name, last)
    this.#twin = withReported(this.#twin, property.name, value, timeMs, ++this.#order)
    if (before && sameJson(before.value, value)) return
    this.#context.valueChanged(this, property.name, last, before?.value)
    if (property.reportToCloud || this.#twin.properties[property.name]?.desired) {
      this.#context.statusChanged(this, Math.max(VALUES_EVERY_MS, property.reportCycleMs ?? 0))
    }
  }

  /** The device may have forgotten what it was told, or has not heard it. */
  #redeliver(): void {
    this.#callOff('the device has started anew')
    this.#twin = withRestart(this.#twin)
    this.#failures = 0
    this.#deliver()
  }

  #callOff(why: string): void {
    this.#retry?.cancel()
    for (const { abort } of this.#flying.values()) abort.abort(new AppError('unavailable', why))
    this.#flying.clear()
  }

  #deliver(): void {
    if (!this.#ready || !this.#session) return
    for (const delivery of toDeliver(this.#twin)) {
      const flying = this.#flying.get(delivery.property)
      if (flying?.version === delivery.version) continue
      flying?.abort.abort(new AppError('unavailable', 'a newer value is wanted'))
      const mine: InFlight = { version: delivery.version, abort: new AbortController() }
      this.#flying.set(delivery.property, mine)
      void this.#deliverOne(this.#session, delivery, mine)
    }
  }

  async #deliverOne(session: OpenDevice, { property, value, version }: Delivery, mine: InFlight): Promise<void> {
    let failure: unknown
    try {
      const answer = await session.write(property, { json: value }, mine.abort.signal)
      if (this.#flying.get(property) !== mine) return
      this.#twin = withDelivered(this.#twin, property, version)
      const config = this.property(property)
      if (config && answer && 'json' in answer) this.#reported(config, answer.json, this.#context.clock.now())
      this.#trouble.delete(property)
      const reported = this.#twin.properties[property]?.reported
      if (answer && reported && !sameJson(reported.value, value)) this.#trouble.set(property, `the device took ${seen(value)} as ${seen(reported.value)}`)
    } catch (error) {
      failure = error
    }
    if (this.#flying.get(property) !== mine) return
    this.#flying.delete(property)
    if (failure !== undefined) this.#notDelivered(property, version, failure)
    this.#context.statusChanged(this, 0) // the answer to what was wanted is what people wait for
  }

  #notDelivered(property: string, version: number, error: unknown): void {
    const message = messageOf(error)
    const first = this.#trouble.get(property) !== message
    this.#trouble.set(property, message)
    if (hasCode(error, 'invalid') || hasCode(error, 'unsupported') || hasCode(error, 'forbidden')) {
      this.#twin = withRefused(this.#twin, property, version, message)
      this.#context.recorder.event(referenceTo(this.#device), 'Warning', 'DesiredRefused', message)
      return
    }
    if (first && this.#ready) this.#context.recorder.event(referenceTo(this.#device), 'Warning', 'DesiredNotTaken', `${message}; it is tried again`)
    this.#retry?.cancel()
    this.#retry = this.#context.clock.timer('deliver desired', waitAfter(DELIVERY, ++this.#failures), () => this.#deliver())
  }

  #sessionOr503(): OpenDevice {
    if (!this.#session) throw new AppError('unavailable', `device "${this.key}" is not open: ${this.#message || 'it is being opened'}`)
    return this.#session
  }

  #propertyOr404(name: string): PropertyConfig {
    const property = this.property(name)
    if (!property) throw new AppError('not-found', `device "${this.key}" has no property "${name}", it has ${this.properties.map((p) => p.name).join(', ') || 'none'}`)
    return property
  }
}
