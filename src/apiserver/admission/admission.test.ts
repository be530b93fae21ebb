import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startHarness } from '../../../test/kit/api-harness.ts'
import { setLogSink } from '../../base/log.ts'
import type { Obj } from '../stored-text.ts'
import { covers } from '../authz/cover.ts'

const PODS = '/api/v1/namespaces/default/pods'
type Pod = Obj & { spec: { serviceAccountName: string; volumes?: { name: string; projected?: object }[]; containers: { volumeMounts?: { mountPath: string }[] }[] } }

test('a pod gets its account and a token of its own, unless it or the account says no', async () => {
  await using h = await startHarness()
  for (const [name, automount] of [['default', true], ['shy', false]] as const) {
    await h.call('POST', '/api/v1/namespaces/default/serviceaccounts', { metadata: { name }, automountServiceAccountToken: automount, imagePullSecrets: [{ name: 'pull' }] })
  }
  const make = async (name: string, spec: object) => (await h.call<Pod>('POST', PODS, { metadata: { name }, spec: { containers: [{ name: 'c', image: 'x' }], ...spec } })).body.spec
  const plain = await make('a', {})
  assert.equal(plain.serviceAccountName, 'default')
  assert.equal(plain.containers[0]?.volumeMounts?.[0]?.mountPath, '/var/run/secrets/kubernetes.io/serviceaccount')
  assert.match(String(plain.volumes?.[0]?.name), /^kube-api-access-/)
  assert.deepEqual((plain as { imagePullSecrets?: object }).imagePullSecrets, [{ name: 'pull' }])
  assert.equal((await make('b', { serviceAccountName: 'shy' })).volumes, undefined)
  assert.equal((await make('c', { automountServiceAccountToken: false })).volumes, undefined)
})

test('a pod whose account does not come is refused by name', async () => {
  await using h = await startHarness()
  const made = await h.call<{ message: string }>('POST', PODS, { metadata: { name: 'a' }, spec: { containers: [{ name: 'c', image: 'x' }], serviceAccountName: 'ghost' } })
  assert.equal(made.status, 403)
  assert.match(made.body.message, /serviceaccount "ghost" not found/)
})

test('nothing is made in a namespace that is missing or on its way out, and the base namespaces stay', async () => {
  await using h = await startHarness()
  const cm = (ns: string) => h.call<{ message: string; details: { causes?: { reason: string }[] } }>('POST', `/api/v1/namespaces/${ns}/configmaps`, { metadata: { name: 'a' } })
  assert.equal((await cm('nowhere')).status, 404)
  await h.call('POST', '/api/v1/namespaces', { metadata: { name: 'demo' } })
  assert.equal((await cm('demo')).status, 201)
  const going = await h.call<Obj & { status: { phase: string } }>('DELETE', '/api/v1/namespaces/demo')
  assert.equal(going.body.status.phase, 'Terminating')
  await h.call('DELETE', '/api/v1/namespaces/demo/configmaps/a')
  const late = await cm('demo')
  assert.deepEqual([late.status, late.body.details.causes?.[0]?.reason], [403, 'NamespaceTerminating'])
  const current = (await h.call('GET', '/api/v1/namespaces/demo')).body
  await h.call('PUT', '/api/v1/namespaces/demo/finalize', { ...current, spec: { finalizers: [] } })
  assert.equal((await h.call('GET', '/api/v1/namespaces/demo')).status, 404)
  const former = setLogSink(() => undefined)
  assert.equal((await h.call('DELETE', '/api/v1/namespaces/default')).status, 403)
  setLogSink(former)
})

test('a rule is covered only when every single act of it is held', () => {
  const held = [{ verbs: ['get', 'list'], apiGroups: [''], resources: ['pods'] }, { verbs: ['get'], apiGroups: ['*'], resources: ['*'] }]
  assert.equal(covers(held, { verbs: ['get'], apiGroups: ['apps'], resources: ['deployments'] }), true)
  assert.equal(covers(held, { verbs: ['get', 'list'], apiGroups: [''], resources: ['pods'] }), true)
  assert.equal(covers(held, { verbs: ['list'], apiGroups: [''], resources: ['pods', 'secrets'] }), false)
  assert.equal(covers(held, { verbs: ['*'], apiGroups: [''], resources: ['pods'] }), false)
  assert.equal(covers([], { verbs: ['get'], nonResourceURLs: ['/metrics'] }), false)
})
