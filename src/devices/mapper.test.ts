import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test, type TestContext } from 'node:test'
import mqtt from 'mqtt'
import { FakeApi } from '../../test/kit/fake-api.ts'
import { until } from '../../test/kit/until.ts'
import { systemClock } from '../base/clock.ts'
import { setLogSink } from '../base/log.ts'
import { createCaches, createClient, openFileStash, type Stash } from '../client/mod.ts'
import { createMemoryLog, RecordDecoder, type CollectRecord, type StoredRecord } from '../telemetry/mod.ts'
import { createDeviceLayer, type DeviceLayerOptions } from './mapper.ts'
import { DEVICE_MODELS, DEVICES, type DeviceModelObject, type DeviceObject } from './types.ts'

setLogSink(() => undefined)
const root = await mkdtemp(join(tmpdir(), 'skerry-devices-'))
after(() => rm(root, { recursive: true, force: true }))
const fakeDriver = new URL('./drivers/fake.ts', import.meta.url).href

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

interface Told {
  type: string
  reason: string
  message: string
  name: string | undefined
}

async function boot(t: TestContext, { dir: given, stash, away, ...options }: Partial<DeviceLayerOptions> & { dir?: string; stash?: Stash; away?: boolean } = {}) {
  const api = new FakeApi()
  api.setAway(away === true)
  const client = createClient(api)
  const caches = createCaches(client, stash === undefined ? {} : { stash })
  const devices = client.resource<DeviceObject>(DEVICES)
  const models = client.resource<DeviceModelObject>(DEVICE_MODELS)
  const events: Told[] = []
  const spool = createMemoryLog({ maxBytes: 1 << 24 })
  const dir = given ?? (await mkdtemp(join(root, 'n-')))
  const port = await freePort()
  const stop = new AbortController()
  const layer = createDeviceLayer({
    nodeName: 'n1',
    client,
    caches,
    clock: systemClock,
    dirs: { data: join(dir, 'data'), run: join(dir, 'run') },
    listen: { host: '127.0.0.1', port: 0 },
    identify: (ip) => (ip === '127.0.0.1' ? { namespace: 'default', pod: 'app-1' } : undefined),
    recorder: { event: (about, type, reason, message) => void events.push({ type, reason, message, name: 'name' in about ? about.name : undefined }) },
    spool,
    mqtt: { host: '127.0.0.1', port, maxPayloadBytes: 100_000 },
    drivers: { fake: fakeDriver, fake2: fakeDriver },
    ...options,
  })
  const running = Promise.all([caches.run(stop.signal), layer.run(stop.signal)])
  let stopped = false
  const end = async (): Promise<void> => {
    if (stopped) return
    stopped = true
    stop.abort()
    await running
  }
  t.after(end)
  await layer.listening
  const { SKERRY_BUS_URL: bus, SKERRY_COLLECT_URL: collect } = layer.env()
  const call = async (method: string, url: string, body?: unknown): Promise<{ status: number; json: Record<string, unknown> }> => {
    const response = await fetch(url, { method, ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }) })
    return { status: response.status, json: (await response.json()) as Record<string, unknown> }
  }
  const status = async (name: string) => (await devices.get(name, 'default')).status
  return { api, client, devices, models, events, spool, port, layer, bus, collect, call, status, stop: end, dir }
}

function camera(name: string, desired: Record<string, unknown> = {}): DeviceObject {
  return {
    metadata: { name, namespace: 'default', generation: 1, annotations: { 'skerry.io/place': 'Main Street' } },
    spec: {
      deviceModelRef: { name: 'camera' },
      nodeName: 'n1',
      protocol: { protocolName: 'mqtt', configData: { availabilityTopic: `cameras/${name}/status` } },
      properties: [
        { name: 'frame', visitors: { protocolName: 'mqtt', configData: { topic: `cameras/${name}/frame/{epoch}/{frame}`, contentType: 'image/jpeg', buffer: 'disk' } } },
        { name: 'fps', ...(desired['fps'] !== undefined && { desired: { value: desired['fps'] } }), visitors: { protocolName: 'mqtt', configData: { topic: `cameras/${name}/state/fps`, setTopic: `cameras/${name}/set/fps` } } },
      ],
    },
  }
}

const CAMERA: DeviceModelObject = {
  metadata: { name: 'camera', namespace: 'default' },
  spec: {
    protocol: 'mqtt',
    properties: [
      { name: 'frame', type: 'STREAM', accessMode: 'ReadOnly' },
      { name: 'fps', type: 'INT', accessMode: 'ReadWrite', minimum: '1', maximum: '15' },
    ],
  },
}

/** A camera as the example's: tells its settings, takes new ones, sends frames. */
async function startCamera(t: TestContext, port: number, name: string) {
  const settings: Record<string, number> = { fps: 5 }
  const client = mqtt.connect(`mqtt://127.0.0.1:${port}`, { clientId: name, clean: false, reconnectPeriod: 50, will: { topic: `cameras/${name}/status`, payload: Buffer.from('offline'), qos: 1, retain: true } })
  const tell = (p: string): void => void client.publish(`cameras/${name}/state/${p}`, String(settings[p]), { qos: 1, retain: true })
  client.on('error', () => undefined)
  client.on('connect', () => {
    client.publish(`cameras/${name}/status`, 'online', { qos: 1, retain: true })
    client.subscribe(`cameras/${name}/set/#`, { qos: 1 })
    tell('fps')
  })
  client.on('message', (topic, payload) => {
    const p = topic.split('/').at(-1) as string
    settings[p] = Number(payload.toString())
    tell(p)
  })
  t.after(() => client.endAsync(true))
  return { client, settings, frame: (n: number, size = 2000) => client.publishAsync(`cameras/${name}/frame/e1/${n}`, Buffer.alloc(size, n), { qos: 1 }) }
}

async function readStream(url: string, count: number): Promise<StoredRecord[]> {
  const abort = new AbortController()
  const response = await fetch(url, { signal: abort.signal })
  assert.equal(response.status, 200, await (response.status === 200 ? '' : response.text()))
  const decoder = new RecordDecoder()
  const records: StoredRecord[] = []
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    records.push(...decoder.push(chunk))
    if (records.length >= count) break
  }
  abort.abort()
  return records
}

test('a camera on the embedded broker: desired reaches it and comes back, frames stream to the app, status says so', { timeout: 15_000 }, async (t) => {
  const { devices, models, status, bus, call, port, layer } = await boot(t)
  await models.create(CAMERA)
  await devices.create(camera('cam-1', { fps: '5' }))
  await until('device open', () => layer.devices()[0]?.properties.length === 2)
  const cam = await until('broker', () => startCamera(t, port, 'cam-1').catch(() => undefined))
  await until('online with fps', async () => (await status('cam-1'))?.state === 'online' && (await status('cam-1'))?.summary === 'fps=5')

  const heard: string[] = []
  const app = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`)
  t.after(() => app.endAsync(true))
  app.on('message', (topic, payload) => void heard.push(`${topic} ${payload.toString()}`))
  await app.subscribeAsync(['skerry/devices/default/#', '$hw/events/device/+/+/twin/update/document'], { qos: 1 })
  await until('the value now by MQTT', () => heard.includes('skerry/devices/default/cam-1/fps 5'))

  const before = performance.now()
  await devices.patch('cam-1', 'default', { metadata: { generation: 2 }, spec: { properties: camera('cam-1', { fps: 7 }).spec?.properties } }, 'merge')
  await until('reported', async () => (await status('cam-1'))?.twins?.some((tw) => tw.reported?.value === 7))
  assert.ok(performance.now() - before < 5_000)
  assert.equal(cam.settings['fps'], 7)
  await until('the change by MQTT', () => heard.includes('skerry/devices/default/cam-1/fps 7') && heard.some((h) => /^\$hw\/events\/device\/default\/cam-1\/twin\/update\/document .*"last":\{"actual":\{"value":"5"/.test(h)))

  await until('frames acknowledged', async () => (await Promise.all([1, 2, 3].map((n) => cam.frame(n)))).length === 3)
  const records = await readStream(`${bus}/devices/cam-1/streams/frame?cursor=app`, 3)
  assert.deepEqual(records.map((r) => JSON.parse(r.meta).frame), ['1', '2', '3'])
  assert.equal(JSON.parse(records[0]?.meta ?? '').contentType, 'image/jpeg')
  assert.equal(records[0]?.payload.length, 2000)
  assert.equal((await call('POST', `${bus}/devices/cam-1/streams/frame/ack`, { cursor: 'app', seq: 2 })).status, 200)
  assert.deepEqual((await readStream(`${bus}/devices/cam-1/streams/frame?cursor=app`, 1)).map((r) => r.seq), [3])

  const list = (await call('GET', `${bus}/devices`)).json['items'] as { name: string; model: string; state: string; annotations: Record<string, string>; properties: { name: string; value?: unknown }[] }[]
  assert.equal(list[0]?.model, 'camera')
  assert.equal(list[0]?.state, 'online')
  assert.equal(list[0]?.annotations['skerry.io/place'], 'Main Street')
  assert.equal(list[0]?.properties.find((p) => p.name === 'fps')?.value, 7)
})

test('what is wanted is said again when the device says online, also after a reading made it seem so', { timeout: 15_000 }, async (t) => {
  const { devices, models, status, port, layer } = await boot(t)
  await models.create(CAMERA)
  await devices.create(camera('cam-1', { fps: '9' }))
  await until('device open', () => layer.devices()[0]?.properties.length === 2)
  const early = await until('broker', () => mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, { clientId: 'early' }).catch(() => undefined))
  t.after(() => early.endAsync(true))
  await early.publishAsync('cameras/cam-1/state/fps', '9', { qos: 1 })
  await until('online by its reading', async () => (await status('cam-1'))?.state === 'online')
  const said: string[] = []
  early.on('message', (_topic, payload) => void said.push(payload.toString()))
  await early.subscribeAsync('cameras/cam-1/set/fps', { qos: 1 })
  await early.publishAsync('cameras/cam-1/status', 'online', { qos: 1 })
  await until('fps said again', () => said.includes('9'))
})

test('garbage and oversized messages raise Events and lose nothing; a device whose will says offline is offline', { timeout: 15_000 }, async (t) => {
  const { devices, models, status, events, bus, port, layer } = await boot(t)
  await models.create(CAMERA)
  await devices.create(camera('cam-1'))
  await until('device open', () => layer.devices()[0]?.properties.length === 2)
  const cam = await startCamera(t, port, 'cam-1')
  await until('online', async () => (await status('cam-1'))?.state === 'online')
  await cam.client.publishAsync('cameras/cam-1/state/fps', 'fast', { qos: 1 })
  await cam.frame(1, 300_000)
  await cam.frame(2)
  await until('events', () => events.filter((e) => e.reason === 'InputRefused').length >= 2)
  assert.ok(events.some((e) => /"fast" is not an INT/.test(e.message)))
  assert.ok(events.some((e) => /300000 bytes .* is over 100000/.test(e.message)), JSON.stringify(events))
  assert.deepEqual((await readStream(`${bus}/devices/cam-1/streams/frame`, 1)).map((r) => JSON.parse(r.meta).frame), ['2'])
  cam.client.stream.destroy()
  await cam.client.endAsync(true)
  await until('offline', async () => (await status('cam-1'))?.state === 'offline')
  assert.ok(events.some((e) => e.reason === 'DeviceOffline'))
})

function fake(name: string, protocol: string, config: Record<string, unknown>, desired?: unknown): DeviceObject {
  return {
    metadata: { name, namespace: 'default', generation: 1 },
    spec: {
      deviceModelRef: { name: 'fake' },
      nodeName: 'n1',
      protocol: { protocolName: protocol, configData: config },
      properties: [{ name: 'level', ...(desired !== undefined && { desired: { value: desired } }) }],
    },
  }
}
const FAKE: DeviceModelObject = { metadata: { name: 'fake', namespace: 'default' }, spec: { properties: [{ name: 'level', type: 'INT' }] } }

test('a driver that hangs, crashes or floods leaves the devices of others alone, and is started again', { timeout: 20_000 }, async (t) => {
  const { devices, models, status, events, bus, call, layer } = await boot(t, { driverDeadlineMs: 500, driverPingMs: 300 })
  await models.create(FAKE)
  await devices.create(fake('good', 'fake', {}, 1))
  await until('good is set', async () => (await status('good'))?.twins?.[0]?.reported?.value === 1)
  for (const behave of ['hang', 'crash', 'flood']) {
    await devices.create(fake('bad', 'fake2', { behave }, 2))
    if (behave === 'flood') await until('flood refused', () => events.some((e) => e.name === 'bad' && /faster than they can be kept/.test(e.message)))
    else await until(`${behave} seen`, async () => /has not answered for|driver failed: the driver crashed/.test((await status('bad'))?.message ?? ''))
    const set = (await call('PUT', `${bus}/devices/good/properties/level`, { value: 3 })) // spec says what it is to be
    assert.equal(set.status, 409)
    assert.deepEqual((await call('GET', `${bus}/devices/good/properties/level?fresh=true`)).json, { property: 'level', value: 1 })
    assert.equal((await status('good'))?.state, 'online')
    await devices.delete('bad', 'default')
    await until('bad is gone', () => layer.devices().length === 1)
  }
})

test('what is wanted outlives an outage of device and API, and the newest state is written when it is back', { timeout: 15_000 }, async (t) => {
  const { api, devices, models, status, bus, call, layer } = await boot(t)
  await models.create(FAKE)
  await devices.create(fake('d', 'fake', {}))
  await until('open', async () => (await status('d'))?.state === 'online')
  assert.equal((await call('PUT', `${bus}/devices/d/properties/level`, { value: 4 })).status, 200)
  await until('status', async () => (await status('d'))?.state === 'online')
  api.setAway(true)
  assert.equal((await call('POST', `${bus}/devices/d/methods/offline`, null)).status, 200)
  assert.equal((await call('POST', `${bus}/devices/d/methods/push`, { property: 'level', json: 9 })).status, 200)
  await until('offline here', () => layer.devices()[0]?.state !== undefined)
  api.setAway(false)
  layer.kick()
  await until('told', async () => (await status('d'))?.twins?.[0]?.reported?.value === 9, 12_000)
})

test('mistakes are told: missing model on the device, wrong values on the bus, unknown callers', { timeout: 15_000 }, async (t) => {
  const { devices, models, status, bus, call, collect, spool } = await boot(t)
  await devices.create(fake('d', 'fake', {}))
  await until('message', async () => /DeviceModel "fake" does not exist/.test((await status('d'))?.message ?? ''))
  await models.create(FAKE)
  await until('opens when the model comes', async () => (await status('d'))?.state === 'online')
  const wrong = await call('PUT', `${bus}/devices/d/properties/level`, { value: 'high' })
  assert.equal(wrong.status, 400)
  assert.match(String(wrong.json['message']), /level: "high" is not an INT/)
  assert.equal((await call('GET', `${bus}/devices/e`)).status, 404)
  assert.match(String((await call('GET', `${bus}/devices/d/properties/size`)).json['message']), /it has level/)
  assert.equal((await call('GET', `${bus}/nothing`)).status, 404)

  const good = { id: 'cam/1', time: '2026-01-01T00:00:00Z', data: { a: 1 }, attachments: [{ name: 'p.jpg', contentType: 'image/jpeg', base64: 'AQID' }] }
  const sent = await call('POST', `${collect}/streams/violations/records`, good)
  assert.deepEqual(sent, { status: 202, json: { seq: 1 } })
  const [stored] = await spool.read(0, 1e6)
  const record = JSON.parse(stored?.meta ?? '') as CollectRecord
  assert.deepEqual(record, { id: 'cam/1', stream: 'violations', namespace: 'default', node: 'n1', pod: 'app-1', timeMs: Date.UTC(2026, 0, 1), data: { a: 1 }, attachments: [{ name: 'p.jpg', contentType: 'image/jpeg', size: 3 }] })
  assert.deepEqual([...(stored?.payload ?? [])], [1, 2, 3])
  for (const [body, status, says] of [
    [{ ...good, id: '' }, 400, /id is ""/],
    [{ ...good, time: 'noon' }, 400, /time is "noon"/],
    [{ ...good, node: 'me' }, 400, /field "node" is not known/],
    [{ ...good, data: { x: 'y'.repeat(70_000) } }, 413, /are over 65536/],
    ['{', 400, /not JSON/],
  ] as const) {
    const refused = await call('POST', `${collect}/streams/violations/records`, body)
    assert.equal(refused.status, status)
    assert.match(String(refused.json['message']), says)
  }
})

test('values reach listeners as they change', { timeout: 15_000 }, async (t) => {
  const { devices, models, status, bus, call } = await boot(t)
  await models.create(FAKE)
  await devices.create(fake('d', 'fake', {}))
  await until('open', async () => (await status('d'))?.state === 'online')
  const abort = new AbortController()
  const events = await fetch(`${bus}/events`, { signal: abort.signal })
  let text = ''
  const reading = (async () => {
    for await (const chunk of events.body as unknown as AsyncIterable<Uint8Array>) {
      text += Buffer.from(chunk).toString()
      if (text.includes('"value":12')) return
    }
  })()
  await call('PUT', `${bus}/devices/d/properties/level`, { value: 12 })
  await reading
  abort.abort()
  assert.match(text, /event: value\ndata: \{"device":"d","property":"level","value":12/)
})

test('after a reboot with the server away, devices are open from local state and an app goes on where its cursor stood', { timeout: 15_000 }, async (t) => {
  const dir = await mkdtemp(join(root, 'boot-'))
  const stash = (): ReturnType<typeof openFileStash> => openFileStash(join(dir, 'stash'))
  const first = await stash()
  const one = await boot(t, { dir, stash: first })
  await one.models.create(CAMERA)
  await one.devices.create(camera('cam-1', { fps: 9 }))
  await until('device open', () => one.layer.devices()[0]?.properties.length === 2)
  const cam = await until('broker', () => startCamera(t, one.port, 'cam-1').catch(() => undefined))
  await until('told', async () => (await one.status('cam-1'))?.twins?.[0]?.reported?.value === 9)
  for (const n of [1, 2, 3]) await cam.frame(n)
  await one.call('POST', `${one.bus}/devices/cam-1/streams/frame/ack`, { cursor: 'app', seq: 2 })
  await cam.client.endAsync(true)
  await one.stop()
  await first[Symbol.asyncDispose]()

  const second = await stash()
  t.after(() => second[Symbol.asyncDispose]())
  const two = await boot(t, { dir, stash: second, away: true })
  await until('device from local state', () => two.layer.devices()[0]?.properties.length === 2)
  const again = await until('broker', () => startCamera(t, two.port, 'cam-1').catch(() => undefined))
  await until('the camera has what is wanted of it', () => again.settings['fps'] === 9)
  await again.frame(4)
  assert.deepEqual((await readStream(`${two.bus}/devices/cam-1/streams/frame?cursor=app`, 2)).map((r) => JSON.parse(r.meta).frame), ['3', '4'])
  assert.equal((await two.call('GET', `${two.bus}/devices/cam-1/properties/fps`)).json['value'], 9)
})
