import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { hasCode } from '../base/errors.ts'
import { containerConfig, sandboxConfig, SECURITY } from '../../test/suites/runtime.ts'
import { containerdRuntime } from './containerd.ts'
import { toContainerConfig, toSandboxConfig } from './convert.ts'
import { toEvent } from './events.ts'
import { generate } from './gen/generate.ts'
import { exitCodeOf } from './streaming.ts'

const place = { logDirectory: '/l', cgroupParent: '/c' }
interface Wire { linux: { securityContext: Record<string, unknown> & { namespaceOptions: unknown; seccomp: unknown } }; hostname?: string; portMappings?: unknown }

test('the descriptor is what the .proto files say', () => {
  assert.equal(readFileSync(new URL('./gen/descriptor.ts', import.meta.url), 'utf8'), generate())
})

test('namespaces follow the pod: its own by default, the node’s or a shared one when asked', () => {
  const of = (change: Parameters<typeof sandboxConfig>[1]): unknown => (toSandboxConfig(sandboxConfig(place, change)) as Wire).linux.securityContext.namespaceOptions
  assert.deepEqual(of({}), { network: 0, pid: 1, ipc: 0 })
  assert.deepEqual(of({ hostNetwork: true, hostPID: true, hostIPC: true }), { network: 2, pid: 2, ipc: 2 })
  assert.deepEqual(of({ sharePID: true }), { network: 0, pid: 0, ipc: 0 })
})

test('a pod on the host network takes the machine’s host name', () => {
  assert.equal((toSandboxConfig(sandboxConfig(place, { hostNetwork: true, hostname: 'x' })) as Wire).hostname, '')
})

test('seccomp, masked paths and users are as Kubernetes means them', () => {
  const of = (security: Partial<typeof SECURITY>): Record<string, unknown> =>
    (toContainerConfig(containerConfig('i', { security: { ...SECURITY, ...security } }), sandboxConfig(place)) as Wire).linux.securityContext
  assert.deepEqual(of({})['seccomp'], { profileType: 0 })
  assert.deepEqual(of({ seccomp: 'localhost/p.json' })['seccomp'], { profileType: 2, localhostRef: 'p.json' })
  assert.deepEqual(of({ privileged: true })['seccomp'], { profileType: 1 })
  assert.deepEqual(of({ privileged: true })['maskedPaths'], [])
  assert.ok((of({})['maskedPaths'] as string[]).includes('/proc/kcore'))
  assert.deepEqual(of({ maskedPaths: [] })['maskedPaths'], [])
  assert.deepEqual(of({ runAsUser: 0, runAsGroup: 7 })['runAsUser'], { value: 0 })
  assert.equal('runAsGroup' in of({ runAsGroup: 7 }), false, 'CRI refuses a group without a user')
})

test('an exec’s exit is nobody’s event; a container’s is', () => {
  const message = (...fields: string[]): Buffer => Buffer.concat(fields.map((f, i) => Buffer.concat([Buffer.of(((i + 1) << 3) | 2, f.length), Buffer.from(f)])))
  assert.deepEqual(toEvent('/tasks/exit', message('c1', 'c1')), { type: 'exited', containerId: 'c1' })
  assert.equal(toEvent('/tasks/exit', message('c1', 'exec-9')), undefined)
  assert.deepEqual(toEvent('/tasks/oom', message('c1')), { type: 'oom', containerId: 'c1' })
  // TaskStart has the pid, a number, in field 2.
  assert.deepEqual(toEvent('/tasks/start', Buffer.concat([message('c1'), Buffer.of(0x10, 7)])), { type: 'started', containerId: 'c1' })
  assert.equal(toEvent('/images/create', message('x')), undefined)
})

test('a status message gives its exit code', () => {
  assert.equal(exitCodeOf(''), 0)
  assert.equal(exitCodeOf('{"status":"Success"}'), 0)
  assert.equal(exitCodeOf('{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}'), 7)
  assert.equal(exitCodeOf('container not running'), undefined)
})

test('a runtime that is not there is unavailable, and says which call', async () => {
  using runtime = containerdRuntime({ address: '/nowhere/containerd.sock', ioDirectory: '/nowhere' })
  await assert.rejects(runtime.status(), (e) => hasCode(e, 'unavailable') && /Version|Status/.test(String(e)))
  await assert.rejects(async () => {
    for await (const _ of runtime.events(new AbortController().signal));
  }, (e) => hasCode(e, 'unavailable'))
  await assert.rejects(runtime.streams.portForward('s', 0), (e) => hasCode(e, 'invalid'))
  await assert.rejects(runtime.streams.exec('c', [], { stdin: false, tty: false }), (e) => hasCode(e, 'invalid'))
})

test('users of the pod’s own go with the sandbox, its containers and their mounts; strict groups and recursive mounts are said only when asked', () => {
  const sandbox = sandboxConfig(place, { userNamespace: { hostId: 65_536, length: 65_536 }, security: { ...SECURITY, strictGroups: true } })
  const mapping = [{ hostId: 65_536, containerId: 0, length: 65_536 }]
  const mounts = [{ hostPath: '/a', containerPath: '/b', readOnly: true, recursiveReadOnly: true, propagation: 'private' as const }]
  const security = (toSandboxConfig(sandbox) as Wire).linux.securityContext
  assert.deepEqual([security.namespaceOptions, security['supplementalGroupsPolicy']], [{ network: 0, pid: 1, ipc: 0, usernsOptions: { mode: 0, uids: mapping, gids: mapping } }, 1])
  const container = toContainerConfig(containerConfig('i', { mounts, security: { ...SECURITY, strictGroups: true } }), sandbox) as Wire & { mounts: object[] }
  assert.deepEqual(container.mounts, [{ containerPath: '/b', hostPath: '/a', readonly: true, propagation: 0, recursiveReadOnly: true, uidMappings: mapping, gidMappings: mapping }])
  assert.equal(container.linux.securityContext['supplementalGroupsPolicy'], 1)
  const plain = toContainerConfig(containerConfig('i', { mounts: [{ hostPath: '/a', containerPath: '/b', readOnly: true, propagation: 'private' }] }), sandboxConfig(place)) as Wire & { mounts: object[] }
  assert.deepEqual([plain.mounts, 'supplementalGroupsPolicy' in plain.linux.securityContext], [[{ containerPath: '/b', hostPath: '/a', readonly: true, propagation: 0 }], false])
})
