import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setLogSink } from '../base/log.ts'
import { startHarness } from '../../test/kit/api-harness.ts'
import { until } from '../../test/kit/until.ts'
import { healthPath } from './health.ts'

setLogSink(() => undefined)

interface Discovery {
  apiVersion: string
  items: { metadata: { name?: string }; versions: { version: string; resources: { resource: string; shortNames?: string[]; subresources?: { subresource: string }[] }[] }[] }[]
}
const aggregated = (...versions: string[]): string => [...versions.map((v) => `application/json;g=apidiscovery.k8s.io;v=${v};as=APIGroupDiscoveryList`), 'application/json'].join(',')

test('discovery speaks the version that the caller names first, says when nothing changed, and lists by name', async () => {
  await using h = await startHarness()
  const get = (path: string, accept?: string, more: Record<string, string> = {}) => h.call<Discovery>('GET', path, undefined, { headers: { ...(accept && { accept }), ...more } })
  const v2 = await get('/apis', aggregated('v2', 'v2beta1'))
  assert.deepEqual([v2.body.apiVersion, v2.headers['content-type']], ['apidiscovery.k8s.io/v2', 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList'])
  assert.deepEqual(v2.body.items.slice(0, 3).map((i) => i.metadata.name), ['apiregistration.k8s.io', 'apps', 'events.k8s.io'])
  const beta = await get('/apis', aggregated('v2beta1', 'v2'))
  assert.deepEqual([beta.body.apiVersion, beta.headers['content-type']], ['apidiscovery.k8s.io/v2beta1', 'application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList'])
  assert.equal((await get('/apis', aggregated('v2'), { 'if-none-match': v2.headers.etag as string })).status, 304)
  assert.equal((await get('/apis', aggregated('v2beta1'), { 'if-none-match': v2.headers.etag as string })).status, 200)
  const core = (await get('/api', aggregated('v2'))).body.items[0]?.versions[0]?.resources ?? []
  assert.deepEqual(core.map((r) => r.resource), core.map((r) => r.resource).sort())
  assert.deepEqual(core.find((r) => r.resource === 'pods')?.subresources?.map((s) => s.subresource), ['attach', 'binding', 'ephemeralcontainers', 'eviction', 'exec', 'log', 'portforward', 'proxy', 'resize', 'status'])
  const plain = await h.call<{ resources: { name: string; storageVersionHash?: string }[] }>('GET', '/apis/events.k8s.io/v1')
  const hash = (list: { name: string; storageVersionHash?: string }[]): string | undefined => list.find((r) => r.name === 'events')?.storageVersionHash
  assert.equal(hash(plain.body.resources), hash((await h.call<{ resources: { name: string }[] }>('GET', '/api/v1')).body.resources), 'both groups say that they share what is stored')
})

test('health is told check by check, and checks can be left out', async () => {
  await using h = await startHarness()
  const text = async (path: string): Promise<string> => (await h.call<string>('GET', path)).body
  assert.equal(await text('/readyz'), 'ok')
  assert.equal(await text('/livez/ping'), 'ok')
  assert.equal(await text('/livez?verbose'), '[+]ping ok\n[+]log ok\n[+]etcd ok\n[+]poststarthook/first-objects ok\nlivez check passed\n')
  assert.match(await text('/readyz?verbose&exclude=etcd&exclude=moon'), /\[\+\]etcd excluded: ok\n.*\[\+\]shutdown ok\nwarn: some health checks cannot be excluded: no matches for "moon"\nreadyz check passed\n$/s)
  assert.equal((await h.call('GET', '/livez/moon')).status, 404)
})

test('a check that fails makes the whole fail, unless it is left out, and its reason stays inside', () => {
  const parts = { checks: { ping: () => true, etcd: () => false } } as unknown as Parameters<typeof healthPath>[0]
  const at = (path: string): { status?: number; body?: unknown } => {
    const [clean = '', query] = path.split('?')
    return healthPath(parts, clean, new URLSearchParams(query)) ?? {}
  }
  assert.deepEqual([at('/readyz').status, at('/readyz').body], [500, '[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n'])
  assert.equal(at('/readyz?exclude=etcd').status, 200)
  assert.deepEqual([at('/livez/etcd').status, at('/livez/etcd').body], [500, 'internal server error: etcd failed: reason withheld\n'])
})

test('metrics have the names of kube-apiserver, by verb and kind; what is not served makes no series', async () => {
  await using h = await startHarness()
  await h.call('GET', '/api/v1/namespaces/default/configmaps')
  await h.call('POST', '/api/v1/namespaces/default/configmaps?dryRun=All', { metadata: { name: 'a' } })
  await h.call('PATCH', '/api/v1/namespaces/default/configmaps/a?fieldManager=m', { apiVersion: 'v1', kind: 'ConfigMap' }, { headers: { 'content-type': 'application/apply-patch+yaml' } })
  for (let i = 0; i < 5; i++) await h.call('GET', `/apis/g${i}.io/v1/things`)
  const text = (await h.call<string>('GET', '/metrics')).body
  const labels = (verb: string, scope: string, dry: string): string => `verb="${verb}",group="",version="v1",resource="configmaps",subresource="",scope="${scope}",component="apiserver",dry_run="${dry}"`
  for (const line of [
    `apiserver_request_total{${labels('LIST', 'namespace', '')},code="200"} 1`,
    `apiserver_request_total{${labels('POST', 'namespace', 'All')},code="201"} 1`,
    `apiserver_request_total{${labels('APPLY', 'resource', '')},code="201"} 1`,
    `apiserver_request_duration_seconds_count{${labels('LIST', 'namespace', '')}} 1`,
    'apiserver_storage_objects{resource="namespaces"} 4',
    'apiserver_current_inflight_requests{request_kind="mutating"} 0',
  ]) assert.ok(text.includes(`${line}\n`), line)
  assert.match(text, /^process_cpu_seconds_total [\d.]+$/m)
  assert.match(text, /^kubernetes_build_info\{.*git_version="v1\.35/m)
  assert.doesNotMatch(text, /g1\.io/)
})

test('what lasts is counted while it lasts, with its events; so is what the store is asked', async () => {
  await using h = await startHarness()
  const maps = '/api/v1/namespaces/default/configmaps'
  const metrics = async (): Promise<string> => (await h.call<string>('GET', '/metrics')).body
  const running = 'apiserver_longrunning_requests{verb="WATCH",group="",version="v1",resource="configmaps",subresource="",scope="namespace",component="apiserver"}'
  const watch = await h.watch(`${maps}?watch=true&resourceVersion=0`)
  assert.ok((await metrics()).includes(`${running} 1\n`), 'the watch is counted')
  await h.call('POST', maps, { metadata: { name: 'a' } })
  await h.call('DELETE', `${maps}/a`)
  const sent = 'apiserver_watch_events_total{group="",version="v1",resource="configmaps"}'
  await until('both events are counted', async () => (await metrics()).includes(`${sent} 2\n`))
  await watch.end()
  const text = await metrics()
  assert.ok(text.includes(`${running} 0\n`), 'it is over')
  assert.ok(text.includes(`${sent} 2\n`), 'what ended stays counted, once')
  for (const operation of ['create', 'delete']) {
    assert.ok(text.includes(`etcd_requests_total{group="",operation="${operation}",resource="configmaps"} 1\n`), operation)
    assert.ok(text.includes(`etcd_request_duration_seconds_count{group="",operation="${operation}",resource="configmaps"} 1\n`), operation)
  }
})

test('a document of OpenAPI v3 is kept as long as its hash stands', async () => {
  await using h = await startHarness()
  const { paths } = (await h.call<{ paths: Record<string, { serverRelativeURL: string }> }>('GET', '/openapi/v3')).body
  const url = paths['apis/storage.k8s.io/v1']?.serverRelativeURL as string
  const kept = await h.call('GET', url)
  assert.deepEqual([kept.status, kept.headers['cache-control']], [200, 'public, immutable'])
  const [clean] = url.split('?')
  assert.equal((await h.call('GET', clean as string)).headers['cache-control'], 'no-cache, private')
  const moved = await h.call('GET', `${clean}?hash=OLD`)
  assert.deepEqual([moved.status, moved.headers.location], [301, url])
  assert.equal((await h.call('GET', url, undefined, { headers: { 'if-none-match': kept.headers.etag as string } })).status, 304)
})

test('OpenAPI v2 in protobuf carries every type', async () => {
  await using h = await startHarness()
  const accept = 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf'
  const answer = await h.call<string>('GET', '/openapi/v2', undefined, { headers: { accept } })
  assert.equal(answer.headers['content-type'], 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf')
  assert.ok(answer.body.startsWith('\n\u00032.0\u0012'), 'the first field is the version of the format')
  for (const text of ['io.k8s.api.core.v1.PodSpec', 'io.k8s.api.flowcontrol.v1.FlowSchema', '[{"group":"apps","version":"v1","kind":"Deployment"}]', 'x-kubernetes-list-map-keys']) assert.ok(answer.body.includes(text), text)
  assert.equal((await h.call('GET', '/openapi/v2', undefined, { headers: { accept, 'if-none-match': answer.headers.etag as string } })).status, 304)
})

test('version says what it emulates', async () => {
  await using h = await startHarness()
  const { body } = await h.call<Record<string, string>>('GET', '/version')
  assert.deepEqual([body.major, body.minor, body.emulationMinor, body.minCompatibilityMinor], ['1', '35', '35', '34'])
})

test('the paths are told at the root; a namespace is finalized by PUT alone', async () => {
  await using h = await startHarness()
  const { paths } = (await h.call<{ paths: string[] }>('GET', '/')).body
  assert.deepEqual(paths, paths.toSorted())
  for (const path of ['/api/v1', '/apis/apps', '/apis/apps/v1', '/healthz/etcd', '/livez', '/metrics', '/openapi/v3', '/readyz/shutdown', '/version']) assert.ok(paths.includes(path), path)
  for (const path of paths) assert.equal((await h.call('GET', path)).status, 200, path)
  assert.equal((await h.call('GET', '/', undefined, { user: { name: 'ann', groups: ['system:authenticated'] } })).status, 403)
  assert.equal((await h.call('GET', '/api/v1/namespaces/default/finalize')).status, 405)
})
