import assert from 'node:assert/strict'
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { startHarness } from '../../../test/kit/api-harness.ts'
import { until } from '../../../test/kit/until.ts'
import { FakeClock } from '../../base/clock.ts'
import { startTls } from '../../../test/kit/api-tls.ts'
import { AuditLog } from './log.ts'
import { parsePolicy } from './policy.ts'
import { AuditWebhook } from './webhook.ts'

interface Event {
  readonly stage: string
  readonly level: string
  readonly verb: string
  readonly user: { username: string }
  readonly objectRef?: { resource: string; name?: string; namespace?: string; apiVersion: string; uid?: string }
  readonly responseStatus?: { code: number; reason?: string }
  readonly requestObject?: { metadata?: { name?: string } }
  readonly responseObject?: { metadata?: { managedFields?: unknown } }
  readonly annotations?: Record<string, string>
  readonly requestURI: string
}

const POLICY = {
  kind: 'Policy',
  apiVersion: 'audit.k8s.io/v1',
  omitStages: ['RequestReceived'],
  rules: [
    { level: 'None', users: ['system:apiserver'] },
    { level: 'Metadata', resources: [{ group: '', resources: ['secrets'] }] },
    { level: 'RequestResponse', omitManagedFields: true, resources: [{ group: '', resources: ['configmaps'] }], verbs: ['create'] },
    { level: 'Request', userGroups: ['team'], resources: [{ group: '', resources: ['pods', 'pods/*'] }] },
    { level: 'Metadata', nonResourceURLs: ['/version*'] },
    { level: 'Metadata', verbs: ['watch'], omitStages: ['ResponseComplete'] },
  ],
}

test('requests are recorded at the level of the first rule that matches, no more of them than it says', async () => {
  const events: Event[] = []
  await using h = await startHarness({ audit: { policy: parsePolicy(POLICY), sink: { write: (line) => events.push(JSON.parse(line) as Event) } } })
  assert.equal(events.length, 0)
  await h.call('POST', '/api/v1/namespaces/default/secrets', { metadata: { name: 's' }, stringData: { password: 'hunter2' } })
  await h.call('GET', '/api/v1/namespaces/default/configmaps')
  await h.call('POST', '/api/v1/namespaces/default/configmaps', { metadata: { name: 'c' }, data: { k: 'v' } })
  await h.call('GET', '/api/v1/namespaces/default/pods/p', undefined, { user: { name: 'eve', groups: ['team', 'system:authenticated'] } })
  await h.call('GET', '/version')
  const watch = await h.watch('/apis/apps/v1/deployments?watch=true')
  await watch.end()
  assert.deepEqual(events.map((e) => `${e.level} ${e.stage} ${e.verb} ${e.requestURI} ${e.responseStatus?.code} ${e.user.username}`), [
    'Metadata ResponseComplete create /api/v1/namespaces/default/secrets 201 admin',
    'RequestResponse ResponseComplete create /api/v1/namespaces/default/configmaps 201 admin',
    'Request ResponseComplete get /api/v1/namespaces/default/pods/p 403 eve',
    'Metadata ResponseComplete get /version 200 admin',
    'Metadata ResponseStarted watch /apis/apps/v1/deployments?watch=true 200 admin',
  ])
  const [secret, map, pod] = events as [Event, Event, Event]
  assert.ok(!JSON.stringify(secret).includes('hunter2') && !JSON.stringify(secret).includes(Buffer.from('hunter2').toString('base64')))
  assert.deepEqual([map.objectRef?.resource, map.objectRef?.name, map.requestObject?.metadata?.name, map.responseObject?.metadata?.managedFields], ['configmaps', 'c', 'c', undefined])
  assert.ok(map.objectRef?.uid)
  assert.deepEqual([pod.responseStatus?.reason, pod.annotations?.['authorization.k8s.io/decision']], ['Forbidden', 'forbid'])
  assert.equal(secret.annotations?.['authorization.k8s.io/decision'], 'allow')
})

test('what a pod would violate is noted in its event', async () => {
  const events: Event[] = []
  const policy = parsePolicy({ kind: 'Policy', apiVersion: 'audit.k8s.io/v1', rules: [{ level: 'Metadata', omitStages: ['RequestReceived'], resources: [{ resources: ['pods'] }] }] })
  await using h = await startHarness({ audit: { policy, sink: { write: (line) => events.push(JSON.parse(line) as Event) } } })
  await h.call('POST', '/api/v1/namespaces', { metadata: { name: 'demo', labels: { 'pod-security.kubernetes.io/audit': 'baseline' } } })
  await h.call('POST', '/api/v1/namespaces/demo/serviceaccounts', { metadata: { name: 'default' } })
  const made = await h.call('POST', '/api/v1/namespaces/demo/pods', { metadata: { name: 'p' }, spec: { hostNetwork: true, containers: [{ name: 'c', image: 'x' }] } })
  assert.equal(made.status, 201)
  assert.equal(events[0]?.annotations?.['pod-security.kubernetes.io/audit-violations'], 'would violate PodSecurity "baseline:latest": host namespaces (hostNetwork=true)')
})

test('a policy that cannot be meant is refused with the place', () => {
  const refused = (value: unknown, why: RegExp): void => assert.throws(() => parsePolicy(value), why)
  refused(null, /not an object/)
  refused({ kind: 'Policy', apiVersion: 'audit.k8s.io/v1beta1', rules: [] }, /is not a Policy of audit\.k8s\.io\/v1/)
  refused({ ...POLICY, rules: [{ level: 'Everything' }] }, /rules\[0\]\.level "Everything"/)
  refused({ ...POLICY, rules: [{ level: 'None', omitStages: ['Late'] }] }, /rules\[0\]\.omitStages/)
  refused({ ...POLICY, rules: [{ level: 'None', resources: [{}], nonResourceURLs: ['/'] }] }, /cannot stand beside/)
})

test('the file is put aside by size, and old ones go', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'ad-audit-'))
  try {
    const path = join(dir, 'audit.log')
    const log = new AuditLog({ path, maxBytes: 20, backups: 2 })
    const stop = new AbortController()
    const running = log.run(stop.signal)
    for (const i of [1, 2, 3, 4]) {
      log.write(`line ${i} of the audit`)
      await until(`line ${i}`, async () => (await readFile(`${path}.1`, 'utf8').catch(() => '')).startsWith(`line ${i} `))
    }
    log.write('end')
    stop.abort()
    await running
    assert.deepEqual((await readdir(dir)).toSorted(), ['audit.log', 'audit.log.1', 'audit.log.2'])
    assert.equal(await readFile(path, 'utf8'), 'end\n')
  } finally {
    await rm(dir, { recursive: true })
  }
})

const ALL = parsePolicy({ kind: 'Policy', apiVersion: 'audit.k8s.io/v1', omitStages: ['RequestReceived'], rules: [{ level: 'None', users: ['system:apiserver'] }, { level: 'RequestResponse' }] })

test('bodies are recorded whatever their encoding, and large lists up to a limit', async () => {
  const events: Event[] = []
  await using h = await startHarness({ audit: { policy: ALL, sink: { write: (line) => events.push(JSON.parse(line) as Event) } } })
  const path = '/api/v1/namespaces/default/configmaps'
  await h.call('POST', path, 'metadata:\n  name: y\ndata: {a: b}\n', { headers: { 'content-type': 'application/yaml' } })
  await h.call('PATCH', `${path}/z?fieldManager=m`, 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: z\n', { headers: { 'content-type': 'application/apply-patch+yaml' } })
  assert.deepEqual(events.map((e) => [e.verb, e.requestObject?.metadata?.name, e.responseStatus?.code]), [['create', 'y', 201], ['patch', 'z', 201]])
  for (let i = 0; i < 8; i++) await h.call('POST', path, { metadata: { name: `big-${i}` }, data: { text: 'x'.repeat(200_000) } })
  events.length = 0
  await h.call('GET', path)
  await h.call('GET', `${path}?limit=1`)
  assert.deepEqual(events.map((e) => [e.responseObject === undefined, e.annotations?.['audit.k8s.io/truncated']]), [[true, 'true'], [false, undefined]])
})

test('refused credentials, refused impersonation and who speaks as whom are recorded', async () => {
  const events: (Event & { impersonatedUser?: { username: string }; sourceIPs?: string[] })[] = []
  await using server = await startTls({ audit: { policy: ALL, sink: { write: (line) => events.push(JSON.parse(line) as Event) } } })
  const bob = await server.client('bob')
  const get = (headers: Record<string, string>, client?: typeof bob): Promise<number> => server.get('/api/v1/pods', headers, client)
  assert.equal(await get({ authorization: 'Bearer nonsense' }), 401)
  assert.equal(await get({ 'impersonate-user': 'carol' }, bob), 403)
  assert.equal(await get({ 'impersonate-user': 'carol', 'x-forwarded-for': '10.9.8.7, nobody' }, await server.client('root', ['system:masters'])), 403)
  assert.deepEqual(events.map((e) => `${e.stage} ${e.user.username} ${e.impersonatedUser?.username} ${e.responseStatus?.code} ${e.sourceIPs?.join()}`), [
    'ResponseStarted undefined undefined 401 127.0.0.1',
    'ResponseComplete bob undefined 403 127.0.0.1',
    'ResponseComplete root carol 403 10.9.8.7,127.0.0.1',
  ])
})

test('a web service gets events in batches; what it refuses is tried again, then dropped and told', async () => {
  const clock = new FakeClock()
  const got: string[][] = []
  let refuse = 0
  const hook = new AuditWebhook({
    clock,
    send: async (text) => {
      if (refuse-- > 0) throw new Error('not now')
      got.push((JSON.parse(text) as { items: { n: number }[] }).items.map((i) => String(i.n)))
    },
  })
  const stop = new AbortController()
  const running = hook.run(stop.signal)
  const turns = async (): Promise<void> => {
    for (let i = 0; i < 20; i++) await Promise.resolve()
  }
  await turns()
  hook.write('{"n":1}')
  hook.write('{"n":2}')
  await turns()
  assert.equal(got.length, 0, 'a small batch waits')
  await clock.advance(30_000)
  await until('it goes', () => got.length === 1)
  assert.deepEqual(got[0], ['1', '2'])
  refuse = 1
  for (let i = 0; i < 400; i++) hook.write(`{"n":${i}}`)
  await turns()
  await clock.advance(10_000)
  await until('a full one goes at once, at the second try', () => got.length === 2)
  assert.equal(got[1]?.length, 400)
  hook.write('{"n":3}')
  stop.abort()
  await running
  assert.deepEqual(got[2], ['3'], 'what waits at the end goes too')
})
