import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FakeClock } from '../../base/clock.ts'
import { busyNanos, resourceMetrics, Stats, summarize, type Running, type Sample } from './summary.ts'

const sample = (ms: number, cpu: number, containers: [string, number, number][]): Sample => ({
  at: 1_700_000_000_000 + ms,
  monotonicMs: ms,
  cpuNanos: cpu,
  memoryAvailable: 300,
  memoryTotal: 1000,
  disk: { total: 100, free: 40, inodes: 10, inodesFree: 4 },
  containers: containers.map(([id, cpuNanos, memoryBytes]) => ({ id, cpuNanos, memoryBytes, writableBytes: 7 })),
})
const running = (id: string, name: string, uid: string, startedAtMs = 1_600_000_000_000): Running => ({ id, name, image: 'busy', startedAtMs, pod: { namespace: 'default', name: `pod-${uid}`, uid } })

test('rates are between two looks, a pod is the sum of its containers, the node is itself', () => {
  const s = summarize('n1', sample(0, 0, [['a', 1e9, 1], ['b', 0, 1]]), sample(2_000, 3e9, [['a', 2e9, 50], ['b', 1e9, 60], ['gone', 1, 1]]), [running('a', 'main', 'u1'), running('b', 'side', 'u1')], 0)
  assert.equal(s.node.cpu.usageNanoCores, 1.5e9)
  assert.equal(s.node.memory.workingSetBytes, 700)
  assert.deepEqual([s.node.fs?.usedBytes, s.node.fs?.inodesUsed], [60, 6])
  assert.equal(s.pods.length, 1)
  assert.deepEqual(s.pods[0]?.containers.map((c) => [c.name, c.cpu.usageNanoCores, c.memory.workingSetBytes]), [['main', 5e8, 50], ['side', 5e8, 60]])
  assert.deepEqual([s.pods[0]?.cpu.usageNanoCores, s.pods[0]?.memory.workingSetBytes], [1e9, 110])
})

test('a container that began meanwhile, or whose counter fell, has its rate from its start', () => {
  const after = sample(2_000, 0, [['new', 4e9, 1], ['reset', 1e9, 1]])
  const s = summarize('n1', sample(0, 0, [['reset', 9e9, 1]]), after, [running('new', 'new', 'u1', after.at - 8_000), running('reset', 'reset', 'u2', after.at - 4_000)], 0)
  assert.equal(s.pods[0]?.cpu.usageNanoCores, 5e8)
  assert.equal(s.pods[1]?.cpu.usageNanoCores, 2.5e8)
})

test('several askers cost one look; the next answer uses the last sample; an old one is not used', async () => {
  const clock = new FakeClock()
  let looks = 0
  const stats = new Stats({ nodeName: 'n1', clock, running: () => [running('a', 'main', 'u1')], look: async () => (looks++, sample(clock.monotonic(), clock.monotonic() * 1e6, [['a', clock.monotonic() * 1e5, 5]])) })
  const both = [stats.summary(), stats.summary()]
  await clock.advance(0)
  await clock.advance(1_000)
  const [one, two] = await Promise.all(both)
  assert.equal(one, two)
  assert.equal(looks, 2)
  assert.equal(one?.windowMs, 1_000)
  await clock.advance(10_000)
  assert.equal((await stats.summary()).windowMs, 10_000)
  assert.equal(looks, 3)
  await clock.advance(100_000)
  const third = stats.summary()
  await clock.advance(0)
  await clock.advance(1_000)
  assert.equal((await third).windowMs, 1_000)
})

test('a look that fails is not remembered', async () => {
  const clock = new FakeClock()
  let fail = true
  const stats = new Stats({ nodeName: 'n1', clock, running: () => [], look: async () => { if (fail) throw new Error('away'); return sample(clock.monotonic(), 0, []) } })
  await assert.rejects(stats.summary(), /away/)
  fail = false
  const again = stats.summary()
  await clock.advance(0)
  await clock.advance(1_000)
  assert.equal((await again).pods.length, 0)
})

test('the text form has the kubelet\'s names', () => {
  const text = resourceMetrics(summarize('n1', sample(0, 0, []), sample(1_000, 2e9, [['a', 5e8, 50]]), [running('a', 'main', 'u1')], 0))
  assert.match(text, /^node_cpu_usage_seconds_total 2 \d+$/m)
  assert.match(text, /^container_memory_working_set_bytes\{container="main",namespace="default",pod="pod-u1"\} 50 \d+$/m)
  assert.equal(busyNanos('cpu  1 2 3 400 5 6 7 8 9 9\ncpu0 1'), 27e7)
})
