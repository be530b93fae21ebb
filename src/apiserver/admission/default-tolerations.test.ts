import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Toleration } from '../../api/gen/types.ts'
import { startHarness } from '../../../test/kit/api-harness.ts'
import type { Obj } from '../stored-text.ts'

const PODS = '/api/v1/namespaces/default/pods'
const [ready, away]: Toleration[] = ['not-ready', 'unreachable'].map((what) => ({ key: `node.kubernetes.io/${what}`, operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 300 }))

test('a pod tolerates for five minutes that its node is not ready or away, unless it says something of that', async () => {
  await using h = await startHarness()
  await h.call('POST', '/api/v1/namespaces/default/serviceaccounts', { metadata: { name: 'default' }, automountServiceAccountToken: false })
  const cases: [Toleration[] | undefined, (Toleration | undefined)[]][] = [
    [undefined, [ready, away]],
    [[], [ready, away]],
    [[{ key: 'edge', operator: 'Exists', effect: 'NoSchedule' }], [{ key: 'edge', operator: 'Exists', effect: 'NoSchedule' }, ready, away]],
    [[{ key: 'node.kubernetes.io/unreachable', operator: 'Exists' }], [{ key: 'node.kubernetes.io/unreachable', operator: 'Exists' }, ready]],
    [[{ key: 'node.kubernetes.io/not-ready', operator: 'Exists', effect: 'NoSchedule' }], [{ key: 'node.kubernetes.io/not-ready', operator: 'Exists', effect: 'NoSchedule' }, ready, away]],
    [[{ operator: 'Exists', effect: 'NoExecute' }], [{ operator: 'Exists', effect: 'NoExecute' }]],
    [[{ operator: 'Exists' }], [{ operator: 'Exists' }]],
  ]
  for (const [i, [tolerations, wanted]] of cases.entries()) {
    const made = await h.call<Obj & { spec: { tolerations?: Toleration[] } }>('POST', PODS, { metadata: { name: `p${i}` }, spec: { containers: [{ name: 'c', image: 'x' }], ...(tolerations && { tolerations }) } })
    assert.deepEqual([made.status, made.body.spec.tolerations], [201, wanted])
  }
  // Who replaces a pod by what they once wrote has not written these.
  const live = (await h.call<Obj & { spec: { tolerations?: Toleration[] } }>('GET', `${PODS}/p0`)).body
  delete live.spec.tolerations
  const put = await h.call<Obj & { spec: { tolerations?: Toleration[] } }>('PUT', `${PODS}/p0`, { ...live, metadata: { ...live.metadata, labels: { a: 'b' } } })
  assert.deepEqual([put.status, put.body.spec.tolerations], [200, [ready, away]])
})
