import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { APIService } from '../api/gen/types.ts'
import { RESOURCES } from '../api/kinds.ts'
import { setLogSink } from '../base/log.ts'
import { startHarness } from '../../test/kit/api-harness.ts'
import { wantedServices } from './api-services.ts'

setLogSink(() => undefined)
const PATH = '/apis/apiregistration.k8s.io/v1/apiservices'
const CRD = {
  metadata: { name: 'boats.example.com' },
  spec: {
    group: 'example.com', names: { plural: 'boats', kind: 'Boat' }, scope: 'Namespaced',
    versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
  },
}
const available = (s: APIService | undefined): string | undefined => s?.status?.conditions?.map((c) => `${c.type}=${c.status} ${c.reason}`).join()

test('each group and version has one, in the order of kube-apiserver', () => {
  const wanted = wantedServices(RESOURCES)
  assert.deepEqual(wanted.get('v1.')?.spec, { version: 'v1', groupPriorityMinimum: 18_000, versionPriority: 1 })
  assert.deepEqual(wanted.get('v2.autoscaling')?.spec, { group: 'autoscaling', version: 'v2', groupPriorityMinimum: 17_500, versionPriority: 30 })
  assert.deepEqual(wanted.get('v1.autoscaling')?.spec?.versionPriority, 15)
  assert.ok(!wanted.has('v1.apiregistration.k8s.io'))
})

test('they come and go with what is served, and each says whether it is available', { timeout: 20_000 }, async () => {
  await using h = await startHarness()
  const one = async (name: string): Promise<APIService | undefined> => {
    const answer = await h.call<APIService>('GET', `${PATH}/${name}`)
    return answer.status === 200 ? answer.body : undefined
  }
  /** The next state of one by watching it; no clock is asked. */
  const become = async (name: string, fits: (s: APIService | undefined) => boolean): Promise<APIService | undefined> => {
    const watch = await h.watch(`${PATH}?watch=true&fieldSelector=metadata.name%3D${name}`)
    try {
      for (let now = await one(name); ; ) {
        if (fits(now)) return now
        const event = await watch.next()
        now = event?.type === 'DELETED' ? undefined : (event?.object as unknown as APIService)
      }
    } finally {
      await watch.end()
    }
  }
  assert.equal(available(await one('v1.apps')), 'Available=True Local')
  assert.equal((await h.call('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', CRD)).status, 201)
  const custom = await become('v1.example.com', (s) => s !== undefined)
  assert.deepEqual([custom?.metadata?.labels?.['kube-aggregator.kubernetes.io/automanaged'], custom?.spec?.groupPriorityMinimum, available(custom)], ['true', 1_000, 'Available=True Local'])
  assert.equal((await h.call('DELETE', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions/boats.example.com')).status, 200)
  assert.equal(await become('v1.example.com', (s) => s === undefined), undefined)
  const elsewhere = { metadata: { name: 'v1.far.io' }, spec: { group: 'far.io', version: 'v1', groupPriorityMinimum: 10, versionPriority: 10, service: { namespace: 'default', name: 'far' } } }
  const made = await h.call<APIService>('POST', PATH, elsewhere)
  assert.deepEqual([made.status, made.body.spec?.service?.port], [201, 443])
  assert.equal(available(await become('v1.far.io', (s) => available(s) !== '' && available(s) !== undefined)), 'Available=False NotPassedOn')
  await h.call('DELETE', `${PATH}/v1.batch`)
  assert.equal(available(await become('v1.batch', (s) => s !== undefined)), 'Available=True Local')
})
