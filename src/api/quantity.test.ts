import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { addQuantities, compareQuantities, parseQuantity, quantityMillis, quantityNumber, quantityText, tryParseQuantity } from './quantity.ts'

test('quantities print in their canonical form', () => {
  const cases: [string, string][] = [
    ['0', '0'], ['0.5', '500m'], ['1000', '1k'], ['1024', '1024'], ['1024Mi', '1Gi'], ['1.5Gi', '1536Mi'], ['100Ki', '100Ki'], ['-1.5', '-1500m'],
    ['12e6', '12e6'], ['1E3', '1e3'], ['1E', '1E'], ['0.1Ki', '102400m'], ['5n', '5n'], ['0.0000000001', '1n'], ['+2', '2'], ['.5', '500m'], ['1.', '1'],
  ]
  for (const [text, canonical] of cases) assert.equal(quantityText(parseQuantity(text)), canonical, text)
})

test('a text that is no quantity is refused with the value seen', () => {
  for (const text of ['', 'x', '1x', '1 Gi', '--1', '1e', '1ki', 'Gi', '1.2.3', '1e999']) assert.equal(tryParseQuantity(text), undefined, text)
  assert.throws(() => parseQuantity('1x'), /quantities must match the regular expression .*: found "1x"/)
})

test('numbers and millis round up only what they cannot hold', () => {
  assert.equal(quantityNumber('1.5Gi'), 1.5 * 1024 ** 3)
  assert.equal(quantityMillis('250m'), 250)
  assert.equal(quantityMillis('1u'), 1)
  assert.equal(quantityNumber(2), 2)
})

const units = ['', 'm', 'u', 'n', 'k', 'M', 'G', 'T', 'Ki', 'Mi', 'Gi', 'Ti', 'e3', 'E-2']
const quantity = fc.tuple(fc.integer({ min: -1e9, max: 1e9 }), fc.nat(999), fc.constantFrom(...units)).map(([n, f, u]) => `${n}.${f}${u}`)

test('printing and parsing again gives the same value', () => {
  fc.assert(
    fc.property(quantity, (text) => {
      const q = parseQuantity(text)
      const again = parseQuantity(quantityText(q))
      assert.equal(again.nano, q.nano)
      assert.equal(quantityText(again), quantityText(q))
    }),
  )
})

test('sums are exact and comparison is an order', () => {
  fc.assert(
    fc.property(quantity, quantity, (a, b) => {
      const [x, y] = [parseQuantity(a), parseQuantity(b)]
      assert.equal(addQuantities(x, y).nano, x.nano + y.nano)
      assert.equal(Math.sign(compareQuantities(x, y)), -Math.sign(compareQuantities(y, x)) || 0)
    }),
  )
})
