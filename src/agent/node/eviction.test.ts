import assert from 'node:assert/strict'
import test from 'node:test'
import type { Pod } from '../../api/gen/types.ts'
import { FakeClock } from '../../base/clock.ts'
import { setLogSink } from '../../base/log.ts'
import { testNode, testPod } from '../testing.ts'
import { evictionOf, judge, NO_PRESSURE, quantity, rank, refusedUnder, type PodUse, type Signals } from './eviction.ts'
import { kubeletSettings } from './kubelet-settings.ts'
import { watchMemory } from './memory-watch.ts'

setLogSink(() => {})

const MI = 1 << 20
const memory = (mi: number): Signals => ({ 'memory.available': { available: mi * MI, capacity: 1024 * MI } })
const disk = (percent: number): Signals => ({ 'nodefs.available': { available: percent * 10, capacity: 1000 } })
const settings = (given: Record<string, string>) => kubeletSettings(given).eviction

test('hard limits are due at once, soft ones after their time; conditions outlast their last sign', () => {
  const s = settings({ 'eviction-hard': 'memory.available<100Mi,nodefs.available<10%', 'eviction-soft': 'memory.available<300Mi', 'eviction-soft-grace-period': 'memory.available=1m30s', 'eviction-minimum-reclaim': 'nodefs.available=5%' })
  const rows: readonly (readonly [at: number, signals: Signals, pressure: string, due: string])[] = [
    [0, { ...memory(500), ...disk(50) }, '', ''],
    [10, memory(250), 'memory', ''],
    [90, memory(250), 'memory', ''],
    [100, memory(250), 'memory', 'memory.available'],
    [110, { ...memory(50), ...disk(5) }, 'memory disk', 'memory.available memory.available nodefs.available'],
    // 10 % would not be passed anew, but it is to be relieved by 5 % more.
    [120, { ...memory(500), ...disk(12) }, 'memory disk', 'nodefs.available'],
    [130, { ...memory(500), ...disk(16) }, 'memory disk', ''],
    [409, { ...memory(500), ...disk(16) }, 'memory disk', ''],
    [410, { ...memory(500), ...disk(16) }, 'disk', ''],
    [420, { ...memory(500), ...disk(16) }, '', ''],
  ]
  let state = NO_PRESSURE
  for (const [at, signals, pressure, due] of rows) {
    const j = judge(s, state, signals, at * 1000)
    state = j.state
    const on = (['memory', 'disk', 'pid'] as const).filter((p) => j.pressure[p]).join(' ')
    assert.deepEqual({ at, on, due: j.due.map((t) => t.signal).join(' ') }, { at, on: pressure, due })
  }
})

const use = (name: string, totalMi: number, requestMi: number, more: object = {}): PodUse => ({
  pod: { metadata: { name }, spec: { containers: [{ name: 'c', resources: requestMi === 0 ? {} : { requests: { memory: `${requestMi}Mi` } } }], ...more } } as Pod,
  total: totalMi * MI,
  containers: new Map([['c', totalMi * MI]]),
})

test('pods go in order of requests, priority and use; what the system needs never goes', () => {
  const uses = [
    use('within', 90, 100),
    use('little-over', 110, 100),
    use('much-over', 300, 100),
    use('important', 900, 0, { priority: 1000 }),
    use('best-effort', 50, 0),
    use('system', 900, 0, { priority: 2_000_000_000 }),
    { ...use('static', 900, 0), pod: { metadata: { name: 'static', annotations: { 'kubernetes.io/config.source': 'file' } }, spec: { containers: [] } } as Pod },
  ]
  assert.deepEqual(rank(uses, 'memory').map((u) => u.pod.metadata?.name), ['much-over', 'best-effort', 'little-over', 'important', 'within'])
})

test('an eviction says what was short, and who used more than it asked for', () => {
  const s = settings({ 'eviction-hard': 'memory.available<100Mi', 'eviction-soft': 'memory.available<20%', 'eviction-soft-grace-period': 'memory.available=1m', 'eviction-max-pod-grace-period': '7' })
  const [hard, soft] = s.thresholds
  assert.ok(hard && soft)
  assert.deepEqual(evictionOf(use('web', 110, 100), hard, memory(50), s), {
    reason: 'Evicted',
    message: 'The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container c was using 110Mi, request is 100Mi, has larger consumption of memory. ',
    graceSeconds: 1,
    disrupts: true,
  })
  assert.equal(evictionOf(use('web', 90, 100), soft, memory(150), s).graceSeconds, 7)
  assert.equal(evictionOf(use('web', 90, 100), soft, memory(150), s).message, 'The node was low on resource: memory. Threshold quantity: 209715Ki, available: 150Mi. '.replace('209715Ki', quantity(Math.floor(1024 * MI * 0.2), 'memory')))
  assert.equal(quantity(3000, 'inodes'), '3k')
  assert.equal(quantity(0, 'memory'), '0')
})

test('under pressure the node lets in what it can bear', () => {
  const on = (...which: string[]) => ({ memory: which.includes('memory'), disk: which.includes('disk'), pid: which.includes('pid') })
  const bare = use('a', 0, 0).pod
  assert.equal(refusedUnder(on(), bare), undefined)
  assert.equal(refusedUnder(on('memory'), bare), 'The node had condition: [MemoryPressure]. ')
  assert.equal(refusedUnder(on('memory'), use('a', 0, 10).pod), undefined)
  assert.equal(refusedUnder(on('memory'), use('a', 0, 0, { tolerations: [{ key: 'node.kubernetes.io/memory-pressure', operator: 'Exists' }] }).pod), undefined)
  assert.equal(refusedUnder(on('memory', 'disk'), use('a', 0, 10).pod), 'The node had condition: [MemoryPressure DiskPressure]. ')
  assert.equal(refusedUnder(on('disk'), use('a', 0, 0, { priority: 2_000_001_000 }).pod), undefined)
})

test('settings are read in the kubelet’s forms, and refused with what is wrong', () => {
  const s = kubeletSettings({ 'eviction-hard': 'memory.available<5%,nodefs.available<0%', 'image-maximum-gc-age': '12h', 'serialize-image-pulls': 'true', 'container-log-max-size': '1Ki', 'shutdown-grace-period': '1m30s', 'shutdown-grace-period-critical-pods': '10s' })
  assert.deepEqual(s.eviction.thresholds, [{ signal: 'memory.available', limit: { percent: 5 } }])
  assert.deepEqual([s.images.maxAgeMs, s.parallelPulls, s.logMaxBytes, s.shutdown], [43_200_000, 1, 1024, { graceMs: 90_000, criticalMs: 10_000 }])
  assert.equal(kubeletSettings().eviction.thresholds.length, 5)
  const wrong: readonly (readonly [Record<string, string>, RegExp])[] = [
    [{ 'eviction-hard': 'memory<5%' }, /--eviction-hard "memory<5%" has "memory<5%", which is not like memory\.available<\.\.\.: known are memory\.available/],
    [{ 'eviction-hard': 'memory.available<lots' }, /has "lots", which is neither an amount like 100Mi nor a part like 10%/],
    [{ 'eviction-hard': 'memory.available<5%,memory.available<6%' }, /names memory\.available twice/],
    [{ 'eviction-soft': 'memory.available<5%' }, /--eviction-soft-grace-period "" has no time for the soft limit memory\.available: add memory\.available=1m30s/],
    [{ 'image-gc-low-threshold': '90' }, /is not below --image-gc-high-threshold 85/],
    [{ 'container-log-max-files': '1' }, /is not a whole number between 2 and 1000/],
    [{ 'eviction-pressure-transition-period': '5 minutes' }, /is not a time like/],
    [{ 'shutdown-grace-period-critical-pods': '10s' }, /is more than --shutdown-grace-period 0/],
  ]
  for (const [given, message] of wrong) assert.throws(() => kubeletSettings(given), message)
})

test('a node short of memory ends the greedy pod, tells it, takes no more, and is relieved in time', async () => {
  let available = 4096
  const facts = async () => ({
    capacity: { cpu: '4', memory: '4Gi', pods: '110' },
    allocatable: { cpu: '4', memory: '4Gi', pods: '110' },
    nodeInfo: {},
    addresses: [{ type: 'InternalIP', address: '192.0.2.7' }],
    pressure: { memory: false, disk: false, pid: false },
    signals: { 'memory.available': { available: available * MI, capacity: 4096 * MI } },
  })
  await using n = await testNode({ app: {} }, { facts })
  n.api.put('pods', testPod('greedy'))
  n.api.put('pods', testPod('modest', { containers: [{ name: 'main', image: 'app', imagePullPolicy: 'IfNotPresent', resources: { requests: { memory: '64Mi' } } }] }))
  const phase = (name: string): string | undefined => n.api.pod(name).status?.phase
  await n.until('both run', () => phase('greedy') === 'Running' && phase('modest') === 'Running')
  available = 60
  await n.pass(11_000)
  await n.until('one evicted', () => phase('greedy') === 'Failed')
  available = 2048
  const { status } = n.api.pod('greedy')
  assert.equal(status?.reason, 'Evicted')
  assert.match(status?.message ?? '', /^The node was low on resource: memory\. Threshold quantity: 100Mi, available: 60Mi\. Container main was using 1Mi, request is 0, has larger consumption of memory\. $/)
  assert.deepEqual(status?.conditions?.filter((c) => c.type === 'DisruptionTarget').map((c) => [c.status, c.reason]), [['True', 'TerminationByKubelet']])
  assert.ok(n.said.some((e) => e.startsWith('Warning Evicted greedy: The node was low on resource: memory.')))
  assert.ok(n.said.includes('Warning EvictionThresholdMet n1: Attempting to reclaim memory'))
  const pressed = (): string | undefined => (n.api.objects.get('nodes//n1') as { status?: { conditions?: { type: string; status: string }[] } }).status?.conditions?.find((c) => c.type === 'MemoryPressure')?.status
  await n.until('condition told', () => pressed() === 'True')
  n.api.put('pods', testPod('late'))
  await n.until('refused', () => phase('late') === 'Failed')
  assert.equal(n.api.pod('late').status?.message, 'Pod was rejected: The node had condition: [MemoryPressure]. ')
  assert.equal(phase('modest'), 'Running')
  await n.pass(311_000)
  await n.until('condition gone', () => pressed() === 'False')
  assert.equal(phase('modest'), 'Running')
})

test('a pod that names a node with no room, the wrong labels, a taken port or a taint is refused by it', async () => {
  await using n = await testNode()
  const running = (spec: object) => testPod('taken', { containers: [{ name: 'main', image: 'app', imagePullPolicy: 'IfNotPresent', ...spec }] })
  n.api.put('pods', running({ resources: { requests: { cpu: '3' } }, ports: [{ containerPort: 80, hostPort: 8080 }] }))
  await n.until('running', () => n.api.pod('taken').status?.phase === 'Running')
  n.api.put('nodes', { ...n.api.objects.get('nodes//n1'), spec: { podCIDR: '10.0.0.0/24', taints: [{ key: 'gone', effect: 'NoExecute' }] } } as never)
  const tolerations = [{ operator: 'Exists' }]
  const rows: readonly (readonly [name: string, spec: object, reason: string, message: string])[] = [
    ['cpu', { tolerations, containers: [{ name: 'main', image: 'app', resources: { requests: { cpu: '1500m' } } }] }, 'OutOfcpu', "Pod was rejected: Node didn't have enough resource: cpu, requested: 1500, used: 3000, capacity: 4000"],
    ['memory', { tolerations, containers: [{ name: 'main', image: 'app', resources: { requests: { memory: '4Gi' } } }] }, 'OutOfmemory', "Pod was rejected: Node didn't have enough resource: memory, requested: 4294967296, used: 0, capacity: 3221225472"],
    ['affinity', { tolerations, nodeSelector: { disk: 'ssd' } }, 'NodeAffinity', "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"],
    ['ports', { tolerations, containers: [{ name: 'main', image: 'app', ports: [{ containerPort: 1, hostPort: 8080 }] }] }, 'NodePorts', "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"],
    ['taint', {}, 'TaintToleration', "Pod was rejected: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"],
  ]
  for (const [name, spec, reason, message] of rows) {
    n.api.put('pods', testPod(name, spec))
    await n.until(`${name} refused`, () => n.api.pod(name).status?.phase === 'Failed')
    assert.deepEqual([n.api.pod(name).status?.reason, n.api.pod(name).status?.message], [reason, message])
  }
  n.api.put('pods', testPod('fits', { tolerations }))
  await n.until('let in', () => n.api.pod('fits').status?.phase === 'Running')
})

test('a limit of memory that is passed between two looks is told within two seconds, once', async () => {
  const clock = new FakeClock()
  const stop = new AbortController()
  let left = 500
  const told: number[] = []
  const { thresholds } = settings({ 'eviction-hard': 'memory.available<100Mi', 'eviction-soft': 'memory.available<30%', 'eviction-soft-grace-period': 'memory.available=1m' })
  const work = watchMemory({ clock, thresholds, capacity: () => 1024 * MI, available: () => left * MI, onPassed: () => void told.push(left) }, stop.signal)
  for (const now of [500, 250, 250, 50, 50, 250, 90, 500, 50]) {
    left = now
    await clock.advance(2_000)
  }
  stop.abort()
  await work
  assert.deepEqual(told, [250, 50, 90, 50])
})

test('limits of the disk of containers are taken and told not to count: it is that of the images', () => {
  const s = kubeletSettings({ 'eviction-hard': 'containerfs.available<20%,imagefs.available<10%', 'eviction-minimum-reclaim': 'containerfs.inodesFree=1%' })
  assert.deepEqual(s.eviction.thresholds.map((t) => t.signal), ['imagefs.available'])
  assert.deepEqual(s.notes, [
    '--eviction-minimum-reclaim "containerfs.inodesFree=1%" does not count: containers are on the disk of the images, for which imagefs.inodesFree counts',
    '--eviction-hard "containerfs.available<20%" does not count: containers are on the disk of the images, for which imagefs.available counts',
  ])
})
