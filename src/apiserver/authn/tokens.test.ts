import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeUser } from '../../api/contract.ts'
import { startHarness, testKey, type Harness } from '../../../test/kit/api-harness.ts'
import { until } from '../../../test/kit/until.ts'
import type { Obj } from '../stored-text.ts'

const NS = '/api/v1/namespaces/default'
type Token = Obj & { status: { token: string }; message?: string }
type Secret = Obj & { data?: Record<string, string> }
const who = (h: Harness, token: string) => h.api.authenticate({ headers: { authorization: `Bearer ${token}` } })

async function account(h: Harness, name = 'robot'): Promise<void> {
  assert.equal((await h.call('POST', `${NS}/serviceaccounts`, { metadata: { name } })).status, 201)
}

async function pod(h: Harness, name: string, node: string, volumes: object[] = []): Promise<string> {
  const made = await h.call('POST', `${NS}/pods`, { metadata: { name }, spec: { serviceAccountName: 'robot', containers: [{ name: 'c', image: 'x' }], volumes } })
  assert.equal(made.status, 201, JSON.stringify(made.body))
  await h.call('POST', `${NS}/pods/${name}/binding`, { target: { kind: 'Node', name: node } })
  return made.body.metadata.uid as string
}

const ask = (h: Harness, spec: object, user?: ReturnType<typeof nodeUser>) => h.call<Token>('POST', `${NS}/serviceaccounts/robot/token`, { spec }, user ? { user } : {})

test('a request for a token is checked as Kubernetes does', async () => {
  await using h = await startHarness()
  await account(h)
  const refused = async (spec: object, status: number, why: RegExp): Promise<void> => {
    const answer = await ask(h, spec)
    assert.equal(answer.status, status)
    assert.match(answer.body.message ?? '', why)
  }
  await refused({ expirationSeconds: 599 }, 422, /spec\.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes/)
  await refused({ expirationSeconds: 2 ** 32 + 1 }, 422, /may not specify a duration larger than 2\^32 seconds/)
  await refused({ boundObjectRef: { kind: 'ConfigMap', apiVersion: 'v1', name: 'x' } }, 400, /cannot bind token to object of type \/v1, Kind=ConfigMap/)
  await refused({ boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name: 'x' } }, 404, /pods "x" not found/)
  const uid = await pod(h, 'p', 'n1')
  await refused({ boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name: 'p', uid: 'other' } }, 409, /UID in the bound object reference/)
  assert.equal((await ask(h, { boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name: 'p', uid } })).status, 201)
})

test('a token bound to a node or a Secret ends with it', async () => {
  await using h = await startHarness()
  await account(h)
  await h.call('POST', '/api/v1/nodes', { metadata: { name: 'n1' } })
  await h.call('POST', `${NS}/secrets`, { metadata: { name: 's' } })
  const bind = async (kind: string, name: string) => (await ask(h, { boundObjectRef: { kind, apiVersion: 'v1', name } })).body.status.token
  const [ofNode, ofSecret] = [await bind('Node', 'n1'), await bind('Secret', 's')]
  assert.deepEqual((await who(h, ofNode))?.extra?.['authentication.kubernetes.io/node-name'], ['n1'])
  assert.equal((await who(h, ofSecret))?.name, 'system:serviceaccount:default:robot')
  for (const path of ['/api/v1/nodes/n1', `${NS}/secrets/s`]) await h.call('DELETE', path)
  await h.call('GET', `${NS}/secrets`)
  await assert.rejects(who(h, ofNode), /node "n1" is gone/)
  await assert.rejects(who(h, ofSecret), /secret "default\/s" is gone/)
})

test('a node gets tokens of its own pods and no others', async () => {
  await using h = await startHarness()
  await account(h)
  const projected = [{ name: 't', projected: { sources: [{ serviceAccountToken: { path: 't', audience: 'vault' } }] } }]
  const [mine, theirs] = [await pod(h, 'mine', 'n1', projected), await pod(h, 'theirs', 'n2')]
  const n1 = nodeUser('n1')
  const ref = (name: string, uid?: string): object => ({ boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name, ...(uid ? { uid } : {}) } })
  const status = async (spec: object): Promise<string> => {
    const answer = await ask(h, spec, n1)
    return `${answer.status} ${answer.body.message ?? ''}`.trim()
  }
  assert.equal(await status(ref('mine', mine)), '201')
  assert.equal(await status({ ...ref('mine', mine), audiences: ['vault'] }), '201')
  assert.match(await status({ ...ref('mine', mine), audiences: ['bank'] }), /^403 .*audience "bank" not found in pod spec volume/)
  assert.match(await status({}), /^403 .*node requested token not bound to a pod/)
  assert.match(await status(ref('mine')), /^403 .*node requested token with a pod binding without a uid/)
  assert.match(await status(ref('theirs', theirs)), /^403 .*node requested token bound to a pod scheduled on a different node/)
})

test('keys change: the new one signs, tokens of the former one count until it is taken away', async () => {
  const [first, second] = [testKey(), testKey()]
  await using h = await startHarness({ serviceAccountKey: first })
  await account(h)
  const early = (await ask(h, {})).body.status.token
  await h.api.setServiceAccountKey({ ...second, formerPublicKeysPem: [first.publicKeyPem] })
  const late = (await ask(h, {})).body.status.token
  const { keys } = (await h.call<{ keys: { kid: string }[] }>('GET', '/openid/v1/jwks')).body
  assert.equal(keys.length, 2)
  const kid = (token: string) => (JSON.parse(Buffer.from(token.split('.')[0] as string, 'base64url').toString()) as { kid: string }).kid
  assert.deepEqual([kid(late), kid(early)], keys.map((k) => k.kid))
  for (const token of [early, late]) assert.equal((await who(h, token))?.name, 'system:serviceaccount:default:robot')
  await h.api.setServiceAccountKey(second)
  await assert.rejects(who(h, early), /signed by a key that is not known here/)
  assert.equal((await who(h, late))?.name, 'system:serviceaccount:default:robot')
})

test('the issuer is found by discovery; one that was named before still counts', async () => {
  const key = testKey()
  await using h = await startHarness({ serviceAccountKey: key })
  await account(h)
  const early = (await ask(h, {})).body.status.token
  await h.api.setServiceAccountKey({ ...key, issuer: 'https://id.example/', formerIssuers: ['https://kubernetes.default.svc.cluster.local'] })
  const late = (await ask(h, {})).body.status.token
  const claims = JSON.parse(Buffer.from(late.split('.')[1] as string, 'base64url').toString()) as { iss: string; aud: string[] }
  assert.deepEqual([claims.iss, claims.aud], ['https://id.example/', ['https://id.example/']])
  const anonymous = { user: { name: 'system:serviceaccount:x:y', groups: ['system:serviceaccounts', 'system:authenticated'] } }
  const found = (await h.call<{ issuer: string; jwks_uri: string }>('GET', '/.well-known/openid-configuration', undefined, anonymous)).body
  assert.deepEqual([found.issuer, found.jwks_uri], ['https://id.example/', 'https://id.example/openid/v1/jwks'])
  for (const token of [early, late]) assert.equal((await who(h, token))?.name, 'system:serviceaccount:default:robot')
  await h.api.setServiceAccountKey({ ...key, issuer: 'https://id.example/' })
  await assert.rejects(who(h, early), /iss/)
})

test('a Secret for a service account is filled, its token works, is dated, and ends with Secret, label or account', async () => {
  await using h = await startHarness({ rootCaPem: () => 'THE CA' })
  await account(h)
  const make = async (name: string): Promise<string> => {
    await h.call('POST', `${NS}/secrets`, { metadata: { name, annotations: { 'kubernetes.io/service-account.name': 'robot' } }, type: 'kubernetes.io/service-account-token' })
    const filled = await until(`${name} filled`, async () => {
      const { body } = await h.call<Secret>('GET', `${NS}/secrets/${name}`)
      return body.data?.['token'] ? body : undefined
    })
    const text = (key: string) => Buffer.from(filled.data?.[key] ?? '', 'base64').toString()
    assert.deepEqual([text('ca.crt'), text('namespace')], ['THE CA', 'default'])
    assert.match(filled.metadata.annotations?.['kubernetes.io/service-account.uid'] ?? '', /^[0-9a-f-]{36}$/)
    return text('token')
  }
  const [one, two, three] = [await make('one'), await make('two'), await make('three')]
  assert.deepEqual((await who(h, one))?.groups, ['system:serviceaccounts', 'system:serviceaccounts:default', 'system:authenticated'])
  await until('its use is dated', async () => /^\d{4}-\d\d-\d\d$/.test((await h.call<Secret>('GET', `${NS}/secrets/one`)).body.metadata.labels?.['kubernetes.io/legacy-token-last-used'] ?? ''))
  const review = await h.call<Obj & { status: { authenticated?: boolean } }>('POST', '/apis/authentication.k8s.io/v1/tokenreviews', { spec: { token: one, audiences: ['vault'] } })
  assert.notEqual(review.body.status.authenticated, true)
  await h.call('DELETE', `${NS}/secrets/one`)
  await h.call('PATCH', `${NS}/secrets/two`, { metadata: { labels: { 'kubernetes.io/legacy-token-invalid-since': '2026-01-01' } } }, { headers: { 'content-type': 'application/merge-patch+json' } })
  await h.call('GET', `${NS}/secrets`)
  await assert.rejects(who(h, one), /secret "default\/one" is gone/)
  await assert.rejects(who(h, two), /does not count since 2026-01-01/)
  await h.call('DELETE', `${NS}/serviceaccounts/robot`)
  await until('the Secrets go with the account', async () => (await h.call('GET', `${NS}/secrets/three`)).status === 404)
  await assert.rejects(who(h, three), /is gone/)
})

test('a Secret keeps its token while the key of that counts, and is filled anew then; its CA follows at once', async () => {
  const [first, second] = [testKey(), testKey()]
  let ca = 'ONE'
  await using h = await startHarness({ serviceAccountKey: first, rootCaPem: () => ca })
  await account(h)
  const make = (name: string, data?: object) => h.call('POST', `${NS}/secrets`, { metadata: { name, annotations: { 'kubernetes.io/service-account.name': 'robot' } }, type: 'kubernetes.io/service-account-token', ...(data && { data }) })
  const text = async (name: string, key: string) => Buffer.from((await h.call<Secret>('GET', `${NS}/secrets/${name}`)).body.data?.[key] ?? '', 'base64').toString()
  await make('kept')
  await make('own', { token: Buffer.from('not one of ours').toString('base64') })
  const early = await until('it is filled', async () => (await text('kept', 'token')) || undefined)
  ca = 'TWO'
  await h.api.setServiceAccountKey({ ...second, formerPublicKeysPem: [first.publicKeyPem] })
  await until('the CA is the new one', async () => (await text('kept', 'ca.crt')) === 'TWO')
  assert.equal(await text('kept', 'token'), early)
  assert.equal((await who(h, early))?.name, 'system:serviceaccount:default:robot')
  await h.api.setServiceAccountKey(second)
  const late = await until('it is filled anew', async () => {
    const now = await text('kept', 'token')
    return now !== early && now
  })
  assert.equal((await who(h, late))?.name, 'system:serviceaccount:default:robot')
  await assert.rejects(who(h, early), /signed by a key that is not known here/)
  assert.equal(await text('own', 'token'), 'not one of ours')
})
