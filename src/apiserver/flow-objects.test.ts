import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setLogSink } from '../base/log.ts'
import { createMemoryStore } from '../store/mod.ts'
import { startHarness } from '../../test/kit/api-harness.ts'

setLogSink(() => undefined)
const PATH = '/apis/flowcontrol.apiserver.k8s.io/v1'
interface Table {
  rows: { cells: unknown[] }[]
}
const table = { headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' } }

test('the flow schemas and priority levels of every cluster are there, as kubectl prints them', async () => {
  await using h = await startHarness()
  const schemas = await h.call<Table>('GET', `${PATH}/flowschemas`, undefined, table)
  assert.deepEqual(schemas.body.rows.map((r) => r.cells.filter((_, i) => i !== 4)), [
    ['exempt', 'exempt', 1, '<none>', 'False'],
    ['probes', 'exempt', 2, '<none>', 'False'],
    ['system-leader-election', 'leader-election', 100, 'ByUser', 'False'],
    ['endpoint-controller', 'workload-high', 150, 'ByUser', 'False'],
    ['workload-leader-election', 'leader-election', 200, 'ByUser', 'False'],
    ['system-node-high', 'node-high', 400, 'ByUser', 'False'],
    ['system-nodes', 'system', 500, 'ByUser', 'False'],
    ['kube-controller-manager', 'workload-high', 800, 'ByNamespace', 'False'],
    ['kube-scheduler', 'workload-high', 800, 'ByNamespace', 'False'],
    ['kube-system-service-accounts', 'workload-high', 900, 'ByNamespace', 'False'],
    ['service-accounts', 'workload-low', 9_000, 'ByUser', 'False'],
    ['global-default', 'global-default', 9_900, 'ByUser', 'False'],
    ['catch-all', 'catch-all', 10_000, 'ByUser', 'False'],
  ])
  const levels = await h.call<Table>('GET', `${PATH}/prioritylevelconfigurations`, undefined, table)
  assert.deepEqual(levels.body.rows.map((r) => r.cells.slice(0, 6)), [
    ['catch-all', 'Limited', 5, '<none>', '<none>', '<none>'],
    ['exempt', 'Exempt', '<none>', '<none>', '<none>', '<none>'],
    ['global-default', 'Limited', 20, 128, 6, 50],
    ['leader-election', 'Limited', 10, 16, 4, 50],
    ['node-high', 'Limited', 40, 64, 6, 50],
    ['system', 'Limited', 30, 64, 6, 50],
    ['workload-high', 'Limited', 40, 128, 6, 50],
    ['workload-low', 'Limited', 100, 128, 6, 50],
  ])
})

test('what its owner changed is left alone at the next start, what is missing is made again', async () => {
  const store = createMemoryStore()
  const catchAll = `${PATH}/flowschemas/catch-all`
  await using one = await startHarness({ store })
  const patch = { headers: { 'content-type': 'application/merge-patch+json' } }
  assert.equal((await one.call('PATCH', catchAll, { metadata: { labels: { mine: 'yes' } } }, patch)).status, 200)
  assert.equal((await one.call('DELETE', `${PATH}/flowschemas/probes`)).status, 200)
  await using two = await startHarness({ store })
  assert.equal((await two.call<{ metadata: { labels?: Record<string, string> } }>('GET', catchAll)).body.metadata.labels?.['mine'], 'yes')
  assert.equal((await two.call('GET', `${PATH}/flowschemas/probes`)).status, 200)
})
