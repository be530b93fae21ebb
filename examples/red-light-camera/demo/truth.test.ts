import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inOrder, judge, quantile, type Found } from './truth.ts'

const at = (frame: number, lane = 1, epoch = 'e'): Found => ({ id: `c/${epoch}/${frame}.${lane}`, camera: 'c', epoch, frame, lane })

test('a violation found a frame off counts, a missed, false or doubled one is told', () => {
  const verdict = judge([at(10), at(50), at(90, 2)], [at(11), at(91, 2), at(89, 2), at(200)])
  assert.equal(verdict.truth, 3)
  assert.equal(verdict.found, 2)
  assert.equal(verdict.false, 1)
  assert.equal(verdict.duplicated, 1)
  assert.deepEqual(verdict.missed.map((m) => m.frame), [50])
})

test('order is judged within one start of a camera', () => {
  assert.equal(inOrder([at(1), at(5), at(2, 1, 'later')]), true)
  assert.equal(inOrder([at(5), at(1)]), false)
})

test('quantiles of measured times', () => {
  assert.equal(quantile([4, 1, 3, 2], 0.5), 3)
  assert.equal(quantile([1, 2, 3], 0.99), 3)
})
