import assert from 'node:assert/strict'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'node:test'
import type { Pod } from '../api/gen/types.ts'
import { setLogSink } from '../base/log.ts'
import { AppError } from '../base/errors.ts'
import { testNode, testPod, type TestNode } from './testing.ts'

setLogSink(() => {})

const status = (n: TestNode, pod: string, at = 0) => n.api.pod(pod)?.status?.containerStatuses?.[at]
const ready = (n: TestNode, pod: string): boolean => n.api.pod(pod)?.status?.conditions?.find((c) => c.type === 'Ready')?.status === 'True'
const starts = (n: TestNode): number => n.runtime.calls.filter((c) => c.startsWith('containers.start')).length

test('a pod is started and its status told as the kubelet would', async () => {
  await using n = await testNode()
  n.api.put('pods', testPod('web'))
  await n.until('ready', () => ready(n, 'web'))
  const s = n.api.pod('web').status
  assert.equal(s?.phase, 'Running')
  assert.equal(s?.hostIP, '192.0.2.7')
  assert.match(s?.podIP ?? '', /^10\./)
  assert.equal(s?.qosClass, 'BestEffort')
  assert.equal(s?.observedGeneration, 1)
  assert.deepEqual(s?.conditions?.map((c) => [c.type, c.status]), [
    ['PodReadyToStartContainers', 'True'], ['Initialized', 'True'], ['Ready', 'True'], ['ContainersReady', 'True'], ['PodScheduled', 'True'],
  ])
  const c = status(n, 'web')
  assert.equal(c?.started, true)
  assert.match(c?.containerID ?? '', /^containerd:\/\//)
  assert.ok(n.said.some((e) => e.includes('Pulled web: Container image "app" already present on machine')))
  assert.ok(n.said.some((e) => e.startsWith('Normal Started web')))
})

test('nothing restarts and nothing is written when the agent restarts', async () => {
  await using n = await testNode()
  n.api.put('pods', testPod('web', { containers: [{ name: 'main', image: 'app', imagePullPolicy: 'IfNotPresent', readinessProbe: { exec: { command: ['true'] } } }] }))
  await n.until('ready', () => ready(n, 'web'))
  await n.pass(1000)
  await n.stop()
  const before = [starts(n), n.api.calls.filter((c) => c.startsWith('patch pods')).length]
  n.start()
  await n.agent.ready
  await n.pass(5000)
  assert.deepEqual([starts(n), n.api.calls.filter((c) => c.startsWith('patch pods')).length], before)
  assert.ok(ready(n, 'web'))
})

test('init containers run in order, a sidecar keeps running beside the main container', async () => {
  await using n = await testNode({ app: {}, init: { exitAfterMs: 1000 }, side: {} })
  const init = [
    { name: 'first', image: 'init', imagePullPolicy: 'IfNotPresent' },
    { name: 'side', image: 'side', imagePullPolicy: 'IfNotPresent', restartPolicy: 'Always' },
    { name: 'second', image: 'init', imagePullPolicy: 'IfNotPresent' },
  ]
  n.api.put('pods', testPod('web', { initContainers: init }))
  await n.until('first init', () => n.api.pod('web').status?.initContainerStatuses?.[0]?.state?.running !== undefined)
  assert.equal(n.api.pod('web').status?.phase, 'Pending')
  assert.equal(status(n, 'web')?.state?.waiting?.reason, 'PodInitializing')
  await n.pass(1500)
  await n.until('second init', () => n.api.pod('web').status?.initContainerStatuses?.[2]?.state?.running !== undefined)
  await n.pass(1500)
  await n.until('ready', () => ready(n, 'web'))
  const order = n.runtime.calls.filter((c) => c.startsWith('containers.create')).map((c) => c.split(' ')[1])
  assert.deepEqual(order, ['first', 'side', 'second', 'main'])
  assert.equal(n.api.pod('web').status?.initContainerStatuses?.[1]?.state?.running !== undefined, true)
})

test('a crashing container backs off 0, 10 and 20 seconds and says CrashLoopBackOff', async () => {
  await using n = await testNode({ app: { exitAfterMs: 1000, exitCode: 3 } })
  n.api.put('pods', testPod('web'))
  await n.until('started', () => starts(n) === 1)
  await n.pass(1000)
  await n.until('the first restart at once', () => starts(n) === 2)
  await n.pass(1000)
  await n.until('backoff', () => status(n, 'web')?.state?.waiting?.reason === 'CrashLoopBackOff')
  assert.match(status(n, 'web')?.state?.waiting?.message ?? '', /^back-off 10s restarting failed container=main pod=web_default\(uid-web\)/)
  assert.equal(status(n, 'web')?.lastState?.terminated?.exitCode, 3)
  await n.pass(8000)
  assert.equal(starts(n), 2)
  assert.equal(n.said.filter((e) => e.includes('Back-off restarting')).length, 1)
  await n.pass(3000)
  await n.until('the second restart', () => starts(n) === 3)
  await n.until('it is told', () => status(n, 'web')?.restartCount === 2)
})

test('a container that cannot be started has ended by its policy: Never and it failed, Always and it is tried again', async () => {
  await using n = await testNode({ app: { startError: 'exec: "/no/such": no such file' } })
  n.api.put('pods', testPod('once', { restartPolicy: 'Never' }))
  n.api.put('pods', testPod('again'))
  await n.until('the one failed', () => n.api.pod('once').status?.phase === 'Failed')
  const { terminated } = status(n, 'once')?.state ?? {}
  assert.deepEqual([terminated?.exitCode, terminated?.reason, terminated?.message], [128, 'StartError', 'exec: "/no/such": no such file'])
  await n.until('the other waiting', () => status(n, 'again')?.state?.waiting !== undefined && status(n, 'again')?.lastState?.terminated?.reason === 'StartError')
  assert.notEqual(n.api.pod('again').status?.phase, 'Failed')
})

test('a pod that is ended before its containers began says of them what a kubelet says', async () => {
  await using n = await testNode({})
  n.api.put('pods', testPod('late', { activeDeadlineSeconds: 5 }))
  const blocked = { activeDeadlineSeconds: 5, initContainers: [{ name: 'first', image: 'none' }] }
  n.api.put('pods', testPod('blocked', blocked))
  await n.until('both waiting', () => ['late', 'blocked'].every((p) => status(n, p)?.state?.waiting !== undefined))
  await n.pass(6000)
  await n.until('both failed', () => ['late', 'blocked'].every((p) => n.api.pod(p).status?.phase === 'Failed'))
  const { terminated } = status(n, 'late')?.state ?? {}
  assert.deepEqual([terminated?.exitCode, terminated?.reason], [137, 'ContainerStatusUnknown'])
  assert.equal(status(n, 'blocked')?.state?.waiting?.reason, 'PodInitializing')
})

test('a pod with policy Never that ends is Succeeded or Failed and stays so', async () => {
  await using n = await testNode({ good: { exitAfterMs: 500 }, bad: { exitAfterMs: 500, exitCode: 2 } })
  for (const image of ['good', 'bad']) n.api.put('pods', testPod(image, { restartPolicy: 'Never', containers: [{ name: 'main', image, imagePullPolicy: 'IfNotPresent' }] }))
  await n.until('both started', () => starts(n) === 2)
  await n.pass(1000)
  await n.until('both ended', () => n.api.pod('good').status?.phase === 'Succeeded' && n.api.pod('bad').status?.phase === 'Failed')
  assert.equal(status(n, 'bad')?.state?.terminated?.exitCode, 2)
  await n.stop()
  n.start()
  await n.agent.ready
  await n.pass(5000)
  assert.equal(starts(n), 2)
})

test('a deleted pod stops within its grace, tells its end and leaves nothing', async () => {
  await using n = await testNode({ app: { stopAfterMs: 2000 } })
  n.api.put('pods', testPod('web'))
  await n.until('ready', () => ready(n, 'web'))
  const pod = n.api.pod('web')
  n.api.put('pods', { ...pod, metadata: { ...pod.metadata, deletionTimestamp: '2026-01-01T00:00:30Z', deletionGracePeriodSeconds: 30 } })
  await n.until('the stop', () => n.runtime.calls.some((c) => c.startsWith('containers.stop')))
  assert.ok(n.api.pod('web'))
  await n.pass(3000)
  await n.until('gone from the API', () => n.api.pod('web') === undefined)
  assert.deepEqual(await n.runtime.sandboxes.list(), [])
  assert.equal(existsSync(join(n.dirs.data, 'pods', 'uid-web')), false)
  assert.ok(n.said.includes('Normal Killing web: Stopping container main'))
})

test('a pod deleted while the node was cut off is stopped on return, one of the same name and another uid takes its place', async () => {
  await using n = await testNode()
  n.api.put('pods', testPod('web'))
  await n.until('ready', () => ready(n, 'web'))
  await n.stop()
  n.api.remove('pods', 'default', 'web')
  n.api.put('pods', testPod('web', {}, 'uid-other'))
  n.start()
  await n.until('the new one', () => ready(n, 'web'))
  await n.until('the old one gone', () => !existsSync(join(n.dirs.data, 'pods', 'uid-web')))
  assert.deepEqual((await n.runtime.sandboxes.list()).map((s) => s.uid), ['uid-other'])
})

test('nothing is removed before the list of pods is known', async () => {
  await using n = await testNode()
  n.api.put('pods', testPod('web'))
  await n.until('ready', () => ready(n, 'web'))
  await n.stop()
  n.api.known = false
  const kept = [...n.api.objects]
  n.api.objects.clear()
  n.start()
  await n.pass(120_000)
  assert.equal((await n.runtime.sandboxes.list()).length, 1)
  for (const [id, o] of kept) n.api.objects.set(id, o)
  n.api.known = true
  await n.agent.ready
  assert.equal(starts(n), 1)
})

test('after power loss pods come back with server away, with tokens and configuration from disk', async () => {
  await using n = await testNode()
  n.api.put('configmaps', { metadata: { name: 'conf', namespace: 'default' }, data: { 'a.txt': 'hello' } } as never)
  const token = { projected: { sources: [{ serviceAccountToken: { path: 'token' } }, { configMap: { name: 'conf' } }] } }
  n.api.put('pods', testPod('web', { serviceAccountName: 'default', volumes: [{ name: 'v', ...token }], containers: [{ name: 'main', image: 'app', imagePullPolicy: 'IfNotPresent', volumeMounts: [{ name: 'v', mountPath: '/v' }] }] }))
  await n.until('ready', () => ready(n, 'web'))
  const dir = join(n.dirs.run, 'pods', 'uid-web', 'volumes', 'v')
  const first = readFileSync(join(dir, 'token'), 'utf8')
  assert.equal(readFileSync(join(dir, 'a.txt'), 'utf8'), 'hello')
  await n.stop()
  n.runtime.powerLoss()
  await (await import('node:fs/promises')).rm(n.dirs.run, { recursive: true })
  n.api.away = true
  n.start()
  await n.until('started again', () => starts(n) === 2)
  assert.equal(readFileSync(join(dir, 'token'), 'utf8'), first)
  assert.ok(n.said.some((e) => e.includes('SandboxChanged')))
  n.api.away = false
  n.agent.kick()
  await n.pass(16_000)
  await n.until('status told later', () => status(n, 'web')?.restartCount === 1)
})

test('a changed ConfigMap reaches the volume at once, all files together', async () => {
  await using n = await testNode()
  n.api.put('configmaps', { metadata: { name: 'conf', namespace: 'default' }, data: { a: '1' } } as never)
  n.api.put('pods', testPod('web', { volumes: [{ name: 'v', configMap: { name: 'conf', defaultMode: 0o400 } }] }))
  await n.until('ready', () => ready(n, 'web'))
  const dir = join(n.dirs.run, 'pods', 'uid-web', 'volumes', 'v')
  assert.equal(statSync(join(dir, 'a')).mode & 0o777, 0o400)
  n.api.put('configmaps', { metadata: { name: 'conf', namespace: 'default' }, data: { a: '2', b: '3' } } as never)
  await n.until('the change', () => existsSync(join(dir, 'b')) && readFileSync(join(dir, 'a'), 'utf8') === '2')
})

test('missing configuration is CreateContainerConfigError until it appears', async () => {
  await using n = await testNode()
  const env = [{ name: 'X', valueFrom: { configMapKeyRef: { name: 'later', key: 'x' } } }]
  n.api.put('pods', testPod('web', { containers: [{ name: 'main', image: 'app', imagePullPolicy: 'IfNotPresent', env }] }))
  await n.until('the error', () => status(n, 'web')?.state?.waiting?.reason === 'CreateContainerConfigError')
  assert.equal(status(n, 'web')?.state?.waiting?.message, 'configmap "later" not found')
  n.api.put('configmaps', { metadata: { name: 'later', namespace: 'default' }, data: { x: '1' } } as never)
  await n.until('ready', () => ready(n, 'web'))
})

test('a missing image is ErrImagePull, then ImagePullBackOff, and Never says ErrImageNeverPull', async () => {
  await using n = await testNode({})
  n.api.put('pods', testPod('web', { containers: [{ name: 'main', image: 'none:1', imagePullPolicy: 'IfNotPresent' }] }))
  n.api.put('pods', testPod('never', { containers: [{ name: 'main', image: 'none:1', imagePullPolicy: 'Never' }] }))
  await n.until('the error', () => status(n, 'web')?.state?.waiting?.reason === 'ErrImagePull')
  await n.until('never', () => status(n, 'never')?.state?.waiting?.reason === 'ErrImageNeverPull')
  await n.pass(3000)
  await n.until('backoff', () => status(n, 'web')?.state?.waiting?.reason === 'ImagePullBackOff')
  n.runtime.addImage('none:1', { present: false })
  await n.pass(11_000)
  await n.until('ready', () => ready(n, 'web'))
})

test('Always with the registry out of reach starts the image that is present and says so', async () => {
  await using n = await testNode()
  n.runtime.failNext('images.pull', new AppError('unavailable', 'dial registry: no route to host'))
  n.api.put('pods', testPod('web', { containers: [{ name: 'main', image: 'app', imagePullPolicy: 'Always' }] }))
  await n.until('ready', () => ready(n, 'web'))
  assert.ok(n.said.some((e) => e.startsWith('Warning RegistryUnreachable web: No registry can be reached for image "app"')))
})

test('cut off, many pods with Always ask the registry once and start what is present', async () => {
  await using n = await testNode({ app: {} }, { online: () => false })
  for (let i = 0; i < 4; i++) n.runtime.failNext('images.pull', new AppError('unavailable', 'no route to host'))
  const always = { containers: [{ name: 'main', image: 'app', imagePullPolicy: 'Always' }] }
  n.api.put('pods', testPod('a', always))
  await n.until('the first', () => ready(n, 'a'))
  for (const name of ['b', 'c', 'd']) n.api.put('pods', testPod(name, always))
  await n.until('all', () => ['b', 'c', 'd'].every((name) => ready(n, name)))
  assert.equal(n.runtime.calls.filter((c) => c.startsWith('images.pull')).length, 1)
})

test('an image that failed for want of the server is pulled as soon as the link is back', async () => {
  await using n = await testNode({})
  n.api.put('pods', testPod('web', { containers: [{ name: 'main', image: 'late:1', imagePullPolicy: 'IfNotPresent' }] }))
  await n.until('the error', () => status(n, 'web')?.state?.waiting?.reason === 'ErrImagePull')
  n.runtime.addImage('late:1', { present: false })
  n.agent.kick()
  await n.until('ready', () => ready(n, 'web'))
})

test('a changed image in place restarts that container only', async () => {
  await using n = await testNode({ app: {}, app2: {} })
  n.api.put('pods', testPod('web'))
  await n.until('ready', () => ready(n, 'web'))
  const pod = n.api.pod('web')
  n.api.put('pods', { ...pod, spec: { ...pod.spec, containers: [{ name: 'main', image: 'app2', imagePullPolicy: 'IfNotPresent' }] } } as never)
  await n.until('the new image', () => status(n, 'web')?.image === 'app2' && status(n, 'web')?.restartCount === 1)
  assert.ok(n.said.some((e) => e.includes('Container main definition changed')))
})

test('readiness gates Ready, a failing liveness probe restarts', async () => {
  let good = false
  let alive = true
  await using n = await testNode({ app: { exec: ([word]) => ({ exitCode: (word === 'ready' ? good : alive) ? 0 : 1 }) } })
  const probe = (word: string) => ({ exec: { command: [word] }, periodSeconds: 1, failureThreshold: 2 })
  n.api.put('pods', testPod('web', { containers: [{ name: 'main', image: 'app', imagePullPolicy: 'IfNotPresent', readinessProbe: probe('ready'), livenessProbe: probe('live') }] }))
  await n.until('running', () => status(n, 'web')?.state?.running !== undefined)
  await n.pass(3000)
  assert.equal(ready(n, 'web'), false)
  good = true
  await n.pass(2000)
  await n.until('ready', () => ready(n, 'web'))
  alive = false
  await n.pass(3000)
  alive = true
  await n.until('restarted', () => starts(n) === 2)
  assert.ok(n.said.some((e) => e.includes('failed liveness probe, will be restarted')))
})

test('a failed postStart hook kills the container, preStop runs before the signal', async () => {
  const ran: string[] = []
  await using n = await testNode({ app: { exec: ([word]) => (ran.push(word ?? ''), { exitCode: word === 'bad' ? 1 : 0 }) } })
  const life = (post: string) => ({ postStart: { exec: { command: [post] } }, preStop: { exec: { command: ['bye'] } } })
  n.api.put('pods', testPod('bad', { containers: [{ name: 'main', image: 'app', imagePullPolicy: 'IfNotPresent', lifecycle: life('bad') }] }))
  await n.until('the event', () => n.said.some((e) => e.startsWith('Warning FailedPostStartHook')))
  await n.until('killed', () => n.runtime.calls.some((c) => c.startsWith('containers.stop')))
  assert.ok(ran.includes('bye'))
})

test('host ports follow the pods', async () => {
  await using n = await testNode()
  n.api.put('pods', testPod('web', { containers: [{ name: 'main', image: 'app', imagePullPolicy: 'IfNotPresent', ports: [{ containerPort: 80, hostPort: 8080 }] }] }))
  await n.until('the port', () => n.hostPorts.at(-1)?.[0]?.hostPort === 8080)
  n.api.remove('pods', 'default', 'web')
  await n.until('no port', () => n.hostPorts.at(-1)?.length === 0)
})

test('a volume that is not supported is named in an Event', async () => {
  await using n = await testNode()
  n.api.put('pods', testPod('web', { volumes: [{ name: 'data', nfs: { server: 's', path: '/' } }] }))
  await n.until('the event', () => n.said.some((e) => e.includes('FailedMount')))
  assert.ok(n.said.some((e) => e.includes('"data": volumes of kind "nfs" are not supported')))
  await n.until('its status', () => status(n, 'web')?.state?.waiting?.reason === 'ContainerCreating')
})

test('no sandbox is made before what others have to make for the volumes is there', async () => {
  await using n = await testNode()
  n.api.put('pods', testPod('web', { volumes: [{ name: 'data', configMap: { name: 'comes-later' } }] }))
  await n.until('told', () => status(n, 'web')?.state?.waiting?.reason === 'ContainerCreating' && n.said.some((e) => e.includes('FailedMount')))
  assert.deepEqual(n.runtime.calls.filter((c) => c.startsWith('sandboxes.run')), [])
})

test('the runtime going away for a while starts nothing twice', async () => {
  await using n = await testNode()
  n.api.put('pods', testPod('web'))
  await n.until('ready', () => ready(n, 'web'))
  n.runtime.setAway(true)
  n.api.put('pods', testPod('other'))
  await n.pass(10_000)
  n.runtime.setAway(false)
  await n.pass(5000)
  await n.until('the other', () => ready(n, 'other'))
  assert.equal(starts(n), 2)
})

test('the node registers, writes its status once and again only on change', async () => {
  await using n = await testNode()
  await n.until('registered', () => n.api.calls.includes('patch nodes n1 status'))
  await n.pass(120_000)
  assert.ok(n.api.calls.filter((c) => c === 'patch nodes n1 status').length <= 2)
  const node = n.api.objects.get('nodes//n1') as { metadata: { labels?: Record<string, string> }; status: { conditions: { type: string; status: string }[] } }
  assert.equal(node.metadata.labels?.['kubernetes.io/hostname'], 'n1')
  assert.equal(node.status.conditions.find((c) => c.type === 'Ready')?.status, 'True')
})

test('termination messages come from the file, or from the log when asked and failed', async () => {
  await using n = await testNode({ app: { exitAfterMs: 1000, exitCode: 1 } })
  const base = { image: 'app', imagePullPolicy: 'IfNotPresent' }
  n.api.put('pods', testPod('web', { restartPolicy: 'Never', containers: [{ name: 'a', ...base }, { name: 'b', ...base, terminationMessagePolicy: 'FallbackToLogsOnError' }] }))
  await n.until('started', () => starts(n) === 2)
  await writeFile(join(n.dirs.data, 'pods', 'uid-web', 'containers', 'a', '0'), 'out of cheese')
  await mkdir(join(n.dirs.data, 'logs', 'pods', 'default_web_uid-web', 'b'), { recursive: true })
  await writeFile(join(n.dirs.data, 'logs', 'pods', 'default_web_uid-web', 'b', '0.log'), '2026-01-01T00:00:00.1Z stderr F last words\n')
  await n.pass(1500)
  await n.until('ended', () => n.api.pod('web').status?.phase === 'Failed')
  assert.equal(status(n, 'web', 0)?.state?.terminated?.message, 'out of cheese')
  assert.equal(status(n, 'web', 1)?.state?.terminated?.message, 'last words\n')
})

test('an ephemeral container joins a running pod, has a status of its own, and does not make the pod unready', async () => {
  await using node = await testNode()
  node.api.put('pods', testPod('web'))
  await node.until('ready', () => node.api.pod('web').status?.conditions?.find((c) => c.type === 'Ready')?.status === 'True')
  const pod = node.api.pod('web')
  node.api.put('pods', { ...pod, spec: { ...pod.spec, ephemeralContainers: [{ name: 'debug', image: 'app', imagePullPolicy: 'IfNotPresent', targetContainerName: 'main' }] } } as Pod)
  await node.until('debug runs', () => node.api.pod('web').status?.ephemeralContainerStatuses?.[0]?.state?.running !== undefined)
  const { status } = node.api.pod('web')
  assert.equal(status?.conditions?.find((c) => c.type === 'Ready')?.status, 'True')
  assert.deepEqual(status?.containerStatuses?.map((c) => c.name), ['main'])
  assert.equal(status?.initContainerStatuses, undefined)
})

test('a container that crashes goes on after the clock was set back', async () => {
  await using n = await testNode({ app: {}, crash: { exitAfterMs: 100, exitCode: 1 } })
  n.api.put('pods', testPod('crash', { containers: [{ name: 'main', image: 'crash', imagePullPolicy: 'IfNotPresent' }] }))
  const restarts = (): number => n.api.pod('crash').status?.containerStatuses?.[0]?.restartCount ?? 0
  await n.until('the first restarts', () => restarts() > 0)
  await n.pass(15_000)
  const before = restarts()
  n.clock.jump(-400 * 86_400_000)
  await n.pass(120_000)
  assert.ok(restarts() > before, `${restarts()} restarts, ${before} before the clock was set back`)
})

test('a pod of which one container never ran is Pending, however well the others do', async () => {
  await using n = await testNode({ app: {} })
  n.api.put('pods', testPod('web', { containers: [{ name: 'main', image: 'app', imagePullPolicy: 'IfNotPresent' }, { name: 'side', image: 'none', imagePullPolicy: 'Never' }] }))
  const status = (name: string) => n.api.pod('web').status?.containerStatuses?.find((s) => s.name === name)?.state
  await n.until('one to run and one to wait', () => status('main')?.running !== undefined && status('side')?.waiting?.reason === 'ErrImageNeverPull')
  assert.equal(n.api.pod('web').status?.phase, 'Pending')
  n.runtime.addImage('none')
  await n.pass(60_000)
  await n.until('both to run', () => status('side')?.running !== undefined && n.api.pod('web').status?.phase === 'Running')
})
