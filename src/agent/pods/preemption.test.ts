import assert from 'node:assert/strict'
import test from 'node:test'
import type { Pod } from '../../api/gen/types.ts'
import { setLogSink } from '../../base/log.ts'
import { testNode, testPod } from '../testing.ts'
import { admission } from './preemption.ts'

setLogSink(() => {})

const asks = (cpu: string | undefined, memory?: string, guaranteed = false) => {
  const amounts = { ...(cpu && { cpu }), ...(memory && { memory }) }
  return { containers: [{ name: 'main', image: 'app', imagePullPolicy: 'IfNotPresent', resources: { ...(cpu && { requests: amounts }), ...(guaranteed && { limits: amounts }) } }] }
}
const pod = (name: string, ...of: Parameters<typeof asks>): Pod => testPod(name, asks(...of))
const SYSTEM = { priority: 2_000_001_000 }
const system = (name: string, ...of: Parameters<typeof asks>): Pod => testPod(name, { ...asks(...of), ...SYSTEM })

/** Who goes for a pod on a node of 4 cores, 4 Gi and so many pods. */
function goes(wants: Pod, others: readonly Pod[], leaving: readonly string[] = [], pods = '110'): unknown {
  const found = admission(wants, { allocatable: { cpu: '4', memory: '4Gi', pods }, node: undefined, others }, new Set(leaving.map((n) => `uid-${n}`)))
  return found === undefined || 'reason' in found ? found : found.map((p) => p.metadata?.name)
}

test('for a critical pod without room those go that free enough: BestEffort first, then Burstable, Guaranteed last, as few and small as can be', () => {
  const others = [pod('best', undefined), pod('small', '500m', '100Mi'), pod('large', '2', '100Mi'), pod('sure', '1', '1Gi', true), system('dns', '500m', '1Gi')]
  const rows: readonly (readonly [wants: Pod, expected: unknown])[] = [
    [pod('plain', '1'), { reason: 'OutOfcpu', message: "Pod was rejected: Node didn't have enough resource: cpu, requested: 1000, used: 4000, capacity: 4000", refused: true }],
    [system('a', '500m'), ['small']],
    [system('b', '1'), ['large']],
    [system('c', '2500m'), ['large', 'small']],
    [system('d', '3'), ['large', 'sure']],
    [system('e', '200m', '2600Mi'), ['sure']],
    [system('none', undefined), undefined],
    [system('all', '3600m'), { reason: 'UnexpectedAdmissionError', message: 'Pod was rejected: Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods to preempt: no set of running pods found to reclaim resources: [(res: cpu, q: 100), ]', refused: true }],
    [testPod('higher', { ...asks('3600m'), priority: SYSTEM.priority + 1 }), ['large', 'small', 'dns', 'sure']],
  ]
  for (const [wants, expected] of rows) {
    const found = goes(wants, others)
    assert.deepEqual([wants.metadata?.name, Array.isArray(found) ? new Set(found) : found], [wants.metadata?.name, Array.isArray(expected) ? new Set(expected) : expected])
  }
  assert.deepEqual(goes(system('f', undefined), others, [], '5'), ['best'], 'a place is one of any pod')
  assert.deepEqual(goes(system('g', '2'), others, ['large']), [], 'one that goes already is waited for')
})

test('a critical pod that does not belong here ends nobody', () => {
  const wants = system('dns', '1')
  const room = { allocatable: { cpu: '1' }, node: { metadata: { name: 'n1', labels: {} } }, others: [pod('web', '1')] }
  const found = admission({ ...wants, spec: { ...wants.spec, containers: wants.spec?.containers ?? [], nodeSelector: { disk: 'fast' } } }, room, new Set())
  assert.ok(found && 'reason' in found)
  assert.equal(found.reason, 'NodeAffinity')
})

test('a critical pod starts when those that made room for it have ended', async () => {
  await using n = await testNode({ app: { stopAfterMs: 3_000 } })
  const phase = (name: string): string | undefined => n.api.pod(name).status?.phase
  n.api.put('pods', pod('web', '3'))
  n.api.put('pods', pod('sure', '1', '1Gi', true))
  await n.until('running', () => phase('web') === 'Running' && phase('sure') === 'Running')
  n.api.put('pods', system('dns', '2'))
  await n.until('told', () => n.said.includes('Warning Preempting web: Preempted in order to admit critical pod'))
  assert.notEqual(phase('dns'), 'Running')
  await n.pass(5_000)
  await n.until('room made and taken', () => phase('web') === 'Failed' && phase('dns') === 'Running')
  const { reason, message, conditions } = n.api.pod('web').status ?? {}
  assert.deepEqual([reason, message], ['Preempting', 'Preempted in order to admit critical pod'])
  const target = conditions?.find((c) => c.type === 'DisruptionTarget')
  assert.deepEqual([target?.reason, target?.message], ['TerminationByKubelet', 'Pod was preempted by Kubelet to accommodate a critical pod.'])
  assert.equal(phase('sure'), 'Running')
})
