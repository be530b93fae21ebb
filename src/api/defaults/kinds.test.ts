import assert from 'node:assert/strict'
import { test } from 'node:test'
import { applyDefaults } from './mod.ts'

/** What is sent of an object, and what it then is, in full. */
const CASES: readonly (readonly [schema: string, sent: object, is: object])[] = [
  ['Service', { spec: { ports: [{ port: 80 }] } }, { spec: { ports: [{ port: 80, protocol: 'TCP', targetPort: 80 }], sessionAffinity: 'None', type: 'ClusterIP', internalTrafficPolicy: 'Cluster' } }],
  [
    'Service', { spec: { type: 'LoadBalancer', sessionAffinity: 'ClientIP', ports: [{ port: 80, targetPort: 'http', protocol: 'UDP' }] } },
    { spec: { type: 'LoadBalancer', sessionAffinity: 'ClientIP', ports: [{ port: 80, targetPort: 'http', protocol: 'UDP' }], sessionAffinityConfig: { clientIP: { timeoutSeconds: 10800 } }, externalTrafficPolicy: 'Cluster', allocateLoadBalancerNodePorts: true, internalTrafficPolicy: 'Cluster' } },
  ],
  ['Service', { spec: { type: 'ExternalName', externalName: 'x' } }, { spec: { type: 'ExternalName', externalName: 'x', sessionAffinity: 'None' } }],
  ['PersistentVolume', { spec: { capacity: { storage: '1.0001' }, iscsi: {} } }, { spec: { capacity: { storage: '1001m' }, iscsi: { iscsiInterface: 'default' }, persistentVolumeReclaimPolicy: 'Retain', volumeMode: 'Filesystem' } }],
  ['PersistentVolumeClaim', { spec: {} }, { spec: { volumeMode: 'Filesystem' } }],
  ['Endpoints', { subsets: [{ ports: [{ port: 1 }] }] }, { subsets: [{ ports: [{ port: 1, protocol: 'TCP' }] }] }],
  [
    'LimitRange', { spec: { limits: [{ type: 'Container', max: { cpu: '2' }, min: { cpu: '1' }, defaultRequest: { memory: '1' } }, { type: 'Pod', max: { cpu: '2' } }] } },
    { spec: { limits: [{ type: 'Container', max: { cpu: '2' }, min: { cpu: '1' }, default: { cpu: '2' }, defaultRequest: { cpu: '2', memory: '1' } }, { type: 'Pod', max: { cpu: '2' } }] } },
  ],
  ['Node', { status: { capacity: { cpu: '2' } } }, { status: { capacity: { cpu: '2' }, allocatable: { cpu: '2' } } }],
  ['Secret', { stringData: { a: 'é' }, data: { b: 'AA==' } }, { type: 'Opaque', data: { a: 'w6k=', b: 'AA==' } }],
  [
    'V2HorizontalPodAutoscaler', { spec: { behavior: { scaleDown: { selectPolicy: 'Disabled' } } } },
    {
      spec: {
        minReplicas: 1, metrics: [{ type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 80 } } }],
        behavior: {
          scaleUp: { stabilizationWindowSeconds: 0, selectPolicy: 'Max', policies: [{ type: 'Pods', value: 4, periodSeconds: 15 }, { type: 'Percent', value: 100, periodSeconds: 15 }] },
          scaleDown: { selectPolicy: 'Disabled', policies: [{ type: 'Percent', value: 100, periodSeconds: 15 }] },
        },
      },
    },
  ],
]

test('kinds get what their fields are when nothing is said of them', () => {
  for (const [schema, sent, is] of CASES) {
    const object = structuredClone(sent)
    applyDefaults(schema, object as never)
    assert.deepEqual(object, is, schema)
  }
})

test('workloads get theirs, as far as their pods', () => {
  const of = (schema: string, spec: object = {}): Record<string, unknown> => {
    const o = { spec: { template: { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'i' }] } }, ...spec } }
    applyDefaults(schema, o as never)
    const { template, ...rest } = o.spec as typeof o.spec & Record<string, unknown>
    assert.equal((template as { spec?: { schedulerName?: string } }).spec?.schedulerName, 'default-scheduler')
    return rest
  }
  assert.deepEqual(of('Deployment'), { replicas: 1, revisionHistoryLimit: 10, progressDeadlineSeconds: 600, strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '25%', maxSurge: '25%' } } })
  assert.deepEqual(of('Deployment', { strategy: { type: 'Recreate' } }).strategy, { type: 'Recreate' })
  assert.deepEqual(of('ReplicaSet'), { replicas: 1 })
  assert.deepEqual(of('ReplicationController'), { replicas: 1, selector: { a: 'b' } })
  assert.deepEqual(of('DaemonSet'), { revisionHistoryLimit: 10, updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 1, maxSurge: 0 } } })
  assert.deepEqual(of('StatefulSet'), {
    replicas: 1, revisionHistoryLimit: 10, podManagementPolicy: 'OrderedReady', serviceName: '', updateStrategy: { type: 'RollingUpdate', rollingUpdate: { partition: 0 } },
    persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Retain', whenScaled: 'Retain' },
  })
  const job = { parallelism: 1, completionMode: 'NonIndexed', suspend: false, manualSelector: false, podReplacementPolicy: 'TerminatingOrFailed' }
  assert.deepEqual(of('Job'), { ...job, completions: 1, backoffLimit: 6 })
  assert.deepEqual(of('Job', { parallelism: 2, backoffLimitPerIndex: 1 }), { ...job, parallelism: 2, backoffLimitPerIndex: 1, backoffLimit: 2147483647 })
})

test('amounts are rounded up to thousandths, requests follow limits, a pod asks for what its containers ask for', () => {
  const resources = (spec: object): unknown[] => {
    const pod = { spec: { containers: [{ name: 'c', image: 'i' }], ...spec } as { containers: { name: string; image: string; resources?: object }[]; resources?: object } }
    applyDefaults('Pod', pod as never)
    return [pod.spec.containers[0]?.resources, pod.spec.resources]
  }
  const one = (r: object): object => ({ containers: [{ name: 'c', image: 'i', resources: r }] })
  assert.deepEqual(resources(one({ limits: { cpu: '1.0001', memory: '1Gi' }, requests: { memory: '1Mi' } }))[0], { limits: { cpu: '1001m', memory: '1Gi' }, requests: { cpu: '1001m', memory: '1Mi' } })
  assert.deepEqual(resources({ ...one({ requests: { cpu: '1' } }), resources: { limits: { cpu: '2', memory: '1Gi' } } })[1], { limits: { cpu: '2', memory: '1Gi' }, requests: { cpu: '1', memory: '1Gi' } })
  const side = { name: 's', image: 'i', restartPolicy: 'Always', resources: { requests: { cpu: '1' } } }
  const init = { name: 'i', image: 'i', resources: { requests: { cpu: '2' } } }
  assert.deepEqual(resources({ ...one({ requests: { cpu: '1' } }), initContainers: [side, init], resources: { limits: { cpu: '8' } } })[1], { limits: { cpu: '8' }, requests: { cpu: '3' } })
  const bare = { spec: { resources: { limits: { cpu: '8' } } } }
  applyDefaults('Pod', bare as never)
  assert.deepEqual(bare.spec.resources, { limits: { cpu: '8' }, requests: { cpu: '8' } })
})
