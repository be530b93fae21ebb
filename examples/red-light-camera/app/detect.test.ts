import assert from 'node:assert/strict'
import { test } from 'node:test'
import jpeg from 'jpeg-js'
import { GEOMETRY } from '../camera/geometry.ts'
import { Painter } from '../camera/draw.ts'
import { enteredOnRed, lightAt, makeScene } from '../camera/scene.ts'
import { Detector, type Picture } from './detect.ts'

/** Plays a scene through real JPEG pictures; says which frames complete violations in truth and as found. */
function play(seed: number, cycles: number, fps: number, quality: number, restartAt?: (frame: number, light: string) => boolean): { truth: number[]; found: number[] } {
  const scene = makeScene(seed, cycles)
  const painter = new Painter(seed, scene.seconds)
  let detector = new Detector(GEOMETRY)
  const truth: number[] = []
  const found = new Set<string>()
  const seen = new Set<number>()
  const kept: { picture: Picture; timeMs: number; frame: number }[] = []
  for (let frame = 0; frame / fps < scene.seconds; frame++) {
    const t = frame / fps
    painter.draw(scene, t)
    for (const car of enteredOnRed(scene, t)) {
      if (!seen.has(car)) truth.push(frame)
      seen.add(car)
    }
    const picture = jpeg.decode(jpeg.encode({ data: painter.data, width: GEOMETRY.width, height: GEOMETRY.height }, quality).data, { useTArray: true })
    kept.push({ picture, timeMs: t * 1000, frame })
    for (const v of detector.next(picture, t * 1000)) found.add(`${frame}/${v.lane}`)
    if (detector.light === 'green') kept.splice(0, kept.length - 1)
    if (restartAt?.(frame, lightAt(t))) {
      detector = new Detector(GEOMETRY)
      for (const k of kept) for (const v of detector.next(k.picture, k.timeMs)) found.add(`${k.frame}/${v.lane}`)
    }
  }
  return { truth, found: [...found].map((f) => Number(f.split('/')[0])).sort((a, b) => a - b) }
}

/** Violations found beside the truth: a frame more or less is the same car. */
function compare({ truth, found }: { truth: number[]; found: number[] }): { missed: number; false: number } {
  const left = [...found]
  let missed = 0
  for (const t of truth) {
    const i = left.findIndex((f) => Math.abs(f - t) <= 2)
    if (i < 0) missed++
    else left.splice(i, 1)
  }
  return { missed, false: left.length }
}

test('every violation is found and none is false, for many seeds and two rates', () => {
  // The soak runs many more seeds; each takes seconds, since every picture is really encoded and decoded.
  for (let seed = 1; seed <= (process.env['SKERRY_SOAK'] ? 100 : 2); seed++) {
    for (const fps of [5, 8]) {
      const result = play(seed, 3, fps, 70)
      assert.deepEqual(compare(result), { missed: 0, false: 0 }, `seed ${seed}, ${fps} frames/s: truth ${result.truth.join()} found ${result.found.join()}`)
    }
  }
})

test('an app that starts anew from the last green frame finds the same', () => {
  for (let seed = 20; seed < 21; seed++) {
    const result = play(seed, 3, 5, 60, (frame) => frame % 17 === 0)
    assert.deepEqual(compare(result), { missed: 0, false: 0 }, `seed ${seed}: truth ${result.truth.join()} found ${result.found.join()}`)
  }
})

test('scenes have violations to find', () => {
  const kinds = new Set(makeScene(7, 10).cars.map((c) => c.kind))
  assert.deepEqual([...kinds].sort(), ['on-yellow', 'runs-red', 'stops-before', 'stops-on-line', 'through'])
})
