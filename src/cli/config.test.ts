import assert from 'node:assert/strict'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { parseSettings, type Flag } from './config.ts'

const FLAGS: Flag[] = [
  { name: 'port', type: 'number', help: 'port', default: 6443 },
  { name: 'data-dir', type: 'string', help: 'state' },
  { name: 'no-agent', type: 'boolean', help: 'no agent', default: false },
  { name: 'node-label', type: 'list', help: 'labels' },
]
const parse = (argv: string[], env = {}, file = '/nonexistent') => parseSettings(FLAGS, argv, env, file)

test('flags win over variables, variables over the file, the file over defaults', () => {
  const file = join(mkdtempSync(join(tmpdir(), 'skerry-config-')), 'config.yaml')
  writeFileSync(file, 'port: 1\ndata-dir: /from/file\nnode-label: [a=b, c=d]\n')
  const env = { SKERRY_PORT: '2', SKERRY_NO_AGENT: 'true' }
  assert.deepEqual(parse(['--port', '3'], env, file).settings, { port: 3, 'data-dir': '/from/file', 'no-agent': true, 'node-label': ['a=b', 'c=d'] })
  assert.equal(parse([], env, file).settings['port'], 2)
  assert.equal(parse([], {}, file).settings['port'], 1)
  assert.equal(parse([]).settings['port'], 6443)
})

test('lists repeat, = and a separate value mean the same, positionals stay', () => {
  const { settings, positionals } = parse(['create', '--node-label=a=b', '--node-label', 'c=d', '-5', '-', '--', '--x'])
  assert.deepEqual(settings['node-label'], ['a=b', 'c=d'])
  assert.deepEqual(positionals, ['create', '-5', '-', '--x'])
})

test('mistakes name the value seen and what is possible', () => {
  assert.throws(() => parse(['--prot', '1']), /unknown flag "--prot", known are --port/)
  assert.throws(() => parse(['--port', 'x']), /--port is "x", expected a number/)
  assert.throws(() => parse([], { SKERRY_NO_AGENT: 'yes' }), /SKERRY_NO_AGENT is "yes", expected true or false/)
  assert.throws(() => parse(['--port']), /--port needs a value/)
  const file = join(mkdtempSync(join(tmpdir(), 'skerry-config-')), 'config.yaml')
  writeFileSync(file, 'prot: 1\n')
  assert.throws(() => parse([], {}, file), /unknown key "prot" in .*config.yaml, known are port data-dir/)
  assert.deepEqual(parseSettings(FLAGS, [], {}, file, new Set(['prot'])).settings['port'], 6443, 'a key of another command is none of our business')
})
