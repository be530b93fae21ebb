import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startHarness, type Harness } from '../../../test/kit/api-harness.ts'
import { until } from '../../../test/kit/until.ts'
import { createKeyAndCsr } from '../../base/pki.ts'
import type { Obj } from '../stored-text.ts'

type Said = Obj & { message: string; reason: string }
const PODS = '/api/v1/namespaces/demo/pods'

/** A server with namespace `demo`, its labels, and its default account. */
async function withDemo(labels: Record<string, string> = {}): Promise<Harness> {
  const h = await startHarness()
  assert.equal((await h.call('POST', '/api/v1/namespaces', { metadata: { name: 'demo', labels } })).status, 201)
  await h.call('POST', '/api/v1/namespaces/demo/serviceaccounts', { metadata: { name: 'default' }, automountServiceAccountToken: false })
  return h
}

const pod = (name: string, resources?: object, spec: object = {}): object => ({ metadata: { name }, spec: { containers: [{ name: 'c', image: 'x', ...(resources ? { resources } : {}) }], ...spec } })
const SAFE = { securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } }, containers: [{ name: 'c', image: 'x', securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } } }] }

test('PodSecurity enforces, warns, and judges a namespace by its new level', async () => {
  await using h = await withDemo({ 'pod-security.kubernetes.io/enforce': 'baseline', 'pod-security.kubernetes.io/warn': 'restricted' })
  const host = await h.call<Said>('POST', PODS, pod('a', undefined, { hostNetwork: true, hostPID: true, volumes: [{ name: 'v', hostPath: { path: '/' } }] }))
  assert.equal(host.status, 403)
  assert.equal(host.body.message, 'pods "a" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true, hostPID=true), hostPath volumes (volume "v")')
  const plain = await h.call<Said>('POST', PODS, pod('b'))
  assert.equal(plain.status, 201)
  assert.equal(plain.headers['warning'], '299 - "would violate PodSecurity \\"restricted:latest\\": allowPrivilegeEscalation != false (container \\"c\\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \\"c\\" must set securityContext.capabilities.drop=[\\"ALL\\"]), runAsNonRoot != true (pod or container \\"c\\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \\"c\\" must set securityContext.seccompProfile.type to \\"RuntimeDefault\\" or \\"Localhost\\")"')
  const safe = await h.call<Said>('POST', PODS, pod('s', undefined, SAFE))
  assert.deepEqual([safe.status, safe.headers['warning']], [201, undefined])
  const workload = await h.call<Said>('POST', '/apis/apps/v1/namespaces/demo/deployments', { metadata: { name: 'd' }, spec: { selector: { matchLabels: { a: 'b' } }, template: { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'x', securityContext: { privileged: true } }] } } } })
  assert.equal(workload.status, 201)
  assert.match(String(workload.headers['warning']), /privileged \(container \\"c\\" must not set securityContext\.privileged=true\)/)
  const merge = { headers: { 'content-type': 'application/merge-patch+json' } }
  const raised = await h.call<Said>('PATCH', '/api/v1/namespaces/demo', { metadata: { labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } } }, merge)
  assert.match(String(raised.headers['warning']), /existing pods in namespace \\"demo\\" violate the new PodSecurity enforce level \\"restricted:latest\\"", 299 - "b: allowPrivilegeEscalation != false, /)
  const wrong = await h.call<Said>('PATCH', '/api/v1/namespaces/demo', { metadata: { labels: { 'pod-security.kubernetes.io/warn': 'strict' } } }, merge)
  assert.deepEqual([wrong.status, /must be one of privileged, baseline, restricted/.test(wrong.body.message)], [422, true])
})

test('LimitRanger fills in what is missing and refuses what is out of bounds', async () => {
  await using h = await withDemo()
  await h.call('POST', '/api/v1/namespaces/demo/limitranges', {
    metadata: { name: 'l' },
    spec: { limits: [{ type: 'Container', default: { cpu: '500m' }, defaultRequest: { cpu: '100m', memory: '64Mi' }, max: { cpu: '800m' }, min: { cpu: '50m' }, maxLimitRequestRatio: { cpu: '5' } }, { type: 'PersistentVolumeClaim', max: { storage: '2Gi' } }] },
  })
  const made = await h.call<Obj & { spec: { containers: { resources: object }[] }; status: { qosClass: string } }>('POST', PODS, pod('a'))
  assert.deepEqual(made.body.spec.containers[0]?.resources, { requests: { cpu: '100m', memory: '64Mi' }, limits: { cpu: '500m' } })
  assert.equal(made.body.status.qosClass, 'Burstable')
  assert.equal(made.body.metadata.annotations?.['kubernetes.io/limit-ranger'], 'LimitRanger plugin set: cpu, memory request for container c; cpu limit for container c')
  const big = await h.call<Said>('POST', PODS, pod('b', { limits: { cpu: '1' } }))
  assert.equal(big.body.message, 'pods "b" is forbidden: [maximum cpu usage per Container is 800m, but limit is 1, maximum cpu usage per Container is 800m, but request is 1]')
  const ratio = await h.call<Said>('POST', PODS, pod('c', { requests: { cpu: '100m' }, limits: { cpu: '700m' } }))
  assert.equal(ratio.body.message, 'pods "c" is forbidden: cpu max limit to request ratio per Container is 5, but provided ratio is 7.000000')
  const claim = await h.call<Said>('POST', '/api/v1/namespaces/demo/persistentvolumeclaims', { metadata: { name: 'p' }, spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '3Gi' } } } })
  assert.match(claim.body.message, /maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi/)
})

test('a quota holds for writes at the same time, frees what goes, and shows its use', async () => {
  await using h = await withDemo()
  const quota = '/api/v1/namespaces/demo/resourcequotas/q'
  await h.call('POST', '/api/v1/namespaces/demo/resourcequotas', { metadata: { name: 'q' }, spec: { hard: { pods: '3', 'requests.cpu': '1', 'count/deployments.apps': '0' } } })
  await until('the use to be shown', async () => (await h.call<Obj & { status?: { used?: object } }>('GET', quota)).body.status?.used !== undefined)
  const unsaid = await h.call<Said>('POST', PODS, pod('x'))
  assert.equal(unsaid.body.message, 'pods "x" is forbidden: failed quota: q: must specify requests.cpu for: c')
  const answers = await Promise.all(['a', 'b', 'c', 'd', 'e'].map((n) => h.call<Said>('POST', PODS, pod(n, { requests: { cpu: '300m' } }))))
  assert.deepEqual(answers.map((a) => a.status).toSorted(), [201, 201, 201, 403, 403])
  assert.equal(answers.find((a) => a.status === 403)?.body.message.replace(/pods "\w"/, 'pods "?"'), 'pods "?" is forbidden: exceeded quota: q, requested: pods=1,requests.cpu=300m, used: pods=3,requests.cpu=900m, limited: pods=3,requests.cpu=1')
  const shown = async (): Promise<object | undefined> => (await h.call<Obj & { status?: { used?: object } }>('GET', quota)).body.status?.used
  await until('the use to be shown', async () => JSON.stringify(await shown()) === JSON.stringify({ pods: '3', 'requests.cpu': '900m', 'count/deployments.apps': '0' }))
  const gone = answers.find((a) => a.status === 201)?.body.metadata.name
  await h.call('DELETE', `${PODS}/${gone}?gracePeriodSeconds=0`)
  await until('the use to be shown', async () => JSON.stringify(await shown()) === JSON.stringify({ pods: '2', 'requests.cpu': '600m', 'count/deployments.apps': '0' }))
  assert.equal((await h.call('POST', PODS, pod('f', { requests: { cpu: '300m' } }))).status, 201)
  const deployment = await h.call<Said>('POST', '/apis/apps/v1/namespaces/demo/deployments', { metadata: { name: 'd' }, spec: { selector: { matchLabels: { a: 'b' } }, template: { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'x' }] } } } })
  assert.match(deployment.body.message, /exceeded quota: q, requested: count\/deployments\.apps=1/)
})

test('a quota counts pods as a whole, ports that a Service will get, and holds for a resize; what came and went at once is not counted', async () => {
  await using h = await withDemo()
  const quota = '/api/v1/namespaces/demo/resourcequotas'
  const hard = { 'requests.cpu': '1', 'services.nodeports': '2', services: '5', 'hugepages-2Mi': '4Mi' }
  await h.call('POST', quota, { metadata: { name: 'q' }, spec: { hard } })
  await h.call('POST', quota, { metadata: { name: 'elsewhere' }, spec: { hard: { pods: '5' }, scopes: ['CrossNamespacePodAffinity'] } })
  const used = async (name: string): Promise<Record<string, string> | undefined> => (await h.call<Obj & { status?: { used?: Record<string, string> } }>('GET', `${quota}/${name}`)).body.status?.used
  const services = '/api/v1/namespaces/demo/services'
  const balanced = { type: 'LoadBalancer', allocateLoadBalancerNodePorts: false, ports: [{ name: 'a', port: 80, nodePort: 30_111 }, { name: 'b', port: 81 }] }
  assert.equal((await h.call('POST', services, { metadata: { name: 'lb' }, spec: balanced })).status, 201)
  assert.equal((await h.call('POST', services, { metadata: { name: 'brief' }, spec: { ports: [{ port: 80 }] } })).status, 201)
  assert.equal((await h.call('DELETE', `${services}/brief`)).status, 200)
  const term = { topologyKey: 'zone', labelSelector: { matchLabels: { a: 'b' } }, namespaces: ['other'] }
  const whole = { resources: { requests: { cpu: '700m', 'hugepages-2Mi': '2Mi' }, limits: { 'hugepages-2Mi': '2Mi' } }, affinity: { podAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [term] } } }
  const made = await h.call<Said>('POST', PODS, pod('a', { requests: { cpu: '600m' } }, whole))
  assert.equal(made.status, 201, made.body.message)
  await until('the use to be shown', async () => JSON.stringify(await used('q')) === JSON.stringify({ 'requests.cpu': '700m', 'services.nodeports': '1', services: '1', 'hugepages-2Mi': '2Mi' }))
  await until('the use to be shown', async () => (await used('elsewhere'))?.['pods'] === '1')
  assert.equal((await h.call('POST', PODS, pod('b', { requests: { cpu: '100m' } }))).status, 201)
  const grow = (cpu: string): Promise<{ status: number; body: Said }> => h.call<Said>('PATCH', `${PODS}/b/resize`, { spec: { containers: [{ name: 'c', resources: { requests: { cpu } } }] } }, { headers: { 'content-type': 'application/strategic-merge-patch+json' } })
  assert.equal((await grow('500m')).body.message, 'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=400m, used: requests.cpu=800m, limited: requests.cpu=1')
  await h.call('POST', '/api/v1/namespaces/demo/limitranges', { metadata: { name: 'l' }, spec: { limits: [{ type: 'Pod', min: { cpu: '150m' } }] } })
  assert.equal((await grow('120m')).body.message, 'pods "b" is forbidden: minimum cpu usage per Pod is 150m, but request is 120m')
  const grown = await grow('300m')
  assert.equal(grown.status, 200, grown.body.message)
  await until('the use to be shown', async () => (await used('q'))?.['requests.cpu'] === '1')
})

test('a quota counts devices by class and claims by the class of their attributes', async () => {
  await using h = await withDemo()
  const quota = '/api/v1/namespaces/demo/resourcequotas'
  await h.call('POST', quota, { metadata: { name: 'devices' }, spec: { hard: { 'gpu.deviceclass.resource.k8s.io/devices': '5', 'count/resourceclaims.resource.k8s.io': '3' } } })
  const gold = { scopeSelector: { matchExpressions: [{ scopeName: 'VolumeAttributesClass', operator: 'In', values: ['gold'] }] } }
  await h.call('POST', quota, { metadata: { name: 'gold' }, spec: { hard: { persistentvolumeclaims: '1', 'requests.storage': '5Gi' }, ...gold } })
  const claims = '/apis/resource.k8s.io/v1/namespaces/demo/resourceclaims'
  const exactly = (count: number, deviceClassName = 'gpu'): object => ({ deviceClassName, allocationMode: 'ExactCount', count })
  const claim = (name: string, ...requests: object[]): Promise<{ status: number; body: Said }> => h.call<Said>('POST', claims, { metadata: { name }, spec: { devices: { requests } } })
  assert.equal((await claim('a', { name: 'r', exactly: exactly(2) }, { name: 'other', exactly: exactly(9, 'nic') })).status, 201)
  const over = await claim('b', { name: 'r', firstAvailable: [{ name: 'x', ...exactly(1) }, { name: 'y', ...exactly(4) }, { name: 'z', ...exactly(9, 'nic') }] })
  assert.deepEqual([over.status, over.body.message], [403, 'resourceclaims.resource.k8s.io "b" is forbidden: exceeded quota: devices, requested: gpu.deviceclass.resource.k8s.io/devices=4, used: gpu.deviceclass.resource.k8s.io/devices=2, limited: gpu.deviceclass.resource.k8s.io/devices=5'])
  assert.match((await claim('all', { name: 'r', exactly: { deviceClassName: 'gpu', allocationMode: 'All' } })).body.message, /requested: gpu\.deviceclass\.resource\.k8s\.io\/devices=32/)
  assert.equal((await claim('c', { name: 'r', exactly: exactly(3) })).status, 201)
  const volume = (name: string, volumeAttributesClassName?: string): Promise<{ status: number; body: Said }> =>
    h.call<Said>('POST', '/api/v1/namespaces/demo/persistentvolumeclaims', { metadata: { name }, spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '3Gi' } }, ...(volumeAttributesClassName && { volumeAttributesClassName }) } })
  assert.deepEqual([(await volume('plain')).status, (await volume('silver', 'silver')).status, (await volume('first', 'gold')).status], [201, 201, 201])
  assert.match((await volume('second', 'gold')).body.message, /exceeded quota: gold, requested: persistentvolumeclaims=1,requests\.storage=3Gi, used: persistentvolumeclaims=1,requests\.storage=3Gi/)
})

test('a class gives a pod its priority and a claim its storage; unknown ones are refused', async () => {
  await using h = await withDemo()
  await h.call('POST', '/apis/scheduling.k8s.io/v1/priorityclasses', { metadata: { name: 'high' }, value: 1000, preemptionPolicy: 'Never' })
  const specOf = async (name: string, spec: object): Promise<{ priority?: number; preemptionPolicy?: string }> => (await h.call<Obj & { spec: { priority?: number; preemptionPolicy?: string } }>('POST', PODS, pod(name, undefined, spec))).body.spec
  const [low, high, system] = [await specOf('a', {}), await specOf('b', { priorityClassName: 'high' }), await specOf('c', { priorityClassName: 'system-node-critical' })]
  assert.deepEqual([low.priority, low.preemptionPolicy, high.priority, high.preemptionPolicy, system.priority], [0, 'PreemptLowerPriority', 1000, 'Never', 2_000_001_000])
  const { priority: _p, preemptionPolicy: _q, ...written } = high
  const stored = (await h.call<Obj>('GET', `${PODS}/b`)).body
  const replaced = await h.call<Obj & { spec: { priority?: number } }>('PUT', `${PODS}/b`, { ...stored, spec: written })
  assert.deepEqual([replaced.status, replaced.body.spec.priority], [200, 1000])
  assert.match((await h.call<Said>('POST', PODS, pod('d', undefined, { priorityClassName: 'gone' }))).body.message, /no PriorityClass with name gone was found/)
  await h.call('POST', '/apis/storage.k8s.io/v1/storageclasses', { metadata: { name: 'fast', annotations: { 'storageclass.kubernetes.io/is-default-class': 'true' } }, provisioner: 'x' })
  const claim = await h.call<Obj & { spec: { storageClassName?: string } }>('POST', '/api/v1/namespaces/demo/persistentvolumeclaims', { metadata: { name: 'p' }, spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } } })
  assert.equal(claim.body.spec.storageClassName, 'fast')
})

test('one priority class is the default, a second is refused', async () => {
  await using h = await withDemo()
  const classes = '/apis/scheduling.k8s.io/v1/priorityclasses'
  assert.equal((await h.call('POST', classes, { metadata: { name: 'one' }, value: 7, globalDefault: true })).status, 201)
  const second = await h.call<Said>('POST', classes, { metadata: { name: 'two' }, value: 8, globalDefault: true })
  assert.deepEqual([second.status, second.body.message], [403, 'priorityclasses.scheduling.k8s.io "two" is forbidden: PriorityClass one is already marked as default. Only one default can exist'])
  assert.equal((await h.call('POST', classes, { metadata: { name: 'two' }, value: 8 })).status, 201)
  const mark = (name: string, globalDefault: boolean): Promise<{ status: number }> => h.call('PATCH', `${classes}/${name}`, { globalDefault }, { headers: { 'content-type': 'application/merge-patch+json' } })
  assert.deepEqual([(await mark('two', true)).status, (await mark('one', true)).status], [403, 200])
  const made = await h.call<Obj & { spec: { priority?: number; priorityClassName?: string } }>('POST', PODS, pod('p'))
  assert.deepEqual([made.body.spec.priorityClassName, made.body.spec.priority], ['one', 7])
  assert.deepEqual([(await mark('one', false)).status, (await mark('two', true)).status], [200, 200])
})

test('nobody asks for a certificate of the administrators', async () => {
  await using h = await withDemo()
  const ask = async (o: string): Promise<number> => {
    const { csrPem } = await createKeyAndCsr({ cn: 'eve', o: [o] })
    const spec = { signerName: 'kubernetes.io/kube-apiserver-client', request: Buffer.from(csrPem).toString('base64'), usages: ['client auth'] }
    return (await h.call('POST', '/apis/certificates.k8s.io/v1/certificatesigningrequests', { metadata: { name: `csr-${o.replace(':', '-')}` }, spec })).status
  }
  assert.deepEqual([await ask('system:masters'), await ask('plain')], [403, 201])
})
