import { test } from 'node:test'
import assert from 'node:assert/strict'
import { tokenExpiresInMs } from './controller.ts'

test('only tokens with a readable expiration expire', () => {
  const now = Date.parse('2026-01-01T00:00:00Z')
  const secret = (type: string, expiration?: string) => ({ type, ...(expiration === undefined ? {} : { data: { expiration: Buffer.from(expiration).toString('base64') } }) })
  assert.equal(tokenExpiresInMs(secret('bootstrap.kubernetes.io/token', '2026-01-01T00:00:10Z'), now), 10_000)
  assert.equal(tokenExpiresInMs(secret('bootstrap.kubernetes.io/token', 'soon'), now), undefined)
  assert.equal(tokenExpiresInMs(secret('bootstrap.kubernetes.io/token'), now), undefined)
  assert.equal(tokenExpiresInMs(secret('Opaque', '2020-01-01T00:00:00Z'), now), undefined)
})
