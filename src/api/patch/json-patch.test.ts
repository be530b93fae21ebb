import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { applyJsonPatch, equal } from './json-patch.ts'

const patch = (document: unknown, ...operations: unknown[]): unknown => applyJsonPatch(document, operations)

test('each operation does what RFC 6902 says', () => {
  assert.deepEqual(patch({ a: [1, 2] }, { op: 'add', path: '/a/1', value: 9 }), { a: [1, 9, 2] })
  assert.deepEqual(patch({ a: [1] }, { op: 'add', path: '/a/-', value: 2 }), { a: [1, 2] })
  assert.deepEqual(patch({ a: 1 }, { op: 'replace', path: '/a', value: null }), { a: null })
  assert.deepEqual(patch({ a: { b: 1 }, c: 2 }, { op: 'remove', path: '/a/b' }), { a: {}, c: 2 })
  assert.deepEqual(patch({ a: 1 }, { op: 'move', from: '/a', path: '/b' }), { b: 1 })
  assert.deepEqual(patch({ a: { x: 1 } }, { op: 'copy', from: '/a', path: '/b' }), { a: { x: 1 }, b: { x: 1 } })
  assert.deepEqual(patch({ 'a/b': { '~': 1 } }, { op: 'test', path: '/a~1b/~0', value: 1 }), { 'a/b': { '~': 1 } })
  assert.deepEqual(patch({ a: 1 }, { op: 'add', path: '', value: { b: 2 } }), { b: 2 })
})

test('what cannot be done fails and leaves the document alone', () => {
  const document = { a: [1] }
  for (const op of [
    { op: 'remove', path: '/b' }, { op: 'replace', path: '/b', value: 1 }, { op: 'add', path: '/a/5', value: 1 }, { op: 'add', path: '/x/y', value: 1 },
    { op: 'test', path: '/a/0', value: 2 }, { op: 'move', from: '/a', path: '/a/0' }, { op: 'add', path: '/a' }, { op: 'go', path: '/a' }, { op: 'add', path: 'a', value: 1 },
  ]) {
    assert.throws(() => patch(document, { op: 'add', path: '/c', value: 1 }, op), { code: 'invalid' }, JSON.stringify(op))
  }
  assert.deepEqual(document, { a: [1] })
  assert.throws(() => applyJsonPatch({}, {}), { code: 'invalid' })
})

test('a field named like a prototype is data', () => {
  const out = patch({}, { op: 'add', path: '/__proto__', value: { polluted: true } })
  assert.equal(({} as { polluted?: boolean }).polluted, undefined)
  assert.deepEqual(Object.keys(out as object), ['__proto__'])
})

test('replacing the whole and testing for it always holds', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
      assert.equal(equal(patch(a, { op: 'replace', path: '', value: b }, { op: 'test', path: '', value: b }), b), true)
    }),
  )
})
