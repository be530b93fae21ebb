import { test } from 'node:test'
import assert from 'node:assert/strict'
import type { NodeView } from '../snapshot.ts'
import { leastAllocated } from './least-allocated.ts'
import { normalize } from './score.ts'
import { preferredTaints } from './taints.ts'

const view = (name: string, cpu: number, requested: number, taints: object[] = []): NodeView => ({
  node: { metadata: { name }, spec: { taints: taints as never } }, name,
  allocatable: new Map([['cpu', cpu], ['memory', 8 << 20]]), requested: new Map([['cpu', requested]]), ports: [], pods: [], objecting: [],
})
const pod = { metadata: { name: 'p' }, spec: { containers: [{ name: 'c' }] } }

test('raw values spread over 0..100, reversed when less is better', () => {
  assert.deepEqual(normalize([1, 4, 0], false), [25, 100, 0])
  assert.deepEqual(normalize([1, 4, 0], true), [75, 0, 100])
  assert.deepEqual(normalize([0, 0], false), [0, 0])
})

test('emptier nodes and nodes without soft taints rate higher', () => {
  const [empty = 0, full = 0] = leastAllocated(pod, [view('a', 4000, 0), view('b', 4000, 3500)])
  assert.ok(empty > full)
  assert.deepEqual(preferredTaints(pod, [view('a', 1, 0, [{ key: 'k', effect: 'PreferNoSchedule' }]), view('b', 1, 0)]), [0, 100])
})
