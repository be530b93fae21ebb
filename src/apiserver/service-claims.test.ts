import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FakeClock } from '../base/clock.ts'
import { setLogSink } from '../base/log.ts'
import { createMemoryStore } from '../store/mod.ts'
import { startHarness, type Answer, type Harness } from '../../test/kit/api-harness.ts'
import { until } from '../../test/kit/until.ts'

setLogSink(() => undefined)
const SERVICES = '/api/v1/namespaces/default/services'
const IPS = '/apis/networking.k8s.io/v1/ipaddresses'
interface Service {
  metadata: { name: string }
  spec: { clusterIP: string; ports: { nodePort?: number }[] }
  message?: string
}

function service(name: string, spec: object = {}): object {
  return { metadata: { name }, spec: { ports: [{ port: 80 }], ...spec } }
}

const create = (h: Harness, name: string, spec?: object): Promise<Answer<Service>> => h.call<Service>('POST', SERVICES, service(name, spec))
const names = async (h: Harness): Promise<string[]> => (await h.call<{ items: { metadata: { name: string } }[] }>('GET', IPS)).body.items.map((i) => i.metadata.name).sort()

test('two servers of one store never give out one address twice', async () => {
  const store = createMemoryStore()
  // Five addresses beside the API's own.
  await using one = await startHarness({ store, serviceCidr: '10.43.0.0/29' })
  await using two = await startHarness({ store, serviceCidr: '10.43.0.0/29' })
  const made = await Promise.all(Array.from({ length: 5 }, (_, i) => create(i % 2 ? one : two, `s-${i}`)))
  assert.deepEqual(made.map((m) => m.status), [201, 201, 201, 201, 201])
  assert.equal(new Set(made.map((m) => m.body.spec.clusterIP)).size, 5)
  const full = await create(one, 'one-too-many')
  assert.equal(full.status, 422)
  assert.match(full.body.message ?? '', /all 5 addresses of 10\.43\.0\.0\/29 are taken/)
})

test('of those who ask for one address or port at the same moment one has it, the others are told as Kubernetes tells it', async () => {
  const store = createMemoryStore()
  await using one = await startHarness({ store })
  await using two = await startHarness({ store })
  for (const [what, spec, words] of [
    ['ip', { clusterIP: '10.43.7.7' }, /spec\.clusterIPs: Invalid value: \["10\.43\.7\.7"\]: failed to allocate IP 10\.43\.7\.7: provided IP is already allocated/],
    ['port', { type: 'NodePort', ports: [{ port: 80, nodePort: 30_080 }] }, /spec\.ports\[0\]\.nodePort: Invalid value: 30080: provided port is already allocated/],
  ] as const) {
    const answers = await Promise.all(Array.from({ length: 6 }, (_, i) => create(i % 2 ? one : two, `${what}-${i}`, spec)))
    assert.equal(answers.filter((a) => a.status === 201).length, 1, what)
    for (const refused of answers.filter((a) => a.status !== 201)) assert.match(refused.body.message ?? '', words)
  }
})

test('a cluster IP is an IPAddress object while its Service has it; a port is free again when it is given back', async () => {
  await using h = await startHarness()
  assert.deepEqual(await names(h), ['10.43.0.1'], "the API's own")
  const { body } = await create(h, 'web', { type: 'NodePort', ports: [{ port: 80, nodePort: 30_100, name: 't' }, { port: 80, protocol: 'UDP', name: 'u' }] })
  assert.deepEqual(body.spec.ports.map((p) => p.nodePort), [30_100, 30_100], 'one number for both protocols')
  const address = await h.call<{ spec: { parentRef: object } }>('GET', `${IPS}/${body.spec.clusterIP}`)
  assert.deepEqual(address.body.spec.parentRef, { group: '', resource: 'services', namespace: 'default', name: 'web' })
  assert.equal((await create(h, 'other', { type: 'NodePort', ports: [{ port: 80, nodePort: 30_100 }] })).status, 422)
  await h.call('PATCH', `${SERVICES}/web`, { spec: { type: 'ClusterIP' } }, { headers: { 'content-type': 'application/merge-patch+json' } })
  assert.equal((await create(h, 'other', { type: 'NodePort', ports: [{ port: 80, nodePort: 30_100 }] })).status, 201)
  await h.call('DELETE', `${SERVICES}/web`)
  assert.ok(!(await names(h)).includes(body.spec.clusterIP))
  const again = await create(h, 'again', { clusterIP: body.spec.clusterIP })
  assert.equal(again.status, 201, again.body.message)
  assert.deepEqual((await h.call<{ spec: object }>('GET', '/apis/networking.k8s.io/v1/servicecidrs/kubernetes')).body.spec, { cidrs: ['10.43.0.0/16'] })
})

test('a preview and a refused create take nothing', async () => {
  await using h = await startHarness()
  await create(h, 'web')
  const before = await names(h)
  assert.equal((await h.call('POST', `${SERVICES}?dryRun=All`, service('seen'))).status, 201)
  assert.equal((await create(h, 'web')).status, 409)
  assert.equal((await h.call('POST', SERVICES, { metadata: { name: 'bad' }, spec: { ports: [{ port: 0 }] } })).status, 422)
  assert.deepEqual(await names(h), before)
})

test('what a broken write left behind is free again after a while, and Services from before claims get theirs', async () => {
  const clock = new FakeClock()
  const store = createMemoryStore()
  const metadata = { name: 'old', namespace: 'default', uid: 'u', creationTimestamp: new Date(clock.now()).toISOString() }
  await store.put('/registry/services/default/old', JSON.stringify({ metadata, spec: { clusterIP: '10.43.9.9', ports: [{ port: 80, nodePort: 30_999, protocol: 'TCP' }], type: 'NodePort' } }), 0)
  const left = { metadata: { name: '10.43.8.8', creationTimestamp: metadata.creationTimestamp, labels: { 'ipaddress.kubernetes.io/managed-by': 'ipallocator.k8s.io' } }, spec: { parentRef: { group: '', resource: 'services', namespace: 'default', name: 'never-made' } } }
  await store.put('/registry/ipaddresses.networking.k8s.io/10.43.8.8', JSON.stringify(left), 0)
  await using h = await startHarness({ store, clock })
  await until('the old Service has its claims', async () => (await names(h)).includes('10.43.9.9'))
  assert.equal((await create(h, 'soon', { clusterIP: '10.43.8.8' })).status, 422, 'its writer may still be at work')
  await clock.advance(61_000)
  assert.equal((await create(h, 'taker', { clusterIP: '10.43.8.8' })).status, 201)
  await h.store.put('/registry/ipaddresses.networking.k8s.io/10.43.8.9', JSON.stringify({ ...left, metadata: { ...left.metadata, name: '10.43.8.9' } }), 0)
  await clock.advance(200_000)
  await until('the other one is removed', async () => !(await names(h)).includes('10.43.8.9'))
  assert.ok((await names(h)).includes('10.43.9.9'), 'those in use stay')
})
