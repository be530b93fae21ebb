import { test } from 'node:test'
import assert from 'node:assert/strict'
import type { Pod, ResourceClaimTemplate, ResourceResourceClaim } from '../../api/gen/types.ts'
import { FINALIZER_DEVICES } from '../../api/claims.ts'
import { claimFrom, isMadeFor, upkeep } from './plan.ts'

const pod = (over: Partial<Pod> = {}, uid = 'u1'): Pod => ({ metadata: { name: 'web', namespace: 'shop', uid }, spec: { nodeName: 'n', containers: [] }, status: { phase: 'Running' }, ...over })
const allocation = { devices: { results: [{ request: 'r', driver: 'd', pool: 'p', device: 'x' }] } }
const held = (over: object = {}, status: object = {}): ResourceResourceClaim => ({
  metadata: { name: 'c', namespace: 'shop', finalizers: [FINALIZER_DEVICES, 'other'], ...over },
  spec: {},
  status: { allocation, reservedFor: [{ resource: 'pods', name: 'web', uid: 'u1' }], ...status },
})
const made = { ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: 'web', uid: 'u1', controller: true }] }
const now = (p: Pod | undefined) => (): Pod | undefined => p

test('a template gives a pod a claim of its own, owned by it', () => {
  const template: ResourceClaimTemplate = { spec: { metadata: { labels: { a: 'b' } }, spec: { devices: { requests: [{ name: 'r', exactly: { deviceClassName: 'cameras' } }] } } } }
  const claim = claimFrom(template, pod(), { name: 'cam', resourceClaimTemplateName: 't' })
  assert.deepEqual([claim.metadata?.generateName, claim.metadata?.labels, claim.spec], ['web-cam-', { a: 'b' }, template.spec.spec])
  assert.deepEqual([isMadeFor(claim, pod(), 'cam'), isMadeFor(claim, pod(), 'mic'), isMadeFor(claim, pod({}, 'u2'), 'cam')], [true, false, false])
})

test('a claim is held while its pods run, and freed when the last is done', () => {
  assert.deepEqual(upkeep(held(), now(pod())), { act: 'same' })
  const freed = { act: 'status', status: {} }
  assert.deepEqual(upkeep(held(), now(undefined)), freed)
  assert.deepEqual(upkeep(held(), now(pod({}, 'u2'))), freed, 'a pod of the same name is another')
  assert.deepEqual(upkeep(held(), now(pod({ status: { phase: 'Succeeded' } }))), freed)
  assert.deepEqual(upkeep(held(), now(pod({ metadata: { name: 'web', uid: 'u1', deletionTimestamp: 'x' } }))), { act: 'same' }, 'it still runs')
  assert.deepEqual(upkeep(held(), now(pod({ metadata: { name: 'web', uid: 'u1', deletionTimestamp: 'x' }, spec: { containers: [] } }))), freed, 'it never had a node')
  const two = held({}, { reservedFor: [{ resource: 'pods', name: 'web', uid: 'u1' }, { resource: 'pods', name: 'gone', uid: 'u9' }] })
  assert.deepEqual(upkeep(two, (name) => (name === 'web' ? pod() : undefined)), { act: 'status', status: { allocation, reservedFor: [{ resource: 'pods', name: 'web', uid: 'u1' }] } })
})

test('a claim made for a pod goes with it; one that is leaving is let go once it is free', () => {
  const free = { status: {} }
  assert.deepEqual(upkeep({ ...held(made), ...free }, now(pod())), { act: 'same' })
  assert.deepEqual(upkeep({ ...held(made), ...free }, now(undefined)), { act: 'delete' })
  assert.deepEqual(upkeep({ ...held({ deletionTimestamp: 'x' }), ...free }, now(undefined)), { act: 'free', finalizers: ['other'] })
  assert.deepEqual(upkeep(held({ deletionTimestamp: 'x' }, { reservedFor: [] }), now(undefined)), { act: 'status', status: {} })
  assert.deepEqual(upkeep(held({ deletionTimestamp: 'x' }), now(pod())), { act: 'same' }, 'a pod still uses it')
})
