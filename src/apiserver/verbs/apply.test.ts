import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ManagedFieldsEntry } from '../../api/meta.ts'
import { startHarness, type Answer, type Harness } from '../../../test/kit/api-harness.ts'
import type { Obj } from '../stored-text.ts'

const CM = '/api/v1/namespaces/default/configmaps/a'
const APPS = '/apis/apps/v1/namespaces/default/deployments'
type Any = Obj & { message: string; data?: Record<string, string>; spec: Record<string, unknown> & { replicas?: number }; details?: { causes?: { field: string; message: string }[] } }

const apply = (h: Harness, path: string, manager: string, body: object | string, query = ''): Promise<Answer<Any>> =>
  h.call<Any>('PATCH', `${path}?fieldManager=${manager}${query}`, body, { headers: { 'content-type': 'application/apply-patch+yaml' } })
const configMap = (data: object, more: object = {}): object => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a', ...more }, data })
const owners = (object: Obj): unknown[] => (object.metadata.managedFields ?? []).map((e) => [e.manager, e.operation, e.apiVersion, e.subresource ?? '', e.fieldsV1])
const template = { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'app:1' }] } }
const deployment = (spec: object): object => ({ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'd', namespace: 'default' }, spec: { selector: { matchLabels: { a: 'b' } }, template, ...spec } })

test('a created object is owned by its creator as Kubernetes writes it: containers that came into being have a dot', async () => {
  await using h = await startHarness()
  await h.call('POST', `${APPS}?fieldManager=kubectl-create`, deployment({ replicas: 1, strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1 } } }))
  const { body } = await h.call<Any>('GET', `${APPS}/d`)
  const [entry] = body.metadata.managedFields as [ManagedFieldsEntry]
  const spec = (entry.fieldsV1 as { 'f:spec': Record<string, Record<string, Record<string, object>>> })['f:spec']
  assert.equal('.' in spec, false)
  assert.deepEqual(spec['f:strategy'], { 'f:rollingUpdate': { '.': {}, 'f:maxSurge': {}, 'f:maxUnavailable': {} }, 'f:type': {} })
  assert.deepEqual(spec['f:template']?.['f:metadata'], { 'f:labels': { '.': {}, 'f:a': {} } })
  const containers = spec['f:template']?.['f:spec']?.['f:containers'] as Record<string, object>
  assert.deepEqual(Object.keys(containers), ['k:{"name":"c"}'])
  assert.equal('.' in (containers['k:{"name":"c"}'] as object), true)
})

test('scale is a door of its own: its writer owns the replicas, an applier of them is in conflict', async () => {
  await using h = await startHarness()
  await apply(h, `${APPS}/d`, 'me', deployment({ replicas: 1 }))
  const scale = { apiVersion: 'autoscaling/v1', kind: 'Scale', metadata: { name: 'd' }, spec: { replicas: 3 } }
  const put = await h.call<Any>('PUT', `${APPS}/d/scale?fieldManager=hpa`, scale)
  assert.deepEqual([put.status, put.body.kind, put.body.spec.replicas], [200, 'Scale', 3])
  const { body } = await h.call<Any>('GET', `${APPS}/d`)
  assert.deepEqual(owners(body)[1], ['hpa', 'Update', 'apps/v1', 'scale', { 'f:spec': { 'f:replicas': {} } }])
  const clash = await apply(h, `${APPS}/d`, 'me', deployment({ replicas: 1 }))
  assert.equal(clash.status, 409)
  assert.match(clash.body.message, /^Apply failed with 1 conflict: conflict with "hpa" with subresource "scale" using apps\/v1: \.spec\.replicas$/)
  assert.equal((await apply(h, `${APPS}/d`, 'me', deployment({}))).status, 200)
  const applied = await apply(h, `${APPS}/d/scale`, 'auto', { ...scale, spec: { replicas: 5 } }, '&force=true')
  assert.deepEqual([applied.status, applied.body.spec.replicas], [200, 5])
  const after = (await h.call<Any>('GET', `${APPS}/d`)).body
  assert.deepEqual(owners(after).map((o) => (o as unknown[]).slice(0, 4).join()).sort(), ['auto,Apply,apps/v1,scale', 'me,Apply,apps/v1,'])
  assert.equal((await h.call<Any>('PUT', `${APPS}/d/scale`, { ...scale, spec: { replicas: -1 } })).status, 422)
})

test('status has its own entries, and the main door keeps them', async () => {
  await using h = await startHarness()
  await apply(h, `${APPS}/d`, 'me', deployment({ replicas: 1 }))
  const status = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'd' }, status: { replicas: 1, conditions: [{ type: 'Available', status: 'True' }] } }
  const done = await apply(h, `${APPS}/d/status`, 'me', status)
  assert.equal(done.status, 200)
  assert.deepEqual(owners(done.body).map((o) => (o as unknown[])[3]), ['', 'status'])
  assert.equal((await apply(h, `${APPS}/d`, 'me', deployment({ replicas: 2 }))).status, 200)
  const { body } = await h.call<Any>('GET', `${APPS}/d`)
  assert.deepEqual(body.status, { conditions: [{ type: 'Available', status: 'True' }], replicas: 1 })
  assert.equal((await apply(h, `${APPS}/none/status`, 'me', { ...status, metadata: { name: 'none' } })).status, 404)
})

test('an owner of another version of the kind is compared in its own words', async () => {
  await using h = await startHarness()
  const path = (version: string): string => `/apis/autoscaling/${version}/namespaces/default/horizontalpodautoscalers/h`
  const scaleTargetRef = { kind: 'Deployment', name: 'd', apiVersion: 'apps/v1' }
  const v1 = { apiVersion: 'autoscaling/v1', kind: 'HorizontalPodAutoscaler', metadata: { name: 'h' }, spec: { maxReplicas: 5, targetCPUUtilizationPercentage: 50, scaleTargetRef } }
  assert.equal((await apply(h, path('v1'), 'old', v1)).status, 201)
  const metrics = (n: number): object[] => [{ type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: n } } }]
  const v2 = (n: number): object => ({ apiVersion: 'autoscaling/v2', kind: 'HorizontalPodAutoscaler', metadata: { name: 'h' }, spec: { maxReplicas: 5, metrics: metrics(n), scaleTargetRef } })
  assert.equal((await apply(h, path('v2'), 'new', v2(50))).status, 200)
  const clash = await apply(h, path('v2'), 'new', v2(60))
  assert.deepEqual([clash.status, clash.body.details?.causes?.[0]?.field], [409, '.spec.targetCPUUtilizationPercentage'])
  assert.equal((await apply(h, path('v2'), 'new', v2(60), '&force=true')).status, 200)
  const both = (await h.call<Any>('GET', path('v1'))).body
  assert.deepEqual(owners(both).map((o) => (o as unknown[]).slice(0, 3).join()).sort(), ['new,Apply,autoscaling/v2', 'old,Apply,autoscaling/v1'])
  assert.equal(both.spec.targetCPUUtilizationPercentage, 60)
})

test('what is applied must fit its schema, and is refused in Kubernetes\' words', async () => {
  await using h = await startHarness()
  const refuse = async (path: string, body: object | string, status: number, message: RegExp, query = ''): Promise<void> => {
    const answer = await apply(h, path, 'me', body, query)
    assert.equal(answer.status, status, answer.body.message)
    assert.match(answer.body.message, message)
  }
  await refuse(CM, { ...configMap({}), foo: 1 }, 500, /^failed to create typed patch object \(default\/a; v1, Kind=ConfigMap\): \.foo: field not declared in schema$/)
  await refuse(`${APPS}/d`, deployment({ replicas: 'two' }), 500, /: \.spec\.replicas: expected numeric \(int or float\), got string$/)
  const twice = { ...template, spec: { containers: [{ name: 'c' }, { name: 'c' }] } }
  await refuse(`${APPS}/d`, deployment({ template: twice }), 500, /: \.spec\.template\.spec\.containers: duplicate entries for key \[name="c"\]$/)
  await refuse(`${APPS}/d`, deployment({ template: { spec: { containers: [{ image: 'x' }] } } }), 500, /containers: element 0: associative list with keys has an element that omits key field "name" \(and doesn't have default value\)$/)
  await refuse(CM, { ...configMap({}), apiVersion: 'v2' }, 400, /^Incorrect version specified in apply patch\. Specified patch version: v2, expected: v1$/)
  await refuse(CM, configMap({}, { managedFields: [] }), 400, /^metadata\.managedFields must be nil$/)
  await refuse(CM, configMap({}, { name: 'b' }), 400, /does not match the name on the URL \(a\)$/)
  const yaml = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: "1"\n  x: "2"\n'
  await refuse(CM, yaml, 400, /^error strict decoding YAML: .*line 6: key "x" already set in map/s, '&fieldValidation=Strict')
  const warned = await apply(h, CM, 'me', yaml)
  assert.deepEqual([warned.status, warned.body.data], [201, { x: '2' }])
  assert.match(warned.headers.warning ?? '', /key \\"x\\" already set in map/)
  const none = await h.call<Any>('PATCH', CM, configMap({}), { headers: { 'content-type': 'application/apply-patch+yaml' } })
  assert.deepEqual([none.status, none.body.message], [422, 'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'])
})

test('kubectl takes over what it applied on its side before, and nothing else', async () => {
  await using h = await startHarness()
  const last = JSON.stringify(configMap({ x: '1', y: '1' }))
  await h.call('POST', '/api/v1/namespaces/default/configmaps?fieldManager=kubectl-client-side-apply', configMap({ x: '1', y: '1' }, { annotations: { 'kubectl.kubernetes.io/last-applied-configuration': last } }))
  assert.equal((await apply(h, CM, 'other', configMap({ x: '2' }))).status, 409)
  const taken = await apply(h, CM, 'kubectl', configMap({ x: '2', y: '1' }))
  assert.equal(taken.status, 200)
  assert.match(taken.body.metadata.annotations?.['kubectl.kubernetes.io/last-applied-configuration'] ?? '', /"x":"2"/)
  await h.call('PATCH', `${CM}?fieldManager=editor`, { data: { y: '9' } }, { headers: { 'content-type': 'application/merge-patch+json' } })
  const clash = await apply(h, CM, 'kubectl', configMap({ x: '3', y: '1' }))
  assert.deepEqual([clash.status, clash.body.details?.causes?.map((c) => c.field)], [409, ['.data.y']])
})

test('a list with one empty entry forgets all owners, and the next apply finds who came before it', async () => {
  await using h = await startHarness()
  await apply(h, CM, 'me', configMap({ x: '1' }))
  const reset = await h.call<Any>('PATCH', CM, { metadata: { managedFields: [{}] } }, { headers: { 'content-type': 'application/merge-patch+json' } })
  assert.deepEqual([reset.status, reset.body.metadata.managedFields], [200, undefined])
  const clash = await apply(h, CM, 'me', configMap({ x: '2' }))
  assert.match(clash.body.message, /conflict with "before-first-apply" using v1: \.data\.x$/)
  // A client that does not know of owners sends none, and none are lost.
  await apply(h, CM, 'me', configMap({ x: '2' }), '&force=true')
  await h.call('PUT', CM, configMap({ x: '2', z: '1' }))
  assert.deepEqual(owners((await h.call<Any>('GET', CM)).body).map((o) => (o as unknown[])[0]), ['me', 'before-first-apply', 'unknown'])
})

test('a dry run of an apply tells the result and changes nothing; a conflict is told too', async () => {
  await using h = await startHarness()
  assert.equal((await apply(h, CM, 'me', configMap({ x: '1' }), '&dryRun=All')).status, 201)
  assert.equal((await h.call('GET', CM)).status, 404)
  await apply(h, CM, 'me', configMap({ x: '1' }))
  assert.equal((await apply(h, CM, 'you', configMap({ x: '2' }), '&dryRun=All')).status, 409)
  assert.equal((await apply(h, CM, 'me', configMap({ x: '2' }), '&dryRun=All')).body.data?.x, '2')
  assert.equal((await h.call<Any>('GET', CM)).body.data?.x, '1')
})

test('the owners go when they would make an object too large', async () => {
  await using h = await startHarness()
  const { body } = await h.call<Any>('POST', '/api/v1/namespaces/default/configmaps', configMap({ big: 'x'.repeat(1_045_000) }))
  assert.equal(body.metadata.managedFields !== undefined, true)
  const wide = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`key-${i}-${'k'.repeat(40)}`, 'v']))
  const patched = await h.call<Any>('PATCH', CM, { metadata: { annotations: wide } }, { headers: { 'content-type': 'application/merge-patch+json' } })
  assert.equal(patched.status, 200)
  assert.equal(patched.body.metadata.managedFields, undefined)
})

test('custom objects merge by the list and map types of their definition, in each of its versions', async () => {
  await using h = await startHarness()
  const text = { type: 'string' }
  const schema = {
    type: 'object',
    properties: { spec: { type: 'object', properties: {
      ports: { type: 'array', 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['port'], items: { type: 'object', required: ['port'], properties: { port: { type: 'integer' }, name: text } } },
      tags: { type: 'array', 'x-kubernetes-list-type': 'set', items: text },
      args: { type: 'array', items: text },
      labels: { type: 'object', 'x-kubernetes-map-type': 'atomic', additionalProperties: text },
      any: { 'x-kubernetes-preserve-unknown-fields': true, type: 'object' },
    } } },
  }
  const versions = ['v1', 'v2'].map((name) => ({ name, served: true, storage: name === 'v1', schema: { openAPIV3Schema: schema } }))
  const names = { plural: 'boats', kind: 'Boat', singular: 'boat' }
  await h.call('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', { metadata: { name: 'boats.example.com' }, spec: { group: 'example.com', scope: 'Namespaced', names, versions } })
  const path = (v: string): string => `/apis/example.com/${v}/namespaces/default/boats/b`
  const boat = (v: string, spec: object): object => ({ apiVersion: `example.com/${v}`, kind: 'Boat', metadata: { name: 'b' }, spec })
  const one = await apply(h, path('v1'), 'one', boat('v1', { ports: [{ port: 1, name: 'a' }], tags: ['x'], args: ['1'], labels: { l: '1' }, any: { deep: { a: 1 } } }))
  assert.equal(one.status, 201, one.body.message)
  const two = await apply(h, path('v2'), 'two', boat('v2', { ports: [{ port: 2 }], tags: ['y'], any: { deep: { b: 2 } } }))
  assert.deepEqual(two.body.spec, { ports: [{ port: 1, name: 'a' }, { port: 2 }], tags: ['x', 'y'], args: ['1'], labels: { l: '1' }, any: { deep: { a: 1, b: 2 } } })
  const clash = await apply(h, path('v2'), 'two', boat('v2', { ports: [{ port: 1, name: 'b' }], args: ['2'], labels: { m: '1' } }))
  assert.deepEqual([clash.status, clash.body.details?.causes?.map((c) => `${c.field} ${c.message}`).sort()], [409, ['.spec.args conflict with "one"', '.spec.labels conflict with "one"', '.spec.ports[port=1].name conflict with "one"']])
  const less = await apply(h, path('v2'), 'one', boat('v2', { ports: [{ port: 1, name: 'a' }] }))
  assert.deepEqual(less.body.spec, { ports: [{ port: 1, name: 'a' }, { port: 2 }], tags: ['y'], any: { deep: { b: 2 } } })
  const wrong = await apply(h, path('v1'), 'one', boat('v1', { ports: [{ port: 'first' }], masts: 2 }))
  assert.match(wrong.body.message, /: errors:\n {2}\.spec\.ports\[port="first"\]\.port: expected numeric \(int or float\), got string\n {2}\.spec\.masts: field not declared in schema$/)
})
