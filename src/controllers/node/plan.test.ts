import { test } from 'node:test'
import assert from 'node:assert/strict'
import type { Node, Pod } from '../../api/gen/types.ts'
import { planNode, planPod } from './plan.ts'

const NOW = '2026-01-01T00:00:00Z'
const node = (status: string | undefined, taints: string[] = [], more: { type: string; status: string }[] = [], reason = 'KubeletReady'): Node => ({
  metadata: { name: 'n' },
  spec: { taints: taints.map((key) => ({ key, effect: 'NoSchedule' })) },
  status: { conditions: [...(status === undefined ? [] : [{ type: 'Ready', status, reason }]), ...more] },
})
const taintsOf = (n: Node, alive: boolean): string[] | undefined => planNode(n, alive, NOW).taints?.map((t) => t.key)

test('silence makes Ready Unknown and one taint, and the return clears both', () => {
  const lost = planNode(node('True'), false, NOW)
  assert.deepEqual([lost.ready?.status, lost.ready?.reason], ['Unknown', 'NodeStatusUnknown'])
  assert.deepEqual(lost.taints, [{ key: 'node.kubernetes.io/unreachable', effect: 'NoSchedule', timeAdded: NOW }])
  const back = planNode(node('Unknown', ['node.kubernetes.io/unreachable'], [], 'NodeStatusUnknown'), true, NOW)
  assert.deepEqual([back.ready?.status, back.taints], ['True', []])
  assert.equal(planNode(node(undefined), false, NOW).ready?.reason, 'NodeStatusNeverUpdated')
  assert.deepEqual(planNode(node('Unknown', ['node.kubernetes.io/unreachable']), false, NOW), { ready: undefined, taints: undefined })
})

test('a node that says it is not ready, or under pressure, takes no new pods; taints of others stay', () => {
  assert.deepEqual(taintsOf(node('False', ['mine']), true), ['mine', 'node.kubernetes.io/not-ready'])
  assert.deepEqual(taintsOf(node('True', ['mine', 'node.kubernetes.io/not-ready'], [{ type: 'DiskPressure', status: 'True' }]), true), ['mine', 'node.kubernetes.io/disk-pressure'])
  assert.equal(taintsOf(node('True', ['mine']), true), undefined)
})

test('pods of a lost node turn unready, and ready again only where this controller said so', () => {
  const pod = (status: string, reason?: string, containers = 'True'): Pod => ({ status: { conditions: [{ type: 'Ready', status, ...(reason === undefined ? {} : { reason }) }, { type: 'ContainersReady', status: containers }] } })
  assert.equal(planPod(pod('True'), 'Unknown', NOW)?.status, 'False')
  assert.equal(planPod(pod('False'), 'Unknown', NOW), undefined)
  assert.equal(planPod(pod('False', 'NodeUnreachable'), 'True', NOW)?.status, 'True')
  assert.equal(planPod(pod('False', 'ContainersNotReady'), 'True', NOW), undefined)
  assert.equal(planPod(pod('False', 'NodeUnreachable', 'False'), 'True', NOW), undefined)
})
