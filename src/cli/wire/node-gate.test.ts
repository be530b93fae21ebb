import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Secret } from '../../api/gen/types.ts'
import { NodeGate } from './node-gate.ts'

const b64 = (text: string): string => Buffer.from(text).toString('base64')
const secret = (node: string, keyHash: string, revoked = false): Secret => ({
  metadata: { name: `skerry-node-${node}`, namespace: 'kube-system' },
  data: { keyHash: b64(keyHash), machineId: b64('m'), ...(revoked && { revoked: b64('true') }) },
})

test('a key speaks for its name until the name is another key\'s or revoked; the link of the former ends, saying why', () => {
  const ended: string[] = []
  const gate = new NodeGate((node, why) => void ended.push(`${node}: ${why}`))
  let change: (now: Secret | undefined, old: Secret | undefined) => void = () => assert.fail('nobody listens')
  gate.follow({
    onChange(fn) {
      change = fn
      return () => {}
    },
  })
  assert.equal(gate.refusal('gw', 'k1'), undefined, 'nothing is known of it')
  change(secret('gw', 'k1'), undefined)
  assert.equal(gate.refusal('gw', 'k1'), undefined)
  gate.linked('gw', 'k1')
  change(secret('gw', 'k1'), secret('gw', 'k1'))
  assert.deepEqual(ended, [])

  change(secret('gw', 'k2'), secret('gw', 'k1'))
  assert.deepEqual(ended, ['gw: another machine has taken over the name "gw"; join again with a token, under another name'])
  assert.match(gate.refusal('gw', 'k1') ?? '', /taken over/)
  assert.equal(gate.refusal('gw', 'k2'), undefined)

  gate.linked('gw', 'k2')
  change(secret('gw', 'k2', true), secret('gw', 'k2'))
  assert.match(ended[1] ?? '', /gw: node "gw" was revoked; `skerry node approve gw`/)
  change(secret('gw', 'k2', true), secret('gw', 'k2', true))
  assert.equal(ended.length, 2, 'told once')

  change(undefined, secret('gw', 'k2', true))
  assert.equal(gate.refusal('gw', 'k3'), undefined)
  change({ metadata: { name: 'bootstrap-token-abcdef' }, data: { keyHash: b64('x') } }, undefined)
  assert.equal(ended.length, 2, 'other Secrets are none of its business')
})
