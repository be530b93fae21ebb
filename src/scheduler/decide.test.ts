import { test } from 'node:test'
import assert from 'node:assert/strict'
import type { Node, Pod, PodSpec } from '../api/gen/types.ts'
import { decide } from './decide.ts'
import { podRequests } from './requests.ts'
import { ClusterSnapshot } from './snapshot.ts'

const pod = (name: string, spec: Partial<PodSpec> = {}, owner?: string): Pod => ({
  metadata: { name, namespace: 'd', uid: name, labels: { app: 'web' }, ...(owner === undefined ? {} : { ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: owner, uid: owner, controller: true }] }) },
  spec: { containers: [{ name: 'c' }], ...spec },
})
const node = (name: string, labels: Record<string, string> = {}, over: Partial<Node['spec']> & { cpu?: string; pods?: string } = {}): Node => {
  const { cpu = '4', pods = '110', ...spec } = over
  return { metadata: { name, labels: { 'kubernetes.io/hostname': name, ...labels } }, spec, status: { allocatable: { cpu, memory: '4Gi', pods } } }
}
function view(nodes: Node[], placed: [string, Pod][] = []): ClusterSnapshot {
  const snapshot = new ClusterSnapshot()
  for (const n of nodes) snapshot.setNode(n.metadata?.name ?? '', n)
  for (const [on, p] of placed) snapshot.assume(p, on)
  return snapshot
}
const camera = { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchExpressions: [{ key: 'device', operator: 'In', values: ['camera'] }] }] } } }

test('a pod goes only where its node affinity says, and says why when nowhere', () => {
  const nodes = [node('till-1'), node('cam-1', { device: 'camera' })]
  assert.deepEqual(decide(pod('a', { affinity: camera }), view(nodes).views()), { node: 'cam-1' })
  const none = decide(pod('a', { affinity: camera }), view([node('a'), node('b'), node('c', {}, { unschedulable: true }), node('d', {}, { taints: [{ key: 'k', value: 'v', effect: 'NoSchedule' }] })]).views())
  assert.deepEqual(none, {
    message: "0/4 nodes are available: 1 node(s) had untolerated taint {k: v}, 1 node(s) were unschedulable, 2 node(s) didn't match Pod's node affinity/selector.",
  })
  assert.deepEqual(decide(pod('a'), []), { message: 'no nodes available to schedule pods' })
})

test('Gt, Lt, NotIn, Exists and fields are understood', () => {
  const ask = (key: string, operator: string, values: string[] | undefined, field = false) => {
    const term = { [field ? 'matchFields' : 'matchExpressions']: [{ key, operator, ...(values ? { values } : {}) }] }
    const affinity = { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [term] } } }
    return decide(pod('a', { affinity }), view([node('n', { cores: '8' })]).views()).node !== undefined
  }
  assert.deepEqual([ask('cores', 'Gt', ['7']), ask('cores', 'Gt', ['8']), ask('cores', 'Lt', ['9']), ask('none', 'Gt', ['1'])], [true, false, true, false])
  assert.deepEqual([ask('cores', 'NotIn', ['8']), ask('none', 'NotIn', ['8']), ask('none', 'Exists', undefined), ask('none', 'DoesNotExist', undefined)], [false, true, false, true])
  assert.deepEqual([ask('metadata.name', 'In', ['n'], true), ask('metadata.name', 'In', ['m'], true)], [true, false])
})

test('resources, pod count and host ports are used up', () => {
  const big = { containers: [{ name: 'c', resources: { requests: { cpu: '3', memory: '1Gi' } } }] }
  const port = { containers: [{ name: 'c', ports: [{ containerPort: 80, hostPort: 8092 }] }] }
  assert.deepEqual(decide(pod('b', big), view([node('n')], [['n', pod('a', big)]]).views()), { message: '0/1 nodes are available: 1 Insufficient cpu.' })
  assert.deepEqual(decide(pod('b'), view([node('n', {}, { pods: '1' })], [['n', pod('a')]]).views()), { message: '0/1 nodes are available: 1 Too many pods.' })
  assert.deepEqual(decide(pod('b', port), view([node('n')], [['n', pod('a', port)]]).views()), { message: "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports." })
})

test('the most a pod needs counts init containers and sidecars', () => {
  const c = (cpu: string, restartPolicy?: string) => ({ name: cpu, resources: { requests: { cpu } }, ...(restartPolicy === undefined ? {} : { restartPolicy }) })
  const needs = podRequests(pod('a', { initContainers: [c('100m', 'Always'), c('900m')], containers: [c('300m'), c('200m')], overhead: { cpu: '10m' } }))
  assert.equal(needs.get('cpu'), 1010)
})

test('a cut-off node takes no new pods unless tolerated', () => {
  const away = node('cam-1', {}, { taints: [{ key: 'node.kubernetes.io/unreachable', effect: 'NoSchedule' }] })
  assert.match(JSON.stringify(decide(pod('a'), view([away]).views())), /untolerated taint \{node.kubernetes.io\/unreachable: \}/)
  assert.deepEqual(decide(pod('a', { tolerations: [{ operator: 'Exists' }] }), view([away]).views()), { node: 'cam-1' })
})

test('pods of one owner spread over nodes, and preference wins over room', () => {
  const nodes = [node('a', {}, { cpu: '16' }), node('b'), node('c')]
  const snapshot = view(nodes)
  const where: (string | undefined)[] = []
  for (const i of [1, 2, 3]) {
    const p = pod(`p${i}`, {}, 'set')
    const decision = decide(p, snapshot.views())
    where.push(decision.node)
    if (decision.node !== undefined) snapshot.assume(p, decision.node)
  }
  assert.deepEqual(where.toSorted(), ['a', 'b', 'c'])
  const prefer = { nodeAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 1, preference: { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: ['c'] }] } }] } }
  assert.deepEqual(decide(pod('x', { affinity: prefer }), view(nodes).views()), { node: 'c' })
})

test('required anti-affinity keeps pods of a kind on different nodes, both ways', () => {
  const apart = { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey: 'kubernetes.io/hostname', labelSelector: { matchLabels: { app: 'web' } } }] } }
  assert.deepEqual(decide(pod('b', { affinity: apart }), view([node('n'), node('m')], [['n', pod('a')]]).views()), { node: 'm' })
  assert.match(JSON.stringify(decide(pod('b'), view([node('n')], [['n', pod('a', { affinity: apart })]]).views())), /existing pods anti-affinity/)
})

test('an assumed pod stays counted until the cache shows it bound, finished or gone', () => {
  const snapshot = view([node('n')])
  const p = pod('a')
  snapshot.assume(p, 'n')
  snapshot.setPod('d/a', p)
  assert.equal(snapshot.views()[0]?.pods.length, 1)
  snapshot.setPod('d/a', { ...p, spec: { ...p.spec, containers: [], nodeName: 'n' }, status: { phase: 'Succeeded' } })
  assert.equal(snapshot.views()[0]?.pods.length, 0)
})
