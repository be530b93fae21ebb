import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Job, PersistentVolumeClaim, Pod, Service, ServiceSpec } from './gen/types.ts'
import { prepareCoreCreate, prepareCoreUpdate } from './prepare-core.ts'
import { parseIndexes, overlap } from './validate/job-indexes.ts'

function created<T extends object>(schema: string, object: T): T {
  const copy = structuredClone(object)
  prepareCoreCreate(schema, copy as never)
  return copy
}
function updated<T extends object>(schema: string, old: T, next: T, subresource?: string): T {
  const copy = structuredClone(next)
  prepareCoreUpdate(schema, copy as never, structuredClone(old) as never, subresource)
  return copy
}

test('a Job selects its own pods by its uid, unless its author selects', () => {
  const own = { 'batch.kubernetes.io/controller-uid': 'u', 'batch.kubernetes.io/job-name': 'j', 'controller-uid': 'u', 'job-name': 'j' }
  const job: Job = { metadata: { name: 'j', uid: 'u' }, spec: { template: { metadata: { labels: { a: 'b' } }, spec: { containers: [] } } } }
  assert.deepEqual(created('Job', job).metadata?.labels, { ...own, a: 'b' }, 'a Job without labels has those of its pods')
  assert.deepEqual(created('Job', { ...job, metadata: { name: 'j', uid: 'u', labels: { mine: '1' } } }).metadata?.labels, { mine: '1' })
  const made = created('Job', job).spec
  assert.deepEqual(made?.selector, { matchLabels: { 'batch.kubernetes.io/controller-uid': 'u' } })
  assert.deepEqual(made?.template.metadata?.labels, { ...own, a: 'b' })
  const manual: Job = { ...job, spec: { ...(job.spec as NonNullable<Job['spec']>), manualSelector: true } }
  assert.deepEqual(created('Job', manual), manual)
})

test('a pod with gates waits, and keys of labels become requirements once', () => {
  const pod: Pod = {
    metadata: { labels: { app: 'a', rev: '1' } },
    spec: {
      containers: [], schedulingGates: [{ name: 'g' }],
      topologySpreadConstraints: [{ maxSkew: 1, topologyKey: 'z', whenUnsatisfiable: 'DoNotSchedule', labelSelector: {}, matchLabelKeys: ['rev', 'none'] }],
      affinity: { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey: 'z', labelSelector: {}, mismatchLabelKeys: ['app'] }] } },
    },
  }
  const made = created('Pod', created('Pod', pod))
  assert.equal(made.status?.conditions?.[0]?.reason, 'SchedulingGated')
  assert.deepEqual(made.spec?.topologySpreadConstraints?.[0]?.labelSelector?.matchExpressions, [{ key: 'rev', operator: 'In', values: ['1'] }])
  assert.deepEqual(made.spec?.affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.[0]?.labelSelector?.matchExpressions, [{ key: 'app', operator: 'NotIn', values: ['a'] }])
})

test('the doors of a pod let their own part through', () => {
  const old: Pod = { metadata: { name: 'p' }, spec: { nodeName: 'n', containers: [{ name: 'c', image: 'i', resources: { requests: { cpu: '1' } } }] } }
  const next: Pod = { metadata: { name: 'p', labels: { a: 'b' } }, spec: { nodeName: 'm', containers: [{ name: 'c', image: 'j', resources: { requests: { cpu: '2' } } }], ephemeralContainers: [{ name: 'd', image: 'i' }] } }
  assert.deepEqual(updated('Pod', old, next, 'ephemeralcontainers'), { ...old, spec: { ...old.spec, ephemeralContainers: [{ name: 'd', image: 'i' }] } })
  assert.deepEqual(updated('Pod', old, next, 'resize'), { ...old, spec: { nodeName: 'n', containers: [{ name: 'c', image: 'i', resources: { requests: { cpu: '2' } } }] } })
})

test('a Service says its address in both fields, and drops what only its old type had', () => {
  const address = (spec: ServiceSpec): unknown[] => [spec.clusterIP, spec.clusterIPs]
  assert.deepEqual(address(created<Service>('Service', { spec: { clusterIP: 'None' } }).spec ?? {}), ['None', ['None']])
  const old: Service = { spec: { type: 'LoadBalancer', clusterIP: '10.0.0.1', clusterIPs: ['10.0.0.1'], allocateLoadBalancerNodePorts: true, externalTrafficPolicy: 'Cluster', ports: [{ port: 80, nodePort: 30080 }] } }
  const to = (type: string, more: ServiceSpec = {}): ServiceSpec => updated<Service>('Service', old, { spec: { ...old.spec, type, ...more } }).spec ?? {}
  const plain = to('ClusterIP')
  assert.deepEqual([plain.allocateLoadBalancerNodePorts, plain.externalTrafficPolicy, plain.ports], [undefined, undefined, [{ port: 80 }]])
  assert.deepEqual(to('NodePort').ports, [{ port: 80, nodePort: 30080 }])
  assert.deepEqual(address(to('ExternalName')), [undefined, undefined])
  assert.equal(to('ClusterIP', { externalTrafficPolicy: 'Local' }).externalTrafficPolicy, 'Local', 'what the author changed is left for validation to refuse')
})

test('a claim says where its data comes from in both fields', () => {
  const source = { kind: 'PersistentVolumeClaim', name: 'c' }
  const both = (spec: object): unknown[] => {
    const made = created<PersistentVolumeClaim>('PersistentVolumeClaim', { spec } as PersistentVolumeClaim).spec
    return [made?.dataSource, made?.dataSourceRef]
  }
  assert.deepEqual(both({ dataSource: source }), [source, source])
  assert.deepEqual(both({ dataSourceRef: source }), [source, source])
  assert.deepEqual(both({ dataSourceRef: { ...source, namespace: 'n' } }), [undefined, { ...source, namespace: 'n' }])
  assert.deepEqual(both({ dataSource: { kind: 'Thing', name: 'c' } }), [undefined, undefined])
})

test('a DaemonSet counts the changes of its template', () => {
  const at = (generation: string, image: string): object => ({ metadata: { annotations: { 'deprecated.daemonset.template.generation': generation } }, spec: { template: { spec: { containers: [{ name: 'c', image }] } } } })
  const count = (next: object, old: object): unknown => (updated('DaemonSet', old, next) as { metadata: { annotations: Record<string, string> } }).metadata.annotations['deprecated.daemonset.template.generation']
  assert.deepEqual([count(at('9', 'i'), at('2', 'i')), count(at('2', 'j'), at('2', 'i'))], ['2', '3'])
})

test('lists of indexes grow, end below the completions and may overlap', () => {
  assert.deepEqual(parseIndexes('0,2-4', 5), { total: 4, intervals: [[0, 0], [2, 4]] })
  assert.deepEqual(['5', '2-1', '1-2-3', '3,2', 'x'].map((text) => parseIndexes(text, 5).wrong), [
    'too large index: "5"', 'non-increasing order, previous: 2, current: 1',
    'the fragment "1-2-3" violates the requirement that an index interval can have at most two parts separated by \'-\'',
    'non-increasing order, previous: 3, current: 2', 'cannot convert string to integer for index: "x"',
  ])
  assert.equal(overlap(parseIndexes('0,2-4', 5), parseIndexes('3', 5)), 3)
  assert.equal(overlap(parseIndexes('0', 5), parseIndexes('1-4', 5)), undefined)
})
