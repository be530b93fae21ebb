import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import type { Node, Pod } from '../../api/gen/types.ts'
import { setLogSink } from '../../base/log.ts'
import { testNode } from '../testing.ts'
import { Cgroups } from './cgroups.ts'
import { readFacts } from './facts.ts'
import { clockOff } from './node.ts'

setLogSink(() => {})

test('facts of this machine have capacity, addresses and a Kubernetes architecture', async () => {
  const facts = await readFacts({ nodeName: 'n1', dataDir: tmpdir(), maxPods: 20, reserved: { cpu: '100m', memory: '64Mi' }, runtimeVersion: async () => 'fake://0' })
  assert.match(facts.capacity['memory'] ?? '', /^\d+Ki$/)
  assert.match(facts.allocatable['cpu'] ?? '', /^\d+m$/)
  assert.equal(facts.capacity['pods'], '20')
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
