import { test } from 'node:test'
import assert from 'node:assert/strict'
import type { Deployment, DeploymentSpec, ReplicaSet } from '../../api/gen/types.ts'
import { planDeployment, type DeploymentPlan } from './plan.ts'
import { limits } from './replicas.ts'
import { REVISION } from './revisions.ts'

const NOW = Date.UTC(2026, 0, 1)
const template = (image: string) => ({ metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'web', image }] } })

function deployment(replicas: number, spec: Partial<DeploymentSpec> = {}): Deployment {
  return { metadata: { name: 'web', namespace: 'd', uid: 'u', generation: 1 }, spec: { replicas, selector: { matchLabels: { app: 'web' } }, template: template('v2'), ...spec } }
}

/** A small world: steps are carried out, pods become available at once unless their set is stuck. */
class World {
  d: Deployment
  sets: ReplicaSet[] = []
  stuck = new Set<string>()
  now = NOW
  #made = 0
  history: string[] = []
  constructor(d: Deployment) {
    this.d = d
  }
  step(): DeploymentPlan {
    this.now += 1000
    const plan = planDeployment({ deployment: this.d, sets: this.sets, oldPodsRun: () => false, nowMs: this.now })
    for (const step of plan.steps) {
      if (step.do === 'create') {
        const creationTimestamp = new Date(NOW + this.#made++ * 1000).toISOString()
        this.sets = [...this.sets, { ...step.set, metadata: { ...step.set.metadata, creationTimestamp } }]
      }
      if (step.do === 'delete') this.sets = this.sets.filter((s) => s.metadata?.name !== step.set.metadata?.name)
      this.sets = this.sets.map((s) => {
        if (s.metadata?.name !== step.set.metadata?.name) return s
        if (step.do === 'scale') return { ...s, metadata: { ...s.metadata, annotations: { ...s.metadata?.annotations, ...step.annotations } }, spec: { ...s.spec, replicas: step.to } } as ReplicaSet
        if (step.do === 'annotate') return { ...s, metadata: { ...s.metadata, annotations: step.annotations }, spec: { ...s.spec, minReadySeconds: step.minReadySeconds } } as ReplicaSet
        return s
      })
    }
    this.d = { ...this.d, status: plan.status }
    if (plan.revision !== undefined) this.d = { ...this.d, metadata: { ...this.d.metadata, annotations: { ...this.d.metadata?.annotations, [REVISION]: plan.revision } } }
    this.settle()
    this.history.push(this.sizes())
    return plan
  }
  settle(): void {
    this.sets = this.sets.map((s) => {
      const n = s.spec?.replicas ?? 0
      const available = this.stuck.has(this.image(s)) ? Math.min(n, s.status?.availableReplicas ?? 0) : n
      return { ...s, status: { replicas: n, readyReplicas: available, availableReplicas: available, observedGeneration: 1 } }
    })
  }
  image(s: ReplicaSet): string {
    return s.spec?.template?.spec?.containers[0]?.image ?? ''
  }
  sizes(): string {
    return this.sets.map((s) => `${this.image(s)}:${s.spec?.replicas}`).join(' ')
  }
  run(): string {
    for (let i = 0; i < 50; i++) if (this.step().steps.length === 0) break
    return this.sizes()
  }
  update(image: string): void {
    this.d = { ...this.d, metadata: { ...this.d.metadata, generation: (this.d.metadata?.generation ?? 0) + 1 }, spec: { ...this.d.spec, template: template(image) } as DeploymentSpec }
  }
  reason(): string | undefined {
    return this.d.status?.conditions?.find((c) => c.type === 'Progressing')?.reason
  }
}

test('surge rounds up, unavailability rounds down, and both never are zero', () => {
  const of = (replicas: number, maxSurge: number | string, maxUnavailable: number | string) =>
    limits(deployment(replicas, { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge, maxUnavailable } } }))
  assert.deepEqual(limits(deployment(3)), { maxSurge: 1, maxUnavailable: 0 })
  assert.deepEqual(of(10, '25%', '25%'), { maxSurge: 3, maxUnavailable: 2 })
  assert.deepEqual(of(3, 0, '25%'), { maxSurge: 0, maxUnavailable: 1 })
  assert.deepEqual(of(2, 0, 5), { maxSurge: 0, maxUnavailable: 2 })
  assert.deepEqual(limits(deployment(3, { strategy: { type: 'Recreate' } })), { maxSurge: 0, maxUnavailable: 0 })
})

test('a rolling update never has too many pods nor too few available', () => {
  const w = new World(deployment(4, { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 1 } } }))
  assert.equal(w.run(), 'v2:4')
  assert.equal(w.reason(), 'NewReplicaSetAvailable')
  w.update('v3')
  w.history = []
  assert.equal(w.run(), 'v2:0 v3:4')
  for (const sizes of w.history) {
    const total = sizes.match(/:\d+/g)?.reduce((sum, n) => sum + Number(n.slice(1)), 0) ?? 0
    assert.ok(total <= 5 && total >= 3, sizes)
  }
  assert.equal(w.d.metadata?.annotations?.[REVISION], '2')
  assert.equal(w.reason(), 'NewReplicaSetAvailable')
})

test('unhealthy old replicas go first, so a broken version does not block its successor', () => {
  const w = new World(deployment(3, { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } } }))
  w.run()
  w.update('bad')
  w.stuck.add('bad')
  assert.equal(w.run(), 'v2:3 bad:1')
  w.update('v4')
  assert.equal(w.run(), 'v2:0 bad:0 v4:3')
  assert.match(w.history.join('\n'), /v2:3 bad:0 v4:1/)
})

test('undo brings the old ReplicaSet back under a new revision', () => {
  const w = new World(deployment(2))
  w.run()
  w.update('v3')
  w.run()
  w.update('v2')
  assert.equal(w.run(), 'v2:2 v3:0')
  assert.deepEqual(w.sets.map((s) => s.metadata?.annotations?.[REVISION]), ['3', '2'])
  assert.equal(w.sets[0]?.metadata?.annotations?.['deployment.kubernetes.io/revision-history'], '1')
})

test('Recreate brings the old down before the new comes up', () => {
  const w = new World(deployment(3, { strategy: { type: 'Recreate' } }))
  w.run()
  w.update('v3')
  w.history = []
  assert.equal(w.run(), 'v2:0 v3:3')
  assert.equal(w.history[0], 'v2:0')
})

test('a paused deployment rolls nothing out but scales, proportionally in the middle of a rollout', () => {
  const w = new World(deployment(10, { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 3, maxUnavailable: 2 } } }))
  w.run()
  w.update('v3')
  w.stuck.add('v3')
  w.run()
  assert.equal(w.sizes(), 'v2:8 v3:5')
  w.d = { ...w.d, spec: { ...w.d.spec, replicas: 15, paused: true } as DeploymentSpec }
  assert.equal(w.run(), 'v2:11 v3:7')
  assert.equal(w.reason(), 'DeploymentPaused')
})

test('history beyond the limit is removed, and a rollout that stands still runs into its deadline', () => {
  const w = new World(deployment(1, { revisionHistoryLimit: 1, progressDeadlineSeconds: 30 }))
  for (const image of ['v2', 'v3', 'v4', 'v5']) {
    w.update(image)
    w.run()
  }
  w.step()
  assert.equal(w.sizes(), 'v4:0 v5:1')
  w.update('bad')
  w.stuck.add('bad')
  w.run()
  assert.equal(w.step().requeueAfterMs !== undefined, true)
  w.now += 31_000
  w.step()
  assert.equal(w.reason(), 'ProgressDeadlineExceeded')
})
