import { test } from 'node:test'
import assert from 'node:assert/strict'
import { createTestCluster } from '../../../test/kit/cluster.ts'
import { until } from '../../../test/kit/until.ts'
import type { ClusterRole, ConfigMap, Event, Namespace } from '../../api/gen/types.ts'
import type { OwnerReference } from '../../api/meta.ts'
import { KINDS } from '../../api/kinds.ts'

const ref = ({ metadata }: ConfigMap): OwnerReference => ({ apiVersion: 'v1', kind: 'ConfigMap', name: metadata?.name ?? '', uid: metadata?.uid ?? '', controller: true, blockOwnerDeletion: true })

test('an owner in the foreground ends when its dependent has another one, or is in a circle with it', async () => {
  await using cluster = await createTestCluster()
  const configs = cluster.admin.resource<ConfigMap>(KINDS.ConfigMap)
  const make = (name: string, ...ownerReferences: OwnerReference[]): Promise<ConfigMap> => configs.create({ metadata: { name, namespace: 'default', ownerReferences } })
  const left = async (): Promise<(string | undefined)[]> => (await configs.list({ namespace: 'default' })).items.map((c) => c.metadata?.name).filter((name) => name?.startsWith('gc-'))
  const [one, two] = [await make('gc-one'), await make('gc-two')]
  await make('gc-both', ref(one), { ...ref(two), controller: false })
  await configs.delete('gc-one', 'default', { propagationPolicy: 'Foreground' })
  await until('the end of the first', async () => !(await left()).includes('gc-one'))
  const both = await configs.get('gc-both', 'default')
  assert.deepEqual([both.metadata?.deletionTimestamp, both.metadata?.ownerReferences?.map((o) => o.name)], [undefined, ['gc-two']])
  await configs.delete('gc-two', 'default')
  await until('the end of the second', async () => (await left()).length === 0)
  const circle = [await make('gc-a'), await make('gc-b'), await make('gc-c')]
  for (const [at, config] of circle.entries()) await configs.patch(config.metadata?.name ?? '', 'default', { metadata: { ownerReferences: [ref(circle[(at + 2) % 3] as ConfigMap)] } }, 'merge')
  await configs.delete('gc-a', 'default', { propagationPolicy: 'Foreground' })
  await until('the end of the circle', async () => (await left()).length === 0)
})

test('an owner in another namespace is none, an Event says so; what is in no namespace is not collected for one in a namespace', async () => {
  await using cluster = await createTestCluster()
  const configs = cluster.admin.resource<ConfigMap>(KINDS.ConfigMap)
  const roles = cluster.admin.resource<ClusterRole>(KINDS.ClusterRole)
  const owner = await configs.create({ metadata: { name: 'owner', namespace: 'default' } })
  await cluster.admin.resource<Namespace>(KINDS.Namespace).create({ metadata: { name: 'other' } })
  await roles.create({ metadata: { name: 'owned', ownerReferences: [ref(owner)] }, rules: [] })
  const lost = await configs.create({ metadata: { name: 'lost', namespace: 'other', ownerReferences: [ref(owner)] } })
  await until('its end', async () => !(await configs.list({ namespace: 'other' })).items.some((c) => c.metadata?.name === 'lost'))
  const event = await until('the Event', async () => (await cluster.admin.resource<Event>(KINDS.Event).list({ namespace: 'other' })).items.find((e) => e.reason === 'OwnerRefInvalidNamespace'))
  assert.equal(event.message, `ownerRef [v1/ConfigMap, namespace: other, name: owner, uid: ${owner.metadata?.uid}] does not exist in namespace "other"`)
  assert.equal(event.involvedObject?.uid, lost.metadata?.uid)
  await configs.delete('owner', 'default')
  const next = await configs.create({ metadata: { name: 'next', namespace: 'default', ownerReferences: [ref(owner)] } })
  await until('the end of what it owned since', async () => !(await configs.list({ namespace: 'default' })).items.some((c) => c.metadata?.uid === next.metadata?.uid))
  assert.equal((await roles.get('owned')).metadata?.name, 'owned')
})
