/**
 * The simulated camera: a process of its own that speaks MQTT like a real one. It plays an intersection from a seed, sends
 * JPEG frames, takes its settings (`fps`, `quality`) and says what they are now, and keeps the truth to itself in a file.
 *
 * Topics, under `cameras/<id>/`: `frame/<epoch>/<number>/<time taken, ms>` (JPEG, QoS 1), `state/<setting>` (retained), `set/<setting>`,
 * `status` (`online`, or `offline` by last will; retained). A camera keeps frames that the broker has not acknowledged, up to
 * {@link BUFFER_FRAMES}, as a real one does on its memory card; what it must drop it counts.
 *
 * Usage: camera.ts --broker mqtt://10.0.0.1:1883 --id cam-1 --seed 7 --cycles 10 --dir /path/for/truth
 */
import { appendFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import jpeg from 'jpeg-js'
import mqtt from 'mqtt'
import { Painter } from './draw.ts'
import { GEOMETRY } from './geometry.ts'
import { CYCLE_SECONDS, enteredOnRed, makeScene } from './scene.ts'

/** About two minutes at 5 frames a second. */
const BUFFER_FRAMES = 600

const { values: args } = parseArgs({
  options: {
    broker: { type: 'string' },
    id: { type: 'string' },
    seed: { type: 'string' },
    cycles: { type: 'string', default: '10' },
    dir: { type: 'string' },
  },
})
const { broker, id, seed: seedText, dir } = args
if (broker === undefined || id === undefined || seedText === undefined || dir === undefined) {
  console.error('camera: --broker, --id, --seed and --dir are needed')
  process.exit(2)
}
const seed = Number(seedText)
const cycles = Number(args.cycles)
if (!Number.isSafeInteger(seed) || !(cycles > 0)) {
  console.error(`camera: seed "${seedText}" or cycles "${args.cycles}" is not a whole number`)
  process.exit(2)
}

mkdirSync(dir, { recursive: true })
/** Made anew at every start: frame numbers mean something only within it. */
const epoch = Date.now().toString(36)
const settings: Record<string, number> = { fps: 5, quality: 70 }
const LIMITS: Readonly<Record<string, readonly [number, number]>> = { fps: [1, 15], quality: [20, 95] }
const scene = makeScene(seed, cycles)
const painter = new Painter(seed, scene.seconds)
const stats = { id, epoch, frames: 0, bytes: 0, acknowledged: 0, dropped: 0, cycles: 0, done: false }
const waiting = new Set<number>()
const counted = new Set<number>()

const client = mqtt.connect(broker, {
  clientId: `${id}-camera`,
  clean: false,
  reconnectPeriod: 500,
  connectTimeout: 3000,
  will: { topic: `cameras/${id}/status`, payload: Buffer.from('offline'), qos: 1, retain: true },
})
client.on('error', () => {}) // The client dials again by itself; a camera has nobody to tell.
client.on('connect', () => {
  // It listens before it says that it can be spoken to.
  client.subscribe(`cameras/${id}/set/#`, { qos: 1 }, () => client.publish(`cameras/${id}/status`, 'online', { qos: 1, retain: true }))
  for (const name of Object.keys(settings)) tell(name)
})
client.on('message', (topic, payload) => {
  const name = topic.slice(`cameras/${id}/set/`.length)
  const limits = LIMITS[name]
  const value = Number(payload.toString())
  // A value that it cannot take leaves the setting; what is said next is what it is.
  if (limits && value >= limits[0] && value <= limits[1]) settings[name] = value
  if (limits) tell(name)
})

function tell(name: string): void {
  client.publish(`cameras/${id}/state/${name}`, String(settings[name]), { qos: 1, retain: true })
}

function saveStats(): void {
  appendFileSync(join(dir as string, 'stats.jsonl'), JSON.stringify(stats) + '\n')
}

const start = performance.now()
const startedAt = Date.now()
let number = 0
/**
 * Seconds of play. A camera's shutter keeps its time whatever its processor does: a frame that is drawn late shows the
 * moment at which it was due, and the next ones follow quicker.
 */
let t = 0
/** How late the last frame was, ms. */
let told = 0
function frame(): void {
  stats.cycles = Math.min(cycles, Math.floor(t / CYCLE_SECONDS))
  if (t >= scene.seconds) {
    finish()
    return
  }
  painter.draw(scene, t)
  const picture = jpeg.encode({ data: painter.data, width: GEOMETRY.width, height: GEOMETRY.height }, settings['quality'] as number).data
  number++
  if (waiting.size >= BUFFER_FRAMES) stats.dropped++
  else {
    const mine = number
    waiting.add(mine)
    stats.frames++
    stats.bytes += picture.length
    client.publish(`cameras/${id}/frame/${epoch}/${mine}/${Math.round(startedAt + t * 1000)}`, picture, { qos: 1 }, () => {
      waiting.delete(mine)
      stats.acknowledged++
    })
  }
  for (const car of enteredOnRed(scene, t)) {
    if (counted.has(car)) continue
    counted.add(car)
    appendFileSync(join(dir as string, 'truth.jsonl'), JSON.stringify({ camera: id, epoch, frame: number, lane: (scene.cars[car]?.lane ?? 0) + 1, timeMs: Date.now() }) + '\n')
  }
  t += 1 / (settings['fps'] as number)
  const late = performance.now() - start - t * 1000
  if (late > 1000 && late > told + 1000) console.log(`camera ${id}: ${Math.round(late)} ms behind at frame ${number}`)
  told = late
  setTimeout(frame, Math.max(1, -late))
}

function finish(): void {
  if (waiting.size > 0) {
    setTimeout(finish, 100)
    return
  }
  stats.done = true
  saveStats()
  console.log(`camera ${id}: played ${cycles} light cycles, ${stats.frames} frames, ${stats.bytes} bytes`)
  client.end(false, () => process.exit(0))
}

const saving = setInterval(saveStats, 500)
saving.unref()
process.on('SIGTERM', () => {
  saveStats()
  client.end(true, () => process.exit(0))
})
console.log(`camera ${id}: seed ${seed}, epoch ${epoch}, ${scene.seconds} s`)
frame()
