import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decode } from '../decode.ts'
import { KINDS } from '../kinds.ts'
import type { KubeObject } from '../meta.ts'
import type { ResourceDef } from '../resource.ts'
import { validateCreate, validateUpdate } from './mod.ts'

/** Texts of what is wrong with an object after decoding and defaulting. */
function wrong(def: ResourceDef, object: object): string[] {
  const o = structuredClone(object) as KubeObject
  o.metadata = { name: 'x', ...(def.namespaced && { namespace: 'default' }), ...o.metadata }
  decode(def, o)
  return validateCreate(def, o).map((e) => `${e.field}: ${e.message}`)
}
function wrongUpdate(def: ResourceDef, old: object, next: object): string[] {
  const settle = (o: object): KubeObject => {
    const copy = structuredClone(o) as KubeObject
    copy.metadata = { name: 'x', ...(def.namespaced && { namespace: 'default' }), ...copy.metadata }
    decode(def, copy)
    return copy
  }
  return validateUpdate(def, settle(next), settle(old)).map((e) => `${e.field}: ${e.message}`)
}
const includes = (list: readonly string[], text: string): void => assert.equal(list.some((l) => l.includes(text)), true, `"${text}" not in ${JSON.stringify(list, null, 1)}`)

const container = { name: 'c', image: 'i' }
const pod = (spec: object): object => ({ spec: { containers: [container], ...spec } })
const workload = (spec: object = {}): object => ({
  spec: { selector: { matchLabels: { app: 'a' } }, template: { metadata: { labels: { app: 'a' } }, spec: { containers: [container] } }, ...spec },
})

test('a plain object of each kind that acts is valid', () => {
  assert.deepEqual(wrong(KINDS.Pod, pod({})), [])
  assert.deepEqual(wrong(KINDS.Deployment, workload()), [])
  assert.deepEqual(wrong(KINDS.ReplicaSet, workload()), [])
  assert.deepEqual(wrong(KINDS.ConfigMap, { data: { 'a.b': 'c' } }), [])
  assert.deepEqual(wrong(KINDS.Secret, { stringData: { a: 'b' } }), [])
  assert.deepEqual(wrong(KINDS.Service, { spec: { ports: [{ port: 80 }] } }), [])
  assert.deepEqual(wrong(KINDS.Namespace, {}), [])
  assert.deepEqual(wrong(KINDS.Node, { spec: { podCIDRs: ['10.0.0.0/24'] } }), [])
  assert.deepEqual(wrong(KINDS.Lease, { spec: { leaseDurationSeconds: 10 } }), [])
  assert.deepEqual(wrong(KINDS.ClusterRole, { rules: [{ verbs: ['get'], apiGroups: [''], resources: ['pods'] }] }), [])
  assert.deepEqual(wrong(KINDS.RoleBinding, { roleRef: { kind: 'Role', name: 'r' }, subjects: [{ kind: 'User', name: 'u' }] }), [])
  assert.deepEqual(wrong(KINDS.Event, { involvedObject: { namespace: 'default' } }), [])
  assert.deepEqual(wrong(KINDS.PriorityClass, { value: 1 }), [])
})

test('the demo manifest of a camera app is valid', () => {
  const spec = {
    selector: { matchLabels: { app: 'face' } },
    template: {
      metadata: { labels: { app: 'face' } },
      spec: {
        affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchExpressions: [{ key: 'device', operator: 'In', values: ['camera'] }] }] } } },
        containers: [{ name: 'face', image: 'face-recognition', ports: [{ containerPort: 8092 }], resources: { limits: { cpu: '1', memory: '128Mi' } } }],
      },
    },
  }
  assert.deepEqual(wrong(KINDS.Deployment, { spec }), [])
})

test('pods are refused in the words of Kubernetes', () => {
  const cases: [object, string][] = [
    [{ spec: {} }, 'spec.containers: Required value'],
    [pod({ containers: [{ name: 'c' }] }), 'spec.containers[0].image: Required value'],
    [pod({ containers: [container, container] }), 'spec.containers[1].name: Duplicate value: "c"'],
    [pod({ containers: [{ ...container, imagePullPolicy: 'Sometimes' }] }), 'spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"'],
    [pod({ containers: [{ ...container, ports: [{ containerPort: 70000 }] }] }), 'spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive'],
    [pod({ containers: [{ ...container, volumeMounts: [{ name: 'v', mountPath: '/v' }] }] }), 'spec.containers[0].volumeMounts[0].name: Not found: "v"'],
    [pod({ containers: [{ ...container, resources: { requests: { cpu: '2' }, limits: { cpu: '1' } } }] }), 'must be less than or equal to cpu limit of 1'],
    [pod({ containers: [{ ...container, env: [{ name: 'A', valueFrom: {} }] }] }), 'must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`'],
    [pod({ containers: [{ ...container, livenessProbe: {} }] }), 'spec.containers[0].livenessProbe: Required value: must specify a handler type'],
    [pod({ restartPolicy: 'Often' }), 'spec.restartPolicy: Unsupported value: "Often"'],
    [pod({ volumes: [{ name: 'v', emptyDir: {}, hostPath: { path: '/x' } }] }), 'spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type'],
    [pod({ tolerations: [{ operator: 'Equal' }] }), 'operator must be Exists when `key` is empty'],
    [pod({ nodeSelector: { 'a b': 'c' } }), 'spec.nodeSelector: Invalid value: "a b"'],
    [pod({ initContainers: [{ ...container, name: 'i', readinessProbe: { exec: { command: ['x'] } } }] }), 'may not be set for init containers'],
    [{ ...pod({}), metadata: { name: 'A_' } }, 'metadata.name: Invalid value: "A_": a lowercase RFC 1123 subdomain'],
    [{ ...pod({}), metadata: { labels: { 'x/y/z': '1' } } }, 'metadata.labels: Invalid value: "x/y/z": a qualified name'],
  ]
  for (const [object, text] of cases) includes(wrong(KINDS.Pod, object), text)
})

test('a pod keeps its spec but for images, deadlines and further tolerations', () => {
  assert.deepEqual(wrongUpdate(KINDS.Pod, pod({}), pod({ containers: [{ ...container, image: 'j', imagePullPolicy: 'Always' }] })), [])
  assert.deepEqual(wrongUpdate(KINDS.Pod, pod({}), pod({ tolerations: [{ operator: 'Exists' }], activeDeadlineSeconds: 5 })), [])
  includes(wrongUpdate(KINDS.Pod, pod({}), pod({ nodeName: 'n' })), 'spec: Forbidden: pod updates may not change fields other than')
  includes(wrongUpdate(KINDS.Pod, pod({}), pod({ containers: [container, { ...container, name: 'd' }] })), 'spec.containers: Forbidden: pod updates may not add or remove containers')
  includes(wrongUpdate(KINDS.Pod, pod({ tolerations: [{ operator: 'Exists' }] }), pod({})), 'existing toleration can not be modified')
})

test('workloads must select their template and keep their selector', () => {
  includes(wrong(KINDS.Deployment, workload({ selector: { matchLabels: { app: 'b' } } })), 'spec.template.metadata.labels: Invalid value: {"app":"a"}: `selector` does not match template `labels`')
  includes(wrong(KINDS.Deployment, workload({ selector: undefined })), 'spec.selector: Required value')
  includes(wrong(KINDS.Deployment, workload({ selector: {} })), 'empty selector is invalid for deployment')
  includes(wrong(KINDS.Deployment, workload({ replicas: -1 })), 'spec.replicas: Invalid value: -1: must be greater than or equal to 0')
  includes(wrong(KINDS.Deployment, workload({ strategy: { rollingUpdate: { maxSurge: 0, maxUnavailable: 0 } } })), 'may not be 0 when `maxSurge` is 0')
  includes(wrong(KINDS.Deployment, workload({ strategy: { type: 'Recreate', rollingUpdate: {} } })), "may not be specified when strategy `type` is 'Recreate'")
  const other = { selector: { matchLabels: { app: 'b' } }, template: { metadata: { labels: { app: 'b' } }, spec: { containers: [container] } } }
  includes(wrongUpdate(KINDS.Deployment, workload(), workload(other)), 'spec.selector: Invalid value: {"matchLabels":{"app":"b"}}: field is immutable')
})

test('configuration, services and RBAC have their own rules', () => {
  includes(wrong(KINDS.ConfigMap, { data: { 'a b': '' } }), 'data[a b]: Invalid value: "a b": a valid config key must consist of')
  includes(wrong(KINDS.ConfigMap, { data: { a: 'x'.repeat(1024 * 1024 + 1) } }), 'Too long: may not be more than 1048576 bytes')
  includes(wrongUpdate(KINDS.ConfigMap, { immutable: true, data: { a: '1' } }, { immutable: true, data: { a: '2' } }), 'data: Forbidden: field is immutable when `immutable` is set')
  includes(wrong(KINDS.Secret, { type: 'kubernetes.io/tls' }), 'data[tls.crt]: Required value')
  includes(wrongUpdate(KINDS.Secret, { type: 'a' }, { type: 'b' }), 'type: Invalid value: "b": field is immutable')
  includes(wrong(KINDS.Service, { metadata: { name: '1x' }, spec: { ports: [{ port: 80 }] } }), 'a DNS-1035 label must consist of')
  includes(wrong(KINDS.Service, { spec: {} }), 'spec.ports: Required value')
  includes(wrong(KINDS.Service, { spec: { ports: [{ port: 80 }, { port: 81 }] } }), 'spec.ports[0].name: Required value')
  includes(wrongUpdate(KINDS.Service, { spec: { clusterIP: '10.0.0.1', clusterIPs: ['10.0.0.1'], ports: [{ port: 80 }] } }, { spec: { clusterIP: '10.0.0.2', clusterIPs: ['10.0.0.2'], ports: [{ port: 80 }] } }), 'may not change once set')
  includes(wrong(KINDS.Role, { rules: [{ verbs: ['get'], nonResourceURLs: ['/x'] }] }), 'namespaced rules cannot apply to non-resource URLs')
  includes(wrong(KINDS.ClusterRoleBinding, { roleRef: { kind: 'Role', name: 'r' } }), 'roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"')
  includes(wrongUpdate(KINDS.RoleBinding, { roleRef: { kind: 'Role', name: 'a' } }, { roleRef: { kind: 'Role', name: 'b' } }), 'cannot change roleRef')
  includes(wrong(KINDS.Event, { involvedObject: { namespace: 'other' } }), 'does not match event.namespace')
  includes(wrong(KINDS.Node, { spec: { taints: [{ key: 'a', effect: 'No' }] } }), 'metadata.taints[0].effect: Unsupported value: "No"')
  includes(wrong(KINDS.CertificateSigningRequest, { spec: { request: 'eA==', signerName: 'x' } }), 'spec.usages: Required value')
})

test('a kind that nothing acts on is held to the required fields of its schema', () => {
  includes(wrong(KINDS.StorageClass, {}), 'provisioner: Required value')
})

test('metadata may not be moved by an update', () => {
  includes(wrongUpdate(KINDS.ConfigMap, { metadata: { name: 'x', uid: '1' } }, { metadata: { name: 'x', uid: '2' } }), 'metadata.uid: Invalid value: "2": field is immutable')
  const deleting = { metadata: { name: 'x', deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: ['a.b/c'] } }
  includes(wrongUpdate(KINDS.ConfigMap, deleting, { metadata: { ...deleting.metadata, finalizers: ['a.b/c', 'd.e/f'] } }), 'no new finalizers can be added if the object is being deleted')
})

const crd = (schema: object, name = 'cams.x.io'): object => ({
  metadata: { name },
  spec: { group: 'x.io', scope: 'Namespaced', names: { plural: 'cams', kind: 'Cam' }, versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: schema } }] },
})

test('CRDs must be structural', () => {
  assert.deepEqual(wrong(KINDS.CustomResourceDefinition, crd({ type: 'object', properties: { spec: { type: 'object', properties: { a: { type: 'string' }, b: { 'x-kubernetes-int-or-string': true } } } } })), [])
  includes(wrong(KINDS.CustomResourceDefinition, crd({ type: 'object' }, 'wrong')), 'metadata.name: Invalid value: "wrong": must be spec.names.plural+"."+spec.group')
  includes(wrong(KINDS.CustomResourceDefinition, crd({ properties: {} })), 'must not be empty at the root')
  includes(wrong(KINDS.CustomResourceDefinition, crd({ type: 'object', properties: { a: {} } })), 'properties[a].type: Required value: must not be empty for specified object fields')
  includes(wrong(KINDS.CustomResourceDefinition, crd({ type: 'object', properties: { a: { type: 'array' } } })), 'properties[a].items: Required value: must be specified')
  includes(wrong(KINDS.CustomResourceDefinition, crd({ type: 'object', properties: { a: { type: 'object', oneOf: [{ properties: { x: {} } }] } } })), 'because it is defined in')
  includes(wrong(KINDS.CustomResourceDefinition, crd({ type: 'object', properties: { a: { type: 'string', pattern: '(' } } })), 'must be a valid regular expression')
})
