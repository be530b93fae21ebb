import { test } from 'node:test'
import assert from 'node:assert/strict'
import type { CertificateSigningRequest } from '../../api/gen/types.ts'
import { expiresInMs, planCsr, SIGNER_CLIENT, SIGNER_KUBELET, type CsrSubject } from './plan.ts'

const csr = (over: Partial<CertificateSigningRequest['spec']> = {}, conditions: string[] = []): CertificateSigningRequest => ({
  metadata: { creationTimestamp: '2026-01-01T00:00:00Z' },
  spec: { request: '', signerName: SIGNER_KUBELET, usages: ['client auth'], ...over },
  status: { conditions: conditions.map((type) => ({ type, status: 'True', lastUpdateTime: '2026-01-01T01:00:00Z' })) },
})
const subject = (over: Partial<CsrSubject> = {}): CsrSubject => ({ cn: 'system:node:a', o: ['system:nodes'], sans: { dns: [], ip: [] }, signatureValid: true, ...over })

test('a node gets its certificate by token or by its earlier one, and nobody else by themselves', () => {
  assert.equal(planCsr(csr({ groups: ['system:bootstrappers'] }), subject()).do, 'approve')
  assert.equal(planCsr(csr({ username: 'system:node:a' }), subject()).do, 'approve')
  assert.equal(planCsr(csr({ username: 'system:node:b' }), subject()).do, 'nothing')
  assert.equal(planCsr(csr({ signerName: SIGNER_CLIENT, groups: ['system:bootstrappers'] }), subject()).do, 'nothing')
  assert.equal(planCsr(csr({ signerName: 'example.com/mine' }, ['Approved']), subject()).do, 'nothing')
})

test('what was approved is signed for as long as it asked, unless it is not what it should be', () => {
  assert.deepEqual(planCsr(csr({ expirationSeconds: 86_400 }, ['Approved']), subject()), { do: 'sign', cn: 'system:node:a', o: ['system:nodes'], days: 1 })
  assert.deepEqual(planCsr(csr({ signerName: SIGNER_CLIENT }, ['Approved']), subject({ cn: 'jane', o: ['dev'] })), { do: 'sign', cn: 'jane', o: ['dev'], days: 365 })
  for (const bad of [subject({ o: ['system:masters'] }), subject({ cn: 'jane' }), subject({ signatureValid: false }), subject({ sans: { dns: ['x'], ip: [] } }), undefined]) {
    assert.equal(planCsr(csr({}, ['Approved']), bad).do, 'fail')
  }
  assert.equal(planCsr(csr({ usages: ['server auth'] }, ['Approved']), subject()).do, 'fail')
  assert.equal(planCsr(csr({}, ['Approved', 'Denied']), subject()).do, 'nothing')
})

test('requests go an hour after they were decided, undecided ones after a day', () => {
  const now = Date.parse('2026-01-01T01:30:00Z')
  assert.equal(expiresInMs(csr({}, ['Approved']), now), 30 * 60_000)
  assert.equal(expiresInMs(csr(), now), 22.5 * 3_600_000)
})
