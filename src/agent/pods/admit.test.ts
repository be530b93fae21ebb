import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import type { Pod } from '../../api/gen/types.ts'
import { setLogSink } from '../../base/log.ts'
import { testNode, testPod } from '../testing.ts'
import { refusal } from './admit.ts'
import { hostnameOf } from './dns.ts'
import { serviceEnv } from './service-env.ts'

setLogSink(() => {})

const why = (spec: object, appArmor = false, unsafeSysctls: string[] = []): string | undefined => {
  const r = refusal({ spec: { containers: [{ name: 'c' }], ...spec } } as Pod, { appArmor, unsafeSysctls })
  return r && `${r.reason}: ${r.message}`
}
const sysctl = (name: string, more: object = {}): string | undefined => why({ securityContext: { sysctls: [{ name, value: '1' }] }, ...more })

test('what a node could not keep is refused in the kubelet’s words', () => {
  assert.equal(why({}), undefined)
  assert.equal(sysctl('net.ipv4.ip_unprivileged_port_start'), undefined)
  assert.equal(sysctl('net/ipv4/tcp_syncookies'), undefined)
  assert.equal(sysctl('kernel.msgmax'), 'SysctlForbidden: Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted')
  assert.equal(sysctl('net.ipv4.tcp_syncookies', { hostNetwork: true }), 'SysctlForbidden: Pod was rejected: forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled')
  const unsafe = (name: string, more: object = {}): string | undefined => why({ securityContext: { sysctls: [{ name, value: '1' }] }, ...more }, false, ['kernel.msg*', 'net.core.somaxconn'])
  assert.deepEqual([unsafe('kernel.msgmax'), unsafe('net.core.somaxconn')], [undefined, undefined])
  assert.match(unsafe('kernel.msgmax', { hostIPC: true }) ?? '', /not allowed with host ipc enabled/)
  assert.match(unsafe('net.core.other') ?? '', /not allowlisted/)
  assert.match(why({ os: { name: 'windows' } }) ?? '', /^PodOSNotSupported/)
  const profile = { securityContext: { appArmorProfile: { type: 'RuntimeDefault' } } }
  assert.match(why({ containers: [{ name: 'c', ...profile }] }) ?? '', /^AppArmor: .*not enabled on the host/)
  assert.equal(why(profile, true), undefined)
  assert.match(why({ securityContext: { supplementalGroupsPolicy: 'Strict' } }) ?? '', /^SupplementalGroupsPolicyNotSupported/)
})

test('a pod that is refused fails at once and nothing of it is made', async () => {
  await using n = await testNode()
  n.api.put('pods', testPod('web', { securityContext: { sysctls: [{ name: 'kernel.msgmax', value: '1' }] } }))
  await n.until('failed', () => n.api.pod('web').status?.phase === 'Failed')
  assert.equal(n.api.pod('web').status?.reason, 'SysctlForbidden')
  assert.ok(n.said.some((e) => e.startsWith('Warning SysctlForbidden web')))
  await n.pass(2000)
  const before = n.api.pod('web').status
  await n.stop()
  n.start()
  await n.agent.ready
  await n.pass(2000)
  assert.deepEqual(n.api.pod('web').status, before, 'also after a restart of the agent')
  assert.deepEqual(n.runtime.calls.filter((c) => c.startsWith('sandboxes.run')), [])
})

test('a pod whose time is over is ended, also when the agent was away at that moment', async () => {
  await using n = await testNode()
  n.api.put('pods', testPod('job', { activeDeadlineSeconds: 30 }))
  await n.until('running', () => n.api.pod('job').status?.phase === 'Running')
  await n.pass(20_000)
  assert.equal(n.api.pod('job').status?.phase, 'Running')
  await n.stop()
  await n.clock.advance(20_000)
  n.start()
  await n.until('failed', () => n.api.pod('job').status?.phase === 'Failed')
  const { reason, message, containerStatuses } = n.api.pod('job').status ?? {}
  assert.deepEqual([reason, message], ['DeadlineExceeded', 'Pod was active on the node longer than the specified deadline'])
  assert.ok(containerStatuses?.[0]?.state?.terminated)
})

test('a pod that writes more than its emptyDir may hold is evicted', async () => {
  await using n = await testNode()
  n.api.put('pods', testPod('full', { volumes: [{ name: 'scratch', emptyDir: { sizeLimit: '64Ki' } }], containers: [{ name: 'main', image: 'app', imagePullPolicy: 'IfNotPresent' }] }))
  await n.until('running', () => n.api.pod('full').status?.phase === 'Running')
  await n.pass(11_000)
  const dir = join(n.dirs.data, 'pods/uid-full/volumes/scratch')
  mkdirSync(join(dir, 'sub'))
  writeFileSync(join(dir, 'sub/file'), Buffer.alloc(100_000))
  await n.pass(11_000)
  await n.until('failed', () => n.api.pod('full').status?.phase === 'Failed')
  const { reason, message, conditions } = n.api.pod('full').status ?? {}
  assert.deepEqual([reason, message], ['Evicted', 'Usage of EmptyDir volume "scratch" exceeds the limit "64Ki". '])
  assert.equal(conditions?.find((c) => c.type === 'DisruptionTarget')?.reason, 'TerminationByKubelet')
})

test('a container’s own policy and rules decide before the pod’s', async () => {
  await using n = await testNode({ app: {}, brief: { exitAfterMs: 1000, exitCode: 42 } })
  const brief = (more: object) => ({ name: 'main', image: 'brief', imagePullPolicy: 'IfNotPresent', ...more })
  n.api.put('pods', testPod('never', { restartPolicy: 'Always', containers: [brief({ restartPolicy: 'Never' })] }))
  n.api.put('pods', testPod('ruled', { restartPolicy: 'Never', containers: [brief({ restartPolicy: 'Never', restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'In', values: [42] } }] })] }))
  n.api.put('pods', testPod('other', { restartPolicy: 'Never', containers: [brief({ restartPolicy: 'Never', restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'NotIn', values: [42] } }] })] }))
  await n.until('all to run', () => ['never', 'ruled', 'other'].every((name) => n.api.pod(name).status?.phase === 'Running'))
  await n.pass(2000)
  await n.until('never to fail', () => n.api.pod('never').status?.phase === 'Failed')
  await n.until('other to fail', () => n.api.pod('other').status?.phase === 'Failed')
  assert.equal(n.api.pod('ruled').status?.phase, 'Running')
  await n.pass(15_000)
  await n.until('a restart', () => (n.api.pod('ruled').status?.containerStatuses?.[0]?.restartCount ?? 0) > 0)
})

test('host names: short, overridden, whole', () => {
  const name = (spec: object): string => hostnameOf({ metadata: { name: 'web-0', namespace: 'shop' }, spec: { containers: [], ...spec } } as Pod, 'cluster.local')
  assert.equal(name({}), 'web-0')
  assert.equal(name({ hostname: 'front', subdomain: 'web' }), 'front')
  assert.equal(name({ hostname: 'front', subdomain: 'web', setHostnameAsFQDN: true }), 'front.web.shop.svc.cluster.local')
  assert.equal(name({ hostname: 'front', hostnameOverride: 'plc.plant' }), 'plc.plant')
  assert.throws(() => name({ hostname: 'a'.repeat(50), subdomain: 'web', setHostnameAsFQDN: true }), /is too long \(64 characters is the max/)
})

test('Services of the namespace are told as variables, others are not', () => {
  const service = (namespace: string, name: string, clusterIP: string) => ({ metadata: { name, namespace }, spec: { clusterIP, ports: [{ name: 'web', port: 80, protocol: 'TCP' }] } })
  const services = [service('shop', 'red-light', '10.43.0.7'), service('other', 'db', '10.43.0.8'), service('shop', 'headless', 'None'), service('default', 'kubernetes', '10.43.0.1')]
  const env = serviceEnv({ metadata: { namespace: 'shop' } }, services)
  assert.deepEqual(Object.keys(env).filter((k) => k.startsWith('RED_LIGHT')).map((k) => `${k}=${env[k]}`), [
    'RED_LIGHT_SERVICE_HOST=10.43.0.7', 'RED_LIGHT_SERVICE_PORT=80', 'RED_LIGHT_PORT=tcp://10.43.0.7:80', 'RED_LIGHT_SERVICE_PORT_WEB=80',
    'RED_LIGHT_PORT_80_TCP=tcp://10.43.0.7:80', 'RED_LIGHT_PORT_80_TCP_PROTO=tcp', 'RED_LIGHT_PORT_80_TCP_PORT=80', 'RED_LIGHT_PORT_80_TCP_ADDR=10.43.0.7',
  ])
  assert.equal(env['KUBERNETES_SERVICE_HOST'], '10.43.0.1')
  assert.deepEqual(Object.keys(env).filter((k) => /^(DB|HEADLESS)/.test(k)), [])
  assert.deepEqual(Object.keys(serviceEnv({ metadata: { namespace: 'shop' }, spec: { containers: [], enableServiceLinks: false } }, services)).filter((k) => k.startsWith('RED')), [])
})
