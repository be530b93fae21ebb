/** Volumes from claim to pod and back: real API, controllers and scheduler, and a real agent on the fake runtime. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Event, PersistentVolume, PersistentVolumeClaim, Pod, StorageClass } from '../../src/api/gen/types.ts'
import { KINDS } from '../../src/api/kinds.ts'
import { createTestCluster, type TestCluster } from '../kit/cluster.ts'
import { until } from '../kit/until.ts'

describe('volumes', () => {
  let cluster: TestCluster
  const claims = () => cluster.admin.resource<PersistentVolumeClaim>(KINDS.PersistentVolumeClaim)
  const volumes = () => cluster.admin.resource<PersistentVolume>(KINDS.PersistentVolume)
  const pods = () => cluster.admin.resource<Pod>(KINDS.Pod)
  const claim = (name: string, spec: PersistentVolumeClaim['spec'] = {}): Promise<PersistentVolumeClaim> =>
    claims().create({ metadata: { name, namespace: 'default' }, spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } }, ...spec } })
  const pod = (name: string, volume: object, spec: object = {}): Promise<Pod> =>
    pods().create({ metadata: { name, namespace: 'default' }, spec: { containers: [{ name: 'main', image: 'app', volumeMounts: [{ name: 'v', mountPath: '/v' }] }], volumes: [{ name: 'v', ...volume }], ...spec } })
  const uses = (claimName: string): object => ({ persistentVolumeClaim: { claimName } })
  const running = (name: string) => until(`pod ${name} to run`, async () => (await pods().get(name, 'default')).status?.phase === 'Running')
  const phase = (name: string, want: string) => until(`claim ${name} to be ${want}`, async () => (await claims().get(name, 'default')).status?.phase === want)
  const said = (name: string, reason: string) =>
    until(`Event ${reason} of ${name}`, async () => (await cluster.admin.resource<Event>(KINDS.Event).list({ namespace: 'default' })).items.find((e) => (e as { involvedObject?: { name?: string } }).involvedObject?.name === name && (e as { reason?: string }).reason === reason))
  const gone = (what: string, get: () => Promise<unknown>) => until(`${what} to be gone`, () => get().then(() => false, () => true))

  before(async () => {
    cluster = await createTestCluster()
    await cluster.addAgent({ name: 'n1', images: { app: {} } })
    await cluster.addAgent({ name: 'n2', images: { app: {} } })
  })
  after(() => cluster[Symbol.asyncDispose]())

  test('a claim of the default class waits for its pod, gets a directory of the pod\'s node, and both go when the claim does', async () => {
    const made = await until('the class', () => cluster.admin.resource<StorageClass>(KINDS.StorageClass).get('local-path').catch(() => false))
    assert.equal((made as StorageClass).provisioner, 'rancher.io/local-path')
    await claim('data')
    await said('data', 'WaitForFirstConsumer')
    await pod('app', uses('data'))
    await running('app')
    const bound = await claims().get('data', 'default')
    const volume = await volumes().get(bound.spec?.volumeName ?? '')
    assert.deepEqual([bound.status?.phase, bound.status?.capacity, bound.spec?.storageClassName, volume.status?.phase], ['Bound', { storage: '1Gi' }, 'local-path', 'Bound'])
    const node = (await pods().get('app', 'default')).spec?.nodeName
    assert.deepEqual(volume.spec?.nodeAffinity?.required?.nodeSelectorTerms[0]?.matchExpressions?.[0]?.values, [node])
    const path = volume.spec?.local?.path ?? ''
    assert.equal(basename(path), `${volume.metadata?.name}_default_data`)
    writeFileSync(`${path}/kept`, 'x')
    // Another pod of the claim goes to the same node, and sees the same files.
    await pod('second', uses('data'))
    await running('second')
    assert.equal((await pods().get('second', 'default')).spec?.nodeName, node)
    await claims().delete('data', 'default')
    await pods().delete('app', 'default', { gracePeriodSeconds: 0 })
    assert.ok((await claims().get('data', 'default')).metadata?.deletionTimestamp, 'a claim in use stays')
    assert.ok(existsSync(`${path}/kept`))
    await pods().delete('second', 'default', { gracePeriodSeconds: 0 })
    await gone('the claim', () => claims().get('data', 'default'))
    await gone('the volume', () => volumes().get(volume.metadata?.name ?? ''))
    assert.deepEqual(readdirSync(dirname(path)), [])
  })

  test('a volume made by hand is bound to the claim that fits it, and kept with Retain', async () => {
    const local = (name: string, spec: object): Promise<PersistentVolume> => volumes().create({ metadata: { name, labels: { disk: name } }, spec: { accessModes: ['ReadWriteOnce'], capacity: { storage: '3Gi' }, hostPath: { path: '/tmp' }, storageClassName: 'manual', ...spec } })
    await local('pv-big', { capacity: { storage: '9Gi' } })
    await local('pv-a', {})
    const volumePhase = (name: string, want: string) => until(`${name} to be ${want}`, async () => (await volumes().get(name)).status?.phase === want)
    await volumePhase('pv-a', 'Available')
    await volumePhase('pv-big', 'Available')
    await claim('static', { storageClassName: 'manual' })
    await phase('static', 'Bound')
    assert.equal((await claims().get('static', 'default')).spec?.volumeName, 'pv-a')
    assert.deepEqual((await claims().get('static', 'default')).status?.capacity, { storage: '3Gi' })
    await claim('chosen', { storageClassName: 'manual', selector: { matchLabels: { disk: 'pv-big' } } })
    await phase('chosen', 'Bound')
    await claim('left', { storageClassName: 'manual' })
    await said('left', 'ProvisioningFailed')
    await claims().delete('static', 'default')
    await volumePhase('pv-a', 'Released')
    assert.equal((await claims().get('left', 'default')).status?.phase, 'Pending', 'a released volume is not given away')
    await volumes().patch('pv-a', undefined, { spec: { claimRef: null } }, 'merge')
    await phase('left', 'Bound')
    await volumes().delete('pv-big')
    assert.ok((await volumes().get('pv-big')).metadata?.deletionTimestamp, 'a bound volume stays')
    await claims().delete('chosen', 'default')
    await gone('pv-big', () => volumes().get('pv-big'))
  })

  test('a pod whose claim is missing or cannot be bound says so, and goes when it can', async () => {
    await pod('early', uses('late'))
    const message = (name: string) => async () => (await pods().get(name, 'default')).status?.conditions?.find((c) => c.type === 'PodScheduled')?.message
    await until('the missing claim to be told', async () => (await message('early')()) === '0/2 nodes are available: persistentvolumeclaim "late" not found.')
    await claim('late', { storageClassName: 'none-such' })
    await until('unbound', async () => (await message('early')()) === '0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.')
    await volumes().create({ metadata: { name: 'pv-late' }, spec: { accessModes: ['ReadWriteOnce'], capacity: { storage: '1Gi' }, hostPath: { path: '/tmp' }, storageClassName: 'none-such', nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: ['n2'] }] }] } } } })
    await running('early')
    assert.equal((await pods().get('early', 'default')).spec?.nodeName, 'n2')
    await pod('misplaced', uses('late'), { nodeSelector: { 'kubernetes.io/hostname': 'n1' } })
    await until('the conflict', async () => (await message('misplaced')())?.includes("1 node(s) didn't match PersistentVolume's node affinity"))
  })

  test('a claim of a class that allows it grows, and its volume with it; that nobody enforces the size is told', async () => {
    await cluster.admin.resource<StorageClass>(KINDS.StorageClass).create({ metadata: { name: 'elastic' }, provisioner: 'rancher.io/local-path', allowVolumeExpansion: true, volumeBindingMode: 'WaitForFirstConsumer' })
    await claim('grows', { storageClassName: 'elastic' })
    await pod('grower', uses('grows'))
    await running('grower')
    const more = { spec: { resources: { requests: { storage: '2Gi' } } } }
    await claims().patch('grows', 'default', more, 'merge')
    await until('the claim to have grown', async () => (await claims().get('grows', 'default')).status?.capacity?.['storage'] === '2Gi', 20_000)
    assert.deepEqual((await volumes().get((await claims().get('grows', 'default')).spec?.volumeName ?? '')).spec?.capacity, { storage: '2Gi' })
    assert.match((await said('grows', 'VolumeResizeSuccessful') as { message?: string }).message ?? '', /2Gi, which the node does not enforce/)
    await claim('fixed')
    await pod('fixed', uses('fixed'))
    await running('fixed')
    await assert.rejects(claims().patch('fixed', 'default', more, 'merge'), /the storageclass that provisions the pvc must support resize/)
  })

  test('a generic ephemeral volume lives and dies with its pod', async () => {
    await pod('scratchy', { ephemeral: { volumeClaimTemplate: { metadata: { labels: { of: 'scratchy' } }, spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '10Mi' } } } } } })
    await running('scratchy')
    const made = await claims().get('scratchy-v', 'default')
    assert.deepEqual([made.metadata?.labels, made.metadata?.ownerReferences?.[0]?.name, made.status?.phase], [{ of: 'scratchy' }, 'scratchy', 'Bound'])
    await pods().delete('scratchy', 'default', { gracePeriodSeconds: 0 })
    await gone('the claim', () => claims().get('scratchy-v', 'default'))
    await gone('the volume', () => volumes().get(made.spec?.volumeName ?? ''))
  })
})
