import { test } from 'node:test'
import assert from 'node:assert/strict'
import { FakeApi } from '../../test/kit/fake-api.ts'
import { FakeClock } from '../base/clock.ts'
import { createClient, createEventRecorder } from './mod.ts'

const about = (name: string) => ({ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: 'd', uid: name } })

function setup() {
  const api = new FakeApi()
  const clock = new FakeClock()
  const recorder = createEventRecorder({ client: createClient(api), clock, component: 'kubelet', host: 'cam-1' })
  const stop = new AbortController()
  const done = recorder.run(stop.signal)
  const events = () => [...api.objects.values()] as unknown as { message: string; count: number; reason: string }[]
  const end = async (): Promise<void> => {
    stop.abort()
    await done
  }
  return { api, clock, recorder, events, end }
}

test('a repeated event is one object with a count', async () => {
  const { clock, recorder, events, end } = setup()
  for (let i = 0; i < 3; i++) {
    recorder.event(about('web'), 'Warning', 'BackOff', 'back-off restarting')
    await clock.advance(10)
  }
  assert.deepEqual(events().map((e) => `${e.reason} ${e.message} ${e.count}`), ['BackOff back-off restarting 3'])
  await end()
})

test('events wait through an outage and are bounded per object and in all', async () => {
  const { api, clock, recorder, events, end } = setup()
  api.setAway(true)
  for (let i = 0; i < 100; i++) recorder.event(about('web'), 'Normal', 'Pulled', `image ${i}`)
  for (let i = 0; i < 600; i++) recorder.event(about(`p${i}`), 'Normal', 'Started', 'started')
  await clock.advance(1_000)
  assert.equal(events().length, 0)
  api.setAway(false)
  await clock.advance(120_000)
  assert.equal(events().length + recorder.dropped, 600 + 11)
  assert.ok(events().length <= 512)
  await end()
})

test('many different messages of one reason are combined', async () => {
  const { clock, recorder, events, end } = setup()
  for (let i = 0; i < 20; i++) recorder.event(about('web'), 'Warning', 'Unhealthy', `probe ${i}`)
  await clock.advance(10)
  assert.equal(events().length, 11)
  assert.ok(events().some((e) => e.message === '(combined from similar events): probe 19' && e.count === 10))
  await end()
})
