/** A node whose disk fills and a pod that talks much, with the real kubectl and containerd: who goes, who stays, and no line lost. */
import assert from 'node:assert/strict'
import { execFileSync, type ChildProcess } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { EventList, Node, Pod } from '../../src/api/gen/types.ts'
import { cannotRunContainers } from '../kit/containerd.ts'
import { busyboxArchive, eventually, LAB, Site } from './site.ts'

const NODE = 'small-1'
/** The node's data has a disk of its own, so that what fills is known: MiB. */
const DISK = 400

/** Takes the disk of the node away; without one there is nothing to do. */
function unmount(path: string): void {
  if (readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${path} `)) execFileSync('umount', ['-l', path])
}

describe('a node that is short of something', { skip: cannotRunContainers() }, () => {
  let site: Site
  let agent: ChildProcess

  before(async () => {
    unmount(`/tmp/${LAB.name}-press/${NODE}`)
    site = await Site.create('press', [NODE])
    mkdirSync(site.data(NODE), { recursive: true })
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK}m`, 'tmpfs', site.data(NODE)])
    await site.startServer()
    await site.skerry('image', 'import', await busyboxArchive(site.dir, 'busy', "trap 'exit 0' TERM; while :; do sleep 1; done"))
    const token = (await site.skerry('token', 'create', '--node', NODE)).trim()
    agent = site.startAgent(NODE, '--token', token, '--eviction-hard', 'nodefs.available<150Mi', '--eviction-pressure-transition-period', '1s', '--shutdown-grace-period', '20s', '--kubelet-arg', 'container-log-max-size=64Ki', '--kubelet-arg', 'container-log-max-files=100')
    await site.nodeReady(NODE)
  })
  after(async () => {
    if (!site) return
    await site.losePower(NODE)
    unmount(site.data(NODE))
    assert.deepEqual(await site.close(), [])
  })

  test('a log over its size goes on in a new file and loses no line', async () => {
    await site.apply(`apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: busy, command: [sh, -c, "i=0; while [ $i -lt 150 ]; do j=0; while [ $j -lt 100 ]; do echo line $i $j; j=$((j+1)); done; i=$((i+1)); sleep 0.1; done; echo end; sleep 600"]}
`)
    await eventually('the end of the talk', async () => (await site.kubectl('logs', 'talker', '--tail=1')).trim() === 'end', 120_000, 1000)
    const lines = (await site.kubectl('logs', 'talker')).trim().split('\n')
    assert.equal(lines.length, 15_001)
    for (const [at, l] of lines.slice(0, -1).entries()) assert.equal(l, `line ${Math.floor(at / 100)} ${at % 100}`)
    const pod = await site.get<Pod>('pod', 'talker')
    const dir = join(site.data(NODE), 'agent/logs/pods', `default_talker_${pod.metadata?.uid}`, 'main')
    assert.ok(readdirSync(dir).length >= 2, readdirSync(dir).join(' '))
    await site.kubectl('delete', 'pod', 'talker')
  })

  test('the pod that fills the disk is evicted with the reason told, the modest one stays, and the node is relieved', async () => {
    await site.apply(`apiVersion: v1
kind: Pod
metadata: {name: modest}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: busy}]
---
apiVersion: v1
kind: Pod
metadata: {name: greedy}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: busy, command: [sh, -c, "busybox dd if=/dev/zero of=/data/fill bs=1048576 count=300; sleep 600"], volumeMounts: [{name: data, mountPath: /data}]}]
  volumes: [{name: data, emptyDir: {}}]
`)
    const evicted = await eventually('greedy evicted', async () => {
      const p = await site.get<Pod>('pod', 'greedy')
      return p.status?.phase === 'Failed' && p
    }, 120_000)
    assert.equal(evicted.status?.reason, 'Evicted')
    assert.match(evicted.status?.message ?? '', /^The node was low on resource: ephemeral-storage\. Threshold quantity: 150Mi, available: \d+(Ki|Mi)?\. /)
    const target = evicted.status?.conditions?.find((c) => c.type === 'DisruptionTarget')
    assert.deepEqual([target?.status, target?.reason], ['True', 'TerminationByKubelet'])
    await eventually('Events of it', async () => {
      const { items } = await site.get<EventList>('events')
      return items.some((e) => e.reason === 'Evicted' && e.involvedObject.name === 'greedy') && items.some((e) => e.reason === 'EvictionThresholdMet' && e.involvedObject.kind === 'Node')
    })
    // What an ended pod wrote goes with the pod.
    await site.kubectl('delete', 'pod', 'greedy')
    await eventually('no pressure', async () => {
      const n = await site.get<Node>('node', NODE)
      return n.status?.conditions?.find((c) => c.type === 'DiskPressure')?.status === 'False'
    }, 60_000)
    assert.equal((await site.get<Pod>('pod', 'modest')).status?.phase, 'Running')
    assert.equal((await site.get<Pod>('pod', 'modest')).status?.containerStatuses?.[0]?.restartCount, 0)
  })

  test('when the machine goes down its pods end in time, told as such', async () => {
    agent.kill('SIGPWR')
    // What takes a machine down without logind waits by this; it is one shutdown, whoever asks.
    await site.skerry('agent', 'shutdown', '--data-dir', site.data(NODE))
    const ended = await site.get<Pod>('pod', 'modest')
    assert.equal(ended.status?.phase, 'Failed')
    assert.deepEqual([ended.status?.reason, ended.status?.message], ['Terminated', 'Pod was terminated in response to imminent node shutdown.'])
    const ready = (await site.get<Node>('node', NODE)).status?.conditions?.find((c) => c.type === 'Ready')
    assert.deepEqual([ready?.status, ready?.message], ['False', 'node is shutting down'])
  })
})
