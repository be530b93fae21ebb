import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { schemaOf } from '../schema-table.ts'
import { difference, intersection, pathsOf, union } from './field-set.ts'
import type { Fields } from './field-set.ts'
import { compare, fieldsOf } from './fields-of.ts'

test('fields follow the merge facts of the schema', () => {
  const spec = { containers: [{ name: 'a', command: ['x'] }], nodeSelector: { k: 'v' }, tolerations: [{ key: 't' }] }
  assert.deepEqual(fieldsOf(spec, schemaOf('PodSpec')), {
    'f:containers': { 'k:{"name":"a"}': { '.': {}, 'f:name': {}, 'f:command': {} } },
    'f:nodeSelector': {},
    'f:tolerations': {},
  })
})

test('members read as paths', () => {
  assert.deepEqual(pathsOf({ 'f:spec': { 'f:x': {}, 'f:list': { 'k:{"name":"a"}': { '.': {}, 'f:image': {} }, 'v:"s"': {} } } }), [
    '.spec.x', '.spec.list[name="a"]', '.spec.list[name="a"].image', '.spec.list[="s"]',
  ])
})

test('comparing tells what changed and what is gone', () => {
  const schema = schemaOf('ConfigMap')
  assert.deepEqual(compare({ data: { a: '1', b: '2' } }, { metadata: {}, data: { a: '9', c: '3' } }, schema), {
    changed: { 'f:data': { 'f:a': {}, 'f:c': {} } },
    removed: { 'f:data': { 'f:b': {} } },
  })
})

const fields: fc.Arbitrary<Fields> = fc.letrec<{ tree: Fields }>((tie) => ({
  tree: fc.dictionary(fc.constantFrom('f:a', 'f:b', '.'), fc.oneof({ maxDepth: 3 }, fc.constant({}), tie('tree')), { noNullPrototype: true }),
})).tree
const members = (f: Fields): Set<string> => new Set(pathsOf(f))

test('union, intersection and difference are those of the members', () => {
  fc.assert(
    fc.property(fields, fields, (a, b) => {
      const [x, y] = [members(a), members(b)]
      assert.deepEqual(members(union(a, b)), new Set([...x, ...y]))
      assert.deepEqual(members(intersection(a, b)), new Set([...x].filter((p) => y.has(p))))
      assert.deepEqual(members(difference(a, b)), new Set([...x].filter((p) => !y.has(p))))
    }),
  )
})
