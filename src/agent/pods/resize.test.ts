import assert from 'node:assert/strict'
import test from 'node:test'
import type { Container as ContainerSpec, Pod } from '../../api/gen/types.ts'
import { AppError } from '../../base/errors.ts'
import { setLogSink } from '../../base/log.ts'
import { testNode, testPod, type TestNode } from '../testing.ts'
import { changes } from './resize.ts'

setLogSink(() => {})

const sized = (cpu: string, memory: string, more: Partial<ContainerSpec> = {}): ContainerSpec[] => [
  { name: 'main', image: 'app', imagePullPolicy: 'IfNotPresent', resources: { requests: { cpu, memory }, limits: { cpu, memory } }, ...more },
]
let generation = 1

/** The API's word of other resources for a pod. */
function resize(n: TestNode, name: string, containers: ContainerSpec[]): void {
  const pod = n.api.pod(name)
  n.api.put('pods', { ...pod, metadata: { ...pod.metadata, generation: ++generation }, spec: { ...pod.spec, containers } } as Pod)
}

const status = (n: TestNode, name: string) => n.api.pod(name).status?.containerStatuses?.[0]
const condition = (n: TestNode, name: string, type: string) => n.api.pod(name).status?.conditions?.find((c) => c.type === type)

test('amounts are compared, not their writing', () => {
  const of = (cpu: string, memory: string) => ({ requests: { cpu, memory }, limits: { cpu, memory } })
  assert.deepEqual(changes(of('500m', '1Gi'), of('0.5', '1024Mi')), [])
  assert.deepEqual(changes(of('500m', '1Gi'), of('600m', '1Gi')), ['cpu'])
  assert.deepEqual(changes(undefined, of('1', '1Gi')), ['cpu', 'memory'])
})

test('a container gets other resources while it runs, and the status says what it has', async () => {
  await using n = await testNode()
  n.api.put('pods', testPod('web', { containers: sized('100m', '64Mi') }))
  await n.until('running', () => status(n, 'web')?.state?.running !== undefined)
  assert.deepEqual(status(n, 'web')?.resources, { requests: { cpu: '100m', memory: '64Mi' }, limits: { cpu: '100m', memory: '64Mi' } })
  assert.deepEqual(status(n, 'web')?.allocatedResources, { cpu: '100m', memory: '64Mi' })
  n.runtime.failNext('containers.update', new AppError('internal', 'busy'))
  resize(n, 'web', sized('500m', '128Mi'))
  await n.until('told', () => condition(n, 'web', 'PodResizeInProgress')?.reason === 'Error')
  assert.equal(condition(n, 'web', 'PodResizeInProgress')?.message, 'busy')
  assert.equal(status(n, 'web')?.resources?.limits?.['cpu'], '100m')
  assert.equal(status(n, 'web')?.allocatedResources?.['cpu'], '500m')
  await n.pass(11_000)
  await n.until('resized', () => status(n, 'web')?.resources?.limits?.['cpu'] === '500m')
  await n.until('over', () => condition(n, 'web', 'PodResizeInProgress') === undefined)
  assert.deepEqual(n.runtime.configOf('main')?.resources, { cpuShares: 512, cpuQuotaUs: 50_000, cpuPeriodUs: 100_000, memoryLimitBytes: 128 << 20, oomScoreAdj: n.runtime.configOf('main')?.resources.oomScoreAdj })
  assert.equal(status(n, 'web')?.restartCount, 0)

  // The next agent knows, and does nothing again.
  await n.stop()
  const calls = n.runtime.calls.length
  n.start()
  await n.agent.ready
  await n.pass(3_000)
  assert.deepEqual(n.runtime.calls.slice(calls).filter((c) => /update|create|stop/.test(c)), [])
})

test('what does not fit now is deferred until it does; what never fits is told', async () => {
  await using n = await testNode()
  n.api.put('pods', testPod('other', { containers: sized('2', '64Mi') }))
  n.api.put('pods', testPod('web', { containers: sized('1', '64Mi') }))
  await n.until('running', () => ['web', 'other'].every((p) => status(n, p)?.state?.running !== undefined))
  resize(n, 'web', sized('40', '64Mi'))
  await n.until('infeasible', () => condition(n, 'web', 'PodResizePending')?.reason === 'Infeasible')
  assert.equal(condition(n, 'web', 'PodResizePending')?.message, "Node didn't have enough capacity: cpu, requested: 40000, capacity: 4000")
  resize(n, 'web', sized('3', '64Mi'))
  await n.until('deferred', () => condition(n, 'web', 'PodResizePending')?.reason === 'Deferred')
  assert.equal(condition(n, 'web', 'PodResizePending')?.message, "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000")
  assert.equal(status(n, 'web')?.allocatedResources?.['cpu'], '1')
  n.api.remove('pods', 'default', 'other')
  await n.pass(15_000)
  await n.until('resized', () => status(n, 'web')?.resources?.limits?.['cpu'] === '3')
  assert.equal(condition(n, 'web', 'PodResizePending'), undefined)
})

test('a container that wants so starts anew for other resources, also after a clean end', async () => {
  await using n = await testNode()
  const policy = { resizePolicy: [{ resourceName: 'memory', restartPolicy: 'RestartContainer' }, { resourceName: 'cpu', restartPolicy: 'NotRequired' }] }
  n.api.put('pods', testPod('web', { restartPolicy: 'OnFailure', containers: sized('100m', '64Mi', policy) }))
  await n.until('running', () => status(n, 'web')?.state?.running !== undefined)
  resize(n, 'web', sized('200m', '64Mi', policy))
  await n.until('resized in place', () => status(n, 'web')?.resources?.limits?.['cpu'] === '200m')
  assert.equal(status(n, 'web')?.restartCount, 0)
  resize(n, 'web', sized('200m', '128Mi', policy))
  await n.until('resized anew', () => status(n, 'web')?.resources?.limits?.['memory'] === '128Mi' && status(n, 'web')?.state?.running !== undefined)
  assert.equal(status(n, 'web')?.restartCount, 1)
  assert.ok(n.said.some((e) => e.includes('Container main resize requires restart')))
  await n.until('over', () => condition(n, 'web', 'PodResizeInProgress') === undefined)
  assert.equal(n.runtime.configOf('main')?.resources.memoryLimitBytes, 128 << 20)
})
