import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setLogSink } from '../../base/log.ts'
import { cannotRunContainers, Instance } from '../../../test/kit/containerd.ts'
import { tryCommand } from './command.ts'
import { instancePids, startTimeOf } from './process.ts'

const skip = cannotRunContainers()
const script = (name: string): string => new URL(`../../../script/${name}`, import.meta.url).pathname
const IMAGE = 'docker.io/library/busy:1'

test('killall ends one instance whole and touches neither its neighbour nor a bystander', { skip }, async () => {
  setLogSink(() => {})
  // The bystander's command line is as near to an agent's as text can be.
  const bystander = spawn('sh', ['-c', 'sleep 60; : skerry agent --instance gone --run-dir /run/skerry-test/gone'], { stdio: 'ignore', detached: true })
  const gone = await Instance.make('gone', '10.199.8.0/24')
  const stays = await Instance.make('stays', '10.199.9.0/24')
  try {
    const pods = []
    for (const i of [gone, stays]) {
      await i.boot()
      await i.image(IMAGE, 'exec sleep 1000')
      pods.push(await i.pod(IMAGE))
    }
    await gone.leave()
    const others = instancePids(stays.own.paths, true)
    const result = await tryCommand('sh', [script('killall.sh'), '--instance', gone.name, '--run-dir', gone.runDir])
    assert.deepEqual([result.code, result.stderr], [0, ''])

    const { paths } = gone.own
    assert.deepEqual(instancePids(paths, true), [])
    assert.equal(existsSync(paths.run), false)
    assert.equal(readFileSync('/proc/self/mounts', 'utf8').includes(paths.run), false)
    assert.notEqual((await tryCommand('ip', ['link', 'show', paths.bridge])).code, 0)
    assert.notEqual((await tryCommand('nft', ['list', 'table', 'ip', paths.nftTable])).code, 0)
    assert.equal(existsSync(`/sys/fs/cgroup/memory${paths.cgroupRoot}`), false)
    assert.equal(existsSync(paths.root), true, 'the data stays')

    assert.deepEqual(instancePids(stays.own.paths, true).sort(), others.sort())
    assert.equal((await stays.own.runtime.containers.inspect(pods[1]?.id ?? '')).state, 'running')
    assert.notEqual(startTimeOf(bystander.pid as number), undefined)

    await gone.boot()
    assert.ok(await gone.own.runtime.images.find(IMAGE), 'the next start comes back from the data')
  } finally {
    process.kill(-(bystander.pid as number), 'SIGKILL')
    await gone.remove()
    await stays.remove()
  }
})

test('killall ends the process that holds the lock of the data directory, and no other that has its number', { skip }, async () => {
  const dir = await mkdtemp(join(tmpdir(), 'skerry-lock-'))
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  const [holder, other] = [spawn('sleep', ['60'], { stdio: 'ignore' }), spawn('sleep', ['60'], { stdio: 'ignore' })]
  try {
    await mkdir(join(dir, 'agent'))
    await mkdir(join(dir, 'server'))
    await writeFile(join(dir, 'agent/lock'), `${holder.pid} ${startTimeOf(holder.pid as number)}@${boot}`)
    await writeFile(join(dir, 'server/lock'), `${other.pid} 1@${boot}`)
    const result = await tryCommand('sh', [script('killall.sh'), '--data-dir', dir])
    assert.deepEqual([result.code, result.stderr], [0, ''])
    assert.match(result.stdout, new RegExp(`ended agent, process ${holder.pid}\n`))
    assert.equal(startTimeOf(holder.pid as number), undefined)
    assert.notEqual(startTimeOf(other.pid as number), undefined)
  } finally {
    for (const child of [holder, other]) child.kill('SIGKILL')
    await rm(dir, { recursive: true, force: true })
  }
})

test('uninstall removes a data directory of ours and refuses any other', { skip }, async () => {
  const dir = await mkdtemp(join(tmpdir(), 'skerry-uninstall-'))
  const run = (...args: string[]): ReturnType<typeof tryCommand> => tryCommand('sh', [script('uninstall.sh'), ...args])
  try {
    await writeFile(join(dir, 'precious'), 'x')
    const refused = await run('--data-dir', dir, '--yes')
    assert.equal(refused.code, 2)
    assert.match(refused.stderr, /holds neither agent\/ nor server\//)
    assert.match((await run('--data-dir', '/etc', '--yes')).stderr, /must not be a top directory/)
    await mkdir(join(dir, 'agent'))
    assert.equal((await tryCommand('sh', [script('uninstall.sh'), '--data-dir', dir], { input: 'no\n' })).code, 1)
    assert.ok(existsSync(join(dir, 'precious')))
    const done = await run('--data-dir', dir, '--yes')
    assert.deepEqual([done.code, done.stderr], [0, ''])
    assert.equal(existsSync(dir), false)
    assert.equal((await tryCommand('sh', [script('killall.sh'), '--instance', '../etc'])).code, 2)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
})
