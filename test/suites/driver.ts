/** What every driver promises the mapper, the fake included. Adapters give a device with a writable INT `level` and a way to push a value from the device's side. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '../kit/until.ts'
import type { DeviceConfig, Driver, DriverHost, PropertyConfig, Reading } from '../../src/devices/driver.ts'

export interface DriverSubject {
  readonly driver: Driver
  readonly device: DeviceConfig
  /** A configuration the driver refuses. */
  readonly wrong: DeviceConfig
  /** The device says a value on its own; absent when this device never does. */
  push?(level: number): Promise<void>
  close(): Promise<void>
}

/** A writable INT. */
export function levelProperty(visitor: Readonly<Record<string, unknown>> = {}): PropertyConfig {
  return { name: 'level', type: 'INT', accessMode: 'ReadWrite', minimum: '0', maximum: '100', visitor, reportToCloud: true }
}

/** A host that notes what it hears and keeps readings as long as `hold` says. */
export function recordingHost(): DriverHost & { readings: Reading[]; states: string[]; refusals: string[]; release: (() => void) | undefined; hold: boolean } {
  const host = {
    readings: [] as Reading[],
    states: [] as string[],
    refusals: [] as string[],
    hold: false,
    release: undefined as (() => void) | undefined,
    brokerUrl: 'mqtt://127.0.0.1:1',
    reading(reading: Reading): Promise<void> {
      host.readings.push(reading)
      return host.hold ? new Promise<void>((resolve) => (host.release = resolve)) : Promise.resolve()
    },
    state: (state: string) => void host.states.push(state),
    refused: (what: string) => void host.refusals.push(what),
  }
  return host
}

export function driverSuite(name: string, make: () => Promise<DriverSubject>): void {
  const signal = (): AbortSignal => AbortSignal.timeout(3000)
  const level = (d: DeviceConfig): PropertyConfig => d.properties.find((p) => p.name === 'level') as PropertyConfig

  test(`${name}: names its protocols in lower case, accepts a right device and says in words what is wrong with another`, async (t) => {
    const s = await make()
    t.after(() => s.close())
    assert.ok(s.driver.protocols.length > 0)
    for (const p of s.driver.protocols) assert.equal(p, p.toLowerCase())
    assert.deepEqual(s.driver.validate(s.device), [])
    const wrong = s.driver.validate(s.wrong)
    assert.ok(wrong.length > 0 && wrong.every((w) => w.length > 10), wrong.join())
  })

  test(`${name}: what is written is what the device has then, and reads give it`, async (t) => {
    const s = await make()
    t.after(() => s.close())
    const host = recordingHost()
    const session = await s.driver.open(s.device, host, signal())
    t.after(() => session.close())
    await session.subscribe(s.device.properties)
    for (const value of [7, 8, 7]) {
      const answer = await session.write(level(s.device), { json: value }, signal())
      if (answer) assert.deepEqual(answer, { json: value })
      assert.deepEqual(await session.read(level(s.device), signal()), { json: value })
    }
    await until('the reading', () => host.readings.some((r) => r.property === 'level' && 'json' in r.value && r.value.json === 7))
  })

  test(`${name}: readings come in order, name a property of the device, and carry a time`, async (t) => {
    const s = await make()
    t.after(() => s.close())
    if (!s.push) return
    const host = recordingHost()
    const session = await s.driver.open(s.device, host, signal())
    t.after(() => session.close())
    assert.deepEqual(await session.subscribe(s.device.properties), ['level'])
    for (let i = 1; i <= 20; i++) await s.push(i)
    await until('all readings', () => host.readings.length >= 20)
    assert.deepEqual(host.readings.slice(-20).map((r) => ('json' in r.value ? r.value.json : undefined)), Array.from({ length: 20 }, (_, i) => i + 1))
    for (const r of host.readings) assert.ok(Math.abs(r.timeMs - Date.now()) < 60_000)
  })

  test(`${name}: a method it does not know is refused as unsupported`, async (t) => {
    const s = await make()
    t.after(() => s.close())
    const session = await s.driver.open(s.device, recordingHost(), signal())
    t.after(() => session.close())
    await assert.rejects(session.call('no-such-method', null, signal()), { code: 'unsupported' })
  })

  test(`${name}: is silent after close, and can be opened again`, async (t) => {
    const s = await make()
    t.after(() => s.close())
    const host = recordingHost()
    const session = await s.driver.open(s.device, host, signal())
    await session.subscribe(s.device.properties)
    await session.close()
    const before = host.readings.length
    await s.push?.(55)
    await new Promise((resolve) => setTimeout(resolve, 30))
    assert.equal(host.readings.length, before)
    const again = await s.driver.open(s.device, recordingHost(), signal())
    await again.close()
  })
}
