import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KINDS, RESOURCES } from '../kinds.ts'
import type { KubeObject } from '../meta.ts'
import { tableOf } from '../table.ts'
import { humanDuration, since } from './column.ts'
import { podSummary } from './core.ts'

const NOW = Date.UTC(2026, 0, 2)
const metadata = { name: 'x', namespace: 'default', creationTimestamp: '2026-01-01T23:55:00Z' }
const shown = (kind: keyof typeof KINDS, object: object): unknown[] => tableOf(KINDS[kind], [{ metadata, ...object } as KubeObject], { now: NOW }).rows[0]?.cells ?? []

test('durations read as kubectl writes them', () => {
  const s = 1000
  const cases: [number, string][] = [
    [0, '0s'], [119 * s, '119s'], [120 * s, '2m'], [599 * s, '9m59s'], [600 * s, '10m'], [3 * 3600 * s, '3h'], [(3 * 3600 + 300) * s, '3h5m'],
    [8 * 3600 * s, '8h'], [48 * 3600 * s, '2d'], [50 * 3600 * s, '2d2h'], [10 * 86400 * s, '10d'], [800 * 86400 * s, '2y70d'], [-500, '0s'], [-5 * s, '<invalid>'],
  ]
  for (const [ms, text] of cases) assert.equal(humanDuration(ms), text)
  assert.equal(since(undefined, 0), '<unknown>')
})

test('pods, nodes, deployments and services show what kubectl users know', () => {
  const status = { phase: 'Running', podIP: '10.0.0.5', containerStatuses: [{ name: 'a', ready: true, restartCount: 2, state: { running: {} }, lastState: { terminated: { finishedAt: '2026-01-01T23:59:00Z' } } }] }
  assert.deepEqual(shown('Pod', { spec: { nodeName: 'n1', containers: [{ name: 'a' }] }, status }), ['x', '1/1', 'Running', '2 (60s ago)', '5m', '10.0.0.5', 'n1', '<none>', '<none>'])
  const node = { metadata: { ...metadata, labels: { 'node-role.kubernetes.io/control-plane': '' } }, spec: { unschedulable: true }, status: { conditions: [{ type: 'Ready', status: 'True' }], nodeInfo: { kubeletVersion: 'v1.35.0' }, addresses: [{ type: 'InternalIP', address: '1.2.3.4' }] } }
  assert.deepEqual(shown('Node', node).slice(0, 7), ['x', 'Ready,SchedulingDisabled', 'control-plane', '5m', 'v1.35.0', '1.2.3.4', '<none>'])
  const template = { spec: { containers: [{ name: 'a', image: 'i' }] } }
  assert.deepEqual(shown('Deployment', { spec: { replicas: 3, selector: { matchLabels: { a: 'b' } }, template }, status: { readyReplicas: 2, updatedReplicas: 3, availableReplicas: 2 } }), ['x', '2/3', 3, 2, '5m', 'a', 'i', 'a=b'])
  assert.deepEqual(shown('Service', { spec: { type: 'NodePort', clusterIP: '10.43.0.1', ports: [{ port: 80, nodePort: 30080, protocol: 'TCP' }] } }).slice(0, 6), ['x', 'NodePort', '10.43.0.1', '<none>', '80:30080/TCP', '5m'])
  assert.deepEqual(shown('CertificateSigningRequest', { spec: { signerName: 's/x', username: 'u', request: '' }, status: { conditions: [{ type: 'Approved' }], certificate: 'x' } }), ['x', '5m', 's/x', 'u', '<none>', 'Approved,Issued'])
})

test('the status word of a pod follows its containers', () => {
  const word = (status: object, more: object = {}): string => podSummary({ spec: { containers: [{ name: 'a' }], initContainers: [{ name: 'i' }] }, status, ...more } as never).reason
  assert.equal(word({ phase: 'Pending', initContainerStatuses: [{ name: 'i', restartCount: 0, state: { running: {} } }] }), 'Init:0/1')
  assert.equal(word({ phase: 'Pending', initContainerStatuses: [{ name: 'i', restartCount: 1, state: { waiting: { reason: 'CrashLoopBackOff' } } }] }), 'Init:CrashLoopBackOff')
  assert.equal(word({ phase: 'Running', containerStatuses: [{ name: 'a', restartCount: 1, state: { waiting: { reason: 'ImagePullBackOff' } } }] }), 'ImagePullBackOff')
  assert.equal(word({ phase: 'Failed', containerStatuses: [{ name: 'a', restartCount: 0, state: { terminated: { exitCode: 3 } } }] }), 'ExitCode:3')
  assert.equal(word({ phase: 'Running' }, { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } }), 'Terminating')
  assert.equal(word({ phase: 'Pending', conditions: [{ type: 'PodScheduled', status: 'False', reason: 'SchedulingGated' }] }), 'SchedulingGated')
})

test('every printer copes with an empty object and fills each column', () => {
  for (const def of RESOURCES) {
    if (def.served === 'virtual') continue
    const empty = { metadata: { name: 'x' }, spec: { template: {}, jobTemplate: {}, drivers: [], source: {}, containers: [] }, roleRef: {}, involvedObject: {} } as KubeObject
    assert.equal(def.printer.cells(empty, NOW).length, def.printer.columns.length, def.kind)
  }
})

test('a Table carries what was asked for', () => {
  const object = { metadata, data: { a: 'b' } } as KubeObject
  assert.deepEqual(tableOf(KINDS.ConfigMap, [object], { now: NOW, includeObject: 'None' }).rows, [{ cells: ['x', 1, '5m'] }])
  assert.deepEqual(tableOf(KINDS.ConfigMap, [object], { now: NOW }).rows[0]?.object, { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata })
  assert.equal(tableOf(KINDS.ConfigMap, [object], { now: NOW, includeObject: 'Object' }).rows[0]?.object, object)
})
