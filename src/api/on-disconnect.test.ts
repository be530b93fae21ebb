import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseOnDisconnect } from './on-disconnect.ts'

test('a policy is keep, or a time after which a pod is replaced, and who stays', () => {
  assert.deepEqual(parseOnDisconnect(undefined), { replaceAfterMs: undefined, keep: 'original' })
  assert.deepEqual(parseOnDisconnect('keep'), { replaceAfterMs: undefined, keep: 'original' })
  assert.deepEqual(parseOnDisconnect('replace-after=15m'), { replaceAfterMs: 900_000, keep: 'original' })
  assert.deepEqual(parseOnDisconnect('replace-after=2h, keep=replacement'), { replaceAfterMs: 7_200_000, keep: 'replacement' })
})

test('anything else names what was seen and what it may be', () => {
  for (const text of ['', 'Keep', 'replace', 'replace-after=', 'replace-after=5', 'replace-after=0s', 'replace-after=-5m', 'replace-after=5m,keep=both', 'replace-after=5w']) {
    assert.throws(() => parseOnDisconnect(text), { code: 'invalid', message: new RegExp(`is "${text}", expected "keep" or "replace-after=15m"`) })
  }
})
