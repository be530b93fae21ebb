/** Device claims and extended resources from object to container and back: real API, controllers, scheduler and agent, on the fake runtime. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { DeviceClass, Event, Node, Pod, ResourceClaimTemplate, ResourceResourceClaim, ResourceSlice } from '../../src/api/gen/types.ts'
import { KINDS } from '../../src/api/kinds.ts'
import type { AgentNode } from '../kit/agent-node.ts'
import { createTestCluster, type TestCluster } from '../kit/cluster.ts'
import { until } from '../kit/until.ts'

const WAIT = 20_000
const DRIVER = 'dev.skerry.io'

describe('devices', () => {
  let cluster: TestCluster
  let agent: AgentNode
  const namespace = 'default'
  const pods = () => cluster.admin.resource<Pod>(KINDS.Pod)
  const claims = () => cluster.admin.resource<ResourceResourceClaim>(KINDS.ResourceResourceClaim)
  const pod = (name: string, spec: object, container: object = {}): Promise<Pod> => pods().create({ metadata: { name, namespace }, spec: { containers: [{ name, image: 'app', ...container }], ...spec } })
  const phase = (name: string, want: string): Promise<unknown> => until(`pod ${name} to be ${want}`, async () => (await pods().get(name, namespace)).status?.phase === want, WAIT)
  const said = (name: string, reason: string): Promise<string> =>
    until(`Event ${reason} of ${name}`, async () => {
      const { items } = await cluster.admin.resource<Event>(KINDS.Event).list({ namespace })
      return (items as { reason?: string; message?: string; involvedObject?: { name?: string } }[]).find((e) => e.reason === reason && e.involvedObject?.name === name)?.message
    }, WAIT)
  const remove = (name: string): Promise<void> => pods().delete(name, namespace, { gracePeriodSeconds: 0 })
  const named = (claim: string): object => ({ resourceClaims: [{ name: 'io', resourceClaimName: claim }] })
  const CLAIMS = { resources: { claims: [{ name: 'io' }] } }
  const claim = (name: string, request: object, more: object = {}): Promise<ResourceResourceClaim> =>
    claims().create({ metadata: { name, namespace }, spec: { devices: { requests: [{ name: 'it', exactly: { deviceClassName: 'nodes', ...request } }], ...more } } })
  const only = (path: string): object => ({ selectors: [{ cel: { expression: `device.attributes["${DRIVER}"].path == "${path}"` } }] })

  before(async () => {
    cluster = await createTestCluster()
    agent = await cluster.addAgent({ name: 'n1', images: { app: {} }, devices: ['/dev/null', '/dev/zero', 'example.com/random=/dev/*random', 'example.com/dongle=2'] })
    await cluster.addAgent({ name: 'n2', images: { app: {} } })
    await cluster.admin.resource<DeviceClass>(KINDS.DeviceClass).create({ metadata: { name: 'nodes' }, spec: { selectors: [{ cel: { expression: `device.driver == "${DRIVER}" && device.attributes["${DRIVER}"].type == "char"` } }] } })
  })
  after(() => cluster[Symbol.asyncDispose]())

  test('a node publishes what its settings offer: claimable devices with what they are, the others as amounts', async () => {
    const slices = cluster.admin.resource<ResourceSlice>(KINDS.ResourceSlice)
    const slice = await until('the slice', async () => (await slices.list()).items[0], WAIT)
    assert.deepEqual([slice.metadata?.name, slice.spec?.nodeName, slice.spec?.driver, slice.spec?.pool], ['n1-dev.skerry.io-0', 'n1', DRIVER, { name: 'n1', generation: 1, resourceSliceCount: 1 }])
    const seen = slice.spec?.devices?.find((d) => d.name === 'null')?.attributes
    assert.deepEqual([slice.spec?.devices?.map((d) => d.name), seen?.['path'], seen?.['type'], seen?.['major'], seen?.['minor'], seen?.['subsystem']], [['null', 'zero'], { string: '/dev/null' }, { string: 'char' }, { int: 1 }, { int: 3 }, { string: 'mem' }])
    const node = await cluster.admin.resource<Node>(KINDS.Node).get('n1')
    assert.deepEqual([node.status?.allocatable?.['example.com/random'], node.status?.capacity?.['example.com/dongle']], ['2', '2'])
  })

  test('a claim is allocated where its device is, given to the container that names it, and freed with its last pod', async () => {
    await claim('nil', only('/dev/null'), { config: [{ opaque: { driver: DRIVER, parameters: { path: '/dev/sink', permissions: 'w' } } }] })
    await pod('sink', { ...named('nil'), containers: [{ name: 'sink', image: 'app', ...CLAIMS }, { name: 'other', image: 'app' }] })
    await phase('sink', 'Running')
    const held = await claims().get('nil', namespace)
    assert.deepEqual(held.status?.allocation?.devices?.results?.map((r) => [r.request, r.driver, r.pool, r.device]), [['it', DRIVER, 'n1', 'null']])
    assert.deepEqual([held.status?.reservedFor?.map((r) => r.name), held.metadata?.finalizers], [['sink'], ['resource.kubernetes.io/delete-protection']])
    // The pod runs with the first of its containers.
    assert.deepEqual((await until('the container', () => agent.runtime.configOf('sink'), WAIT)).devices, [{ hostPath: '/dev/null', containerPath: '/dev/sink', permissions: 'w' }])
    assert.deepEqual(agent.runtime.configOf('sink')?.env.find((e) => e.name === 'SKERRY_DEVICES_IO')?.value, '/dev/sink')
    assert.deepEqual((await until('the other container', () => agent.runtime.configOf('other'), WAIT)).devices, [])
    // The same device for another claim: not before this one is free.
    await claim('again', only('/dev/null'))
    await pod('waits', named('again'), CLAIMS)
    assert.match(await said('waits', 'FailedScheduling'), /0\/2 nodes are available: 2 cannot allocate all claims\./)
    await remove('sink')
    await phase('waits', 'Running')
    const freed = await until('the claim to be free', async () => {
      const now = await claims().get('nil', namespace)
      return now.status?.allocation === undefined && now
    }, WAIT)
    assert.equal(freed.status?.reservedFor, undefined)
    await remove('waits')
  })

  test('a template gives each pod a claim of its own, which goes with it; of several ways the first that works is taken', async () => {
    const request = { name: 'it', firstAvailable: [{ name: 'gone', deviceClassName: 'nodes', ...only('/dev/gone') }, { name: 'zero', deviceClassName: 'nodes', ...only('/dev/zero') }] }
    await cluster.admin.resource<ResourceClaimTemplate>(KINDS.ResourceClaimTemplate).create({ metadata: { name: 'own', namespace }, spec: { spec: { devices: { requests: [request] } } } })
    await pod('first', { resourceClaims: [{ name: 'io', resourceClaimTemplateName: 'own' }] }, { resources: { claims: [{ name: 'io', request: 'it' }] } })
    await phase('first', 'Running')
    const made = (await pods().get('first', namespace)).status?.resourceClaimStatuses?.[0]?.resourceClaimName ?? ''
    assert.match(made, /^first-io-/)
    assert.deepEqual((await claims().get(made, namespace)).status?.allocation?.devices?.results?.map((r) => [r.request, r.device]), [['it/zero', 'zero']])
    assert.deepEqual(agent.runtime.configOf('first')?.devices.map((d) => d.hostPath), ['/dev/zero'])
    await remove('first')
    await until('the claim to be gone', () => claims().get(made, namespace).then(() => false, () => true), WAIT)
  })

  test('a pod whose claim cannot be served says why', async () => {
    await claim('classless', { deviceClassName: 'gpus' })
    await pod('classless', named('classless'), CLAIMS)
    assert.match(await said('classless', 'FailedScheduling'), /claim default\/classless, request it: device class gpus does not exist/)
    await pod('claimless', named('none'), CLAIMS)
    assert.match(await said('claimless', 'FailedScheduling'), /resourceclaim "none" not found/)
    await claim('odd', only('/dev/null'), { config: [{ opaque: { driver: DRIVER, parameters: { colour: 'red' } } }] })
    await pod('odd', named('odd'), CLAIMS)
    assert.match(await said('odd', 'FailedPrepareDynamicResources'), /Failed to prepare dynamic resources: set up request "it": parameter colour="red" is none of path/)
    for (const name of ['classless', 'claimless', 'odd']) await remove(name)
  })

  test('an extended resource gives each container devices that no other has; what is not there is waited for', async () => {
    const asks = (resource: string, n: number): object => ({ resources: { limits: { [resource]: n } } })
    await pod('a', {}, asks('example.com/random', 1))
    await pod('b', {}, asks('example.com/random', 1))
    await phase('a', 'Running')
    await phase('b', 'Running')
    assert.deepEqual(['a', 'b'].flatMap((n) => agent.runtime.configOf(n)?.devices.map((d) => d.hostPath)).toSorted(), ['/dev/random', '/dev/urandom'])
    await pod('c', {}, asks('example.com/random', 1))
    assert.match(await said('c', 'FailedScheduling'), /Insufficient example.com\/random/)
    // Placed past the scheduler: the node itself refuses.
    await pod('d', { nodeName: 'n1' }, asks('example.com/random', 1))
    await phase('d', 'Failed')
    const { reason, message } = (await pods().get('d', namespace)).status ?? {}
    assert.deepEqual([reason, message], ['UnexpectedAdmissionError', 'Pod was rejected: Allocate failed due to requested number of devices unavailable for example.com/random. Requested: 1, Available: 0, which is unexpected'])
    await remove('a')
    await phase('c', 'Running')
    await pod('dongles', {}, asks('example.com/dongle', 2))
    await phase('dongles', 'Running')
    assert.deepEqual(agent.runtime.configOf('dongles')?.devices, [])
    for (const name of ['b', 'c', 'd', 'dongles']) await remove(name)
  })
})
