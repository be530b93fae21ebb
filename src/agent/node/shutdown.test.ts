import assert from 'node:assert/strict'
import test from 'node:test'
import type { Node } from '../../api/gen/types.ts'
import { systemClock } from '../../base/clock.ts'
import { setLogSink } from '../../base/log.ts'
import { Scope } from '../../base/scope.ts'
import { testNode, testPod } from '../testing.ts'
import { kubeletSettings } from './kubelet-settings.ts'
import { GoingDown } from './shutdown.ts'

setLogSink(() => {})

test('when the machine goes down pods end by class within their time, and the node takes no more', async () => {
  const kubelet = kubeletSettings({ 'shutdown-grace-period': '30s', 'shutdown-grace-period-critical-pods': '10s' })
  await using n = await testNode({ app: {}, slow: { stopAfterMs: 8_000 }, stubborn: { stopAfterMs: 100_000 } }, { kubelet })
  const of = (image: string) => ({ containers: [{ name: 'main', image, imagePullPolicy: 'IfNotPresent' }] })
  n.api.put('pods', testPod('web', of('app')))
  n.api.put('pods', testPod('slow', of('slow')))
  n.api.put('pods', testPod('stubborn', { ...of('stubborn'), terminationGracePeriodSeconds: 600 }))
  n.api.put('pods', testPod('system', { ...of('app'), priority: 2_000_001_000 }))
  const phase = (name: string): string | undefined => n.api.pod(name).status?.phase
  await n.until('all run', () => ['web', 'slow', 'stubborn', 'system'].every((p) => phase(p) === 'Running'))
  n.agent.shutDown()
  await n.until('the first ended', () => phase('web') === 'Failed')
  const { status } = n.api.pod('web')
  assert.deepEqual([status?.reason, status?.message], ['Terminated', 'Pod was terminated in response to imminent node shutdown.'])
  assert.deepEqual(status?.conditions?.filter((c) => c.type === 'DisruptionTarget').map((c) => c.reason), ['TerminationByKubelet'])
  const ready = () => (n.api.objects.get('nodes//n1') as Node).status?.conditions?.find((c) => c.type === 'Ready')
  await n.until('node not ready', () => ready()?.status === 'False')
  assert.equal(ready()?.message, 'node is shutting down')
  n.api.put('pods', testPod('late', of('app')))
  await n.until('refused', () => phase('late') === 'Failed')
  assert.deepEqual([n.api.pod('late').status?.reason, n.api.pod('late').status?.message], ['NodeShutdown', 'Pod was rejected as the node is shutting down.'])
  await n.pass(9_000)
  await n.until('the slow one ended by itself', () => phase('slow') === 'Failed')
  assert.equal(n.api.pod('slow').status?.containerStatuses?.[0]?.state?.terminated?.exitCode, 0)
  assert.deepEqual([phase('stubborn'), phase('system')], ['Running', 'Running'])
  await n.pass(13_000)
  await n.until('all ended', () => phase('stubborn') === 'Failed' && phase('system') === 'Failed')
  assert.equal(n.api.pod('stubborn').status?.containerStatuses?.[0]?.state?.terminated?.exitCode, 137)
})

test('without a time for it pods run on when the machine goes down', async () => {
  await using n = await testNode()
  n.api.put('pods', testPod('web'))
  await n.until('running', () => n.api.pod('web').status?.phase === 'Running')
  n.agent.shutDown()
  await n.pass(5_000)
  assert.equal(n.api.pod('web').status?.phase, 'Running')
  assert.ok(!n.runtime.calls.some((c) => c.startsWith('containers.stop')))
})

test('a machine that stays up after all has its shutdown called off', async () => {
  await using scope = new Scope('test')
  const changes: boolean[] = []
  const down: GoingDown = new GoingDown({
    clock: systemClock,
    graceMs: 600_000,
    criticalMs: 0,
    running: () => [testPod('stubborn')],
    end: () => true,
    gone: () => false,
    untold: () => 0,
    onChange: () => void changes.push(down.now),
  })
  await down.begin()
  assert.equal(down.now, false, 'nothing begins before the agent runs')
  down.attach(scope)
  const ended = down.begin()
  assert.equal(down.now, true)
  down.cancel()
  await ended
  assert.equal(down.now, false)
  assert.deepEqual(changes, [true, false])
})
