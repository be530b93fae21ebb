import { test } from 'node:test'
import assert from 'node:assert/strict'
import type { OwnerReference } from '../../api/meta.ts'
import { KINDS } from '../../api/kinds.ts'
import { OwnerGraph } from './graph.ts'

const owner = (uid: string, blockOwnerDeletion = true): OwnerReference => ({ apiVersion: 'v1', kind: 'ConfigMap', name: uid, uid, blockOwnerDeletion })
function graph(...objects: { uid: string; owners?: OwnerReference[]; leaving?: boolean; finalizers?: string[] }[]): OwnerGraph {
  const made = new OwnerGraph()
  for (const { uid, owners = [], leaving = false, finalizers = [] } of objects) {
    made.put(KINDS.ConfigMap, { metadata: { uid, name: uid, namespace: 'd', ownerReferences: owners, finalizers, ...(leaving ? { deletionTimestamp: 't' } : {}) } })
  }
  return made
}

test('an object stays while an owner exists, is verified before it goes, and goes when all are absent', () => {
  assert.deepEqual(graph({ uid: 'a' }, { uid: 'b', owners: [owner('a')] }).step('b'), { do: 'nothing' })
  const g = graph({ uid: 'b', owners: [owner('a')] })
  assert.equal(g.step('b').do, 'verify')
  g.markAbsent('a')
  assert.deepEqual(g.step('b'), { do: 'delete', policy: 'Background' })
})

test('of several owners the absent ones are unlinked', () => {
  const g = graph({ uid: 'a' }, { uid: 'c', owners: [owner('a'), owner('x')] })
  g.markAbsent('x')
  assert.deepEqual(g.step('c'), { do: 'unlink', uids: ['x'] })
})

test('removing an owner names its dependents, whose turn it is then', () => {
  const g = graph({ uid: 'a' }, { uid: 'b', owners: [owner('a')] })
  assert.deepEqual(g.remove('a'), { owners: [], dependents: ['b'] })
  assert.deepEqual(g.step('b'), { do: 'delete', policy: 'Background' })
})

test('in the foreground the owner waits for what blocks it, and the tree below goes first', () => {
  const top = { uid: 'a', leaving: true, finalizers: ['foregroundDeletion'] }
  const g = graph(top, { uid: 'b', owners: [owner('a')] }, { uid: 'c', owners: [owner('b')] })
  const step = g.step('a')
  assert.equal(step.do === 'foreground' && step.blocked, true)
  assert.deepEqual(g.step('b'), { do: 'delete', policy: 'Foreground' })
  g.remove('b')
  assert.deepEqual(g.step('a'), { do: 'foreground', dependents: [], blocked: false })
  const loose = graph(top, { uid: 'b', owners: [owner('a', false)] }).step('a')
  assert.equal(loose.do === 'foreground' && loose.blocked, false)
})

test('an orphaning owner names those who lose their reference', () => {
  const step = graph({ uid: 'a', leaving: true, finalizers: ['orphan'] }, { uid: 'b', owners: [owner('a')] }).step('a')
  assert.deepEqual(step.do === 'orphan' && step.dependents.map((d) => d.uid), ['b'])
})

test('in a circle that goes in the foreground one ceases to block', () => {
  const leaving = { leaving: true, finalizers: ['foregroundDeletion'] }
  const g = graph({ uid: 'a', owners: [owner('c')], ...leaving }, { uid: 'b', owners: [owner('a')], ...leaving }, { uid: 'c', owners: [owner('b')] })
  assert.deepEqual(g.step('c'), { do: 'delete', policy: 'Foreground', unblock: true })
  g.put(KINDS.ConfigMap, { metadata: { uid: 'c', name: 'c', namespace: 'd', ownerReferences: [owner('b', false)] } })
  assert.deepEqual(g.step('c'), { do: 'delete', policy: 'Foreground' })
})

test('an owner in another namespace, or of another name, is none; what is in no namespace is left alone when its owner is in one', () => {
  const g = new OwnerGraph((o) => o.kind === 'ConfigMap')
  g.put(KINDS.ConfigMap, { metadata: { uid: 'a', name: 'a', namespace: 'd' } })
  g.put(KINDS.ConfigMap, { metadata: { uid: 'b', name: 'b', namespace: 'e', ownerReferences: [owner('a')] } })
  g.put(KINDS.ConfigMap, { metadata: { uid: 'c', name: 'c', namespace: 'd', ownerReferences: [{ ...owner('a'), name: 'other' }] } })
  for (const uid of ['b', 'c']) assert.deepEqual(g.step(uid), { do: 'delete', policy: 'Background' })
  g.put(KINDS.ClusterRole, { metadata: { uid: 'r', name: 'r', ownerReferences: [owner('a')] } })
  assert.deepEqual(g.step('r'), { do: 'nothing' })
  g.remove('a')
  assert.deepEqual(g.step('r'), { do: 'nothing' })
})
