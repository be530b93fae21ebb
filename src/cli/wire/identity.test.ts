import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { certInfo } from '../../base/pki.ts'
import { loadServerIdentity, serverSans } from './identity.ts'

test('the identity stays over restarts; leaves are renewed with a third of their life left and for new addresses', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'skerry-identity-'))
  const first = await loadServerIdentity(dir, serverSans())
  const second = await loadServerIdentity(dir, serverSans())
  assert.deepEqual(second, first)
  const moved = await loadServerIdentity(dir, serverSans(['192.0.2.7', 'edge.example']))
  assert.equal(moved.ca.certPem, first.ca.certPem)
  assert.ok(certInfo(moved.serving.certPem).sans.ip.includes('192.0.2.7'))
  const later = await loadServerIdentity(dir, serverSans(), Date.now() + 300 * 86_400_000)
  assert.notEqual(later.admin.certPem, first.admin.certPem)
  assert.equal(later.admin.keyPem, first.admin.keyPem)
  rmSync(dir, { recursive: true })
})

test('a key that is not the certificate’s is named with the way out', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'skerry-identity-'))
  const { admin } = await loadServerIdentity(dir, serverSans())
  writeFileSync(join(dir, 'server/tls/serving.key'), admin.keyPem)
  await assert.rejects(loadServerIdentity(dir, serverSans()), /serving.key does not belong to serving.crt: restore both.*remove both/)
  rmSync(dir, { recursive: true })
})
