/** A node whose disk is full, read-only or torn: it starts, says so, keeps its pods, and is whole again when the disk is. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Node, Pod } from '../../src/api/gen/types.ts'
import { cannotRunContainers } from '../kit/containerd.ts'
import { busyboxArchive, eventually, LAB, Site } from './site.ts'

const NODE = 'di-1'
const IMAGE = `/tmp/${LAB.name}-disk.img`
const skip = cannotRunContainers() || (!existsSync('/dev/loop-control') && 'needs loop devices') || (spawnSync('mkfs.ext4', ['-V']).error !== undefined && 'needs mkfs.ext4 (e2fsprogs)')

function must(command: string, ...args: string[]): void {
  const r = spawnSync(command, args, { encoding: 'utf8' })
  assert.equal(r.status, 0, `${command} ${args.join(' ')}: ${r.stderr}`)
}

describe('a node with a bad disk', { skip }, () => {
  let site: Site
  let data = ''
  const mount = (): void => must('mount', '-o', 'loop', IMAGE, data)
  const pod = (name: string): Promise<Pod> => site.get<Pod>('pod', name)
  const condition = async (type: string): Promise<{ status: string; message: string } | undefined> =>
    (await site.get<Node>('node', NODE)).status?.conditions?.find((c) => c.type === type) as { status: string; message: string } | undefined
  const told = (type: string, status: string, message = /./): Promise<unknown> =>
    eventually(`${type} ${status}`, async () => {
      const c = await condition(type)
      if (c?.status === status && message.test(c.message)) return true
      throw new Error(JSON.stringify(c))
    }, 90_000)
  const ready = (...names: string[]): Promise<unknown> => eventually(`${names.join(', ')} Ready`, () => site.kubectl('wait', '--for=condition=Ready', '--timeout=5s', ...names.map((n) => `pod/${n}`)), 120_000)
  const works = (): Promise<unknown> => eventually('exec', async () => (await site.kubectl('exec', 'keeper', '--', 'cat', '/etc/settings/colour')) === 'blue', 60_000)
  /** Pressure is over as soon as there is room: else it lasts for five minutes more. */
  const start = (...flags: string[]): void => void site.startAgent(NODE, '--eviction-hard', 'nodefs.available<10%', '--eviction-pressure-transition-period', '1s', ...flags)
  const ballast = (): string => join(data, 'ballast')
  /** Not one byte is left. */
  const fill = (): void => {
    spawnSync('dd', ['if=/dev/zero', `of=${ballast()}`, 'bs=1M'], { stdio: 'ignore' })
    spawnSync('dd', ['if=/dev/zero', `of=${ballast()}`, 'bs=1k', 'oflag=append', 'conv=notrunc'], { stdio: 'ignore' })
    assert.notEqual(spawnSync('dd', ['if=/dev/zero', `of=${join(data, 'more')}`, 'bs=64k', 'count=1'], { stdio: 'ignore' }).status, 0, 'the disk is full')
    rmSync(join(data, 'more'), { force: true })
  }

  before(async () => {
    data = `/tmp/${LAB.name}-disk/${NODE}`
    spawnSync('umount', ['-l', data], { stdio: 'ignore' }) // What an earlier run left.
    site = await Site.create('disk', [NODE])
    data = site.data(NODE)
    rmSync(IMAGE, { force: true })
    must('truncate', '-s', '256M', IMAGE)
    must('mkfs.ext4', '-q', '-m', '0', IMAGE)
    mkdirSync(data, { recursive: true })
    mount()
    await site.startServer()
    await site.skerry('image', 'import', await busyboxArchive(site.dir, 'keeper', `trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done`))
    await site.kubectl('create', 'configmap', 'settings', '--from-literal=colour=blue')
    start('--token', (await site.skerry('token', 'create', '--node', NODE)).trim())
    await site.nodeReady(NODE)
    await site.apply(manifest('keeper'))
    await ready('keeper')
  })
  after(async () => {
    if (!site) return
    await site.losePower(NODE)
    spawnSync('umount', ['-l', data], { stdio: 'ignore' })
    rmSync(IMAGE, { force: true })
    assert.deepEqual(await site.close(), [])
  })

  test('full: it is told, pods run on, the agent starts again, and room is all that a new pod needs', async () => {
    const { status } = await pod('keeper')
    fill()
    await told('DiskPressure', 'True')
    await works()
    await site.kill(NODE)
    start()
    await site.nodeReady(NODE)
    await works()
    assert.equal((await pod('keeper')).status?.containerStatuses?.[0]?.containerID, status?.containerStatuses?.[0]?.containerID)
    await site.apply(manifest('late'))
    await eventually('an Event that names the reason', async () => /no space left/i.test(await site.kubectl('get', 'events', '--field-selector', 'involvedObject.name=late')), 60_000)
    rmSync(ballast())
    await told('DiskPressure', 'False')
    await ready('late')
  })

  test('full when power comes back: the agent starts and says so, and the pods come when there is room', async () => {
    fill()
    await site.losePower(NODE)
    start()
    await site.nodeReady(NODE)
    await told('DiskPressure', 'True')
    rmSync(ballast())
    await told('DiskPressure', 'False')
    await ready('keeper', 'late')
    await works()
  })

  test('read-only after an error of the disk: pods run on and the node says so; after a repair all is as it was', async () => {
    /** Whether an agent that was started has told the server of itself. */
    const cameUp = async (): Promise<void> => {
      const from = site.log(NODE).length
      start()
      await eventually('the agent linked', () => /node registered/.test(site.log(NODE).slice(from)), 90_000)
      await told('Ready', 'False', /read-only/)
    }
    must('mount', '-o', 'remount,abort', data)
    await told('Ready', 'False', /read-only/)
    await works()
    await site.kill(NODE)
    await cameUp()
    await works()
    // Without containerd, which cannot start there, it can say no more than why; it has it as soon as the disk takes writes.
    await site.losePower(NODE)
    must('umount', data)
    spawnSync('e2fsck', ['-fy', IMAGE], { stdio: 'ignore' })
    mount()
    must('mount', '-o', 'remount,ro', data)
    await cameUp()
    must('mount', '-o', 'remount,rw', data)
    await site.nodeReady(NODE)
    await ready('keeper', 'late')
    await works()
  })

  test('torn: files that the node keeps for itself are told, and made anew', async () => {
    await site.losePower(NODE)
    const torn = readdirSync(join(data, 'agent'), { recursive: true, withFileTypes: true })
      .filter((e) => e.isFile() && !/\/(containerd|pods|logs)(\/|$)/.test(`${e.parentPath}/`) && !/^(identity|seal)\.|\.key$|lock/.test(e.name))
      .map((e) => join(e.parentPath, e.name))
    for (const file of torn) truncateSync(file, statSync(file).size >> 1)
    assert.ok(torn.some((f) => f.includes('/stash/')) && torn.some((f) => f.includes('/tokens/')), torn.join(' '))
    start()
    await site.nodeReady(NODE)
    await ready('keeper', 'late')
    await works()
    assert.doesNotMatch(site.log(NODE), /unhandled|TypeError/i)
  })

  test('torn identity: the agent says which file it is and the way out', async () => {
    await site.losePower(NODE)
    const file = join(data, 'agent/identity.json')
    truncateSync(file, statSync(file).size >> 1)
    start()
    await eventually('the end of the agent', () => !site.alive(NODE), 60_000)
    assert.match(site.log(NODE), /read node identity: ".*identity\.json" is damaged: move it away and join again with a token/)
    rmSync(file)
    await site.skerry('node', 'approve', NODE)
    start('--token', (await site.skerry('token', 'create', '--node', NODE)).trim())
    await site.nodeReady(NODE)
    await ready('keeper', 'late')
    await works()
  })
})

const manifest = (name: string): string => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}}
spec:
  nodeName: ${NODE}
  # Else a full disk evicts it.
  priorityClassName: system-node-critical
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: keeper, volumeMounts: [{name: settings, mountPath: /etc/settings}]}]
  volumes: [{name: settings, configMap: {name: settings}}]
`
