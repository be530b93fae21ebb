/** The device kinds on the real API server, in one process: KubeEdge's YAML, refusals, columns, node and controller at work. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { loadAll } from 'js-yaml'
import { until } from '../../test/kit/until.ts'
import { GROUP_AUTHENTICATED, GROUP_MASTERS, nodeUser, type UserInfo } from '../api/contract.ts'
import type { KubeObject } from '../api/meta.ts'
import { startHarness } from '../../test/kit/api-harness.ts'
import { systemClock } from '../base/clock.ts'
import { setLogSink } from '../base/log.ts'
import { createCaches, createClient, createInProcessTransport, type Client } from '../client/mod.ts'
import { createMemoryLog } from '../telemetry/mod.ts'
import { createDeviceController } from './controller.ts'
import { applyDeviceCrds } from './crds.ts'
import { createDeviceLayer } from './mapper.ts'
import { DEVICE_MODELS, DEVICE_STATUSES, DEVICES, type DeviceModelObject, type DeviceObject, type DeviceStatusObject } from './types.ts'

setLogSink(() => undefined)
const ADMIN: UserInfo = { name: 'admin', groups: [GROUP_MASTERS, GROUP_AUTHENTICATED] }
const NODES = { group: '', version: 'v1', resource: 'nodes', kind: 'Node', namespaced: false } as const

/** As KubeEdge's documentation has it. */
const KUBEEDGE = `
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: { name: beta1-model, namespace: default }
spec:
  properties:
    - name: temp
      description: beta1-model
      type: INT
      accessMode: ReadWrite
      maximum: "100"
      minimum: "1"
      unit: "Celsius"
  protocol: simulator
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: { name: beta1-device, namespace: default }
spec:
  deviceModelRef: { name: beta1-model }
  nodeName: worker-node1
  methods:
    - name: setValue
      description: setValue
      propertyNames: [temp]
  properties:
    - name: temp
      collectCycle: 2000
      reportCycle: 2000
      desired: { value: "30" }
      reportToCloud: true
      pushMethod:
        mqtt: { address: tcp://127.0.0.1:1883, topic: temp, qos: 0, retained: false }
        dbMethod: { influxdb2: { influxdb2ClientConfig: { url: http://127.0.0.1:8086, org: test-org, bucket: test-bucket } } }
      visitors:
        protocolName: simulator
        configData: { dataType: int }
  protocol:
    protocolName: simulator
    configData: { deviceID: 1, periodMs: 50 }
`

async function boot(t: TestContext) {
  const harness = await startHarness()
  t.after(() => harness[Symbol.asyncDispose]())
  const as = (user: UserInfo): Client => createClient(createInProcessTransport(harness.api.handler, user))
  const client = as(ADMIN)
  await applyDeviceCrds(client)
  await applyDeviceCrds(client) // a second start changes nothing
  await until('kinds are served', async () => (await harness.call('GET', '/apis/devices.kubeedge.io/v1beta1/devices')).status === 200)
  return { harness, client, as }
}

async function apply(client: Client, yaml: string): Promise<void> {
  for (const object of loadAll(yaml) as KubeObject[]) {
    const ref = object.kind === 'Device' ? DEVICES : object.kind === 'DeviceModel' ? DEVICE_MODELS : undefined
    if (ref) await client.resource(ref).create(object, { fieldValidation: 'Strict' })
  }
}

test("KubeEdge's YAML and the example's are accepted as they stand, wrong ones are refused by name", async (t) => {
  const { client, harness } = await boot(t)
  await apply(client, KUBEEDGE)
  for (const file of ['model', 'devices']) await apply(client, readFileSync(new URL(`../../examples/red-light-camera/manifests/${file}.yaml`, import.meta.url), 'utf8'))
  const models = client.resource<DeviceModelObject>(DEVICE_MODELS)
  await assert.rejects(models.create({ metadata: { name: 'm', namespace: 'default' }, spec: { properties: [{ name: 'x', type: 'TEXT' }] } }), /spec.properties\[0\].type: Unsupported value: "TEXT"/)
  await assert.rejects(models.create({ metadata: { name: 'm', namespace: 'default' }, spec: { properties: [{ type: 'INT' } as never] } }), /name/)
  const table = await harness.call<{ columnDefinitions: { name: string }[]; rows: { cells: unknown[] }[] }>('GET', '/apis/devices.kubeedge.io/v1beta1/namespaces/default/devices', undefined, { headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' } })
  assert.deepEqual(table.body.columnDefinitions.map((c) => c.name).slice(0, 6), ['Name', 'Model', 'Node', 'State', 'Last-Seen', 'Values'])
  assert.deepEqual(table.body.rows[0]?.cells.slice(0, 3), ['beta1-device', 'beta1-model', 'worker-node1'])
})

test('as a node may: the layer writes state and values, and KubeEdge’s DeviceStatus; the controller writes conditions beside', { timeout: 20_000 }, async (t) => {
  const { client, as } = await boot(t)
  await client.resource(NODES).create({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'worker-node1' } })
  await apply(client, KUBEEDGE)
  const devices = client.resource<DeviceObject>(DEVICES)
  const dir = await mkdtemp(join(tmpdir(), 'skerry-crds-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  const stop = new AbortController()
  const node = as(nodeUser('worker-node1'))
  const nodeCaches = createCaches(node)
  const caches = createCaches(client)
  const events: string[] = []
  const recorder = { event: (_about: unknown, _type: string, reason: string, message: string) => void events.push(`${reason}: ${message}`) }
  const layer = createDeviceLayer({
    nodeName: 'worker-node1',
    client: node,
    caches: nodeCaches,
    clock: systemClock,
    dirs: { data: dir, run: dir },
    listen: { host: '127.0.0.1', port: 0 },
    identify: () => undefined,
    recorder,
    spool: createMemoryLog({ maxBytes: 1 << 20 }),
  })
  const controller = createDeviceController({ client, caches, clock: systemClock, recorder })
  const running = Promise.all([nodeCaches.run(stop.signal), caches.run(stop.signal), layer.run(stop.signal), controller.run(stop.signal)])
  t.after(async () => {
    stop.abort()
    await running
  })
  const status = async () => (await devices.get('beta1-device', 'default')).status
  await until('desired taken', async () => (await status())?.twins?.[0]?.reported?.value === 30, 10_000)
  const now = await until('online and valid', async () => {
    const s = await status()
    return s?.state === 'online' && s.conditions?.some((c) => c.type === 'Valid' && c.status === 'True') ? s : undefined
  })
  assert.equal(now.summary, 'temp=30')
  assert.match(now.lastOnlineTime ?? '', /^\d{4}-.*Z$/)
  const mirror = await until('DeviceStatus', async () => client.resource<DeviceStatusObject>(DEVICE_STATUSES).get('beta1-device', 'default').catch(() => undefined))
  assert.equal(mirror.status?.twins?.[0]?.observedDesired?.value, '30')
  assert.equal(mirror.metadata?.ownerReferences?.[0]?.kind, 'Device')

  await devices.patch('beta1-device', 'default', { spec: { nodeName: 'worker-node1', deviceModelRef: { name: 'gone' } } }, 'merge')
  const wrong = await until('invalid', async () => (await status())?.conditions?.find((c) => c.type === 'Valid' && c.status === 'False'))
  assert.equal(wrong.reason, 'ModelMissing')
  assert.ok(events.some((e) => /^ModelMissing: DeviceModel "gone" does not exist/.test(e)), events.join('\n'))
  assert.equal((await status())?.conditions?.length, 2, 'node and controller do not overwrite each other')
})
