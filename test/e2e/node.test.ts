/**
 * The article's workload on a node, with nothing but the README's commands and the real kubectl: the image is brought to the
 * server once, the node pulls it over its link; then everything an operator does to a running app.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { arch, cpus } from 'node:os'
import { join } from 'node:path'
import { readFileSync, writeFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import type { Deployment, Node, Pod } from '../../src/api/gen/types.ts'
import { ROOT } from '../../tools/files.ts'
import { cannotRunContainers } from '../kit/containerd.ts'
import { busyboxArchive, eventually, KUBECTL, ran, Site } from './site.ts'

const NODE = 'pi-worker-01'
const PORT = 8092

interface List<T> {
  readonly items: T[]
}

describe('a workload on a node', { skip: cannotRunContainers() }, () => {
  let site: Site
  const pods = async (): Promise<Pod[]> => (await site.get<List<Pod>>('pods', '-l', 'app=face-recognition')).items.filter((p) => p.metadata?.deletionTimestamp === undefined)
  const podName = async (): Promise<string> => (await pods())[0]?.metadata?.name ?? ''
  const ask = (ip: string): Promise<string> => site.on(NODE, 'curl', ['-s', '--max-time', '3', `http://${ip}:${PORT}/`]).then((r) => r.out)

  before(async () => {
    site = await Site.create('node', [NODE])
    await site.startServer()
  })
  after(async () => assert.deepEqual(await site?.close(), []))

  test('a node that joins by token is Ready and says what it is', async () => {
    await site.join(NODE)
    const { metadata, status, spec } = await site.get<Node>('node', NODE)
    assert.equal(status?.nodeInfo?.architecture, arch() === 'arm64' ? 'arm64' : 'amd64')
    assert.equal(status?.nodeInfo?.operatingSystem, 'linux')
    assert.match(status?.nodeInfo?.containerRuntimeVersion ?? '', /^containerd:\/\/\d/)
    assert.match(status?.nodeInfo?.kubeletVersion ?? '', /^v1\.35\.\d+\+skerry/)
    assert.match(status?.nodeInfo?.kernelVersion ?? '', /^\d/)
    assert.ok(status?.nodeInfo?.osImage && status.nodeInfo.bootID && status.nodeInfo.machineID !== undefined)
    assert.equal(status.capacity?.['cpu'], String(cpus().length))
    assert.match(String(status.capacity?.['memory']), /^\d+Ki$/)
    assert.equal(status.allocatable?.['pods'], '110')
    assert.deepEqual(status.addresses?.map((a) => [a.type, a.address]), [['InternalIP', site.lab.host(NODE).address], ['Hostname', NODE]])
    assert.deepEqual(status.conditions?.map((c) => `${c.type}=${c.status}`).sort(), ['DiskPressure=False', 'MemoryPressure=False', 'PIDPressure=False', 'Ready=True', 'SealedAtRest=False'])
    assert.match(spec?.podCIDR ?? '', /^10\.42\.\d+\.0\/24$/)
    for (const l of ['kubernetes.io/hostname', 'kubernetes.io/os', 'kubernetes.io/arch']) assert.ok(metadata?.labels?.[l], l)
    assert.match(await site.kubectl('get', 'nodes', '-o', 'wide'), new RegExp(`${NODE}\\s+Ready\\s+<none>\\s+\\d+s\\s+v1\\.35\\S+\\s+${site.lab.host(NODE).address}`))
    assert.match(await site.kubectl('describe', 'node', NODE), /Allocated resources:[\s\S]*Events:/)
  })

  test('the article\'s manifest waits for a camera node, says why, and runs when kubectl labels one', async () => {
    await site.skerry('image', 'import', await busyboxArchive(site.dir, 'face-recognition', `trap 'exit 0' TERM; echo up; httpd -p ${PORT} -h /www; i=0; while :; do i=$((i+1)); echo line $i; sleep 1 & wait $!; done`))
    assert.match(await site.skerry('image', 'list'), /face-recognition/)
    await site.kubectl('apply', '-f', join(ROOT, 'examples/face-recognition/deployment.yaml'))
    await eventually('the reason in the Events', async () => /FailedScheduling[^\n]*0\/1 nodes are available/.test(await site.kubectl('describe', 'pods', '-l', 'app=face-recognition')))
    assert.equal((await pods())[0]?.status?.phase, 'Pending')
    await site.kubectl('label', 'node', NODE, 'device=camera')
    await site.kubectl('rollout', 'status', 'deployment/face-recognition', '--timeout=40s')
    const [pod] = await pods()
    assert.equal(pod?.spec?.nodeName, NODE)
    assert.equal(await ask(pod.status?.podIP ?? ''), 'face-recognition\n')
    assert.match(pod.status?.containerStatuses?.[0]?.imageID ?? '', /@sha256:[0-9a-f]{64}$/)
  })

  test('get, describe, explain tell what an operator looks for', async () => {
    const [pod] = await pods()
    assert.match(await site.kubectl('get', 'pods', '-o', 'wide'), new RegExp(`face-recognition-\\w+-\\w+\\s+1/1\\s+Running\\s+0\\s+\\d+s\\s+${pod?.status?.podIP}\\s+${NODE}\\s+<none>\\s+<none>`))
    assert.match(await site.kubectl('get', 'deploy,rs', '-o', 'wide'), /deployment\.apps\/face-recognition\s+1\/1\s+1\s+1\s+\d+s\s+face-recognition\s+face-recognition\s+app=face-recognition/)
    const described = await eventually('the last Event', async () => {
      const text = await site.kubectl('describe', 'pod', pod?.metadata?.name ?? '')
      return /Started\s.*Container started/.test(text) && text
    })
    for (const part of [/Scheduled\s.*Successfully assigned default\/face-recognition/, /Pulling\s.*Pulling image "face-recognition"/, /Pulled\s.*Successfully pulled image "face-recognition" in/, /Created\s.*Container created: face-recognition/, /Started\s.*Container started: face-recognition/, /QoS Class:\s+BestEffort/]) {
      assert.match(described, part)
    }
    assert.match(await site.kubectl('explain', 'deployment.spec.strategy'), /rollingUpdate\s+<RollingUpdateDeployment>/)
    assert.match(await site.kubectl('events', '--for', `pod/${pod?.metadata?.name}`), /Normal\s+Started\s+Pod\/face-recognition/)
  })

  test('logs: all, the tail, and followed as they come', async () => {
    const name = await podName()
    assert.match(await site.kubectl('logs', name), /^up\nline 1\n/)
    assert.match(await site.kubectl('logs', 'deploy/face-recognition', '--tail=1'), /^line \d+\n$/)
    assert.match(await site.kubectl('logs', name, '--timestamps', '--tail=1'), /^\d{4}-\d\d-\d\dT[\d:.]+Z line \d+\n$/)
    const follow = spawn(KUBECTL, ['logs', '-f', name, '--tail=1'], { env: site.env(), stdio: ['ignore', 'pipe', 'ignore'] })
    try {
      let text = ''
      follow.stdout.on('data', (d: Buffer) => (text += d.toString()))
      await eventually('three lines, one after the other', () => text.split('\n').length > 3)
      const numbers = text.trim().split('\n').map((l) => Number(l.split(' ')[1]))
      assert.deepEqual(numbers, numbers.map((_, i) => (numbers[0] as number) + i))
    } finally {
      follow.kill()
      await once(follow, 'exit')
    }
  })

  test('exec: output, exit code, standard input, a terminal', async () => {
    const name = await podName()
    assert.equal((await site.try('exec', name, '--', 'sh', '-c', 'exit 7')).code, 7)
    const missing = await site.try('exec', name, '--', 'no-such-program')
    assert.match(missing.err, /no-such-program/)
    assert.notEqual(missing.code, 0)
    assert.equal((await ran(KUBECTL, ['exec', '-i', name, '--', 'cat'], { env: site.env(), input: 'through and back\n' })).out, 'through and back\n')
    // `script` gives kubectl a real terminal; what is typed is echoed by the one in the container.
    const typed = await ran('script', ['-qec', `${KUBECTL} exec -it ${name} -- sh`, '/dev/null'], { env: { ...site.env(), TERM: 'xterm' }, input: 'test -t 0 && echo on a terminal; exit 5\n' })
    assert.match(typed.out, /^on a terminal\r$/m)
    assert.equal(typed.code, 5)
  })

  test('cp both ways', async () => {
    const name = await podName()
    const file = join(site.dir, 'page.html')
    writeFileSync(file, `<p>${'x'.repeat(300_000)}</p>\n`)
    await site.kubectl('cp', file, `${name}:/www/page.html`)
    await site.kubectl('cp', `${name}:/www/page.html`, `${file}.back`)
    assert.equal(readFileSync(`${file}.back`, 'utf8'), readFileSync(file, 'utf8'))
  })

  test('port-forward reaches the app', async () => {
    const forward = spawn(KUBECTL, ['port-forward', 'deploy/face-recognition', `7601:${PORT}`], { env: site.env(), stdio: ['ignore', 'pipe', 'ignore'] })
    try {
      await once(forward.stdout, 'data')
      for (let i = 0; i < 3; i++) assert.equal(await (await fetch('http://127.0.0.1:7601/', { headers: { connection: 'close' } })).text(), 'face-recognition\n')
    } finally {
      forward.kill()
      await once(forward, 'exit')
    }
  })

  test('scale, wait, rollout restart, history and undo', async () => {
    await site.kubectl('scale', 'deployment/face-recognition', '--replicas=3')
    await site.kubectl('wait', '--for=jsonpath={.status.readyReplicas}=3', 'deployment/face-recognition', '--timeout=40s')
    const ips = (await pods()).map((p) => p.status?.podIP ?? '')
    assert.equal(new Set(ips).size, 3)
    for (const ip of ips) assert.equal(await ask(ip), 'face-recognition\n')
    await site.kubectl('scale', 'deployment/face-recognition', '--replicas=1')
    await eventually('one pod', async () => (await site.get<List<Pod>>('pods')).items.length === 1)
    const old = await podName()
    await site.kubectl('rollout', 'restart', 'deployment/face-recognition')
    await site.kubectl('rollout', 'status', 'deployment/face-recognition', '--timeout=40s')
    await site.kubectl('wait', '--for=delete', `pod/${old}`, '--timeout=60s')
    assert.match(await site.kubectl('rollout', 'history', 'deployment/face-recognition'), /^1\s[\s\S]*^2\s/m)
    await site.kubectl('rollout', 'undo', 'deployment/face-recognition')
    await site.kubectl('rollout', 'status', 'deployment/face-recognition', '--timeout=40s')
    assert.equal((await site.get<Deployment>('deployment', 'face-recognition')).metadata?.annotations?.['deployment.kubernetes.io/revision'], '3')
  })

  test('a new image of the same name is taken at the next start: the name has no tag, so it is asked for every time', async () => {
    const before = (await pods())[0]?.status?.containerStatuses?.[0]?.imageID
    await site.skerry('image', 'import', await busyboxArchive(site.dir, 'face-recognition', `trap 'exit 0' TERM; echo up again; httpd -p ${PORT} -h /www; while :; do sleep 1 & wait $!; done`))
    await site.kubectl('rollout', 'restart', 'deployment/face-recognition')
    await site.kubectl('rollout', 'status', 'deployment/face-recognition', '--timeout=40s')
    const [now] = (await pods()).filter((p) => p.status?.containerStatuses?.[0]?.ready)
    assert.notEqual(now?.status?.containerStatuses?.[0]?.imageID, before)
    assert.equal(await site.kubectl('logs', now?.metadata?.name ?? ''), 'up again\n')
  })

  test('kubectl run: a pod for a moment, with its input and output', async () => {
    const r = await ran(KUBECTL, ['run', 'moment', '--rm', '-i', '--restart=Never', '--image=face-recognition', '--image-pull-policy=IfNotPresent', '--command', '--', 'sh', '-c', 'read x; echo got $x'], { env: site.env(), input: 'this\n' })
    assert.match(r.out, /^got this$/m, r.err)
    assert.equal(r.code, 0, r.err)
    await eventually('it to be gone', async () => (await site.try('get', 'pod', 'moment')).code === 1)
  })

  test('a deleted pod is replaced; a deleted deployment takes its pods along', async () => {
    const name = await podName()
    await site.kubectl('delete', 'pod', name, '--wait')
    await site.kubectl('wait', '--for=condition=Available', 'deployment/face-recognition', '--timeout=40s')
    assert.notEqual(await podName(), name)
    await site.kubectl('delete', '-f', join(ROOT, 'examples/face-recognition/deployment.yaml'), '--wait')
    await eventually('no pods', async () => (await site.kubectl('get', 'pods', '-o', 'name')) === '')
  })
})
