import { test } from 'node:test'
import assert from 'node:assert/strict'
import type { PersistentVolumeClaim } from '../../api/gen/types.ts'
import { startHarness } from '../../../test/kit/api-harness.ts'

test('a claim grows only when it is bound and its class allows it', async () => {
  await using h = await startHarness()
  const path = '/api/v1/namespaces/default/persistentvolumeclaims'
  const merge = { headers: { 'content-type': 'application/merge-patch+json' } }
  for (const [name, more] of [['fixed', {}], ['elastic', { allowVolumeExpansion: true }]] as const) {
    await h.call('POST', '/apis/storage.k8s.io/v1/storageclasses', { metadata: { name }, provisioner: 'x', ...more })
    await h.call('POST', path, { metadata: { name }, spec: { storageClassName: name, accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } } })
  }
  const grow = (name: string) => h.call<PersistentVolumeClaim & { message: string }>('PATCH', `${path}/${name}`, { spec: { resources: { requests: { storage: '2Gi' } } } }, merge)
  assert.match((await grow('elastic')).body.message, /bound/)
  for (const name of ['fixed', 'elastic']) {
    await h.call('PATCH', `${path}/${name}`, { spec: { volumeName: `pv-${name}` } }, merge)
    await h.call('PATCH', `${path}/${name}/status`, { status: { phase: 'Bound' } }, merge)
  }
  assert.equal((await grow('fixed')).body.message, 'persistentvolumeclaims "fixed" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize')
  assert.equal((await grow('elastic')).body.spec?.resources?.requests?.['storage'], '2Gi')
})
