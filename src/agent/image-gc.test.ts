import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { FakeClock } from '../base/clock.ts'
import { setLogSink } from '../base/log.ts'
import { FakeRuntime, type ImageInfo } from '../cri/mod.ts'
import { chooseImages, DEFAULT_POLICY, ImageCollector, usedImages, type Disk } from './image-gc.ts'

setLogSink(() => {})

const image = (id: string, sizeBytes: number, pinned = false): ImageInfo => ({ id, tags: [`docker.io/library/${id}:latest`], digests: [`docker.io/library/${id}@sha256:aa${id}`], sizeBytes, user: '', pinned })
const disk = (percent: number): Disk => ({ totalBytes: 1000, freeBytes: 1000 - percent * 10 })
const HOUR = 3_600_000

describe('which images go', () => {
  const images = [image('old', 30), image('older', 30), image('fresh', 900), image('running', 900), image('pinned', 900, true)]
  const seen = new Map([['old', -HOUR], ['older', -2 * HOUR], ['fresh', -60_000], ['running', -9 * HOUR], ['pinned', -9 * HOUR]])
  const choose = (percent: number, policy = DEFAULT_POLICY) => {
    const { remove, missingBytes } = chooseImages(images, new Set(['running']), seen, 0, disk(percent), policy)
    return [remove.map((i) => i.id), missingBytes]
  }
  test('none while there is room', () => assert.deepEqual(choose(85), [[], 0]))
  test('over the limit the longest unused, no more than needed', () => assert.deepEqual(choose(86, { ...DEFAULT_POLICY, lowPercent: 84 }), [['older'], 0]))
  test('never what is used, pinned or fresh; what is missing is told', () => assert.deepEqual(choose(90), [['older', 'old'], 40]))
  test('by age, when asked, with an empty disk too', () => assert.deepEqual(choose(10, { ...DEFAULT_POLICY, maxAgeMs: 1.5 * HOUR }), [['older'], 0]))
})

test('used is what a container has, by id, name or digest, and what a pod names', () => {
  const images = ['a', 'b', 'c', 'd', 'e'].map((id) => image(id, 1))
  const containers = [{ image: 'a', imageRef: '' }, { image: 'x', imageRef: 'docker.io/library/b@sha256:aab' }, { image: 'docker.io/library/c:latest', imageRef: '' }]
  assert.deepEqual([...usedImages(images, containers, new Set(['docker.io/library/d:latest']))], ['a', 'b', 'c', 'd'])
})

test('a full disk: unused images go, what pods name stays though it does not run, and a disk that stays full is told', async () => {
  const clock = new FakeClock()
  const runtime = new FakeRuntime({ clock, images: { idle: { sizeBytes: 40 }, app: { sizeBytes: 500 }, pause: { sizeBytes: 100 } } })
  for (const name of ['idle', 'app', 'pause']) await runtime.images.pull(name, undefined)
  let percent = 95
  const said: string[] = []
  const collector = new ImageCollector({ runtime, clock, directory: '/nowhere', named: () => ['app'], pinned: () => ['pause'], say: (reason, message) => void said.push(`${reason}: ${message}`), disk: async () => disk(percent) })
  const names = async (): Promise<string[]> => (await runtime.images.list()).map((i) => i.tags[0] ?? '').sort()
  await collector.look()
  assert.deepEqual(await names(), ['app', 'idle', 'pause'], 'nothing goes at the first look: it may have just come')
  await clock.advance(300_000)
  await collector.look()
  assert.deepEqual(await names(), ['app', 'pause'])
  assert.match(said.at(-1) ?? '', /^FreeDiskSpaceFailed: Disk is 95% full, over the 85% allowed, and unused images hold 110 bytes too little/)
  said.length = 0
  percent = 50
  await collector.look()
  assert.deepEqual(said, [])
})
