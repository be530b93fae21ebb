import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { PropertyConfig } from './driver.ts'
import { fromBytes, sameJson, toProperty } from './convert.ts'

const p = (type: PropertyConfig['type'], bounds: { minimum?: string; maximum?: string } = {}) => ({ name: 'v', type, ...bounds })

test('text and JSON become the property’s own type', () => {
  assert.equal(toProperty(p('INT'), '7'), 7)
  assert.equal(toProperty(p('FLOAT'), '1e3'), 1000)
  assert.equal(toProperty(p('BOOLEAN'), 'false'), false)
  assert.equal(toProperty(p('STRING'), 7), '7')
  assert.deepEqual(toProperty(p('JSON'), { a: [1] }), { a: [1] })
})

test('what does not fit is refused with the value seen and the type or bound', () => {
  assert.throws(() => toProperty(p('INT'), ''), /v: "" is not an INT/)
  assert.throws(() => toProperty(p('INT'), 2 ** 60), /not an INT/)
  assert.throws(() => toProperty(p('DOUBLE'), 'NaN'), /"NaN" is not a DOUBLE/)
  assert.throws(() => toProperty(p('BOOLEAN'), 'yes'), /use true or false/)
  assert.throws(() => toProperty(p('INT', { minimum: '3' }), 2), /v: 2 is below the minimum 3/)
  assert.throws(() => toProperty(p('STRING'), { a: 'x'.repeat(500) }), (e: Error) => e.message.length < 120)
})

test('bytes from a device become values, with a field picked out of JSON', () => {
  assert.deepEqual(fromBytes(p('INT'), Buffer.from('5')), { json: 5 })
  assert.deepEqual(fromBytes(p('FLOAT'), Buffer.from('{"a":{"b":1.5}}'), { path: 'a.b' }), { json: 1.5 })
  assert.equal(fromBytes(p('FLOAT'), Buffer.from('{"c":1}'), { path: 'a.b' }), undefined)
  assert.throws(() => fromBytes(p('INT'), Buffer.from([0xff, 0xfe, 1])), /3 bytes that start with 0xfffe01 are not text/)
  assert.throws(() => fromBytes(p('JSON'), Buffer.from('{')), /is not JSON/)
})

test('JSON is compared whatever the order of keys', () => {
  assert.ok(sameJson({ a: 1, b: [{ c: null }] }, { b: [{ c: null }], a: 1 }))
  assert.ok(!sameJson([1, 2], { 0: 1, 1: 2 }))
})
