import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Pod, PodDisruptionBudget } from '../api/gen/types.ts'
import type { ApiError } from '../api/status.ts'
import { setLogSink } from '../base/log.ts'
import { startHarness } from '../../test/kit/api-harness.ts'
import { budgetOf, counts, exempt, spend } from './eviction.ts'

setLogSink(() => undefined)
const NOW = '2026-01-01T00:00:00Z'
const READY = [{ type: 'Ready', status: 'True' }]

const pod = (status: Pod['status'] = { phase: 'Running', conditions: READY }, labels: Record<string, string> = { app: 'web' }): Pod => ({ metadata: { name: 'web-1', labels }, status })
const budget = (status: Partial<NonNullable<PodDisruptionBudget['status']>> = {}, spec: PodDisruptionBudget['spec'] = { selector: { matchLabels: { app: 'web' } } }): PodDisruptionBudget => ({
  metadata: { name: 'b', generation: 2 },
  spec,
  status: { observedGeneration: 2, currentHealthy: 3, desiredHealthy: 2, disruptionsAllowed: 1, expectedPods: 3, ...status },
})
const refusal = (act: () => unknown): ApiError['status'] => {
  try {
    act()
  } catch (error) {
    return (error as ApiError).status
  }
  return assert.fail('nothing was refused')
}

test('pods that serve nobody are counted by no budget; a budget counts what its whole selector picks', () => {
  assert.deepEqual(['Running', 'Unknown', 'Pending', 'Succeeded', 'Failed'].map((phase) => counts(pod({ phase }))), [true, true, false, false, false])
  assert.equal(counts({ ...pod(), metadata: { deletionTimestamp: NOW } }), false)
  const picks = (selector: object | undefined): boolean => budgetOf(pod(), [budget({}, selector === undefined ? {} : { selector })]) !== undefined
  assert.deepEqual([picks(undefined), picks({}), picks({ matchLabels: { app: 'db' } }), picks({ matchExpressions: [{ key: 'app', operator: 'In', values: ['web'] }] })], [false, true, false, true])
  const twice = refusal(() => budgetOf(pod(), [budget(), budget()]))
  assert.deepEqual([twice.code, twice.message], [500, 'This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.'])
})

test('a pod that is not healthy goes uncounted when the budget is met or says so', () => {
  const sick = pod({ phase: 'Running', conditions: [{ type: 'Ready', status: 'False' }] })
  assert.equal(exempt(pod(), budget()), false)
  assert.equal(exempt(sick, budget()), true)
  assert.equal(exempt(sick, budget({ currentHealthy: 1 })), false)
  assert.equal(exempt(sick, budget({ currentHealthy: 0, desiredHealthy: 0 })), false)
  assert.equal(exempt(sick, budget({ currentHealthy: 1 }, { unhealthyPodEvictionPolicy: 'AlwaysAllow' })), true)
})

test('a disruption is taken from the budget once and noted; none left, stale or broken ones refuse with the cause', () => {
  const left = spend(budget({ disruptionsAllowed: 2 }), 'web-1', false, NOW).status
  assert.deepEqual([left?.disruptionsAllowed, left?.disruptedPods, left?.conditions], [1, { 'web-1': NOW }, undefined])
  assert.deepEqual(spend(budget(), 'web-1', false, NOW).status?.conditions?.map((c) => `${c.type}=${c.status} ${c.reason}`), ['DisruptionAllowed=False InsufficientPods'])
  assert.equal(spend(budget(), 'web-1', true, NOW).status?.disruptionsAllowed, 1)
  const cases: readonly [Partial<NonNullable<PodDisruptionBudget['status']>>, number, string][] = [
    [{ disruptionsAllowed: 0 }, 429, 'The disruption budget b needs 2 healthy pods and has 3 currently'],
    [{ observedGeneration: 1 }, 429, 'The disruption budget b is still being processed by the server.'],
    [
      { disruptionsAllowed: 0, conditions: [{ type: 'DisruptionAllowed', status: 'False', reason: 'SyncFailed', message: 'why', lastTransitionTime: NOW }] },
      429, 'The disruption budget b does not allow evicting pods currently because it failed sync: why',
    ],
    [{ disruptionsAllowed: -1 }, 403, ''],
    [{ disruptedPods: Object.fromEntries(Array.from({ length: 2_001 }, (_, i) => [`p${i}`, NOW])) }, 403, ''],
  ]
  for (const [status, code, cause] of cases) {
    const said = refusal(() => spend(budget(status), 'web-1', false, NOW))
    assert.equal(said.code, code)
    if (code !== 429) continue
    assert.equal(said.message, "Cannot evict pod as it would violate the pod's disruption budget.")
    assert.deepEqual(said.details?.causes, [{ reason: 'DisruptionBudget', message: cause }])
  }
})

test('over the API: an eviction refused, dry, and carried out with its reason on the pod; a binding names a node', async () => {
  await using h = await startHarness()
  const base = '/api/v1/namespaces/default/pods'
  await h.call('POST', '/api/v1/namespaces/default/serviceaccounts', { metadata: { name: 'default' } })
  await h.call('POST', base, { metadata: { name: 'web-1', labels: { app: 'web' } }, spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'i' }] } })
  const budgets = '/apis/policy/v1/namespaces/default/poddisruptionbudgets'
  await h.call('POST', budgets, { metadata: { name: 'b' }, spec: { minAvailable: 1, selector: { matchLabels: { app: 'web' } } } })
  const evict = (more: object = {}, query = '') => h.call<{ message?: string; details?: { causes?: { message: string }[] } }>('POST', `${base}/web-1/eviction${query}`, { kind: 'Eviction', apiVersion: 'policy/v1', metadata: { name: 'web-1' }, ...more })
  const told = await h.call('PATCH', `${base}/web-1/status`, { status: { phase: 'Running', conditions: READY } }, { headers: { 'content-type': 'application/merge-patch+json' } })
  assert.equal(told.status, 200)
  assert.equal((await evict({ metadata: { name: 'other' } })).body.message, 'name in URL does not match name in Eviction object')
  const early = await evict()
  assert.deepEqual([early.status, early.body.details?.causes?.[0]?.message], [429, 'The disruption budget b is still being processed by the server.'])
  const status = { observedGeneration: 1, currentHealthy: 2, desiredHealthy: 1, disruptionsAllowed: 1, expectedPods: 2 }
  assert.equal((await h.call('PATCH', `${budgets}/b/status`, { status }, { headers: { 'content-type': 'application/merge-patch+json' } })).status, 200)
  assert.equal((await evict({}, '?dryRun=All')).status, 201)
  const spent = async (): Promise<number | undefined> => (await h.call<PodDisruptionBudget>('GET', `${budgets}/b`)).body.status?.disruptionsAllowed
  assert.equal(await spent(), 1)
  assert.equal((await evict()).status, 201)
  assert.equal(await spent(), 0)
  const going = (await h.call<Pod>('GET', `${base}/web-1`)).body
  assert.ok(going.metadata?.deletionTimestamp)
  assert.deepEqual(going.status?.conditions?.find((c) => c.type === 'DisruptionTarget')?.reason, 'EvictionByEvictionAPI')
  await h.call('POST', base, { metadata: { name: 'p' }, spec: { containers: [{ name: 'c', image: 'i' }] } })
  const bind = async (target: object): Promise<string | undefined> => (await h.call<{ message?: string }>('POST', `${base}/p/binding`, { kind: 'Binding', apiVersion: 'v1', metadata: { name: 'p' }, target })).body.message
  assert.equal(await bind({ kind: 'Pod', name: 'n' }), 'Binding "p" is invalid: target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>"')
  assert.equal(await bind({ kind: 'Node' }), 'Binding "p" is invalid: target.name: Required value')
  assert.equal(await bind({ name: 'n' }), undefined)
})
