/**
 * The whole story, as `script/demo --once` plays it: its last line is a JSON object, all in it is as it must be, and nothing is
 * left on the machine. The long one: three and a half minutes.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { verdict, type Result } from '../../examples/red-light-camera/demo/story.ts'
import { ROOT } from '../../tools/files.ts'
import { cannotRunContainers } from '../kit/containerd.ts'
import { LAB, leftovers, ran, takeLab } from './site.ts'

/** A demo of its own name, beside one that may be up for somebody to look at. */
const DIR = `/var/lib/skerry-demo-${LAB.name}`
const MACHINES = ['server', 'cam-1', 'cam-2', 'cam-3', 'till-1']

test('script/demo --once finds every violation through outage, power loss and update, and cleans up', { skip: cannotRunContainers(), timeout: 900_000 }, async (t: TestContext) => {
  t.after(await takeLab())
  const demo = spawn('script/demo', ['--once', '--name', LAB.name, '--block', String(LAB.block)], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] })
  t.after(async () => {
    if (demo.exitCode !== null || demo.signalCode !== null) return
    demo.kill('SIGTERM')
    await once(demo, 'exit')
  })
  let out = ''
  let err = ''
  demo.stdout.on('data', (d: Buffer) => (out += d.toString()))
  demo.stderr.on('data', (d: Buffer) => (err += d.toString()))
  const [code] = (await once(demo, 'close')) as [number | null]
  const told = `${out.slice(-6000)}\n${err.slice(-3000)}`
  assert.equal(code, 0, told)

  const result = JSON.parse(out.trimEnd().split('\n').at(-1) ?? '') as Result & { seconds: number }
  t.diagnostic(JSON.stringify(result))
  assert.deepEqual(verdict(result), [], told)
  assert.ok(Number.isSafeInteger(result.seed) && out.includes(`seed ${result.seed}`), 'the seed is printed')
  assert.ok(result.violations.truth > 0)
  assert.equal(result.violations.found, result.violations.truth)
  assert.equal(result.violations.false, 0)
  assert.ok(result.bytes.sentToServer > 0 && result.bytes.sentToServer < result.bytes.framesAtCamera / 2, 'the pictures stay at the node')
  assert.deepEqual(Object.keys(result.placement).sort(), ['cam-1', 'cam-2', 'cam-3'])
  assert.ok(result.offline.seconds >= 30)
  assert.deepEqual([result.offline.lost, result.offline.duplicated, result.offline.inOrder], [0, 0, true])
  assert.ok(result.offlineRebootMs > 0 && result.offlineRebootMs < 30_000)
  assert.ok(result.twin.sets >= 50 && result.twin.p50Ms > 0 && result.twin.p50Ms <= result.twin.p99Ms)
  assert.deepEqual(result.update.nodes, ['cam-1', 'cam-2', 'cam-3'])
  assert.deepEqual([result.update.lost, result.update.duplicated], [0, 0])
  assert.ok(result.seconds > 0)

  assert.deepEqual(MACHINES.flatMap((m) => leftovers(join(DIR, m))), [])
  assert.ok(!existsSync(DIR), DIR)
  assert.deepEqual(readdirSync('/run/netns').filter((n) => n.startsWith(`${LAB.name}-`)), [])
  assert.deepEqual(readdirSync('/sys/class/net').filter((n) => n.startsWith(`${LAB.name}v`)), [])
  assert.doesNotMatch((await ran('nft', ['list', 'tables'])).out, new RegExp(`lab_${LAB.name}`))
})
