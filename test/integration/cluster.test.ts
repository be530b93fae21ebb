import { test } from 'node:test'
import assert from 'node:assert/strict'
import { createTestCluster, type TestCluster } from '../kit/cluster.ts'
import { until } from '../kit/until.ts'
import type { Deployment, Event, Pod, ReplicaSet } from '../../src/api/gen/types.ts'
import { KINDS } from '../../src/api/kinds.ts'

const web = (image: string, replicas: number, over: object = {}): Deployment => ({
  metadata: { name: 'web', namespace: 'default' },
  spec: {
    replicas,
    selector: { matchLabels: { app: 'web' } },
    template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'web', image }], ...over } },
  },
})
const onCameras = { nodeSelector: { device: 'camera' } }

async function readyPods({ admin }: TestCluster, image?: string): Promise<Pod[]> {
  const { items } = await admin.resource<Pod>(KINDS.Pod).list({ namespace: 'default' })
  return items.filter((p) => p.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') && (image === undefined || p.spec?.containers[0]?.image === image))
}
const progressing = (d: Deployment): string | undefined => d.status?.conditions?.find((c) => c.type === 'Progressing')?.reason

test('a deployment comes up on the nodes its selector names, rolls, undoes, and goes away with all it owns', async () => {
  await using cluster = await createTestCluster()
  const deployments = cluster.admin.resource<Deployment>(KINDS.Deployment)
  for (const name of ['cam-1', 'cam-2', 'cam-3']) cluster.addNode({ name, labels: { device: 'camera' } })
  cluster.addNode({ name: 'till-1' })
  await deployments.create(web('v1', 3, onCameras))
  const up = await until('three ready pods', async () => {
    const pods = await readyPods(cluster)
    return pods.length === 3 && pods
  })
  assert.deepEqual(up.map((p) => p.spec?.nodeName).toSorted(), ['cam-1', 'cam-2', 'cam-3'])
  await until('the rollout', async () => progressing(await deployments.get('web', 'default')) === 'NewReplicaSetAvailable')

  await deployments.patch('web', 'default', { spec: { template: { spec: { containers: [{ name: 'web', image: 'v2' }] } } } }, 'strategic')
  await until('v2 everywhere', async () => (await readyPods(cluster, 'v2')).length === 3 && (await readyPods(cluster)).length === 3)
  await deployments.patch('web', 'default', { spec: { template: { spec: { containers: [{ name: 'web', image: 'v1' }] } } } }, 'strategic')
  await until('v1 again', async () => (await readyPods(cluster, 'v1')).length === 3 && (await readyPods(cluster)).length === 3)
  const sets = await cluster.admin.resource<ReplicaSet>(KINDS.ReplicaSet).list({ namespace: 'default' })
  assert.deepEqual(sets.items.map((s) => s.metadata?.annotations?.['deployment.kubernetes.io/revision']).toSorted(), ['2', '3'])

  await deployments.delete('web', 'default', { propagationPolicy: 'Background' })
  await until('nothing left', async () => {
    const left = await cluster.admin.resource(KINDS.ReplicaSet).list({ namespace: 'default' })
    const pods = await cluster.admin.resource(KINDS.Pod).list({ namespace: 'default' })
    return left.items.length + pods.items.length === 0
  })
})

test('a pod that fits nowhere says why, and is placed when a node comes that fits', async () => {
  await using cluster = await createTestCluster()
  cluster.addNode({ name: 'till-1' })
  await cluster.admin.resource<Deployment>(KINDS.Deployment).create(web('v1', 1, onCameras))
  await until('the reason', async () => {
    const { items } = await cluster.admin.resource<Event>(KINDS.Event).list({ namespace: 'default' })
    return items.some((e) => e.reason === 'FailedScheduling' && e.message === "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.")
  })
  cluster.addNode({ name: 'cam-1', labels: { device: 'camera' } })
  await until('its placement', async () => (await readyPods(cluster)).some((p) => p.spec?.nodeName === 'cam-1'))
})

test('a namespace is furnished when made and emptied when deleted', async () => {
  await using cluster = await createTestCluster()
  const { admin } = cluster
  await admin.resource(KINDS.Namespace).create({ metadata: { name: 'shop' } })
  await until('its furniture', async () => {
    const accounts = await admin.resource(KINDS.ServiceAccount).list({ namespace: 'shop' })
    const configs = await admin.resource(KINDS.ConfigMap).list({ namespace: 'shop' })
    return accounts.items.length === 1 && configs.items.length === 1
  })
  await admin.resource(KINDS.Secret).create({ metadata: { name: 's', namespace: 'shop' } })
  await admin.resource(KINDS.Namespace).delete('shop')
  await until('its end', async () => !(await admin.resource(KINDS.Namespace).list()).items.some((n) => n.metadata?.name === 'shop'), 60_000)
  assert.equal((await admin.resource(KINDS.Secret).list()).items.length, 0)
})
