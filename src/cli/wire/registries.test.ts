import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { setLogSink } from '../../base/log.ts'
import { NodeRegistries } from './registries.ts'

setLogSink(() => {})

test('a file with a mistake changes nothing and says why until it is right or gone', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'skerry-registries-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const [file, ca] = [join(directory, 'registries.yaml'), join(directory, 'ca.pem')]
  const mirrors = (of: NodeRegistries): string[] => [...of.current.mirrors.keys()]
  writeFileSync(file, 'mirrors: {a.example: {endpoint: [https://m.example]}}')
  const registries = new NodeRegistries([file])
  assert.deepEqual([mirrors(registries), registries.fault], [['a.example'], undefined])
  writeFileSync(file, 'mirror: {}')
  assert.equal(registries.look(), false)
  assert.deepEqual(mirrors(registries), ['a.example'])
  assert.match(registries.fault ?? '', /unknown key "mirror" in ".*registries\.yaml", known there are mirrors, configs; until then pulls go on as before/)
  // What a file names may come later.
  writeFileSync(file, `configs: {b.example: {tls: {ca_file: ${ca}}}}`)
  assert.equal(registries.look(), false)
  assert.match(registries.fault ?? '', /ca\.pem", which cannot be read/)
  writeFileSync(ca, '')
  assert.equal(registries.look(), true)
  assert.equal(registries.fault, undefined)
  writeFileSync(file, '[')
  registries.look()
  assert.match(registries.fault ?? '', /not valid YAML/)
  rmSync(file)
  assert.equal(registries.look(), true, 'containerd is told that there are none any more')
  assert.deepEqual([mirrors(registries), registries.fault], [[], undefined])
})
