/**
 * The agent and containerd may die at any time and the pods do not notice: the next agent adopts what runs, and does what was
 * asked meanwhile.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Pod } from '../../src/api/gen/types.ts'
import { pathsOf } from '../../src/cli/paths.ts'
import { cannotRunContainers } from '../kit/containerd.ts'
import { busyboxArchive, eventually, Site } from './site.ts'

const NODE = 'gw-1'
const KEEPERS = ['plain', 'probed', 'mapped']

describe('a restarted agent', { skip: cannotRunContainers() }, () => {
  let site: Site
  const fates = async (): Promise<Record<string, string>> =>
    Object.fromEntries(
      (await site.get<{ items: Pod[] }>('pods')).items.map((p) => [p.metadata?.name ?? '', (p.status?.containerStatuses ?? []).map((s) => `${s.containerID} restarts ${s.restartCount} ready ${s.ready}`).join()]),
    )
  const ticks = async (pod: string): Promise<number> => Number(await site.kubectl('exec', pod, '--', 'cat', '/tmp/ticks'))
  const containerdPid = (): number => (JSON.parse(readFileSync(join(pathsOf(site.data(NODE)).run, 'containerd.pid'), 'utf8')) as { pid: number }).pid

  before(async () => {
    site = await Site.create('restart', [NODE])
    await site.startServer()
    await site.skerry('image', 'import', await busyboxArchive(site.dir, 'tick:v1', `trap 'exit 0' TERM; i=0; while :; do i=$((i+1)); echo $i >/tmp/ticks; echo tick $i; sleep 1 & wait $!; done`))
    await site.join(NODE)
    await site.kubectl('create', 'configmap', 'settings', '--from-literal=colour=blue')
    await site.apply(['doomed', ...KEEPERS].map(manifest).join('---'))
    await site.kubectl('wait', '--for=condition=Ready', 'pods', '--all', '--timeout=60s')
  })
  after(async () => assert.deepEqual(await site?.close(), []))

  test('killed and started again, it adopts the running containers; a deletion and a change made meanwhile are carried out', async () => {
    const before = await fates()
    const counted = await ticks('plain')
    await site.kill(NODE, 'SIGKILL')
    await site.kubectl('delete', 'pod', 'doomed', '--wait=false')
    await site.kubectl('patch', 'configmap', 'settings', '-p', '{"data":{"colour":"red"}}')
    await site.apply(manifest('late'))
    site.startAgent(NODE)
    await site.kubectl('wait', '--for=delete', 'pod/doomed', '--timeout=30s')
    await site.kubectl('wait', '--for=condition=Ready', 'pod/late', '--timeout=30s')
    await eventually('the changed ConfigMap', async () => (await site.kubectl('exec', 'mapped', '--', 'cat', '/config/colour')) === 'red')
    const now = await fates()
    for (const name of KEEPERS) assert.equal(now[name], before[name], name)
    assert.ok((await ticks('plain')) > counted, 'it counted on in one life')
    assert.match(site.log(NODE), /took over the running containerd/)
    const numbers = (await site.kubectl('logs', 'plain')).trim().split('\n').map((l) => Number(l.split(' ')[1]))
    assert.deepEqual(numbers, numbers.map((_, i) => i + 1), 'the log has no gap')
  })

  test('a gentle stop of the agent leaves the pods as well', async () => {
    const before = await fates()
    const log = logOf(site, await site.get<Pod>('pod', 'plain'))
    assert.equal(await site.kill(NODE, 'SIGTERM'), 0)
    // There is nobody to ask while the agent is down: the log on disk tells.
    const counted = readFileSync(log, 'utf8').length
    await eventually('the count to go on without an agent', () => readFileSync(log, 'utf8').length > counted)
    site.startAgent(NODE)
    await site.nodeReady(NODE)
    await eventually('exec', () => ticks('plain'))
    assert.deepEqual(await fates(), before)
  })

  test('a killed containerd is started again, the pods run on', async () => {
    const before = await fates()
    const pid = containerdPid()
    process.kill(pid, 'SIGKILL')
    await eventually('a new containerd', () => containerdPid() !== pid)
    await eventually('exec through it', async () => (await ticks('probed')) > 0)
    assert.deepEqual(await fates(), before)
    await site.kubectl('delete', 'pod', 'late', '--wait')
    await site.apply(manifest('fresh'))
    await site.kubectl('wait', '--for=condition=Ready', 'pod/fresh', '--timeout=30s')
  })

  test('the server killed and started again: nothing happens to the pods, and the node is back in seconds', async () => {
    const before = await fates()
    const counted = await ticks('plain')
    await site.kill('server', 'SIGKILL')
    await site.startServer()
    await site.nodeReady(NODE)
    await eventually('logs and exec through the new link', async () => (await ticks('plain')) > counted)
    assert.deepEqual(await fates(), before)
    assert.equal(await site.kill('server', 'SIGTERM'), 0, 'and stopped gently it ends well')
    await site.startServer()
    await eventually('exec again', async () => (await ticks('plain')) > counted)
    assert.deepEqual(await fates(), before)
  })

  test('containerd and agent killed together: the same', async () => {
    const before = await fates()
    const pid = containerdPid()
    await site.kill(NODE, 'SIGKILL')
    process.kill(pid, 'SIGKILL')
    site.startAgent(NODE)
    await eventually('a new containerd', () => containerdPid() !== pid)
    await eventually('exec through it', async () => (await ticks('plain')) > 0)
    await site.nodeReady(NODE)
    assert.deepEqual(await fates(), before)
  })
})

function logOf(site: Site, pod: Pod): string {
  return join(site.data(NODE), 'agent/logs/pods', `default_${pod.metadata?.name}_${pod.metadata?.uid}`, 'main/0.log')
}

const manifest = (name: string): string => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}}
spec:
  terminationGracePeriodSeconds: 2
  volumes: [{name: config, configMap: {name: settings}}]
  containers:
    - name: main
      image: tick:v1
      ${name === 'probed' ? 'readinessProbe: {exec: {command: [test, -f, /tmp/ticks]}, periodSeconds: 1}\n      livenessProbe: {exec: {command: [test, -f, /tmp/ticks]}, periodSeconds: 1}' : ''}
      volumeMounts: [{name: config, mountPath: /config}]
`
