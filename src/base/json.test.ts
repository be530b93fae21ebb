import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cloneJson } from './json.ts'

test('a copy equals its original, shares nothing with it, and keeps a key named __proto__', () => {
  const value = JSON.parse('{"a":[1,{"b":null}],"c":{"d":"e","f":false},"__proto__":{"g":1}}') as { a: [number, { b: null }]; c: object }
  const copy = cloneJson(value)
  assert.deepEqual(copy, value)
  assert.equal(JSON.stringify(copy), JSON.stringify(value))
  assert.notEqual(copy.a, value.a)
  assert.notEqual(copy.a[1], value.a[1])
  assert.notEqual(copy.c, value.c)
  assert.equal(Object.getPrototypeOf(copy), Object.prototype)
})
