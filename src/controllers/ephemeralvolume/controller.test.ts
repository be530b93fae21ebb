import { test } from 'node:test'
import assert from 'node:assert/strict'
import type { Pod, Volume } from '../../api/gen/types.ts'
import { isClaimOf } from '../../api/volumes.ts'
import { claimFor } from './controller.ts'

test('the claim of an ephemeral volume is named after pod and volume, and owned by the pod', () => {
  const volume: Volume = { name: 'scratch', ephemeral: { volumeClaimTemplate: { metadata: { labels: { a: 'b' } }, spec: { accessModes: ['ReadWriteOnce'] } } } }
  const pod: Pod = { metadata: { name: 'web', namespace: 'shop', uid: 'u1' }, spec: { containers: [], volumes: [volume] } }
  const claim = claimFor(pod, volume)
  assert.deepEqual([claim.metadata?.name, claim.metadata?.namespace, claim.metadata?.labels, claim.spec], ['web-scratch', 'shop', { a: 'b' }, { accessModes: ['ReadWriteOnce'] }])
  assert.equal(isClaimOf(claim, pod), true)
  assert.equal(isClaimOf(claim, { metadata: { name: 'web', namespace: 'shop', uid: 'u2' } }), false, 'a pod of the same name is another pod')
})
