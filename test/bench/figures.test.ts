import assert from 'node:assert/strict'
import { test } from 'node:test'
import { place, sectionText } from './figures.ts'

const PAGE = 'By hand.\n\n<!-- figures -->\n<!-- /figures -->\n\nAlso by hand.\n'

test('a section is put in its order and replaced alone; what is written by hand stays', () => {
  const order = ['a', 'b']
  const later = place(PAGE, order, 'b', 'B')
  const both = place(later, order, 'a', 'A')
  assert.equal(both, 'By hand.\n\n<!-- figures -->\n<!-- section a -->\nA\n<!-- /section -->\n\n<!-- section b -->\nB\n<!-- /section -->\n<!-- /figures -->\n\nAlso by hand.\n')
  assert.equal(place(both, order, 'b', 'C'), both.replace('B\n', 'C\n'))
})

test('a page without markers is refused with the way out', () => {
  assert.throws(() => place('nothing', ['a'], 'a', 'A'), /put both lines where the tables belong/)
})

test('a table cell cannot break the table', () => {
  const text = sectionText('T', { method: 'm', rows: [{ what: 'a|b', ours: '1' }] }, { machine: 'x', load: 0, date: 'd' })
  assert.match(text, /\| a\\\|b \| 1 \| {2}\| {2}\|/)
})
