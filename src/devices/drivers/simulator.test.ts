import assert from 'node:assert/strict'
import { test } from 'node:test'
import { driverSuite, levelProperty, recordingHost } from '../../../test/suites/driver.ts'
import { until } from '../../../test/kit/until.ts'
import { createSimulatorDriver } from './simulator.ts'

const device = { namespace: 'default', name: 'd', protocol: 'simulator', config: { periodMs: 5 }, properties: [levelProperty()] }
driverSuite('simulator', async () => ({ driver: createSimulatorDriver(), device, wrong: { ...device, config: { periodMs: 'often' } }, close: async () => undefined }))

test('the same seed plays the same values, within the bounds', async () => {
  const play = async (): Promise<unknown[]> => {
    const host = recordingHost()
    const session = await createSimulatorDriver().open(device, host, AbortSignal.timeout(1000))
    await session.subscribe(device.properties)
    await until('readings', () => host.readings.length >= 10)
    await session.close()
    return host.readings.slice(0, 10).map((r) => ('json' in r.value ? r.value.json : undefined))
  }
  const first = await play()
  assert.deepEqual(await play(), first)
  for (const v of first) assert.ok(typeof v === 'number' && v >= 0 && v <= 100)
})
