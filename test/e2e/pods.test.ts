/**
 * What a pod may ask of a node, asked with the real kubectl of a real node: environment, volumes that follow their sources,
 * init containers, probes, restarts, graceful ends; and that a pod that is gone leaves nothing behind.
 */
import assert from 'node:assert/strict'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { ContainerStatus, Pod } from '../../src/api/gen/types.ts'
import { pathsOf } from '../../src/cli/paths.ts'
import { cannotRunContainers } from '../kit/containerd.ts'
import { busyboxArchive, eventually, podTraces, Site } from './site.ts'

const NODE = 'gw-1'
const FOREVER = `trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done`

describe('pods on a node', { skip: cannotRunContainers() }, () => {
  let site: Site
  const pod = (name: string): Promise<Pod> => site.get<Pod>('pod', name)
  const container = async (name: string): Promise<ContainerStatus> => (await pod(name)).status?.containerStatuses?.[0] as ContainerStatus
  const inside = async (name: string, ...command: string[]): Promise<string> => (await site.kubectl('exec', name, '--', ...command)).trim()
  const ready = (name: string): Promise<string> => site.kubectl('wait', '--for=condition=Ready', `pod/${name}`, '--timeout=40s')
  const reads = (name: string, path: string, want: string): Promise<unknown> => eventually(`${path} to hold "${want}"`, async () => (await inside(name, 'cat', path)) === want, 20_000, 500)

  before(async () => {
    site = await Site.create('pods', [NODE])
    await site.startServer()
    await site.skerry('image', 'import', await busyboxArchive(site.dir, 'tools:v1', FOREVER))
    await site.join(NODE)
    await site.apply(sources(site.dir))
    await site.apply(pods(site.dir))
  })
  after(async () => assert.deepEqual(await site?.close(), []))

  test('environment from values, fields, resources, ConfigMaps and Secrets', async () => {
    await ready('env')
    const env = Object.fromEntries((await inside('env', 'env')).split('\n').map((l) => [l.slice(0, l.indexOf('=')), l.slice(l.indexOf('=') + 1)]))
    const status = (await pod('env')).status
    const expected = {
      PLAIN: 'one', EXPANDED: 'one and $(PLAIN) and $(MISSING)', FROM_MAP: 'blue', FROM_SECRET: 's3cret', NAME: 'env', NODE, LABEL: 'camera', IP: status?.podIP, HOST: status?.hostIP,
      MEMORY: '33554432', CPU: '250', C_colour: 'blue', C_size: 'small', password: 's3cret',
    }
    for (const [k, v] of Object.entries(expected)) assert.equal(env[k], v, k)
    assert.equal(env['ABSENT'], undefined, 'an optional key that is not there sets nothing')
    assert.match(env['SKERRY_BUS_URL'] ?? '', /^mqtt:|^tcp:|^http/)
    assert.equal(env['HOSTNAME'], 'env')
  })

  test('init containers run in order before the app, a restartable one stays beside it', async () => {
    await ready('init')
    assert.equal(await inside('init', 'cat', '/work/order'), 'first\nsecond')
    const { initContainerStatuses = [], conditions = [] } = (await pod('init')).status ?? {}
    assert.deepEqual(initContainerStatuses.map((s) => [s.name, s.state?.terminated?.reason ?? 'running']), [['first', 'Completed'], ['side', 'running'], ['second', 'Completed']])
    assert.equal(conditions.find((c) => c.type === 'Initialized')?.status, 'True')
  })

  test('an init container that fails holds the app back, and kubectl shows it', async () => {
    await eventually('Init:CrashLoopBackOff', async () => /badinit\s+0\/1\s+Init:(CrashLoopBackOff|Error)/.test(await site.kubectl('get', 'pods')))
    assert.equal((await container('badinit')).state?.waiting?.reason, 'PodInitializing')
  })

  test('volumes: ConfigMap, Secret, emptyDir, hostPath, projected, downward API, subPath, with their modes', async () => {
    await ready('vol')
    assert.equal(await inside('vol', 'cat', '/config/renamed', '/config-all/size', '/secret/password', '/sub', '/all/map/colour', '/all/secret', '/all/name'), 'bluesmalls3cretblueblues3cretvol')
    assert.equal(await inside('vol', 'stat', '-L', '-c', '%a', '/config/renamed', '/secret/password', '/all/map/colour'), '640\n400\n644')
    assert.match(await inside('vol', 'cat', '/all/labels'), /app="vol"/)
    assert.match(await inside('vol', 'cat', '/all/token'), /^ey[\w-]+\.[\w-]+\.[\w-]+$/)
    assert.match(await inside('vol', 'cat', '/proc/mounts'), /tmpfs \/memory tmpfs/)
    assert.equal(await inside('vol', 'ls', '/var/run/secrets/kubernetes.io/serviceaccount'), 'ca.crt\nnamespace\ntoken')
    await inside('vol', 'sh', '-c', 'echo kept >/host/file; echo x >/memory/x; echo x >/scratch/x')
    assert.equal(readFileSync(join(site.dir, 'hostpath/file'), 'utf8'), 'kept\n')
    const refused = await site.try('exec', 'vol', '--', 'sh', '-c', 'echo x >/config/renamed')
    assert.match(refused.err, /Read-only file system/)
  })

  test('a changed ConfigMap, Secret and label reach the running pod; a subPath keeps what it had', async () => {
    const before = await container('vol')
    await site.kubectl('patch', 'configmap', 'settings', '-p', '{"data":{"colour":"red"}}')
    await site.kubectl('patch', 'secret', 'login', '-p', '{"stringData":{"password":"n3w"}}')
    await site.kubectl('label', 'pod', 'vol', 'app=changed', '--overwrite')
    await reads('vol', '/config/renamed', 'red')
    await reads('vol', '/all/map/colour', 'red')
    await reads('vol', '/secret/password', 'n3w')
    await eventually('label in the downward API', async () => (await inside('vol', 'cat', '/all/labels')).includes('app="changed"'), 20_000, 500)
    assert.equal(await inside('vol', 'cat', '/sub'), 'blue')
    assert.equal((await container('vol')).containerID, before.containerID, 'nothing was restarted for it')
  })

  test('a pod waits for a ConfigMap that is not there yet, says so, and starts when it comes', async () => {
    await eventually('the missing name to be told', async () => /configmap "late" not found/.test(await site.kubectl('describe', 'pod', 'waiting')))
    await site.kubectl('create', 'configmap', 'late', '--from-literal=word=here')
    await ready('waiting')
    assert.equal(await inside('waiting', 'sh', '-c', 'echo $WORD'), 'here')
  })

  test('readiness gates Ready, both ways; nothing is restarted for it', async () => {
    await eventually('gate running', async () => (await container('gate')).state?.running !== undefined)
    assert.equal((await container('gate')).ready, false)
    await inside('gate', 'touch', '/tmp/ready')
    await ready('gate')
    await inside('gate', 'rm', '/tmp/ready')
    await site.kubectl('wait', '--for=condition=Ready=false', 'pod/gate', '--timeout=60s')
    assert.equal((await container('gate')).restartCount, 0)
    await eventually('the Event', async () => /Unhealthy.*Readiness probe failed/.test(await site.kubectl('describe', 'pod', 'gate')))
  })

  test('liveness restarts the container; logs --previous shows the former life', async () => {
    await ready('live')
    await inside('live', 'rm', '/tmp/alive')
    await eventually('a restart', async () => (await container('live')).restartCount === 1)
    await ready('live')
    await eventually('the Events', async () => {
      const told = await site.kubectl('describe', 'pod', 'live')
      return /Unhealthy[^\n]*Liveness probe failed/.test(told) && /Killing[^\n]*failed liveness probe, will be restarted/.test(told)
    })
    const [previous, now] = [await site.kubectl('logs', 'live', '--previous'), await site.kubectl('logs', 'live')]
    assert.match(previous, /^life \w+\n$/)
    assert.match(now, /^life \w+\n$/)
    assert.notEqual(previous, now)
    assert.equal((await container('live')).lastState?.terminated?.exitCode, 0)
  })

  test('a container that keeps ending is CrashLoopBackOff, with its last exit code and message', async () => {
    await eventually('CrashLoopBackOff', async () => /crash\s+0\/1\s+CrashLoopBackOff\s+[1-9]/.test(await site.kubectl('get', 'pods')))
    const status = await container('crash')
    assert.equal(status.lastState?.terminated?.exitCode, 3)
    assert.equal(status.lastState.terminated.reason, 'Error')
    assert.equal(status.lastState.terminated.message, 'no film\n')
    assert.match(status.state?.waiting?.message ?? '', /back-off (10|20)s restarting failed container=main pod=crash_default/)
    await eventually('the Event', async () => /BackOff\s.*Back-off restarting failed container/.test(await site.kubectl('describe', 'pod', 'crash')))
  })

  test('a container over its memory limit is OOMKilled, and so it is told', async () => {
    await eventually('OOMKilled', async () => /hungry\s+0\/1\s+OOMKilled\s+0 /.test(await site.kubectl('get', 'pods')))
    assert.equal((await container('hungry')).state?.terminated?.exitCode, 137)
  })

  test('user, groups, capabilities and a read-only root are as asked; limits reach the kernel', async () => {
    await ready('secured')
    assert.equal(await inside('secured', 'id'), 'uid=1000 gid=1500 groups=1500,2000')
    assert.match((await site.try('exec', 'secured', '--', 'touch', '/x')).err, /Read-only file system/)
    assert.equal(await inside('secured', 'stat', '-c', '%g', '/work'), '2000', 'fsGroup owns the volume')
    await inside('secured', 'touch', '/work/x')
    assert.match(await inside('secured', 'cat', '/proc/1/status'), /CapBnd:\s+0+\n[\s\S]*NoNewPrivs:\s+1\n[\s\S]*Seccomp:\s+2\n/)
    const limit = await inside('secured', 'sh', '-c', 'cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes')
    assert.equal(limit, String(24 << 20))
    assert.match(await inside('secured', 'cat', '/etc/hosts'), /10\.9\.8\.7\s+plc\.local/)
    assert.match(await inside('secured', 'cat', '/etc/resolv.conf'), /nameserver 10\.9\.8\.53\nsearch plant\.local|search plant\.local\nnameserver 10\.9\.8\.53/)
  })

  test('a pod on the host\'s network has the node\'s address and name', async () => {
    await ready('hosted')
    const { podIP, hostIP } = (await pod('hosted')).status ?? {}
    assert.deepEqual([podIP, hostIP], [site.lab.host(NODE).address, site.lab.host(NODE).address])
    const r = await site.on(NODE, 'curl', ['-s', '--max-time', '3', `http://127.0.0.1:7630/`])
    assert.equal(r.out, 'tools:v1\n')
  })

  test('startup, HTTP and TCP probes: the app has its time to start, then it is watched', async () => {
    await ready('slow')
    assert.equal((await container('slow')).restartCount, 0, 'the liveness probe waited for the startup probe')
    assert.equal((await container('slow')).started, true)
  })

  test('restart policies: Never and OnFailure come to their end', async () => {
    await site.kubectl('wait', '--for=jsonpath={.status.phase}=Succeeded', 'pod/done', 'pod/retried', '--timeout=40s')
    await site.kubectl('wait', '--for=jsonpath={.status.phase}=Failed', 'pod/failed', '--timeout=60s')
    const table = await site.kubectl('get', 'pods')
    assert.match(table, /done\s+0\/1\s+Completed\s+0 /)
    assert.match(table, /failed\s+0\/1\s+Error\s+0 /)
    assert.match(table, /retried\s+0\/1\s+Completed\s+1 /)
    assert.equal((await container('failed')).state?.terminated?.exitCode, 4)
    assert.equal(await site.kubectl('logs', 'done'), 'all done\n', 'logs of an ended pod')
  })

  test('a gentle end: preStop, then SIGTERM, then the app\'s own time; a deaf one is killed after its grace', async () => {
    await Promise.all([ready('gentle'), ready('deaf')])
    const started = performance.now()
    await site.kubectl('delete', 'pod', 'gentle', '--wait')
    assert.equal(readFileSync(join(site.dir, 'hostpath/ends'), 'utf8'), 'preStop\nTERM\nbye\n')
    const gentleMs = performance.now() - started
    assert.ok(gentleMs < 8_000, `gentle took ${gentleMs} ms`)
    const from = performance.now()
    await site.kubectl('delete', 'pod', 'deaf', '--wait')
    const deafMs = performance.now() - from
    assert.ok(deafMs > 1_900 && deafMs < 8_000, `deaf has a grace of 2 s and took ${deafMs} ms`)
  })

  test('deleted pods leave no mounts, sandboxes, cgroups, directories, addresses', async () => {
    const traces = podTraces(site.data(NODE))
    assert.ok(traces.length > 10, 'shims and addresses of many pods')
    await site.kubectl('delete', 'pods', '--all', '--grace-period=1', '--wait')
    await eventually('nothing of any pod on the node', () => {
      const left = [...remains(site.data(NODE)), ...traces.filter((f) => existsSync(f))]
      if (left.length > 0) throw new Error(left.join('\n'))
      return true
    })
  })
})

/** What pods left of themselves on a node that has none. */
function remains(dataDir: string): string[] {
  const { run, instance } = pathsOf(dataDir)
  const agent = join(dataDir, 'agent')
  const list = (dir: string): string[] => (existsSync(dir) ? readdirSync(dir) : []).map((n) => join(dir, n))
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n').map((l) => l.split(' ')[4] ?? '').filter((m) => m.startsWith(`${agent}/`) || m.startsWith(`${run}/`))
  const cgroups = readdirSync('/sys/fs/cgroup').flatMap((h) => walk(join('/sys/fs/cgroup', h, `skerry-${instance}`))).filter((d) => /\/pod[0-9a-f-]{8,}|\/[0-9a-f]{64}/.test(d))
  const tasks = list(join(run, 'containerd/io.containerd.runtime.v2.task/k8s.io'))
  const leases = list(join(run, 'cni/leases')).flatMap(list).filter((f) => /\/\d+\.\d+\.\d+\.\d+$/.test(f))
  return [...mounts, ...cgroups, ...tasks, ...leases, ...list(join(agent, 'logs/pods')), ...list(join(agent, 'pods')), ...list(join(agent, 'tokens'))]
}

function walk(dir: string): string[] {
  if (!existsSync(dir)) return []
  return readdirSync(dir, { withFileTypes: true }).filter((e) => e.isDirectory()).flatMap((e) => [join(dir, e.name), ...walk(join(dir, e.name))])
}

const sources = (dir: string): string => `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue, size: small}
---
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {password: s3cret}
# Files of the pods on this machine are below ${dir}.
`

interface Wish {
  readonly script?: string
  readonly container?: string
  readonly spec?: string
  readonly labels?: string
}

const one = (name: string, wish: Wish): string => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, labels: {app: ${name}${wish.labels ?? ''}}}
spec:
  terminationGracePeriodSeconds: 2
  ${(wish.spec ?? '').trim().replaceAll('\n', '\n  ')}
  containers:
    - name: main
      image: tools:v1
      command: [sh, -c, ${JSON.stringify(wish.script ?? FOREVER)}]
      ${(wish.container ?? '').trim().replaceAll('\n', '\n      ')}
`

const probe = (kind: string, file: string): string => `${kind}: {exec: {command: [test, -f, ${file}]}, periodSeconds: 1, failureThreshold: 1}`

const pods = (dir: string): string =>
  [
    one('env', {
      labels: ', device: camera',
      container: `
env:
  - {name: PLAIN, value: one}
  - {name: EXPANDED, value: $(PLAIN) and $$(PLAIN) and $(MISSING)}
  - {name: FROM_MAP, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}
  - {name: FROM_SECRET, valueFrom: {secretKeyRef: {name: login, key: password}}}
  - {name: ABSENT, valueFrom: {configMapKeyRef: {name: settings, key: none, optional: true}}}
  - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
  - {name: LABEL, valueFrom: {fieldRef: {fieldPath: "metadata.labels['device']"}}}
  - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
  - {name: HOST, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
  - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
  - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
envFrom:
  - {prefix: C_, configMapRef: {name: settings}}
  - secretRef: {name: login}
resources: {limits: {memory: 32Mi, cpu: 250m}}`,
    }),
    one('init', {
      spec: `
initContainers:
  - {name: first, image: 'tools:v1', command: [sh, -c, 'sleep 1; echo first >>/work/order'], volumeMounts: [{name: work, mountPath: /work}]}
  - {name: side, image: 'tools:v1', restartPolicy: Always}
  - {name: second, image: 'tools:v1', command: [sh, -c, 'echo second >>/work/order'], volumeMounts: [{name: work, mountPath: /work}]}
volumes: [{name: work, emptyDir: {}}]`,
      container: 'volumeMounts: [{name: work, mountPath: /work}]',
    }),
    one('badinit', { spec: `initContainers: [{name: first, image: 'tools:v1', command: ['false']}]` }),
    one('vol', {
      spec: `
volumes:
  - {name: config, configMap: {name: settings, items: [{key: colour, path: renamed, mode: 0640}]}}
  - {name: config-all, configMap: {name: settings}}
  - {name: secret, secret: {secretName: login, defaultMode: 0400}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - {name: scratch, emptyDir: {}}
  - {name: host, hostPath: {path: ${dir}/hostpath, type: DirectoryOrCreate}}
  - name: all
    projected:
      sources:
        - configMap: {name: settings, items: [{key: colour, path: map/colour}]}
        - secret: {name: login, items: [{key: password, path: secret}]}
        - downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}, {path: labels, fieldRef: {fieldPath: metadata.labels}}]}
        - serviceAccountToken: {path: token, expirationSeconds: 3600, audience: collector}`,
      container: `
volumeMounts:
  - {name: config, mountPath: /config}
  - {name: config-all, mountPath: /config-all}
  - {name: config-all, mountPath: /sub, subPath: colour}
  - {name: secret, mountPath: /secret}
  - {name: memory, mountPath: /memory}
  - {name: scratch, mountPath: /scratch}
  - {name: host, mountPath: /host}
  - {name: all, mountPath: /all}`,
    }),
    one('waiting', { container: 'env: [{name: WORD, valueFrom: {configMapKeyRef: {name: late, key: word}}}]' }),
    one('gate', { container: probe('readinessProbe', '/tmp/ready') }),
    one('live', { script: `touch /tmp/alive; echo life $(cat /proc/sys/kernel/random/uuid | tr -d -); ${FOREVER}`, container: probe('livenessProbe', '/tmp/alive') }),
    one('crash', { script: `echo no film >/dev/termination-log; exit 3` }),
    one('done', { spec: 'restartPolicy: Never', script: 'echo all done' }),
    one('failed', { spec: 'restartPolicy: Never', script: 'exit 4' }),
    one('retried', { spec: 'restartPolicy: OnFailure\nvolumes: [{name: work, emptyDir: {}}]', script: 'test -f /work/tried && exit 0; touch /work/tried; exit 1', container: 'volumeMounts: [{name: work, mountPath: /work}]' }),
    one('gentle', {
      spec: `volumes: [{name: host, hostPath: {path: ${dir}/hostpath, type: DirectoryOrCreate}}]`,
      script: `trap 'echo TERM >>/host/ends; sleep 1; echo bye >>/host/ends; exit 0' TERM; while :; do sleep 1 & wait $!; done`,
      container: `volumeMounts: [{name: host, mountPath: /host}]\nlifecycle: {preStop: {exec: {command: [sh, -c, 'echo preStop >>/host/ends']}}}`,
    }).replace('Seconds: 2', 'Seconds: 20'),
    one('hungry', { spec: 'restartPolicy: Never', script: 'x=$(cat /dev/zero | tr \\\\0 x)', container: 'resources: {limits: {memory: 12Mi}}' }),
    one('secured', {
      spec: `
securityContext: {runAsUser: 1000, runAsGroup: 1500, fsGroup: 2000, seccompProfile: {type: RuntimeDefault}}
hostAliases: [{ip: 10.9.8.7, hostnames: [plc.local]}]
dnsPolicy: None
dnsConfig: {nameservers: [10.9.8.53], searches: [plant.local]}
volumes: [{name: work, emptyDir: {}}]`,
      container: `
securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
resources: {limits: {memory: 24Mi, cpu: 500m}}
volumeMounts: [{name: work, mountPath: /work}]`,
    }),
    one('hosted', { spec: 'hostNetwork: true', script: `httpd -p 7630 -h /www; ${FOREVER}`, container: 'readinessProbe: {httpGet: {port: 7630, path: /}, periodSeconds: 1}' }),
    one('slow', {
      script: `sleep 3; httpd -p 8080 -h /www; ${FOREVER}`,
      container: `
ports: [{name: web, containerPort: 8080}]
startupProbe: {httpGet: {port: web, path: /}, periodSeconds: 1, failureThreshold: 20}
livenessProbe: {tcpSocket: {port: web}, periodSeconds: 1, failureThreshold: 1}
readinessProbe: {httpGet: {port: web, path: /index.html}, periodSeconds: 1}`,
    }),
    one('deaf', { script: `trap '' TERM; while :; do sleep 1; done` }),
  ].join('---')
