import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { setLogSink } from '../../base/log.ts'
import { testNode, testPod } from '../testing.ts'
import { UserNamespaces } from './user-namespaces.ts'

setLogSink(() => {})

test('each pod has users of its own, the same after a restart; what a gone pod had is free', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'dr-users-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  for (const uid of ['a', 'b', 'c']) await mkdir(join(dir, 'pods', uid), { recursive: true })
  const before = new UserNamespaces(dir)
  assert.deepEqual([await before.of('a'), await before.of('b')], [{ hostId: 65_536, length: 65_536 }, { hostId: 131_072, length: 65_536 }])
  const later = new UserNamespaces(dir)
  assert.deepEqual([(await later.of('c')).hostId, (await later.of('b')).hostId], [196_608, 131_072])
  later.forget('a')
  await mkdir(join(dir, 'pods', 'd'))
  assert.equal((await later.of('d')).hostId, 65_536)
})

test('a runtime that says it can gets users, strict groups and recursive read-only mounts; one that does not has them refused with the reason', async () => {
  const asking = (name: string): ReturnType<typeof testPod> => {
    const pod = testPod(name, { hostUsers: false, volumes: [{ name: 'v', emptyDir: {} }], containers: [{ name: 'main', image: 'app', imagePullPolicy: 'IfNotPresent', volumeMounts: [{ name: 'v', mountPath: '/v', readOnly: true, recursiveReadOnly: 'IfPossible' }] }] })
    return pod
  }
  await using n = await testNode()
  n.api.put('pods', asking('old'))
  await n.until('the refusal', () => n.said.some((e) => e.includes('FailedCreatePodSandBox') && e.includes('user namespaces are not supported by this node: they need containerd 2.0')))
  n.runtime.features = { handlers: new Map([['', { userNamespaces: true, recursiveReadOnly: true }]]), strictGroups: true }
  await n.stop()
  n.start()
  await n.until('the pod to run', () => n.api.pod('old').status?.phase === 'Running')
  assert.deepEqual(n.runtime.sandboxOf('old')?.userNamespace, { hostId: 65_536, length: 65_536 })
  assert.equal(n.runtime.configOf('main')?.mounts.find((m) => m.containerPath === '/v')?.recursiveReadOnly, true)
  assert.deepEqual(n.api.pod('old').status?.containerStatuses?.[0]?.volumeMounts, [{ name: 'v', mountPath: '/v', readOnly: true, recursiveReadOnly: 'Enabled' }])
  n.api.put('pods', testPod('strict', { securityContext: { supplementalGroups: [7], supplementalGroupsPolicy: 'Strict' } }))
  await n.until('strict to run', () => n.api.pod('strict').status?.phase === 'Running')
  assert.equal(n.runtime.configOf('main')?.security.strictGroups, true)
})
