import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fromStored, toStored } from './convert.ts'
import { KINDS } from './kinds.ts'
import type { KubeObject } from './meta.ts'
import { prepareCreate, prepareUpdate } from './prepare.ts'
import { qosClass } from './qos.ts'

type Loose = KubeObject & Record<string, unknown>
const object = (o: object): Loose => structuredClone(o) as Loose

test('a new object begins with the status its registry gives it', () => {
  const pod = object({ metadata: { name: 'p' }, spec: { containers: [{ name: 'c' }] }, status: { phase: 'Running' } })
  prepareCreate(KINDS.Pod, pod)
  assert.deepEqual(pod.status, { phase: 'Pending', qosClass: 'BestEffort' })
  assert.equal(pod.metadata?.generation, 1)
  const ns = object({ metadata: { name: 'n' } })
  prepareCreate(KINDS.Namespace, ns)
  assert.deepEqual([ns.spec, ns.status], [{ finalizers: ['kubernetes'] }, { phase: 'Active' }])
  const node = object({ metadata: {}, status: { capacity: { cpu: '1' } } })
  prepareCreate(KINDS.Node, node)
  assert.deepEqual(node.status, { capacity: { cpu: '1' } })
})

test('the main door keeps the status, the status door keeps the rest; generation counts changes of content', () => {
  const old = object({ metadata: { name: 'd', generation: 3 }, spec: { replicas: 1 }, status: { replicas: 1 } })
  const main = object({ metadata: { name: 'd', labels: { a: 'b' } }, spec: { replicas: 1 }, status: { replicas: 9 } })
  prepareUpdate(KINDS.Deployment, main, old)
  assert.deepEqual([main.status, main.metadata?.generation], [{ replicas: 1 }, 3])
  const changed = object({ metadata: { name: 'd' }, spec: { replicas: 2 } })
  prepareUpdate(KINDS.Deployment, changed, old)
  assert.deepEqual([changed.status, changed.metadata?.generation], [{ replicas: 1 }, 4])
  const status = object({ metadata: { name: 'd' }, spec: { replicas: 7 }, status: { replicas: 2 } })
  prepareUpdate(KINDS.Deployment, status, old, 'status')
  assert.deepEqual([status.spec, status.status, status.metadata?.generation], [{ replicas: 1 }, { replicas: 2 }, 3])
})

test('only finalize changes the finalizers of a namespace', () => {
  const old = object({ metadata: { name: 'n' }, spec: { finalizers: ['kubernetes'] } })
  const next = object({ metadata: { name: 'n' }, spec: { finalizers: [] } })
  prepareUpdate(KINDS.Namespace, next, old, 'finalize')
  assert.deepEqual(next.spec, { finalizers: [] })
  prepareUpdate(KINDS.Namespace, next, old)
  assert.deepEqual(next.spec, { finalizers: ['kubernetes'] })
})

test('quality of service follows requests and limits', () => {
  const of = (...resources: object[]): string => qosClass({ containers: resources.map((r, i) => ({ name: String(i), resources: r })) })
  assert.equal(of({}), 'BestEffort')
  assert.equal(of({ limits: { cpu: '1', memory: '1Gi' } }), 'Guaranteed')
  assert.equal(of({ limits: { cpu: '1', memory: '1Gi' }, requests: { cpu: '1000m', memory: '1024Mi' } }), 'Guaranteed')
  assert.equal(of({ limits: { cpu: '1', memory: '1Gi' } }, {}), 'Burstable')
  assert.equal(of({ requests: { memory: '1Gi' } }), 'Burstable')
})

test('events keep everything on their way into the store and out again', () => {
  const event = object({
    apiVersion: 'events.k8s.io/v1', kind: 'Event', metadata: { name: 'e' }, regarding: { name: 'p' }, note: 'hello', reason: 'R', type: 'Normal',
    reportingController: 'c', reportingInstance: 'i', action: 'A', eventTime: '2026-01-01T00:00:00.000000Z', deprecatedCount: 2,
  })
  const stored = toStored(KINDS.EventsEvent, event) as Loose
  assert.deepEqual([stored.apiVersion, stored.involvedObject, stored.message, stored.count], ['v1', { name: 'p' }, 'hello', 2])
  assert.deepEqual(fromStored(KINDS.EventsEvent, stored), event)
  const scaler = object({ apiVersion: 'autoscaling/v1', kind: 'HorizontalPodAutoscaler', metadata: { name: 'h' }, spec: { maxReplicas: 3, scaleTargetRef: { kind: 'Deployment', name: 'd' }, targetCPUUtilizationPercentage: 50 } })
  assert.deepEqual(fromStored(KINDS.HorizontalPodAutoscaler, toStored(KINDS.HorizontalPodAutoscaler, scaler)), scaler)
})

test('a few kinds without a spec are counted, and begin with a status of their own', () => {
  const slice = object({ metadata: { name: 's' }, endpoints: [] })
  prepareCreate(KINDS.EndpointSlice, slice)
  assert.equal(slice.metadata?.generation, 1)
  const labelled = object({ metadata: { name: 's', labels: { a: 'b' } }, endpoints: [] })
  prepareUpdate(KINDS.EndpointSlice, labelled, slice)
  assert.equal(labelled.metadata?.generation, 2)
  const priority = object({ metadata: { name: 'p' }, value: 1 })
  prepareCreate(KINDS.PriorityClass, priority)
  const described = object({ metadata: { name: 'p' }, value: 1, description: 'x' })
  prepareUpdate(KINDS.PriorityClass, described, priority)
  assert.deepEqual([priority.metadata?.generation, described.metadata?.generation], [1, 1])
  const [attachment, ingress] = [object({ metadata: { name: 'a' }, spec: {}, status: { attached: true } }), object({ metadata: { name: 'i' }, spec: {} })]
  prepareCreate(KINDS.VolumeAttachment, attachment)
  prepareCreate(KINDS.Ingress, ingress)
  assert.deepEqual([attachment.status, attachment.metadata?.generation], [{ attached: false }, undefined])
  assert.deepEqual([ingress.status, ingress.metadata?.generation], [{ loadBalancer: {} }, 1])
})

test('numbers that Kubernetes never leaves out are in a status from the start, and whatever its writer leaves out', () => {
  const set = object({ metadata: { name: 's' }, spec: {}, status: { replicas: 3 } })
  prepareCreate(KINDS.StatefulSet, set)
  assert.deepEqual(set.status, { replicas: 0, availableReplicas: 0 })
  const written = object({ metadata: { name: 's' }, spec: {}, status: { replicas: 2 } })
  prepareUpdate(KINDS.StatefulSet, written, set, 'status')
  assert.deepEqual(written.status, { replicas: 2, availableReplicas: 0 })
  for (const status of [undefined, { currentReplicas: 0, desiredReplicas: 0 }]) {
    const old = object({ apiVersion: 'autoscaling/v1', kind: 'HorizontalPodAutoscaler', metadata: { name: 'h' }, spec: { maxReplicas: 3 }, ...(status && { status }) })
    if (!status) prepareCreate(KINDS.HorizontalPodAutoscaler, old)
    assert.deepEqual((toStored(KINDS.HorizontalPodAutoscaler, old) as Loose)['status'], { desiredReplicas: 0 }, 'both versions say the same, so that a second apply changes nothing')
  }
})
