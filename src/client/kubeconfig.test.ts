import { test } from 'node:test'
import assert from 'node:assert/strict'
import { formatKubeconfig, parseKubeconfig } from './kubeconfig.ts'

test('what is written is read back', () => {
  const text = formatKubeconfig({ server: 'https://h:6443', caPem: 'CA', certPem: 'CERT', keyPem: 'KEY', namespace: 'n' })
  assert.deepEqual(parseKubeconfig(text), { server: 'https://h:6443', context: 'skerry', namespace: 'n', ca: 'CA', cert: 'CERT', key: 'KEY' })
})

test('a refusal names what is missing', () => {
  const text = formatKubeconfig({ server: 'https://h:6443', caPem: 'CA', token: 'T' })
  assert.throws(() => parseKubeconfig(text, { context: 'prod' }), /no context named "prod"/)
  assert.throws(() => parseKubeconfig('[1]'), /not a mapping/)
  assert.throws(() => parseKubeconfig(text.replace('token: T', 'exec: {command: aws}')), /needs the plugin "exec"/)
  assert.throws(() => parseKubeconfig(text.replace('server: https://h:6443', 'x: y')), /has no server/)
  assert.throws(() => parseKubeconfig('a: b: c'), /not YAML/)
})
