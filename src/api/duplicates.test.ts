import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { duplicateFields } from './duplicates.ts'

test('a key that stands twice in one object is found with its path', () => {
  assert.deepEqual(duplicateFields('{"a":1,"a":2}'), ['a'])
  assert.deepEqual(duplicateFields('{"spec":{"list":[{"x":1},{"y":{"k":1,"\\u006b":2}}]},"spec":{}}'), ['spec.list[1].y.k', 'spec'])
  assert.deepEqual(duplicateFields('{"a":{"b":1},"c":{"b":1},"d":["a","a"],"e":"{\\"x\\":1,\\"x\\":2}"}'), [])
})

test('what JSON.stringify writes has no duplicates', () => {
  fc.assert(fc.property(fc.jsonValue(), (value) => assert.deepEqual(duplicateFields(JSON.stringify(value)), [])))
})
