import { test } from 'node:test'
import assert from 'node:assert/strict'
import type { Pod, ReplicaSet } from '../../api/gen/types.ts'
import { planReplicaSet, rankForDeletion } from './plan.ts'

const NOW = Date.UTC(2026, 0, 2)
const set = (replicas: number, minReadySeconds = 0): ReplicaSet => ({ metadata: { name: 'web', generation: 3 }, spec: { replicas, minReadySeconds, selector: {} } })

function pod(name: string, over: { node?: string; phase?: string; ready?: boolean | string; leaving?: boolean; age?: number; restarts?: number; cost?: string } = {}): Pod {
  const { node, phase = 'Running', ready = true, leaving = false, age = 1000, restarts = 0, cost } = over
  const since = typeof ready === 'string' ? ready : new Date(NOW - age * 1000).toISOString()
  return {
    metadata: {
      name,
      uid: name,
      creationTimestamp: new Date(NOW - age * 1000).toISOString(),
      ...(leaving ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {}),
      ...(cost === undefined ? {} : { annotations: { 'controller.kubernetes.io/pod-deletion-cost': cost } }),
    },
    spec: { containers: [], ...(node === undefined ? {} : { nodeName: node }) },
    status: {
      phase,
      conditions: [{ type: 'Ready', status: ready === false ? 'False' : 'True', lastTransitionTime: since }],
      containerStatuses: [{ name: 'c', image: '', imageID: '', ready: ready !== false, restartCount: restarts }],
    },
  }
}

test('missing pods are made, finished and terminating ones do not count', () => {
  const plan = planReplicaSet(set(3), [pod('a', { node: 'n' }), pod('b', { phase: 'Succeeded' }), pod('c', { leaving: true })], NOW)
  assert.equal(plan.create, 2)
  assert.deepEqual(plan.remove, [])
  assert.equal(plan.status.replicas, 1)
  assert.equal(plan.status.terminatingReplicas, 1)
  assert.equal(plan.status.observedGeneration, 3)
})

test('a pod that is not ready because its node is cut off still counts', () => {
  const plan = planReplicaSet(set(2), [pod('a', { node: 'n' }), pod('b', { node: 'away', ready: false })], NOW)
  assert.equal(plan.create, 0)
  assert.deepEqual([plan.status.replicas, plan.status.readyReplicas], [2, 1])
})

test('the least useful pods go first', () => {
  const pods = [
    pod('old', { node: 'n1', age: 90_000 }),
    pod('young', { node: 'n2', age: 60 }),
    pod('restarted', { node: 'n3', age: 90_000, restarts: 4 }),
    pod('cheap', { node: 'n4', age: 90_000, cost: '-5' }),
    pod('doubled', { node: 'n1', age: 80_000 }),
    pod('unready', { node: 'n5', ready: false }),
    pod('pending', { node: 'n5', phase: 'Pending', ready: false }),
    pod('unassigned', { phase: 'Pending', ready: false }),
  ]
  const order = rankForDeletion(pods, NOW).map((p) => p.metadata?.name)
  assert.deepEqual(order.slice(0, 4), ['unassigned', 'pending', 'unready', 'cheap'])
  assert.deepEqual(order.slice(4, 6).toSorted(), ['doubled', 'old'])
  assert.deepEqual(order.slice(6), ['young', 'restarted'])
})

test('a ready pod becomes available after minReadySeconds, and that moment is waited for', () => {
  const plan = planReplicaSet(set(1, 30), [pod('a', { node: 'n', ready: new Date(NOW - 10_000).toISOString() })], NOW)
  assert.deepEqual([plan.status.readyReplicas, plan.status.availableReplicas, plan.requeueAfterMs], [1, 0, 20_050])
})

test('a pod that may be replaced while cut off does not count; when it is back, its policy says which of the two goes', () => {
  const away = (status: string, policy: string): Pod => {
    const p = pod('original', { node: 'away', ready: status === 'False' })
    p.metadata = { ...p.metadata, annotations: { 'skerry.io/on-disconnect': policy } }
    p.status?.conditions?.push({ type: 'skerry.io/Replaced', status, lastTransitionTime: '2026-01-01T00:00:00Z' })
    return p
  }
  const standIn = pod('stand-in', { node: 'n', age: 90_000 })
  const lost = planReplicaSet(set(1), [away('True', 'replace-after=5m')], NOW)
  assert.deepEqual([lost.create, lost.status.replicas], [1, 0])
  assert.equal(planReplicaSet(set(1), [away('True', 'replace-after=5m'), standIn], NOW).create, 0)
  assert.deepEqual(planReplicaSet(set(1), [away('False', 'replace-after=5m'), standIn], NOW).remove.map((p) => p.metadata?.name), ['stand-in'])
  assert.deepEqual(planReplicaSet(set(1), [away('False', 'replace-after=5m,keep=replacement'), standIn], NOW).remove.map((p) => p.metadata?.name), ['original'])
  const sick = away('False', 'replace-after=5m')
  sick.status?.conditions?.splice(0, 1, { type: 'Ready', status: 'False' })
  assert.deepEqual(planReplicaSet(set(1), [sick, standIn], NOW).remove.map((p) => p.metadata?.name), ['original'], 'a working stand-in is worth more than a broken original')
})
