import { test } from 'node:test'
import assert from 'node:assert/strict'
import { until } from '../../../test/kit/until.ts'
import { createTestCluster } from '../../../test/kit/cluster.ts'
import type { ConfigMap, Namespace, Pod } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'

test('a finalizer inside holds the namespace, its status says so, and taking it off lets it go', async () => {
  await using cluster = await createTestCluster()
  const namespaces = cluster.admin.resource<Namespace>(KINDS.Namespace)
  const configs = cluster.admin.resource<ConfigMap>(KINDS.ConfigMap)
  await namespaces.create({ metadata: { name: 'shop' } })
  await configs.create({ metadata: { name: 'held', namespace: 'shop', finalizers: ['example.com/hold'] } })
  await namespaces.delete('shop')
  const condition = await until('the reason', async () => (await namespaces.get('shop')).status?.conditions?.find((c) => c.type === 'NamespaceFinalizersRemaining' && c.status === 'True'))
  assert.equal(condition.message, 'Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances')
  await configs.patch('held', 'shop', { metadata: { finalizers: null } }, 'merge')
  await until('its end', async () => !(await namespaces.list()).items.some((n) => n.metadata?.name === 'shop'))
})

test('pods go before all else', async () => {
  await using cluster = await createTestCluster()
  const namespaces = cluster.admin.resource<Namespace>(KINDS.Namespace)
  const configs = cluster.admin.resource<ConfigMap>(KINDS.ConfigMap)
  const pods = cluster.admin.resource<Pod>(KINDS.Pod)
  await namespaces.create({ metadata: { name: 'shop' } })
  await configs.create({ metadata: { name: 'settings', namespace: 'shop' } })
  await until('an account', async () => (await cluster.admin.resource(KINDS.ServiceAccount).list({ namespace: 'shop' })).items.length > 0)
  await pods.create({ metadata: { name: 'held', namespace: 'shop', finalizers: ['example.com/hold'] }, spec: { containers: [{ name: 'c', image: 'x' }] } })
  await namespaces.delete('shop')
  const condition = await until('the reason', async () => (await namespaces.get('shop')).status?.conditions?.find((c) => c.type === 'NamespaceContentRemaining' && c.status === 'True'))
  assert.equal(condition.message, 'Some resources are remaining: pods. has 1 resource instances')
  assert.equal((await configs.get('settings', 'shop')).metadata?.deletionTimestamp, undefined)
  await pods.patch('held', 'shop', { metadata: { finalizers: null } }, 'merge')
  await until('its end', async () => !(await namespaces.list()).items.some((n) => n.metadata?.name === 'shop'))
})
