import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import type { Node, Pod } from '../../api/gen/types.ts'
import { setLogSink } from '../../base/log.ts'
import { testNode, testPod } from '../testing.ts'
import { Cgroups } from './cgroups.ts'
import { readFacts } from './facts.ts'
import { listed } from './known-images.ts'
import { clockOff } from './node.ts'

setLogSink(() => {})

test('facts of this machine have capacity, addresses and a Kubernetes architecture', async () => {
  const facts = await readFacts({ nodeName: 'n1', dataDir: tmpdir(), maxPods: 20, reserved: { cpu: '100m', memory: '64Mi' }, runtimeVersion: async () => 'fake://0' })
  assert.match(facts.capacity['memory'] ?? '', /^\d+Ki$/)
  assert.match(facts.allocatable['cpu'] ?? '', /^\d+m$/)
  assert.equal(facts.capacity['pods'], '20')
  for (const [name, bytes] of Object.entries(facts.capacity)) if (name.startsWith('hugepages-')) assert.match(`${name} ${bytes}`, /^hugepages-[1-9]\d*[KMG]i (0|[1-9]\d*[KMG]i)$/)
  assert.ok(['amd64', 'arm64'].includes(facts.nodeInfo['architecture'] ?? ''))
  assert.deepEqual(facts.addresses.at(-1), { type: 'Hostname', address: 'n1' })
})

test('a node turns NotReady when the runtime is away and Ready when it is back', async () => {
  await using n = await testNode()
  const ready = (): string | undefined => (n.api.objects.get('nodes//n1') as Node | undefined)?.status?.conditions?.find((c) => c.type === 'Ready')?.status
  await n.until('ready', () => ready() === 'True')
  n.runtime.setAway(true)
  await n.pass(61_000)
  await n.until('not ready', () => ready() === 'False')
  n.runtime.setAway(false)
  await n.pass(5000)
  await n.until('ready again', () => ready() === 'True')
})

test('a Node that somebody deleted registers again', async () => {
  await using n = await testNode()
  await n.until('registered', () => n.api.calls.includes('patch nodes n1 status'))
  n.api.remove('nodes', undefined, 'n1')
  await n.pass(11_000)
  await n.until('there again', () => n.api.objects.has('nodes//n1'))
})

test('the pod network is looked after while it stays the same; a fault is said once and tried again', async () => {
  const asked: string[] = []
  let fault: string | undefined
  const network = {
    configure: async (cidr: string) => {
      asked.push(cidr)
      if (fault !== undefined) throw new Error(fault)
    },
    setHostPorts: async () => {},
  }
  await using n = await testNode({ app: {} }, { network })
  await n.until('the first network', () => asked.length === 1)
  await n.pass(50_000)
  assert.deepEqual(asked, ['10.0.0.0/24'])
  fault = 'nft is gone'
  await n.pass(60_000)
  assert.ok(asked.length > 2, `asked ${asked.length} times`)
  assert.deepEqual(n.said.filter((line) => line.includes('nft is gone')), ['Warning NetworkSetupFailed n1: nft is gone'])
  fault = undefined
  await n.pass(20_000)
  const mended = asked.length
  await n.pass(40_000)
  assert.equal(asked.length, mended)
})

test('a status that the API has lost is written again, one that others add to is not', async () => {
  await using n = await testNode()
  const writes = (): number => n.api.calls.filter((c) => c === 'patch nodes n1 status').length
  const node = (): Node => n.api.objects.get('nodes//n1') as Node
  await n.until('ready', () => node()?.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true)
  const whole = node()
  const before = writes()
  n.api.put('nodes', { ...whole, status: { ...whole.status, capacity: { ...whole.status?.capacity, 'example.com/dongle': '2' }, conditions: [...(whole.status?.conditions ?? []), { type: 'Other', status: 'True' }] } } as Node)
  for (let i = 0; i < 6; i++) await n.pass(11_000)
  assert.equal(writes(), before)
  n.api.put('nodes', { ...node(), status: { ...node().status, addresses: [{ type: 'InternalIP', address: '192.0.2.77' }] } } as Node)
  for (let i = 0; i < 6; i++) await n.pass(11_000)
  await n.until('written again', () => node().status?.addresses?.[0]?.address !== '192.0.2.77')
  assert.equal(writes(), before + 1)
})

test('the status lists the largest images, read again when one was pulled', async () => {
  await using n = await testNode()
  const images = (): unknown => (n.api.objects.get('nodes//n1') as Node | undefined)?.status?.images
  await n.until('registered', () => images() !== undefined)
  for (let i = 0; i < 60; i++) n.runtime.addImage(`x.test/i${i}:1`, { sizeBytes: 2 ** 30 + i, present: i !== 59 })
  n.api.put('pods', testPod('p', { containers: [{ name: 'c', image: 'x.test/i59:1' }] }))
  await n.until('pulled', () => n.runtime.calls.some((c) => c.startsWith('images.pull')))
  await n.pass(11_000)
  await n.until('listed', () => (images() as unknown[]).length === 50)
  assert.deepEqual((images() as unknown[])[0], { names: ['x.test/i59:1'], sizeBytes: 2 ** 30 + 59 })
  assert.deepEqual(listed([{ id: 'a', tags: ['t:1', 't:2', 't:3'], digests: ['d@1', 'd@2', 'd@3'], sizeBytes: 1, user: '', pinned: false }]), [{ names: ['d@1', 'd@2', 'd@3', 't:1', 't:2'], sizeBytes: 1 }])
})

test('the status says what the runtime says it can do, and nothing of one that says nothing', async () => {
  await using n = await testNode()
  const status = (): Node['status'] => (n.api.objects.get('nodes//n1') as Node | undefined)?.status
  await n.until('written', () => status()?.conditions !== undefined)
  assert.deepEqual([status()?.features, status()?.runtimeHandlers], [undefined, undefined])
  await n.stop()
  n.runtime.features = { handlers: new Map([['', { userNamespaces: true, recursiveReadOnly: false }]]), strictGroups: true }
  n.start()
  await n.until('said', () => status()?.features !== undefined)
  assert.deepEqual([status()?.features, status()?.runtimeHandlers], [{ supplementalGroupsPolicy: true }, [{ name: '', features: { recursiveReadOnlyMounts: false, userNamespaces: true } }]])
})

test('the cgroup tree is made on v1 and v2, with limits, and removed', async () => {
  const root = mkdtempSync(join(tmpdir(), 'skerry-cgroup-'))
  const one = { metadata: { uid: 'u' }, spec: { containers: [{ name: 'c', resources: { limits: { memory: '64Mi', cpu: '500m' }, requests: { cpu: '100m', memory: '32Mi' } } }] } } as Pod
  mkdirSync(join(root, 'v1', 'memory'), { recursive: true })
  mkdirSync(join(root, 'v1', 'cpu'))
  const v1 = new Cgroups('/skerry-a', join(root, 'v1'))
  const dir = join(root, 'v1', 'memory', 'skerry-a/kubepods/burstable/podu')
  mkdirSync(dir, { recursive: true })
  writeFileSync(join(dir, 'memory.limit_in_bytes'), '')
  await v1.ensurePod(one)
  assert.equal(v1.parentOf('u', 'Burstable'), '/skerry-a/kubepods/burstable/podu')
  assert.equal(readFileSync(join(dir, 'memory.limit_in_bytes'), 'utf8'), '67108864')
  assert.deepEqual(await v1.uids(), ['u'])
  // A directory where the kernel has a file: it takes no value, as one that the kernel refuses.
  const refusing = join(root, 'v1', 'cpu', 'skerry-a/kubepods/burstable/podu/cpu.shares')
  mkdirSync(refusing)
  await v1.ensurePod(one)
  await assert.rejects(v1.ensurePod(one, undefined, true), { code: 'internal', message: /^set cpu\.shares of the pod's cgroup to \d+: the kernel refuses it \(EISDIR\)$/ })
  rmSync(refusing, { recursive: true })
  mkdirSync(join(root, 'v2'))
  writeFileSync(join(root, 'v2', 'cgroup.controllers'), 'cpu memory')
  const v2 = new Cgroups('/skerry-a', join(root, 'v2'))
  await v2.ensurePod(one)
  assert.deepEqual(await v2.uids(), ['u'])
  rmSync(join(dir, 'memory.limit_in_bytes'))
  await v1.removePod('u')
  assert.deepEqual(await v1.uids(), [])
  rmSync(join(root, 'v1', 'cpu', 'skerry-a'), { recursive: true })
  await v1.ensurePod(one)
  assert.ok(existsSync(join(root, 'v1', 'cpu', 'skerry-a/kubepods/burstable/podu')), 'a tree that somebody removed is made again')
  rmSync(root, { recursive: true, force: true })
})

test('what still runs in the cgroups of a pod that is no more is ended', async () => {
  const root = mkdtempSync(join(tmpdir(), 'skerry-cgroup-'))
  const container = join(root, 'v1/freezer/skerry-a/kubepods/burstable/podgone/container')
  mkdirSync(container, { recursive: true })
  const forgotten = spawn('sleep', ['600'], { stdio: 'ignore' })
  const ended = once(forgotten, 'exit')
  writeFileSync(join(container, 'cgroup.procs'), `${forgotten.pid}\n0\n`)
  writeFileSync(join(container, 'freezer.state'), 'FROZEN')
  const cgroups = new Cgroups('/skerry-a', join(root, 'v1'))
  // The files of a real cgroup go with it; these keep the directory, as a process that has not ended yet would.
  await assert.rejects(cgroups.removePod('gone'))
  assert.deepEqual(await ended, [null, 'SIGKILL'])
  assert.equal(readFileSync(join(container, 'freezer.state'), 'utf8'), 'THAWED')
  rmSync(join(container, 'cgroup.procs'))
  rmSync(join(container, 'freezer.state'))
  await cgroups.removePod('gone')
  assert.deepEqual(await cgroups.uids(), [])
  rmSync(root, { recursive: true, force: true })
})

test('a clock is told of from five minutes on, in an amount that does not change with every look', () => {
  assert.equal(clockOff(299_000), '')
  assert.equal(clockOff(-300_000), '')
  assert.match(clockOff(365 * 86_400_000 + 12_345), /^clock of this node is 365 days ahead of the server's: set it/)
  assert.match(clockOff(-7_199_000), /120 minutes behind the server's/)
  assert.match(clockOff(-10_800_000), /3 hours behind/)
})
