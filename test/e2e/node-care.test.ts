/**
 * Looking after a node with the real kubectl and skerry: what it uses, a container that looks into a running one, and a
 * stolen machine that is revoked and wipes itself.
 */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test, type TestContext } from 'node:test'
import type { Node, Pod } from '../../src/api/gen/types.ts'
import { pathsOf } from '../../src/cli/paths.ts'
import { cannotRunContainers } from '../kit/containerd.ts'
import { busyboxArchive, eventually, Site } from './site.ts'

const NODE = 'gw-1'

describe('looking after a node', { skip: cannotRunContainers() }, () => {
  let site: Site

  before(async () => {
    site = await Site.create('care', [NODE])
    await site.startServer()
    await site.skerry('image', 'import', await busyboxArchive(site.dir, 'busy', "trap 'exit 0' TERM; while :; do :; done"))
    await site.skerry('image', 'import', await busyboxArchive(site.dir, 'tools', 'sleep 600'))
    await site.join(NODE)
    await site.apply(`apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {password: s3cret}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: busy, resources: {limits: {cpu: 100m}}, volumeMounts: [{name: login, mountPath: /login}, {name: scratch, mountPath: /scratch}]}
  volumes: [{name: login, secret: {secretName: login}}, {name: scratch, emptyDir: {}}]
`)
    await site.kubectl('wait', '--for=condition=Ready', 'pod/web', '--timeout=60s')
    await site.kubectl('exec', 'web', '--', 'busybox', 'dd', 'if=/dev/zero', 'of=/scratch/file', 'bs=1000', 'count=100')
  })
  after(async () => assert.deepEqual(await site?.close(), []))

  test('kubectl top: pods and nodes; the pages behind it', async (t: TestContext) => {
    const pods = await eventually('figures of the pod', async () => {
      const r = await site.try('top', 'pods')
      return r.code === 0 && /web\s+\d/.test(r.out) && r.out
    })
    const cpu = Number(/web\s+(\d+)m/.exec(pods)?.[1])
    t.diagnostic(`a container bound to 100m shows ${cpu}m`)
    assert.ok(cpu >= 50 && cpu <= 150, pods)
    assert.match(await site.kubectl('top', 'pods', '--containers', '-l', 'app=web'), /web\s+main\s+\d+m\s+\d+Mi/)
    assert.match(await site.kubectl('top', 'nodes'), new RegExp(`${NODE}\\s+\\d+m\\s+\\d+%\\s+\\d+Mi\\s+\\d+%`))
    const page = await site.kubectl('get', '--raw', `/api/v1/nodes/${NODE}/proxy/metrics/cadvisor`)
    assert.match(page, /^machine_cpu_cores [1-9]/m)
    assert.match(page, /^container_cpu_usage_seconds_total\{container="main",id="[^"]+",image="[^"]*busy[^"]*",name="[0-9a-f]{64}",namespace="default",pod="web",cpu="total"\} [\d.]+ \d{13}$/m)
    assert.match(page, /^container_network_transmit_bytes_total\{container="",id="[^"]+",image="",name="",namespace="default",pod="web",interface="eth0"\} \d+ \d{13}$/m)
    const figure = (name: string): number => Number(new RegExp(`^container_${name}\\{container="main",[^}]*pod="web"[^}]*\\} (\\S+) \\d{13}$`, 'm').exec(page)?.[1])
    for (const name of ['memory_rss', 'cpu_user_seconds_total', 'cpu_cfs_throttled_seconds_total', 'cpu_cfs_throttled_periods_total', 'processes', 'threads']) assert.ok(figure(name) > 0, `${name} ${figure(name)}`)
    assert.deepEqual([figure('spec_cpu_quota'), figure('spec_cpu_period'), figure('oom_events_total')], [10_000, 100_000, 0])
    const whole = JSON.parse(await site.kubectl('get', '--raw', `/api/v1/nodes/${NODE}/proxy/stats/summary`)) as { node: { network?: { rxBytes: number } }; pods: { network?: { name: string }; volume?: { name: string; usedBytes: number }[]; 'ephemeral-storage': { usedBytes: number } }[] }
    assert.ok((whole.node.network?.rxBytes ?? 0) > 0)
    assert.equal(whole.pods[0]?.network?.name, 'eth0')
    const [scratch] = whole.pods[0]?.volume ?? []
    assert.ok(scratch?.name === 'scratch' && scratch.usedBytes >= 100_000 && scratch.usedBytes < 200_000, JSON.stringify(scratch))
    assert.ok((whole.pods[0]?.['ephemeral-storage'].usedBytes ?? 0) >= scratch.usedBytes)
    const summary = JSON.parse(await site.kubectl('get', '--raw', `/api/v1/nodes/${NODE}/proxy/stats/summary`)) as { pods: { podRef: { name: string } }[] }
    assert.deepEqual(summary.pods.map((p) => p.podRef.name), ['web'])
    assert.match(await site.kubectl('get', '--raw', `/api/v1/nodes/${NODE}/proxy/metrics/resource`), /container_memory_working_set_bytes\{container="main",namespace="default",pod="web"\} \d{4,}/)
  })

  test('kubectl get --raw: a port of the node through its proxy, by its address only', async () => {
    await site.apply(`apiVersion: v1
kind: Pod
metadata: {name: page}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: tools
    command: [busybox, sh, -c, 'echo "<a href=/next>next</a>" >/index.html; busybox httpd -p 127.0.0.1:8089 -h /; exec busybox httpd -f -p 8088 -h /']
`)
    await site.kubectl('wait', '--for=condition=Ready', 'pod/page', '--timeout=60s')
    const proxy = `/api/v1/nodes/${NODE}:8088/proxy`
    const page = await eventually('the page of the node', async () => {
      const r = await site.try('get', '--raw', `${proxy}/`)
      return r.code === 0 && r.out
    })
    assert.equal(page.trim(), `<a href=${proxy}/next>next</a>`)
    const loopback = await site.try('get', '--raw', `/api/v1/nodes/${NODE}:8089/proxy/`)
    assert.equal(loopback.code, 1)
    assert.match(loopback.err, /dial tcp [\d.]+:8089: .*ECONNREFUSED/)
    await site.kubectl('delete', 'pod', 'page')
  })

  test('other resources for a running pod: kubectl patch --subresource resize', async () => {
    await site.apply(`apiVersion: v1
kind: Pod
metadata: {name: sized}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: tools, resources: {requests: {cpu: 50m, memory: 32Mi}, limits: {cpu: 100m, memory: 64Mi}}}
  - {name: anew, image: tools, resources: {requests: {cpu: 50m, memory: 32Mi}, limits: {cpu: 100m, memory: 64Mi}}, resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]}
`)
    await site.kubectl('wait', '--for=condition=Ready', 'pod/sized', '--timeout=60s')
    const limits = (container: string): Promise<string> =>
      site.kubectl('exec', 'sized', '-c', container, '--', 'sh', '-c', 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max')
    assert.match(await limits('main'), /^67108864\s+10000\b/)
    const patch = (resources: object): Promise<string> =>
      site.kubectl('patch', 'pod', 'sized', '--subresource', 'resize', '-p', JSON.stringify({ spec: { containers: ['main', 'anew'].map((name) => ({ name, resources })) } }))
    for (const [memory, bytes, cpu, quota] of [['128Mi', 134_217_728, '300m', 30_000], ['96Mi', 100_663_296, '200m', 20_000]] as const) {
      await patch({ requests: { cpu: '80m', memory: '40Mi' }, limits: { cpu, memory } })
      const pod = await eventually('resized', async () => {
        const p = await site.get<Pod>('pod', 'sized')
        const done = p.status?.containerStatuses?.every((s) => s.resources?.limits?.['memory'] === memory && s.resources.limits['cpu'] === cpu && s.state?.running)
        return done && !p.status?.conditions?.some((c) => c.type.startsWith('PodResize')) && p
      }, 60_000)
      for (const c of ['main', 'anew']) assert.match(await limits(c), new RegExp(`^${bytes}\\s+${quota}\\b`))
      assert.equal(pod.status?.containerStatuses?.find((s) => s.name === 'main')?.restartCount, 0)
      assert.deepEqual(pod.status?.containerStatuses?.[0]?.allocatedResources, { cpu: '80m', memory: '40Mi' })
    }
    assert.equal((await site.get<Pod>('pod', 'sized')).status?.containerStatuses?.find((s) => s.name === 'anew')?.restartCount, 2)
    await patch({ requests: { cpu: '1000' }, limits: { cpu: '1000' } })
    const pending = await eventually('infeasible', async () => (await site.get<Pod>('pod', 'sized')).status?.conditions?.find((c) => c.type === 'PodResizePending'))
    assert.equal(pending.reason, 'Infeasible')
    assert.match(pending.message ?? '', /^Node didn't have enough capacity: cpu, requested: \d+, capacity: \d+$/)
  })

  test('kubectl debug: a container with tools in a running pod, seeing the processes of another', async () => {
    await site.kubectl('debug', 'web', '--image=tools', '--target=main', '-c', 'look', '--', 'sh', '-c', 'ps; sleep 600')
    const pod = await eventually('the tools to run', async () => {
      const p = await site.get<Pod>('pod', 'web')
      return p.status?.ephemeralContainerStatuses?.[0]?.state?.running !== undefined && p
    })
    assert.equal(pod.status?.conditions?.find((c) => c.type === 'Ready')?.status, 'True')
    assert.equal(pod.status?.containerStatuses?.length, 1)
    await eventually('the processes of the other', async () => /while :; do :/.test(await site.kubectl('logs', 'web', '-c', 'look')))
    assert.match(await site.kubectl('exec', 'web', '-c', 'look', '--', 'cat', '/proc/1/root/login/password'), /s3cret/)
  })

  test('what the node keeps is sealed, and its condition says how well', async () => {
    const node = await site.get<Node>('node', NODE)
    const { status, reason, message } = node.status?.conditions?.find((c) => c.type === 'SealedAtRest') ?? {}
    // A machine with a TPM keeps the key there.
    assert.ok((status === 'False' && reason === 'KeyBesideData' && /--seal-key-file/.test(message ?? '')) || (status === 'True' && reason === 'KeyIsApart'), message)
    const agent = join(site.data(NODE), 'agent')
    const files = readdirSync(agent, { recursive: true, withFileTypes: true }).filter((f) => f.isFile() && !f.parentPath.includes('/containerd') && !f.parentPath.includes('/logs'))
    assert.ok(files.length > 5)
    const secrets = ['s3cret', Buffer.from('s3cret').toString('base64'), 'PRIVATE KEY', 'eyJhbGciOiJFUzI1NiI']
    for (const f of files) for (const s of secrets) assert.ok(!readFileSync(join(f.parentPath, f.name)).includes(s), `${f.name} shows ${s}`)
  })

  test('a revoked node loses its link at once, ends its pods and wipes what it kept', async () => {
    const agent = join(site.data(NODE), 'agent')
    assert.ok(existsSync(join(agent, 'identity.json')) && existsSync(join(agent, 'stash')))
    await site.skerry('node', 'revoke', NODE)
    await eventually('the agent to end', () => !site.alive(NODE), 60_000)
    assert.match(site.log(NODE), /it was revoked on its server, so its pods were ended and its local store was wiped: run `skerry node approve gw-1` there and join again with a token/)
    assert.deepEqual(readdirSync(agent).filter((n) => n !== 'lock'), [], 'its images are gone too')
    assert.ok(!existsSync(join(pathsOf(site.data(NODE)).run, 'pods')), 'secrets in memory are gone too')

    // Whoever has the machine cannot come back with it, until a person lets it in.
    site.startAgent(NODE)
    await eventually('the agent to refuse', () => !site.alive(NODE) && /this machine has not joined yet/.test(site.log(NODE)))
    await site.skerry('node', 'approve', NODE)
    await site.join(NODE)
  })
})
