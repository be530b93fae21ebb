/** A day of pods that come, go and crash, and a week without the server: what the agent keeps does not grow. On a fake runtime and clock. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { setLogSink } from '../../src/base/log.ts'
import { testNode, testPod, type TestNode } from '../../src/agent/testing.ts'

setLogSink(() => {})
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
const MINUTE = 60_000
/** Allowed growth: the noise of a heap between two collections, far under what one kept pod an hour would cost. */
const NOISE = 1.5 * 2 ** 20

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1))

/** What only the test's own pieces remember. */
function forget(n: TestNode): void {
  n.runtime.calls.length = 0
  n.api.calls.length = 0
  n.said.length = 0
  n.hostPorts.length = 0
  for (const id of n.api.objects.keys()) if (id.startsWith('events/')) n.api.objects.delete(id)
}

async function pass(n: TestNode, ms: number, stepMs: number): Promise<void> {
  for (let left = ms; left > 0; left -= stepMs) {
    await n.clock.advance(stepMs)
    for (let i = 0; i < 3; i++) await settle()
    forget(n)
  }
}

async function heap(n: TestNode): Promise<number> {
  forget(n)
  for (let i = 0; i < 4; i++) {
    await settle()
    collect()
  }
  return process.memoryUsage().heapUsed
}

test('memory is flat over a day of churn and a week without the server', { timeout: 900_000 }, async (t) => {
  // The agent's own recorder of Events, with its queue, not the test's list.
  await using n = await testNode({ app: {}, crash: { exitAfterMs: 20_000, exitCode: 1 } }, { events: undefined as never })
  for (let i = 0; i < 3; i++) n.api.put('pods', testPod(`crash-${i}`, { containers: [{ name: 'main', image: 'crash', imagePullPolicy: 'IfNotPresent' }] }))
  let next = 0
  const hour = async (): Promise<void> => {
    for (let quarter = 0; quarter < 4; quarter++) {
      const names = Array.from({ length: 6 }, () => `fleeting-${next++}`)
      for (const name of names) n.api.put('pods', testPod(name))
      await pass(n, 8 * MINUTE, 4 * MINUTE)
      for (const name of names) n.api.remove('pods', 'default', name)
      await pass(n, 7 * MINUTE, 3.5 * MINUTE)
    }
  }
  // By then what is bounded by number (Events known, compiled code) has filled up.
  for (let h = 0; h < 12; h++) await hour()
  const warm = await heap(n)
  for (let h = 12; h < 24; h++) await hour()
  const day = await heap(n)
  const sandboxes = await n.runtime.sandboxes.list()
  assert.deepEqual([...new Set(sandboxes.map((s) => s.name))].sort(), ['crash-0', 'crash-1', 'crash-2'], `of ${next} pods that came and went, nothing is left`)

  n.api.away = true
  await pass(n, 24 * 60 * MINUTE, 15 * MINUTE)
  const away = await heap(n)
  await pass(n, 6 * 24 * 60 * MINUTE, 15 * MINUTE)
  const week = await heap(n)
  n.api.away = false
  n.agent.kick()
  await n.until('the pods told again', () => (n.api.pod('crash-0').status?.containerStatuses?.[0]?.restartCount ?? 0) > 1000)

  const mb = (bytes: number): string => (bytes / 2 ** 20).toFixed(2)
  t.diagnostic(`heap: ${mb(warm)} MB after 12 h, ${mb(day)} after 24 h and ${next} pods; ${mb(away)} after a day away, ${mb(week)} after a week`)
  assert.ok(day - warm < NOISE, `${mb(warm)} MB after 12 h, ${mb(day)} MB after 24 h`)
  assert.ok(week - away < NOISE, `${mb(away)} MB after a day without the server, ${mb(week)} MB after a week`)
})
