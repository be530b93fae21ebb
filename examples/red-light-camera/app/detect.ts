/**
 * Finds red-light violations in pictures, by their pixels alone: which lamp is lit, where the cars' fronts are, and which
 * of them was before the line on red and then entered the intersection in the same red. Pure: state in, state out.
 *
 * On green nothing about the past matters: the state after a green frame follows from that frame alone (plus the tracks,
 * which a new start finds again). So an app that starts anew from any green frame finds exactly what one that never
 * stopped would have found. The app acknowledges frames only up to the last green one.
 */
import type { Geometry } from '../camera/geometry.ts'

export type Light = 'red' | 'yellow' | 'green' | 'unknown'

export interface Picture {
  readonly width: number
  readonly height: number
  /** RGBA, row by row. */
  readonly data: Uint8Array
}

interface Track {
  front: number
  timeMs: number
  /** Its front was seen before the line in the present red. */
  beforeLineOnRed: boolean
  counted: boolean
}

export interface Violation {
  readonly lane: number
  /** Front of the car, pixels. */
  readonly front: number
  /** Pixels a second, from the last two frames. */
  readonly speed: number
  /** How long the light had been red, ms. */
  readonly redForMs: number
}

/** Fastest motion between frames that is still the same car, pixels a second. */
const MAX_SPEED = 260
/** Narrower things than this are people, birds or paint, not cars. */
const MIN_WIDTH = 24

export class Detector {
  readonly #geometry: Geometry
  #tracks: Track[][]
  #redSince: number | undefined
  /** The light as last seen. */
  light: Light = 'unknown'

  constructor(geometry: Geometry) {
    this.#geometry = geometry
    this.#tracks = geometry.lanes.map(() => [])
  }

  /** Takes the next frame and says which violations it completes. Frames come in order; a gap is fine. */
  next(picture: Picture, timeMs: number): Violation[] {
    const g = this.#geometry
    const light = readLight(picture, g)
    if (light === 'red') this.#redSince ??= timeMs
    else if (light !== 'unknown') {
      this.#redSince = undefined
      for (const lane of this.#tracks) for (const t of lane) t.beforeLineOnRed = false
    }
    if (light !== 'unknown') this.light = light
    const violations: Violation[] = []
    g.lanes.forEach((lane, i) => {
      const fronts = findCars(picture, lane, g)
      const tracks = follow(this.#tracks[i] as Track[], fronts, timeMs)
      for (const { track, speed } of tracks) {
        if (light !== 'red') continue
        if (track.front < g.stopLine - 3) track.beforeLineOnRed = true
        if (track.beforeLineOnRed && !track.counted && track.front >= g.stopLine + g.entered) {
          track.counted = true
          violations.push({ lane: i + 1, front: Math.round(track.front), speed: Math.round(speed), redForMs: timeMs - (this.#redSince ?? timeMs) })
        }
      }
      this.#tracks[i] = tracks.map((t) => t.track)
    })
    return violations
  }
}

/** Which lamp is lit, by the colour of its disc against the dark ones. */
export function readLight(picture: Picture, g: Geometry): Light {
  const { x, radius, red, yellow, green } = g.lamps
  const [r, y, n] = [red, yellow, green].map((cy) => mean(picture, x - radius + 2, cy - radius + 2, 2 * radius - 4))  as [number[], number[], number[]]
  const bright = (c: number[]): number => Math.max(c[0] as number, c[1] as number)
  const lit = Math.max(bright(r), bright(y), bright(n))
  if (lit < 140) return 'unknown'
  if (bright(r) === lit && (r[0] as number) > 1.8 * (r[1] as number)) return 'red'
  if (bright(n) === lit && (n[1] as number) > 1.4 * (n[0] as number)) return 'green'
  return bright(y) === lit ? 'yellow' : 'unknown'
}

/** Fronts of the cars in a lane, rightmost first: runs of columns that do not look like road. */
export function findCars(picture: Picture, lane: { readonly top: number; readonly bottom: number }, g: Geometry): number[] {
  const { width, data } = picture
  const top = lane.top + 4
  const bottom = lane.bottom - 4
  const road = roadGrey(picture, lane)
  const full: boolean[] = []
  for (let x = 0; x < width; x++) {
    let other = 0
    for (let y = top; y < bottom; y += 2) {
      const i = (y * width + x) * 4
      const [r, gr, b] = [data[i] as number, data[i + 1] as number, data[i + 2] as number]
      const grey = (r + gr + b) / 3
      const colour = Math.max(r, gr, b) - Math.min(r, gr, b)
      if (Math.abs(grey - road) > 42 || colour > 58) other++
    }
    full.push(other / ((bottom - top) / 2) > 0.45)
  }
  // The painted line looks like a car's side: it counts only where a car stands on both sides of it.
  const lineStart = g.stopLine - 2
  const lineEnd = g.stopLine + g.stopLineWidth + 1
  const onLine = (full[lineStart - 1] ?? false) && (full[lineEnd + 1] ?? false)
  for (let x = lineStart; x <= lineEnd; x++) full[x] = onLine
  const fronts: number[] = []
  for (let x = width - 1; x >= 0; ) {
    if (!full[x]) {
      x--
      continue
    }
    let tail = x
    for (let gap = 0, at = x - 1; at >= 0 && gap <= 6; at--) {
      if (full[at]) {
        tail = at
        gap = 0
      } else gap++
    }
    // At the picture's edges a car is only partly in view.
    if (x - tail + 1 >= MIN_WIDTH || (tail <= 1 && x - tail > 6)) fronts.push(x)
    x = tail - 1
  }
  return fronts
}

/** The grey of the road now, from the strips above and below the lane where no car drives. */
function roadGrey(picture: Picture, lane: { readonly top: number; readonly bottom: number }): number {
  const greys: number[] = []
  for (const y of [lane.top - 6, lane.top - 9]) {
    for (let x = 4; x < picture.width; x += 5) {
      const i = (y * picture.width + x) * 4
      greys.push(((picture.data[i] as number) + (picture.data[i + 1] as number) + (picture.data[i + 2] as number)) / 3)
    }
  }
  greys.sort((a, b) => a - b)
  return greys[greys.length >> 1] as number
}

/** Carries tracks over to the fronts of this frame: cars keep their order and never go back more than a few pixels. */
function follow(before: readonly Track[], fronts: readonly number[], timeMs: number): { track: Track; speed: number }[] {
  const left = before.toSorted((a, b) => b.front - a.front)
  return fronts.map((front) => {
    const at = left.findIndex((t) => front >= t.front - 10 && front <= t.front + 14 + (MAX_SPEED * Math.max(0, timeMs - t.timeMs)) / 1000)
    if (at < 0) return { track: { front, timeMs, beforeLineOnRed: false, counted: false }, speed: 0 }
    // Tracks ahead of the matched one have left the picture.
    const [old] = left.splice(0, at + 1).slice(-1) as [Track]
    const speed = timeMs > old.timeMs ? ((front - old.front) * 1000) / (timeMs - old.timeMs) : 0
    return { track: { ...old, front, timeMs }, speed }
  })
}

function mean(picture: Picture, x0: number, y0: number, size: number): number[] {
  const sum = [0, 0, 0]
  for (let y = y0; y < y0 + size; y++) {
    for (let x = x0; x < x0 + size; x++) {
      const i = (y * picture.width + x) * 4
      for (let k = 0; k < 3; k++) sum[k] = (sum[k] as number) + (picture.data[i + k] as number)
    }
  }
  return sum.map((s) => s / (size * size))
}
