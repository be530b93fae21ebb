import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startHarness } from '../../../test/kit/api-harness.ts'
import { until } from '../../../test/kit/until.ts'
import type { Obj } from '../stored-text.ts'
import { covers, missingRules, ruleText } from './cover.ts'
import { defaultRbacObjects } from './default-roles.ts'
import { rulesOf } from './role-table.ts'

type Role = Obj & { rules?: { verbs: string[]; resources?: string[] }[]; subjects?: { name: string }[] }
const ROLES = '/apis/rbac.authorization.k8s.io/v1/clusterroles'
const BINDINGS = '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings'

test('rules are read from their table and told in Kubernetes\' notation', () => {
  assert.deepEqual(rulesOf('read core,apps pods x\nget /a,/b/*'), [
    { verbs: ['get', 'list', 'watch'], apiGroups: ['', 'apps'], resources: ['pods'], resourceNames: ['x'] },
    { verbs: ['get'], nonResourceURLs: ['/a', '/b/*'] },
  ])
  assert.equal(ruleText({ verbs: ['get', 'list'], apiGroups: ['apps'], resources: ['deployments'] }), '{APIGroups:["apps"], Resources:["deployments"], Verbs:["get" "list"]}')
})

test('what is not held is told, and no more', () => {
  const held = rulesOf('get,list core pods\nget * */scale\nget core secrets one\nget /a/*')
  assert.ok(covers(held, { verbs: ['get'], apiGroups: ['apps'], resources: ['deployments/scale'] }))
  assert.ok(covers(held, { verbs: ['get'], nonResourceURLs: ['/a/b', '/a/*'] }))
  assert.ok(!covers(held, { verbs: ['get'], apiGroups: [''], resources: ['secrets'] }))
  assert.deepEqual(missingRules(held, rulesOf('get,delete,create core pods\nget core secrets one,two\nget /b')), [
    '{APIGroups:[""], Resources:["pods"], Verbs:["create" "delete"]}',
    '{APIGroups:[""], Resources:["secrets"], ResourceNames:["two"], Verbs:["get"]}',
    '{NonResourceURLs:["/b"], Verbs:["get"]}',
  ])
})

test('every default role and binding is there, and every binding has its role', async () => {
  await using h = await startHarness()
  const all = defaultRbacObjects()
  const names = async (path: string) => new Set((await h.call<{ items: Role[] }>('GET', path)).body.items.map((o) => o.metadata.name))
  for (const path of new Set(all.map((o) => o.path))) {
    const there = await names(path)
    assert.deepEqual(all.filter((o) => o.path === path && !there.has(o.object.metadata.name)).map((o) => o.object.metadata.name), [], path)
  }
  const roles = await names(ROLES)
  for (const name of ['admin', 'view', 'system:node', 'system:kube-dns', 'system:controller:job-controller', 'system:certificates.k8s.io:kubelet-serving-approver']) assert.ok(roles.has(name), name)
  for (const { path, object } of all) if (path === BINDINGS) assert.ok(roles.has((object.roleRef as { name: string }).name), object.metadata.name)
})

test('a restart gives back what a default role lost, keeps what was added, and leaves alone what opted out', async () => {
  const extra = { verbs: ['get'], apiGroups: ['x'], resources: ['y'] }
  await using before = await startHarness()
  {
    const h = before
    const put = async (path: string, change: (o: Role) => object): Promise<void> => {
      const got = await h.call<Role>('GET', path)
      const answer = await h.call('PUT', path, { ...got.body, ...change(got.body) })
      assert.equal(answer.status, 200, JSON.stringify(answer.body))
    }
    await put(`${ROLES}/system:basic-user`, () => ({ rules: [extra] }))
    await put(`${ROLES}/system:kube-dns`, (o) => ({ rules: [], metadata: { ...o.metadata, annotations: { 'rbac.authorization.kubernetes.io/autoupdate': 'false' } } }))
    await put(`${BINDINGS}/system:discovery`, () => ({ subjects: [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: 'me' }] }))
    await h.call('DELETE', `${BINDINGS}/system:monitoring`)
  }
  await using h = await startHarness({ store: before.store })
  const get = async (path: string) => (await h.call<Role>('GET', path)).body
  const basic = await get(`${ROLES}/system:basic-user`)
  assert.deepEqual(basic.rules?.map((r) => r.resources), [['y'], ['selfsubjectaccessreviews', 'selfsubjectrulesreviews'], ['selfsubjectreviews']])
  assert.deepEqual((await get(`${ROLES}/system:kube-dns`)).rules ?? [], [])
  assert.deepEqual((await get(`${BINDINGS}/system:discovery`)).subjects?.map((s) => s.name), ['me', 'system:authenticated'])
  assert.equal((await get(`${BINDINGS}/system:monitoring`)).metadata.name, 'system:monitoring')
})

test('an aggregated role shows the rules it takes over, through others too, and those of a new role', async () => {
  await using h = await startHarness()
  const resources = async (name: string) => new Set((await h.call<Role>('GET', `${ROLES}/${name}`)).body.rules?.flatMap((r) => r.resources ?? []))
  await until('edit has what view has', async () => (await resources('admin')).has('pods/log') && (await resources('edit')).has('pods/log'))
  assert.ok((await resources('admin')).has('rolebindings') && !(await resources('edit')).has('rolebindings') && !(await resources('view')).has('secrets'))
  await h.call('POST', ROLES, { metadata: { name: 'gadgets', labels: { 'rbac.authorization.k8s.io/aggregate-to-view': 'true' } }, rules: [{ verbs: ['get'], apiGroups: ['g'], resources: ['gadgets'] }] })
  await until('it reaches all three', async () => (await Promise.all(['view', 'edit', 'admin'].map(resources))).every((r) => r.has('gadgets')))
  await h.call('DELETE', `${ROLES}/gadgets`)
  await until('and leaves them', async () => (await Promise.all(['view', 'edit', 'admin'].map(resources))).every((r) => !r.has('gadgets')))
})
