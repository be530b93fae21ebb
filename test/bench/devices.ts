/**
 * The device layer alone, in one process beside an in-memory API: readings a second from an MQTT client through broker, driver
 * and bus to an app that reads the stream, and the time from a desired value in the spec to the reported one in the status.
 * Prints one JSON line. Usage: bin/node test/bench/devices.ts [seconds]
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { fileURLToPath } from 'node:url'
import { parentPort, workerData } from 'node:worker_threads'
import mqtt from 'mqtt'
import { systemClock } from '../../src/base/clock.ts'
import { textSink, setLogSink } from '../../src/base/log.ts'
import { createCaches, createClient } from '../../src/client/mod.ts'
import { createDeviceLayer, DEVICE_MODELS, DEVICES, type DeviceModelObject, type DeviceObject } from '../../src/devices/mod.ts'
import { createMemoryLog, RecordDecoder } from '../../src/telemetry/mod.ts'
import { FakeApi } from '../kit/fake-api.ts'
import { until } from '../kit/until.ts'

const PORT = 18_830
const DEVICE_COUNT = 10
const SETS = 200

if (parentPort) await produce(workerData as { seconds: number })
else await main(Number(process.argv[2] ?? 5))

/** Devices: publish QoS 1 readings as fast as they are acknowledged, 50 in flight each. */
async function produce({ seconds }: { seconds: number }): Promise<void> {
  const end = performance.now() + seconds * 1000
  const sent = await Promise.all(
    Array.from({ length: DEVICE_COUNT }, async (_, d) => {
      const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${PORT}`, { clientId: `d${d}` })
      let n = 0
      await Promise.all(
        Array.from({ length: 50 }, async () => {
          while (performance.now() < end) await client.publishAsync(`d/${d}/value`, String(n++), { qos: 1 })
        }),
      )
      await client.endAsync()
      return n
    }),
  )
  parentPort?.postMessage(sent.reduce((a, b) => a + b, 0))
}

async function main(seconds: number): Promise<void> {
  setLogSink(textSink('error'))
  const dir = await mkdtemp(join(tmpdir(), 'skerry-bench-'))
  const api = new FakeApi()
  const client = createClient(api)
  const caches = createCaches(client)
  const layer = createDeviceLayer({
    nodeName: 'n1',
    client,
    caches,
    clock: systemClock,
    dirs: { data: join(dir, 'data'), run: join(dir, 'run') },
    listen: { host: '127.0.0.1', port: 0 },
    identify: () => ({ namespace: 'default', pod: 'bench' }),
    recorder: { event: () => undefined },
    spool: createMemoryLog({ maxBytes: 1 << 20 }),
    mqtt: { host: '127.0.0.1', port: PORT },
  })
  const stop = new AbortController()
  const running = Promise.all([caches.run(stop.signal), layer.run(stop.signal)])
  await layer.listening
  const models = client.resource<DeviceModelObject>(DEVICE_MODELS)
  const devices = client.resource<DeviceObject>(DEVICES)
  await models.create({ metadata: { name: 'm', namespace: 'default' }, spec: { protocol: 'mqtt', properties: [{ name: 'value', type: 'INT' }, { name: 'set', type: 'INT', accessMode: 'ReadWrite' }] } })
  for (let d = 0; d < DEVICE_COUNT; d++) await devices.create(device(d, 0))
  await until('devices', () => layer.devices().length === DEVICE_COUNT)

  const echo = await until('broker', () => mqtt.connectAsync(`mqtt://127.0.0.1:${PORT}`).catch(() => undefined))
  echo.on('message', (topic, payload) => void echo.publish(topic.replace('set', 'state'), payload, { qos: 1 }))
  await echo.subscribeAsync('d/0/set', { qos: 1 })
  const times: number[] = []
  for (let i = 1; i <= SETS; i++) {
    const start = performance.now()
    await devices.patch('d0', 'default', { metadata: { generation: i + 1 }, spec: device(0, i).spec }, 'merge')
    await until('reported', () => reportedOf(api) === i)
    times.push(performance.now() - start)
  }
  await echo.endAsync()
  times.sort((a, b) => a - b)

  let received = 0
  const reader = new AbortController()
  const { SKERRY_BUS_URL: bus } = layer.env()
  const reading = Array.from({ length: DEVICE_COUNT }, async (_, d) => {
    const decoder = new RecordDecoder()
    const response = await fetch(`${bus}/devices/d${d}/streams/value`, { signal: reader.signal })
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) received += decoder.push(chunk).length
  })
  await new Promise((resolve) => setTimeout(resolve, 200))
  const producer = new Worker(fileURLToPath(import.meta.url), { workerData: { seconds } })
  const cpu = process.cpuUsage()
  const sent = await new Promise<number>((resolve, reject) => producer.once('message', resolve).once('error', reject))
  await until('all received', () => received >= sent, 20_000)
  const used = process.cpuUsage(cpu)
  reader.abort()
  await Promise.allSettled(reading)
  stop.abort()
  await running
  await rm(dir, { recursive: true, force: true })
  console.log(JSON.stringify({
    bench: 'devices',
    readingsPerSecond: Math.round(sent / seconds),
    lost: sent - received,
    cpuMicrosPerReading: Math.round((used.user + used.system) / sent),
    sets: SETS,
    setToReportedMs: { p50: round(times[Math.floor(SETS / 2)]), p99: round(times[Math.floor(SETS * 0.99)]) },
  }))
}

function reportedOf(api: FakeApi): unknown {
  const object = api.objects.get('/apis/devices.kubeedge.io/v1beta1/namespaces/default/devices/d0') as DeviceObject | undefined
  return object?.status?.twins?.find((t) => t.propertyName === 'set')?.reported?.value
}

function device(d: number, desired: number): DeviceObject {
  return {
    metadata: { name: `d${d}`, namespace: 'default', generation: 1 },
    spec: {
      deviceModelRef: { name: 'm' },
      nodeName: 'n1',
      properties: [
        { name: 'value', reportToCloud: false, visitors: { configData: { topic: 'd/{device}/value'.replace('{device}', String(d)) } } },
        { name: 'set', ...(desired > 0 && { desired: { value: desired } }), visitors: { configData: { topic: `d/${d}/state`, setTopic: `d/${d}/set` } } },
      ],
    },
  }
}

function round(ms: number | undefined): number {
  return Math.round((ms ?? 0) * 100) / 100
}
