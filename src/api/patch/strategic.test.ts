import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { schemaOf } from '../schema-table.ts'
import { applyStrategicPatch } from './strategic.ts'

type Obj = Record<string, unknown>
const POD_SPEC = schemaOf('PodSpec')
const apply = (document: Obj, patch: unknown, schema = POD_SPEC): Obj => applyStrategicPatch(document, patch, schema)
const names = (o: Obj, list = 'containers'): unknown => (o[list] as { name: string }[]).map((c) => c.name)

const spec = { containers: [{ name: 'a', image: 'a:1', args: ['x'] }, { name: 'b', image: 'b:1' }], nodeSelector: { zone: '1', disk: 'ssd' } }

test('lists with a merge key merge by it, others are replaced', () => {
  const out = apply(spec, { containers: [{ name: 'b', image: 'b:2' }] })
  assert.deepEqual(out.containers, [spec.containers[0], { name: 'b', image: 'b:2' }])
  assert.deepEqual(apply(spec, { containers: [{ name: 'a', args: ['y'] }] }).containers, [{ name: 'a', image: 'a:1', args: ['y'] }, spec.containers[1]])
  assert.deepEqual(apply(spec, { tolerations: [{ key: 'k' }] }).tolerations, [{ key: 'k' }])
  assert.deepEqual(apply({ tolerations: [{ key: 'old' }] }, { tolerations: [{ key: 'k' }] }).tolerations, [{ key: 'k' }])
})

test('a new element comes before those the patch does not name', () => {
  assert.deepEqual(names(apply(spec, { containers: [{ name: 'c', image: 'c' }] })), ['c', 'a', 'b'])
})

test('null deletes a field, also inside what is new', () => {
  assert.deepEqual(apply(spec, { nodeSelector: { disk: null } }).nodeSelector, { zone: '1' })
  assert.equal('nodeSelector' in apply(spec, { nodeSelector: null }), false)
  assert.deepEqual(apply({}, { nodeSelector: { a: null, b: '1' } }).nodeSelector, { b: '1' })
})

test('$patch: delete removes an element, $patch: replace the whole list or map', () => {
  assert.deepEqual(names(apply(spec, { containers: [{ name: 'a', $patch: 'delete' }] })), ['b'])
  assert.deepEqual(apply(spec, { containers: [{ $patch: 'replace' }, { name: 'z', image: 'z' }] }).containers, [{ name: 'z', image: 'z' }])
  assert.deepEqual(apply(spec, { nodeSelector: { $patch: 'replace', only: '1' } }).nodeSelector, { only: '1' })
  assert.deepEqual(apply(spec, { nodeSelector: { $patch: 'delete' } }).nodeSelector, {})
  assert.throws(() => apply(spec, { $patch: 'destroy' }), /unknown patch type: destroy in map: map\[\$patch:destroy\]/)
})

test('$retainKeys keeps only what it names', () => {
  const deployment = schemaOf('DeploymentSpec')
  const before = { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1 } } }
  assert.deepEqual(apply(before, { strategy: { $retainKeys: ['type'], type: 'Recreate' } }, deployment), { strategy: { type: 'Recreate' } })
  assert.throws(() => apply(before, { strategy: { $retainKeys: ['type'], type: 'Recreate', rollingUpdate: {} } }, deployment), /unexpected key "rollingUpdate"/)
})

test('$setElementOrder puts elements in order and leaves the others where they were', () => {
  const three = { containers: ['a', 'b', 'c'].map((name) => ({ name, image: name })) }
  assert.deepEqual(names(apply(three, { '$setElementOrder/containers': [{ name: 'c' }, { name: 'a' }] })), ['b', 'c', 'a'])
  const added = { '$setElementOrder/containers': [{ name: 'a' }, { name: 'n' }, { name: 'b' }, { name: 'c' }], containers: [{ name: 'n', image: 'n' }] }
  assert.deepEqual(names(apply(three, added)), ['a', 'n', 'b', 'c'])
})

test('lists of plain values merge as sets and lose what $deleteFromPrimitiveList names', () => {
  const meta = schemaOf('ObjectMeta')
  assert.deepEqual(apply({ finalizers: ['a', 'b'] }, { finalizers: ['c', 'a'] }, meta).finalizers, ['c', 'a', 'b'])
  assert.deepEqual(apply({ finalizers: ['a', 'b'] }, { '$deleteFromPrimitiveList/finalizers': ['a'] }, meta).finalizers, ['b'])
})

test('an element without its merge key is refused', () => {
  assert.throws(() => apply(spec, { containers: [{ image: 'x' }] }), /does not contain declared merge key: name/)
})

const container = fc.record({ name: fc.constantFrom('a', 'b', 'c', 'd'), image: fc.string() }, { noNullPrototype: true })
const containers = fc.uniqueArray(container, { selector: (c) => c.name, maxLength: 4 })

test('after a patch every patched element has the patched value, each name once, and applying again changes nothing', () => {
  fc.assert(
    fc.property(containers, containers, (before, patch) => {
      const out = apply({ containers: before }, { containers: patch })
      const got = (out.containers ?? []) as { name: string; image: string }[]
      for (const p of patch) assert.deepEqual(got.find((g) => g.name === p.name), p)
      assert.equal(new Set(got.map((g) => g.name)).size, got.length)
      assert.deepEqual(apply(out, { containers: patch }), out)
    }),
  )
})
