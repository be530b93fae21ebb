import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { KubeObject, ManagedFieldsEntry } from '../meta.ts'
import { schemaOf } from '../schema-table.ts'
import { managedAfterUpdate, serverSideApply } from './apply.ts'
import type { Writer } from './managers.ts'

const DEPLOYMENT = schemaOf('Deployment')
const CONFIG_MAP = schemaOf('ConfigMap')
const writer = (manager: string, apiVersion = 'v1', subresource?: string): Writer => ({
  manager, apiVersion, time: '2026-01-01T00:00:00Z', hasStatus: apiVersion === 'apps/v1', subresource,
})
const configMap = (data: Record<string, string>): KubeObject => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c' }, data }) as KubeObject
const dataOf = (o: KubeObject): unknown => (o as { data?: unknown }).data
const managers = (list: readonly ManagedFieldsEntry[] | undefined): unknown => list?.map((e) => [e.manager, e.operation])
const apply = (live: KubeObject | undefined, config: KubeObject, manager: string, force = false): KubeObject =>
  serverSideApply(live, config, CONFIG_MAP, writer(manager), force)

test('a manager owns what it applies, and what it stops applying goes', () => {
  const one = apply(undefined, configMap({ a: '1', b: '2' }), 'me')
  assert.deepEqual(one.metadata?.managedFields?.[0]?.fieldsV1, { 'f:data': { 'f:a': {}, 'f:b': {} } })
  const two = apply(one, configMap({ a: '1' }), 'me')
  assert.deepEqual(dataOf(two), { a: '1' })
})

test('another owner with another value is a conflict that names it; force takes the field over', () => {
  const one = apply(undefined, configMap({ a: '1', b: '2' }), 'first')
  assert.throws(
    () => apply(one, configMap({ a: 'x' }), 'second'),
    (e: Error & { status: { code: number; details: { causes: unknown[] } } }) => {
      assert.equal(e.message, 'Apply failed with 1 conflict: conflict with "first": .data.a')
      assert.equal(e.status.code, 409)
      assert.deepEqual(e.status.details.causes, [{ reason: 'FieldManagerConflict', message: 'conflict with "first"', field: '.data.a' }])
      return true
    },
  )
  const forced = apply(one, configMap({ a: 'x' }), 'second', true)
  assert.deepEqual(dataOf(forced), { a: 'x', b: '2' })
  assert.deepEqual(forced.metadata?.managedFields?.map((m) => [m.manager, m.fieldsV1]), [
    ['first', { 'f:data': { 'f:b': {} } }],
    ['second', { 'f:data': { 'f:a': {} } }],
  ])
})

test('a field with two owners stays when one of them stops applying it', () => {
  const one = apply(undefined, configMap({ a: '1' }), 'first')
  const both = apply(one, configMap({ a: '1' }), 'second')
  assert.deepEqual(dataOf(apply(both, configMap({}), 'first')), { a: '1' })
})

test('list items merge by their keys, defaults of keys included', () => {
  const pod = (ports: object[], image?: string): KubeObject =>
    ({ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'd' }, spec: { template: { spec: { containers: [{ name: 'a', ...(image && { image }), ports }] } } } }) as KubeObject
  const w = writer('me', 'apps/v1')
  const one = serverSideApply(undefined, pod([{ containerPort: 80, protocol: 'TCP' }], 'x'), DEPLOYMENT, w, false)
  const two = serverSideApply(one, pod([{ containerPort: 80, name: 'http' }]), DEPLOYMENT, writer('other', 'apps/v1'), false)
  const container = (two as { spec?: { template: { spec: { containers: { ports: unknown[]; image: string }[] } } } }).spec?.template.spec.containers
  assert.deepEqual(container, [{ name: 'a', image: 'x', ports: [{ containerPort: 80, protocol: 'TCP', name: 'http' }] }])
})

test('a plain update owns what it changed and takes it from the others', () => {
  const one = apply(undefined, configMap({ a: '1', b: '2' }), 'me')
  const next = { ...one, data: { a: '9', b: '2', c: '3' } } as KubeObject
  const managed = managedAfterUpdate(one, next, CONFIG_MAP, writer('editor'))
  assert.deepEqual(managed.map((m) => [m.manager, m.operation, m.fieldsV1]), [
    ['me', 'Apply', { 'f:data': { 'f:b': {} } }],
    ['editor', 'Update', { 'f:data': { 'f:a': {}, 'f:c': {} } }],
  ])
  const gone = managedAfterUpdate({ ...next, metadata: { ...next.metadata, managedFields: managed } }, { ...next, metadata: { name: 'c' }, data: { b: '2' } } as KubeObject, CONFIG_MAP, writer('editor'))
  assert.deepEqual(managers(gone), [['me', 'Apply']])
  assert.throws(() => apply({ ...next, metadata: { ...next.metadata, managedFields: managed } }, configMap({ a: '1' }), 'me'), /conflict with "editor" using v1: .data.a/)
})

test('the main door owns nothing of the status and the status door nothing else', () => {
  const d = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'd' }, spec: { replicas: 1 }, status: { replicas: 1 } } as KubeObject
  assert.deepEqual(managedAfterUpdate(undefined, d, DEPLOYMENT, writer('me', 'apps/v1'))[0]?.fieldsV1, { 'f:spec': { 'f:replicas': {} } })
  assert.deepEqual(managedAfterUpdate(undefined, d, DEPLOYMENT, writer('me', 'apps/v1', 'status'))[0]?.fieldsV1, { 'f:status': { 'f:replicas': {} } })
})

test('the list of plain updaters stays short', () => {
  let live = configMap({})
  for (let i = 0; i < 20; i++) {
    const next = configMap({ ...(dataOf(live) as Record<string, string>), [`k${i}`]: 'v' })
    next.metadata = { name: 'c', managedFields: managedAfterUpdate(live, next, CONFIG_MAP, { ...writer(`m${i}`), time: `2026-01-01T00:00:${String(i).padStart(2, '0')}Z` }) }
    live = next
  }
  assert.equal((live.metadata?.managedFields?.length ?? 0) <= 11, true)
  assert.equal(live.metadata?.managedFields?.some((m) => m.manager === 'ancient-changes'), true)
})

const data = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), fc.constantFrom('1', '2'), { noNullPrototype: true })

test('after a forced apply the object holds all that was applied, and applying again changes nothing', () => {
  fc.assert(
    fc.property(data, data, data, (first, second, third) => {
      let live = apply(undefined, configMap(first), 'x', true)
      live = apply(live, configMap(second), 'y', true)
      live = apply(live, configMap(third), 'x', true)
      const got = (dataOf(live) ?? {}) as Record<string, string>
      for (const [k, v] of Object.entries(third)) assert.equal(got[k], v)
      for (const k of Object.keys(got)) assert.equal(k in third || k in second, true, `${k} has no owner`)
      assert.deepEqual(apply(live, configMap(third), 'x'), live)
    }),
  )
})
