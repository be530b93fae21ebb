import assert from 'node:assert/strict'
import test from 'node:test'
import { FakeClock } from '../base/clock.ts'
import { isAbort } from '../base/errors.ts'
import type { ImageInfo, Runtime } from '../cri/mod.ts'
import { Images } from './images.ts'
import { testPod } from './testing.ts'

/** Images whose pulls end when the test says so. */
function slowRegistry(parallel: number) {
  const pulls: { readonly image: string; readonly signal: AbortSignal; readonly arrive: () => void }[] = []
  const present = new Set<string>()
  const info = (image: string): ImageInfo => ({ id: `sha256:${image}`, tags: [image], digests: [], sizeBytes: 5, user: '', pinned: false })
  const runtime = {
    images: {
      find: async (image: string) => (present.has(image) ? info(image) : undefined),
      pull: (image: string, _auth: unknown, signal: AbortSignal) =>
        new Promise<string>((resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason), { once: true })
          pulls.push({ image, signal, arrive: () => (present.add(image), resolve(info(image).id)) })
        }),
    },
  } as unknown as Runtime
  const images = new Images({ runtime, clock: new FakeClock(), parallel, online: () => true })
  const ask = (pod: string, image: string) => {
    const said: string[] = []
    const over = new AbortController()
    const spec = { name: 'main', image, imagePullPolicy: 'IfNotPresent' }
    const done = images.ensure({ pod: testPod(pod), spec, config: { read: async () => undefined }, say: (_type, reason, message) => void said.push(`${reason}: ${message}`), failures: 0, signal: over.signal })
    done.catch(() => undefined)
    return { done, said, over }
  }
  const settled = () => new Promise((resolve) => setImmediate(resolve))
  return { pulls, ask, settled }
}

test('several pods that want one image share its pull, and each is told', async () => {
  const r = slowRegistry(3)
  const [a, b, other] = [r.ask('a', 'x.test/one:1'), r.ask('b', 'x.test/one:1'), r.ask('c', 'x.test/two:1')]
  await r.settled()
  assert.deepEqual(r.pulls.map((p) => p.image), ['x.test/one:1', 'x.test/two:1'])
  for (const p of r.pulls) p.arrive()
  assert.equal((await a.done).id, 'sha256:x.test/one:1')
  assert.equal((await b.done).id, (await a.done).id)
  assert.equal((await other.done).id, 'sha256:x.test/two:1')
  for (const one of [a, b]) assert.deepEqual(one.said.map((s) => s.split(' ').slice(0, 2).join(' ')), ['Pulling: Pulling', 'Pulled: Successfully'])
})

test('a pull goes on while one of its pods is left, and ends with the last', async () => {
  const r = slowRegistry(3)
  const [a, b] = [r.ask('a', 'x.test/one:1'), r.ask('b', 'x.test/one:1')]
  await r.settled()
  a.over.abort()
  await assert.rejects(a.done, isAbort)
  assert.equal(r.pulls[0]?.signal.aborted, false)
  b.over.abort()
  await assert.rejects(b.done, isAbort)
  assert.equal(r.pulls[0]?.signal.aborted, true)
  const c = r.ask('c', 'x.test/one:1')
  await r.settled()
  assert.equal(r.pulls.length, 2)
  r.pulls[1]?.arrive()
  await c.done
})

test('no more pulls than allowed go on at a time', async () => {
  const r = slowRegistry(1)
  const [a, b] = [r.ask('a', 'x.test/one:1'), r.ask('b', 'x.test/two:1')]
  await r.settled()
  assert.deepEqual(r.pulls.map((p) => p.image), ['x.test/one:1'])
  r.pulls[0]?.arrive()
  await a.done
  await r.settled()
  assert.deepEqual(r.pulls.map((p) => p.image), ['x.test/one:1', 'x.test/two:1'])
  r.pulls[1]?.arrive()
  await b.done
})
