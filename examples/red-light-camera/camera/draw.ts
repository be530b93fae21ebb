/** Draws the scene as a real picture: road, markings, lamps, cars with windows, wheels and shadows, people, birds, noise. */
import { GEOMETRY } from './geometry.ts'
import { seeded, type Scene } from './scene.ts'

type Rgb = readonly [number, number, number]

const ROAD: Rgb = [104, 106, 108]
const GRASS: Rgb = [78, 104, 62]
const SKY: Rgb = [150, 172, 192]
const PAINT: Rgb = [226, 226, 220]

/** A reusable RGBA canvas that draws frames of one camera. */
export class Painter {
  readonly data = Buffer.alloc(GEOMETRY.width * GEOMETRY.height * 4, 255)
  readonly #background = Buffer.alloc(this.data.length, 255)
  readonly #noise: Int8Array
  readonly #random: () => number
  readonly #people: readonly { at: number; x: number; down: number }[]

  constructor(seed: number, seconds: number) {
    this.#random = seeded(seed ^ 0x5eed)
    // Noise with a bell shape, about 9 grey levels wide; frames read it from a random place.
    this.#noise = Int8Array.from({ length: 1 << 18 }, () => (this.#random() + this.#random() + this.#random() - 1.5) * 18)
    this.#people = Array.from({ length: Math.ceil(seconds / 9) }, () => ({ at: this.#random() * seconds, x: 190 + this.#random() * 110, down: this.#random() < 0.5 ? 1 : -1 }))
    this.#paintBackground()
  }

  /** Draws the moment `t` (seconds of play) into `data`. */
  draw(scene: Scene, t: number): void {
    this.#background.copy(this.data)
    this.#lamps(scene.light(t))
    for (const car of scene.cars) if (t >= car.from && t <= car.to) this.#car(car.front(t), car.lane, car.length, car.color)
    for (const p of this.#people) {
      const dt = t - p.at
      if (dt > 0 && dt < 7) this.#rect(p.x, p.down > 0 ? 60 + dt * 24 : 228 - dt * 24, 6, 12, [60, 40, 90])
    }
    const bird = (t * 37) % 400
    this.#rect(bird, 74 + Math.sin(t * 3) * 8, 5, 2, [30, 30, 30])
    this.#weather(t)
  }

  #paintBackground(): void {
    const { width, height, lanes, stopLine, stopLineWidth } = GEOMETRY
    this.#rect(0, 0, width, 84, SKY, this.#background)
    this.#rect(0, 84, width, height - 84, GRASS, this.#background)
    const top = lanes[0].top - 12
    this.#rect(0, top, width, lanes[1].bottom + 12 - top, ROAD, this.#background)
    for (let x = 0; x < stopLine - 20; x += 28) this.#rect(x, (lanes[0].bottom + lanes[1].top) / 2 - 1, 14, 3, PAINT, this.#background)
    this.#rect(stopLine, top + 2, stopLineWidth, lanes[1].bottom + 8 - top, PAINT, this.#background)
    this.#rect(GEOMETRY.lamps.x - 12, 8, 24, 64, [26, 28, 30], this.#background)
    this.#rect(GEOMETRY.lamps.x - 2, 72, 4, 24, [60, 60, 60], this.#background)
  }

  #lamps(light: 'green' | 'yellow' | 'red'): void {
    const { x, radius, red, yellow, green } = GEOMETRY.lamps
    this.#disc(x, red, radius, light === 'red' ? [250, 40, 30] : [62, 18, 16])
    this.#disc(x, yellow, radius, light === 'yellow' ? [250, 196, 30] : [58, 46, 16])
    this.#disc(x, green, radius, light === 'green' ? [40, 236, 90] : [14, 52, 24])
  }

  #car(front: number, lane: number, length: number, color: Rgb): void {
    const { top, bottom } = GEOMETRY.lanes[lane] as { top: number; bottom: number }
    const tail = front - length
    const h = bottom - top
    this.#shade(tail - 2, bottom - 3, length + 4, 6, 0.8)
    this.#rect(tail, top + h * 0.28, length, h * 0.58, color)
    this.#rect(tail + length * 0.16, top + 2, length * 0.6, h * 0.3, color)
    this.#rect(tail + length * 0.22, top + 5, length * 0.2, h * 0.2, [60, 78, 92])
    this.#rect(tail + length * 0.5, top + 5, length * 0.2, h * 0.2, [60, 78, 92])
    this.#disc(tail + length * 0.2, bottom - 5, 6, [16, 16, 18])
    this.#disc(tail + length * 0.8, bottom - 5, 6, [16, 16, 18])
    this.#rect(front - 3, top + h * 0.45, 3, 5, [255, 246, 200])
    this.#rect(tail, top + h * 0.45, 3, 5, [200, 20, 20])
  }

  /** Clouds dim the picture by up to 8 %, the sensor adds noise. */
  #weather(t: number): void {
    const gain = 1 + 0.08 * Math.sin(t * 0.7)
    const noise = this.#noise
    let n = Math.floor(this.#random() * noise.length)
    const d = this.data
    for (let i = 0; i < d.length; i += 4) {
      const grain = noise[n++ & 0x3ffff] as number
      d[i] = clamp((d[i] as number) * gain + grain)
      d[i + 1] = clamp((d[i + 1] as number) * gain + grain)
      d[i + 2] = clamp((d[i + 2] as number) * gain + (noise[(n + 7919) & 0x3ffff] as number))
    }
  }

  #rect(x: number, y: number, w: number, h: number, [r, g, b]: Rgb, target: Buffer = this.data): void {
    const x1 = Math.min(GEOMETRY.width, Math.round(x + w))
    const y1 = Math.min(GEOMETRY.height, Math.round(y + h))
    for (let py = Math.max(0, Math.round(y)); py < y1; py++) {
      for (let px = Math.max(0, Math.round(x)), i = (py * GEOMETRY.width + px) * 4; px < x1; px++, i += 4) {
        target[i] = r
        target[i + 1] = g
        target[i + 2] = b
      }
    }
  }

  #shade(x: number, y: number, w: number, h: number, factor: number): void {
    for (let py = Math.max(0, Math.round(y)); py < Math.min(GEOMETRY.height, y + h); py++) {
      for (let px = Math.max(0, Math.round(x)); px < Math.min(GEOMETRY.width, x + w); px++) {
        const i = (py * GEOMETRY.width + px) * 4
        for (let k = 0; k < 3; k++) this.data[i + k] = (this.data[i + k] as number) * factor
      }
    }
  }

  #disc(cx: number, cy: number, radius: number, color: Rgb): void {
    for (let dy = -radius; dy <= radius; dy++) {
      const half = Math.sqrt(radius * radius - dy * dy)
      this.#rect(cx - half, cy + dy, half * 2, 1, color)
    }
  }
}

function clamp(v: number): number {
  return v < 0 ? 0 : v > 255 ? 255 : v
}
