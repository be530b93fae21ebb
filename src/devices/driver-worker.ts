/**
 * A driver's own thread: loads one driver, opens devices with it, polls what is not pushed, and passes readings on in batches
 * within a window. Nothing here trusts the driver: it may throw anywhere, flood, or never answer; when it blocks the thread
 * the mapper ends it. Started by `driver-host.ts` (bundle name `driver-host`).
 */
import { parentPort, workerData, type MessagePort } from 'node:worker_threads'
import { AppError, messageOf } from '../base/errors.ts'
import { setLogSink } from '../base/log.ts'
import type { Publication } from './app-topics.ts'
import type { Broker } from './broker.ts'
import type { DeviceConfig, DeviceValue, Driver, DriverHost, DriverSession, PropertyConfig, Reading } from './driver.ts'
import { WINDOW_BYTES, WINDOW_READINGS, type DriverWorkerData, type FromWorker, type Request, type ToWorker } from './driver-messages.ts'
import { loadDriver } from './drivers/list.ts'

const REFUSED_EVERY_MS = 1000
const POLL_DEADLINE_MS = 5000

interface Opened {
  readonly config: DeviceConfig
  session: DriverSession | undefined
  readonly end: AbortController
  /** Readings sent and not yet taken, oldest first. */
  readonly window: { n: number; bytes: number; done: () => void }[]
  windowBytes: number
  next: number
  refused: { what: string; times: number } | undefined
}

const port = parentPort as MessagePort
const data = workerData as DriverWorkerData
const opened = new Map<number, Opened>()
const running = new Map<number, AbortController>()
const questions = new Map<number, (namespace: string | undefined) => void>()
let nextQuestion = 1
let outbox: { handle: number; n: number; reading: Reading }[] = []
let broker: Promise<Broker> | undefined
let driver: Promise<Driver> | undefined

const send = (message: FromWorker): void => port.postMessage(message)

function localBroker(): Promise<Broker> {
  const start = async (): Promise<Broker> => {
    const { startBroker } = await import('./broker.ts') // only the MQTT driver's worker pays for it
    return await startBroker(data.broker, { namespaceAt, listening: (anyone) => send({ kind: 'listening', anyone }) })
  }
  broker ??= start().catch((error: unknown) => {
    broker = undefined // the port may be free at the next try
    throw error
  })
  return broker
}

function namespaceAt(ip: string): Promise<string | undefined> {
  const id = nextQuestion++
  send({ kind: 'who', id, ip })
  return new Promise((resolve) => questions.set(id, resolve))
}

async function publish(publications: readonly Publication[]): Promise<void> {
  const started = await broker
  for (const { topic, payload } of publications) await started?.publish(topic, payload)
}

// The agent's log says everything in one form and one place.
setLogSink(({ level, logger, message, fields }) => {
  const plain = Object.fromEntries(Object.entries(fields).map(([k, v]) => [k, v instanceof Error ? messageOf(v) : typeof v === 'object' ? JSON.stringify(v) : v]))
  if (level !== 'debug') send({ kind: 'log', level, logger, message, fields: plain })
})

port.on('message', (message: ToWorker) => {
  switch (message.kind) {
    case 'pod':
      questions.get(message.id)?.(message.namespace)
      return void questions.delete(message.id)
    case 'publish':
      return void publish(message.publications).catch(() => undefined) // a broker that did not start has no listeners
    case 'ping':
      return send({ kind: 'pong' })
    case 'abort':
      return running.get(message.id)?.abort(new AppError('timeout', message.why))
    case 'taken':
      return taken(message.handle, message.upTo)
    case 'request':
      return void answer(message.id, message.handle, message.request)
    default:
      message satisfies never
  }
})

async function answer(id: number, handle: number, request: Request): Promise<void> {
  const abort = new AbortController()
  running.set(id, abort)
  try {
    send({ kind: 'answer', id, value: await act(handle, request, abort.signal) })
  } catch (error) {
    send({ kind: 'answer', id, error: { code: error instanceof AppError ? error.code : 'internal', message: messageOf(error) } })
  } finally {
    running.delete(id)
  }
}

async function act(handle: number, request: Request, signal: AbortSignal): Promise<unknown> {
  if (request.op === 'open') return await openDevice(handle, request.device, signal)
  const device = opened.get(handle)
  if (request.op === 'close') return await closeDevice(handle)
  const session = device?.session
  if (!device || !session) throw new AppError('unavailable', `${request.op}: the device is not open`)
  switch (request.op) {
    case 'read':
      return await session.read(propertyOf(device, request.property), signal)
    case 'write':
      return await session.write(propertyOf(device, request.property), request.value, signal)
    case 'call':
      return await session.call(request.method, request.args, signal)
    default:
      return request satisfies never
  }
}

function propertyOf(device: Opened, name: string): PropertyConfig {
  const property = device.config.properties.find((p) => p.name === name)
  if (!property) throw new AppError('not-found', `device "${device.config.name}" has no property "${name}"`)
  return property
}

async function openDevice(handle: number, config: DeviceConfig, signal: AbortSignal): Promise<void> {
  const loaded = await (driver ??= loadDriver(data.protocol, localBroker, data.module))
  const wrong = loaded.validate(config)
  if (wrong.length > 0) throw new AppError('invalid', wrong.join('; '))
  const device: Opened = { config, session: undefined, end: new AbortController(), window: [], windowBytes: 0, next: 1, refused: undefined }
  opened.set(handle, device)
  try {
    device.session = await loaded.open(config, hostOf(handle, device), signal)
    const pushed = new Set(await device.session.subscribe(config.properties))
    // A device without any address on it for a property (no visitor) has nothing to poll.
    for (const p of config.properties) if (!pushed.has(p.name)) void poll(handle, device, p)
  } catch (error) {
    await closeDevice(handle)
    throw error
  }
}

async function closeDevice(handle: number): Promise<void> {
  const device = opened.get(handle)
  if (!device) return
  opened.delete(handle)
  device.end.abort()
  for (const waiting of device.window.splice(0)) waiting.done()
  await device.session?.close()
}

function hostOf(handle: number, device: Opened): DriverHost {
  return {
    brokerUrl: `mqtt://${data.broker.host ?? '127.0.0.1'}:${data.broker.port ?? 1883}`,
    reading: (reading) => push(handle, device, reading),
    state(state, why) {
      if (opened.has(handle)) send({ kind: 'state', handle, state, why })
    },
    refused: (what) => refuse(handle, device, what),
  }
}

function push(handle: number, device: Opened, reading: Reading): Promise<void> {
  if (opened.get(handle) !== device) return Promise.resolve()
  const bytes = sizeOf(reading.value)
  if (device.window.length >= WINDOW_READINGS || device.windowBytes + bytes > WINDOW_BYTES) {
    refuse(handle, device, `readings come faster than they can be kept (${device.window.length} wait): slow the device down`)
    return Promise.resolve()
  }
  const n = device.next++
  if (outbox.length === 0) setImmediate(flush)
  outbox.push({ handle, n, reading })
  device.windowBytes += bytes
  return new Promise((done) => device.window.push({ n, bytes, done }))
}

function flush(): void {
  const readings = outbox
  outbox = []
  try {
    send({ kind: 'readings', readings })
  } catch {
    // One of them holds what cannot be passed between threads (a function, say): send the others one by one.
    for (const one of readings) {
      try {
        send({ kind: 'readings', readings: [one] })
      } catch (error) {
        const device = opened.get(one.handle)
        if (device) {
          refuse(one.handle, device, `reading of ${one.reading.property}: ${messageOf(error)}`)
          device.window.splice(device.window.findIndex((w) => w.n === one.n), 1)[0]?.done()
        }
      }
    }
  }
}

function taken(handle: number, upTo: number): void {
  const device = opened.get(handle)
  if (!device) return
  let count = 0
  while (count < device.window.length && (device.window[count] as { n: number }).n <= upTo) {
    device.windowBytes -= device.window[count]?.bytes ?? 0
    count++
  }
  for (const waiting of device.window.splice(0, count)) waiting.done()
}

/** At most one message a second a device, with a count, so that garbage at line rate costs next to nothing. */
function refuse(handle: number, device: Opened, what: string): void {
  if (device.refused) {
    device.refused.what = what
    device.refused.times++
    return
  }
  send({ kind: 'refused', handle, what, times: 1 })
  device.refused = { what, times: 0 }
  setTimeout(() => {
    const { refused } = device
    device.refused = undefined
    if (refused && refused.times > 0 && opened.has(handle)) send({ kind: 'refused', handle, ...refused })
  }, REFUSED_EVERY_MS).unref()
}

async function poll(handle: number, device: Opened, property: PropertyConfig): Promise<void> {
  const { signal } = device.end
  for (let failing = false; !signal.aborted; ) {
    const start = performance.now()
    try {
      const value = await (device.session as DriverSession).read(property, AbortSignal.any([signal, AbortSignal.timeout(POLL_DEADLINE_MS)]))
      if (failing && !signal.aborted) send({ kind: 'state', handle, state: 'online', why: '' })
      failing = false
      await push(handle, device, { property: property.name, value, timeMs: Date.now() })
    } catch (error) {
      if (error instanceof AppError && error.code === 'unsupported') return
      if (!failing && !signal.aborted) send({ kind: 'state', handle, state: 'unhealthy', why: `read ${property.name}: ${messageOf(error)}` })
      failing = true
    }
    const wait = Math.max(10, (property.collectCycleMs ?? 1000) - (performance.now() - start))
    await new Promise<void>((resolve) => {
      const timer = setTimeout(end, wait)
      signal.addEventListener('abort', end, { once: true })
      function end(): void {
        clearTimeout(timer)
        signal.removeEventListener('abort', end)
        resolve()
      }
    })
  }
}

function sizeOf(value: DeviceValue): number {
  return 'bytes' in value ? value.bytes.length : typeof value.json === 'string' ? value.json.length : 64
}
