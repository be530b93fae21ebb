/** Devices that are declared wrongly, speak garbage, fall silent or cannot be reached: seen where a user looks, and no harm to the rest. */
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { cannotRunContainers } from '../kit/containerd.ts'
import { Site } from '../kit/processes.ts'
import { until } from '../kit/until.ts'

const PUBLISH = '/usr/bin/mosquitto_pub'
const skip = cannotRunContainers() || (!existsSync(PUBLISH) && 'needs mosquitto_pub: apt-get install -y mosquitto-clients')

const property = (name: string, type: string, more = ''): string =>
  `    - { name: ${name}, type: ${type}, accessMode: ReadWrite${more}, visitors: { protocolName: mqtt, configData: { topic: "sensors/{device}/${name}", setTopic: "sensors/{device}/${name}/set" } } }\n`
const model = (name: string): string => `---
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: { name: ${name} }
spec:
  protocol: mqtt
  properties:
${property('temperature', 'FLOAT')}${property('fps', 'INT', ', minimum: "1", maximum: "30"')}`
const device = (name: string, more: string, modelName = 'thermo'): string => `---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: { name: ${name} }
spec: { deviceModelRef: { name: ${modelName} }, ${more} }
`

// Beside each other: each has devices of its own, and most of the time is waiting.
describe('devices', { skip, concurrency: 3 }, () => {
  let site: Site
  let squatter: ChildProcess

  before(async () => {
    site = await Site.create({ name: 'bi-dev', port: 7520, lab: { name: 'bi', block: 248, hosts: ['n1', 'n2'] } })
    await site.startServer()
    // Another program sits on n2's MQTT port.
    squatter = site.lab.spawn(site.lab.host('n2'), process.execPath, ['-e', `require('net').createServer(s=>s.end()).listen(1883,()=>console.log('up'))`], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(squatter.stdout!, 'data')
    for (const n of ['n1', 'n2']) site.agent(n, { token: await site.token('--node', n) })
    await site.kubectlUntil(/n1 +Ready[^]*n2 +Ready/, ['get', 'nodes'])
    const applied = await site.apply(
      [
        model('thermo'),
        device('steady', 'nodeName: n1, protocol: { protocolName: mqtt, configData: { silentAfterMs: 4000 } }'),
        device('noisy', 'nodeName: n1, protocol: { protocolName: mqtt, configData: { silentAfterMs: 0 } }'),
        device('no-model', 'nodeName: n1', 'termo'),
        device('no-node', 'nodeName: n7'),
        device('wrong-type', 'nodeName: n1, properties: [{ name: fps, desired: { value: "fast" } }, { name: temprature }]'),
        device('out-of-range', 'nodeName: n1, properties: [{ name: fps, desired: { value: "300" } }]'),
        device('no-port', 'nodeName: n2'),
      ].join(''),
    )
    assert.equal(applied.code, 0, applied.err)
    await until('a broker on n1', () => publish('n1', 'nobody', 'knocks', '-m', '1').then(() => true, () => false), 30_000)
  })
  after(async () => {
    squatter?.kill('SIGKILL')
    await site?.close()
  })

  const publish = (host: string, name: string, prop: string, ...args: string[]): Promise<string> =>
    site.lab.exec(site.lab.host(host), PUBLISH, ['-h', '127.0.0.1', '-q', '1', '-t', `sensors/${name}/${prop}`, ...args])
  const describeIt = (name: string, what: RegExp): Promise<string> => site.kubectlUntil(what, ['describe', 'device', name])
  const reported = async (name: string): Promise<unknown> => {
    const { status } = JSON.parse((await site.kubectl('get', 'device', name, '-o', 'json')).out) as { status?: { twins?: { propertyName: string; reported?: { value: unknown } }[] } }
    return status?.twins?.find((t) => t.propertyName === 'temperature')?.reported?.value
  }

  test('a model or node that is not there is named in describe, Events and get, and mending it is enough', async () => {
    const noModel = 'DeviceModel "termo" does not exist in namespace "default": create it, or correct spec.deviceModelRef.name'
    const noNode = 'node "n7" does not exist: correct spec.nodeName, or join the node'
    await describeIt('no-model', new RegExp(`Reason: +ModelMissing[^]*Warning +ModelMissing .*${noModel}`))
    await describeIt('no-node', new RegExp(`Reason: +NodeMissing[^]*Warning +NodeMissing .*${noNode}`))
    const wide = await site.kubectlUntil(/no-model/, ['get', 'devices', '-o', 'wide'])
    assert.match(wide, new RegExp(`^no-model .*False.*${noModel}`, 'm'))
    assert.match(wide, new RegExp(`^no-node .*False.*${noNode}`, 'm'))
    assert.match((await site.kubectl('get', 'devices')).out, /^no-model +termo +n1 .*False/m)
    assert.match((await site.skerry('device', 'get', 'no-node')).out, new RegExp(`not valid: ${noNode}`))

    assert.equal((await site.apply(model('termo'))).code, 0)
    assert.equal((await site.kubectl('patch', 'device', 'no-node', '--type=merge', '-p', '{"spec":{"nodeName":"n1"}}')).code, 0)
    await site.kubectlUntil(/^no-model .*True/m, ['get', 'devices'])
    await site.kubectlUntil(/^no-node .*True/m, ['get', 'devices'])
    await publish('n1', 'no-model', 'temperature', '-m', '7')
    await until('a value of the mended device', async () => (await reported('no-model')) === 7, 60_000)
  })

  test('a desired value of the wrong type or out of range is refused by name; the device goes on', async () => {
    await describeIt('wrong-type', /desired value of fps: "fast" is not an INT: the value on the device stays/)
    await describeIt('wrong-type', /Warning +DesiredInvalid .*fps: "fast" is not an INT/)
    await describeIt('wrong-type', /Warning +PropertyUnknown .*property "temprature" is not in DeviceModel "thermo", which has "temperature", "fps"/)
    await describeIt('out-of-range', /Warning +DesiredInvalid .*fps: 300 is above the maximum 30: the value on the device stays/)
    await publish('n1', 'out-of-range', 'temperature', '-m', '3.5')
    await until('its value all the same', async () => (await reported('out-of-range')) === 3.5, 60_000)

    const set = await site.skerry('device', 'set', 'out-of-range', 'fps', '-5')
    const typed = await site.skerry('device', 'set', 'out-of-range', 'fps', 'many')
    assert.deepEqual([set.code, typed.code], [1, 1])
    assert.match(set.err, /device set: desired value of fps: -5 is below the minimum 1/)
    assert.match(typed.err, /device set: desired value of fps: "many" is not an INT/)
    const unknown = await site.skerry('device', 'set', 'out-of-range', 'fsp', '5')
    assert.match(unknown.err, /device set: "fsp" is not one of fps/)
    assert.equal((await site.skerry('device', 'set', 'out-of-range', 'fps', '12')).code, 0)
    await site.kubectlUntil(/^out-of-range .*True/m, ['get', 'devices'])
  })

  test('a device that falls silent is offline with an Event, and online again with its next word', async () => {
    await publish('n1', 'steady', 'temperature', '-m', '1')
    await site.kubectlUntil(/^steady +thermo +n1 +online/m, ['get', 'devices'])
    const offline = await site.kubectlUntil(/^steady +thermo +n1 +offline/m, ['get', 'devices', '-o', 'wide'])
    assert.match(offline, /^steady .* nothing heard for \d+ s/m)
    assert.match(offline, /^steady .*temperature=1 /m, 'the last value stays')
    await describeIt('steady', /Warning +DeviceOffline .*nothing heard for \d+ s/)
    await publish('n1', 'steady', 'temperature', '-m', '2')
    await site.kubectlUntil(/^steady +thermo +n1 +online/m, ['get', 'devices'])
    await describeIt('steady', /Normal +DeviceOnline/)
  })

  test('garbage and oversized messages are refused, told and counted; the others arrive', async () => {
    const counter = async (name: string): Promise<number> => {
      const { out } = await site.kubectl('get', '--raw', '/api/v1/nodes/n1/proxy/metrics')
      return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(out)?.[1] ?? 0)
    }
    const before = { refused: await counter('skerry_device_refused_total'), taken: await counter('skerry_device_readings_total') }
    const big = join(site.dir, 'big')
    const binary = join(site.dir, 'binary')
    writeFileSync(big, Buffer.alloc(20 << 20, 65))
    writeFileSync(binary, Buffer.from([0xff, 0xfe, 0x00, 0x80]))
    await publish('n1', 'noisy', 'temperature', '-m', '20')
    await publish('n1', 'noisy', 'temperature', '-m', 'hot')
    await describeIt('noisy', /Warning +InputRefused .*message on topic "sensors\/noisy\/temperature": temperature: "hot" is not a FLOAT/)
    await publish('n1', 'noisy', 'temperature', '-f', big)
    await describeIt('noisy', /Warning +InputRefused .*message of 20971520 bytes on topic "sensors\/noisy\/temperature" is over 4194304: send less at once/)
    await publish('n1', 'noisy', 'temperature', '-f', binary)
    await describeIt('noisy', /Warning +InputRefused .*4 bytes that start with 0xfffe0080 are not text/)
    // Bytes that are no MQTT at all cost their own connection, nobody else's.
    const talk = `const s=require('net').connect(1883,'127.0.0.1',()=>s.write('GET / HTTP/1.1\\r\\n\\r\\n'.repeat(1000)));s.on('close',()=>console.log('closed'));s.on('error',()=>{});s.resume();setTimeout(()=>process.exit(),8000).unref()`
    assert.equal((await site.lab.exec(site.lab.host('n1'), process.execPath, ['-e', talk])).trim(), 'closed')
    await publish('n1', 'noisy', 'temperature', '-m', '21')
    await until('the value after the garbage', async () => (await reported('noisy')) === 21, 60_000)
    assert.equal((await counter('skerry_device_refused_total')) - before.refused, 3)
    assert.ok((await counter('skerry_device_readings_total')) - before.taken >= 2)
    assert.match((await site.kubectl('get', 'devices')).out, /^noisy +thermo +n1 +online/m)
  })

  test('a taken MQTT port is told on the device, and is taken as soon as it is free', async () => {
    const taken = /start MQTT broker on \S+:1883: the port is taken: stop the other broker, choose another port, or name the other broker in protocol\.configData\.brokerUrl/
    await describeIt('no-port', new RegExp(`State: +offline[^]*Warning +DeviceOffline .*${taken.source}`))
    assert.match((await site.kubectl('get', 'devices', '-o', 'wide')).out, new RegExp(`^no-port .*${taken.source}`, 'm'))
    const ended = once(squatter, 'exit')
    squatter.kill('SIGTERM')
    await ended
    await until('a broker on n2', async () => publish('n2', 'no-port', 'temperature', '-m', '9').then(() => true, () => false), 40_000)
    await until('its value', async () => (await reported('no-port')) === 9, 60_000)
    await site.kubectlUntil(/^no-port +thermo +n2 +online/m, ['get', 'devices'])
  })
})
