/**
 * The device layer of a node: follows the Devices bound to it and their models (caches that are filled from disk, so an
 * offline boot works), keeps a {@link DeviceUnit} for each, one driver worker a protocol, the local bus and the collect
 * endpoint. Reaches the API only through the client. Wired by the agent.
 */
import { join } from 'node:path'
import { aborted } from '../base/abort.ts'
import type { Clock } from '../base/clock.ts'
import { hasCode, messageOf } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { Metrics } from '../base/metrics.ts'
import { Scope } from '../base/scope.ts'
import type { CacheSet, Client, EventRecorder } from '../client/mod.ts'
import type { BoundedLog } from '../telemetry/mod.ts'
import type { BrokerOptions } from './broker.ts'
import { publications } from './app-topics.ts'
import { Bus } from './bus.ts'
import { Coalescer } from './coalesce.ts'
import { createCollectHandler } from './collect.ts'
import { DeviceUnit, VALUES_EVERY_MS, type UnitContext } from './device-unit.ts'
import { DriverRunner } from './driver-host.ts'
import { serveLocalHttp, type PodIdentity } from './local-http.ts'
import { mergeDevice } from './model.ts'
import { deviceStatusObject } from './status.ts'
import { Streams } from './streams.ts'
import { DEVICE_MODELS, DEVICE_STATUSES, DEVICES, type DeviceModelObject, type DeviceObject, type DeviceStatusFields, type DeviceStatusObject } from './types.ts'

const log = logger('devices')
/** Port of the local bus and collect endpoint; fixed, because pods keep its address in their environment. */
export const BUS_PORT = 10360

export interface DeviceLayerOptions {
  readonly nodeName: string
  readonly client: Client
  readonly caches: CacheSet
  readonly clock: Clock
  /** `data` survives a reboot, `run` need not; the layer makes `devices` in each. */
  readonly dirs: { readonly data: string; readonly run: string }
  /** The pod bridge's address; `port` @default {@link BUS_PORT} (0 for any, in tests). */
  readonly listen: { readonly host: string; readonly port?: number }
  /** Which pod of this node has this address. */
  readonly identify: (ip: string) => PodIdentity | undefined
  readonly recorder: Pick<EventRecorder, 'event'>
  /** Results on their way to the collector; durability `sync`. Opened and closed by the caller. */
  readonly spool: BoundedLog
  /** The embedded MQTT broker, started when a device needs it. */
  readonly mqtt?: BrokerOptions
  /** Drivers that are not built in: protocol to file URL. */
  readonly drivers?: Readonly<Record<string, string>>
  readonly metrics?: Metrics
  /** Deadline of a driver's answer and its sign of life, ms. @default 10000 and 7500 */
  readonly driverDeadlineMs?: number
  readonly driverPingMs?: number
}

export interface DeviceLayer {
  /** Serves devices until the signal aborts; ends when all it started has ended. */
  run(signal: AbortSignal): Promise<void>
  /** What to put into every container's environment. */
  env(): { readonly SKERRY_BUS_URL: string; readonly SKERRY_COLLECT_URL: string }
  /** The link is back: statuses that wait are written now. */
  kick(): void
  /** Resolves with the port once the bus listens. */
  readonly listening: Promise<number>
  /** Devices on this node now, for node status and tests. */
  devices(): readonly DeviceUnit[]
}

/** Makes the layer; nothing starts before `run`. */
export function createDeviceLayer(options: DeviceLayerOptions): DeviceLayer {
  const { nodeName, client, caches, clock, dirs, recorder, spool } = options
  const devices = client.resource<DeviceObject>(DEVICES)
  const deviceStatuses = client.resource<DeviceStatusObject>(DEVICE_STATUSES)
  const deviceCache = caches.cache<DeviceObject>(DEVICES, { fieldSelector: `spec.nodeName=${nodeName}` })
  const modelCache = caches.cache<DeviceModelObject>(DEVICE_MODELS)
  const streams = new Streams({ dataDir: join(dirs.data, 'devices'), runDir: join(dirs.run, 'devices'), clock })
  const units = new Map<string, DeviceUnit>()
  const runners = new Map<string, DriverRunner>()
  /** Protocols whose driver runs a broker that apps listen to. */
  const listened = new Set<string>()
  const removing = new Set<Promise<void>>()
  const metrics = options.metrics ?? new Metrics()
  const readings = metrics.counter('skerry_device_readings_total', 'Readings taken from devices')
  const refused = metrics.counter('skerry_device_refused_total', 'Inputs from devices that were refused')
  let port = options.listen.port ?? BUS_PORT
  let heard: (port: number) => void = () => undefined
  const listening = new Promise<number>((resolve) => (heard = resolve))

  const statuses = new Coalescer<DeviceStatusFields>({
    clock,
    read: (key) => units.get(key)?.status(),
    async write(key, status) {
      const { namespace, name } = split(key)
      await devices.patch(name, namespace, { status }, 'merge', { subresource: 'status', fieldManager: 'skerry-node' })
      mirrors.changed(key, VALUES_EVERY_MS)
    },
  })
  const mirrors = new Coalescer<DeviceStatusObject>({
    clock,
    concurrency: 1,
    read: (key) => {
      const unit = units.get(key)
      const { namespace = '', name = '', uid } = unit?.device.metadata ?? {}
      return unit && deviceStatusObject(unit.status(), namespace, name, uid)
    },
    async write(key, object) {
      const { namespace, name } = split(key)
      try {
        await deviceStatuses.patch(name, namespace, { status: object.status }, 'merge', { fieldManager: 'skerry-node' })
      } catch (error) {
        if (!hasCode(error, 'not-found')) throw error
        await deviceStatuses.create(object, { fieldManager: 'skerry-node' })
      }
    },
  })

  const bus = new Bus(
    {
      list: (namespace) => [...units.values()].filter((u) => u.device.metadata?.namespace === namespace),
      get: (namespace, name) => units.get(`${namespace}/${name}`),
    },
    streams,
  )

  const context: UnitContext = {
    clock,
    streams,
    recorder,
    open(config, sink) {
      let runner = runners.get(config.protocol)
      if (!runner) {
        runner = new DriverRunner({
          protocol: config.protocol,
          module: options.drivers?.[config.protocol],
          broker: options.mqtt ?? {},
          clock,
          namespaceAt: (ip) => options.identify(ip)?.namespace,
          listening: (anyone) => listens(config.protocol, anyone),
          ...(options.driverDeadlineMs !== undefined && { deadlineMs: options.driverDeadlineMs }),
          ...(options.driverPingMs !== undefined && { pingMs: options.driverPingMs }),
        })
        runners.set(config.protocol, runner)
      }
      return runner.open(config, sink)
    },
    statusChanged: (unit, sinceLastMs) => statuses.changed(unit.key, sinceLastMs),
    valueChanged(unit, property, value, before) {
      bus.changed(unit, property, value)
      if (listened.size === 0) return
      const { namespace = '', name = '' } = unit.device.metadata ?? {}
      const messages = publications(namespace, name, property, value, before)
      for (const protocol of listened) runners.get(protocol)?.publish(messages)
    },
    stateChanged: (unit) => bus.stateChanged(unit),
    counted: (what, times) => (what === 'reading' ? readings : refused).add(times),
  }

  /** A new listener on an embedded broker gets what the values are now; then they come as they change. */
  function listens(protocol: string, anyone: boolean): void {
    if (!anyone) return void listened.delete(protocol)
    listened.add(protocol)
    for (const unit of units.values()) {
      const { namespace = '', name = '' } = unit.device.metadata ?? {}
      const now = unit.properties.flatMap((p) => {
        const value = unit.value(p.name)
        return value ? publications(namespace, name, p.name, value, undefined) : []
      })
      runners.get(protocol)?.publish(now)
    }
  }

  function merged(device: DeviceObject): ReturnType<typeof mergeDevice> {
    const model = device.spec?.deviceModelRef?.name
    return mergeDevice(device, model === undefined ? undefined : modelCache.get(model, device.metadata?.namespace))
  }

  function take(device: DeviceObject): void {
    const key = keyOf(device)
    const unit = units.get(key)
    if (unit && unit.device.metadata?.uid === device.metadata?.uid) return unit.update(device, merged(device))
    if (unit) drop(key)
    const made = new DeviceUnit(key, device, merged(device), context)
    units.set(key, made)
    made.update(device, merged(device))
  }

  function drop(key: string): void {
    const unit = units.get(key)
    if (!unit) return
    units.delete(key)
    statuses.forget(key)
    mirrors.forget(key)
    const work = clean(key, unit).finally(() => removing.delete(work))
    removing.add(work)
  }

  async function clean(key: string, unit: DeviceUnit): Promise<void> {
    try {
      await unit.close()
      if (!units.has(key)) await streams.remove(key) // a device of the same name made meanwhile goes on with the stream
    } catch (error) {
      log.warn('device not cleaned up', { device: key, error: messageOf(error) })
    }
  }

  return {
    listening,
    devices: () => [...units.values()],
    env: () => ({
      SKERRY_BUS_URL: `http://${urlHost(options.listen.host)}:${port}/bus/v1`,
      SKERRY_COLLECT_URL: `http://${urlHost(options.listen.host)}:${port}/collect/v1`,
    }),
    kick() {
      statuses.kick()
      mirrors.kick()
    },
    async run(signal) {
      const scope = new Scope('devices', signal)
      scope.run('bus', (abort) =>
        serveLocalHttp(
          {
            host: options.listen.host,
            port,
            clock,
            identify: options.identify,
            routes: { '/bus/v1': bus.handler, '/collect/v1': createCollectHandler(spool, nodeName, clock) },
          },
          abort,
          (actual) => heard((port = actual)),
        ),
      )
      scope.run('devices', async (abort) => {
        await modelCache.synced(abort) // else every device would be told that its model is missing
        const stops = [
          deviceCache.onChange((now, old) => {
            if (now?.spec?.nodeName === nodeName) take(now)
            else if (now ?? old) drop(keyOf((now ?? old) as DeviceObject))
          }),
          modelCache.onChange((now, old) => {
            const { namespace, name } = (now ?? old)?.metadata ?? {}
            for (const unit of units.values()) {
              if (unit.device.metadata?.namespace === namespace && unit.device.spec?.deviceModelRef?.name === name) unit.update(unit.device, merged(unit.device))
            }
          }),
        ]
        await aborted(abort)
        for (const stop of stops) stop()
      })
      scope.onClose(async () => {
        await Promise.all([...runners.values()].map((r) => r.close()))
        await Promise.all([...units.values()].map((u) => u.close()))
        await Promise.all(removing)
        await statuses.close()
        await mirrors.close()
        await streams.close()
      })
      await scope.done().finally(() => scope.close())
    },
  }
}

function keyOf(device: DeviceObject): string {
  return `${device.metadata?.namespace ?? ''}/${device.metadata?.name ?? ''}`
}

function split(key: string): { namespace: string; name: string } {
  const [namespace = '', name = ''] = key.split('/')
  return { namespace, name }
}

function urlHost(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}
