import { test } from 'node:test'
import assert from 'node:assert/strict'
import type { PersistentVolume, PersistentVolumeClaim } from './gen/types.ts'
import { bestVolume, mismatch } from './volumes.ts'

const claim = (spec: PersistentVolumeClaim['spec'] = {}): PersistentVolumeClaim => ({
  metadata: { name: 'data', namespace: 'd', uid: 'c1' },
  spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } }, ...spec },
})
const volume = (name: string, spec: PersistentVolume['spec'] = {}, labels: Record<string, string> = {}): PersistentVolume => ({
  metadata: { name, labels },
  spec: { accessModes: ['ReadWriteOnce', 'ReadOnlyMany'], capacity: { storage: '2Gi' }, ...spec },
  status: { phase: 'Available' },
})

test('a claim gets the smallest volume that is free and fits', () => {
  const best = (volumes: PersistentVolume[], c = claim()): string | undefined => bestVolume(volumes, c)?.metadata?.name
  const [big, small, tiny] = [volume('big', { capacity: { storage: '5Gi' } }), volume('small'), volume('tiny', { capacity: { storage: '900Mi' } })]
  assert.equal(best([big, small, tiny]), 'small')
  assert.equal(best([tiny]), undefined)
  assert.equal(best([small, big], claim({ selector: { matchLabels: { disk: 'ssd' } } })), undefined)
  assert.equal(best([small, volume('ssd', { capacity: { storage: '9Gi' } }, { disk: 'ssd' })], claim({ selector: { matchLabels: { disk: 'ssd' } } })), 'ssd')
  assert.equal(best([volume('other', { claimRef: { namespace: 'd', name: 'data', uid: 'former' } })]), undefined)
  assert.equal(best([small, volume('mine', { capacity: { storage: '9Gi' }, claimRef: { namespace: 'd', name: 'data' } })]), 'mine')
  assert.equal(bestVolume([small, big], claim(), (v) => v !== small)?.metadata?.name, 'big')
})

test('a volume that a claim names is refused in words for what does not fit', () => {
  const why = (v: PersistentVolume['spec'], c: PersistentVolumeClaim['spec'] = {}): string | undefined => mismatch(volume('v', v), claim(c))
  assert.equal(why({}), undefined)
  assert.equal(why({ capacity: { storage: '1023Mi' } }), 'requested PV is too small')
  assert.equal(why({ storageClassName: 'fast' }), 'storageClassName does not match')
  assert.equal(why({ volumeMode: 'Block' }), 'incompatible volumeMode')
  assert.equal(why({}, { accessModes: ['ReadWriteMany'] }), 'incompatible accessMode')
})
