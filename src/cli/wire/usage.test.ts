import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ApiResponse } from '../../api/contract.ts'
import { FakeClock } from '../../base/clock.ts'
import { AppError } from '../../base/errors.ts'
import { createClient, createInProcessTransport, type Client } from '../../client/mod.ts'
import { ADMIN, startHarness } from '../../../test/kit/api-harness.ts'
import { usageResources, type NodeSummary } from './usage.ts'

const summary: NodeSummary = {
  node: { cpu: { time: '2026-01-01T00:00:00Z', usageNanoCores: 250_000_000 }, memory: { workingSetBytes: 512 << 20 } },
  pods: [{ podRef: { name: 'web', namespace: 'default' }, cpu: { time: '2026-01-01T00:00:00Z' }, containers: [{ name: 'main', cpu: { time: '2026-01-01T00:00:00Z', usageNanoCores: 5_000_000 }, memory: { workingSetBytes: 10 << 20 } }] }],
  windowMs: 1_000,
}

test('metrics.k8s.io is discovered and answered from the nodes; a node that does not answer has no figures', async () => {
  const clock = new FakeClock()
  const asked: string[] = []
  let client: Client | undefined
  const streams = {
    async nodePage(node: string, path: string): Promise<ApiResponse> {
      asked.push(`${node} ${path}`)
      if (node === 'away') throw new AppError('unavailable', 'no link')
      return { status: 200, headers: {}, body: JSON.stringify(summary) }
    },
  }
  await using h = await startHarness({ provided: usageResources({ client: () => client as Client, streams, clock }) })
  client = createClient(createInProcessTransport(h.api.handler, ADMIN))
  for (const name of ['n1', 'away']) await h.call('POST', '/api/v1/nodes', { kind: 'Node', apiVersion: 'v1', metadata: { name } })
  await h.call('POST', '/api/v1/namespaces/default/serviceaccounts', { kind: 'ServiceAccount', apiVersion: 'v1', metadata: { name: 'default' } })
  for (const [name, node] of [['web', 'n1'], ['lost', 'away'], ['unbound', undefined]] as const) {
    const made = await h.call('POST', '/api/v1/namespaces/default/pods', { kind: 'Pod', apiVersion: 'v1', metadata: { name, labels: { app: name } }, spec: { ...(node ? { nodeName: node } : {}), containers: [{ name: 'main', image: 'x' }] } })
    assert.equal(made.status, 201, JSON.stringify(made.body))
  }

  const groups = await h.call<{ groups: { name: string }[] }>('GET', '/apis')
  assert.ok(groups.body.groups.some((g) => g.name === 'metrics.k8s.io'))
  const listed = await h.call<{ resources: { name: string; verbs: string[] }[] }>('GET', '/apis/metrics.k8s.io/v1beta1')
  assert.deepEqual(listed.body.resources.map((r) => `${r.name} ${r.verbs.join()}`), ['nodes get,list', 'pods get,list'])

  const nodes = await h.call<{ kind: string; items: { metadata: { name: string }; usage: object; window: string }[] }>('GET', '/apis/metrics.k8s.io/v1beta1/nodes')
  assert.equal(nodes.body.kind, 'NodeMetricsList')
  assert.deepEqual(nodes.body.items.map((n) => [n.metadata.name, n.usage, n.window]), [['n1', { cpu: '250000000n', memory: '524288Ki' }, '1.000s']])
  const pods = await h.call<{ items: { metadata: { name: string }; containers: object[] }[] }>('GET', '/apis/metrics.k8s.io/v1beta1/namespaces/default/pods?labelSelector=app%3Dweb')
  assert.deepEqual(pods.body.items.map((p) => [p.metadata.name, p.containers]), [['web', [{ name: 'main', usage: { cpu: '5000000n', memory: '10240Ki' } }]]])
  assert.equal((await h.call('GET', '/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/web')).status, 200)
  assert.equal((await h.call('GET', '/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/lost')).status, 404)
  assert.equal((await h.call('GET', '/apis/metrics.k8s.io/v1beta1/nodes/away')).status, 404)
  assert.deepEqual([...asked].sort().reverse(), ['n1 /stats/summary', 'away /stats/summary'], 'one look serves all that ask within ten seconds')
  await clock.advance(11_000)
  await h.call('GET', '/apis/metrics.k8s.io/v1beta1/nodes/n1')
  assert.equal(asked.length, 3)

  assert.equal((await h.call('POST', '/apis/metrics.k8s.io/v1beta1/nodes', {})).status, 405)
  assert.equal((await h.call('GET', '/apis/metrics.k8s.io/v1beta1/nodes', undefined, { user: { name: 'nobody', groups: [] } })).status, 403)
  assert.equal((await h.call('GET', '/openapi/v3/apis/metrics.k8s.io/v1beta1')).status, 200)
  assert.equal((await h.call('GET', '/openapi/v2')).status, 200)
})
