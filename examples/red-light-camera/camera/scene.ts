/**
 * The intersection as it really is: light cycles, cars and their motion, all from one seed. Pure: `at(t)` says where
 * everything is at a time; `violations` is the truth, which the camera keeps to itself.
 *
 * A violation: a car whose front is before the stop line when the light is red and then enters the intersection in that same
 * red. Not one: stopping before or on the line, entering on yellow, driving on green.
 */
import { GEOMETRY } from './geometry.ts'

export type Light = 'green' | 'yellow' | 'red'

/** Phase lengths of one cycle, seconds. */
export const CYCLE = { green: 4.5, yellow: 1.5, red: 6 } as const
export const CYCLE_SECONDS = CYCLE.green + CYCLE.yellow + CYCLE.red

export type CarKind = 'through' | 'on-yellow' | 'stops-before' | 'stops-on-line' | 'runs-red'

export interface Car {
  readonly kind: CarKind
  readonly lane: number
  readonly length: number
  readonly color: readonly [number, number, number]
  /** Front of the car in pixels at a time; far outside the picture before and after. */
  readonly front: (t: number) => number
  /** Seconds between which it can be in the picture. */
  readonly from: number
  readonly to: number
}

export interface Scene {
  readonly seconds: number
  readonly cars: readonly Car[]
  light(t: number): Light
}

/** A small seeded generator of uniform numbers in [0, 1) (mulberry32). */
export function seeded(seed: number): () => number {
  let s = seed >>> 0
  return () => {
    s = (s + 0x6d2b79f5) >>> 0
    let x = Math.imul(s ^ (s >>> 15), 1 | s)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) / 4_294_967_296
  }
}

const COLORS: readonly (readonly [number, number, number])[] = [
  [186, 32, 38],
  [28, 62, 170],
  [232, 232, 228],
  [22, 24, 28],
  [222, 190, 36],
  [24, 120, 60],
  [205, 210, 216],
  [110, 30, 130],
]

/** Where the light stands at a time within the play; a cycle starts with green. */
export function lightAt(t: number): Light {
  const p = ((t % CYCLE_SECONDS) + CYCLE_SECONDS) % CYCLE_SECONDS
  return p < CYCLE.green ? 'green' : p < CYCLE.green + CYCLE.yellow ? 'yellow' : 'red'
}

/** Makes the play of `cycles` light cycles from a seed. */
export function makeScene(seed: number, cycles: number): Scene {
  const random = seeded(seed)
  const between = (a: number, b: number): number => a + (b - a) * random()
  const cars: Car[] = []
  for (let lane = 0; lane < GEOMETRY.lanes.length; lane++) {
    const inLane: Car[] = []
    // A car that would come too near the one before it simply does not come.
    const add = (car: Car): boolean => {
      const before = inLane.at(-1)
      if (before && !keepsDistance(before, car)) return false
      inLane.push(car)
      return true
    }
    const make = (kind: CarKind, front: (t: number) => number, from: number, to: number): Car => ({
      kind,
      lane,
      length: Math.round(between(46, 60)),
      color: COLORS[Math.floor(random() * COLORS.length)] as (typeof COLORS)[number],
      front,
      from,
      to,
    })
    const moving = (kind: CarKind, crossAt: number): Car => {
      const v = between(95, 150)
      return make(kind, (t) => GEOMETRY.stopLine + v * (t - crossAt), crossAt - (GEOMETRY.stopLine + 10) / v, crossAt + 230 / v)
    }
    const stopping = (kind: CarKind, stopAt: number, offset: number, goAt: number): Car => {
      const v = between(95, 140)
      const brake = between(0.8, 1.3)
      const x = GEOMETRY.stopLine + offset
      const a = between(110, 150)
      return make(
        kind,
        (t) => {
          if (t >= goAt) {
            const ramp = v / a
            const dt = t - goAt
            return x + (dt < ramp ? (a * dt * dt) / 2 : (a * ramp * ramp) / 2 + v * (dt - ramp))
          }
          if (t >= stopAt) return x
          const dt = stopAt - t
          return dt < brake ? x - (v * dt * dt) / (2 * brake) : x - (v * brake) / 2 - v * (dt - brake)
        },
        stopAt - brake - 200 / v,
        goAt + 4,
      )
    }
    for (let c = 0; c < cycles; c++) {
      const green = c * CYCLE_SECONDS
      const yellow = green + CYCLE.green
      const red = yellow + CYCLE.yellow
      const next = green + CYCLE_SECONDS
      if (random() < 0.6) add(moving('through', between(green + 1.6, green + 2.6)))
      if (random() < 0.5) add(moving('through', between(green + 3, yellow - 0.2)))
      if (random() < 0.4) add(moving('on-yellow', between(yellow + 0.2, red - 0.55)))
      // On red: one runs it, or one stops; behind a waiting car nobody can run.
      if (random() < 0.45) add(moving('runs-red', between(red + 0.9, red + CYCLE.red - 3.2)))
      if (random() < 0.65 && c < cycles - 1) {
        const onLine = random() < 0.4
        const offset = onLine ? between(5, 14) : -between(5, 14)
        add(stopping(onLine ? 'stops-on-line' : 'stops-before', between(red + 1.8, next - 0.8), offset, next + between(0.35, 0.7)))
      }
    }
    cars.push(...inLane)
  }
  return { seconds: cycles * CYCLE_SECONDS, cars, light: lightAt }
}

/** True when `car` stays at least 18 px behind the tail of `before` while both are in the picture. */
function keepsDistance(before: Car, car: Car): boolean {
  for (let t = Math.min(before.from, car.from); t < Math.max(before.to, car.to); t += 0.05) {
    const a = before.front(t)
    if (a - before.length > GEOMETRY.width + 40 || car.front(t) < -80) continue
    if (car.front(t) > a - before.length - 18) return false
  }
  return true
}

/** Which cars have entered on red up to time `t`; index into `scene.cars`. */
export function enteredOnRed(scene: Scene, t: number): number[] {
  const found: number[] = []
  scene.cars.forEach((car, i) => {
    if (car.kind === 'runs-red' && car.front(t) >= GEOMETRY.stopLine + GEOMETRY.entered) found.push(i)
  })
  return found
}
