import { test } from 'node:test'
import assert from 'node:assert/strict'
import { nextCidr } from './controller.ts'

test('the first free network is given, within the cluster network only', () => {
  assert.equal(nextCidr('10.42.0.0/16', new Set()), '10.42.0.0/24')
  assert.equal(nextCidr('10.42.0.0/16', new Set(['10.42.0.0/24', '10.42.1.0/24'])), '10.42.2.0/24')
  assert.equal(nextCidr('192.168.7.9/24', new Set()), '192.168.7.0/24')
  assert.equal(nextCidr('192.168.6.0/23', new Set(['192.168.6.0/24', '192.168.7.0/24'])), undefined)
  assert.equal(nextCidr('200.1.255.0/8', new Set()), '200.0.0.0/24')
})

test('a network that cannot be divided is refused with the text seen', () => {
  for (const bad of ['10.42.0.0', '10.42.0.0/25', '10.42.0.300/16', 'fd00::/48']) {
    assert.throws(() => nextCidr(bad, new Set()), new RegExp(`"${bad.replaceAll('.', '\\.')}" is not an IPv4 network`))
  }
})
