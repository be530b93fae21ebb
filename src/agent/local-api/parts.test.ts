import assert from 'node:assert/strict'
import { generateKeyPairSync, sign } from 'node:crypto'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { FakeClock } from '../../base/clock.ts'
import { hasCode } from '../../base/errors.ts'
import { Access, permits, type Rule } from './access.ts'
import { readCaller, type TokenKeys } from './caller.ts'
import { Documents, isDiscovery } from './documents.ts'
import { readRequest, type ResourceRequest } from './request.ts'

const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const trust: TokenKeys = { issuer: 'https://issuer', keys: [{ ...pair.publicKey.export({ format: 'jwk' }), kid: 'k1' }] }
const b64 = (o: object): string => Buffer.from(JSON.stringify(o)).toString('base64url')
const CLAIMS = { iss: 'https://issuer', aud: ['https://issuer'], exp: 1, 'kubernetes.io': { namespace: 'default', serviceaccount: { name: 'app', uid: 'u' }, pod: { name: 'p', uid: 'pod-1' } } }

function token(claims: object = CLAIMS, key = pair.privateKey, head: object = { alg: 'ES256', kid: 'k1' }): string {
  const signed = `${b64(head)}.${b64(claims)}`
  return `${signed}.${sign('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
}

describe('who calls', () => {
  const here = (uid: string): boolean => uid === 'pod-1'
  test('a token of a pod of this node counts, also past its date', () => {
    assert.deepEqual(readCaller(token(), trust, here), { namespace: 'default', account: 'app', podUid: 'pod-1' })
  })
  for (const [what, bad] of Object.entries({
    'a foreign key': token(CLAIMS, generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey),
    'another algorithm': token(CLAIMS, pair.privateKey, { alg: 'none' }),
    'another issuer': token({ ...CLAIMS, iss: 'x' }),
    'another audience': token({ ...CLAIMS, aud: ['vault'] }),
    'a pod of elsewhere': token({ ...CLAIMS, 'kubernetes.io': { ...CLAIMS['kubernetes.io'], pod: { name: 'p', uid: 'other' } } }),
    'no pod': token({ ...CLAIMS, 'kubernetes.io': { namespace: 'default', serviceaccount: { name: 'app', uid: 'u' } } }),
    'changed claims': token().replace(/\.[^.]+\./, `.${b64({ ...CLAIMS, 'kubernetes.io': { ...CLAIMS['kubernetes.io'], serviceaccount: { name: 'admin' } } })}.`),
    'no token': 'abcdef.0123456789abcdef',
    'a long text': 'x'.repeat(20_000),
  })) {
    test(`${what} is refused`, () => assert.throws(() => readCaller(bad, trust, here), (e) => hasCode(e, 'unauthorized')))
  }
})

describe('what is asked', () => {
  const of = (url: string, method = 'GET'): ResourceRequest | undefined => readRequest(method, url)?.resource
  test('resources, namespaces, subresources and verbs', () => {
    assert.deepEqual(of('/api/v1/namespaces/default/pods/web'), { verb: 'get', group: '', version: 'v1', resource: 'pods', namespace: 'default', name: 'web' })
    assert.deepEqual(of('/api/v1/pods?fieldSelector=spec.nodeName%3Dn1'), { verb: 'list', group: '', version: 'v1', resource: 'pods' })
    assert.deepEqual(of('/apis/apps/v1/namespaces/a/deployments?watch=1'), { verb: 'watch', group: 'apps', version: 'v1', resource: 'deployments', namespace: 'a' })
    assert.deepEqual(of('/api/v1/namespaces/a'), { verb: 'get', group: '', version: 'v1', resource: 'namespaces', namespace: 'a', name: 'a' })
    assert.deepEqual(of('/api/v1/namespaces/a/pods/web/log'), { verb: 'get', group: '', version: 'v1', resource: 'pods', namespace: 'a', name: 'web', subresource: 'log' })
    assert.equal(of('/api/v1/namespaces/a/pods', 'POST')?.verb, 'create')
    assert.equal(of('/api/v1/namespaces/a/pods', 'DELETE')?.verb, 'deletecollection')
    assert.equal(of('/apis'), undefined)
  })
  test('other paths of the server are not reached through the node', () => {
    for (const url of ['/skerry/v1/join', '/v2/', '/collect/v1/x', '/apiserver', '/api/../skerry/v1/join', '//api', '/']) assert.equal(readRequest('GET', url), undefined, url)
    assert.ok(readRequest('GET', '/version?timeout=32s'))
  })
})

describe('what an account may read', () => {
  const rule = (verbs: string[], resources: string[], resourceNames?: string[]): Rule => ({ verbs, apiGroups: [''], resources, ...(resourceNames ? { resourceNames } : {}) })
  const get = (resource: string, namespace?: string, name?: string): ResourceRequest => ({ verb: 'get', group: '', version: 'v1', resource, ...(namespace ? { namespace } : {}), ...(name ? { name } : {}) })
  test('rules of the own namespace hold there only, those of the cluster everywhere', () => {
    const rules = { own: [rule(['get'], ['pods'])], cluster: [rule(['get'], ['nodes'])] }
    assert.ok(permits(rules, 'a', get('pods', 'a'), []))
    assert.ok(!permits(rules, 'a', get('pods', 'b'), []))
    assert.ok(!permits(rules, 'a', get('pods'), []))
    assert.ok(permits(rules, 'a', get('nodes'), []))
    assert.ok(!permits(rules, 'a', get('secrets', 'a'), []))
  })
  test('a rule for names is for these names', () => {
    const rules = { own: [rule(['*'], ['secrets'], ['mine'])], cluster: [] }
    assert.ok(permits(rules, 'a', get('secrets', 'a', 'mine'), ['mine']))
    assert.ok(!permits(rules, 'a', get('secrets', 'a', 'other'), ['other']))
    assert.ok(!permits(rules, 'a', get('secrets', 'a'), []))
  })

  test('rules are asked for, kept over a restart, asked again when old, and unknown ones are unknown', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'skerry-access-'))
    try {
      const clock = new FakeClock()
      const asked: string[] = []
      const make = (): Access => new Access({ directory, clock, ask: async (_t, ns) => (asked.push(ns), ns === 'a' ? [rule(['get'], ['pods'])] : []) })
      const access = make()
      await access.learn({ namespace: 'a', account: 'app' }, 't')
      await access.learn({ namespace: 'a', account: 'app' }, 't')
      assert.deepEqual(asked, ['a', 'no.namespace'])
      assert.deepEqual(await make().rules({ namespace: 'a', account: 'app' }), { own: [rule(['get'], ['pods'])], cluster: [] })
      assert.equal(await access.rules({ namespace: 'a', account: 'other' }), undefined)
      await clock.advance(601_000)
      await access.learn({ namespace: 'a', account: 'app' }, 't')
      assert.equal(asked.length, 4)
    } finally {
      await rm(directory, { recursive: true })
    }
  })
})

test('discovery documents are kept in both forms, others are not, and a damaged one is not known', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-documents-'))
  try {
    const documents = new Documents(directory)
    const all = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList'
    await documents.keep('/apis', { contentType: all, body: '{"all":1}' })
    await documents.keep('/api/v1', { contentType: 'application/json', body: '{}' })
    await documents.keep('/api/v1/pods', { contentType: 'application/json', body: 'no' })
    assert.equal((await readdir(directory)).length, 2)
    assert.equal((await new Documents(directory).find('/apis', `${all},application/json`))?.body, '{"all":1}')
    assert.equal(await documents.find('/apis', 'application/json'), undefined)
    assert.equal((await documents.find('/api/v1/', `${all},application/json`))?.body, '{}')
    assert.ok(isDiscovery('/version') && !isDiscovery('/api/v1/pods') && !isDiscovery('/apis/apps/v1/deployments'))
  } finally {
    await rm(directory, { recursive: true })
  }
})
