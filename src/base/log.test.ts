import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AppError } from './errors.ts'
import { jsonSink, logger, setLogSink, textSink, type LogRecord } from './log.ts'

const record: LogRecord = {
  time: Date.UTC(2026, 0, 1),
  level: 'warn',
  logger: 'agent.pods',
  message: 'not started',
  fields: { pod: 'default/web', why: 'no "image"', list: [1], none: undefined, error: new AppError('timeout', 'pull: no answer', { cause: new Error('ETIMEDOUT') }) },
}

test('text lines quote what has spaces, leave out what is undefined, and tell errors with causes', () => {
  const lines: string[] = []
  textSink('info', (l) => lines.push(l))(record)
  assert.deepEqual(lines, ['2026-01-01T00:00:00.000Z WARN  agent.pods: not started pod=default/web why="no \\"image\\"" list=[1] error="pull: no answer: ETIMEDOUT"\n'])
})

test('JSON lines are one object each', () => {
  const lines: string[] = []
  const sink = jsonSink('warn', (l) => lines.push(l))
  sink(record)
  sink({ ...record, level: 'info' })
  assert.equal(lines.length, 1)
  assert.deepEqual(JSON.parse(lines[0] as string), { time: '2026-01-01T00:00:00.000Z', level: 'warn', logger: 'agent.pods', message: 'not started', pod: 'default/web', why: 'no "image"', list: [1], error: 'pull: no answer: ETIMEDOUT' })
})

test('a logger writes to the sink of the moment', () => {
  const log = logger('x')
  const seen: LogRecord[] = []
  const former = setLogSink((r) => seen.push(r))
  try {
    log.error('failed', { n: 1 })
  } finally {
    setLogSink(former)
  }
  assert.deepEqual(seen.map((r) => [r.level, r.logger, r.message, r.fields]), [['error', 'x', 'failed', { n: 1 }]])
})
