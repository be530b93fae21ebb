import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decode } from './decode.ts'
import type { KubeObject } from './meta.ts'
import { KINDS } from './kinds.ts'
import { resourceFromCrd } from './crd.ts'
import { validateCreate } from './validate/mod.ts'

const deployment = (spec: object): KubeObject => ({ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'd' }, spec }) as KubeObject
const template = { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'x:1' }] } }

test('unknown fields warn by default, fail when strict, pass silently when ignored', () => {
  const text = '{"spec":{"replica":1,"template":{},"template":{}}}'
  assert.deepEqual(decode(KINDS.Deployment, deployment({ replica: 1, template }), { text }), ['duplicate field "spec.template"', 'unknown field "spec.replica"'])
  assert.deepEqual(decode(KINDS.Deployment, deployment({ replica: 1 }), { text, validation: 'Ignore' }), [])
  assert.throws(() => decode(KINDS.Deployment, deployment({ replica: 1 }), { validation: 'Strict' }), {
    message: 'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "spec.replica"',
  })
})

test('what does not decode is a bad request', () => {
  assert.throws(() => decode(KINDS.Deployment, deployment({ replicas: 'two' })), (e: { status: { code: number; message: string } }) => {
    assert.equal(e.status.code, 400)
    assert.equal(e.status.message, 'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32')
    return true
  })
})

test('defaults are filled in', () => {
  const d = deployment({ selector: { matchLabels: { a: 'b' } }, template: structuredClone(template) })
  decode(KINDS.Deployment, d)
  const { spec } = d as { spec?: Record<string, unknown> }
  assert.equal(spec?.replicas, 1)
  assert.deepEqual(spec?.strategy, { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '25%', maxSurge: '25%' } })
  const settled = spec?.template as { spec: { containers: unknown[] } } | undefined
  assert.deepEqual(settled?.spec.containers, [
    { name: 'c', image: 'x:1', terminationMessagePath: '/dev/termination-log', terminationMessagePolicy: 'File', imagePullPolicy: 'IfNotPresent', resources: {} },
  ])
  const before = structuredClone(d)
  decode(KINDS.Deployment, d)
  assert.deepEqual(d, before)
})

test('empty lists and maps are left out where Kubernetes leaves them out', () => {
  const settled = (def: typeof KINDS.Pod, object: object): Record<string, unknown> => {
    const o = { metadata: { name: 'a' }, ...object } as KubeObject
    decode(def, o)
    return o as unknown as Record<string, unknown>
  }
  assert.deepEqual(Object.keys(settled(KINDS.ConfigMap, { data: {}, binaryData: {} })), ['metadata'])
  const { spec } = settled(KINDS.Pod, {
    spec: { nodeSelector: {}, tolerations: [], imagePullSecrets: [], affinity: {}, securityContext: {}, volumes: [{ name: 'v', emptyDir: {} }], containers: [{ name: 'c', image: 'x', args: [], env: [], resources: { limits: {} } }] },
  }) as { spec: { containers: object[] } }
  assert.deepEqual(['nodeSelector', 'tolerations', 'imagePullSecrets'].filter((key) => key in spec), [])
  assert.deepEqual({ ...spec, containers: spec.containers.map((c) => Object.keys(c).toSorted()) }, {
    affinity: {}, securityContext: {}, volumes: [{ name: 'v', emptyDir: {} }], dnsPolicy: 'ClusterFirst', restartPolicy: 'Always', schedulerName: 'default-scheduler',
    terminationGracePeriodSeconds: 30, enableServiceLinks: true, containers: [['image', 'imagePullPolicy', 'name', 'resources', 'terminationMessagePath', 'terminationMessagePolicy']],
  })
  assert.deepEqual(settled(KINDS.NetworkPolicy, { spec: { podSelector: {}, ingress: [{}], egress: [] } })['spec'], { podSelector: {}, ingress: [{}], policyTypes: ['Ingress'] })
  assert.deepEqual(settled(KINDS.ClusterRole, { rules: [] })['rules'], [])
  assert.deepEqual(settled(KINDS.LimitRange, { spec: { limits: [] } })['spec'], { limits: [] })
  const managed = settled(KINDS.ConfigMap, { metadata: { name: 'a', managedFields: [] } })['metadata'] as object
  assert.deepEqual(managed, { name: 'a', managedFields: [] }, 'an empty list forgets the owners')
})

test('stringData of a Secret becomes data', () => {
  const s = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 's' }, data: { a: 'YQ==' }, stringData: { b: 'ü' } } as KubeObject
  decode(KINDS.Secret, s)
  assert.deepEqual(s, { apiVersion: 'v1', kind: 'Secret', metadata: { name: 's' }, data: { a: 'YQ==', b: 'w7w=' }, type: 'Opaque' })
})

test('custom objects that their schema refuses are invalid, with causes', () => {
  const [def] = resourceFromCrd({
    metadata: { name: 'cams.x.io' },
    spec: {
      group: 'x.io', scope: 'Namespaced', names: { plural: 'cams', kind: 'Cam' },
      versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object', properties: { spec: { type: 'object', properties: { fps: { type: 'integer' } } } } } } }],
    },
  })
  assert.ok(def)
  assert.deepEqual(decode(def, { metadata: { name: 'c', labels: { a: 'b' } }, spec: { x: 1 } } as KubeObject), ['unknown field "spec.x"'])
  assert.throws(() => decode(def, { metadata: { name: 'c', labels: 5 }, spec: {} } as never), { message: /^Cam\.x\.io "c" is invalid: metadata\.labels: Invalid value: "integer": metadata\.labels in body must be of type object: "integer"$/ })
  // The content is judged beside what it replaces.
  const sent = { metadata: { name: 'c', namespace: 'd' }, spec: { fps: 'x' } } as KubeObject
  decode(def, sent)
  assert.deepEqual(validateCreate(def, sent).map((e) => `${e.field}: ${e.message}`), ['spec.fps: Invalid value: "string": spec.fps in body must be of type integer: "string"'])
})
