import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Metrics } from './metrics.ts'

test('families come out in the Prometheus text format', () => {
  const metrics = new Metrics()
  const requests = metrics.counter('requests_total', 'Requests.')
  requests.add(1, { verb: 'get' })
  requests.add(2, { verb: 'get' })
  requests.add(1, { verb: 'a"b\\' })
  metrics.gauge('pods', 'Pods.').set(3)
  assert.equal(
    metrics.text(),
    '# HELP requests_total Requests.\n# TYPE requests_total counter\nrequests_total{verb="get"} 3\nrequests_total{verb="a\\"b\\\\"} 1\n# HELP pods Pods.\n# TYPE pods gauge\npods 3\n',
  )
})

test('buckets of a histogram are cumulative and end with all', () => {
  const metrics = new Metrics()
  const seconds = metrics.histogram('took_seconds', 'Time.', [0.1, 1])
  for (const v of [0.05, 0.1, 0.5, 7]) seconds.observe(v, { verb: 'list' })
  const lines = metrics.text().split('\n')
  assert.ok(lines.includes('took_seconds_bucket{verb="list",le="0.1"} 2'))
  assert.ok(lines.includes('took_seconds_bucket{verb="list",le="1"} 3'))
  assert.ok(lines.includes('took_seconds_bucket{verb="list",le="+Inf"} 4'))
  assert.ok(lines.includes('took_seconds_count{verb="list"} 4'))
})
