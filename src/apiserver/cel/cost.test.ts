import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Schema } from '../../api/schema-types.ts'
import { compile } from './engine.ts'
import { declOf } from './schema-type.ts'

const cost = (schema: Schema, rule: string): number => {
  const type = declOf(schema, 'selfType')?.type
  assert.ok(type)
  return compile(rule, { self: type, oldSelf: type }, 'bool').maxCost
}
/** A bound that is absent when `max` is. */
const bound = (key: 'maxItems' | 'maxProperties' | 'maxLength', max: number | undefined): object => (max === undefined ? {} : { [key]: max })
const item = (type: string): Schema => (type === 'int-or-string' ? { 'x-kubernetes-int-or-string': true } : /^(date|duration|byte)/.test(type) ? { type: 'string', format: type } : { type: type as 'string' })
const array = (type: string) => (max?: number): Schema => ({ type: 'array', items: item(type), ...bound('maxItems', max) })
const map = (type: string) => (max?: number): Schema => ({ type: 'object', additionalProperties: item(type), ...bound('maxProperties', max) })
const text = (max?: number): Schema => ({ type: 'string', ...bound('maxLength', max) })
const texts = (max?: number): Schema => ({ type: 'array', items: text(max), ...bound('maxItems', max) })

/** What Kubernetes 1.35 estimates: with sizes as a request bounds them, then with a bound of the schema. */
const CASES: readonly (readonly [(max?: number) => Schema, string, number, number, number])[] = [
  [array('number'), 'self.all(x, true)', 4718591, 10, 32],
  [array('string'), 'self.all(x, true)', 3145727, 20, 62],
  [array('boolean'), 'self.all(x, true)', 1887437, 5, 17],
  [array('int-or-string'), 'self.all(x, true)', 4718591, 10, 32],
  [array('duration'), 'self.all(x, true)', 2359295, 5, 17],
  [array('date'), 'self.all(x, true)', 725936, 15, 47],
  [array('date-time'), 'self.all(x, true)', 428963, 25, 77],
  [map('number'), 'self.all(x, true)', 1348169, 10, 32],
  [map('string'), 'self.all(x, true)', 1179647, 3, 11],
  [map('boolean'), 'self.all(x, true)', 943718, 100, 302],
  [map('duration'), 'self.all(x, true)', 1048577, 5, 17],
  [map('date'), 'self.all(x, true)', 524288, 10, 32],
  [map('date-time'), 'self.all(x, true)', 349526, 25, 77],
  [text, "self.contains('test')", 314574, 10, 5],
  [text, "self.startsWith('test')", 2, 15, 2],
  [text, 'size(self + "hello") > size("hello")', 314578, 4, 7],
  [text, 'self.matches("x")', 314574, 50, 22],
  [text, '"".matches("(((((((((())))))))))[0-9]")', 7, 10, 7],
  [text, 'self.matches("")', 1, 100, 1],
  [text, "self.find('[0-9]+') == ''", 629147, 10, 11],
  [text, "self.lowerAscii() == 'lower!'", 314575, 10, 6],
  [text, 'self == "x"', 2, 0, 1],
  [array('number'), 'self[1] == 0.0', 2, 5000, 2],
  [array('string'), 'self[1] == self[1]', 314577, 8, 314577],
  [array('int-or-string'), 'self[0] == 5', 3, 10, 3],
  [array('boolean'), 'self[0] == false', 2, 25, 2],
  [array('duration'), 'self[0].getHours() == 2', 4, 525, 4],
  [array('date'), 'self[2].getDayOfMonth() == 13', 4, 42, 4],
  [array('number'), 'self.all(x, x == 0.0)', 6291454, 3 * 1024 * 2048, 25165826],
  [map('integer'), 'oldSelf.size() == self.size()', 5, 10, 5],
  [map('date-time'), 'self["a"] == self["b"]', 8, 7, 8],
  [map('duration'), 'self["c"] == self["d"]', 8, 42, 8],
  [texts, "self.join(' ') == 'aa bb'", 329853068905, 10, 43],
  [texts, 'self.isSorted() == true', 329854432052, 10, 52],
]

test('estimates are those of Kubernetes', () => {
  const wrong = CASES.flatMap(([schema, rule, free, max, held]) => {
    const [a, b] = [cost(schema(), rule), cost(schema(max), rule)]
    return a === free && b === held ? [] : [`${JSON.stringify(schema(max))} ${rule}: ${a}, ${b} instead of ${free}, ${held}`]
  })
  assert.deepEqual(wrong, [])
  assert.equal(cost(array('number')(10), 'self.all(x, self.all(y, true))'), 352)
  assert.equal(cost(array('number')(10), 'self.all(x, self.all(y, self.all(z, true)))'), 3552)
  assert.equal(cost({ type: 'string', enum: ['A', 'B', 'C', 'LongValue'] }, "self.contains('A')"), 2)
})
