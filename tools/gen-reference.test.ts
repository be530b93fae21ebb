import assert from 'node:assert/strict'
import { test } from 'node:test'
import { kindsPage, metricsPage, settingsPage } from './gen-reference.ts'

test('a setting has its flag, variable, default and help; a list of choices does not end its cell', () => {
  const page = settingsPage()
  assert.match(page, /^## skerry server$/m)
  assert.match(page, /^\| `--port NUMBER` \| `SKERRY_PORT` \| `6443` \| .*API.* \|$/m)
  assert.match(page, /^\| `--log-level LEVEL` \| `SKERRY_LOG_LEVEL` \| `info` \|/m)
  const cells = page.split('\n').filter((l) => l.startsWith('| ')).map((l) => l.split(/(?<!\\)\|/).length)
  assert.deepEqual([...new Set(cells)], [6], 'four columns everywhere')
})

test('a metric is found by the call that makes it, whichever quotes its help has', () => {
  const files = new Map([
    ['src/agent/x.ts', "metrics.counter('b_total', 'what\\'s b')\nmetrics.gauge(\n  'c_now',\n  \"c's now\")"],
    ['src/apiserver/y.ts', 'const h = metrics.histogram(\'a_seconds\', `a | b`, [1])'],
  ])
  const rows = metricsPage(files).split('\n').filter((l) => l.startsWith('| `'))
  assert.deepEqual(rows, ["| `a_seconds` | histogram | server | a \\| b |", "| `b_total` | counter | node | what's b |", "| `c_now` | gauge | node | c's now |"])
})

test('a kind has its names, verbs, subresources, and whether something acts on it', () => {
  assert.match(kindsPage(), /^\| Deployment \| `deployments` \| `deploy` \| yes \| create .*watch \| .*scale.* \| yes \|$/m)
})
