import assert from 'node:assert/strict'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { startHarness, type Harness } from '../../../test/kit/api-harness.ts'
import { setLogSink } from '../../base/log.ts'
import { createCa, createKeyAndCsr, issue } from '../../base/pki.ts'
import type { Obj } from '../stored-text.ts'

interface Review {
  readonly request: { uid: string; name: string; namespace?: string; operation: string; object: Obj | null; oldObject: Obj | null; userInfo: { username: string }; dryRun: boolean; subResource?: string }
}
type Answer = { allowed: boolean; patch?: object[]; warnings?: string[]; status?: object } | 'hang' | 'garbage'
type Said = Obj & { message: string; code: number }

const CONFIGMAPS = '/api/v1/namespaces/default/configmaps'
const RULE = { operations: ['*'], apiGroups: [''], apiVersions: ['v1'], resources: ['configmaps'] }

/** A webhook on this machine; `answer` decides by path. */
async function startHook(answer: (path: string, review: Review) => Answer): Promise<AsyncDisposable & { seen: { path: string; review: Review }[]; config(path: string): object }> {
  const ca = await createCa({ cn: 'hook-ca', years: 1 })
  const { keyPem, csrPem } = await createKeyAndCsr({ cn: 'hook' })
  const cert = await issue({ ca, csrPem, cn: 'hook', usage: 'server', days: 1, sans: { dns: ['localhost'], ip: ['127.0.0.1'] } })
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

test('selectors, rules and match conditions say which writes are shown', async () => {
  await using hook = await startHook(() => ({ allowed: false }))
  await using h = await startHarness()
  await h.call('PATCH', '/api/v1/namespaces/default', { metadata: { labels: { env: 'prod' } } }, { headers: { 'content-type': 'application/merge-patch+json' } })
  await register(h, 'validating', [{ clientConfig: hook.config('/'), rules: [{ ...RULE, operations: ['CREATE'] }], namespaceSelector: { matchLabels: { env: 'prod' } }, objectSelector: { matchLabels: { show: 'yes' } }, matchConditions: [{ name: 'not-admin', expression: 'request.userInfo.username != "admin" || object.data.size() > 0' }] }])
  const show = { show: 'yes' }
  assert.equal((await h.call('POST', CONFIGMAPS, map('a', { k: 'v' }))).status, 201)
  const refused = await h.call<Said>('POST', CONFIGMAPS, map('b', { k: 'v' }, show))
  assert.deepEqual([refused.status, refused.body.message], [400, 'admission webhook "h0.example.com" denied the request without explanation'])
  assert.equal((await h.call('POST', CONFIGMAPS, { ...map('c', {}, show), data: {} })).status, 201)
  assert.equal((await h.call('POST', '/api/v1/namespaces/kube-system/configmaps', map('d', { k: 'v' }, show))).status, 201)
  assert.equal((await h.call('POST', '/api/v1/namespaces/default/secrets', { metadata: { name: 'e', labels: show } })).status, 201)
  assert.equal(hook.seen.length, 1)
})

test('a webhook that fails refuses or is passed over, as its policy says; one behind a Service says what to do', async () => {
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
    assert.match((await attempt({ clientConfig: { service: { namespace: 'ns', name: 'svc' } } })).message, /cannot reach cluster IPs; give the webhook a clientConfig\.url/)
    assert.match((await attempt({ clientConfig: hook.config('/'), sideEffects: 'Some' }, '?dryRun=All')).message, /does not support dry run/)
    assert.match((await attempt({ clientConfig: hook.config('/'), matchConditions: [{ name: 'm', expression: 'object.gone.deep == 1' }] })).message, /match condition "m": No such key: gone/)
  } finally {
    setLogSink(former)
  }
})
