import assert from 'node:assert/strict'
import { createServer } from 'node:https'
import { connect, type AddressInfo } from 'node:net'
import { test } from 'node:test'
import { startHarness, type Harness } from '../../../test/kit/api-harness.ts'
import { setLogSink } from '../../base/log.ts'
import { createCa, createKeyAndCsr, issue } from '../../base/pki.ts'
import type { Obj } from '../stored-text.ts'

interface Review {
  readonly request: { uid: string; name: string; kind: { group: string; version: string; kind: string }; resource: { version: string }; requestKind: { version: string }; options: { kind: string } | null; namespace?: string; operation: string; object: Obj | null; oldObject: Obj | null; userInfo: { username: string }; dryRun: boolean; subResource?: string }
}
type Answer = { allowed: boolean; patch?: object[]; warnings?: string[]; status?: object } | 'hang' | 'garbage'
type Said = Obj & { message: string; code: number }

const CONFIGMAPS = '/api/v1/namespaces/default/configmaps'
const RULE = { operations: ['*'], apiGroups: [''], apiVersions: ['v1'], resources: ['configmaps'] }

/** A webhook on this machine; `answer` decides by path. */
async function startHook(answer: (path: string, review: Review) => Answer): Promise<AsyncDisposable & { seen: { path: string; review: Review }[]; port: number; ca: string; config(path: string): object }> {
  const ca = await createCa({ cn: 'hook-ca', years: 1 })
  const { keyPem, csrPem } = await createKeyAndCsr({ cn: 'hook' })
  const cert = await issue({ ca, csrPem, cn: 'hook', usage: 'server', days: 1, sans: { dns: ['localhost', 'hook.default.svc'], ip: ['127.0.0.1'] } })
  const seen: { path: string; review: Review }[] = []
  const server = createServer({ key: keyPem, cert }, (req, res) => {
    let text = ''
    req.on('data', (chunk: Buffer) => (text += chunk.toString()))
    req.on('end', () => {
      const review = JSON.parse(text) as Review
      const path = (req.url ?? '').split('?')[0] as string
      seen.push({ path, review })
      const said = answer(path, review)
      if (said === 'hang') return
      if (said === 'garbage') return void res.end('no json')
      const { patch, ...rest } = said
      res.end(JSON.stringify({ kind: 'AdmissionReview', apiVersion: 'admission.k8s.io/v1', response: { uid: review.request.uid, ...rest, ...(patch ? { patchType: 'JSONPatch', patch: Buffer.from(JSON.stringify(patch)).toString('base64') } : {}) } }))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    seen,
    port,
    ca: Buffer.from(ca.certPem).toString('base64'),
    config: (path) => ({ url: `https://127.0.0.1:${port}${path}`, caBundle: Buffer.from(ca.certPem).toString('base64') }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

async function register(h: Harness, kind: 'mutating' | 'validating', webhooks: object[], name = 'w'): Promise<void> {
  const full = webhooks.map((w, i) => ({ name: `h${i}.example.com`, admissionReviewVersions: ['v1'], sideEffects: 'None', rules: [RULE], timeoutSeconds: 1, ...w }))
  const made = await h.call<Said>('POST', `/apis/admissionregistration.k8s.io/v1/${kind}webhookconfigurations`, { metadata: { name }, webhooks: full })
  assert.equal(made.status, 201, made.body.message)
}

const map = (name: string, data: object = {}, labels = {}): object => ({ metadata: { name, labels }, data })

test('mutating webhooks change objects in order, and again where they ask; validating ones see the result', async () => {
  await using hook = await startHook((path, { request }) => {
    const data = (request.object as { data?: Record<string, string> } | null)?.data ?? {}
    if (path === '/first') return { allowed: true, patch: [{ op: 'add', path: '/data/first', value: `${Number(data['first'] ?? 0) + 1}` }] }
    if (path === '/second') return { allowed: true, warnings: ['be careful'], patch: [{ op: 'add', path: '/data/second', value: 'yes' }] }
    return data['bad'] ? { allowed: false, status: { code: 403, reason: 'Forbidden', message: 'no bad data' } } : { allowed: true }
  })
  await using h = await startHarness()
  await register(h, 'mutating', [{ clientConfig: hook.config('/first'), reinvocationPolicy: 'IfNeeded' }], 'a')
  await register(h, 'mutating', [{ clientConfig: hook.config('/second') }], 'b')
  await register(h, 'validating', [{ clientConfig: hook.config('/check') }])
  const made = await h.call<Obj & { data: object }>('POST', CONFIGMAPS, map('x', { k: 'v' }))
  assert.deepEqual([made.status, made.body.data, made.headers['warning']], [201, { k: 'v', first: '2', second: 'yes' }, '299 - "be careful"'])
  const checked = hook.seen.find((s) => s.path === '/check')?.review.request
  assert.deepEqual([checked?.operation, checked?.name, checked?.namespace, checked?.userInfo.username, checked?.oldObject], ['CREATE', 'x', 'default', 'admin', null])
  assert.deepEqual((checked?.object as { data?: object } | null)?.data, { k: 'v', first: '2', second: 'yes' })
  const refused = await h.call<Said>('POST', CONFIGMAPS, map('y', { bad: '1' }))
  assert.deepEqual([refused.status, refused.body.reason, refused.body.message], [403, 'Forbidden', 'admission webhook "h0.example.com" denied the request: no bad data'])
  await h.call('DELETE', `${CONFIGMAPS}/x`)
  const deleted = hook.seen.findLast((s) => s.path === '/check')?.review.request
  assert.deepEqual([deleted?.operation, deleted?.object, deleted?.oldObject?.metadata.name], ['DELETE', null, 'x'])
})

test('what a mutating webhook adds is nobody\'s, on create and on update', async () => {
  await using hook = await startHook((_path, { request }) => ({ allowed: true, patch: [{ op: 'add', path: `/data/by-${request.operation.toLowerCase()}`, value: 'hook' }] }))
  await using h = await startHarness()
  await register(h, 'mutating', [{ clientConfig: hook.config('/') }])
  const made = await h.call<Obj & { data: object }>('POST', `${CONFIGMAPS}?fieldManager=me`, map('x', { k: 'v' }))
  const owned = (object: Obj): string[] => (object.metadata.managedFields ?? []).flatMap((e) => Object.keys((e.fieldsV1 as { 'f:data'?: object })['f:data'] ?? {}).sort())
  assert.deepEqual([made.body.data, owned(made.body)], [{ k: 'v', 'by-create': 'hook' }, ['.', 'f:k']])
  const seen = hook.seen[0]?.review.request.object as Obj
  assert.deepEqual(owned(seen), ['.', 'f:k'], 'the webhook sees who owns what')
  const next = await h.call<Obj & { data: object }>('PUT', `${CONFIGMAPS}/x?fieldManager=me`, { ...made.body, data: { ...made.body.data, more: '1' } })
  assert.deepEqual([next.body.data, owned(next.body)], [{ k: 'v', 'by-create': 'hook', 'by-update': 'hook', more: '1' }, ['.', 'f:k', 'f:more']])
})

test('selectors, rules and match conditions say which writes are shown', async () => {
  await using hook = await startHook(() => ({ allowed: false }))
  await using h = await startHarness()
  await h.call('PATCH', '/api/v1/namespaces/default', { metadata: { labels: { env: 'prod' } } }, { headers: { 'content-type': 'application/merge-patch+json' } })
  await register(h, 'validating', [{ clientConfig: hook.config('/'), rules: [{ ...RULE, operations: ['CREATE'] }], namespaceSelector: { matchLabels: { env: 'prod' } }, objectSelector: { matchLabels: { show: 'yes' } }, matchConditions: [{ name: 'not-admin', expression: 'request.userInfo.username != "admin" || has(object.data)' }, { name: 'may', expression: 'authorizer.group("").resource("secrets").namespace("default").check("get").allowed() && authorizer.requestResource.check("create").allowed()' }] }])
  const show = { show: 'yes' }
  assert.equal((await h.call('POST', CONFIGMAPS, map('a', { k: 'v' }))).status, 201)
  const refused = await h.call<Said>('POST', CONFIGMAPS, map('b', { k: 'v' }, show))
  assert.deepEqual([refused.status, refused.body.message], [400, 'admission webhook "h0.example.com" denied the request without explanation'])
  assert.equal((await h.call('POST', CONFIGMAPS, { ...map('c', {}, show), data: {} })).status, 201)
  assert.equal((await h.call('POST', '/api/v1/namespaces/kube-system/configmaps', map('d', { k: 'v' }, show))).status, 201)
  assert.equal((await h.call('POST', '/api/v1/namespaces/default/secrets', { metadata: { name: 'e', labels: show } })).status, 201)
  assert.equal(hook.seen.length, 1)
  const wrong = { metadata: { name: 'wrong' }, webhooks: [{ name: 'a.b.c', admissionReviewVersions: ['v1'], sideEffects: 'None', rules: [RULE], clientConfig: hook.config('/'), matchConditions: [{ name: 'm', expression: 'objekt.a' }] }] }
  const told = await h.call<Said>('POST', '/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations', wrong)
  assert.match(told.body.message, /webhooks\[0\]\.matchConditions\[0\]\.expression: Invalid value: "objekt\.a": compilation failed: ERROR: <input>:1:1: undeclared reference to 'objekt'/)
})

test('a webhook that fails refuses or is passed over, as its policy says', async () => {
  const former = setLogSink(() => undefined)
  try {
    await using hook = await startHook((path) => (path === '/hang' ? 'hang' : 'garbage'))
    await using h = await startHarness()
    const attempt = async (webhook: object, query = ''): Promise<{ status: number; message: string }> => {
      await register(h, 'validating', [webhook])
      const { status, body } = await h.call<Said>('POST', CONFIGMAPS + query, map('a'))
      await h.call('DELETE', '/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/w')
      await h.call('DELETE', `${CONFIGMAPS}/a`)
      return { status, message: body.message ?? '' }
    }
    const slow = await attempt({ clientConfig: hook.config('/hang') })
    assert.equal(slow.status, 500)
    assert.match(slow.message, /^Internal error occurred: failed calling webhook "h0\.example\.com": failed to call webhook: Post "https:\/\/127\.0\.0\.1:\d+\/hang\?timeout=1s": context deadline exceeded$/)
    assert.match((await attempt({ clientConfig: hook.config('/garbage') })).message, /is not JSON/)
    assert.equal((await attempt({ clientConfig: hook.config('/garbage'), failurePolicy: 'Ignore' })).status, 201)
    assert.match((await attempt({ clientConfig: { ...hook.config('/'), caBundle: '' } })).message, /certificate/)
    assert.match((await attempt({ clientConfig: { service: { namespace: 'ns', name: 'svc' } } })).message, /failed to call webhook: Post "https:\/\/svc\.ns\.svc:443\/\?timeout=1s": service "svc" not found$/)
    assert.match((await attempt({ clientConfig: hook.config('/garbage'), sideEffects: 'NoneOnDryRun' }, '?dryRun=All')).message, /is not JSON/)
    assert.equal(hook.seen.at(-1)?.review.request.dryRun, true)
    assert.match((await attempt({ clientConfig: hook.config('/'), matchConditions: [{ name: 'm', expression: 'object.gone.deep == 1' }] })).message, /match condition "m": no such key: gone$/)
  } finally {
    setLogSink(former)
  }
})

test('a webhook behind a Service is reached through the node of a ready pod, and must be who it says', async (t) => {
  await using hook = await startHook(() => ({ allowed: false, status: { message: 'seen' } }))
  const dialed: string[] = []
  const podStreams = {
    connect: async (pod: { node: string; pod: string }, port: number) => {
      dialed.push(`${pod.node}/${pod.pod}:${port}`)
      return connect({ host: '127.0.0.1', port: hook.port })
    },
  } as never
  const former = setLogSink(() => undefined)
  t.after(() => setLogSink(former))
  await using h = await startHarness({ podStreams })
  await h.call('POST', '/api/v1/namespaces/default/serviceaccounts', { metadata: { name: 'default' } })
  await h.call('POST', '/api/v1/namespaces/default/services', { metadata: { name: 'hook' }, spec: { selector: { app: 'hook' }, ports: [{ port: 443, targetPort: 'tls' }] } })
  await register(h, 'validating', [{ clientConfig: { service: { namespace: 'default', name: 'hook', path: '/check' }, caBundle: hook.ca } }])
  assert.match((await h.call<Said>('POST', CONFIGMAPS, map('x'))).body.message, /Post "https:\/\/hook\.default\.svc:443\/check\?timeout=1s": no endpoints available for service "hook"$/)
  const pod = await h.call('POST', '/api/v1/namespaces/default/pods', { metadata: { name: 'p', labels: { app: 'hook' } }, spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'i', ports: [{ name: 'tls', containerPort: 8443 }] }] } })
  assert.equal(pod.status, 201)
  await h.call('PATCH', '/api/v1/namespaces/default/pods/p/status', { status: { conditions: [{ type: 'Ready', status: 'True' }] } }, { headers: { 'content-type': 'application/merge-patch+json' } })
  assert.equal((await h.call<Said>('POST', CONFIGMAPS, map('x'))).body.message, 'admission webhook "h0.example.com" denied the request: seen')
  assert.deepEqual([dialed, hook.seen.map((s) => s.path)], [['n1/p:8443'], ['/check']])
  // The certificate speaks for another Service.
  await h.call('POST', '/api/v1/namespaces/default/services', { metadata: { name: 'other' }, spec: { selector: { app: 'hook' }, ports: [{ port: 443, targetPort: 8443 }] } })
  await register(h, 'validating', [{ clientConfig: { service: { namespace: 'default', name: 'other' }, caBundle: hook.ca } }], 'a')
  assert.match((await h.call<Said>('POST', CONFIGMAPS, map('x'))).body.message, /does not match certificate's altnames/)
})

test('a webhook of another version of the resource is shown that version, and its patch comes back', async () => {
  await using hook = await startHook((_path, { request }) => ({ allowed: true, ...(request.operation === 'CREATE' ? { patch: [{ op: 'add', path: '/spec/color', value: request.kind.version }] } : {}) }))
  await using h = await startHarness()
  const schema = { openAPIV3Schema: { type: 'object', properties: { spec: { type: 'object', properties: { color: { type: 'string' } } } } } }
  const crd = { metadata: { name: 'cams.x.io' }, spec: { group: 'x.io', scope: 'Namespaced', names: { plural: 'cams', kind: 'Cam' }, versions: [{ name: 'v1', served: true, storage: true, schema }, { name: 'v1beta1', served: true, storage: false, schema }] } }
  assert.equal((await h.call('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', crd)).status, 201)
  const rules = [{ operations: ['*'], apiGroups: ['x.io'], apiVersions: ['v1beta1'], resources: ['cams'] }]
  await register(h, 'mutating', [{ clientConfig: hook.config('/'), rules }])
  await register(h, 'mutating', [{ clientConfig: hook.config('/exact'), rules, matchPolicy: 'Exact' }], 'exact')
  const made = await h.call<Obj & { spec: object }>('POST', '/apis/x.io/v1/namespaces/default/cams', { metadata: { name: 'a' }, spec: {} })
  assert.deepEqual([made.status, made.body.apiVersion, made.body.spec], [201, 'x.io/v1', { color: 'v1beta1' }])
  const { request } = (hook.seen[0] as { review: Review }).review
  assert.deepEqual([hook.seen.length, request.kind.version, request.resource.version, request.requestKind.version, request.object?.apiVersion], [1, 'v1beta1', 'v1beta1', 'v1', 'x.io/v1beta1'])
})

test('what a webhook added is seen by the built-in rules once more', async () => {
  await using hook = await startHook((_path, { request }) => ({ allowed: true, ...(request.operation === 'CREATE' ? { patch: [{ op: 'add', path: '/spec/containers/-', value: { name: 'sidecar', image: 's' } }] } : {}) }))
  await using h = await startHarness()
  await h.call('POST', '/api/v1/namespaces/default/serviceaccounts', { metadata: { name: 'default' } })
  await h.call('POST', '/api/v1/namespaces/default/limitranges', { metadata: { name: 'l' }, spec: { limits: [{ type: 'Container', defaultRequest: { cpu: '100m' } }] } })
  await register(h, 'mutating', [{ clientConfig: hook.config('/'), rules: [{ ...RULE, resources: ['pods'] }] }])
  const made = await h.call<Obj & { spec: { containers: { name: string; resources: { requests?: object }; volumeMounts?: { mountPath: string }[] }[] } }>('POST', '/api/v1/namespaces/default/pods', { metadata: { name: 'p' }, spec: { containers: [{ name: 'c', image: 'i' }] } })
  const token = ['/var/run/secrets/kubernetes.io/serviceaccount']
  assert.deepEqual(made.body.spec.containers.map((c) => [c.name, c.resources.requests, c.volumeMounts?.map((m) => m.mountPath)]), [['c', { cpu: '100m' }, token], ['sidecar', { cpu: '100m' }, token]])
  assert.equal(hook.seen.length, 1)
})

test('a scale is shown as a Scale at its own door, and may be changed there', async () => {
  await using hook = await startHook((path) => ({ allowed: true, ...(path === '/scale' ? { patch: [{ op: 'replace', path: '/spec/replicas', value: 3 }] } : {}) }))
  await using h = await startHarness()
  const template = { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'i' }] } }
  const url = '/apis/apps/v1/namespaces/default/deployments'
  assert.equal((await h.call('POST', url, { metadata: { name: 'd' }, spec: { replicas: 1, selector: { matchLabels: { a: 'b' } }, template } })).status, 201)
  const rule = (resources: string[]): object => ({ rules: [{ operations: ['UPDATE'], apiGroups: ['apps'], apiVersions: ['v1'], resources }] })
  await register(h, 'mutating', [{ clientConfig: hook.config('/scale'), ...rule(['deployments/scale']) }])
  await register(h, 'validating', [{ clientConfig: hook.config('/main'), ...rule(['deployments']) }, { clientConfig: hook.config('/check'), ...rule(['deployments/scale']) }])
  const scaled = await h.call<Obj & { spec: object }>('PATCH', `${url}/d/scale`, { spec: { replicas: 9 } }, { headers: { 'content-type': 'application/merge-patch+json' } })
  assert.deepEqual([scaled.status, scaled.body.spec], [200, { replicas: 3 }])
  assert.deepEqual(hook.seen.map((s) => s.path), ['/scale', '/check'])
  const { request } = (hook.seen[1] as { review: Review }).review
  assert.deepEqual([request.kind, request.subResource, (request.object as Obj & { spec: object }).spec, (request.oldObject as Obj & { spec: object }).spec], [{ group: 'autoscaling', version: 'v1', kind: 'Scale' }, 'scale', { replicas: 3 }, { replicas: 1 }])
})

test('bindings, evictions and tokens are creates of their own, and their pods are not shown', async () => {
  await using hook = await startHook((_path, { request }) => (request.name === 'kept' ? { allowed: false, status: { message: 'stays' } } : { allowed: true }))
  await using h = await startHarness()
  const ns = '/api/v1/namespaces/default'
  await h.call('POST', `${ns}/serviceaccounts`, { metadata: { name: 'default' } })
  for (const name of ['p', 'kept']) await h.call('POST', `${ns}/pods`, { metadata: { name }, spec: { containers: [{ name: 'c', image: 'i' }] } })
  await register(h, 'validating', [{ clientConfig: hook.config('/'), rules: [{ ...RULE, resources: ['pods', 'pods/*', 'serviceaccounts/*'] }] }])
  const bound = await h.call<Said>('POST', `${ns}/pods/p/binding`, { target: { name: 'n1' } })
  assert.equal(bound.status, 201, bound.body.message)
  assert.equal((await h.call('POST', `${ns}/serviceaccounts/default/token`, {})).status, 201)
  const refused = await h.call<Said>('POST', `${ns}/pods/kept/eviction`, {})
  assert.equal(refused.body.message, 'admission webhook "h0.example.com" denied the request: stays')
  assert.equal((await h.call('GET', `${ns}/pods/kept`)).status, 200)
  assert.equal((await h.call('POST', `${ns}/pods/p/eviction`, {})).status, 201)
  const shown = hook.seen.map(({ review: { request } }) => [request.operation, request.kind.group, request.kind.kind, request.subResource, request.name, request.options?.kind, request.userInfo.username])
  assert.deepEqual(shown, [
    ['CREATE', '', 'Binding', 'binding', 'p', 'CreateOptions', 'admin'],
    ['CREATE', 'authentication.k8s.io', 'TokenRequest', 'token', 'default', 'CreateOptions', 'admin'],
    ['CREATE', 'policy', 'Eviction', 'eviction', 'kept', 'CreateOptions', 'admin'],
    ['CREATE', 'policy', 'Eviction', 'eviction', 'p', 'CreateOptions', 'admin'],
  ])
})

test('a proxied request is shown as CONNECT and may be refused', async () => {
  await using hook = await startHook(() => ({ allowed: false, status: { message: 'not here' } }))
  const podStreams = { connect: async () => assert.fail('connected') } as never
  await using h = await startHarness({ podStreams })
  await h.call('POST', '/api/v1/namespaces/default/serviceaccounts', { metadata: { name: 'default' } })
  await h.call('POST', '/api/v1/namespaces/default/pods', { metadata: { name: 'p' }, spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'i' }] } })
  await register(h, 'validating', [{ clientConfig: hook.config('/'), rules: [{ operations: ['CONNECT'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods/*'] }] }])
  const refused = await h.call<Said>('GET', '/api/v1/namespaces/default/pods/p:80/proxy/x/y')
  assert.equal(refused.body.message, 'admission webhook "h0.example.com" denied the request: not here')
  const { request } = (hook.seen[0] as { review: Review }).review
  assert.deepEqual([request.operation, request.kind, request.subResource, request.object, request.options], ['CONNECT', { group: '', version: 'v1', kind: 'PodProxyOptions' }, 'proxy', { kind: 'PodProxyOptions', apiVersion: 'v1', path: '/x/y' }, null])
})
