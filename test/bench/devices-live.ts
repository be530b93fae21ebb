/** Section `devices`: settings through the API to a device and back, and readings a node takes, with real processes and broker. */
import { join } from 'node:path'
import { ROOT } from '../../tools/files.ts'
import { DEVICE_MODELS, DEVICES, type DeviceModelObject, type DeviceObject } from '../../src/devices/mod.ts'
import { lastJson } from './children.ts'
import { cpuSecondsOf, memoryOf, memoryText, ms, quantile, type Effort, type Figures } from './measure.ts'
import { BenchSite, eventually } from './site.ts'

const IDS = Array.from({ length: 10 }, (_, i) => `dev-${i}`)
const SCRIPT = join(ROOT, 'test/bench/device-process.ts')

/** One node with ten MQTT devices. */
export async function devicesLive(effort: Effort): Promise<Figures> {
  const inProcess = await lastJson('devices.ts', [String(effort.seconds)])
  const site = await BenchSite.create(['n'])
  try {
    await site.startServer()
    await site.startAgent('n', await site.token('n'))
    await site.client.resource<DeviceModelObject>(DEVICE_MODELS).create(MODEL)
    for (const id of IDS) await site.client.resource<DeviceObject>(DEVICES).create(device(id))
    const broker = `mqtt://${site.lab.host('n').address}:1883`
    const node = (...args: string[]): [string, string, readonly string[]] => ['n', join(ROOT, 'bin/node'), [SCRIPT, broker, ...args]]
    await eventually('broker', async () => (await site.lab.exec(site.lab.host('n'), 'ss', ['-Hltn', 'sport', '=', ':1883'])) !== '')
    const echo = site.run('echo', ...node('echo', IDS[0] ?? ''))
    await new Promise<void>((resolve, reject) => echo.stdout?.once('data', () => resolve()).once('end', () => reject(new Error('start device: it ended'))))

    const sets = await measureSets(site, effort.sets)
    const pid = site.pid('n')
    const cpu = cpuSecondsOf(pid)
    const producer = site.run('producer', ...node('readings', String(effort.seconds * 2), ...IDS))
    let text = ''
    for await (const chunk of producer.stdout ?? []) text += String(chunk)
    const taken = Number(text)
    if (!(taken > 0)) throw new Error(`send readings: the devices said "${text}"`)
    const micros = ((cpuSecondsOf(pid) - cpu) * 1e6) / taken
    const alone = inProcess as { readingsPerSecond: number; lost: number; setToReportedMs: { p50: number; p99: number } }
    return {
      method: `settings: PATCH of a desired value by a client of the API until its watch shows the device's answer as reported, ${effort.sets} one after another, over server, node, broker and an MQTT device in its own process; readings: ten devices, ${effort.seconds * 2} s, QoS 1, each acknowledged only when the driver has taken it, sender on the same two cores; the device layer alone: one process, readings read by an app from the bus (test/bench/devices.ts)`,
      rows: [
        { what: 'desired value set to reported, through server and node', ours: `p50 ${ms(quantile(sets, 0.5))}, p99 ${ms(quantile(sets, 0.99))}`, others: 'KubeEdge: none published' },
        { what: 'the same in the device layer alone', ours: `p50 ${ms(alone.setToReportedMs.p50)}, p99 ${ms(alone.setToReportedMs.p99)}` },
        { what: 'readings a node takes', ours: `${Math.round(taken / (effort.seconds * 2))} a second, ${Math.round(micros)} us of CPU each`, others: 'KubeEdge: 30 devices x 3 a second overloaded its API server (users)' },
        { what: 'readings through the device layer alone to an app', ours: `${alone.readingsPerSecond} a second, ${alone.lost} lost` },
        { what: 'agent memory after that, ten devices', ours: memoryText(memoryOf(pid)) },
      ],
    }
  } finally {
    await site.close()
  }
}

const MODEL: DeviceModelObject = {
  metadata: { name: 'bench', namespace: 'default' },
  spec: { protocol: 'mqtt', properties: [{ name: 'value', type: 'INT' }, { name: 'set', type: 'INT', accessMode: 'ReadWrite' }] },
}

function device(id: string): DeviceObject {
  const visitors = (configData: Readonly<Record<string, unknown>>): { protocolName: string; configData: Readonly<Record<string, unknown>> } => ({ protocolName: 'mqtt', configData })
  return {
    metadata: { name: id, namespace: 'default' },
    spec: {
      deviceModelRef: { name: 'bench' },
      nodeName: 'n',
      protocol: { protocolName: 'mqtt' },
      properties: [
        { name: 'set', reportToCloud: true, desired: { value: '0' }, visitors: visitors({ topic: `${id}/state`, setTopic: `${id}/set` }) },
        { name: 'value', reportToCloud: false, visitors: visitors({ topic: `${id}/value` }) },
      ],
    },
  }
}

/** Sets one value after another; how long each took until it stood there as reported, ms. */
async function measureSets(site: BenchSite, sets: number): Promise<number[]> {
  const devices = site.client.resource<DeviceObject>(DEVICES)
  const name = IDS[0] ?? ''
  const { metadata } = await devices.get(name, 'default')
  let wanted = ''
  let answered = Promise.withResolvers<void>()
  const stop = new AbortController()
  const watching = (async () => {
    const from = metadata?.resourceVersion
    for await (const event of devices.watch({ namespace: 'default', fieldSelector: `metadata.name=${name}`, ...(from === undefined ? {} : { resourceVersion: from }) }, AbortSignal.any([stop.signal, AbortSignal.timeout(120_000)]))) {
      if (event.type === 'BOOKMARK') continue
      if (String(event.object.status?.twins?.find((t) => t.propertyName === 'set')?.reported?.value) === wanted) answered.resolve()
    }
  })()
  watching.then(
    () => answered.reject(new Error(`set device "${name}": the watch ended before "${wanted}" was reported`)),
    (error: unknown) => answered.reject(error),
  )
  const times: number[] = []
  for (let i = 1; i <= sets; i++) {
    wanted = String(i)
    answered = Promise.withResolvers<void>()
    const begin = performance.now()
    await devices.patch(name, 'default', [{ op: 'replace', path: '/spec/properties/0/desired/value', value: wanted }], 'json')
    await answered.promise
    times.push(performance.now() - begin)
  }
  answered.promise.catch(() => {}) // The end of the watch below is no failure any more.
  stop.abort()
  await watching.catch(() => {})
  return times
}
