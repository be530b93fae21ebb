import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import type { CertificateSigningRequest } from '../../api/gen/types.ts'
import { setLogSink } from '../../base/log.ts'
import { createKeyAndCsr } from '../../base/pki.ts'
import { startHarness, type Harness } from '../../../test/kit/api-harness.ts'
import { stampConditions } from './certificates.ts'

setLogSink(() => undefined)
type Csr = CertificateSigningRequest
const PATH = '/apis/certificates.k8s.io/v1/certificatesigningrequests'
const BOB = { name: 'bob', groups: ['system:authenticated'] }
const condition = (type: string): object => ({ type, status: 'True', reason: 'r', message: 'm' })
let request = ''
before(async () => {
  request = Buffer.from((await createKeyAndCsr({ cn: 'x' })).csrPem).toString('base64')
})

async function grant(h: Harness, ...rules: object[]): Promise<void> {
  const all = [{ verbs: ['get', 'update'], apiGroups: ['certificates.k8s.io'], resources: ['certificatesigningrequests', 'certificatesigningrequests/approval', 'certificatesigningrequests/status'] }, ...rules]
  await h.call('POST', '/apis/rbac.authorization.k8s.io/v1/clusterroles', { metadata: { name: 'doors' }, rules: all })
  await h.call('POST', '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', { metadata: { name: 'doors' }, roleRef: { kind: 'ClusterRole', name: 'doors' }, subjects: [{ kind: 'User', name: 'bob' }] })
}
const signers = (verb: string, name: string): object => ({ verbs: [verb], apiGroups: ['certificates.k8s.io'], resources: ['signers'], resourceNames: [name] })

test('who may write a door needs the signer too; the server tells when it was decided', async () => {
  await using h = await startHarness()
  await grant(h, signers('approve', 'a.io/*'), signers('sign', 'a.io/s'))
  for (const [name, signerName] of [['mine', 'a.io/s'], ['other', 'b.io/s']] as const) {
    const made = await h.call<Csr>('POST', PATH, { metadata: { name }, spec: { request, signerName, usages: ['client auth'], username: 'somebody' } })
    assert.deepEqual([made.status, made.body.spec.username, made.body.status], [201, 'admin', {}])
  }
  const put = async (name: string, door: string, status: object) => {
    const { body } = await h.call<Csr>('GET', `${PATH}/${name}`)
    return h.call<Csr & { message: string }>('PUT', `${PATH}/${name}/${door}`, { ...body, status: { ...body.status, ...status } }, { user: BOB })
  }
  const approved = await put('mine', 'approval', { conditions: [condition('Approved')] })
  assert.equal(approved.status, 200)
  const said = approved.body.status?.conditions?.[0]
  assert.ok(said?.lastUpdateTime && said.lastTransitionTime)
  const refused = await put('other', 'approval', { conditions: [condition('Approved')] })
  assert.deepEqual([refused.status, refused.body.message], [403, 'certificatesigningrequests.certificates.k8s.io "other" is forbidden: user not permitted to approve requests with signerName "b.io/s"'])
  const certificate = Buffer.from('-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n').toString('base64')
  assert.equal((await put('mine', 'status', { certificate })).status, 200)
  const unsigned = await put('other', 'status', { certificate })
  assert.deepEqual([unsigned.status, unsigned.body.message], [403, 'certificatesigningrequests.certificates.k8s.io "other" is forbidden: user not permitted to sign requests with signerName "b.io/s"'])
})

test('a request whose signature is not by its own key is refused', async () => {
  await using h = await startHarness()
  const der = Buffer.from(Buffer.from(request, 'base64').toString().replace(/-----[^-]+-----/g, ''), 'base64')
  const pem = (bytes: Buffer): string => Buffer.from(`-----BEGIN CERTIFICATE REQUEST-----\n${bytes.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`).toString('base64')
  const forged = Buffer.from(der)
  // The subject says "y", and the signature is of "x".
  const at = forged.indexOf(Buffer.from([0x01, 0x78, 0x30]))
  assert.ok(at > 0)
  forged[at + 1] = 0x79
  for (const [bytes, said] of [[forged, /spec\.request: Invalid value: "[^"]+": x509: ECDSA verification failure$/], [der.subarray(0, 40), /spec\.request: Invalid value: "[^"]+": .*not a PEM PKCS#10 request/]] as const) {
    const answer = await h.call<{ message: string }>('POST', PATH, { metadata: { name: 'forged' }, spec: { request: pem(bytes), signerName: 'a.io/s', usages: ['client auth'] } })
    assert.equal(answer.status, 422)
    assert.match(answer.body.message, said)
  }
  assert.equal((await h.call('POST', PATH, { metadata: { name: 'own' }, spec: { request: pem(der), signerName: 'a.io/s', usages: ['client auth'] } })).status, 201)
})

test('times of conditions stay when the condition does', () => {
  const csr = (conditions: object[]): Csr => ({ spec: {}, status: { conditions } }) as unknown as Csr
  const old = csr([{ type: 'Approved', status: 'True', lastTransitionTime: 'then' }])
  const next = csr([{ type: 'Approved', status: 'True' }, { type: 'Failed', status: 'True' }])
  stampConditions(next, old, 'now')
  assert.deepEqual(next.status?.conditions?.map((c) => [c.lastUpdateTime, c.lastTransitionTime]), [['now', 'then'], ['now', 'now']])
})

test('the priority classes of the system are there, and stay', async () => {
  await using h = await startHarness()
  const path = '/apis/scheduling.k8s.io/v1/priorityclasses'
  const { body } = await h.call<{ items: { metadata: { name: string; generation: number }; value: number }[] }>('GET', path)
  assert.deepEqual(body.items.map((c) => [c.metadata.name, c.metadata.generation, c.value]), [['system-cluster-critical', 1, 2_000_000_000], ['system-node-critical', 1, 2_000_001_000]])
  const refused = await h.call<{ message: string }>('DELETE', `${path}/system-node-critical`)
  assert.deepEqual([refused.status, refused.body.message], [403, 'priorityclasses.scheduling.k8s.io "system-node-critical" is forbidden: this is a system priority class and cannot be deleted'])
  const other = await h.call<{ message: string }>('POST', path, { metadata: { name: 'system-mine' }, value: 1 })
  assert.equal(other.status, 422)
})

test('an Ingress that names no class gets the default one', async () => {
  await using h = await startHarness()
  const annotations = { 'ingressclass.kubernetes.io/is-default-class': 'true' }
  await h.call('POST', '/apis/networking.k8s.io/v1/ingressclasses', { metadata: { name: 'usual', annotations }, spec: { controller: 'a.io/c' } })
  const ingress = async (name: string, more: object = {}): Promise<unknown> => {
    const body = { metadata: { name, ...more }, spec: { defaultBackend: { service: { name: 's', port: { number: 80 } } } } }
    return (await h.call<{ spec: { ingressClassName?: string } }>('POST', '/apis/networking.k8s.io/v1/namespaces/default/ingresses', body)).body.spec.ingressClassName
  }
  assert.deepEqual([await ingress('a'), await ingress('b', { annotations: { 'kubernetes.io/ingress.class': 'old' } })], ['usual', undefined])
})
