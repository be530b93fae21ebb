import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FakeClock } from '../base/clock.ts'
import { AppError, hasCode } from '../base/errors.ts'
import { containerConfig, runtimeSuite, sandboxConfig } from '../../test/suites/runtime.ts'
import { FakeRuntime } from './fake.ts'

const exec = (): { exitCode: number; stdout: string; stderr: string } => ({ exitCode: 4, stdout: 'out\n', stderr: 'err\n' })

runtimeSuite('fake', async () => ({
  runtime: new FakeRuntime({ images: { runs: { exec }, exits3: { exitAfterMs: 0, exitCode: 3 }, stubborn: { stopAfterMs: 60_000 } } }),
  images: { runs: 'runs', exits3: 'exits3', stubborn: 'stubborn' },
  logDirectory: '/none',
  cgroupParent: '/none',
  close: async () => {},
}))

const place = { logDirectory: '/none', cgroupParent: '/none' }

test('a fake container ends when its clock says so', async () => {
  const clock = new FakeClock()
  const runtime = new FakeRuntime({ clock, images: { job: { exitAfterMs: 5000, exitCode: 2 } } })
  const config = sandboxConfig(place)
  const id = await runtime.containers.create(await runtime.sandboxes.run(config), containerConfig('job'), config)
  await runtime.containers.start(id)
  await clock.advance(4999)
  assert.equal((await runtime.containers.inspect(id)).state, 'running')
  await clock.advance(1)
  const ended = await runtime.containers.inspect(id)
  assert.deepEqual([ended.state, ended.exitCode, ended.finishedAtMs], ['exited', 2, clock.now()])
  assert.equal(clock.pending, 0)
})

test('ordered failures come once each, and a runtime that is away cuts event readers', async () => {
  const runtime = new FakeRuntime({ images: { a: {} } })
  runtime.failNext('images.pull', new AppError('unavailable', 'pull: no route'))
  await assert.rejects(runtime.images.pull('a', undefined), (e) => hasCode(e, 'unavailable'))
  await runtime.images.pull('a', undefined)
  const reading = (async () => {
    for await (const _ of runtime.events(new AbortController().signal));
  })()
  await new Promise((resolve) => setImmediate(resolve))
  runtime.setAway(true)
  await assert.rejects(reading, (e) => hasCode(e, 'unavailable'))
  await assert.rejects(runtime.sandboxes.list(), (e) => hasCode(e, 'unavailable'))
  runtime.setAway(false)
  await runtime.sandboxes.list()
})

test('a pull brings an image that only the registry has, and fails for one that nobody has', async () => {
  const runtime = new FakeRuntime({ images: { remote: { present: false } } })
  assert.equal(await runtime.images.find('remote'), undefined)
  const id = await runtime.images.pull('remote', undefined)
  assert.equal((await runtime.images.find('remote'))?.id, id)
  await assert.rejects(runtime.images.pull('nobody', undefined), (e) => hasCode(e, 'not-found'))
})

test('after power loss everything is listed and nothing runs', async () => {
  const runtime = new FakeRuntime({ images: { a: {} } })
  const config = sandboxConfig(place)
  const sandbox = await runtime.sandboxes.run(config)
  await runtime.containers.start(await runtime.containers.create(sandbox, containerConfig('a'), config))
  runtime.powerLoss()
  assert.deepEqual((await runtime.sandboxes.list()).map((s) => s.state), ['not-ready'])
  assert.deepEqual((await runtime.containers.list()).map((c) => [c.state, c.exitCode]), [['exited', 255]])
})
