import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startHarness, type Answer, type Harness } from '../../../test/kit/api-harness.ts'
import { FakeClock } from '../../base/clock.ts'
import { createMemoryStore } from '../../store/mod.ts'
import type { Obj } from '../stored-text.ts'

const CM = '/api/v1/namespaces/default/configmaps'
type Any = Obj & { message: string; reason?: string; code?: number; items: Obj[]; data?: object; details?: { causes?: { reason: string }[]; retryAfterSeconds?: number } }
type ListMeta = { resourceVersion: string; continue?: string; remainingItemCount?: number }

/** Three ConfigMaps a, b, c; then a window that no longer reaches back to them, and a store that has forgotten. Gives the revisions. */
async function history(): Promise<{ h: Harness; clock: FakeClock; old: string; now: string }> {
  const store = createMemoryStore()
  const first = await startHarness({ store })
  const old = (await first.call<Any>('GET', CM)).body.metadata.resourceVersion as string
  for (const name of ['a', 'b', 'c']) await first.call('POST', CM, { metadata: { name } })
  const now = (await first.call<Any>('GET', CM)).body.metadata.resourceVersion as string
  await first.api.close()
  await store.compact(Number(now))
  const clock = new FakeClock()
  return { h: await startHarness({ store, clock }), clock, old, now }
}

/** What is answered to a revision that never comes, without the wait for it. */
async function future(h: Harness, clock: FakeClock, path: string): Promise<Answer<Any>> {
  const answer = h.call<Any>('GET', path)
  await clock.advance(0)
  await clock.advance(3_000)
  return answer
}

test('list: what resourceVersion, resourceVersionMatch, limit and continue mean together, row by row', async () => {
  const { h, clock, old, now } = await history()
  await using _ = h
  const invalid = (text: string): RegExp => new RegExp(`^ListOptions\\.meta\\.k8s\\.io "" is invalid: ${text}`)
  const first = (await h.call<Any>('GET', `${CM}?limit=1`)).body.metadata as unknown as ListMeta
  const rows: readonly (readonly [query: string, status: number, expected: number | RegExp])[] = [
    ['', 200, 3],
    ['limit=2', 200, 2],
    ['limit=0', 200, 3],
    ['limit=-1', 200, 3],
    ['resourceVersion=', 200, 3],
    ['resourceVersion=0', 200, 3],
    [`resourceVersion=${now}`, 200, 3],
    [`resourceVersion=${old}`, 200, 3],
    [`resourceVersion=${now}&resourceVersionMatch=NotOlderThan`, 200, 3],
    [`resourceVersion=${old}&resourceVersionMatch=NotOlderThan&limit=1`, 200, 1],
    ['resourceVersion=0&resourceVersionMatch=NotOlderThan', 200, 3],
    [`resourceVersion=${now}&resourceVersionMatch=Exact`, 200, 3],
    [`resourceVersion=${old}&resourceVersionMatch=Exact`, 410, /^The resourceVersion for the provided list is too old\.$/],
    ['resourceVersion=0&resourceVersionMatch=Exact', 422, invalid('resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"$')],
    ['resourceVersionMatch=Exact', 422, invalid('resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided$')],
    [`resourceVersion=${now}&resourceVersionMatch=Best`, 422, invalid('resourceVersionMatch: Unsupported value: "Best": supported values: "Exact", "NotOlderThan", ""$')],
    ['sendInitialEvents=true', 422, invalid('sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list$')],
    [`continue=${first.continue}`, 200, 2],
    [`continue=${first.continue}&limit=1`, 200, 1],
    [`continue=${first.continue}&resourceVersion=${now}`, 400, /^specifying resource version is not allowed when using continue$/],
    [`continue=${first.continue}&resourceVersion=${now}&resourceVersionMatch=Exact`, 422, invalid('resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided$')],
    ['continue=bm90anNvbg', 400, /^invalid continue token: continue key is not valid/],
    ['resourceVersion=new', 400, /^invalid resource version: .*"new": invalid syntax$/],
    ['limit=many', 400, /^strconv\.ParseInt: parsing "many": invalid syntax$/],
    ['fieldSelector=data.x%3D1', 400, /^"data\.x" is not a known field selector: only "metadata\.name", "metadata\.namespace"$/],
    ['labelSelector=a%3D%3D%3Db', 400, /^unable to parse requirement: found '=', expected: identifier$/],
    ['labelSelector=kept%3Dyes&limit=1', 200, 0],
    ['fieldSelector=metadata.name%3Db', 200, 1],
    ['fieldSelector=metadata.name%21%3Db&limit=5', 200, 2],
  ]
  for (const [query, status, expected] of rows) {
    const { status: got, body } = await h.call<Any>('GET', `${CM}?${query}`)
    assert.equal(got, status, `${query}: ${got} ${body.message ?? ''}`)
    if (typeof expected === 'number') assert.equal(body.items.length, expected, query)
    else assert.match(body.message, expected, query)
  }
  const late = await future(h, clock, `${CM}?resourceVersion=${Number(now) + 1_000}`)
  assert.deepEqual([late.status, late.body.reason, late.body.details?.causes?.[0]?.reason, late.headers['retry-after']], [504, 'Timeout', 'ResourceVersionTooLarge', '1'])
})

test('a page whose snapshot was compacted away answers 410 with a token that goes on in the newest state', async () => {
  const store = createMemoryStore()
  const made = await startHarness({ store })
  for (const name of ['a', 'b', 'c', 'd']) await made.call('POST', CM, { metadata: { name } })
  const first = (await made.call<Any>('GET', `${CM}?limit=2`)).body
  await made.call('DELETE', `${CM}/c`)
  await made.call('POST', CM, { metadata: { name: 'e' } })
  await made.api.close()
  const revision = (await store.get('/registry/x')).revision
  await store.compact(revision)
  await using h = await startHarness({ store })
  const token = (first.metadata as ListMeta).continue
  const gone = await h.call<Any>('GET', `${CM}?limit=2&continue=${token}`)
  assert.deepEqual([gone.status, gone.body.reason], [410, 'Expired'])
  assert.match(gone.body.message, /^The provided continue parameter is too old to display a consistent list result\./)
  const rest = await h.call<Any>('GET', `${CM}?limit=5&continue=${(gone.body.metadata as ListMeta).continue}`)
  assert.deepEqual(rest.body.items.map((i) => i.metadata.name), ['d', 'e'])
})

test('remainingItemCount is told of whole lists only, and the last page has neither it nor a token', async () => {
  await using h = await startHarness()
  for (const name of ['a', 'b', 'c']) await h.call('POST', CM, { metadata: { name, labels: { l: name } } })
  const meta = async (query: string): Promise<ListMeta> => (await h.call<Any>('GET', `${CM}?${query}`)).body.metadata as ListMeta
  assert.equal((await meta('limit=1')).remainingItemCount, 2)
  assert.equal((await meta('limit=3')).remainingItemCount, undefined)
  assert.equal((await meta('limit=3')).continue, undefined)
  const selected = await meta('limit=1&labelSelector=l')
  assert.deepEqual([selected.remainingItemCount, selected.continue !== undefined], [undefined, true])
})

test('get and watch: what resourceVersion means, and what is told when it cannot be met', async () => {
  const { h, clock, old, now } = await history()
  await using _ = h
  for (const query of ['', '?resourceVersion=0', `?resourceVersion=${old}`, `?resourceVersion=${now}`]) assert.equal((await h.call('GET', `${CM}/a${query}`)).status, 200, query)
  assert.equal((await future(h, clock, `${CM}/a?resourceVersion=${Number(now) + 1_000}`)).status, 504)
  assert.equal((await h.call('GET', `${CM}/a?resourceVersion=x`)).status, 400)
  const names = async (query: string, count: number): Promise<string[]> => {
    const w = await h.watch(`${CM}?watch=1&${query}`)
    const seen: string[] = []
    for (let i = 0; i < count; i++) {
      const event = await w.next()
      seen.push(`${event?.type} ${event?.object.metadata.name ?? ''}`.trim())
    }
    await w.end()
    return seen
  }
  const all = ['ADDED a', 'ADDED b', 'ADDED c']
  assert.deepEqual(await names('', 3), all)
  assert.deepEqual(await names('resourceVersion=0', 3), all)
  assert.deepEqual(await names('sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true', 4), [...all, 'BOOKMARK'])
  assert.deepEqual(await names(`sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=${now}`, 4), [...all, 'BOOKMARK'])
  const expired = await h.watch(`${CM}?watch=1&resourceVersion=${old}`)
  const error = (await expired.next()) as unknown as { type: string; object: Any }
  assert.deepEqual([expired.status, error.type, error.object.code, error.object.reason], [200, 'ERROR', 410, 'Expired'])
  assert.equal(await expired.next(), undefined)
  for (const [query, message] of [
    ['sendInitialEvents=true', /resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan$/],
    ['resourceVersionMatch=NotOlderThan', /resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided$/],
    ['sendInitialEvents=true&resourceVersionMatch=Exact', /resourceVersionMatch: Forbidden: .*Unsupported value: "Exact": supported values: "NotOlderThan"/],
    ['timeoutSeconds=soon', /^strconv\.ParseInt/],
  ] as const) {
    const { body } = await h.call<Any>('GET', `${CM}?watch=1&${query}`)
    assert.match(body.message, message, query)
  }
  // Without initial events the watch begins now: only the bookmark-free future is told.
  const live = await h.watch(`${CM}?watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan`)
  await h.call('POST', CM, { metadata: { name: 'd' } })
  assert.equal((await live.next())?.object.metadata.name, 'd')
  await live.end()
})

test('options of writes are checked before anything is done, in the words of their kind', async () => {
  await using h = await startHarness()
  const body = { metadata: { name: 'a' } }
  const merge = { headers: { 'content-type': 'application/merge-patch+json' } }
  const refuse = (answer: Answer<Any>, message: string): void => assert.deepEqual([answer.status, answer.body.message], [422, message])
  refuse(await h.call<Any>('POST', `${CM}?dryRun=Some`, body), 'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All"')
  refuse(await h.call<Any>('POST', `${CM}?fieldValidation=Hard`, body), 'CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Hard": supported values: "", "Ignore", "Strict", "Warn"')
  refuse(await h.call<Any>('POST', `${CM}?fieldManager=${'m'.repeat(129)}`, body), 'CreateOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than 128 bytes')
  refuse(await h.call<Any>('POST', `${CM}?fieldManager=a%07`, body), 'CreateOptions.meta.k8s.io "" is invalid: fieldManager: Invalid value: "a\\u0007": invalid character U+0007 (at position 1)')
  assert.equal((await h.call('GET', `${CM}/a`)).status, 404)
  await h.call('POST', CM, body)
  refuse(await h.call<Any>('PATCH', `${CM}/a?force=true`, { data: { x: '1' } }, merge), 'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch')
  refuse(await h.call<Any>('DELETE', `${CM}/a?propagationPolicy=Now`), 'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Now": supported values: "Foreground", "Background", "Orphan", "nil"')
  refuse(await h.call<Any>('DELETE', `${CM}/a?propagationPolicy=Orphan&orphanDependents=true`), 'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set')
  assert.equal((await h.call<Any>('DELETE', `${CM}/a`, { kind: 'ConfigMap' })).body.message, 'decoded object cannot be converted to DeleteOptions')
  const dry = await h.call('POST', `${CM}?dryRun=All`, { metadata: { name: 'new' } })
  assert.deepEqual([dry.status, dry.body.kind, dry.body.metadata.resourceVersion, typeof dry.body.metadata.uid], [201, 'ConfigMap', undefined, 'string'])
  assert.equal((await h.call('DELETE', `${CM}/a?dryRun=All`)).status, 200)
  assert.deepEqual([(await h.call('POST', '/api/v1/configmaps', body)).status, (await h.call('DELETE', '/api/v1/configmaps')).status, (await h.call('GET', '/api/v1/configmaps/a')).status], [405, 405, 404])
  assert.equal((await h.call('GET', `${CM}/a`)).status, 200)
})

test('patches that do not fit are refused, and none of them changes anything', async () => {
  await using h = await startHarness()
  const made = (await h.call<Any>('POST', CM, { metadata: { name: 'a' }, data: { x: '1' } })).body
  const patch = (type: string, body: object | string, query = ''): Promise<Answer<Any>> => h.call<Any>('PATCH', `${CM}/a${query}`, body, { headers: { 'content-type': `application/${type}` } })
  const rows: readonly (readonly [type: string, body: object | string, status: number, message: RegExp, query?: string])[] = [
    ['json-patch+json', [{ op: 'test', path: '/data/x', value: '2' }, { op: 'remove', path: '/data' }], 422, /^the server rejected our request due to an error in our request$/],
    ['json-patch+json', [{ op: 'remove', path: '/data/nothing' }], 422, /^the server rejected our request/],
    ['json-patch+json', { op: 'remove' }, 400, /^json: cannot unmarshal object into Go value of type jsonpatch\.Patch$/],
    ['json-patch+json', Array.from({ length: 10_001 }, () => ({ op: 'test', path: '/kind', value: 'ConfigMap' })), 413, /^Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001$/],
    ['json-patch+json', Array.from({ length: 60 }, (_, i) => ({ op: 'copy', from: '/data', path: `/data/${'xy'[i % 2]}` })), 422, /^the server rejected our request/],
    ['merge-patch+json', [], 400, /^Invalid JSON Patch$/],
    ['strategic-merge-patch+json', { data: { x: 1 } }, 422, /^ "" is invalid: patch: Invalid value: "map\[data:map\[x:1\]\]": unrecognized type: string$/],
    ['merge-patch+json', { data: { x: 1 } }, 422, /^ "" is invalid: patch: Invalid value: ".*": json: cannot unmarshal number/],
    ['merge-patch+json', { foo: 1 }, 422, /^ "" is invalid: patch: Invalid value: ".*": strict decoding error: unknown field "foo"$/, '?fieldValidation=Strict'],
    ['merge-patch+json', { metadata: { name: 'b' } }, 400, /^the name of the object \(b\) does not match the name on the URL \(a\)$/],
    ['merge-patch+json', { metadata: { namespace: 'b' } }, 400, /^the namespace of the object \(b\) does not match the namespace on the request \(default\)$/],
    ['merge-patch+json', { metadata: { resourceVersion: '1' } }, 409, /^Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again$/],
    ['merge-patch+json', { metadata: { uid: 'other' } }, 409, /Precondition failed: UID in precondition: other, UID in object meta: /],
    ['strategic-merge-patch+json', { $patch: 'explode' }, 500, /^unknown patch type: explode in map: map\[\$patch:explode\]$/],
    ['merge-patch+json', '{"data":', 400, /./],
    ['octet-stream', {}, 415, /accepted media types include: application\/json-patch\+json, application\/merge-patch\+json, application\/strategic-merge-patch\+json, application\/apply-patch\+yaml$/],
  ]
  for (const [type, body, status, message, query] of rows) {
    const answer = await patch(type, body, query)
    assert.equal(answer.status, status, `${JSON.stringify(body).slice(0, 100)}: ${answer.body.message}`)
    assert.match(answer.body.message, message)
  }
  assert.equal((await h.call<Any>('GET', `${CM}/a`)).body.metadata.resourceVersion, made.metadata.resourceVersion)
  assert.equal((await h.call('PATCH', `${CM}/none`, {}, { headers: { 'content-type': 'application/merge-patch+json' } })).status, 404)
  const template = { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'i' }] } }
  await h.call('POST', '/apis/apps/v1/namespaces/default/deployments', { metadata: { name: 'd' }, spec: { selector: { matchLabels: { a: 'b' } }, template } })
  const other = { spec: { template: { spec: { containers: [{ image: 'j', command: ['x'] }] } } } }
  const keyless = await h.call<Any>('PATCH', '/apis/apps/v1/namespaces/default/deployments/d', other, { headers: { 'content-type': 'application/strategic-merge-patch+json' } })
  assert.deepEqual([keyless.status, keyless.body.message], [500, 'map: map[command:[x] image:j] does not contain declared merge key: name'])
})

test('PUT creates the kinds that Kubernetes creates so, and insists on a resourceVersion where it does', async () => {
  await using h = await startHarness()
  const rbac = '/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles/r'
  const role = { metadata: { name: 'r' }, rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }] }
  assert.equal((await h.call('PUT', rbac, role)).status, 201)
  assert.equal((await h.call('PUT', rbac, role)).status, 200)
  assert.equal((await h.call('PUT', `${CM}/a`, { metadata: { name: 'a' } })).status, 404)
  const gone = await h.call<Any>('PUT', `${CM}/a`, { metadata: { name: 'a', uid: 'u' } })
  assert.deepEqual([gone.status, gone.body.message], [409, 'Operation cannot be fulfilled on configmaps "a": Precondition failed: UID in precondition: u, UID in object meta: '])
  assert.equal((await h.call('PUT', '/api/v1/namespaces/default/services/s', { metadata: { name: 's', uid: 'u' }, spec: { ports: [{ port: 80 }] } })).status, 409)
  assert.deepEqual([(await h.call('POST', '/api/v1/namespaces/default/pods/none/exec?command=ls')).status, (await h.call('GET', '/api/v1/namespaces/default/pods/none/portforward')).status], [404, 404])
  const lease = '/apis/coordination.k8s.io/v1/namespaces/default/leases/l'
  assert.equal((await h.call('PUT', lease, { metadata: { name: 'l' } })).status, 201)
  const blind = await h.call<Any>('PUT', lease, { metadata: { name: 'l' } })
  assert.deepEqual([blind.status, blind.body.message], [422, 'leases.coordination.k8s.io "l" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update'])
  const nameless = await h.call<Any>('PUT', rbac, { rules: [] })
  assert.deepEqual([nameless.status, nameless.body.message], [400, 'the name of the object (r based on URL) was undeterminable: name must be provided'])
})

test('deletion: preconditions, policies as finalizers, 202 while dependents go, and kinds that keep theirs', async () => {
  await using h = await startHarness()
  const make = async (name: string): Promise<Obj> => (await h.call('POST', CM, { metadata: { name } })).body
  const a = await make('a')
  const wrong = await h.call<Any>('DELETE', `${CM}/a`, { preconditions: { uid: 'x' } })
  assert.deepEqual([wrong.status, wrong.body.message], [409, `Operation cannot be fulfilled on configmaps "a": Precondition failed: UID in precondition: x, UID in object meta: ${a.metadata.uid}`])
  assert.equal((await h.call('DELETE', `${CM}/a`, { preconditions: { resourceVersion: '1' } })).status, 409)
  const gone = await h.call<Any & { status: string }>('DELETE', `${CM}/a`, { preconditions: { uid: a.metadata.uid, resourceVersion: a.metadata.resourceVersion } })
  assert.deepEqual([gone.status, gone.body.kind, gone.body.status], [200, 'Status', 'Success'])
  await make('b')
  const foreground = await h.call('DELETE', `${CM}/b?propagationPolicy=Foreground`)
  assert.deepEqual([foreground.status, foreground.body.metadata.finalizers, foreground.body.metadata.deletionGracePeriodSeconds], [202, ['foregroundDeletion'], 0])
  await make('c')
  const orphan = await h.call('DELETE', `${CM}/c`, { orphanDependents: true })
  assert.deepEqual([orphan.status, orphan.body.metadata.finalizers], [200, ['orphan']])
  await h.call('DELETE', `${CM}/c?propagationPolicy=Background`)
  assert.equal((await h.call('GET', `${CM}/c`)).status, 404)
  const job = { metadata: { name: 'j' }, spec: { template: { spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'i' }] } } } }
  const jobs = '/apis/batch/v1/namespaces/default/jobs'
  assert.equal((await h.call<Any>('POST', jobs, job)).status, 201)
  assert.deepEqual((await h.call('DELETE', `${jobs}/j`)).body.metadata.finalizers?.includes('orphan'), true)
})

test('deletecollection takes what a list with its selectors and limit shows, and a dry run takes nothing', async () => {
  await using h = await startHarness()
  for (const name of ['a', 'b', 'c', 'd']) await h.call('POST', CM, { metadata: { name, labels: { half: name < 'c' ? 'one' : 'two' } } })
  const names = async (): Promise<(string | undefined)[]> => (await h.call<Any>('GET', CM)).body.items.map((i) => i.metadata.name)
  assert.equal((await h.call<Any>('DELETE', `${CM}?dryRun=All`)).body.items.length, 4)
  assert.equal((await names()).length, 4)
  const { body } = await h.call<Any>('DELETE', `${CM}?limit=1`)
  assert.deepEqual(body.items.map((i) => i.metadata.name), ['a'])
  await h.call('DELETE', `${CM}?labelSelector=half%3Dtwo&fieldSelector=metadata.name%21%3Dd`)
  assert.deepEqual(await names(), ['b', 'd'])
})

test('an Accept that cannot be met is refused; clients that ask for protobuf alone get JSON that says so', async () => {
  await using h = await startHarness()
  const get = (accept: string): Promise<Answer<Any>> => h.call<Any>('GET', CM, undefined, { headers: { accept } })
  const refused = await get('text/html')
  assert.deepEqual([refused.status, refused.body.reason], [406, 'NotAcceptable'])
  const table = 'application/json;as=Table;v=v1;g=meta.k8s.io'
  for (const [include, rows] of [['None', undefined], ['Object', 'Node'], ['Metadata', 'PartialObjectMetadata']] as const) {
    await h.call('POST', '/api/v1/nodes', { metadata: { name: 'n' } })
    const { body } = await h.call<{ rows: { object?: Obj }[] }>('GET', `/api/v1/nodes?includeObject=${include}`, undefined, { headers: { accept: table } })
    assert.equal(body.rows[0]?.object?.kind, rows)
  }
  assert.equal((await h.call<Any>('GET', `${CM}?includeObject=All`, undefined, { headers: { accept: table } })).body.message, 'unrecognized includeObject value: "All"')
  const plain = await get('application/vnd.kubernetes.protobuf')
  assert.deepEqual([plain.status, plain.headers['content-type'], plain.body.kind], [200, 'application/json', 'ConfigMapList'])
  for (const [accept, kind] of [
    ['application/json;as=Table;v=v1;g=meta.k8s.io,application/json', 'Table'],
    ['application/json;q=0.1,application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io', 'PartialObjectMetadataList'],
    ['application/json;as=Table;v=v9;g=meta.k8s.io, */*', 'ConfigMapList'],
    ['text/html;q=1, application/json;q=0.5', 'ConfigMapList'],
  ] as const) assert.equal((await get(accept)).body.kind, kind, accept)
  const partial = (kind: string): string => `application/json;as=${kind};v=v1;g=meta.k8s.io`
  const list = await get(partial('PartialObjectMetadata'))
  assert.deepEqual([list.status, list.body.message], [406, 'you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)'])
  const one = await h.call<Any>('GET', '/api/v1/nodes/n', undefined, { headers: { accept: partial('PartialObjectMetadataList') } })
  assert.deepEqual([one.status, one.body.message], [406, 'you requested PartialObjectMetadataList, but the requested object is not a list (*core.Node)'])
  for (const [as, path, kind] of [['Table', CM, 'Table'], ['PartialObjectMetadataList', CM, 'PartialObjectMetadataList'], ['PartialObjectMetadata', '/api/v1/nodes/n', 'PartialObjectMetadata']] as const) {
    const older = await h.call<Any>('GET', path, undefined, { headers: { accept: `application/json;as=${as};v=v1beta1;g=meta.k8s.io` } })
    assert.deepEqual([older.body.kind, older.body.apiVersion], [kind, 'meta.k8s.io/v1beta1'])
  }
  assert.equal((await h.call('GET', CM, undefined, { headers: { accept: 'application/json;as=Table;v=v1;g=other.k8s.io' } })).status, 406)
  // A review has no rows.
  const ask = (accept: string): Promise<Answer<Any>> =>
    h.call<Any>('POST', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', { spec: { nonResourceAttributes: { verb: 'get', path: '/' } } }, { headers: { accept } })
  assert.equal((await ask(table)).status, 406)
  assert.equal((await ask(`${table},application/json`)).body.kind, 'SelfSubjectAccessReview')
})

test('an owner named twice is kept once, with a warning; its version must be one', async () => {
  await using h = await startHarness()
  const owner = { apiVersion: 'v1', kind: 'ConfigMap', name: 'o', uid: 'u' }
  const told = '299 - ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: u"'
  const made = await h.call<Any>('POST', CM, { metadata: { name: 'x', ownerReferences: [owner, owner, { ...owner, name: 'other' }] } })
  assert.deepEqual([made.headers.warning, made.body.metadata.ownerReferences], [told, [owner, { ...owner, name: 'other' }]])
  const patched = await h.call<Any>('PATCH', `${CM}/x`, { metadata: { ownerReferences: [owner, owner] } }, { headers: { 'content-type': 'application/merge-patch+json' } })
  assert.deepEqual([patched.headers.warning, patched.body.metadata.ownerReferences], [told, [owner]])
  const odd = await h.call<{ message: string }>('POST', CM, { metadata: { name: 'y', ownerReferences: [{ ...owner, apiVersion: 'a/b/c' }] } })
  assert.equal(odd.body.message, 'ConfigMap "y" is invalid: metadata.ownerReferences.apiVersion: Invalid value: "a/b/c": version must not be empty')
})
