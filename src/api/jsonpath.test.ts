import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { findPath, parseJsonPath } from './jsonpath.ts'

const pod = {
  metadata: { name: 'web', labels: { 'a.b/c': 'x' } },
  status: { conditions: [{ type: 'Ready', status: 'True' }, { type: 'Other', status: 'False', n: 3 }] },
  list: [1, 2, 3, 4],
}
const find = (path: string): unknown[] => findPath(parseJsonPath(path), pod)

test('paths of printer columns find what they name', () => {
  assert.deepEqual(find('.metadata.name'), ['web'])
  assert.deepEqual(find('{.metadata.name}'), ['web'])
  assert.deepEqual(find('$.metadata.name'), ['web'])
  assert.deepEqual(find('metadata.name'), ['web'])
  assert.deepEqual(find(".metadata.labels['a.b/c']"), ['x'])
  assert.deepEqual(find('.metadata.labels.a\\.b/c'), ['x'])
  assert.deepEqual(find('.status.conditions[?(@.type=="Ready")].status'), ['True'])
  assert.deepEqual(find('.status.conditions[?(@.n>2)].type'), ['Other'])
  assert.deepEqual(find('.status.conditions[?(@.n)].type'), ['Other'])
  assert.deepEqual(find('.status.conditions[*].type'), ['Ready', 'Other'])
  assert.deepEqual(find('.list[0]'), [1])
  assert.deepEqual(find('.list[-1:]'), [4])
  assert.deepEqual(find('.list[1:3]'), [2, 3])
  assert.deepEqual(find('.list[::2]'), [1, 3])
  assert.deepEqual(find('..type'), ['Ready', 'Other'])
  assert.deepEqual(find(".metadata['name','gone']"), ['web'])
  assert.deepEqual(find('.gone.deeper[0]'), [])
})

test('a path that cannot be read is refused with its text', () => {
  for (const bad of ['.a[', '.a[?(@.b==]', '.a[x]', '.a[1:2:0]', '.a]b']) assert.throws(() => parseJsonPath(bad), /reading JSONPath/, bad)
})

test('any text parses or is refused as invalid', () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[.a-z[\]'"*?@()=0-9:$\\]*$/), fc.jsonValue(), (text, value) => {
      try {
        findPath(parseJsonPath(text), value)
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'invalid')
      }
    }),
  )
})
