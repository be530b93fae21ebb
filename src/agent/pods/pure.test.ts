import assert from 'node:assert/strict'
import test from 'node:test'
import type { Pod } from '../../api/gen/types.ts'
import { check, portOf } from './checks.ts'
import { DEFAULT_DOMAIN, hostsFile, parseResolv, podDns } from './dns.ts'
import { environment, expand } from './env.ts'
import { misfit } from './fit.ts'
import { amount, hugePages, linuxResources, podLimit, podRequest, qosOf } from './quantities.ts'
import { containerSecurity } from './security.ts'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createServer as createH2 } from 'node:http2'
import { systemClock } from '../../base/clock.ts'
import { AppError } from '../../base/errors.ts'
import { FakeRuntime } from '../../cri/mod.ts'
import { runHook } from './hooks.ts'

const pod = (spec: object): Pod => ({ metadata: { name: 'web', namespace: 'shop', uid: 'u' }, spec: { containers: [], ...spec } })

test('environment takes every source in order and expands references', async () => {
  const data: Record<string, Map<string, Buffer>> = { conf: new Map([['A', Buffer.from('1')]]), sec: new Map([['B', Buffer.from('2')]]) }
  const spec = {
    name: 'c',
    envFrom: [{ configMapRef: { name: 'conf' }, prefix: 'X_' }, { secretRef: { name: 'sec' } }, { configMapRef: { name: 'gone', optional: true } }],
    env: [
      { name: 'C', value: '$(X_A)-$(B)-$(NONE)-$$(B)' },
      { name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
      { name: 'K', valueFrom: { secretKeyRef: { name: 'sec', key: 'B' } } },
      { name: 'BASE', value: 'own' },
      { name: 'OPT', valueFrom: { configMapKeyRef: { name: 'conf', key: 'no', optional: true } } },
    ],
  }
  const context = { pod: pod({}), hostIPs: [], podIPs: ['10.0.0.9'], allocatable: {} }
  const env = await environment(spec, context, { read: async (_k, name) => data[name] }, { BASE: 'node', BUS: 'http://bus' }, async () => undefined)
  assert.deepEqual(Object.fromEntries(env), { BASE: 'own', BUS: 'http://bus', X_A: '1', B: '2', C: '1-2-$(NONE)-$(B)', IP: '10.0.0.9', K: '2' })
  await assert.rejects(environment({ name: 'c', env: [{ name: 'K', valueFrom: { secretKeyRef: { name: 'sec', key: 'no' } } }] }, context, { read: async (_k, name) => data[name] }, {}, async () => undefined), /couldn't find key no in Secret shop\/sec/)
  assert.equal(expand('$(A) $$ $(', new Map([['A', 'x']])), 'x $ $(')
})

test('quantities, QoS classes and Linux resources', () => {
  assert.deepEqual(['100m', '1.5', '64Mi', '1k', '1e3'].map(amount), [0.1, 1.5, 67_108_864, 1000, 1000])
  assert.throws(() => amount('lots'), /quantities must match.*"lots"/)
  const c = (requests: object, limits: object) => ({ name: 'c', resources: { requests, limits } }) as never
  assert.equal(qosOf({ containers: [c({}, {})] }), 'BestEffort')
  assert.equal(qosOf({ containers: [c({}, { cpu: '1', memory: '1Gi' })] }), 'Guaranteed')
  assert.equal(qosOf({ containers: [c({ cpu: '1' }, {})] }), 'Burstable')
  const r = linuxResources(pod({ containers: [c({ cpu: '250m', memory: '1Gi' }, { cpu: '500m' })] }), c({ cpu: '250m', memory: '1Gi' }, { cpu: '500m' }), 4 * 2 ** 30)
  assert.deepEqual(r, { cpuShares: 256, cpuQuotaUs: 50_000, cpuPeriodUs: 100_000, memoryLimitBytes: 0, oomScoreAdj: 750 })
  const asked = c({ memory: '1Gi' }, {})
  const score = (name: string, spec: object): number => linuxResources(pod({ containers: [asked], initContainers: [{ name: 'side', restartPolicy: 'Always' }], ...spec }), { ...(asked as object), name, ...(name === 'side' ? { resources: {} } : {}) }, 4 * 2 ** 30).oomScoreAdj
  assert.deepEqual([score('c', {}), score('side', {})], [750, 750], 'a sidecar is not killed before what it serves')
  assert.deepEqual([score('c', { priority: 2_000_000_000, priorityClassName: 'system-cluster-critical' }), score('c', { priority: 2_000_001_000, priorityClassName: 'system-node-critical' })], [750, -997])
  const has = { cpu: '2', 'hugepages-1Gi': '0', 'hugepages-2Mi': '16Mi', 'hugepages-64Ki': '128Ki' }
  assert.deepEqual(hugePages(c({}, { 'hugepages-2Mi': '4Mi' }), has), [{ pageSize: '2MB', bytes: 4_194_304 }, { pageSize: '64KB', bytes: 0 }])
  const taken = pod({ containers: [c({}, { 'hugepages-2Mi': '14Mi' })] })
  const misses = (asked: object): string | undefined => misfit(pod({ containers: [c({}, asked)] }), { allocatable: has, node: undefined, others: [taken] })?.message
  assert.equal(misses({ 'hugepages-2Mi': '2Mi' }), undefined)
  assert.equal(misses({ 'hugepages-2Mi': '4Mi' }), "Pod was rejected: Node didn't have enough resource: hugepages-2Mi, requested: 4194304, used: 14680064, capacity: 16777216")
  assert.equal(misses({ 'hugepages-4Mi': '4Mi' }), "Pod was rejected: Node didn't have enough resource: hugepages-4Mi, requested: 4194304, used: 0, capacity: 0")
})

test('name resolution by policy, hosts with aliases', () => {
  const host = parseResolv('nameserver 192.0.2.53 # ours\nsearch lan\noptions rotate')
  assert.deepEqual(parseResolv('search a b\nnameserver 192.0.2.1\nsearch c').searches, ['c'])
  const cluster = { server: '10.43.0.10', domain: 'cluster.local' }
  assert.deepEqual(podDns(pod({}), host, cluster).searches, ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local', 'lan'])
  assert.deepEqual(podDns(pod({ dnsPolicy: 'Default' }), host, cluster), host)
  assert.deepEqual(podDns(pod({}), host, undefined), host)
  const own = { dnsPolicy: 'None', dnsConfig: { nameservers: ['1.1.1.1'], options: [{ name: 'ndots', value: '2' }] } }
  assert.deepEqual(podDns(pod(own), host, cluster), { servers: ['1.1.1.1'], searches: [], options: ['ndots:2'] })
  const text = hostsFile(pod({ hostAliases: [{ ip: '192.0.2.9', hostnames: ['db', 'cache'] }] }), ['10.0.0.2'], undefined, DEFAULT_DOMAIN)
  assert.match(text, /10\.0\.0\.2\tweb\n/)
  assert.match(text, /192\.0\.2\.9\tdb\tcache\n/)
})

test('non-root rules are kept or refused in Kubernetes words', () => {
  const spec = { name: 'c', securityContext: { runAsNonRoot: true } }
  assert.throws(() => containerSecurity(pod({}), spec, ''), /^AppError: container has runAsNonRoot and image will run as root \(pod: "web_shop\(u\)", container: c\)$/)
  for (const user of ['nginx', 'root']) assert.throws(() => containerSecurity(pod({}), spec, user), new RegExp(`non-numeric user \\(${user}\\)`))
  assert.equal(containerSecurity(pod({ securityContext: { runAsUser: 7, fsGroup: 9 } }), spec, '').runAsUser, 7)
  const s = containerSecurity(pod({ securityContext: { seccompProfile: { type: 'RuntimeDefault' } } }), { name: 'c', securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } } }, '')
  assert.deepEqual([s.seccomp, s.noNewPrivileges, s.dropCapabilities], ['runtime/default', true, ['ALL']])
})

test('checks by HTTP, TCP and gRPC', async () => {
  const web = createServer((req, res) => {
    const [path, to = '/round'] = req.url?.split('?') ?? []
    if (path === '/to' || path === '/round') return void res.writeHead(302, { location: to }).end('moved')
    res.writeHead(path === '/ok' ? 200 : 500).end()
  })
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve))
  const health = createH2()
  health.on('stream', (stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
    stream.end(Buffer.from([0, 0, 0, 0, 2, 0x08, 1]))
  })
  await new Promise<void>((resolve) => health.listen(0, '127.0.0.1', resolve))
  const port = (web.address() as AddressInfo).port
  const spec = { name: 'c', ports: [{ name: 'web', containerPort: port }] }
  const target = { streams: new FakeRuntime().streams, containerId: 'c', spec, host: '127.0.0.1', timeoutSeconds: 1 }
  assert.deepEqual(await check({ httpGet: { path: '/ok', port: 'web' } }, target), { ok: true, output: '' })
  assert.deepEqual(await check({ httpGet: { path: '/no', port } }, target), { ok: false, output: 'HTTP probe failed with statuscode: 500' })
  assert.deepEqual(await check({ httpGet: { path: '/to?/ok', port } }, target), { ok: true, output: '' })
  assert.deepEqual(await check({ httpGet: { path: '/to?/no', port } }, target), { ok: false, output: 'HTTP probe failed with statuscode: 500' }, 'a redirect on the same host is followed')
  assert.deepEqual(await check({ httpGet: { path: '/to?http://elsewhere.test/', port } }, target), { ok: true, output: 'Probe terminated redirects, Response body: moved', warning: true })
  assert.deepEqual(await check({ httpGet: { path: '/round', port } }, target), { ok: false, output: `Get "http://127.0.0.1:${port}/round": stopped after 10 redirects` })
  assert.deepEqual(await check({ httpGet: { path: '/', port: 1 } }, target), { ok: false, output: 'Get "http://127.0.0.1:1/": dial tcp 127.0.0.1:1: connect: connection refused' })
  assert.equal((await check({ tcpSocket: { port } }, target)).ok, true)
  assert.equal((await check({ tcpSocket: { port: 1 } }, target)).ok, false)
  assert.deepEqual(await check({ grpc: { port: (health.address() as AddressInfo).port } }, target), { ok: true, output: '' })
  const streams = (code: 'timeout' | 'internal') => ({ execSync: async () => { throw new AppError(code, 'no such file') } }) as unknown as typeof target.streams
  assert.deepEqual(await check({ exec: { command: ['sleep', '9'] } }, { ...target, streams: streams('timeout') }), { ok: false, output: 'command timed out: "sleep 9" timed out after 1s' })
  assert.deepEqual(await check({ exec: { command: ['none'] } }, { ...target, streams: streams('internal') }), { ok: false, output: 'no such file', unknown: true })
  const hook = (httpGet: object): Promise<void> => runHook({ httpGet: { port, ...httpGet } }, { ...target, timeoutSeconds: 0 }, systemClock)
  await hook({ path: '/no' })
  await hook({ path: '/ok', scheme: 'HTTPS' })
  await assert.rejects(hook({ path: '/ok', port: 1 }), /run hook: Get .*connection refused/)
  assert.throws(() => portOf(spec, 'none'), /has none named "none"/)
  web.closeAllConnections()
  web.close()
  health.close()
})

test('a pod needs its containers with its sidecars, or an init container with the sidecars before it', () => {
  const c = (memory: string, more: object = {}) => ({ name: 'c', resources: { limits: { memory } }, ...more })
  const side = { restartPolicy: 'Always' }
  assert.equal(podLimit({ containers: [c('10'), c('20')], initContainers: [c('5', side)] }, 'memory'), 35)
  assert.equal(podLimit({ containers: [c('10')], initContainers: [c('5', side), c('50'), c('7', side)] }, 'memory'), 55)
  assert.equal(podLimit({ containers: [c('10'), { name: 'free' }] }, 'memory'), 0)
  assert.equal(podLimit({ containers: [c('10')], initContainers: [{ name: 'free', ...side }] }, 'memory'), 0)
  assert.equal(podLimit({ containers: [{ name: 'free' }], resources: { limits: { memory: '64' } }, overhead: { memory: '6' } }, 'memory'), 70)
  assert.equal(podRequest({ containers: [c('10')], overhead: { memory: '6' } }, 'memory'), 16)
})

test('a group without a user goes with the user of the image', () => {
  const of = (imageUser: string, security: object = { runAsGroup: 3000 }) => {
    const { runAsUser, runAsUserName, runAsGroup } = containerSecurity(pod({ securityContext: security }), { name: 'c' }, imageUser)
    return [runAsUser, runAsUserName, runAsGroup]
  }
  assert.deepEqual(of(''), [0, undefined, 3000])
  assert.deepEqual(of('1000'), [1000, undefined, 3000])
  assert.deepEqual(of('app'), [undefined, 'app', 3000])
  assert.deepEqual(of('app', { runAsGroup: 3000, runAsUser: 7 }), [7, undefined, 3000])
  assert.deepEqual(of('1000', {}), [undefined, undefined, undefined], 'left to the image, its group included')
})
