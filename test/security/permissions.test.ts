/**
 * Who may do what: every identity, on every resource and subresource, with every verb, in a namespace of theirs, in another's and
 * cluster-wide, as real requests through the pipeline. What is expected is written here in words of the documentation (who sees
 * what, who writes what), not taken from the rules that grant it. A request that is let through may still fail for other reasons.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { nodeUser, type UserInfo } from '../../src/api/contract.ts'
import { RESOURCES } from '../../src/api/kinds.ts'
import type { ResourceDef } from '../../src/api/resource.ts'
import { ANONYMOUS } from '../../src/apiserver/authn/authenticator.ts'
import { setLogSink } from '../../src/base/log.ts'
import { startHarness, type Harness } from '../kit/api-harness.ts'

const OWN = 'own'
const OTHER = 'other'
const AUTHENTICATED = 'system:authenticated'
const user = (name: string, ...groups: string[]): UserInfo => ({ name, groups: [...groups, AUTHENTICATED] })

/** One act: `cluster` stands for a cluster-scoped object or for a list over all namespaces. */
interface Act {
  readonly verb: string
  readonly group: string
  readonly resource: string
  readonly sub: string | undefined
  readonly namespace: string | undefined
  readonly namespaced: boolean
}

const READS = ['get', 'list', 'watch']
const VERBS = [...READS, 'create', 'update', 'patch', 'delete', 'deletecollection']
const reads = (a: Act): boolean => READS.includes(a.verb)
const is = (a: Act, ...names: string[]): boolean => names.includes(`${a.resource}${a.sub === undefined ? '' : `/${a.sub}`}`)
const isRbac = (a: Act): boolean => a.group === 'rbac.authorization.k8s.io'

/** What anybody known may ask: who am I, and what may I. */
const asksAboutSelf = (a: Act): boolean => a.verb === 'create' && is(a, 'selfsubjectaccessreviews', 'selfsubjectrulesreviews', 'selfsubjectreviews')
/** "See most objects in a namespace", status and scale of them and logs; no Secrets, no roles; nothing that runs or reaches into pods. */
function isSeen(a: Act): boolean {
  if (!a.namespaced && a.resource !== 'namespaces') return false
  if (isRbac(a) || is(a, 'secrets', 'localsubjectaccessreviews', 'leases', 'podtemplates', 'csistoragecapacities')) return false
  return a.sub === undefined || a.sub === 'status' || a.sub === 'scale' || is(a, 'pods/log')
}
/** Editors also see Secrets and Leases, and reach into pods and services. */
const isSeenByEditors = (a: Act): boolean => isSeen(a) || is(a, 'secrets', 'leases', 'pods/attach', 'pods/exec', 'pods/portforward', 'pods/proxy', 'services/proxy')
/** Editors write what people run, not what limits them, not what controllers report. */
function isWrittenByEditors(a: Act): boolean {
  if (is(a, 'pods/eviction', 'serviceaccounts/token')) return a.verb === 'create'
  if (is(a, 'pods/attach', 'pods/exec', 'pods/portforward', 'pods/proxy', 'services/proxy') || a.sub === 'scale') return true
  if (a.sub !== undefined || !a.namespaced || !isSeenByEditors(a)) return false
  return !is(a, 'resourcequotas', 'limitranges', 'endpoints', 'endpointslices', 'controllerrevisions', 'bindings') && a.group !== 'events.k8s.io'
}
const edits = (a: Act): boolean => (reads(a) ? isSeenByEditors(a) : isWrittenByEditors(a))
const administers = (a: Act): boolean => edits(a) || (isRbac(a) && a.namespaced) || (is(a, 'localsubjectaccessreviews') && a.verb === 'create')
const here = (a: Act): boolean => a.namespace === OWN

/** A node, about objects that have nothing to do with it. */
function ofNode(a: Act): boolean {
  if (reads(a) && a.sub === undefined && is(a, 'services', 'endpoints', 'endpointslices', 'runtimeclasses', 'csidrivers')) return true
  if (is(a, 'events')) return ['create', 'update', 'patch'].includes(a.verb)
  if (is(a, 'certificatesigningrequests')) return reads(a) || a.verb === 'create'
  // What it may not put into these is admission's to say, and what is sent here is empty.
  if (is(a, 'tokenreviews', 'subjectaccessreviews', 'localsubjectaccessreviews')) return a.verb === 'create'
  return false
}

const IDENTITIES: readonly { readonly name: string; readonly user: UserInfo; may(a: Act): boolean }[] = [
  { name: 'administrator', user: user('root', 'system:masters'), may: () => true },
  { name: 'cluster-admin by group', user: user('boss', 'bosses'), may: () => true },
  { name: 'admin of a namespace', user: user('adam'), may: (a) => asksAboutSelf(a) || (here(a) && administers(a)) },
  { name: 'editor of a namespace', user: user('eve'), may: (a) => asksAboutSelf(a) || (here(a) && edits(a)) },
  { name: 'viewer of a namespace', user: user('vera'), may: (a) => asksAboutSelf(a) || (here(a) && reads(a) && isSeen(a)) },
  { name: 'viewer of everything', user: user('walter'), may: (a) => asksAboutSelf(a) || (reads(a) && isSeen(a)) },
  { name: 'default service account', user: user(`system:serviceaccount:${OWN}:default`, 'system:serviceaccounts', `system:serviceaccounts:${OWN}`), may: asksAboutSelf },
  { name: 'node', user: nodeUser('n1'), may: (a) => asksAboutSelf(a) || ofNode(a) },
  { name: 'node without a name', user: user('system:node:', 'system:nodes'), may: asksAboutSelf },
  { name: 'somebody who calls themselves a node', user: user('system:node:n1'), may: asksAboutSelf },
  { name: 'joining node', user: user('system:bootstrap:abcdef', 'system:bootstrappers'), may: (a) => asksAboutSelf(a) || (is(a, 'certificatesigningrequests') && (reads(a) || a.verb === 'create')) },
  { name: 'impersonator', user: user('mallory'), may: asksAboutSelf },
  { name: 'nobody in particular', user: user('nora'), may: asksAboutSelf },
  { name: 'anonymous', user: ANONYMOUS, may: () => false },
]

/** What the rules say of a node's own objects, which the table above does not have; and what only admission refuses. */
const NODE_MAY_ASK = (a: Act): boolean => (is(a, 'nodes', 'pods', 'csinodes', 'resourceslices', 'leases') && a.verb === 'create') || is(a, 'serviceaccounts/token') || (is(a, 'persistentvolumes') && a.verb === 'patch')

let h: Harness
let sink: ReturnType<typeof setLogSink>
before(async () => {
  // Streams and proxies have nowhere to go here, which the server tells each time.
  sink = setLogSink(() => undefined)
  h = await startHarness()
  const rbac = '/apis/rbac.authorization.k8s.io/v1'
  const make = async (path: string, object: object): Promise<void> => {
    const { status, body } = await h.call('POST', path, object)
    assert.equal(status, 201, JSON.stringify(body))
  }
  const bind = (path: string, name: string, role: string, kind: string, to: string): Promise<void> =>
    make(path, { metadata: { name }, roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role }, subjects: [{ kind, name: to, apiGroup: 'rbac.authorization.k8s.io' }] })
  for (const name of [OWN, OTHER]) {
    await make('/api/v1/namespaces', { metadata: { name } })
    await make(`/api/v1/namespaces/${name}/serviceaccounts`, { metadata: { name: 'default' } })
  }
  const local = `${rbac}/namespaces/${OWN}/rolebindings`
  for (const [role, name] of [['admin', 'adam'], ['edit', 'eve'], ['view', 'vera']] as const) await bind(local, name, role, 'User', name)
  await bind(`${rbac}/clusterrolebindings`, 'walter', 'view', 'User', 'walter')
  await bind(`${rbac}/clusterrolebindings`, 'bosses', 'cluster-admin', 'Group', 'bosses')
  await make(`${rbac}/clusterroles`, { metadata: { name: 'impersonate-vera' }, rules: [{ verbs: ['impersonate'], apiGroups: [''], resources: ['users'], resourceNames: ['vera'] }] })
  await bind(`${rbac}/clusterrolebindings`, 'mallory', 'impersonate-vera', 'User', 'mallory')
})
after(async () => {
  await h[Symbol.asyncDispose]()
  setLogSink(sink)
})

const METHOD: Readonly<Record<string, 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'>> = { get: 'GET', list: 'GET', watch: 'GET', create: 'POST', update: 'PUT', patch: 'PATCH', delete: 'DELETE', deletecollection: 'DELETE' }
const NAMED = new Set(['get', 'update', 'patch', 'delete'])

/** The status of an act, tried without effect. */
async function status(who: UserInfo, def: ResourceDef, a: Act): Promise<number> {
  const base = `${def.group === '' ? '/api' : `/apis/${def.group}`}/${def.version}`
  const path = `${base}${def.namespaced && a.namespace ? `/namespaces/${a.namespace}` : ''}/${def.resource}${NAMED.has(a.verb) || a.sub !== undefined ? '/some-object' : ''}${a.sub === undefined ? '' : `/${a.sub}`}`
  if (a.verb === 'watch') {
    const watch = await h.watch(`${path}?watch=true`, who)
    await watch.end()
    return watch.status
  }
  const writes = !READS.includes(a.verb)
  const headers = a.verb === 'patch' ? { 'content-type': 'application/merge-patch+json' } : {}
  return (await h.call(METHOD[a.verb] as 'GET', writes ? `${path}?dryRun=All` : path, writes && a.verb !== 'deletecollection' && a.verb !== 'delete' ? {} : undefined, { user: who, headers })).status
}

/** Every act there is on a resource: subresources by what their path can ask. */
function* acts(def: ResourceDef): Generator<Act> {
  for (const namespace of def.namespaced ? [OWN, OTHER, undefined] : [undefined]) {
    for (const sub of [undefined, ...def.subresources.map((s) => s.name)]) {
      for (const verb of VERBS) {
        // Below an object there are no collections; over all namespaces there are no single objects.
        if (sub !== undefined && (verb === 'list' || verb === 'watch' || verb === 'deletecollection')) continue
        if (def.namespaced && namespace === undefined && (sub !== undefined || !['list', 'watch', 'deletecollection'].includes(verb))) continue
        yield { verb, group: def.group, resource: def.resource, sub, namespace, namespaced: def.namespaced }
      }
    }
  }
}

for (const identity of IDENTITIES) {
  test(`${identity.name} may do what the documentation says, and nothing else`, async () => {
    const wrong: string[] = []
    let tried = 0
    for (const def of RESOURCES) {
      for (const act of acts(def)) {
        // ComponentStatus is answered for whatever is asked.
        if (def.resource === 'componentstatuses' && act.verb !== 'list' && act.verb !== 'get') continue
        const expected = identity.may(act)
        if (!expected && identity.name === 'node' && NODE_MAY_ASK(act)) continue
        const got = await status(identity.user, def, act)
        tried++
        if ((got !== 403) !== expected) wrong.push(`${act.verb} ${def.group}/${def.resource}${act.sub ? `/${act.sub}` : ''} in ${act.namespace ?? 'all'}: ${got}, expected ${expected ? 'to be let through' : '403'}`)
      }
    }
    assert.deepEqual(wrong, [])
    assert.ok(tried > 1_000, `only ${tried} acts were tried`)
  })
}

test('paths that are no resources: what all may read, what those known may, what few may', async () => {
  const open = ['/healthz', '/livez', '/livez/ping', '/readyz', '/version']
  const known = ['/api', '/api/v1', '/apis', '/apis/apps', '/apis/apps/v1', '/openapi/v2', '/openapi/v3']
  const issuer = ['/.well-known/openid-configuration', '/openid/v1/jwks']
  const few = ['/metrics', '/logs', '/debug/pprof', '/configz', '/']
  for (const { name, user: who } of IDENTITIES) {
    const may = (paths: readonly string[]): readonly [readonly string[], boolean] => [paths, who.groups.includes('system:masters') || who.groups.includes('bosses')]
    const table: (readonly [readonly string[], boolean])[] = [
      [open, true],
      [known, name !== 'anonymous'],
      [issuer, may(issuer)[1] || who.groups.includes('system:serviceaccounts')],
      may(few),
    ]
    for (const [paths, expected] of table) {
      for (const path of paths) {
        const got = (await h.call('GET', path, undefined, { user: who })).status
        assert.equal(got !== 403, expected, `${name}: ${path} answered ${got}`)
      }
    }
    for (const method of ['POST', 'PUT', 'DELETE'] as const) {
      const got = (await h.call(method, '/version', {}, { user: who })).status
      assert.equal(got === 403, !may(few)[1], `${name}: ${method} /version answered ${got}`)
    }
  }
})

test('a node may reach what belongs to it and its pods; the same of another node is refused', async () => {
  const ns = `/api/v1/namespaces/${OWN}`
  for (const n of ['1', '2']) {
    await h.call('POST', '/api/v1/nodes', { metadata: { name: `n${n}` } })
    for (const kind of ['secrets', 'configmaps']) for (const use of ['volume', 'env', 'pull']) await h.call('POST', `${ns}/${kind}`, { metadata: { name: `${use}-${n}` } })
    await h.call('POST', `${ns}/secrets`, { metadata: { name: `loose-${n}` } })
    const made = await h.call('POST', `${ns}/pods`, {
      metadata: { name: `p${n}` },
      spec: {
        imagePullSecrets: [{ name: `pull-${n}` }],
        containers: [{ name: 'c', image: 'x', envFrom: [{ secretRef: { name: `env-${n}` } }, { configMapRef: { name: `env-${n}` } }] }],
        volumes: [{ name: 's', secret: { secretName: `volume-${n}` } }, { name: 'c', projected: { sources: [{ configMap: { name: `volume-${n}` } }] } }],
      },
    })
    assert.equal(made.status, 201, JSON.stringify(made.body))
    await h.call('POST', `${ns}/pods/p${n}/binding`, { target: { kind: 'Node', name: `n${n}` } })
  }
  await h.call('GET', `${ns}/pods`)
  const lease = '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases'
  const patch = { headers: { 'content-type': 'application/merge-patch+json' } }
  /** Each act with `#` for the node's number; all of them are a node's right, and none is another's. */
  const own: readonly (readonly ['GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', string])[] = [
    ['GET', '/api/v1/nodes/n#'], ['GET', '/api/v1/nodes?fieldSelector=metadata.name%3Dn#'], ['PATCH', '/api/v1/nodes/n#/status'], ['PATCH', '/api/v1/nodes/n#'],
    ['GET', `${ns}/pods/p#`], ['PATCH', `${ns}/pods/p#/status`], ['DELETE', `${ns}/pods/p#`], ['GET', '/api/v1/pods?fieldSelector=spec.nodeName%3Dn#'],
    ...['volume', 'env', 'pull'].map((use) => ['GET', `${ns}/secrets/${use}-#`] as const),
    ...['volume', 'env'].flatMap((use) => [['GET', `${ns}/configmaps/${use}-#`], ['GET', `${ns}/configmaps?fieldSelector=metadata.name%3D${use}-#`]] as const),
    ['GET', `${lease}/n#`], ['PATCH', `${lease}/n#`], ['GET', '/apis/resource.k8s.io/v1/resourceslices?fieldSelector=spec.nodeName%3Dn#'], ['GET', '/apis/storage.k8s.io/v1/csinodes/n#'],
  ]
  const never: readonly (readonly ['GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', string])[] = [
    ['GET', '/api/v1/nodes'], ['GET', '/api/v1/pods'], ['GET', `${ns}/pods`], ['GET', `${ns}/secrets`], ['GET', `${ns}/secrets/loose-#`], ['GET', `${ns}/configmaps/pull-#`], ['DELETE', '/api/v1/nodes/n#'],
    ['PUT', `${ns}/secrets/volume-#`], ['PATCH', `${ns}/configmaps/volume-#`], ['PATCH', `${ns}/pods/p#`], ['GET', lease], ['GET', `${ns}/pods/p#/log`],
    // Selectors that contain the node's own words and ask for something else.
    ['GET', '/api/v1/pods?fieldSelector=spec.nodeName!%3Dn#'], ['GET', '/api/v1/pods?fieldSelector=metadata.name!%3Da%5C,spec.nodeName%3Dn#'],
    ['GET', `/api/v1/pods?fieldSelector=&fieldSelector=spec.nodeName%3Dn#`], ['GET', '/api/v1/pods?labelSelector=spec.nodeName%3Dn#'],
    ['GET', `${ns}/secrets?fieldSelector=metadata.name!%3Dvolume-#`], ['GET', `${ns}/secrets?fieldSelector=metadata.name%3Dvolume-#,metadata.name%3Dloose-#`.replace('volume-#,', 'none,')],
  ]
  const n1 = nodeUser('n1')
  const got = async (method: 'GET', path: string, number: string): Promise<number> => (await h.call(method, path.replaceAll('#', number) + (method === 'GET' ? '' : '?dryRun=All'), method === 'GET' ? undefined : {}, { user: n1, ...(method === 'GET' ? {} : patch) })).status
  for (const [method, path] of own) {
    assert.notEqual(await got(method as 'GET', path, '1'), 403, `own: ${method} ${path}`)
    assert.equal(await got(method as 'GET', path, '2'), 403, `another's: ${method} ${path}`)
  }
  for (const [method, path] of never) for (const n of ['1', '2']) assert.equal(await got(method as 'GET', path, n), 403, `never: ${method} ${path} of ${n}`)
})

test('who may impersonate one user becomes that user and no other, and gains no group, uid or extra', async () => {
  const as = (headers: Record<string, string>) => h.api.authenticate({ peer: { subject: { cn: 'mallory', o: [] } }, headers })
  assert.deepEqual((await as({ 'impersonate-user': 'vera' }))?.groups, [AUTHENTICATED])
  for (const headers of [
    { 'impersonate-user': 'root' },
    { 'impersonate-user': 'vera', 'impersonate-group': 'system:masters' },
    { 'impersonate-user': 'vera', 'impersonate-uid': '1' },
    { 'impersonate-user': 'vera', 'impersonate-extra-scopes': 'all' },
    { 'impersonate-user': 'system:serviceaccount:own:default' },
    { 'impersonate-user': 'vera, root' },
    { 'impersonate-group': 'system:masters' },
  ]) {
    await assert.rejects(as(headers), (e: Error) => /cannot impersonate resource|without Impersonate-User/.test(e.message), JSON.stringify(headers))
  }
})

test('what a node writes is about itself: owners, labels through status, slices and pods of others are refused', async () => {
  const ns = `/api/v1/namespaces/${OWN}`
  const n1 = { user: nodeUser('n1') }
  const merge = { ...n1, headers: { 'content-type': 'application/merge-patch+json' } }
  const owner = { apiVersion: 'v1', kind: 'ConfigMap', name: 'none', uid: '0' }
  const mirror = (spec: object, ownerReferences: object[] = []): object => ({ metadata: { name: 'm', annotations: { 'kubernetes.io/config.mirror': 'x' }, ownerReferences }, spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'x' }], ...spec } })
  const cases: readonly (readonly ['POST' | 'PATCH', string, object, RegExp | 201])[] = [
    ['PATCH', '/api/v1/nodes/n1', { metadata: { ownerReferences: [owner] } }, /not allowed to modify ownerReferences/],
    ['PATCH', `${ns}/pods/p1/status`, { metadata: { labels: { app: 'bank' } } }, /cannot update labels through pod status/],
    ['POST', '/apis/resource.k8s.io/v1/resourceslices', { metadata: { name: 's' }, spec: { driver: 'd.example', nodeName: 'n2', pool: { name: 'p', generation: 1, resourceSliceCount: 1 } } }, /same NodeName/],
    ['POST', `${ns}/pods`, mirror({ volumes: [{ name: 'v', secret: { secretName: 'loose-1' } }] }), /can not create pods that reference secrets/],
    ['POST', `${ns}/pods`, mirror({}, [owner]), /owner reference set to itself/],
    ['POST', `${ns}/pods`, mirror({ nodeName: 'n2' }), /spec\.nodeName set to itself/],
    ['POST', `${ns}/pods`, mirror({}), 201],
  ]
  for (const [method, path, body, expected] of cases) {
    const answer = await h.call<{ message?: string }>(method, `${path}?dryRun=All`, body, method === 'PATCH' ? merge : n1)
    if (expected === 201) assert.equal(answer.status, 201, answer.body.message)
    else assert.ok(answer.status === 403 && expected.test(answer.body.message ?? ''), `${method} ${path}: ${answer.status} ${answer.body.message}`)
  }
})
