import { test } from 'node:test'
import assert from 'node:assert/strict'
import { FakeApi } from '../../../test/kit/fake-api.ts'
import { until } from '../../../test/kit/until.ts'
import { systemClock } from '../../base/clock.ts'
import { KINDS } from '../../api/kinds.ts'
import type { ConfigMap } from '../../api/gen/types.ts'
import { createCaches, createClient } from '../../client/mod.ts'
import { createContext } from '../context.ts'
import { createServiceAccountController } from './controller.ts'

test('what a namespace needs is made, made again when deleted, and mended when changed', async () => {
  const client = createClient(new FakeApi())
  const caches = createCaches(client)
  const { context } = createContext({ client, caches, clock: systemClock })
  const stop = new AbortController()
  const running = Promise.all([caches.run(stop.signal), createServiceAccountController(context, () => 'PEM').run(stop.signal)])
  await client.resource(KINDS.Namespace).create({ metadata: { name: 'shop' } })
  const accounts = client.resource(KINDS.ServiceAccount)
  const configs = client.resource<ConfigMap>(KINDS.ConfigMap)
  const present = (): Promise<boolean> => accounts.get('default', 'shop').then(() => true, () => false)
  await until('the account', present)
  await accounts.delete('default', 'shop')
  await until('the account again', present)
  await configs.patch('kube-root-ca.crt', 'shop', { data: { 'ca.crt': 'forged' } }, 'merge')
  await until('the true certificate', async () => (await configs.get('kube-root-ca.crt', 'shop')).data?.['ca.crt'] === 'PEM')
  stop.abort()
  await running
  assert.equal((await accounts.list({ namespace: 'shop' })).items.length, 1)
})
