import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AppError } from '../base/errors.ts'
import { setLogSink, type LogRecord } from '../base/log.ts'
import { failure } from './pipeline.ts'

test('what is away is told as a warning, only what nobody thought of as an error with its stack', () => {
  const seen: LogRecord[] = []
  const before = setLogSink((record) => void seen.push(record))
  try {
    const answer = failure(new AppError('unavailable', 'logs of node "cam-1": it has no link; try again when it is back'), { method: 'GET', path: '/api/v1/namespaces/default/pods/a/log' })
    assert.equal(answer.status, 503)
    failure(new TypeError('x is undefined'), { method: 'GET', path: '/api/v1/pods' })
    failure(new AppError('not-found', 'pods "a" not found'), { method: 'GET', path: '/api/v1/namespaces/default/pods/a' })
  } finally {
    setLogSink(before)
  }
  assert.deepEqual(seen.map((r) => [r.level, r.fields['code'], typeof r.fields['stack']]), [['warn', 503, 'undefined'], ['error', 500, 'string']])
})
