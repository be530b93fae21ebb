/**
 * The local bus: what apps on this node see of devices (`SKERRY_BUS_URL` is its prefix). A pod sees the devices of its own
 * namespace that are bound to this node.
 *
 * - GET  /devices                                  list: name, model, state, labels, annotations, properties with newest values
 * - GET  /devices/{name}                           one of them
 * - GET  /devices/{name}/properties/{prop}         newest value; `?fresh=true` asks the device
 * - PUT  /devices/{name}/properties/{prop}         body {"value": ...}; answers with what the device says
 * - GET  /devices/{name}/streams/{prop}            endless batch records; `after=<seq>` or `cursor=<name>`
 * - POST /devices/{name}/streams/{prop}/ack        body {"cursor": name, "seq": n}
 * - POST /devices/{name}/methods/{method}          body: arguments
 * - GET  /events                                   value changes as server-sent events
 */
import { aborted } from '../base/abort.ts'
import { AppError } from '../base/errors.ts'
import { readJson } from '../base/read-body.ts'
import { BATCH_CONTENT_TYPE, encodeRecord, type BoundedLog } from '../telemetry/mod.ts'
import type { DeviceUnit, LastValue } from './device-unit.ts'
import type { DeviceValue } from './driver.ts'
import { writePatiently, type LocalHandler, type LocalRequest } from './local-http.ts'
import type { Streams } from './streams.ts'

const BODY_MAX = 1 << 20
const READ_BYTES = 1 << 20
/** Unread bytes of an event listener; over it changes are left out, and it is told how many. */
const LISTENER_MAX = 256 << 10

export interface BusDevices {
  /** Devices of a namespace on this node. */
  list(namespace: string): readonly DeviceUnit[]
  get(namespace: string, name: string): DeviceUnit | undefined
}

interface Listener {
  readonly namespace: string
  readonly request: LocalRequest
  missed: number
}

/** Answers pods, and passes value changes on to those that listen. */
export class Bus {
  readonly #devices: BusDevices
  readonly #streams: Streams
  readonly #listeners = new Set<Listener>()

  constructor(devices: BusDevices, streams: Streams) {
    this.#devices = devices
    this.#streams = streams
  }

  /** Tells listeners of a change. */
  changed(unit: DeviceUnit, property: string, { value, timeMs }: LastValue): void {
    if (this.#listeners.size === 0) return
    const { namespace, name } = unit.device.metadata ?? {}
    this.#tell(namespace ?? '', 'value', { device: name, property, value, timeMs })
  }

  /** Tells listeners that a device came or went. */
  stateChanged(unit: DeviceUnit): void {
    const { namespace, name } = unit.device.metadata ?? {}
    this.#tell(namespace ?? '', 'state', { device: name, state: unit.state })
  }

  readonly handler: LocalHandler = async (request) => {
    const [top, name, what, part, action, ...rest] = request.parts
    const { method, caller } = request
    if (top === 'events' && name === undefined && method === 'GET') return await this.#events(request)
    if (top !== 'devices' || rest.length > 0) throw new AppError('not-found', `nothing is at "${request.parts.join('/')}" on the bus, try devices or events`)
    if (name === undefined && method === 'GET') return { items: this.#devices.list(caller.namespace).map(describe) }
    const unit = this.#devices.get(caller.namespace, name ?? '')
    if (!unit) {
      const there = this.#devices.list(caller.namespace).map((u) => u.device.metadata?.name)
      throw new AppError('not-found', `no device "${name}" of namespace "${caller.namespace}" is on this node, there are ${there.join(', ') || 'none'}`)
    }
    const route = `${method} ${what ?? ''}${part === undefined ? '' : '/*'}${action === undefined ? '' : `/${action}`}`
    switch (route) {
      case 'GET ':
        return describe(unit)
      case 'GET properties/*':
        return await this.#read(unit, part as string, request)
      case 'PUT properties/*':
        return await this.#write(unit, part as string, request)
      case 'GET streams/*':
        return await this.#stream(unit, part as string, request)
      case 'POST streams/*/ack':
        return await this.#ack(unit, part as string, request)
      case 'POST methods/*':
        return { result: (await unit.call(part as string, await readJson(request.raw, BODY_MAX), request.signal)) ?? null }
      default:
        throw new AppError('not-found', `${method} "${request.parts.join('/')}" is not something the bus does`)
    }
  }

  async #read(unit: DeviceUnit, property: string, { query, signal }: LocalRequest): Promise<unknown> {
    if (query.get('fresh') === 'true') return { property, ...plain(await unit.read(property, signal)) }
    if (!unit.property(property)) await unit.read(property, signal) // says what there is
    const last = unit.value(property)
    if (!last) throw new AppError('not-found', `property "${property}" has no value yet: the device is ${unit.state}`)
    return { property, ...last }
  }

  async #write(unit: DeviceUnit, property: string, { raw, signal }: LocalRequest): Promise<unknown> {
    const body = await readJson(raw, BODY_MAX)
    if (typeof body !== 'object' || body === null || !('value' in body)) throw new AppError('invalid', `set ${property}: the body must be {"value": ...}`)
    return { property, value: await unit.write(property, body.value, signal) }
  }

  async #logOf(unit: DeviceUnit, name: string): Promise<BoundedLog> {
    const property = unit.property(name)
    if (!property) throw new AppError('not-found', `device "${unit.key}" has no property "${name}", it has ${unit.properties.map((p) => p.name).join(', ')}`)
    return await this.#streams.open(unit.key, property)
  }

  async #stream(unit: DeviceUnit, property: string, { query, response, signal }: LocalRequest): Promise<undefined> {
    const log = await this.#logOf(unit, property)
    const cursor = query.get('cursor')
    let after = cursor === null ? whole(query.get('after') ?? '0', 'after') : log.acked(cursorName(cursor))
    if (after > log.last) throw new AppError('conflict', `after=${after} is ahead of the stream's ${log.last}: it was made anew, start from 0`)
    if (cursor !== null) await log.ack(cursor, 0) // known from now on: what it has not acked counts
    response.writeHead(200, { 'content-type': BATCH_CONTENT_TYPE, 'x-skerry-epoch': log.epoch, 'cache-control': 'no-store' })
    response.flushHeaders()
    while (await log.waitFor(after, signal)) {
      for (const record of await log.read(after, READ_BYTES)) {
        if (!(await writePatiently(response, encodeRecord(record), signal))) return undefined
        after = record.seq
      }
    }
    response.end()
    return undefined
  }

  async #ack(unit: DeviceUnit, property: string, { raw }: LocalRequest): Promise<unknown> {
    const log = await this.#logOf(unit, property)
    const body = (await readJson(raw, BODY_MAX)) as { cursor?: unknown; seq?: unknown } | null
    const seq = whole(String(body?.seq), 'seq')
    if (seq > log.last) throw new AppError('conflict', `ack ${seq}: the stream has only come to ${log.last}`)
    const cursor = cursorName(body?.cursor)
    await log.ack(cursor, seq)
    return { cursor, acked: log.acked(cursor) }
  }

  async #events(request: LocalRequest): Promise<undefined> {
    const { response, caller, signal } = request
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    response.write(': values as they change\n\n')
    const listener: Listener = { namespace: caller.namespace, request, missed: 0 }
    this.#listeners.add(listener)
    await aborted(signal)
    this.#listeners.delete(listener)
    response.end()
    return undefined
  }

  #tell(namespace: string, event: string, data: unknown): void {
    let text: string | undefined
    for (const listener of this.#listeners) {
      if (listener.namespace !== namespace) continue
      const { response } = listener.request
      if (response.writableLength > LISTENER_MAX) {
        listener.missed++
        continue
      }
      if (listener.missed > 0) response.write(`event: missed\ndata: {"changes":${listener.missed}}\n\n`)
      listener.missed = 0
      response.write((text ??= `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`))
    }
  }
}

/** A device as apps see it. */
function describe(unit: DeviceUnit): unknown {
  const { metadata = {}, spec } = unit.device
  return {
    name: metadata.name,
    model: spec?.deviceModelRef?.name,
    state: unit.state,
    labels: metadata.labels ?? {},
    annotations: metadata.annotations ?? {},
    properties: unit.properties.map((p) => ({
      name: p.name,
      type: p.type,
      accessMode: p.accessMode,
      ...(p.unit !== undefined && { unit: p.unit }),
      ...unit.value(p.name),
    })),
  }
}

function plain(value: DeviceValue): Readonly<Record<string, unknown>> {
  return 'json' in value ? { value: value.json } : { base64: Buffer.from(value.bytes).toString('base64'), contentType: value.contentType }
}

function whole(text: string, what: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new AppError('invalid', `${what} is "${text}", it must be a whole number`)
  return Number(text)
}

function cursorName(value: unknown): string {
  if (typeof value !== 'string' || !/^[\w.-]{1,63}$/.test(value)) throw new AppError('invalid', `cursor is ${JSON.stringify(value)}, it must be 1 to 63 letters, digits, ".", "_" or "-"`)
  return value
}

