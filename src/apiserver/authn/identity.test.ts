import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FakeClock } from '../../base/clock.ts'
import { AppError } from '../../base/errors.ts'
import { startHarness, type Harness } from '../../../test/kit/api-harness.ts'
import type { Obj } from '../stored-text.ts'

const ID = 'abcdef'
const SECRET = '0123456789abcdef'
const who = (h: Harness, token: string) => h.api.authenticate({ headers: { authorization: `Bearer ${token}` } })
const b64 = (text: string): string => Buffer.from(text).toString('base64')

async function bootstrap(h: Harness, more: Record<string, string> = {}): Promise<void> {
  const data = { 'token-id': ID, 'token-secret': SECRET, 'usage-bootstrap-authentication': 'true', 'auth-extra-groups': 'system:bootstrappers:skerry', ...more }
  const made = await h.call('POST', '/api/v1/namespaces/kube-system/secrets', {
    metadata: { name: `bootstrap-token-${ID}` },
    type: 'bootstrap.kubernetes.io/token',
    data: Object.fromEntries(Object.entries(data).map(([k, v]) => [k, b64(v)])),
  })
  assert.equal(made.status, 201)
  await h.call('GET', '/api/v1/namespaces/kube-system/secrets')
}

test('a certificate subject becomes user and groups; nothing shown is anonymous; a bad certificate is refused', async () => {
  await using h = await startHarness()
  assert.deepEqual(await h.api.authenticate({ peer: { subject: { cn: 'bob', o: ['dev'] } }, headers: {} }), { name: 'bob', groups: ['dev', 'system:authenticated'] })
  assert.equal(await h.api.authenticate({ headers: {} }), undefined)
  await assert.rejects(h.api.authenticate({ peer: { problem: 'CERT_HAS_EXPIRED' }, headers: {} }), (e) => e instanceof AppError && e.code === 'unauthorized')
})

test('a bootstrap token works until it expires, with its groups, and a wrong secret says so without showing it', async () => {
  await using h = await startHarness()
  await bootstrap(h, { expiration: new Date(Date.now() + 60_000).toISOString() })
  assert.deepEqual((await who(h, `${ID}.${SECRET}`))?.groups, ['system:bootstrappers', 'system:bootstrappers:skerry', 'system:authenticated'])
  await assert.rejects(who(h, `${ID}.ffffffffffffffff`), (e) => e instanceof AppError && /does not match/.test(e.message) && !e.message.includes('ffff'))
  await assert.rejects(who(h, `zzzzzz.${SECRET}`), /not known/)
})

test('an expired bootstrap token is refused with its date', async () => {
  await using h = await startHarness()
  await bootstrap(h, { expiration: '2020-01-01T00:00:00Z' })
  await assert.rejects(who(h, `${ID}.${SECRET}`), /expired at 2020-01-01T00:00:00Z/)
})

test('a service-account token names its account, ends with its pod, its account or its time, and is no good elsewhere', async () => {
  const clock = new FakeClock()
  await using h = await startHarness({ clock })
  const ns = '/api/v1/namespaces/default'
  await h.call('POST', `${ns}/serviceaccounts`, { metadata: { name: 'robot' } })
  await h.call('POST', `${ns}/pods`, { metadata: { name: 'p' }, spec: { serviceAccountName: 'robot', containers: [{ name: 'c', image: 'x' }] } })
  type Token = Obj & { status: { token: string } }
  const request = async (spec: object) => (await h.call<Token>('POST', `${ns}/serviceaccounts/robot/token`, { spec })).body.status.token
  const plain = await request({})
  const bound = await request({ boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name: 'p' } })
  const elsewhere = await request({ audiences: ['vault'] })
  const user = await who(h, plain)
  assert.equal(user?.name, 'system:serviceaccount:default:robot')
  assert.ok(user?.groups.includes('system:serviceaccounts:default'))
  assert.deepEqual((await who(h, bound))?.extra?.['authentication.kubernetes.io/pod-name'], ['p'])
  await assert.rejects(who(h, elsewhere), /audiences/)
  await assert.rejects(who(h, plain.slice(0, -4) + 'AAAA'), (e) => e instanceof AppError && e.code === 'unauthorized')
  const review = await h.call<Obj & { status: { authenticated: boolean; audiences: string[] } }>('POST', '/apis/authentication.k8s.io/v1/tokenreviews', { spec: { token: elsewhere, audiences: ['vault'] } })
  assert.deepEqual([review.body.status.authenticated, review.body.status.audiences], [true, ['vault']])
  await h.call('DELETE', `${ns}/pods/p`)
  await h.call('GET', `${ns}/pods`)
  await assert.rejects(who(h, bound), /pod "default\/p" is gone/)
  clock.jump(3_700_000)
  await assert.rejects(who(h, plain), /exp/)
  clock.jump(-3_700_000)
  await h.call('DELETE', `${ns}/serviceaccounts/robot`)
  await h.call('POST', `${ns}/serviceaccounts`, { metadata: { name: 'robot' } })
  await h.call('GET', `${ns}/serviceaccounts`)
  await assert.rejects(who(h, plain), /replaced/)
})

test('impersonation needs the right to it', async () => {
  await using h = await startHarness()
  const as = (cn: string, o: string[], name: string) => h.api.authenticate({ peer: { subject: { cn, o } }, headers: { 'impersonate-user': name, 'impersonate-group': 'ops' } })
  assert.deepEqual((await as('root', ['system:masters'], 'carol'))?.groups, ['ops', 'system:authenticated'])
  await assert.rejects(as('bob', [], 'carol'), (e) => e instanceof AppError && e.code === 'forbidden')
})
