import { test } from 'node:test'
import assert from 'node:assert/strict'
import { createTestCluster, type TestCluster } from '../kit/cluster.ts'
import { until } from '../kit/until.ts'
import { FakeClock } from '../../src/base/clock.ts'
import type { Deployment, Node, Pod } from '../../src/api/gen/types.ts'
import { KINDS } from '../../src/api/kinds.ts'

/** One pod a camera node, by its host port; a rollout may go on while one node is away. */
const perCamera: Deployment = {
  metadata: { name: 'watch', namespace: 'default' },
  spec: {
    replicas: 3,
    selector: { matchLabels: { app: 'watch' } },
    strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 0, maxUnavailable: 2 } },
    template: {
      metadata: { labels: { app: 'watch' } },
      spec: { nodeSelector: { device: 'camera' }, terminationGracePeriodSeconds: 1, containers: [{ name: 'watch', image: 'app:v1', ports: [{ containerPort: 80, hostPort: 8092 }] }] },
    },
  },
}
const imageOf = (pod: Pod): string => pod.spec?.containers[0]?.image ?? ''
const isReady = (o: Pod | Node): boolean => o.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true

/** What runs where, as the API shows it: `cam-1=app:v1 ...`. */
async function shown({ admin }: TestCluster): Promise<string> {
  const { items } = await admin.resource<Pod>(KINDS.Pod).list({ namespace: 'default' })
  return items.filter(isReady).map((p) => `${p.spec?.nodeName}=${imageOf(p)}`).toSorted().join(' ')
}
const update = (cluster: TestCluster): Promise<unknown> =>
  cluster.admin.resource<Deployment>(KINDS.Deployment).patch('watch', 'default', { spec: { template: { spec: { containers: [{ name: 'watch', image: 'app:v2' }] } } } }, 'strategic')

test('an update rolls through the nodes while one is cut off; that one keeps its pod and follows when it returns', async () => {
  const clock = new FakeClock()
  await using cluster = await createTestCluster({ clock })
  const wait = (text: string): Promise<unknown> =>
    until(text, async () => {
      await clock.advance(200)
      return (await shown(cluster)) === text
    })
  const nodes = ['cam-1', 'cam-2', 'cam-3'].map((name) => cluster.addNode({ name, labels: { device: 'camera' } }))
  await cluster.admin.resource<Deployment>(KINDS.Deployment).create(perCamera)
  await wait('cam-1=app:v1 cam-2=app:v1 cam-3=app:v1')
  nodes[0]?.cut()
  await clock.advance(45_000)
  await wait('cam-2=app:v1 cam-3=app:v1')
  await update(cluster)
  await wait('cam-2=app:v2 cam-3=app:v2')
  await clock.advance(120_000)
  const { items } = await cluster.admin.resource<Pod>(KINDS.Pod).list({ namespace: 'default' })
  assert.deepEqual(items.filter((p) => p.spec?.nodeName === 'cam-1').map(imageOf), ['app:v1'], 'its old pod is still on the books, terminating')
  nodes[0]?.restore()
  await wait('cam-1=app:v2 cam-2=app:v2 cam-3=app:v2')
})

test('real agents do the same: the cut-off one keeps its container running and follows when it returns', async () => {
  const clock = new FakeClock()
  await using cluster = await createTestCluster({ clock })
  const wait = (text: string): Promise<unknown> =>
    until(text, async () => {
      await clock.advance(200)
      return (await shown(cluster)) === text
    }, 60_000)
  const images = { 'app:v1': {}, 'app:v2': {} }
  const agents = await Promise.all(['cam-1', 'cam-2', 'cam-3'].map((name) => cluster.addAgent({ name, labels: { device: 'camera' }, images })))
  const running = async (): Promise<string> => {
    const lists = await Promise.all(agents.map((a) => a.runtime.containers.list()))
    return lists.map((l) => l.filter((c) => c.state === 'running').length).join()
  }
  await cluster.admin.resource<Deployment>(KINDS.Deployment).create(perCamera)
  await wait('cam-1=app:v1 cam-2=app:v1 cam-3=app:v1')
  agents[0]?.cut()
  await clock.advance(45_000)
  await wait('cam-2=app:v1 cam-3=app:v1')
  await update(cluster)
  await wait('cam-2=app:v2 cam-3=app:v2')
  assert.equal(await running(), '1,1,1')
  agents[0]?.restore()
  await wait('cam-1=app:v2 cam-2=app:v2 cam-3=app:v2')
  assert.equal(await running(), '1,1,1')
})
