import assert from 'node:assert/strict'
import { test } from 'node:test'
import { configKeyErrors, dns1035Errors, dnsLabelErrors, dnsSubdomainErrors, envNameErrors, labelKeyErrors, labelValueErrors, pathSegmentErrors, portNameErrors } from './names.ts'

const ok = (rule: (v: string) => string[], ...values: string[]): void => {
  for (const v of values) assert.deepEqual(rule(v), [], v)
}
const bad = (rule: (v: string) => string[], ...values: string[]): void => {
  for (const v of values) assert.notDeepEqual(rule(v), [], v)
}

test('each name rule accepts and refuses as Kubernetes does', () => {
  ok(dnsLabelErrors, 'a', 'a-1', '1a')
  bad(dnsLabelErrors, '', 'A', '-a', 'a-', 'a.b', 'a'.repeat(64))
  ok(dnsSubdomainErrors, 'a.b', 'a'.repeat(253))
  bad(dnsSubdomainErrors, 'a..b', '.a', 'a_b', 'a'.repeat(254))
  ok(dns1035Errors, 'a1')
  bad(dns1035Errors, '1a')
  ok(labelKeyErrors, 'a', 'example.com/a', 'A_b.c')
  bad(labelKeyErrors, '', '/a', 'a/', 'a/b/c', 'Ex.com/a', 'a'.repeat(64))
  ok(labelValueErrors, '', 'a', 'A_b.c-1')
  bad(labelValueErrors, '-a', 'a b', 'a'.repeat(64))
  ok(configKeyErrors, 'a.b', '_x', 'UPPER')
  bad(configKeyErrors, '..', '..a', 'a/b', '')
  ok(envNameErrors, 'A', 'a.b', 'a b')
  bad(envNameErrors, '', 'a=b')
  ok(portNameErrors, 'http', 'a-1')
  bad(portNameErrors, 'HTTP', '1', 'a--b', '-a', 'sixteencharsaaaa')
  ok(pathSegmentErrors, 'system:node', 'a b')
  bad(pathSegmentErrors, '.', '..', 'a/b', 'a%b')
})

test('a refusal carries the text that users know', () => {
  assert.equal(
    dnsLabelErrors('A')[0],
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
  )
})
