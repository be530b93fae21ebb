/**
 * A week of a node that has lost its server, and one whose link flaps: what waits for the server, for apps and for the disk keeps to its
 * bytes, and the process to its memory. Real files and sockets, a fake clock.
 */
import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { createServer as createHttp2 } from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { FakeClock } from '../../src/base/clock.ts'
import { AppError } from '../../src/base/errors.ts'
import { setLogSink } from '../../src/base/log.ts'
import type { KubeObject } from '../../src/api/meta.ts'
import { Remembered } from '../../src/agent/local-api/remembered.ts'
import { readRequest } from '../../src/agent/local-api/request.ts'
import { createSeal } from '../../src/agent/seal/sealing.ts'
import { openFileStash } from '../../src/client/stash.ts'
import { Bus } from '../../src/devices/bus.ts'
import { Coalescer } from '../../src/devices/coalesce.ts'
import { DeviceUnit } from '../../src/devices/device-unit.ts'
import type { DeviceSink, OpenDevice } from '../../src/devices/driver-host.ts'
import type { LocalRequest } from '../../src/devices/local-http.ts'
import { mergeDevice } from '../../src/devices/model.ts'
import { Streams } from '../../src/devices/streams.ts'
import type { DeviceStatusFields } from '../../src/devices/types.ts'
import { RecordDecoder } from '../../src/telemetry/batch.ts'
import { createForwarder } from '../../src/telemetry/forward.ts'
import { openSegmentLog } from '../../src/telemetry/segment-log.ts'
import { createNodeSession } from '../../src/tunnel/session.ts'
import { frontDoor, H2, Relay, startLink, testHub, testPki } from '../kit/tunnel.ts'
import { until } from '../kit/until.ts'

setLogSink(() => {})
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
const MINUTE = 60_000
/** By so much RSS moves with what the allocator keeps; a MiB lost every other hour of five days would be more. */
const RSS_NOISE = 40 * 2 ** 20

interface Memory {
  readonly held: number
  readonly rss: number
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

async function memory(): Promise<Memory> {
  for (let i = 0; i < 4; i++) {
    await new Promise((resolve) => setTimeout(resolve, 1))
    collect()
  }
  const { heapUsed, external, rss } = process.memoryUsage()
  return { held: heapUsed + external, rss }
}

const mb = ({ held, rss }: Memory): string => `${(held / 2 ** 20).toFixed(2)} MB held, ${(rss / 2 ** 20).toFixed(0)} MB RSS`

/** @param noise what heap and buffers differ by between two collections */
function flat(before: Memory, after: Memory, noise: number, when: string): void {
  assert.ok(after.held - before.held < noise && after.rss - before.rss < RSS_NOISE, `${mb(before)} at first, ${mb(after)} ${when}`)
}

async function bytesIn(directory: string): Promise<number> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const sizes = await Promise.all(entries.filter((e) => e.isFile()).map((e) => stat(join(e.parentPath, e.name)).then((s) => s.size, () => 0)))
  return sizes.reduce((a, b) => a + b, 0)
}

const KIB = 1 << 10
const SPOOL = 512 * KIB
const STREAM = 256 * KIB

/** A camera as its objects say it. */
const MODEL = {
  metadata: { name: 'camera', namespace: 'road' },
  spec: {
    protocol: 'test',
    properties: [
      { name: 'frame', type: 'STREAM', accessMode: 'ReadOnly' },
      { name: 'speed', type: 'INT', accessMode: 'ReadWrite' },
    ],
  },
}
const DEVICE = {
  metadata: { name: 'cam', namespace: 'road', uid: 'u1', generation: 1 },
  spec: {
    nodeName: 'n',
    deviceModelRef: { name: 'camera' },
    properties: [
      { name: 'frame', visitors: { protocolName: 'test', configData: { buffer: 'disk', maxBytes: STREAM } } },
      { name: 'speed', reportToCloud: true, desired: { value: '7' }, visitors: { protocolName: 'test', configData: {} } },
    ],
  },
}

test('a week without the server: spool, streams, statuses, listeners and caches keep to their bytes', { timeout: 300_000 }, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-queues-'))
  const at = (name: string): string => join(directory, name)
  const clock = new FakeClock()
  const stop = new AbortController()
  const seal = createSeal(Buffer.alloc(32, 7))
  let away = true
  const delivered: number[] = []
  const lost: [number, number][] = []

  // What apps hand over waits for the collector.
  const spool = await openSegmentLog({ directory: at('spool'), maxBytes: SPOOL, durability: 'os', seal }, { clock })
  const forwarder = createForwarder({
    spool,
    clock,
    schedule: { firstMs: MINUTE, factor: 2, maxMs: 20 * MINUTE, jitter: 0 },
    async request({ body, headers }) {
      if (away) throw new AppError('unavailable', 'the server is away')
      const records = new RecordDecoder().push(body)
      delivered.push(...records.map((r) => r.seq))
      for (const { fromSeq, toSeq } of JSON.parse(headers['x-skerry-losses'] ?? '[]') as { fromSeq: number; toSeq: number }[]) lost.push([fromSeq, toSeq])
      return { status: 200, headers: {}, body: (async function* () { yield Buffer.from(JSON.stringify({ acked: records.at(-1)?.seq ?? 0 })) })() }
    },
  })
  const forwarding = forwarder.run(stop.signal)

  // A device that says much and takes nothing, an app that listens and does not read, one that reads a stream and never acknowledges.
  const streams = new Streams({ dataDir: at('data'), runDir: at('run'), clock })
  let sink: DeviceSink | undefined
  let statusWrites = 0
  let told: DeviceStatusFields | undefined
  const statuses = new Coalescer<DeviceStatusFields>({
    clock,
    read: () => unit.status(),
    async write(_key, status) {
      statusWrites++
      if (away) throw new AppError('unavailable', 'the server is away')
      told = status
    },
  })
  const bus = new Bus({ list: () => [unit], get: () => unit }, streams)
  const opened: OpenDevice = {
    read: () => Promise.reject(new AppError('unsupported', 'it is only pushed')),
    write: () => Promise.reject(new AppError('timeout', 'the device does not answer')),
    call: () => Promise.reject(new AppError('unsupported', 'it has no methods')),
    close: () => Promise.resolve(),
  }
  const unit = new DeviceUnit('road/cam', DEVICE as never, mergeDevice(DEVICE as never, MODEL as never), {
    clock,
    streams,
    recorder: { event: () => undefined },
    open: (_config, s) => ((sink = s), opened),
    statusChanged: (u, sinceLastMs) => statuses.changed(u.key, sinceLastMs),
    valueChanged: (u, property, value) => bus.changed(u, property, value),
    stateChanged: (u) => bus.stateChanged(u),
    counted: () => undefined,
  })
  unit.update(DEVICE as never, mergeDevice(DEVICE as never, MODEL as never))
  // As a socket keeps it: text, until the other side takes it.
  const unread = Object.assign(new Writable({ decodeStrings: false, write: () => undefined }), { writeHead: () => undefined })
  const asked = { method: 'GET', parts: ['events'], query: new URLSearchParams(), caller: { namespace: 'road', pod: 'app' }, response: unread, raw: undefined, signal: stop.signal }
  const listening = bus.handler(asked as unknown as LocalRequest)
  sink?.opened()
  const frames = await streams.open('road/cam', unit.property('frame') as never)
  await frames.ack('app', 0)

  // What the node knows on its disk.
  const stash = await openFileStash(at('caches'), { clock, seal: (b) => seal.seal(b), open: (b) => seal.open(b) })
  const remembered = new Remembered({ directory: at('remembered'), clock, seal })
  const pod = (i: number, round: number): KubeObject => ({ kind: 'Pod', apiVersion: 'v1', metadata: { name: `p${i}`, namespace: 'road', resourceVersion: String(round), annotations: { round: String(round), pad: 'x'.repeat(500) } } })
  stash.replace('pods', { resourceVersion: '1', objects: Array.from({ length: 40 }, (_, i) => pod(i, 0)) })

  let minutes = 0
  const step = async (): Promise<void> => {
    minutes += 20
    sink?.state('online', '')
    for (let i = 0; i < 3; i++) {
      await spool.append({ meta: JSON.stringify({ id: `r${minutes}-${i}` }), payload: Buffer.alloc(2 * KIB, minutes % 251) })
      await sink?.reading({ property: 'frame', timeMs: clock.now(), value: { bytes: Buffer.alloc(4 * KIB, i), contentType: 'image/jpeg' } })
    }
    for (let i = 0; i < 9; i++) await sink?.reading({ property: 'speed', timeMs: clock.now(), value: { json: minutes + i } })
    for (let i = 0; i < 4; i++) stash.append('pods', `road/p${(minutes / 20 + i) % 40}`, pod((minutes / 20 + i) % 40, minutes))
    stash.progress('pods', String(minutes))
    // Clients that each ask for something else.
    const url = `/api/v1/namespaces/road/pods?labelSelector=round%3D${minutes}`
    const follower = remembered.follow(readRequest('GET', url) as never, 200, 'application/json')
    follower?.add(Buffer.from(JSON.stringify({ kind: 'PodList', apiVersion: 'v1', metadata: { resourceVersion: '1' }, items: [pod(1, minutes)] })))
    follower?.end()
    await clock.advance(20 * MINUTE)
    await turn()
  }
  const days = async (n: number): Promise<void> => {
    for (let i = 0; i < n * 72; i++) await step()
    await Promise.all([stash.flush(), remembered.flush()])
  }
  try {
    await days(2)
    const early = await memory()
    const timers = clock.pending
    await days(5)
    const week = await memory()
    t.diagnostic(`${mb(early)} after two days, ${mb(week)} after a week`)
    flat(early, week, 2 ** 20, 'after a week')
    assert.ok(clock.pending <= timers + 2, `${clock.pending} timers, ${timers} after two days`)

    const disk = { spool: await bytesIn(at('spool')), streams: await bytesIn(at('data')), caches: await bytesIn(at('caches')), remembered: await bytesIn(at('remembered')) }
    t.diagnostic(`bytes on disk: ${JSON.stringify(disk)}; ${unread.writableLength} unread by the listener, ${statusWrites} tries of a status`)
    const STATE = 8 * KIB
    assert.ok(spool.last * 2 * KIB > 4 * SPOOL && frames.last * 4 * KIB > 4 * STREAM, 'all went over their limits')
    assert.ok(unread.writableLength >= 250 * KIB, 'the listener too')
    assert.ok(spool.usage('collector').bytes <= SPOOL && disk.spool <= SPOOL + STATE, `spool: ${disk.spool} bytes`)
    assert.ok(disk.streams <= STREAM + STATE, `streams: ${disk.streams} bytes`)
    assert.ok(disk.caches <= 3 * 64 * KIB, `caches of 40 objects: ${disk.caches} bytes`)
    assert.ok((await readdir(at('remembered'))).length <= 64, 'what clients asked for')
    assert.ok(unread.writableLength <= (256 + 32) * KIB, 'a listener that does not read')
    assert.ok(spool.ledger().length < 20, `what was lost is ${spool.ledger().length} rows`)

    // It is back: all that was kept comes, in order, and with it what was lost.
    away = false
    forwarder.kick()
    statuses.kick()
    await until('all to be sent', async () => {
      await clock.advance(1_000)
      return forwarder.state().pending === 0
    }, 30_000)
    await until('the status', () => told?.twins?.some(({ reported }) => String(reported?.value) === String(minutes + 8)), 10_000)
    const first = delivered[0] ?? 0
    assert.deepEqual(delivered, Array.from({ length: spool.last - first + 1 }, (_, i) => first + i), 'each once and in order')
    assert.equal(Math.max(...lost.map(([, to]) => to)), first - 1, 'what did not fit is told as lost, to the last one before what came')
    const again = await openFileStash(at('caches'), { clock, seal: (b) => seal.seal(b), open: (b) => seal.open(b) })
    assert.equal((await again.load('pods'))?.objects.length, 40)
  } finally {
    stop.abort()
    await Promise.all([forwarding, listening])
    await unit.close()
    await Promise.all([statuses.close(), streams.close(), stash[Symbol.asyncDispose](), remembered.flush()])
    await spool[Symbol.asyncDispose]()
    await rm(directory, { recursive: true })
  }
})

test('links that flap for a week leave no timer, stream or memory behind', { timeout: 300_000 }, async (t) => {
  const pki = await testPki()
  const clock = new FakeClock(Date.now())
  await using hub = testHub({ clock })
  const api = createHttp2()
  api.on('request', (request, response) => {
    request.stream.on('error', () => undefined)
    // A watch has no end of its own.
    if (request.url.startsWith('/watch')) response.write('{"type":"BOOKMARK"}\n')
    else response.end('{}')
  })
  api.on('sessionError', () => undefined)
  const door = await frontDoor(pki, (socket, node) => hub.accept(socket, node), (socket) => void api.emit('connection', socket))
  await using open = new AsyncDisposableStack()
  open.defer(() => door.close())
  await using relay = await Relay.create(door.port)
  const credentials = await pki.client('a')
  const own = new Set(['127.0.0.1', '::ffff:127.0.0.1'])
  await using link = startLink(relay.url, credentials, async (_request, respond) => void respond(200).end('here'), { clock, addresses: () => own })
  await using session = createNodeSession({ servers: () => [relay.url], credentials: () => credentials, alpn: H2, clock })
  // Time stands still while a dial is under way: it has a limit, and is as slow as the machine.
  const passing = async (what: string, check: () => boolean): Promise<void> => {
    await until(what, async () => {
      if (check()) return true
      if (link.states.at(-1)?.phase !== 'connecting') await clock.advance(2_000)
      return check()
    }, 60_000)
  }
  let ends = 0
  const watch = async (): Promise<void> => {
    try {
      const { body } = await session.request({ method: 'GET', path: '/watch' })
      for await (const _ of body) watching++
    } catch {
      ends++
    }
  }
  let watching = 0
  let flaps = 0
  const flap = async (): Promise<void> => {
    await passing('the link', () => link.states.at(-1)?.phase === 'connected' && hub.links().length === 1)
    const before = watching
    const ended = watch()
    await until('the watch', () => watching > before, 30_000)
    const { stream } = await hub.open('a', { method: 'GET', path: '/' })
    for await (const _ of stream) void _
    const over = (): boolean => link.states.at(-1)?.phase !== 'connected'
    if (flaps % 8 === 7) {
      // Nothing comes through and nothing says so.
      relay.stall()
      await passing('silence to be noticed', over)
      session.check()
      relay.pass()
      relay.breakAll()
    } else if (flaps % 8 === 3) {
      relay.cut()
      await passing('the cut', over)
      await assert.rejects(session.request({ method: 'GET', path: '/' }))
      relay.pass()
    } else {
      relay.breakAll()
      await passing('the reset', over)
    }
    await ended
    flaps++
    link.states.splice(0, link.states.length - 1)
    await clock.advance(2 * MINUTE)
  }
  const days = async (n: number): Promise<void> => {
    for (let i = 0; i < n * 12; i++) await flap()
  }
  await days(2)
  const early = await memory()
  const timers = clock.pending
  await days(5)
  const week = await memory()
  t.diagnostic(`${flaps} flaps: ${mb(early)} after two days, ${mb(week)} after a week; ${timers} timers, then ${clock.pending}`)
  assert.equal(ends, flaps, 'each watch ended with its connection')
  flat(early, week, 640 * KIB, `after a week and ${flaps} flaps`)
  assert.ok(clock.pending <= timers + 4, `${clock.pending} timers, ${timers} after two days`)
})
