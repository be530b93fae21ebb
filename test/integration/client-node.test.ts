/**
 * The JavaScript client of the Kubernetes project against this server, over TLS: informers that lose their connection and
 * their history, patches of every kind, server-side apply, errors, and a Lease that two candidates want.
 */
import assert from 'node:assert/strict'
import { connect, createServer, type Socket } from 'node:net'
import { after, before, describe, test } from 'node:test'
import * as k8s from '@kubernetes/client-node'
import { KINDS } from '../../src/api/kinds.ts'
import { setLogSink } from '../../src/base/log.ts'
import { createTestCluster, type TestCluster } from '../kit/cluster.ts'
import { until } from '../kit/until.ts'

/** A line between client and server that the test cuts. */
async function createLine(port: number): Promise<{ port: number; cut(): void; close(): void }> {
  const sockets = new Set<Socket>()
  const server = createServer((from) => {
    const to = connect(port, '127.0.0.1')
    for (const s of [from, to]) {
      sockets.add(s)
      s.on('error', () => undefined).once('close', () => sockets.delete(s))
    }
    from.pipe(to).pipe(from)
    from.once('close', () => to.destroy())
    to.once('close', () => from.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const cut = (): void => sockets.forEach((s) => s.resetAndDestroy())
  return { port: (server.address() as { port: number }).port, cut, close: () => (cut(), void server.close()) }
}

const configMap = (name: string, data: Record<string, string> = {}, labels?: Record<string, string>): k8s.V1ConfigMap => ({
  metadata: { name, namespace: 'default', ...(labels ? { labels } : {}) },
  data,
})

describe('@kubernetes/client-node', () => {
  let cluster: TestCluster
  let line: Awaited<ReturnType<typeof createLine>>
  let config: k8s.KubeConfig
  let core: k8s.CoreV1Api
  const former = setLogSink(() => undefined)
  const namespace = 'default'

  before(async () => {
    cluster = await createTestCluster()
    cluster.addNode({ name: 'a' })
    const text = await cluster.listen()
    const [, port = ''] = /https:\/\/127\.0\.0\.1:(\d+)/.exec(text) ?? []
    line = await createLine(Number(port))
    config = new k8s.KubeConfig()
    config.loadFromString(text.replace(`127.0.0.1:${port}`, `127.0.0.1:${line.port}`))
    core = config.makeApiClient(k8s.CoreV1Api)
  })
  after(async () => {
    line?.close()
    await cluster?.[Symbol.asyncDispose]()
    setLogSink(former)
  })

  const informer = (): { seen: string[]; errors: unknown[]; it: k8s.Informer<k8s.V1ConfigMap> & k8s.ObjectCache<k8s.V1ConfigMap> } => {
    const seen: string[] = []
    const errors: unknown[] = []
    const it = k8s.makeInformer<k8s.V1ConfigMap>(config, `/api/v1/namespaces/${namespace}/configmaps`, () => core.listNamespacedConfigMap({ namespace, labelSelector: 'watched=yes' }), 'watched=yes')
    for (const verb of ['add', 'update', 'delete'] as const) it.on(verb, (o) => seen.push(`${verb} ${o.metadata?.name}${verb === 'update' ? `=${o.data?.['v'] ?? ''}` : ''}`))
    it.on('error', (e) => errors.push(e))
    return { seen, errors, it }
  }
  const watched = { watched: 'yes' }

  test('an informer tells what is there, what comes, changes, moves out of its selector and goes', async () => {
    await core.createNamespacedConfigMap({ namespace, body: configMap('there', {}, watched) })
    const { seen, it } = informer()
    await it.start()
    await core.createNamespacedConfigMap({ namespace, body: configMap('other') })
    await core.createNamespacedConfigMap({ namespace, body: configMap('new', { v: '1' }, watched) })
    const found = await core.readNamespacedConfigMap({ namespace, name: 'new' })
    await core.replaceNamespacedConfigMap({ namespace, name: 'new', body: { ...found, data: { v: '2' } } })
    const again = await core.readNamespacedConfigMap({ namespace, name: 'new' })
    await core.replaceNamespacedConfigMap({ namespace, name: 'new', body: { ...again, metadata: { ...again.metadata, labels: { watched: 'no' } } } })
    await core.deleteNamespacedConfigMap({ namespace, name: 'there' })
    await until('all events', () => seen.length >= 5)
    assert.deepEqual(seen, ['add there', 'add new', 'update new=2', 'delete new', 'delete there'])
    assert.equal(it.list(namespace).length, 0)
    await it.stop()
  })

  test('an informer whose line was cut misses nothing that happened meanwhile', async () => {
    const { seen, errors, it } = informer()
    for (const name of ['stays', 'goes']) await core.createNamespacedConfigMap({ namespace, body: configMap(name, { v: '0' }, watched) })
    await it.start()
    await until('both', () => seen.length === 2)
    line.cut()
    await until('the loss', () => errors.length > 0)
    await core.deleteNamespacedConfigMap({ namespace, name: 'goes' })
    await core.createNamespacedConfigMap({ namespace, body: configMap('came', {}, watched) })
    await it.start()
    await until('what was missed', () => seen.length >= 4)
    assert.deepEqual(seen.toSorted(), ['add came', 'add goes', 'add stays', 'delete goes'])
    await it.stop()
  })

  test('a watch from a revision that is no longer kept gets 410', async () => {
    await core.createNamespacedConfigMap({ namespace, body: configMap('busy') })
    const busy = cluster.admin.resource(KINDS.ConfigMap)
    // More changes than the window of a resource holds.
    for (let i = 0; i < 1_100; i++) await busy.patch('busy', namespace, { data: { i: String(i) } }, 'merge')
    await cluster.store.compact((await cluster.store.get('/')).revision)
    const events: { type: string; code?: number; reason?: string }[] = []
    await new Promise<void>((resolve, reject) => {
      new k8s.Watch(config)
        .watch(`/api/v1/namespaces/${namespace}/configmaps`, { resourceVersion: '1' }, (type, o: { code?: number; reason?: string }) => void events.push({ type, ...(o.code ? { code: o.code, reason: o.reason ?? '' } : {}) }), () => resolve())
        .catch(reject)
    })
    assert.deepEqual(events, [{ type: 'ERROR', code: 410, reason: 'Expired' }])
  })

  test('lists come in pages of one moment, with the rest counted', async () => {
    const first = await core.listNamespacedConfigMap({ namespace, limit: 2 })
    assert.ok(first.metadata?._continue)
    assert.ok((first.metadata.remainingItemCount ?? 0) > 0)
    const names = first.items.map((c) => c.metadata?.name)
    for (let next: string | undefined = first.metadata._continue; next; ) {
      const page: k8s.V1ConfigMapList = await core.listNamespacedConfigMap({ namespace, limit: 2, _continue: next })
      assert.equal(page.metadata?.resourceVersion, first.metadata.resourceVersion)
      names.push(...page.items.map((c) => c.metadata?.name))
      next = page.metadata?._continue
    }
    const all = await core.listNamespacedConfigMap({ namespace })
    assert.deepEqual(names, all.items.map((c) => c.metadata?.name))
  })

  test('patches of every kind, and their errors as the client tells them', async () => {
    await core.createNamespacedConfigMap({ namespace, body: configMap('patched', { a: '1', b: '2' }) })
    const patch = async (body: object, type: k8s.PatchStrategy, more: object = {}): Promise<Record<string, string> | undefined> =>
      (await core.patchNamespacedConfigMap({ namespace, name: 'patched', body, ...more }, k8s.setHeaderOptions('Content-Type', type))).data
    assert.deepEqual(await patch([{ op: 'replace', path: '/data/a', value: 'x' }], k8s.PatchStrategy.JsonPatch), { a: 'x', b: '2' })
    assert.deepEqual(await patch({ data: { b: null, c: '3' } }, k8s.PatchStrategy.MergePatch), { a: 'x', c: '3' })
    assert.deepEqual(await patch({ data: { d: '4' } }, k8s.PatchStrategy.StrategicMergePatch), { a: 'x', c: '3', d: '4' })
    const owned = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'patched' }, data: { a: 'mine' } }
    const refused = await patch(owned, k8s.PatchStrategy.ServerSideApply, { fieldManager: 'me' }).catch((e: unknown) => e as k8s.ApiException<string>)
    assert.ok(refused instanceof k8s.ApiException)
    assert.equal(refused.code, 409)
    assert.match(String(refused.body), /Apply failed with 1 conflict/)
    assert.deepEqual(await patch(owned, k8s.PatchStrategy.ServerSideApply, { fieldManager: 'me', force: true }), { a: 'mine', c: '3', d: '4' })
    const missing = await core.readNamespacedConfigMap({ namespace, name: 'nobody' }).catch((e: unknown) => e as k8s.ApiException<string>)
    assert.ok(missing instanceof k8s.ApiException)
    const status = JSON.parse(String(missing.body)) as k8s.V1Status
    assert.deepEqual([missing.code, status.reason, status.message, status.details?.name], [404, 'NotFound', 'configmaps "nobody" not found', 'nobody'])
  })

  test('objects of any kind, by what their manifest says', async () => {
    const objects = k8s.KubernetesObjectApi.makeApiClient(config)
    const names = { plural: 'boats', singular: 'boat', kind: 'Boat' }
    const schema = { openAPIV3Schema: { type: 'object', properties: { spec: { type: 'object', properties: { masts: { type: 'integer' } } } } } }
    const crd = { apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition', metadata: { name: 'boats.example.com' }, spec: { group: 'example.com', scope: 'Namespaced', names, versions: [{ name: 'v1', served: true, storage: true, schema }] } }
    await objects.create(crd)
    const boat = { apiVersion: 'example.com/v1', kind: 'Boat', metadata: { name: 'one', namespace }, spec: { masts: 2 } }
    await until('the new kind', () => objects.create(boat).then(() => true, () => false))
    const applied = (await objects.patch({ ...boat, spec: { masts: 3 } }, undefined, undefined, 'me', true, k8s.PatchStrategy.ServerSideApply)) as typeof boat
    assert.equal(applied.spec.masts, 3)
    const listed = await objects.list<typeof boat>('example.com/v1', 'Boat', namespace)
    assert.deepEqual(listed.items.map((b) => b.spec.masts), [3])
    await objects.delete(boat)
    await objects.delete(crd)
  })

  test('of two candidates for a Lease one gets it; the other sees the conflict, and takes over when it is let go', async () => {
    const api = config.makeApiClient(k8s.CoordinationV1Api)
    const name = 'leader'
    await api.createNamespacedLease({ namespace, body: { metadata: { name }, spec: { holderIdentity: '', leaseDurationSeconds: 15, leaseTransitions: 0 } } })
    const seen = await api.readNamespacedLease({ namespace, name })
    const claim = (who: string): Promise<k8s.V1Lease> =>
      api.replaceNamespacedLease({ namespace, name, body: { ...seen, spec: { ...seen.spec, holderIdentity: who, renewTime: new k8s.V1MicroTime(), leaseTransitions: 1 } } })
    const results = await Promise.allSettled([claim('a'), claim('b')])
    const won = results.flatMap((r) => (r.status === 'fulfilled' ? [r.value] : []))
    const lost = results.flatMap((r) => (r.status === 'rejected' ? [(r.reason as k8s.ApiException<string>).code] : []))
    assert.deepEqual([won.length, lost], [1, [409]])
    const held = await api.readNamespacedLease({ namespace, name })
    assert.ok(Math.abs(new Date(held.spec?.renewTime ?? 0).getTime() - Date.now()) < 60_000)
    assert.equal(held.spec?.holderIdentity, won[0]?.spec?.holderIdentity)
    const next = await api.replaceNamespacedLease({ namespace, name, body: { ...held, spec: { ...held.spec, holderIdentity: 'other' } } })
    assert.equal(next.spec?.holderIdentity, 'other')
  })

  test('a deployment made, scaled and deleted with its pods; evictions; health; versions', async () => {
    const apps = config.makeApiClient(k8s.AppsV1Api)
    const labels = { app: 'web' }
    await apps.createNamespacedDeployment({ namespace, body: { metadata: { name: 'web' }, spec: { replicas: 1, selector: { matchLabels: labels }, template: { metadata: { labels }, spec: { containers: [{ name: 'c', image: 'app:1' }] } } } } })
    const scale = await apps.readNamespacedDeploymentScale({ namespace, name: 'web' })
    await apps.replaceNamespacedDeploymentScale({ namespace, name: 'web', body: { ...scale, spec: { replicas: 2 } } })
    const ready = await until('two ready pods', async () => {
      const { items } = await core.listNamespacedPod({ namespace, labelSelector: 'app=web' })
      return items.filter((p) => p.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True')).length === 2 && items
    })
    const first = ready[0]?.metadata?.name ?? ''
    await core.createNamespacedPodEviction({ namespace, name: first, body: { metadata: { name: first, namespace } } })
    await until('its end', () => core.readNamespacedPod({ namespace, name: first }).then(() => false, () => true))
    await apps.deleteNamespacedDeployment({ namespace, name: 'web', propagationPolicy: 'Foreground' })
    await until('all gone', async () => (await core.listNamespacedPod({ namespace, labelSelector: 'app=web' })).items.length === 0)
    assert.equal(await new k8s.Health(config).readyz({}), true)
    assert.equal((await config.makeApiClient(k8s.VersionApi).getCode()).minor, '35')
  })
})
