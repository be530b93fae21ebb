import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startHarness } from '../../../test/kit/api-harness.ts'
import type { Obj } from '../stored-text.ts'

const CM = '/api/v1/namespaces/default/configmaps'
const cm = (name: string, data: Record<string, string> = {}, labels?: Record<string, string>): object => ({ metadata: { name, ...(labels ? { labels } : {}) }, data })
type List = { items: Obj[]; metadata: { resourceVersion: string; continue?: string; remainingItemCount?: number }; kind: string }

test('a created object is read back with uid, time and revision, and a second create of its name is refused', async () => {
  await using h = await startHarness()
  const made = await h.call('POST', CM, cm('a', { k: 'v' }))
  assert.equal(made.status, 201)
  assert.match(String(made.body.metadata.uid), /^[0-9a-f-]{36}$/)
  const read = await h.call('GET', `${CM}/a`)
  assert.deepEqual(read.body, made.body)
  const again = await h.call<{ reason: string; message: string }>('POST', CM, cm('a'))
  assert.equal(again.status, 409)
  assert.equal(again.body.message, 'configmaps "a" already exists')
})

test('an update needs the newest resourceVersion when it names one, and one that changes nothing keeps the revision', async () => {
  await using h = await startHarness()
  const made = (await h.call('POST', CM, cm('a', { k: '1' }))).body
  const next = await h.call('PUT', `${CM}/a`, { ...made, data: { k: '2' } })
  assert.equal(next.status, 200)
  const stale = await h.call('PUT', `${CM}/a`, { ...made, data: { k: '3' } })
  assert.equal(stale.status, 409)
  const same = await h.call('PUT', `${CM}/a`, next.body)
  assert.equal(same.body.metadata.resourceVersion, next.body.metadata.resourceVersion)
  const blind = await h.call('PUT', `${CM}/a`, { metadata: { name: 'a' }, data: { k: '4' } })
  assert.equal(blind.status, 200)
  assert.equal(blind.body.metadata.uid, made.metadata.uid)
})

test('the same object with its keys in another order is no change', async () => {
  await using h = await startHarness()
  const made = (await h.call<Obj & { data: object }>('POST', CM, cm('a', { a: '1', b: '2' }, { x: '1', y: '2' }))).body
  const turned = JSON.parse(JSON.stringify(made), (_, value: unknown) => (value && typeof value === 'object' && !Array.isArray(value) ? Object.fromEntries(Object.entries(value).reverse()) : value)) as typeof made
  assert.notEqual(JSON.stringify(turned.data), JSON.stringify(made.data))
  const put = await h.call('PUT', `${CM}/a`, turned)
  const merged = await h.call('PATCH', `${CM}/a`, { metadata: { creationTimestamp: null } }, { headers: { 'content-type': 'application/merge-patch+json' } })
  for (const { status, body } of [put, merged]) assert.deepEqual([status, body], [200, made])
  // A swap of the values is as long, and a change.
  const swapped = await h.call('PUT', `${CM}/a`, { ...made, data: { a: '2', b: '1' } })
  assert.notEqual(swapped.body.metadata.resourceVersion, made.metadata.resourceVersion)
})

test('a strict create in YAML is told its doubled keys and its unknown fields at once', async () => {
  await using h = await startHarness()
  const body = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  a: b\n  a: c\nfoo: 1\n'
  const refused = await h.call<{ message: string }>('POST', `${CM}?fieldValidation=Strict`, body, { headers: { 'content-type': 'application/yaml' } })
  assert.deepEqual([refused.status, refused.body.message], [400, 'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal errors:\n  line 6: key "a" already set in map, unknown field "foo"'])
})

test('merge, JSON and strategic patches change what they say', async () => {
  await using h = await startHarness()
  await h.call('POST', CM, cm('a', { x: '1', y: '2' }))
  const patch = (type: string, body: object) => h.call<Obj & { data: object }>('PATCH', `${CM}/a`, body, { headers: { 'content-type': type } })
  assert.deepEqual((await patch('application/merge-patch+json', { data: { x: null, z: '3' } })).body.data, { y: '2', z: '3' })
  assert.deepEqual((await patch('application/json-patch+json', [{ op: 'replace', path: '/data/y', value: '9' }])).body.data, { y: '9', z: '3' })
  assert.deepEqual((await patch('application/strategic-merge-patch+json', { data: { w: '4' } })).body.data, { y: '9', z: '3', w: '4' })
  assert.equal((await patch('text/plain', {})).status, 415)
})

test('a list pages through one stable snapshot while others write', async () => {
  await using h = await startHarness()
  for (let i = 0; i < 7; i++) await h.call('POST', CM, cm(`c${i}`))
  const first = (await h.call<List>('GET', `${CM}?limit=3`)).body
  assert.equal(first.kind, 'ConfigMapList')
  assert.deepEqual(first.items.map((i) => i.metadata.name), ['c0', 'c1', 'c2'])
  assert.equal(first.metadata.remainingItemCount, 4)
  await h.call('DELETE', `${CM}/c5`)
  await h.call('POST', CM, cm('c4b'))
  const second = (await h.call<List>('GET', `${CM}?limit=10&continue=${first.metadata.continue}`)).body
  assert.deepEqual(second.items.map((i) => i.metadata.name), ['c3', 'c4', 'c5', 'c6'])
  assert.equal(second.metadata.resourceVersion, first.metadata.resourceVersion)
  assert.equal(second.metadata.continue, undefined)
})

test('a label selector on a watch shows objects that enter as ADDED and that leave as DELETED', async () => {
  await using h = await startHarness()
  const { metadata } = (await h.call<List>('GET', CM)).body
  const w = await h.watch(`${CM}?watch=1&labelSelector=on%3Dyes&resourceVersion=${metadata.resourceVersion}`)
  const patch = (labels: object) => h.call('PATCH', `${CM}/a`, { metadata: { labels } }, { headers: { 'content-type': 'application/merge-patch+json' } })
  await h.call('POST', CM, cm('a', {}, { on: 'no' }))
  await patch({ on: 'yes' })
  await patch({ more: 'x' })
  await patch({ on: 'no' })
  await h.call('DELETE', `${CM}/a`)
  await h.call('POST', CM, cm('b', {}, { on: 'yes' }))
  const seen = [await w.next(), await w.next(), await w.next(), await w.next()].map((e) => `${e?.type} ${e?.object.metadata.name}`)
  assert.deepEqual(seen, ['ADDED a', 'MODIFIED a', 'DELETED a', 'ADDED b'])
  await w.end()
})

test('a watch without a revision starts with what exists, and with sendInitialEvents says when that is over', async () => {
  await using h = await startHarness()
  await h.call('POST', CM, cm('a'))
  const plain = await h.watch(`${CM}?watch=1`)
  assert.equal((await plain.next())?.object.metadata.name, 'a')
  await plain.end()
  const w = await h.watch(`${CM}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true`)
  assert.equal((await w.next())?.type, 'ADDED')
  const mark = await w.next()
  assert.equal(mark?.type, 'BOOKMARK')
  assert.equal(mark?.object.metadata.annotations?.['k8s.io/initial-events-end'], 'true')
  await h.call('POST', CM, cm('b'))
  assert.equal((await w.next())?.object.metadata.name, 'b')
  await w.end()
})

test('finalizers keep a deleted object until the last one is gone', async () => {
  await using h = await startHarness()
  await h.call('POST', CM, { metadata: { name: 'a', finalizers: ['x.io/hold'] } })
  const asked = await h.call('DELETE', `${CM}/a`)
  assert.equal(asked.status, 200)
  assert.ok(asked.body.metadata.deletionTimestamp)
  assert.equal((await h.call('GET', `${CM}/a`)).status, 200)
  await h.call('PATCH', `${CM}/a`, { metadata: { finalizers: null } }, { headers: { 'content-type': 'application/merge-patch+json' } })
  assert.equal((await h.call('GET', `${CM}/a`)).status, 404)
})

test('dry runs change nothing, generated names are unique, deletecollection takes what its selector says', async () => {
  await using h = await startHarness()
  assert.equal((await h.call('POST', `${CM}?dryRun=All`, cm('a'))).status, 201)
  assert.equal((await h.call('GET', `${CM}/a`)).status, 404)
  for (let i = 0; i < 3; i++) assert.match(String((await h.call('POST', CM, { metadata: { generateName: 'g-', labels: { g: '1' } } })).body.metadata.name), /^g-\w{5}$/)
  await h.call('POST', CM, cm('keep'))
  await h.call('DELETE', `${CM}?labelSelector=g%3D1`)
  assert.deepEqual((await h.call<List>('GET', CM)).body.items.map((i) => i.metadata.name), ['keep'])
})

test('Tables and metadata-only answers are made for get, list and watch', async () => {
  await using h = await startHarness()
  await h.call('POST', CM, cm('a', { k: 'v' }))
  const table = { headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json' } }
  const list = await h.call<{ kind: string; rows: { cells: unknown[] }[]; columnDefinitions: { name: string }[] }>('GET', CM, undefined, table)
  assert.equal(list.body.kind, 'Table')
  assert.deepEqual(list.body.rows[0]?.cells.slice(0, 2), ['a', 1])
  const meta = await h.call<Obj & { data?: object }>('GET', `${CM}/a`, undefined, { headers: { accept: 'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io' } })
  assert.equal(meta.body.kind, 'PartialObjectMetadata')
  assert.equal(meta.body.data, undefined)
  const w = await h.watch(`${CM}?watch=1`, undefined, table.headers)
  assert.equal((await w.next())?.object.kind, 'Table')
  await w.end()
})

test('server-side apply creates, owns, conflicts, and lets go of what is no longer applied', async () => {
  await using h = await startHarness()
  const apply = (manager: string, data: object, force = false) =>
    h.call<Obj & { data: object; message: string }>('PATCH', `${CM}/a?fieldManager=${manager}${force ? '&force=true' : ''}`, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' }, data }, { headers: { 'content-type': 'application/apply-patch+yaml' } })
  assert.equal((await apply('one', { x: '1', y: '1' })).status, 201)
  assert.deepEqual((await apply('two', { z: '2' })).body.data, { x: '1', y: '1', z: '2' })
  const clash = await apply('two', { x: '2', z: '2' })
  assert.equal(clash.status, 409)
  assert.match(clash.body.message, /conflict with "one"/)
  assert.equal((await apply('two', { x: '2', z: '2' }, true)).status, 200)
  const left = await apply('one', {})
  assert.deepEqual(left.body.data, { x: '2', z: '2' })
  assert.equal((await apply('one', {})).body.metadata.resourceVersion, left.body.metadata.resourceVersion)
})

test('an event is one object under both of its groups, each in its own words, and selectors find it in both', async () => {
  await using h = await startHarness()
  const core = { metadata: { name: 'e', namespace: 'default' }, involvedObject: { kind: 'Pod', name: 'p', namespace: 'default' }, message: 'hello', reason: 'Test', type: 'Normal', source: { component: 'me' } }
  assert.equal((await h.call('POST', '/api/v1/namespaces/default/events', core)).status, 201)
  const other = await h.call<Obj & { note: string; regarding: { name: string } }>('GET', '/apis/events.k8s.io/v1/namespaces/default/events/e')
  assert.deepEqual([other.body.note, other.body.regarding.name, other.body.apiVersion], ['hello', 'p', 'events.k8s.io/v1'])
  const found = await h.call<List>('GET', '/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dp')
  assert.equal(found.body.items.length, 1)
  const both = await h.call<List>('GET', '/apis/events.k8s.io/v1/events?fieldSelector=regarding.name%3Dq')
  assert.equal(both.body.items.length, 0)
})

test('empty lists and maps of metadata are not kept', async () => {
  await using h = await startHarness()
  const path = '/api/v1/namespaces/default/configmaps'
  const made = await h.call('POST', path, { metadata: { name: 'c', labels: {}, annotations: {}, finalizers: [], ownerReferences: [] } })
  assert.deepEqual(Object.keys(made.body.metadata).filter((k) => ['labels', 'annotations', 'finalizers', 'ownerReferences'].includes(k)), [])
  await h.call('PATCH', `${path}/c`, { metadata: { labels: { a: 'b' } } }, { headers: { 'content-type': 'application/merge-patch+json' } })
  const bare = await h.call('PATCH', `${path}/c`, { metadata: { labels: { a: null } } }, { headers: { 'content-type': 'application/merge-patch+json' } })
  assert.equal('labels' in bare.body.metadata, false)
})
