import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasFormat } from './formats.ts'

const CASES: Record<string, readonly [good: readonly string[], bad: readonly string[]]> = {
  'date-time': [['2026-01-02T03:04:05Z', '2024-02-29T00:00:00.123456+02:00'], ['2026-02-30T00:00:00Z', '2026-01-02', '2026-01-02T25:00:00Z', 'now']],
  date: [['2026-01-02'], ['2026-1-2', '2026-02-30']],
  byte: [['', 'YQ==', 'YWJj', 'YWJj\nYQ=='], ['YQ', 'a b=', '====']],
  ipv4: [['10.0.0.1'], ['10.0.0', '256.1.1.1', '01.1.1.1']],
  ipv6: [['::', '::1', '2001:db8::ffff', '::ffff:1.2.3.4', '1:2:3:4:5:6:7:8'], [':', '1::2::3', '12345::', '1:2:3', '::1%eth0']],
  cidr: [['10.0.0.0/8', 'fd00::/64'], ['10.0.0.0', '10.0.0.0/33', 'x/8']],
  mac: [['00:11:22:33:44:55'], ['00:11:22']],
  uuid: [['123e4567-e89b-12d3-a456-426614174000'], ['123']],
  hostname: [['a.b-c', 'x'], ['-a', 'a..b']],
  duration: [['1s', '1h30m', '22 ns'], ['1', 'x']],
  uri: [['http://x/y', '/path'], ['x y']],
}

test('each format accepts and refuses', () => {
  for (const [format, [good, bad]] of Object.entries(CASES)) {
    for (const text of good) assert.equal(hasFormat(format, text), true, `${format} ${text}`)
    for (const text of bad) assert.equal(hasFormat(format, text), false, `${format} ${text}`)
  }
})

test('an unknown format checks nothing', () => {
  assert.equal(hasFormat('colour', 'x'), true)
})
