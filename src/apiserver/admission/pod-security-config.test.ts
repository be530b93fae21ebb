import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startHarness, type Harness } from '../../../test/kit/api-harness.ts'
import { hasCode } from '../../base/errors.ts'
import type { Obj } from '../stored-text.ts'
import { parseAdmissionConfig } from './pod-security-config.ts'

type Said = Obj & { message: string }
const PLUGIN = { apiVersion: 'pod-security.admission.config.k8s.io/v1', kind: 'PodSecurityConfiguration' }
const file = (configuration: object, plugin: object = {}): object => ({ apiVersion: 'apiserver.config.k8s.io/v1', kind: 'AdmissionConfiguration', plugins: [{ name: 'PodSecurity', configuration, ...plugin }] })
const none = (): Promise<unknown> => Promise.reject(new Error('no file is named'))

async function withCluster(configuration: object): Promise<Harness> {
  const h = await startHarness({ podSecurity: await parseAdmissionConfig(file({ ...PLUGIN, ...configuration }), none) })
  for (const name of ['demo', 'free']) {
    assert.equal((await h.call('POST', '/api/v1/namespaces', { metadata: { name } })).status, 201)
    await h.call('POST', `/api/v1/namespaces/${name}/serviceaccounts`, { metadata: { name: 'default' }, automountServiceAccountToken: false })
  }
  return h
}
const pods = (namespace: string): string => `/api/v1/namespaces/${namespace}/pods`
const host = (name: string, spec: object = {}): object => ({ metadata: { name }, spec: { hostNetwork: true, containers: [{ name: 'c', image: 'x' }], ...spec } })

test('namespaces without labels keep the level of the cluster; labels go before it', async () => {
  await using h = await withCluster({ defaults: { enforce: 'baseline', 'enforce-version': 'v1.30', warn: 'restricted' } })
  const refused = await h.call<Said>('POST', pods('demo'), host('a'))
  assert.equal(refused.body.message, 'pods "a" is forbidden: violates PodSecurity "baseline:v1.30": host namespaces (hostNetwork=true)')
  const warned = await h.call('POST', pods('demo'), { metadata: { name: 'b' }, spec: { containers: [{ name: 'c', image: 'x' }] } })
  assert.equal(warned.status, 201)
  assert.match(String(warned.headers['warning']), /would violate PodSecurity \\"restricted:latest\\"/)
  const labels = { 'pod-security.kubernetes.io/enforce': 'privileged', 'pod-security.kubernetes.io/warn': 'privileged' }
  await h.call('POST', '/api/v1/namespaces', { metadata: { name: 'open', labels } })
  await h.call('POST', '/api/v1/namespaces/open/serviceaccounts', { metadata: { name: 'default' }, automountServiceAccountToken: false })
  assert.deepEqual((await h.call('POST', pods('open'), host('c'))).status, 201)
})

test('exempt are users, namespaces and runtime classes; a policy that an exempt namespace names is told to be ignored', async () => {
  await using h = await withCluster({ defaults: { enforce: 'restricted' }, exemptions: { usernames: ['root-of-all'], namespaces: ['free'], runtimeClasses: ['sandbox'] } })
  await h.call('POST', '/apis/node.k8s.io/v1/runtimeclasses', { metadata: { name: 'sandbox' }, handler: 'sandbox' })
  assert.equal((await h.call('POST', pods('demo'), host('a'))).status, 403)
  assert.equal((await h.call('POST', pods('free'), host('a'))).status, 201)
  assert.equal((await h.call('POST', pods('demo'), host('b', { runtimeClassName: 'sandbox' }))).status, 201)
  const user = { name: 'root-of-all', groups: ['system:masters', 'system:authenticated'] }
  assert.equal((await h.call('POST', pods('demo'), host('c'), { user })).status, 201)
  const labelled = await h.call('PATCH', '/api/v1/namespaces/free', { metadata: { labels: { 'pod-security.kubernetes.io/enforce': 'baseline' } } }, { headers: { 'content-type': 'application/merge-patch+json' } })
  assert.equal(labelled.headers['warning'], '299 - "namespace \\"free\\" is exempt from Pod Security, and the policy (enforce=baseline:latest, warn=baseline:latest) will be ignored"')
})

test('who enforces a level is warned of workloads that will not keep it', async () => {
  await using h = await withCluster({})
  await h.call('POST', '/api/v1/namespaces', { metadata: { name: 'strict', labels: { 'pod-security.kubernetes.io/enforce': 'baseline' } } })
  const template = { metadata: { labels: { a: 'b' } }, spec: { hostPID: true, containers: [{ name: 'c', image: 'x' }] } }
  const made = await h.call('POST', '/apis/apps/v1/namespaces/strict/deployments', { metadata: { name: 'd' }, spec: { selector: { matchLabels: { a: 'b' } }, template } })
  assert.equal(made.headers['warning'], '299 - "would violate PodSecurity \\"baseline:latest\\": host namespaces (hostPID=true)"')
})

test('a plugin may name its file; every other key is refused with its value and what may stand there', async () => {
  const read = (path: string): Promise<unknown> => Promise.resolve({ ...PLUGIN, defaults: { audit: path === 'ps.yaml' ? 'baseline' : 'privileged' } })
  assert.equal((await parseAdmissionConfig(file({}, { configuration: undefined, path: 'ps.yaml' }), read)).defaults.audit.level, 'baseline')
  for (const [value, why] of [
    [null, 'its content null is not an object'],
    [{ kind: 'Policy' }, 'its content is kind "Policy" of null, not AdmissionConfiguration of apiserver.config.k8s.io/v1'],
    [{ ...file({}), plugin: [] }, 'plugin is not a key here: apiVersion, kind, plugins are'],
    [file({}, { name: 'EventRateLimit' }), 'plugins[0].name "EventRateLimit" is none whose configuration is read here: only PodSecurity is'],
    [file({}, { path: 'x' }), 'plugins[0] needs either a path or a configuration'],
    [file({ ...PLUGIN, defaults: { enforce: 'strict' } }), 'plugins[0].configuration.defaults.enforce "strict" must be one of privileged, baseline, restricted'],
    [file({ ...PLUGIN, defaults: { 'warn-version': '1.30' } }), 'plugins[0].configuration.defaults.warn-version "1.30" must be "latest" or "v1.x"'],
    [file({ ...PLUGIN, exemptions: { users: ['a'] } }), 'plugins[0].configuration.exemptions.users is not a key here: usernames, namespaces, runtimeClasses are'],
    [file({ ...PLUGIN, exemptions: { usernames: [''] } }), 'plugins[0].configuration.exemptions.usernames[0] "" username must not be empty'],
    [file({ ...PLUGIN, exemptions: { namespaces: ['a', 'a'] } }), 'plugins[0].configuration.exemptions.namespaces[1] "a" stands twice'],
    [file({ ...PLUGIN, exemptions: { namespaces: 'a' } }), 'plugins[0].configuration.exemptions.namespaces "a" is not a list'],
  ] as const) {
    await assert.rejects(parseAdmissionConfig(value, none), (error) => hasCode(error, 'invalid') && (error as Error).message === why, why)
  }
})
