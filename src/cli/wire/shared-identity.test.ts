import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { AppError, type ErrorCode } from '../../base/errors.ts'
import { MemoryRecords } from '../../../test/kit/records.ts'
import { loadServerIdentity, serverSans } from './identity.ts'
import { clusterTokenPath } from './cluster-token.ts'
import { shareIdentity } from './shared-identity.ts'

const root = mkdtempSync(join(tmpdir(), 'skerry-shared-identity-'))
after(() => rmSync(root, { recursive: true }))
const fails = (code: ErrorCode, text: RegExp) => (e: unknown) => e instanceof AppError && e.code === code && text.test(e.message)
const ca = (name: string): string => readFileSync(join(root, name, 'server/tls/ca.crt'), 'utf8')

test('a second server with the token has the same CA and signing key, and its own serving certificate', async () => {
  const store = new MemoryRecords()
  const [one, two] = [join(root, 'one'), join(root, 'two')]
  await shareIdentity(one, store, undefined)
  assert.equal(statSync(clusterTokenPath(one)).mode & 0o777, 0o600)
  assert.equal(statSync(join(one, 'server/tls/ca.key')).mode & 0o777, 0o600)
  assert.doesNotMatch([...store.kept.values()].join(), /PRIVATE|BEGIN/, 'the store holds no readable key')
  await assert.rejects(shareIdentity(two, store, undefined), fails('forbidden', /token is missing: copy server\/cluster-token .* --cluster-token-file/))
  await shareIdentity(two, store, clusterTokenPath(one))
  assert.equal(ca('one'), ca('two'))
  const [a, b] = [await loadServerIdentity(one, serverSans()), await loadServerIdentity(two, serverSans())]
  assert.equal(a.serviceAccount.privateKeyPem, b.serviceAccount.privateKeyPem)
  assert.notEqual(a.serving.certPem, b.serving.certPem)
  // Later starts need nothing more, on either.
  await shareIdentity(one, store, undefined)
  await shareIdentity(two, store, undefined)
})

test('two first servers at once, given one token, agree', async () => {
  const store = new MemoryRecords()
  writeFileSync(join(root, 'token'), 'a secret of at least sixteen\n')
  await Promise.all(['x', 'y', 'z'].map((name) => shareIdentity(join(root, name), store, join(root, 'token'))))
  assert.equal(new Set(['x', 'y', 'z'].map(ca)).size, 1)
})

test('a server that had a store of its own brings its CA along', async () => {
  const [moved, store] = [join(root, 'moved'), new MemoryRecords()]
  await loadServerIdentity(moved, serverSans())
  const before = ca('moved')
  await shareIdentity(moved, store, undefined)
  assert.equal(ca('moved'), before)
  await shareIdentity(join(root, 'joined'), store, clusterTokenPath(moved))
  assert.equal(ca('joined'), before)
})

test('a wrong token, a foreign data directory and a broken record are told', async () => {
  const store = new MemoryRecords()
  await shareIdentity(join(root, 'first'), store, undefined)
  writeFileSync(join(root, 'wrong'), 'not the right token at all')
  await assert.rejects(shareIdentity(join(root, 'new'), store, join(root, 'wrong')), fails('forbidden', /does not open it, it is another one or was changed .*: copy server\/cluster-token/))
  writeFileSync(join(root, 'short'), 'short')
  await assert.rejects(shareIdentity(join(root, 'new'), store, join(root, 'short')), fails('invalid', /5 characters are too few/))
  await assert.rejects(shareIdentity(join(root, 'new'), store, join(root, 'none')), fails('invalid', /read cluster token .*none/))
  await loadServerIdentity(join(root, 'other'), serverSans())
  await assert.rejects(shareIdentity(join(root, 'other'), store, clusterTokenPath(join(root, 'first'))), fails('conflict', /holds the CA of another cluster: give an empty --data-dir/))
  // A first start that broke off before ca.crt was written.
  cpSync(join(root, 'first'), join(root, 'torn'), { recursive: true })
  rmSync(join(root, 'torn/server/tls/ca.crt'))
  await shareIdentity(join(root, 'torn'), store, undefined)
  assert.equal(ca('torn'), ca('first'))
  store.kept.set('identity', 'garbage')
  await assert.rejects(shareIdentity(join(root, 'first'), store, undefined), fails('corrupt', /restore the store from a backup/))
})
