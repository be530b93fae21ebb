import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { equal } from './json-patch.ts'
import { applyMergePatch, diffMergePatch } from './merge-patch.ts'

test('null deletes, objects merge, lists replace', () => {
  assert.deepEqual(applyMergePatch({ a: 1, b: { c: 1, d: 2 }, l: [1] }, { a: null, b: { c: 3 }, l: [2], n: { x: null, y: 1 } }), { b: { c: 3, d: 2 }, l: [2], n: { y: 1 } })
  assert.deepEqual(applyMergePatch([1], { a: 1 }), { a: 1 })
  assert.deepEqual(applyMergePatch({ a: 1 }, 'x'), 'x')
})

const json = fc.letrec((tie) => ({
  value: fc.oneof({ maxDepth: 3 }, fc.integer(), fc.string(), fc.boolean(), fc.array(fc.integer()), tie('object')),
  object: fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), tie('value'), { noNullPrototype: true }),
}))

test('the difference of two objects, applied to the first, gives the second', () => {
  fc.assert(
    fc.property(json.object, json.object, (a, b) => {
      const patch = diffMergePatch(a, b)
      assert.equal(equal(patch === undefined ? a : applyMergePatch(a, patch), b), true)
    }),
  )
})

test('applying a patch twice is applying it once', () => {
  fc.assert(
    fc.property(json.object, json.object, (a, p) => {
      const once = applyMergePatch(a, p)
      assert.deepEqual(applyMergePatch(once, p), once)
    }),
  )
})
