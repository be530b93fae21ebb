import { test } from 'node:test'
import assert from 'node:assert/strict'
import type { Node, PersistentVolumeClaim } from '../../api/gen/types.ts'
import { isOrphan, LOCAL_PATH_CLASS, localVolume, unfit } from './provision.ts'

const node: Node = { metadata: { name: 'gw', labels: { 'kubernetes.io/hostname': 'gw.site' }, annotations: { 'skerry.io/local-path': '/data/agent/storage' } } }
const claim = (spec: PersistentVolumeClaim['spec'] = {}, annotations: Record<string, string> = { 'volume.kubernetes.io/selected-node': 'gw' }): PersistentVolumeClaim => ({
  metadata: { name: 'data', namespace: 'shop', uid: 'u1', annotations },
  spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } }, ...spec },
})

test('a volume on demand is a directory of the chosen node, under the one that the node tells', () => {
  const { metadata, spec } = localVolume(claim(), LOCAL_PATH_CLASS, node)
  assert.equal(metadata?.name, 'pvc-u1')
  assert.deepEqual(spec?.local, { path: '/data/agent/storage/pvc-u1_shop_data' })
  assert.deepEqual(spec?.nodeAffinity?.required?.nodeSelectorTerms[0]?.matchExpressions, [{ key: 'kubernetes.io/hostname', operator: 'In', values: ['gw.site'] }])
  assert.deepEqual([spec?.persistentVolumeReclaimPolicy, spec?.storageClassName, spec?.capacity], ['Delete', 'local-path', { storage: '1Gi' }])
  const host = localVolume(claim({}, { volumeType: 'hostPath' }), LOCAL_PATH_CLASS, node).spec
  assert.deepEqual([host?.local, host?.hostPath?.type], [undefined, 'DirectoryOrCreate'])
})

test('what a directory cannot be is told', () => {
  assert.equal(unfit(claim(), node), undefined)
  assert.match(unfit(claim({ accessModes: ['ReadWriteMany'] }), node) ?? '', /only supports ReadWriteOnce/)
  assert.match(unfit(claim({ selector: {} }), node) ?? '', /Selector is not supported/)
  assert.match(unfit(claim({ volumeMode: 'Block' }), node) ?? '', /Filesystem/)
  assert.match(unfit(claim({}, {}), node) ?? '', /no node was specified/)
  assert.equal(unfit(claim(), undefined), 'node "gw" not found')
})

test('a volume of a node that is gone is held by nobody', () => {
  const volume = { metadata: { name: 'v', annotations: { 'local.path.provisioner/selected-node': 'gw' }, deletionTimestamp: 't', finalizers: ['skerry.io/local-path'] } }
  assert.equal(isOrphan(volume, new Set(['gw'])), false)
  assert.equal(isOrphan(volume, new Set(['other'])), true)
})
