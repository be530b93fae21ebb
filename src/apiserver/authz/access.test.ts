import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeUser, type UserInfo } from '../../api/contract.ts'
import { startHarness, type Harness } from '../../../test/kit/api-harness.ts'

const ALICE: UserInfo = { name: 'alice', groups: ['system:authenticated'] }
const N1 = nodeUser('n1')
const MERGE = { 'content-type': 'application/merge-patch+json' }
type Review = { status: { allowed: boolean; reason?: string } }

async function pod(h: Harness, name: string, node: string | undefined, secret?: string): Promise<void> {
  const volumes = secret ? [{ name: 's', secret: { secretName: secret } }] : []
  const made = await h.call('POST', '/api/v1/namespaces/default/pods', { metadata: { name }, spec: { containers: [{ name: 'c', image: 'x' }], volumes } })
  assert.equal(made.status, 201, JSON.stringify(made.body))
  if (!node) return
  const bound = await h.call('POST', `/api/v1/namespaces/default/pods/${name}/binding`, { target: { kind: 'Node', name: node } })
  assert.equal(bound.status, 201, JSON.stringify(bound.body))
}

async function withAccount(): Promise<Harness> {
  const h = await startHarness()
  await h.call('POST', '/api/v1/namespaces/default/serviceaccounts', { metadata: { name: 'default' } })
  return h
}

test('a user may do what a role says once it is bound, and nothing before', async () => {
  await using h = await startHarness()
  const list = () => h.call<{ message: string }>('GET', '/api/v1/namespaces/default/pods', undefined, { user: ALICE })
  const refused = await list()
  assert.equal(refused.status, 403)
  assert.equal(refused.body.message, 'pods is forbidden: User "alice" cannot list resource "pods" in API group "" in the namespace "default"')
  await h.call('POST', '/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings', {
    metadata: { name: 'alice-views' },
    subjects: [{ kind: 'User', name: 'alice', apiGroup: 'rbac.authorization.k8s.io' }],
    roleRef: { kind: 'ClusterRole', name: 'view', apiGroup: 'rbac.authorization.k8s.io' },
  })
  assert.equal((await list()).status, 200)
  assert.equal((await h.call('GET', '/api/v1/namespaces/kube-system/pods', undefined, { user: ALICE })).status, 403)
  assert.equal((await h.call('GET', '/api/v1/namespaces/default/secrets', undefined, { user: ALICE })).status, 403)
})

test('nobody grants more than they hold', async () => {
  await using h = await startHarness()
  const rbac = '/apis/rbac.authorization.k8s.io/v1'
  await h.call('POST', `${rbac}/clusterroles`, { metadata: { name: 'role-writer' }, rules: [{ verbs: ['create', 'get', 'update'], apiGroups: ['rbac.authorization.k8s.io'], resources: ['roles', 'rolebindings'] }, { verbs: ['get'], apiGroups: [''], resources: ['pods'] }] })
  const bind = { metadata: { name: 'b' }, subjects: [{ kind: 'User', name: 'alice', apiGroup: 'rbac.authorization.k8s.io' }], roleRef: { kind: 'ClusterRole', name: 'role-writer', apiGroup: 'rbac.authorization.k8s.io' } }
  await h.call('POST', `${rbac}/namespaces/default/rolebindings`, bind)
  const role = (name: string, resource: string) => h.call('POST', `${rbac}/namespaces/default/roles`, { metadata: { name }, rules: [{ verbs: ['get'], apiGroups: [''], resources: [resource] }] }, { user: ALICE })
  assert.equal((await role('ok', 'pods')).status, 201)
  assert.equal((await role('more', 'secrets')).status, 403)
  const toAdmin = { ...bind, metadata: { name: 'c' }, roleRef: { ...bind.roleRef, name: 'cluster-admin' } }
  assert.equal((await h.call('POST', `${rbac}/namespaces/default/rolebindings`, toAdmin, { user: ALICE })).status, 403)
})

test('a node reads its own pods and what they name, and nothing of other nodes', async () => {
  await using h = await withAccount()
  for (const name of ['mine', 'theirs', 'loose']) await h.call('POST', '/api/v1/namespaces/default/secrets', { metadata: { name } })
  await pod(h, 'p1', 'n1', 'mine')
  await pod(h, 'p2', 'n2', 'theirs')
  const get = async (path: string) => (await h.call('GET', `/api/v1/namespaces/default/${path}`, undefined, { user: N1 })).status
  assert.equal(await get('secrets/mine'), 200)
  assert.equal(await get('secrets/theirs'), 403)
  assert.equal(await get('secrets/loose'), 403)
  assert.equal(await get('secrets'), 403)
  assert.equal(await get('pods/p1'), 200)
  assert.equal(await get('pods/p2'), 403)
  assert.equal(await get('configmaps/kube-root-ca.crt'), 404)
  const all = (selector: string) => h.call('GET', `/api/v1/pods${selector}`, undefined, { user: N1 })
  assert.equal((await all('')).status, 403)
  assert.equal((await all('?fieldSelector=spec.nodeName%3Dn2')).status, 403)
  assert.equal((await all('?fieldSelector=spec.nodeName%3Dn1')).status, 200)
  await h.call('DELETE', '/api/v1/namespaces/default/pods/p1?gracePeriodSeconds=0')
  assert.equal(await get('secrets/mine'), 403)
})

test('a node reads the claims of its own pods and the volumes behind them, and lists volumes that are its own', async () => {
  await using h = await withAccount()
  const claim = (name: string) => ({ metadata: { name }, spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } } })
  const volume = (name: string, claimed: string, node: string) => ({ metadata: { name, labels: { 'skerry.io/node': node } }, spec: { capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'], claimRef: { kind: 'PersistentVolumeClaim', namespace: 'default', name: claimed }, hostPath: { path: `/srv/${name}` } } })
  const made = async (path: string, object: object): Promise<void> => {
    const { status, body } = await h.call('POST', path, object)
    assert.equal(status, 201, JSON.stringify(body))
  }
  for (const [name, node] of [['mine', 'n1'], ['theirs', 'n2'], ['loose', 'n1']] as const) {
    await made('/api/v1/namespaces/default/persistentvolumeclaims', claim(name))
    await made('/api/v1/persistentvolumes', volume(`v-${name}`, name, node))
    if (name !== 'loose') await made('/api/v1/namespaces/default/pods', { metadata: { name: `p-${name}` }, spec: { nodeName: node, containers: [{ name: 'c', image: 'i' }], volumes: [{ name: 'v', persistentVolumeClaim: { claimName: name } }] } })
  }
  const ask = (path: string) => h.call<{ items?: unknown[]; message?: string }>('GET', `/api/v1${path}`, undefined, { user: N1 })
  const get = async (path: string) => (await ask(path)).status
  const claims = '/namespaces/default/persistentvolumeclaims'
  assert.deepEqual([await get(`${claims}/mine`), await get(`${claims}/theirs`), await get(`${claims}/loose`)], [200, 403, 403])
  assert.deepEqual([await get('/persistentvolumes/v-mine'), await get('/persistentvolumes/v-theirs'), await get('/persistentvolumes/v-loose'), await get('/persistentvolumes/none')], [200, 403, 403, 403])
  assert.match((await ask('/persistentvolumes/v-theirs')).body.message ?? '', /no relationship found between node 'n1' and this object/)
  for (const path of [claims, '/persistentvolumeclaims', '/persistentvolumes', '/persistentvolumes?labelSelector=skerry.io%2Fnode', '/persistentvolumes?labelSelector=skerry.io%2Fnode%3Dn2', '/persistentvolumes?labelSelector=skerry.io%2Fnode+in+(n1,n2)', '/persistentvolumes?labelSelector=skerry.io%2Fnode%21%3Dn1']) {
    const { status, body } = await ask(path)
    assert.equal(status, 403, path)
    assert.match(body.message ?? '', /can only get individual resources of this type/)
  }
  const own = await ask('/persistentvolumes?labelSelector=skerry.io%2Fnode%3Dn1')
  assert.deepEqual([own.status, own.body.items?.length], [200, 2])
  assert.equal((await h.call('GET', '/apis/storage.k8s.io/v1/storageclasses', undefined, { user: N1 })).status, 403)
  await h.call('DELETE', '/api/v1/namespaces/default/pods/p-mine?gracePeriodSeconds=0')
  assert.deepEqual([await get(`${claims}/mine`), await get('/persistentvolumes/v-mine')], [403, 403])
})

test('a node writes itself, its lease and the status of its pods, no other', async () => {
  await using h = await withAccount()
  await pod(h, 'p1', 'n1')
  await pod(h, 'p2', 'n2')
  const as = { user: N1 }
  assert.equal((await h.call('POST', '/api/v1/nodes', { metadata: { name: 'n1' } }, as)).status, 201)
  assert.equal((await h.call('POST', '/api/v1/nodes', { metadata: { name: 'n9' } }, as)).status, 403)
  const patch = async (path: string, body: object) => (await h.call('PATCH', path, body, { ...as, headers: MERGE })).status
  assert.equal(await patch('/api/v1/nodes/n1/status', { status: { phase: 'x' } }), 200)
  assert.equal(await patch('/api/v1/nodes/n1', { metadata: { labels: { device: 'camera', 'kubernetes.io/hostname': 'n1' } } }), 200)
  assert.equal(await patch('/api/v1/nodes/n1', { metadata: { labels: { 'node-restriction.kubernetes.io/x': '1' } } }), 403)
  assert.equal(await patch('/api/v1/namespaces/default/pods/p1/status', { status: { phase: 'Running' } }), 200)
  assert.equal(await patch('/api/v1/namespaces/default/pods/p2/status', { status: { phase: 'Running' } }), 403)
  assert.equal(await patch('/api/v1/namespaces/default/pods/p1', { metadata: { labels: { a: 'b' } } }), 403)
  const lease = async (name: string) => (await h.call('POST', '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases', { metadata: { name } }, as)).status
  assert.equal(await lease('n1'), 201)
  assert.equal(await lease('n2'), 403)
})

test('a pod is bound once, and its deletion waits for the node', async () => {
  await using h = await withAccount()
  await pod(h, 'p', 'n1')
  const again = await h.call('POST', '/api/v1/namespaces/default/pods/p/binding', { target: { kind: 'Node', name: 'n2' } })
  assert.equal(again.status, 409)
  const asked = await h.call('DELETE', '/api/v1/namespaces/default/pods/p')
  assert.equal(asked.body.metadata.deletionGracePeriodSeconds, 30)
  assert.equal((await h.call('GET', '/api/v1/namespaces/default/pods/p')).status, 200)
  await h.call('DELETE', '/api/v1/namespaces/default/pods/p', { gracePeriodSeconds: 0 }, { user: N1 })
  assert.equal((await h.call('GET', '/api/v1/namespaces/default/pods/p')).status, 404)
})

test('access reviews answer as the authorizer decides', async () => {
  await using h = await startHarness()
  const review = async (user: UserInfo, verb: string, resource: string) =>
    (await h.call<Review>('POST', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', { spec: { resourceAttributes: { verb, resource, namespace: 'default' } } }, { user })).body.status.allowed
  assert.equal(await review(ALICE, 'get', 'pods'), false)
  assert.equal(await review({ name: 'root', groups: ['system:masters'] }, 'get', 'pods'), true)
  const other = await h.call<Review>('POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews', { spec: { user: 'system:kube-scheduler', resourceAttributes: { verb: 'create', resource: 'pods', subresource: 'binding' } } })
  assert.equal(other.body.status.allowed, true)
  assert.equal((await h.call('POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews', { spec: {} }, { user: ALICE })).status, 403)
})

test('a node reports on the devices bound to it, and changes neither what is wanted of them nor those of others', async () => {
  await using h = await startHarness()
  const group = 'devices.kubeedge.io'
  const open = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true }
  for (const [plural, kind] of [['devices', 'Device'], ['devicestatuses', 'DeviceStatus']] as const) {
    const schema = { openAPIV3Schema: { type: 'object', properties: { spec: open, status: open } } }
    const versions = [{ name: 'v1beta1', served: true, storage: true, schema, subresources: { status: {} } }]
    const made = await h.call('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', { metadata: { name: `${plural}.${group}` }, spec: { group, names: { plural, kind }, scope: 'Namespaced', versions } })
    assert.equal(made.status, 201, JSON.stringify(made.body))
  }
  const at = `/apis/${group}/v1beta1/namespaces/default`
  for (const n of ['1', '2']) await h.call('POST', `${at}/devices`, { metadata: { name: `cam-${n}` }, spec: { nodeName: `n${n}` } })
  const patch = async (path: string, body: object) => (await h.call('PATCH', `${at}/${path}`, body, { user: N1, headers: MERGE })).status
  assert.equal(await patch('devices/cam-1/status', { status: { state: 'online' } }), 200)
  assert.equal(await patch('devices/cam-1', { spec: { nodeName: 'n1', fps: 9 } }), 403)
  assert.equal(await patch('devices/cam-2/status', { status: { state: 'online' } }), 403)
  const report = async (name: string) => (await h.call('POST', `${at}/devicestatuses`, { metadata: { name } }, { user: N1 })).status
  assert.equal(await report('cam-1'), 201)
  assert.equal(await report('cam-2'), 403)
  assert.equal((await h.call('GET', `${at}/devices`, undefined, { user: N1 })).status, 200)
})
