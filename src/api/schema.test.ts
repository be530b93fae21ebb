import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { schemaOf } from './schema-table.ts'
import type { Schema } from './schema-types.ts'
import { walk } from './schema.ts'
import { zeroFields } from './schema-zeros.ts'

const pod = (spec: object): Record<string, unknown> => ({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p' }, spec })
const builtin = (object: unknown): { unknown: string[]; errors: string[] } => {
  const r = walk(schemaOf('Pod'), object)
  return { unknown: r.unknown, errors: r.errors.map((e) => `${e.field}: ${e.message}`) }
}
const custom = (schema: Schema, object: unknown): { unknown: string[]; errors: string[] } => {
  const r = walk(schema, object, { dialect: 'custom' })
  return { unknown: r.unknown, errors: r.errors.map((e) => `${e.field}: ${e.message}`) }
}

test('unknown fields are named by path and removed', () => {
  const o = pod({ containers: [{ name: 'a', imag: 'x' }], replica: 1 })
  assert.deepEqual(builtin(o).unknown, ['spec.containers[0].imag', 'spec.replica'])
  assert.deepEqual(o.spec, { containers: [{ name: 'a' }] })
})

test('wrong types of built-in kinds speak like the JSON decoder', () => {
  assert.deepEqual(builtin(pod({ containers: [{ ports: [{ containerPort: '80' }] }] })).errors, [
    'spec.containers[0].ports[0].containerPort: json: cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32',
  ])
  assert.match(builtin(pod({ hostNetwork: 'yes' })).errors[0] ?? '', /cannot unmarshal string into Go struct field PodSpec\.spec\.hostNetwork of type bool/)
  assert.match(builtin(pod({ terminationGracePeriodSeconds: 1.5 })).errors[0] ?? '', /cannot unmarshal number 1\.5 into Go struct field/)
  assert.match(builtin(pod({ priority: 3e9 })).errors[0] ?? '', /of type int32/)
  assert.match(builtin({ metadata: { creationTimestamp: 'yesterday' } }).errors[0] ?? '', /parsing time "yesterday"/)
})

test('quantities become canonical, null is absent, int-or-string stays what it is', () => {
  const o = pod({ containers: [{ resources: { limits: { cpu: 0.5, memory: '1024Mi' } }, livenessProbe: { httpGet: { port: 'http' } }, env: null }], nodeName: null })
  assert.deepEqual(builtin(o), { unknown: [], errors: [] })
  assert.deepEqual(o.spec, { containers: [{ resources: { limits: { cpu: '500m', memory: '1Gi' } }, livenessProbe: { httpGet: { port: 'http' } } }] })
  assert.match(builtin(pod({ containers: [{ resources: { limits: { cpu: 'lots' } } }] })).errors[0] ?? '', /limits\[cpu\]: Invalid value: "lots": quantities must match/)
})

const CAMERA: Schema = {
  type: 'object',
  required: ['spec'],
  properties: {
    spec: {
      type: 'object',
      required: ['fps'],
      properties: {
        fps: { type: 'integer', minimum: 1, maximum: 60 },
        mode: { type: 'string', enum: ['day', 'night'], default: 'day' },
        name: { type: 'string', pattern: '^[a-z]+$', maxLength: 5 },
        port: { 'x-kubernetes-int-or-string': true },
        when: { type: 'string', format: 'date-time', nullable: true },
        lanes: { type: 'array', maxItems: 3, 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['id'], items: { type: 'object', properties: { id: { type: 'integer' }, open: { type: 'boolean', default: true } } } },
        free: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
        labels: { type: 'object', additionalProperties: { type: 'string' } },
        either: { type: 'object', properties: { a: { type: 'string' }, b: { type: 'string' } }, oneOf: [{ required: ['a'] }, { required: ['b'] }] },
      },
    },
  },
}

test('custom objects are defaulted, pruned and judged in the words of CRD validation', () => {
  const good = { spec: { fps: 10, lanes: [{ id: 1 }], free: { any: { thing: 1 } }, extra: 1, port: 'x', when: null } }
  assert.deepEqual(custom(CAMERA, good), { unknown: ['spec.extra'], errors: [] })
  assert.deepEqual(good, { spec: { fps: 10, lanes: [{ id: 1, open: true }], free: { any: { thing: 1 } }, port: 'x', when: null, mode: 'day' } })
  const cases: [object, string][] = [
    [{}, 'spec: Required value'],
    [{ spec: {} }, 'spec.fps: Required value'],
    [{ spec: { fps: 'ten' } }, 'spec.fps: Invalid value: "string": spec.fps in body must be of type integer: "string"'],
    [{ spec: { fps: 0 } }, 'spec.fps: Invalid value: 0: spec.fps in body should be greater than or equal to 1'],
    [{ spec: { fps: 61 } }, 'spec.fps: Invalid value: 61: spec.fps in body should be less than or equal to 60'],
    [{ spec: { fps: 1, mode: 'dusk' } }, 'spec.mode: Unsupported value: "dusk": supported values: "day", "night"'],
    [{ spec: { fps: 1, name: 'A' } }, "spec.name: Invalid value: \"A\": spec.name in body should match '^[a-z]+$'"],
    [{ spec: { fps: 1, name: 'toolong' } }, 'spec.name: Too long: may not be more than 5 bytes'],
    [{ spec: { fps: 1, lanes: [{ id: 1 }, { id: 1 }] } }, 'spec.lanes[1]: Duplicate value: {"id":1}'],
    [{ spec: { fps: 1, lanes: [{}, {}, {}, {}] } }, 'spec.lanes: Too many: 4: must have at most 3 items'],
    [{ spec: { fps: 1, labels: { a: 1 } } }, 'spec.labels[a]: Invalid value: "integer": spec.labels[a] in body must be of type string: "integer"'],
    [{ spec: { fps: 1, either: { a: 'x', b: 'y' } } }, 'must validate one and only one schema (oneOf). Found 2 valid alternatives'],
    [{ spec: { fps: 1, when: 'now' } }, 'spec.when in body must be of type date-time: "now"'],
    [{ spec: { fps: 1, port: true } }, 'must be of type integer,string: "boolean"'],
    [{ spec: null }, 'spec: Required value'],
    [{ spec: { fps: 1, lanes: [null] } }, 'spec.lanes[0]: Invalid value: "null": spec.lanes[0] in body must be of type object: "null"'],
  ]
  for (const [object, text] of cases) {
    const { errors } = custom(CAMERA, object)
    assert.equal(errors.some((e) => e.includes(text)), true, `${text} not in ${JSON.stringify(errors)}`)
  }
})

test('depth is bounded and any JSON is walked without throwing', () => {
  const tree: Schema = { type: 'object', properties: { spec: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } } }
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      walk(schemaOf('Deployment'), structuredClone(value))
      walk(CAMERA, structuredClone(value), { dialect: 'custom' })
      walk(tree, structuredClone({ spec: value }), { dialect: 'custom' })
    }),
  )
  let nested: unknown = {}
  for (let i = 0; i < 5000; i++) nested = { not: nested }
  const crd = { spec: { versions: [{ schema: { openAPIV3Schema: nested } }] } }
  assert.match(walk(schemaOf('CustomResourceDefinition'), crd).errors[0]?.message ?? '', /nested deeper than/)
})

test('walking twice finds nothing more: what is left fits the schema', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom('fps', 'mode', 'lanes', 'extra', 'labels'), fc.jsonValue(), { noNullPrototype: true }), (spec) => {
      const object = { spec: structuredClone(spec) }
      custom(CAMERA, object)
      assert.deepEqual(custom(CAMERA, object).unknown, [])
    }),
  )
})

test('a null in a list or map of a built-in kind is the empty value of its type, as decoding in Kubernetes has it', () => {
  const deployment = { spec: { template: { metadata: { labels: { a: null } }, spec: { containers: [null], imagePullSecrets: [null] } } }, metadata: { finalizers: [null] } }
  assert.deepEqual(walk(schemaOf('Deployment'), deployment).errors, [])
  assert.deepEqual(deployment, { spec: { template: { metadata: { labels: { a: '' } }, spec: { containers: [{}], imagePullSecrets: [{}] } } }, metadata: { finalizers: [''] } })
})

test('zeros that say nothing are left out of built-in kinds, those that say something stay', () => {
  const pod = { metadata: { generateName: '', name: '' }, spec: { nodeName: '', hostNetwork: false, hostUsers: false, terminationGracePeriodSeconds: 0, containers: [{ name: 'c', tty: false, env: [{ name: 'A', value: '' }], securityContext: { privileged: false } }] } }
  assert.deepEqual(walk(schemaOf('Pod'), pod).errors, [])
  assert.deepEqual(pod, { metadata: { name: '' }, spec: { hostUsers: false, terminationGracePeriodSeconds: 0, containers: [{ name: 'c', env: [{ name: 'A' }], securityContext: { privileged: false } }] } })
  const claim = { spec: { storageClassName: '', volumeName: '' } }
  walk(schemaOf('PersistentVolumeClaim'), claim)
  assert.deepEqual(claim, { spec: { storageClassName: '' } })
  const deployment = { status: { replicas: 0, readyReplicas: 0, observedGeneration: 1, conditions: [{ type: 'Available', status: 'False', message: '' }] } }
  walk(schemaOf('Deployment'), deployment)
  assert.deepEqual(deployment, { status: { observedGeneration: 1, conditions: [{ type: 'Available', status: 'False' }] } })
  const set = { status: { replicas: 0, readyReplicas: 0 } }
  walk(schemaOf('StatefulSet'), set)
  assert.deepEqual(set, { status: { replicas: 0 } })
  for (const [type, field] of zeroFields()) {
    const of = schemaOf({ Subject: 'RbacSubject', HorizontalPodAutoscalerCondition: 'V2HorizontalPodAutoscalerCondition' }[type] ?? type)
    assert.ok(of.properties?.[field] && !of.required?.includes(field), `${type}.${field} is an optional field`)
  }
})
