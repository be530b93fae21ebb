import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { test } from 'node:test'
import { nodeUser, type UserInfo } from '../api/contract.ts'
import { startHarness, type Harness } from '../../test/kit/api-harness.ts'
import { KUBECTL, startTls } from '../../test/kit/api-tls.ts'
import type { Obj } from './stored-text.ts'

interface Review extends Obj {
  status: { allowed?: boolean; reason?: string; authenticated?: boolean; error?: string; audiences?: string[]; user?: { username?: string }; userInfo?: object; incomplete?: boolean; evaluationError?: string; resourceRules?: { verbs: string[]; resources: string[] }[]; nonResourceRules?: { nonResourceURLs: string[] }[] }
  message?: string
}
const AUTHZ = '/apis/authorization.k8s.io/v1'
const ALICE: UserInfo = { name: 'alice', groups: ['system:authenticated'] }

async function bindViewer(h: Harness): Promise<void> {
  await h.call('POST', '/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings', {
    metadata: { name: 'v' }, roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'view' }, subjects: [{ kind: 'User', name: 'alice', apiGroup: 'rbac.authorization.k8s.io' }],
  })
}

test('access reviews say why, and refuse what is not a question', async () => {
  await using h = await startHarness()
  await bindViewer(h)
  await h.call('POST', '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', { metadata: { name: 'dangling' }, roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'nothing' }, subjects: [{ kind: 'User', name: 'bob', apiGroup: 'rbac.authorization.k8s.io' }] })
  const ask = (spec: object, path = 'subjectaccessreviews') => h.call<Review>('POST', `${AUTHZ}/${path}`, { spec })
  const pods = { verb: 'get', resource: 'pods', namespace: 'default' }
  assert.deepEqual((await ask({ user: 'alice', resourceAttributes: pods })).body.status, { allowed: true, reason: 'RBAC: allowed by RoleBinding "v/default" of ClusterRole "view" to User "alice"' })
  assert.deepEqual((await ask({ user: 'carol', resourceAttributes: pods })).body.status, { allowed: false })
  assert.deepEqual((await ask({ user: 'bob', resourceAttributes: pods })).body.status, { allowed: false, reason: 'RBAC: clusterrole.rbac.authorization.k8s.io "nothing" not found' })
  assert.equal((await ask({ groups: ['system:authenticated'], nonResourceAttributes: { verb: 'get', path: '/apis' } })).body.status.allowed, true)
  const node = { user: 'system:node:n1', groups: ['system:nodes'] }
  const list = { verb: 'list', resource: 'pods' }
  assert.match((await ask({ ...node, resourceAttributes: list })).body.status.reason ?? '', /can only list\/watch pods with spec\.nodeName field selector/)
  for (const fieldSelector of [{ rawSelector: 'spec.nodeName=n1' }, { requirements: [{ key: 'spec.nodeName', operator: 'In', values: ['n1'] }] }]) assert.equal((await ask({ ...node, resourceAttributes: { ...list, fieldSelector } })).body.status.allowed, true)
  for (const fieldSelector of [{ requirements: [{ key: 'spec.nodeName', operator: 'In', values: ['n1', 'n2'] }] }, { requirements: [{ key: 'metadata.name', operator: 'In', values: ['a,spec.nodeName=n1'] }] }]) assert.equal((await ask({ ...node, resourceAttributes: { ...list, fieldSelector } })).body.status.allowed, false)

  const refused = async (answer: Promise<{ status: number; body: Review }>, status: number, why: RegExp): Promise<void> => {
    const { status: got, body } = await answer
    assert.ok(got === status && why.test(body.message ?? ''), `${got} ${body.message}`)
  }
  await refused(ask({ user: 'a' }), 422, /exactly one of nonResourceAttributes or resourceAttributes must be specified/)
  await refused(ask({ user: 'a', resourceAttributes: pods, nonResourceAttributes: { verb: 'get', path: '/' } }), 422, /cannot be specified in combination with resourceAttributes/)
  await refused(ask({ resourceAttributes: pods }), 422, /spec\.user: Invalid value: "": at least one of user or group must be specified/)
  await refused(ask({ user: 'a', resourceAttributes: { ...pods, fieldSelector: {} } }), 422, /requirements or rawSelector is required/)
  const local = 'namespaces/default/localsubjectaccessreviews'
  assert.equal((await ask({ user: 'alice', resourceAttributes: pods }, local)).body.status.allowed, true)
  await refused(ask({ user: 'alice', resourceAttributes: { ...pods, namespace: 'other' } }, local), 422, /must match metadata\.namespace/)
  await refused(ask({ user: 'alice', nonResourceAttributes: { verb: 'get', path: '/' } }, local), 422, /disallowed on this kind of request/)
})

test('who am I, what may I, and whose token is this', async () => {
  await using h = await startHarness()
  await bindViewer(h)
  const self = await h.call<Review>('POST', '/apis/authentication.k8s.io/v1/selfsubjectreviews', {}, { user: { ...ALICE, uid: '7', extra: { scope: ['a'] } } })
  assert.deepEqual(self.body.status.userInfo, { username: 'alice', uid: '7', groups: ['system:authenticated'], extra: { scope: ['a'] } })
  const rules = async (user: UserInfo) => (await h.call<Review>('POST', `${AUTHZ}/selfsubjectrulesreviews`, { spec: { namespace: 'default' } }, { user })).body.status
  const mine = await rules(ALICE)
  assert.ok(mine.resourceRules?.some((r) => r.resources.includes('pods/log')) && !mine.resourceRules.some((r) => r.resources.includes('secrets')))
  assert.ok(mine.nonResourceRules?.some((r) => r.nonResourceURLs.includes('/openapi/*')))
  assert.equal(mine.incomplete, false)
  const node = await rules(nodeUser('n1'))
  assert.deepEqual([node.incomplete, node.evaluationError], [true, 'node authorizer does not support user rule resolution'])
  const review = (spec: object) => h.call<Review>('POST', '/apis/authentication.k8s.io/v1/tokenreviews', { spec })
  assert.equal((await review({})).status, 400)
  const bad = await review({ token: 'nonsense' })
  assert.equal(bad.status, 201)
  assert.ok(bad.body.status.authenticated !== true && (bad.body.status.error ?? '') !== '')
})

test('kubectl auth can-i and whoami', { skip: existsSync(KUBECTL) ? false : 'kubectl is not unpacked: run script/bootstrap --tests' }, async () => {
  await using server = await startTls()
  await bindViewer(server.harness)
  const run = async (...args: string[]): Promise<string> => {
    const { out, err } = await server.kubectl(args)
    return `${out}${err}`.trim()
  }
  assert.equal(await run('auth', 'can-i', 'list', 'pods', '--as', 'alice'), 'yes')
  assert.match(await run('auth', 'can-i', 'list', 'secrets', '--as', 'alice'), /^no/)
  assert.match(await run('auth', 'can-i', '*', '*', '--as', 'alice'), /^no/)
  assert.equal(await run('auth', 'can-i', '*', '*'), 'yes')
  assert.equal(await run('auth', 'can-i', 'get', '/version', '--as', 'nobody'), 'yes')
  const list = await run('auth', 'can-i', '--list', '--as', 'alice')
  assert.match(list, /^pods\/log\s+\[\]\s+\[\]\s+\[get list watch\]$/m)
  assert.match(list, /^selfsubjectreviews\.authentication\.k8s\.io\s+\[\]\s+\[\]\s+\[create\]$/m)
  const who = await run('auth', 'whoami')
  assert.match(who, /^Username\s+admin$/m)
  assert.match(who, /^Groups\s+\[system:masters system:authenticated\]$/m)
  assert.match(who, /credential-id\s+\[X509SHA256=[0-9a-f]{64}\]/)
  assert.match(await run('get', 'pods', '--as', 'mallory'), /Error from server \(Forbidden\): pods is forbidden: User "mallory" cannot list resource "pods" in API group "" in the namespace "default"/)
})

test('old core kinds are answered with a warning, and there are no component statuses', async () => {
  await using h = await startHarness()
  const all = await h.call('GET', '/api/v1/componentstatuses', undefined, { headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' } })
  assert.deepEqual([all.status, all.body.kind], [200, 'Table'])
  assert.match(all.headers.warning ?? '', /v1 ComponentStatus is deprecated in v1\.19\+/)
  assert.equal((await h.call('GET', '/api/v1/componentstatuses/scheduler')).status, 404)
  const endpoints = await h.call('GET', '/api/v1/namespaces/default/endpoints')
  assert.match(endpoints.headers.warning ?? '', /v1 Endpoints is deprecated in v1\.33\+; use discovery\.k8s\.io\/v1 EndpointSlice/)
  assert.equal((await h.call('GET', '/api/v1/namespaces/default/pods')).headers.warning, undefined)
})

test('a binding sent to the namespace binds the pod that it names, once; nothing but a proxy has paths below it', async () => {
  await using h = await startHarness()
  const PODS = '/api/v1/namespaces/default/pods'
  await h.call('POST', '/api/v1/namespaces/default/serviceaccounts', { metadata: { name: 'default' } })
  await h.call('POST', PODS, { metadata: { name: 'p' }, spec: { containers: [{ name: 'c', image: 'x' }] } })
  const bind = (name?: string): ReturnType<Harness['call']> => h.call('POST', '/api/v1/namespaces/default/bindings', { metadata: { ...(name && { name }) }, target: { kind: 'Node', name: 'n1' } })
  assert.equal((await bind('p')).status, 201)
  assert.equal((await h.call<Obj & { spec: { nodeName: string } }>('GET', `${PODS}/p`)).body.spec.nodeName, 'n1')
  assert.deepEqual([(await bind('p')).status, (await bind('gone')).status, (await bind()).status], [409, 404, 400])
  assert.deepEqual([(await h.call('GET', `${PODS}/p/status`)).status, (await h.call('GET', `${PODS}/p/status/deeper`)).status, (await h.call('GET', `${PODS}/p/log/deeper`)).status], [200, 404, 404])
})
