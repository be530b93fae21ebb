import assert from 'node:assert/strict'
import { connect as dial } from 'node:net'
import { test } from 'node:test'
import mqtt from 'mqtt'
import { driverSuite, levelProperty, recordingHost, type DriverSubject } from '../../../test/suites/driver.ts'
import { until } from '../../../test/kit/until.ts'
import { setLogSink } from '../../base/log.ts'
import { startBroker, type BrokerOptions } from '../broker.ts'
import { createMqttDriver } from './mqtt.ts'

setLogSink(() => undefined)
const local = (options: BrokerOptions = {}) => startBroker({ host: '127.0.0.1', port: 0, ...options })

/** A thing with one setting, over a real socket. */
async function thing(port: number) {
  const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, { clientId: 'thing' })
  client.on('message', (_topic, payload) => void client.publish('t/1/level', payload, { qos: 1 }))
  await client.subscribeAsync('t/1/set', { qos: 1 })
  return client
}

const device = { namespace: 'default', name: '1', protocol: 'mqtt', config: {}, properties: [levelProperty({ topic: 't/{device}/level', setTopic: 't/{device}/set' })] }
const wrong = { ...device, config: { brokerUrl: 'http://x' }, properties: [levelProperty({ topic: 't/#/x', setTopic: 't/+' })] }

async function subject(external: boolean): Promise<DriverSubject> {
  const broker = await local()
  const client = await thing(broker.port)
  return {
    driver: createMqttDriver(async () => broker),
    device: external ? { ...device, config: { brokerUrl: `mqtt://127.0.0.1:${broker.port}` } } : device,
    wrong,
    push: async (level) => void (await client.publishAsync('t/1/level', String(level), { qos: 1 })),
    async close() {
      await client.endAsync(true)
      await broker.close()
    },
  }
}

driverSuite('mqtt on the embedded broker', () => subject(false))
driverSuite('mqtt on a broker elsewhere', () => subject(true))

test('a message is acknowledged to the device only when the reading is kept', async (t) => {
  const broker = await local()
  t.after(() => broker.close())
  const host = recordingHost()
  host.hold = true
  const session = await createMqttDriver(async () => broker).open(device, host, AbortSignal.timeout(1000))
  await session.subscribe(device.properties)
  const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${broker.port}`)
  t.after(() => client.endAsync(true))
  let acked = false
  const publishing = client.publishAsync('t/1/level', '5', { qos: 1 }).then(() => (acked = true))
  await until('the reading', () => host.release)
  await new Promise((resolve) => setTimeout(resolve, 50))
  assert.equal(acked, false)
  host.release?.()
  await publishing
})

test('a broker whose port is taken says so and the ways out', async (t) => {
  const broker = await local()
  t.after(() => broker.close())
  await assert.rejects(local({ port: broker.port }), { code: 'unavailable', message: new RegExp(`127.0.0.1:${broker.port}: the port is taken: stop the other broker, choose another port`) })
})

test('the broker bounds its clients, its retained topics, and outlives garbage on the socket', async (t) => {
  const broker = await local({ maxClients: 3, maxRetained: 2 })
  t.after(() => broker.close())
  const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${broker.port}`)
  t.after(() => client.endAsync(true))
  for (const topic of ['r/1', 'r/2', 'r/3']) await client.publishAsync(topic, 'x', { qos: 1, retain: true })
  const kept: string[] = []
  await broker.subscribe('r/+', { namespace: 'default', message: (topic) => void kept.push(topic), refused: () => undefined })
  assert.deepEqual(kept.sort(), ['r/1', 'r/2'])
  const junk = dial(broker.port, '127.0.0.1')
  junk.on('error', () => undefined)
  junk.write(Buffer.alloc(5000, 0xff))
  await new Promise((resolve) => junk.once('close', resolve))
  assert.ok(client.connected)
  await client.publishAsync('r/1', 'still here', { qos: 1 })
})

test('a write that the device answers with another value says which, and one it ignores ends with what it last said', async (t) => {
  const broker = await local()
  t.after(() => broker.close())
  const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${broker.port}`)
  t.after(() => client.endAsync(true))
  client.on('message', (_t, payload) => {
    if (Number(payload.toString()) > 30) void client.publish('t/1/level', '30', { qos: 1 })
  })
  await client.subscribeAsync('t/1/set', { qos: 1 })
  const session = await createMqttDriver(async () => broker).open(device, recordingHost(), AbortSignal.timeout(1000))
  await session.subscribe(device.properties)
  await client.publishAsync('t/1/level', '10', { qos: 1 })
  const level = device.properties[0] as (typeof device.properties)[0]
  assert.deepEqual(await session.write(level, { json: 50 }, AbortSignal.timeout(1000)), { json: 30 })
  await assert.rejects(session.write(level, { json: 3 }, AbortSignal.timeout(100)), { code: 'timeout', message: /not answered on t\/1\/level, last said "30"/ })
})

test('a device that does not listen yet hears the write all the same', async (t) => {
  const broker = await local()
  t.after(() => broker.close())
  const session = await createMqttDriver(async () => broker).open(device, recordingHost(), AbortSignal.timeout(1000))
  await session.subscribe(device.properties)
  const level = device.properties[0] as (typeof device.properties)[0]
  const written = session.write(level, { json: 12 }, AbortSignal.timeout(5000))
  const client = await thing(broker.port) // the first telling went to nobody
  t.after(() => client.endAsync(true))
  assert.deepEqual(await written, { json: 12 })
})

test('a pod hears only devices of its namespace, and nobody but the node speaks for them', async (t) => {
  let pod: string | undefined
  const told: boolean[] = []
  const broker = await startBroker({ host: '127.0.0.1', port: 0 }, { namespaceAt: async () => pod, listening: (anyone) => void told.push(anyone) })
  t.after(() => broker.close())
  const session = await createMqttDriver(async () => broker).open(device, recordingHost(), AbortSignal.timeout(1000))
  await session.subscribe(device.properties)
  const heard: Record<string, string[]> = {}
  for (const ns of ['default', 'other', undefined]) {
    pod = ns
    const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${broker.port}`)
    t.after(() => client.endAsync(true))
    const mine = (heard[String(ns)] = [] as string[])
    client.on('message', (topic) => void mine.push(topic))
    await client.subscribeAsync(['#', '$hw/#'], { qos: 1 })
  }
  pod = undefined
  const sensor = await mqtt.connectAsync(`mqtt://127.0.0.1:${broker.port}`)
  t.after(() => sensor.endAsync(true))
  await sensor.publishAsync('t/1/level', '5', { qos: 1 })
  await broker.publish('skerry/devices/default/1/level', '5')
  await broker.publish('$hw/events/device/other/1/twin/update/document', '{}')
  await sensor.publishAsync('end', '', { qos: 1 })
  await until('all heard', () => Object.values(heard).every((h) => h.includes('end')))
  assert.deepEqual(heard, {
    default: ['t/1/level', 'skerry/devices/default/1/level', 'end'],
    other: ['$hw/events/device/other/1/twin/update/document', 'end'],
    undefined: ['t/1/level', 'end'],
  })
  assert.deepEqual(told, [true, true, true])
  const closed = new Promise<void>((resolve) => sensor.once('close', () => resolve()))
  sensor.publish('skerry/devices/default/1/level', '99')
  await closed
})
