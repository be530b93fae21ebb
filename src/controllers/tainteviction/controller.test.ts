import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createTestCluster } from '../../../test/kit/cluster.ts'
import { until } from '../../../test/kit/until.ts'
import type { Event, Node, Pod, Toleration } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'

test('a taint ends the pods that do not tolerate it, those that do for a time later unless it is taken off', async () => {
  await using cluster = await createTestCluster()
  const nodes = cluster.admin.resource<Node>(KINDS.Node)
  const pods = cluster.admin.resource<Pod>(KINDS.Pod)
  const key = 'example.com/leave'
  await until('an account', async () => (await cluster.admin.resource(KINDS.ServiceAccount).list({ namespace: 'default' })).items.length > 0)
  await nodes.create({ metadata: { name: 'n1' } })
  const make = (name: string, ...tolerations: Toleration[]): Promise<Pod> => pods.create({ metadata: { name, namespace: 'default' }, spec: { nodeName: 'n1', tolerations, containers: [{ name: 'c', image: 'x' }] } })
  const forTime = (tolerationSeconds: number): Toleration => ({ key, operator: 'Exists', effect: 'NoExecute', tolerationSeconds })
  await make('none')
  await make('always', { key, operator: 'Exists' })
  await make('while', forTime(1))
  await make('long', forTime(600))
  const ending = async (): Promise<string[]> => (await pods.list({ namespace: 'default' })).items.filter((p) => p.metadata?.deletionTimestamp !== undefined).map((p) => p.metadata?.name ?? '').sort()
  const taint = (taints: Node['spec']): Promise<Node> => nodes.patch('n1', undefined, { spec: taints }, 'merge')
  await taint({ taints: [{ key: 'example.com/other', effect: 'NoSchedule' }] })
  await make('later')
  assert.deepEqual(await ending(), [])
  await taint({ taints: [{ key, effect: 'NoExecute' }] })
  await until('those that do not tolerate it to go', async () => (await ending()).includes('later') && (await ending()).includes('none'))
  await until('the one with a second to go', async () => (await ending()).includes('while'))
  assert.deepEqual(await ending(), ['later', 'none', 'while'])
  const condition = (await pods.get('none', 'default')).status?.conditions?.find((c) => c.type === 'DisruptionTarget')
  assert.deepEqual([condition?.status, condition?.reason, condition?.message], ['True', 'DeletionByTaintManager', 'Taint manager: deleting due to NoExecute taint'])
  await make('new')
  await until('one that comes later to go', async () => (await ending()).includes('new'))
  await taint({ taints: [] })
  const events = cluster.admin.resource<Event>(KINDS.Event)
  await until('the cancelling to be told', async () => (await events.list({ namespace: 'default' })).items.some((e) => e.reason === 'TaintManagerEviction' && e.message === 'Cancelling deletion of Pod default/long'))
  assert.deepEqual(await ending(), ['later', 'new', 'none', 'while'])
})
