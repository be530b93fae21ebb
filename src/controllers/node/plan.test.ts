import { test } from 'node:test'
import assert from 'node:assert/strict'
import type { Node, Pod } from '../../api/gen/types.ts'
import { parseOnDisconnect } from '../../api/on-disconnect.ts'
import { planNode, planPod, planStandIn } from './plan.ts'

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

test('a stand-in is allowed after the time the pod says, and counted off once the pod is Ready again, or too slow', () => {
  const at = (s: string): number => Date.parse(`2026-01-01T00:${s}Z`)
  const policy = parseOnDisconnect('replace-after=5m')
  const pod = (ready: string, replaced?: string, since = '2026-01-01T00:00:00Z'): Pod => ({
    metadata: { name: 'p' },
    status: { phase: 'Running', conditions: [{ type: 'Ready', status: ready }, ...(replaced === undefined ? [] : [{ type: 'skerry.io/Replaced', status: replaced, lastTransitionTime: since }])] },
  })
  const plan = (p: Pod, node: string, time: string, how = policy) => planStandIn(p, how, node, at('00:00'), at(time), NOW)
  assert.deepEqual(plan(pod('False'), 'Unknown', '04:00'), { inMs: 60_000 })
  assert.deepEqual(plan(pod('False'), 'Unknown', '50:00', parseOnDisconnect('keep')), {})
  const allowed = plan(pod('False'), 'Unknown', '05:00').condition
  assert.deepEqual(allowed !== 'drop' && [allowed?.type, allowed?.status], ['skerry.io/Replaced', 'True'])
  assert.deepEqual(plan(pod('False', 'True'), 'Unknown', '50:00'), {})
  // An owner that makes another pod only when this one is gone; deleting cannot be undone, so it has to be asked for.
  const owned = (kind: string): Pod => ({ ...pod('False'), metadata: { name: 'p', ownerReferences: [{ apiVersion: 'a/v1', kind, name: 'o', uid: 'u', controller: true }] } })
  const replaced = parseOnDisconnect('replace-after=5m,keep=replacement')
  assert.deepEqual(plan(owned('Camera'), 'Unknown', '04:00', replaced), { inMs: 60_000 })
  for (const kind of ['Camera', 'StatefulSet', 'Job']) assert.deepEqual(plan(owned(kind), 'Unknown', '05:00', replaced), { remove: true }, kind)
  for (const kind of ['ReplicaSet', 'DaemonSet', 'Node']) assert.equal(plan(owned(kind), 'Unknown', '05:00', replaced).remove, undefined, kind)
  assert.equal(plan(owned('Camera'), 'Unknown', '05:00').remove, undefined)
  assert.equal(plan(pod('False'), 'Unknown', '05:00', replaced).remove, undefined)
  const leaving = { ...pod('False'), metadata: { name: 'p', deletionTimestamp: NOW } }
  assert.deepEqual(plan(leaving, 'Unknown', '50:00'), {})
  assert.deepEqual(plan(pod('False', 'True'), 'True', '00:10'), { inMs: 50_000 })
  for (const [ready, time] of [['True', '00:01'], ['False', '01:00']] as const) {
    const back = plan(pod(ready, 'True'), 'True', time).condition
    assert.equal(back !== 'drop' && back?.status, 'False')
  }
  assert.deepEqual(plan(pod('True', 'False'), 'True', '04:00'), { inMs: 360_000 })
  assert.deepEqual(plan(pod('True', 'False'), 'True', '10:00'), { condition: 'drop' })
  assert.deepEqual(plan(pod('True'), 'True', '10:00'), {})
})
