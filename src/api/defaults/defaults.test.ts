import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KubeObject } from '../meta.ts'
import { RESOURCES } from '../kinds.ts'
import { applyDefaults } from './mod.ts'

type Loose = KubeObject & { spec: Record<string, unknown> }
function settled(schema: string, object: object): Loose {
  const copy = structuredClone(object) as Loose
  applyDefaults(schema, copy)
  return copy
}

test('a pod gets what readers would otherwise have to know', () => {
  const { spec } = settled('Pod', {
    spec: {
      serviceAccount: 'old',
      hostNetwork: true,
      containers: [{ name: 'a', image: 'r:5000/x', ports: [{ containerPort: 80 }], readinessProbe: { httpGet: { port: 1 } }, resources: { limits: { cpu: '1' } }, env: [{ name: 'N', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }] }],
      volumes: [{ name: 'e' }, { name: 's', secret: {} }, { name: 'p', projected: { sources: [{ serviceAccountToken: { path: 't' } }] } }],
    },
  })
  assert.deepEqual([spec.serviceAccountName, spec.restartPolicy, spec.dnsPolicy, spec.enableServiceLinks, spec.terminationGracePeriodSeconds], ['old', 'Always', 'ClusterFirst', true, 30])
  assert.deepEqual(spec.volumes, [
    { name: 'e', emptyDir: {} }, { name: 's', secret: { defaultMode: 420 } },
    { name: 'p', projected: { defaultMode: 420, sources: [{ serviceAccountToken: { path: 't', expirationSeconds: 3600 } }] } },
  ])
  assert.deepEqual((spec.containers as unknown[])[0], {
    name: 'a', image: 'r:5000/x', imagePullPolicy: 'Always', terminationMessagePath: '/dev/termination-log', terminationMessagePolicy: 'File',
    ports: [{ containerPort: 80, hostPort: 80, protocol: 'TCP' }], resources: { limits: { cpu: '1' }, requests: { cpu: '1' } },
    readinessProbe: { httpGet: { port: 1, path: '/', scheme: 'HTTP' }, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 },
    env: [{ name: 'N', valueFrom: { fieldRef: { fieldPath: 'metadata.name', apiVersion: 'v1' } } }],
  })
})

test('an image is latest without a tag, never with a digest', () => {
  const policy = (image: string): unknown => (settled('Pod', { spec: { containers: [{ name: 'a', image }] } }).spec.containers as { imagePullPolicy: string }[])[0]?.imagePullPolicy
  assert.deepEqual(['x', 'x:latest', 'x:1', 'h:5000/x', 'h:5000/x:1', 'x@sha256:0'].map(policy), ['Always', 'Always', 'IfNotPresent', 'Always', 'IfNotPresent', 'IfNotPresent'])
})

test('services, roles and CRDs get theirs', () => {
  assert.deepEqual(settled('Service', { spec: { ports: [{ port: 80 }] } }).spec, {
    ports: [{ port: 80, protocol: 'TCP', targetPort: 80 }], sessionAffinity: 'None', type: 'ClusterIP', internalTrafficPolicy: 'Cluster',
  })
  assert.equal(settled('Service', { spec: { type: 'LoadBalancer' } }).spec.externalTrafficPolicy, 'Cluster')
  const binding = settled('RoleBinding', { roleRef: { kind: 'Role', name: 'r' }, subjects: [{ kind: 'User', name: 'u' }, { kind: 'ServiceAccount', name: 's' }] })
  assert.deepEqual(binding, {
    roleRef: { kind: 'Role', name: 'r', apiGroup: 'rbac.authorization.k8s.io' },
    subjects: [{ kind: 'User', name: 'u', apiGroup: 'rbac.authorization.k8s.io' }, { kind: 'ServiceAccount', name: 's' }],
  })
  const crd = settled('CustomResourceDefinition', { spec: { names: { plural: 'cams', kind: 'Cam' } } })
  assert.deepEqual(crd.spec, { names: { plural: 'cams', kind: 'Cam', singular: 'cam', listKind: 'CamList' }, conversion: { strategy: 'None' } })
  assert.deepEqual(settled('Namespace', { metadata: { name: 'n' } }).metadata?.labels, { 'kubernetes.io/metadata.name': 'n' })
})

test('defaulting twice is defaulting once, for every kind and for objects without a spec', () => {
  for (const { schema } of RESOURCES) {
    for (const object of [{}, { metadata: { name: 'x' } }, { spec: {} }]) {
      const once = settled(schema, object)
      assert.deepEqual(settled(schema, once), once, schema)
    }
  }
})
