import assert from 'node:assert/strict'
import { test } from 'node:test'
import { autoscalerFromV2, autoscalerToV2 } from './convert-autoscaler.ts'
import type { HorizontalPodAutoscaler, V2HorizontalPodAutoscaler } from './gen/types.ts'

const ref = { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' }
const full: V2HorizontalPodAutoscaler = {
  apiVersion: 'autoscaling/v2', kind: 'HorizontalPodAutoscaler', metadata: { name: 'h', annotations: { own: 'x' } },
  spec: {
    minReplicas: 1, maxReplicas: 5, scaleTargetRef: ref,
    metrics: [
      { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 50 } } },
      { type: 'Resource', resource: { name: 'memory', target: { type: 'AverageValue', averageValue: '100Mi' } } },
      { type: 'ContainerResource', containerResource: { name: 'cpu', container: 'c', target: { type: 'Utilization', averageUtilization: 60 } } },
      { type: 'Pods', pods: { metric: { name: 'rps', selector: { matchLabels: { a: 'b' } } }, target: { type: 'AverageValue', averageValue: '1k' } } },
      { type: 'Object', object: { metric: { name: 'rps' }, describedObject: { kind: 'Service', name: 's' }, target: { type: 'Value', value: '2k' } } },
      { type: 'External', external: { metric: { name: 'queue', selector: { matchLabels: { q: '1' } } }, target: { type: 'AverageValue', averageValue: '30' } } },
    ],
    behavior: { scaleUp: { stabilizationWindowSeconds: 0, selectPolicy: 'Max', policies: [{ type: 'Pods', value: 4, periodSeconds: 15 }] }, scaleDown: { selectPolicy: 'Disabled', policies: [{ type: 'Percent', value: 100, periodSeconds: 15 }] } },
  },
  status: {
    currentReplicas: 2, desiredReplicas: 3,
    currentMetrics: [{ type: 'Resource', resource: { name: 'cpu', current: { averageUtilization: 40, averageValue: '80m' } } }],
    conditions: [{ type: 'AbleToScale', status: 'True', reason: 'R', message: 'm' }],
  },
}

test('an autoscaler read and written in its old version is as it was', () => {
  const old = autoscalerFromV2(full) as HorizontalPodAutoscaler
  assert.deepEqual(autoscalerToV2(structuredClone(old)), full)
  assert.deepEqual([old.spec?.targetCPUUtilizationPercentage, old.status?.currentCPUUtilizationPercentage], [50, 40])
  assert.deepEqual(JSON.parse(old.metadata?.annotations?.['autoscaling.alpha.kubernetes.io/metrics'] ?? '')[0], {
    type: 'Resource', resource: { name: 'memory', targetAverageValue: '100Mi' },
  })
})

test('the old version says its one metric in a field, and 80 % when it says none', () => {
  const old: HorizontalPodAutoscaler = { metadata: { name: 'h' }, spec: { maxReplicas: 3, scaleTargetRef: ref, targetCPUUtilizationPercentage: 70 } }
  const stored = autoscalerToV2(old) as V2HorizontalPodAutoscaler
  assert.deepEqual(autoscalerFromV2(stored), { ...old, apiVersion: 'autoscaling/v2', kind: 'HorizontalPodAutoscaler' })
  const silent = autoscalerToV2({ metadata: { name: 'h' }, spec: { maxReplicas: 3, scaleTargetRef: ref } }) as V2HorizontalPodAutoscaler
  assert.equal((autoscalerFromV2(silent) as HorizontalPodAutoscaler).spec?.targetCPUUtilizationPercentage, 80)
  const strange = autoscalerToV2({ metadata: { annotations: { 'autoscaling.alpha.kubernetes.io/metrics': '{' } }, spec: { maxReplicas: 1, scaleTargetRef: ref } }) as V2HorizontalPodAutoscaler
  assert.equal(strange.spec?.metrics?.length, 1, 'an annotation that is no JSON says nothing')
})
