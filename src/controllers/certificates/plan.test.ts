import { test } from 'node:test'
import assert from 'node:assert/strict'
import type { CertificateSigningRequest } from '../../api/gen/types.ts'
import { expiresInMs, planCsr, SIGNER_CLIENT, SIGNER_KUBELET, SIGNER_SERVING, type CsrSubject } from './plan.ts'

const csr = (over: Partial<CertificateSigningRequest['spec']> = {}, conditions: string[] = []): CertificateSigningRequest => ({
  metadata: { creationTimestamp: '2026-01-01T00:00:00Z' },
  spec: { request: '', signerName: SIGNER_KUBELET, usages: ['client auth', 'digital signature'], ...over },
  status: { conditions: conditions.map((type) => ({ type, status: 'True', lastUpdateTime: '2026-01-01T01:00:00Z' })) },
})
const subject = (over: Partial<CsrSubject> = {}): CsrSubject => ({ cn: 'system:node:a', o: ['system:nodes'], sans: { dns: [], ip: [] }, signatureValid: true, ...over })

test('a node gets its certificate by a right its requester has, and nobody else by themselves', () => {
  const rights = (plan: ReturnType<typeof planCsr>): unknown => (plan.do === 'ask' ? plan.rights.map((r) => r.subresource) : plan.do)
  assert.deepEqual(rights(planCsr(csr({ username: 'system:bootstrap:x' }), subject())), ['nodeclient'])
  assert.deepEqual(rights(planCsr(csr({ username: 'system:node:a' }), subject())), ['selfnodeclient', 'nodeclient'])
  assert.equal(rights(planCsr(csr({ signerName: SIGNER_CLIENT, username: 'system:node:a' }), subject())), 'nothing')
  assert.equal(rights(planCsr(csr({ signerName: SIGNER_SERVING, usages: ['server auth', 'digital signature'], username: 'system:node:a' }), subject({ sans: { dns: ['a'], ip: [] } }))), 'nothing')
  assert.equal(rights(planCsr(csr({ signerName: 'example.com/mine' }, ['Approved']), subject())), 'nothing')
})

test('what was approved is signed for as long as it asked, unless it is not what its signer signs', () => {
  const none = { dns: [], ip: [] }
  assert.deepEqual(planCsr(csr({ expirationSeconds: 86_400 }, ['Approved']), subject()), { do: 'sign', cn: 'system:node:a', o: ['system:nodes'], sans: none, usage: 'client', days: 1 })
  assert.deepEqual(planCsr(csr({ signerName: SIGNER_CLIENT }, ['Approved']), subject({ cn: 'jane', o: ['dev'] })), { do: 'sign', cn: 'jane', o: ['dev'], sans: none, usage: 'client', days: 365 })
  const sans = { dns: ['a.example'], ip: ['10.0.0.1'] }
  assert.deepEqual(planCsr(csr({ signerName: SIGNER_SERVING, usages: ['server auth', 'digital signature'] }, ['Approved']), subject({ sans })), { do: 'sign', cn: 'system:node:a', o: ['system:nodes'], sans, usage: 'server', days: 365 })
  for (const bad of [subject({ o: ['system:masters'] }), subject({ cn: 'jane' }), subject({ signatureValid: false }), subject({ sans: { dns: ['x'], ip: [] } }), undefined]) {
    assert.equal(planCsr(csr({}, ['Approved']), bad).do, 'fail')
  }
  for (const usages of [['server auth', 'digital signature'], ['client auth'], ['client auth', 'digital signature', 'code signing']]) assert.equal(planCsr(csr({ usages }, ['Approved']), subject()).do, 'fail', usages.join())
  const serving = (usages: string[], over: Partial<CsrSubject>): string => planCsr(csr({ signerName: SIGNER_SERVING, usages }, ['Approved']), subject(over)).do
  assert.equal(serving(['server auth', 'digital signature'], {}), 'fail', 'no names')
  assert.equal(serving(['client auth', 'digital signature'], { sans }), 'fail')
  assert.equal(serving(['server auth', 'digital signature'], { sans, cn: 'a' }), 'fail')
  assert.equal(planCsr(csr({}, ['Approved', 'Denied']), subject()).do, 'nothing')
})

test('requests go an hour after they were decided, undecided ones after a day', () => {
  const now = Date.parse('2026-01-01T01:30:00Z')
  assert.equal(expiresInMs(csr({}, ['Approved']), now), 30 * 60_000)
  assert.equal(expiresInMs(csr(), now), 22.5 * 3_600_000)
})
