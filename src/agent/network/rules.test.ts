import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode } from '../../base/errors.ts'
import { parseCidr } from './cidr.ts'
import { cniConflist, nftRules } from './rules.ts'

const cidr = parseCidr('10.42.3.0/24')
const port = { protocol: 'TCP', hostIP: '', hostPort: 8080, podIP: '10.42.3.7', containerPort: 80 } as const
const rules = (hostPorts: Parameters<typeof nftRules>[0]['hostPorts']): string => nftRules({ table: 't', bridge: 'sk-1', cidr, hostPorts })

test('a CIDR gives its first address to the node and is written in canonical form', () => {
  assert.deepEqual(parseCidr('10.42.1.17/24'), { text: '10.42.1.0/24', bits: 24, gateway: '10.42.1.1' })
  assert.deepEqual(parseCidr('192.168.255.128/25'), { text: '192.168.255.128/25', bits: 25, gateway: '192.168.255.129' })
})

test('what is no usable IPv4 prefix is refused with the value seen', () => {
  for (const bad of ['', '10.42.1.0', '10.42.1.0/33', '10.42.1.0/31', '10.42.256.0/24', 'fd00::/64', '10.42.1.0/24; flush ruleset']) {
    assert.throws(() => parseCidr(bad), (e) => hasCode(e, 'invalid') && String(e).includes(`"${bad}"`))
  }
})

test('a host port leads to its pod, on one address only when it names one', () => {
  const text = rules([port, { ...port, protocol: 'UDP', hostIP: '192.0.2.9', hostPort: 53, containerPort: 53 }])
  assert.match(text, /^ {4}tcp dport 8080 dnat to 10\.42\.3\.7:80$/m)
  assert.match(text, /^ {4}ip daddr 192\.0\.2\.9 udp dport 53 dnat to 10\.42\.3\.7:53$/m)
})

test('host ports nobody could honour are left out, and nothing unchecked reaches nft', () => {
  const text = rules([
    { ...port, podIP: '' },
    { ...port, podIP: 'fd00::7' },
    { ...port, hostPort: 0 },
    { ...port, containerPort: 70_000 },
    { ...port, podIP: '10.42.3.7; flush ruleset' },
  ])
  assert.doesNotMatch(text, /dnat to|flush/)
})

test('the same list makes the same text, a host port named twice stands once', () => {
  assert.equal(rules([port]), rules([port, port]))
})

test('the CNI list neither masquerades nor maps ports: nft does', () => {
  const parsed = JSON.parse(cniConflist({ network: 'n', bridge: 'sk-1', cidr, leases: '/run/x' })) as { name: string; plugins: { type: string; ipMasq?: boolean; ipam: { ranges: unknown } }[] }
  assert.equal(parsed.name, 'n')
  assert.deepEqual(parsed.plugins.map((p) => [p.type, p.ipMasq]), [['bridge', false]])
  assert.deepEqual(parsed.plugins[0]?.ipam.ranges, [[{ subnet: '10.42.3.0/24', gateway: '10.42.3.1' }]])
})
