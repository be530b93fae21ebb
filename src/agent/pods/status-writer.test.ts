import assert from 'node:assert/strict'
import test from 'node:test'
import type { Pod, PodStatus } from '../../api/gen/types.ts'
import { FakeClock } from '../../base/clock.ts'
import { FakeApi, testPod } from '../testing.ts'
import { StatusWriter } from './status-writer.ts'

const creating: PodStatus = { phase: 'Pending', containerStatuses: [{ name: 'main', image: 'app', imageID: '', ready: false, restartCount: 0, state: { waiting: { reason: 'ContainerCreating' } } }] }
const pulling: PodStatus = { ...creating, containerStatuses: [{ name: 'main', image: 'app', imageID: '', ready: false, restartCount: 0, state: { waiting: { reason: 'ErrImagePull' } } }] }
const running: PodStatus = { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] }

/** Nothing here waits for more than turns of the event loop. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
}

test('a start that goes well is told by one write, one that takes its time also on its way, bad news at once', async () => {
  const clock = new FakeClock()
  const api = new FakeApi()
  const writer = new StatusWriter({ client: api.client, clock })
  const stop = new AbortController()
  const done = writer.run(stop.signal)
  const writes = (name: string): number => api.calls.filter((c) => c === `patch pods ${name} status`).length
  const [quick, slow, bad] = ['quick', 'slow', 'bad'].map((name) => testPod(name)) as [Pod, Pod, Pod]
  for (const p of [quick, slow, bad]) api.put('pods', p)
  for (const p of [quick, slow, bad]) writer.set(p, creating)
  writer.set(bad, pulling)
  await settle()
  assert.deepEqual([writes('quick'), writes('slow'), writes('bad')], [0, 0, 1])
  await clock.advance(150)
  writer.set(quick, running)
  await settle()
  assert.deepEqual([writes('quick'), writes('slow')], [1, 0])
  assert.equal(writer.now(slow).status?.phase, 'Pending', 'who asks the node hears it before')
  await clock.advance(60)
  await settle()
  assert.deepEqual([writes('quick'), writes('slow'), writes('bad'), writer.pending], [1, 1, 1, 0])
  stop.abort()
  await done
})
