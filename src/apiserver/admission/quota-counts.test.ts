import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { KINDS } from '../../api/kinds.ts'
import { FakeClock } from '../../base/clock.ts'
import { createMemoryStore } from '../../store/mod.ts'
import { keyOf } from '../resources.ts'
import { WatchCache } from '../watch-cache.ts'
import { QuotaCounts } from './quota-counts.ts'
import type { QuotaSpec } from './quota-usage.ts'

const SPECS: readonly QuotaSpec[] = [{}, { scopes: ['Terminating'] }, { scopeSelector: { matchExpressions: [{ scopeName: 'PriorityClass', operator: 'In', values: ['high'] }] } }]

const step = fc.record({
  kind: fc.constantFrom('pod', 'pod', 'pod', 'quota', 'reset'),
  namespace: fc.constantFrom('a', 'b'),
  name: fc.constantFrom('1', '2', '3'),
  gone: fc.boolean(),
  cpu: fc.integer({ min: 1, max: 500 }),
  ended: fc.boolean(),
  deadline: fc.boolean(),
  high: fc.boolean(),
})

test('after any history of changes the sums are what counting anew gives', async () => {
  await using store = createMemoryStore()
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const cache = new WatchCache(store, new FakeClock())
      const kept = new QuotaCounts(cache)
      let revision = 0
      for (const { kind, namespace, name, gone, cpu, ended, deadline, high } of steps) {
        const def = kind === 'quota' ? KINDS.ResourceQuota : KINDS.Pod
        const resource = cache.resource(def.resource)
        const key = keyOf(def, namespace, name)
        const spec = kind === 'quota' ? { hard: { pods: String(cpu) } } : { ...(deadline && { activeDeadlineSeconds: 5 }), ...(high && { priorityClassName: 'high' }), containers: [{ resources: { requests: { cpu: `${cpu}m`, memory: '1Mi' } } }] }
        const value = JSON.stringify({ metadata: { name, namespace }, spec, status: { phase: ended ? 'Failed' : 'Running' } })
        revision++
        if (kind === 'reset') resource.reset(new Map(), revision)
        else if (gone) {
          if (resource.get(key)) resource.apply({ type: 'delete', key, value: '', revision, created: 1, previous: undefined }, true)
        } else resource.apply({ type: 'put', key, value, revision, created: 1, previous: undefined }, true)
        const anew = new QuotaCounts(cache)
        for (const quota of SPECS) for (const ns of ['a', 'b']) assert.deepEqual([...kept.of(KINDS.Pod, ns, quota)].sort(), [...anew.of(KINDS.Pod, ns, quota)].sort())
      }
    }),
    { numRuns: 60 },
  )
})

test('what was counted once is not counted again for each question', async () => {
  await using store = createMemoryStore()
  const cache = new WatchCache(store, new FakeClock())
  const pods = cache.resource('pods')
  for (let i = 0; i < 50; i++) pods.apply({ type: 'put', key: keyOf(KINDS.Pod, 'a', `p${i}`), value: JSON.stringify({ metadata: {}, spec: {} }), revision: i + 1, created: 1, previous: undefined }, true)
  const counts = new QuotaCounts(cache)
  const first = counts.of(KINDS.Pod, 'a', {})
  pods.apply({ type: 'put', key: keyOf(KINDS.Pod, 'a', 'last'), value: JSON.stringify({ metadata: {}, spec: {} }), revision: 60, created: 1, previous: undefined }, true)
  assert.equal(counts.of(KINDS.Pod, 'a', {}), first, 'the same sum, kept current')
  assert.equal(first.get('pods')?.nano, 51_000_000_000n)
})
