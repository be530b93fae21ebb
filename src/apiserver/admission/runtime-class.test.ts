import { test } from 'node:test'
import assert from 'node:assert/strict'
import type { Pod } from '../../api/gen/types.ts'
import { startHarness } from '../../../test/kit/api-harness.ts'

test('a pod takes over the overhead, selector and tolerations of its runtime class, and may not contradict them', async () => {
  await using h = await startHarness()
  await h.call('POST', '/api/v1/namespaces/default/serviceaccounts', { metadata: { name: 'default' } })
  const scheduling = { nodeSelector: { sandbox: 'yes' }, tolerations: [{ key: 'sandbox', operator: 'Exists' }] }
  await h.call('POST', '/apis/node.k8s.io/v1/runtimeclasses', { metadata: { name: 'micro' }, handler: 'vm', overhead: { podFixed: { memory: '64Mi' } }, scheduling })
  const make = (name: string, spec: object) => h.call<Pod & { message: string }>('POST', '/api/v1/namespaces/default/pods', { metadata: { name }, spec: { containers: [{ name: 'c', image: 'x' }], ...spec } })
  const made = (await make('a', { runtimeClassName: 'micro' })).body.spec
  assert.deepEqual([made?.overhead, made?.nodeSelector], [{ memory: '64Mi' }, { sandbox: 'yes' }])
  assert.ok(made?.tolerations?.some((t) => t.key === 'sandbox'))
  assert.equal((await make('b', { runtimeClassName: 'none' })).body.message, 'pods "b" is forbidden: pod rejected: RuntimeClass "none" not found')
  assert.match((await make('c', { runtimeClassName: 'micro', overhead: { memory: '1Mi' } })).body.message, /Overhead doesn't match/)
  assert.match((await make('d', { overhead: { memory: '1Mi' } })).body.message, /without corresponding RuntimeClass/)
  assert.match((await make('e', { runtimeClassName: 'micro', nodeSelector: { sandbox: 'no' } })).body.message, /conflict: runtimeClass.scheduling.nodeSelector\[sandbox\] = yes; pod.spec.nodeSelector\[sandbox\] = no/)
})
