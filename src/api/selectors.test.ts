import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { EVERYTHING, fieldSelectorText, labelSelectorOf, labelSelectorText, matchesFields, matchesLabels, NOTHING, parseFieldSelector, parseLabelSelector, satisfies, selectorText } from './selectors.ts'
import type { Labels } from './selectors.ts'

const matches = (selector: string, labels: Labels): boolean => matchesLabels(parseLabelSelector(selector), labels)

test('each operator of label selectors holds as Kubernetes says', () => {
  const labels = { app: 'web', tier: 'front', count: '5' }
  for (const s of ['', 'app=web', 'app==web', 'app', '!gone', 'app!=db', 'gone!=x', 'app in (db, web)', 'tier notin (back)', 'gone notin (x)', 'count>4', 'count<6', 'app=web,tier=front']) {
    assert.equal(matches(s, labels), true, s)
  }
  for (const s of ['app=db', 'gone', '!app', 'app!=web', 'app in (db)', 'tier notin (front)', 'count>5', 'count<5', 'app>1', 'gone=', 'app=web,tier=back']) {
    assert.equal(matches(s, labels), false, s)
  }
  assert.equal(matches('empty=', { empty: '' }), true)
  assert.equal(matches('empty in ()', { empty: '' }), true)
})

test('a selector that cannot be read says what was found and expected', () => {
  for (const [s, text] of [['a b', "found 'b'"], ['a in b', "found 'b', expected: '('"], ['=b', "found '='"], ['a,', 'after ","'], ['a>x', 'must be an integer'], ['a/b/c=d', 'a qualified name'], ['a=b/c', 'a valid label']] as const) {
    assert.throws(() => parseLabelSelector(s), (e: Error) => e.message.includes(text), s)
  }
})

const word = fc.stringMatching(/^[a-z]([a-z0-9]{0,5}[a-z0-9])?$/)
const term = fc.oneof(
  fc.tuple(word, fc.constantFrom('=', '!='), word).map((t) => t.join('')),
  fc.tuple(word, fc.constantFrom(' in ', ' notin '), fc.uniqueArray(word, { minLength: 1, maxLength: 3 })).map(([k, o, v]) => `${k}${o}(${v.join(',')})`),
  word,
  word.map((k) => `!${k}`),
  fc.tuple(word, fc.constantFrom('<', '>'), fc.nat(99)).map((t) => t.join('')),
)

test('printing a parsed selector and parsing it again gives the same matches', () => {
  fc.assert(
    fc.property(fc.array(term, { maxLength: 4 }), fc.dictionary(word, fc.oneof(word, fc.nat(99).map(String))), (terms, labels) => {
      if (terms.some((t) => /^!?(in|notin)\b/.test(t))) return
      const selector = parseLabelSelector(terms.join(','))
      const again = parseLabelSelector(selectorText(selector))
      assert.deepEqual(again, selector)
      assert.equal(matchesLabels(again, labels), terms.every((t) => matchesLabels(parseLabelSelector(t), labels)))
    }),
  )
})

test('any text either parses or is refused as invalid, never otherwise', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      try {
        parseLabelSelector(text)
        parseFieldSelector(text)
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'invalid')
      }
    }),
  )
})

test('a missing LabelSelector selects nothing, an empty one everything', () => {
  assert.equal(labelSelectorOf(undefined), NOTHING)
  assert.equal(matchesLabels(NOTHING, { a: 'b' }), false)
  assert.equal(matchesLabels(labelSelectorOf({}), { a: 'b' }), true)
  assert.equal(matchesLabels(EVERYTHING, undefined), true)
  const s = { matchLabels: { app: 'web' }, matchExpressions: [{ key: 'tier', operator: 'NotIn', values: ['b', 'a'] }] }
  assert.equal(labelSelectorText(s), 'app=web,tier notin (a,b)')
  assert.equal(labelSelectorText(undefined), '<none>')
  assert.throws(() => labelSelectorOf({ matchExpressions: [{ key: 'a', operator: 'Like' }] }), /"Like" is not a valid/)
})

test('field selectors parse with escapes and print back', () => {
  assert.equal(matchesFields(parseFieldSelector('metadata.name=a,status.phase!=Running'), (f) => (f === 'metadata.name' ? 'a' : 'Pending')), true)
  assert.deepEqual(parseFieldSelector('a=b\\,c\\=d'), [{ field: 'a', equal: true, value: 'b,c=d' }])
  assert.throws(() => parseFieldSelector('name'), /can't understand 'name'/)
  fc.assert(
    fc.property(fc.array(fc.record({ field: word, equal: fc.boolean(), value: fc.string() }, { noNullPrototype: true }), { maxLength: 3 }), (selector) => {
      assert.deepEqual(parseFieldSelector(fieldSelectorText(selector)), selector)
    }),
  )
})

test('numbers are compared as whole numbers of any size, and what is none satisfies nothing', () => {
  assert.equal(satisfies('Gt', ['9007199254740993'], '9007199254740994'), true)
  assert.equal(satisfies('Lt', ['+3'], '-4'), true)
  for (const [value, than] of [[undefined, '1'], ['v1.2', '1'], ['2', 'one'], ['2', undefined]] as const) {
    assert.equal(satisfies('Gt', than === undefined ? [] : [than], value), false, `${value} > ${than}`)
  }
  assert.equal(satisfies('Near', ['a'], 'a'), false)
})
