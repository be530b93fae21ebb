import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KINDS, RESOURCES, findResource } from './kinds.ts'
import { schemaTable } from './schema-table.ts'

test('every row has a type in the schema table and a place of its own', () => {
  const places = new Set<string>()
  for (const [name, def] of Object.entries(KINDS)) {
    assert.equal(def.schema, name)
    assert.ok(schemaTable()[def.schema], name)
    const place = `${def.group}/${def.version}/${def.resource}`
    assert.equal(places.has(place), false, place)
    places.add(place)
    assert.equal(def.storage === '', def.served === 'virtual', name)
  }
})

test('resources are found by plural and by kind', () => {
  assert.equal(findResource('apps', 'v1', 'deployments'), KINDS.Deployment)
  assert.equal(findResource('', 'v1', 'pods'), KINDS.Pod)
  assert.equal(findResource('apps', 'v1', 'pods'), undefined)
  assert.equal(findResource('autoscaling', 'v2', 'horizontalpodautoscalers'), KINDS.V2HorizontalPodAutoscaler)
  assert.equal(findResource('events.k8s.io', 'v1', 'events')?.storage, KINDS.Event.storage)
})

test('a kind that nothing acts on asks for a warning', () => {
  assert.equal(KINDS.CronJob.served, 'stored')
  assert.equal(KINDS.Deployment.served, 'full')
  assert.equal(RESOURCES.filter((r) => r.served === 'full').length >= 17, true)
})

test('both event resources select by the stored shape', () => {
  const stored = { involvedObject: { name: 'p' }, source: { component: 'kubelet' } } as object
  assert.equal(KINDS.Event.selectable['involvedObject.name']?.(stored), 'p')
  assert.equal(KINDS.EventsEvent.selectable['regarding.name']?.(stored), 'p')
  assert.equal(KINDS.Event.selectable['source']?.(stored), 'kubelet')
  assert.equal(KINDS.Pod.selectable['spec.hostNetwork']?.({}), 'false')
})
