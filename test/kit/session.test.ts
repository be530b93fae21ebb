import assert from 'node:assert/strict'
import { test } from 'node:test'
import { alike, difference, expectationFor, matches, parseSession, rewriteSession } from './session.ts'

const TEXT = `@nodes a b

# Two commands.
$ kubectl get pods
No resources found
[kubectl 1.31 1.33]
none
[1]

@gap not there yet
@only 1.35
~ cat <<E
> one
> E
one
`

test('a session is read, and written anew as it was', () => {
  const session = parseSession(TEXT)
  assert.deepEqual(session.settings, { nodes: ['a', 'b'] })
  const [first, second] = session.steps
  assert.ok(first && second)
  assert.deepEqual(expectationFor(first, '1.35'), { versions: [], lines: ['No resources found'], code: 0 })
  assert.deepEqual(expectationFor(first, '1.33'), { versions: ['1.31', '1.33'], lines: ['none'], code: 1 })
  assert.deepEqual([second.command, second.retry, second.only, second.gap], ['cat <<E\none\nE', true, ['1.35'], 'not there yet'])
  const results = new Map([
    ['1.35', [{ lines: ['No resources found'], code: 0 }, { lines: ['two'], code: 0 }]],
    ['1.31', [{ lines: ['none'], code: 1 }, undefined]],
    ['1.33', [{ lines: ['none'], code: 1 }, undefined]],
  ])
  assert.equal(rewriteSession(session, results), TEXT.replace('1.31 1.33', '1.31 1.33'))
  assert.throws(() => parseSession('output of nothing\n'), /line 1/)
})

test('what was printed becomes the expectation, once for all clients that agree', () => {
  const session = parseSession('$ a\nold\n')
  const printed = (line: string): { lines: string[]; code: number }[] => [{ lines: [line, '$ x'], code: 0 }]
  const text = rewriteSession(session, new Map([['1.35', printed('new')], ['1.33', printed('new')], ['1.31', printed('other')]]))
  assert.equal(text, '$ a\nnew\n\\$ x\n[kubectl 1.31]\nother\n\\$ x\n')
  assert.deepEqual(parseSession(text).steps[0]?.expected.map((e) => e.lines), [['new', '$ x'], ['other', '$ x']])
})

test('ages, times, uids, addresses and generated names are alike; quantities and hashes of content are not', () => {
  const same = (a: string, b: string): void => assert.deepEqual(alike(a), alike(b))
  same('web-5d8f9c7b6d-x2k4p   1/1   Running   0     3s', 'web-7bcd6f55c4-zzzzz   1/1   Running   0   2m10s')
  same('at 2026-01-01T00:00:00Z uid 8a1bd0a4-3a9b-4f11-9a0a-3a8f6d1f5a10', 'at 2026-02-01T10:00:00.5Z uid 9a1bd0a4-3a9b-4f11-9a0a-3a8f6d1f5a10')
  same('10.43.0.7 80:30001/TCP', '10.43.9.7 80:32001/TCP')
  same('stored to "kubectl-edit-2456789452.yaml"', 'stored to "kubectl-edit-1030213311.yaml"')
  for (const [a, b] of [['cpu: 100m', 'cpu: 200m'], ['app:1', 'app:2'], ['replicas 1', 'replicas 2'], ['  indent', 'indent']] as const) assert.notDeepEqual(alike(a), alike(b))
})

test('an ellipsis takes any lines, a pattern one; the difference names the first line', () => {
  assert.ok(matches(['a', '...', 'c'], ['a', 'b', 'b', 'c']))
  assert.ok(matches(['...'], []))
  assert.ok(matches(['n: \\d+ (re)'], ['n: 12']))
  assert.ok(!matches(['n: \\d+ (re)'], ['n: x']))
  assert.ok(!matches(['a', '...', 'c'], ['a', 'b']))
  assert.match(difference({ versions: [], lines: ['a', 'b'], code: 0 }, ['a', 'x'], 1), /from line 2 on, expected \(exit 0\)[^]*got \(exit 1\)/)
})
