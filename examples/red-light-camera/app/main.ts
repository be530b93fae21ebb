/**
 * The red-light app: runs in a pod beside its camera. Reads frames from the node's local bus, decides by pixels, and hands
 * each violation (photo and metadata) to the node for the collector. Its place in the stream is kept by the bus (cursor
 * `red-light`), so a restart or an update goes on where it stood.
 */
import { createServer, request } from 'node:http'
import jpeg from 'jpeg-js'
import { RecordDecoder } from '../../../src/telemetry/batch.ts'
import { GEOMETRY } from '../camera/geometry.ts'
import { Detector, type Picture } from './detect.ts'

const BUS = process.env['SKERRY_BUS_URL']
const COLLECT = process.env['SKERRY_COLLECT_URL']
const VERSION = process.env['APP_VERSION'] ?? 'v1'
const CURSOR = 'red-light'

if (!BUS || !COLLECT) {
  console.error('red-light: SKERRY_BUS_URL and SKERRY_COLLECT_URL are not set: run as a pod on a Skerry node')
  process.exit(1)
}

interface DeviceInfo {
  name: string
  model: string
  annotations?: Record<string, string>
}

const state = { version: VERSION, cameras: {} as Record<string, { frames: number; violations: number; light: string; refused: number }> }
const stop = new AbortController()

/** A bounded JSON or binary call to the node; throws on anything but 2xx. */
function call(method: string, url: string, body?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const req = request(url, { method, headers: body === undefined ? {} : { 'content-type': 'application/json' }, timeout: 5000 }, (res) => {
      const chunks: Buffer[] = []
      res.on('data', (c: Buffer) => chunks.push(c))
      res.on('error', reject)
      res.on('end', () => {
        const text = Buffer.concat(chunks).toString()
        if (res.statusCode !== undefined && res.statusCode < 300) resolve(text)
        else reject(new Error(`${method} ${url}: status ${res.statusCode}: ${text.slice(0, 200)}`))
      })
    })
    req.on('timeout', () => req.destroy(new Error(`${method} ${url}: no answer within 5 s`)))
    req.on('error', reject)
    req.end(body)
  })
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Keeps trying until it is done or the pod stops: the node answers only when the record is safe on its disk. */
async function insist<T>(what: string, fn: () => Promise<T>): Promise<T> {
  for (let wait = 100; ; wait = Math.min(wait * 2, 3000)) {
    try {
      return await fn()
    } catch (error) {
      if (stop.signal.aborted) throw error
      console.error(`red-light: ${what}: ${error instanceof Error ? error.message : String(error)}`)
      await sleep(wait)
    }
  }
}

/** Follows one camera's frames until the connection ends. */
async function follow(device: DeviceInfo): Promise<void> {
  const mine = (state.cameras[device.name] ??= { frames: 0, violations: 0, light: 'unknown', refused: 0 })
  const url = `${BUS}/devices/${device.name}/streams/frame?cursor=${CURSOR}`
  const detector = new Detector(GEOMETRY)
  let last = { epoch: '', frame: 0 }
  let acked = 0
  const decoder = new RecordDecoder()
  const body = await new Promise<AsyncIterable<Buffer>>((resolve, reject) => {
    const req = request(url, { signal: stop.signal }, (res) => {
      if (res.statusCode === 200) resolve(res)
      else reject(new Error(`GET ${url}: status ${res.statusCode}`))
    })
    req.on('error', reject)
    req.end()
  })
  for await (const chunk of body) {
    for (const record of decoder.push(chunk)) {
      const meta = JSON.parse(record.meta) as { epoch?: string; frame?: string | number; taken?: string | number; timeMs?: number }
      const epoch = String(meta.epoch)
      const frame = Number(meta.frame)
      // The camera repeats what it is not sure of; a frame counts once.
      if (epoch === last.epoch && frame <= last.frame) continue
      let picture: Picture
      try {
        picture = jpeg.decode(record.payload, { useTArray: true, maxMemoryUsageInMB: 64, maxResolutionInMP: 4 })
        if (picture.width !== GEOMETRY.width || picture.height !== GEOMETRY.height) throw new Error(`picture of ${picture.width}x${picture.height}`)
      } catch (error) {
        mine.refused++
        console.error(`red-light: ${device.name} frame ${epoch}/${frame} is no picture: ${error instanceof Error ? error.message : String(error)}`)
        continue
      }
      last = { epoch, frame }
      mine.frames++
      // When the camera took it: a frame may have waited in its buffer.
      const timeMs = Number(meta.taken ?? meta.timeMs ?? record.timeMs)
      for (const violation of detector.next(picture, timeMs)) {
        mine.violations++
        const report = {
          id: `${device.name}/${epoch}/${frame}.${violation.lane}`,
          time: new Date(timeMs).toISOString(),
          data: { camera: device.name, place: device.annotations?.['skerry.io/place'] ?? '', epoch, frame, light: 'red', app: VERSION, ...violation },
          attachments: [{ name: 'photo.jpg', contentType: 'image/jpeg', base64: Buffer.from(record.payload).toString('base64') }],
        }
        console.log(`red-light: violation ${report.id} lane ${violation.lane}, red for ${Math.round(violation.redForMs)} ms`)
        await insist('hand over violation', () => call('POST', `${COLLECT}/streams/violations/records`, JSON.stringify(report)))
      }
      mine.light = detector.light
      // From a green frame on, a new start finds the same (see detect.ts); once a second is often enough.
      if (detector.light === 'green' && record.timeMs - acked > 1000) {
        acked = record.timeMs
        await call('POST', `${BUS}/devices/${device.name}/streams/frame/ack`, JSON.stringify({ cursor: CURSOR, seq: record.seq }))
      }
    }
  }
}

async function main(): Promise<void> {
  const server = createServer((req, res) => {
    res.setHeader('content-type', 'application/json')
    res.statusCode = req.url === '/healthz' || req.url === '/' ? 200 : 404
    res.end(JSON.stringify(state))
  })
  server.listen(Number(process.env['PORT'] ?? 8092))
  process.on('SIGTERM', () => {
    stop.abort()
    process.exit(0)
  })
  console.log(`red-light ${VERSION}: bus ${BUS}, collector ${COLLECT}`)
  const following = new Set<string>()
  while (!stop.signal.aborted) {
    const answer = await insist('list devices', async () => JSON.parse(await call('GET', `${BUS}/devices`)) as { items: DeviceInfo[] })
    for (const device of answer.items.filter((d) => d.model === 'intersection-camera' && !following.has(d.name))) {
      following.add(device.name)
      void follow(device)
        .catch((error: unknown) => console.error(`red-light: ${device.name}: ${error instanceof Error ? error.message : String(error)}`))
        .finally(() => following.delete(device.name))
    }
    await sleep(1000)
  }
}

await main()
