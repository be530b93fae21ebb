import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { AppError } from '../base/errors.ts'
import { parseStore } from './store-url.ts'

const directory = mkdtempSync(join(tmpdir(), 'skerry-store-url-'))
after(() => rmSync(directory, { recursive: true }))
const pem = (name: string): string => {
  const path = join(directory, name)
  writeFileSync(path, `-----BEGIN ${name}-----\n`)
  return path
}
const refused = (text: string, words: RegExp): void => assert.throws(() => parseStore(text), (e) => e instanceof AppError && e.code === 'invalid' && words.test(e.message), text)

test('an etcd is named by its members, and by a name when it holds several stores', () => {
  assert.deepEqual(parseStore('sqlite'), { kind: 'sqlite' })
  assert.deepEqual(parseStore('etcd://10.0.0.1:2379'), { kind: 'etcd', address: { endpoints: ['10.0.0.1:2379'], prefix: '/skerry/', tls: undefined } })
  assert.deepEqual(parseStore('etcd://a.example:2379,[fd00::1]:2380/site/7/'), { kind: 'etcd', address: { endpoints: ['a.example:2379', '[fd00::1]:2380'], prefix: '/site/7/', tls: undefined } })
})

test('certificates are read from the files that it names', () => {
  const [ca, cert, key] = [pem('ca'), pem('cert'), pem('key')]
  const all = parseStore(`etcd://a:1?ca=${ca}&cert=${cert}&key=${key}`)
  assert.deepEqual(all.kind === 'etcd' && all.address.tls, { ca: '-----BEGIN ca-----\n', cert: '-----BEGIN cert-----\n', key: '-----BEGIN key-----\n' })
  const trusted = parseStore(`etcd://a:1?ca=${ca}`)
  assert.deepEqual(trusted.kind === 'etcd' && trusted.address.tls, { ca: '-----BEGIN ca-----\n', cert: undefined, key: undefined })
  refused(`etcd://a:1?ca=${ca}&cert=${cert}`, /has one of cert and key; give both/)
  refused(`etcd://a:1?cert=${cert}&key=${key}`, /has cert and key without ca/)
  refused('etcd://a:1?ca=/no/such', /ca of --store names "\/no\/such", which cannot be read/)
  writeFileSync(join(directory, 'text'), 'hello')
  refused(`etcd://a:1?ca=${join(directory, 'text')}`, /is not a PEM file/)
})

test('a user comes with a file that holds the password, read again at each login', () => {
  const path = join(directory, 'password')
  writeFileSync(path, 'one\n')
  const choice = parseStore(`etcd://a:1?user=skerry&password-file=${path}`)
  const user = choice.kind === 'etcd' ? choice.address.user : undefined
  assert.deepEqual([user?.name, user?.password()], ['skerry', 'one'])
  writeFileSync(path, 'two')
  assert.equal(user?.password(), 'two')
  refused('etcd://a:1?user=skerry', /has one of user and password-file/)
  refused('etcd://a:1?user=skerry&password-file=/no/such', /password-file of --store names "\/no\/such", which cannot be read/)
})

test('renewed certificates are read from the same files', () => {
  const [ca, cert, key] = [pem('ca'), pem('cert'), pem('key')]
  const choice = parseStore(`etcd://a:1?ca=${ca}&cert=${cert}&key=${key}`)
  writeFileSync(cert, '-----BEGIN new cert-----\n')
  assert.equal(choice.kind === 'etcd' ? choice.address.reload?.()?.cert : undefined, '-----BEGIN new cert-----\n')
})

test('what is no store is refused with the part that is wrong', () => {
  refused('etcd', /--store "etcd" is neither sqlite nor like etcd:\/\//)
  refused('postgres://a', /is neither sqlite nor like/)
  refused('etcd://', /names the member "", expected host:port/)
  refused('etcd://a', /names the member "a", expected host:port/)
  refused('etcd://a:2379,b', /names the member "b"/)
  refused('etcd://a:99999', /names the member "a:99999"/)
  refused('etcd://a:1?tls=yes', /has the part "tls", known are ca, cert, key, user, password-file/)
})
