import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { checkRelease, describeRelease, idOf, RELEASE_FILE, releaseId } from '../../base/release.ts'
import { Program } from './program.ts'
import { nextStep } from './upgrader.ts'

const own = { version: '1.0.0', arch: 'x64', id: 'a'.repeat(64) }
const offer = { version: '1.1.0', arch: 'x64', id: 'b'.repeat(64) }

test('a node follows its server when it is asked to, and does not try again what it gave up', () => {
  const now = { wanted: 'server' as string | undefined, own, offer, failed: undefined, restartedBy: 'systemd', nowMs: 10_000_000 }
  const failed = { id: offer.id, version: offer.version, why: 'it ended', atMs: 9_000_000, again: false }
  assert.deepEqual(nextStep(now), { act: 'fetch' })
  assert.deepEqual(nextStep({ ...now, wanted: undefined }), { act: 'rest' })
  assert.deepEqual(nextStep({ ...now, offer: own }), { act: 'rest' })
  assert.match(JSON.stringify(nextStep({ ...now, wanted: '1.1.0' })), /skerry.io\/upgrade \\"1.1.0\\" is not \\"server\\"/)
  assert.match(JSON.stringify(nextStep({ ...now, restartedBy: undefined })), /install it as a service/)
  assert.match(JSON.stringify(nextStep({ ...now, failed })), /1.1.0\+bbbbbbbbbbbb was given up: it ended; take skerry.io\/upgrade away and set it again/)
  assert.deepEqual(nextStep({ ...now, wanted: undefined, failed }), { act: 'forgive' })
  assert.deepEqual(nextStep({ ...now, failed: { ...failed, id: 'c'.repeat(64) } }), { act: 'fetch' }, 'another version is another matter')
  assert.match(JSON.stringify(nextStep({ ...now, failed: { ...failed, again: true } })), /tried again an hour later/)
  assert.deepEqual(nextStep({ ...now, nowMs: 9_000_000 + 3_600_000, failed: { ...failed, again: true } }), { act: 'fetch' })
})

function directory(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'skerry-upgrade-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

test('a release is whole, unchanged and the one that was offered, or it is refused by what differs', async (t) => {
  const dir = directory(t)
  mkdirSync(join(dir, 'bin'))
  writeFileSync(join(dir, 'bin/skerry'), 'one')
  writeFileSync(join(dir, 'x'), 'two')
  assert.equal(await idOf(dir), undefined)
  const text = await describeRelease(dir, { version: '1', arch: 'x64' })
  writeFileSync(join(dir, RELEASE_FILE), text)
  assert.equal(await describeRelease(dir, { version: '1', arch: 'x64' }), text, 'it does not count itself')
  const id = releaseId(text)
  assert.equal(await idOf(dir), id)
  assert.equal((await checkRelease(dir, id)).version, '1')
  const refused = (want: RegExp): Promise<void> => assert.rejects(checkRelease(dir, id), want)
  await assert.rejects(checkRelease(dir, 'f'.repeat(64)), /is release .{12}, offered was f{12}/)
  writeFileSync(join(dir, 'x'), 'twx')
  await refused(/file x is not the one that was offered/)
  rmSync(join(dir, 'x'))
  await refused(/file x is missing/)
  symlinkSync('/etc/hostname', join(dir, 'x'))
  await refused(/x is not a plain file/)
  rmSync(join(dir, 'x'))
  writeFileSync(join(dir, 'x'), 'two')
  writeFileSync(join(dir, 'y'), '')
  await refused(/file y does not belong to it/)
})

/** An installation whose program writes its place and ends with what it is told. */
function installation(t: TestContext): { dir: string; start: (...args: string[]) => string; program: (place: 'a' | 'b') => Promise<Program> } {
  const dir = directory(t)
  for (const place of ['a', 'b']) {
    mkdirSync(join(dir, place, 'bin'), { recursive: true })
    writeFileSync(join(dir, place, 'bin/skerry'), `#!/bin/sh\necho ${place}\n`)
    chmodSync(join(dir, place, 'bin/skerry'), 0o755)
  }
  cpSync(join(import.meta.dirname, '../../../script/start.sh'), join(dir, 'start'))
  symlinkSync('a', join(dir, 'current'))
  return {
    dir,
    start: (...args) => execFileSync(join(dir, 'start'), args, { encoding: 'utf8' }).trim(),
    program: async (place) => {
      const p = await Program.of(join(dir, place))
      assert.ok(p)
      return p
    },
  }
}

test('a program on trial that ends three times makes way for the one before, which knows why', async (t) => {
  const { dir, start, program } = installation(t)
  const before = await program('a')
  assert.equal(await before.trial(), undefined)
  await before.turn(offer, 5)
  assert.equal(start('version'), 'b', 'other commands run what is in use, and are no trial')
  assert.deepEqual([start('agent'), start('agent'), start('agent')], ['b', 'b', 'b'])
  assert.equal(start('agent'), 'a')
  assert.equal(readlinkSync(join(dir, 'current')), 'a')
  assert.deepEqual([existsSync(join(dir, 'trial')), existsSync(join(dir, 'trial.starts'))], [false, false])
  assert.deepEqual(await before.failed(), { id: offer.id, version: '1.1.0', why: 'it ended three times before it had proved itself', atMs: 0, again: false })
})

test('one that proves itself stays, and what was given up before is forgotten', async (t) => {
  const { start, program } = installation(t)
  await (await program('a')).refuse({ id: 'c', version: '0', why: 'x', atMs: 1, again: true })
  await (await program('a')).turn(offer, 5)
  assert.equal(start('agent'), 'b')
  const next = await program('b')
  assert.deepEqual(await next.trial(), { from: 'a', to: 'b', id: offer.id, version: '1.1.0', seconds: 5 })
  await next.confirm()
  for (let i = 0; i < 5; i++) assert.equal(start('agent'), 'b')
  assert.deepEqual([await next.trial(), await next.failed()], [undefined, undefined])
  assert.equal(next.other, 'a')
})

test('one that goes back says why; lines are kept on one line', async (t) => {
  const { start, program } = installation(t)
  await (await program('a')).turn(offer, 5)
  const next = await program('b')
  const trial = await next.trial()
  assert.ok(trial)
  await next.goBack(trial, 'it had\nno link', 7, true)
  assert.equal(start('agent'), 'a')
  assert.deepEqual(await (await program('a')).failed(), { id: offer.id, version: '1.1.0', why: 'it had no link', atMs: 7, again: true })
})

test('power that goes at any step leaves a program that starts', async (t) => {
  const { dir, start, program } = installation(t)
  const steps: [string, () => void, string][] = [
    ['the trial is written, the link not turned', () => writeFileSync(join(dir, 'trial'), `from=a\nto=b\nid=${offer.id}\nversion=1.1.0\nseconds=5\n`), 'a'],
    ['a link that was about to be renamed', () => symlinkSync('b', join(dir, 'current.new')), 'a'],
    ['a torn trial', () => writeFileSync(join(dir, 'trial'), 'fro'), 'a'],
  ]
  for (const [what, act, runs] of steps) {
    act()
    for (let i = 0; i < 5; i++) assert.equal(start('agent'), runs, what)
    assert.equal(await (await program('a')).trial(), undefined, what)
    assert.ok(!existsSync(join(dir, 'trial')), what)
  }
  await (await program('a')).turn(offer, 5)
  assert.equal(start('agent'), 'b')
  // While it goes back: the reason is written, the link not turned yet; the next start ends the same way.
  appendFileSync(join(dir, 'trial.starts'), '\n\n')
  writeFileSync(join(dir, 'failed'), 'id=x\n')
  assert.equal(start('agent'), 'a')
  assert.match(readFileSync(join(dir, 'failed'), 'utf8'), /ended three times/)
  // The link is turned back, the trial not cleared away.
  writeFileSync(join(dir, 'trial'), `from=a\nto=b\nid=${offer.id}\nversion=1.1.0\nseconds=5\n`)
  assert.equal(start('agent'), 'a')
  assert.equal(await (await program('a')).trial(), undefined)
})

test('one that hangs is ended after twice its time, and the one before starts', { timeout: 60_000 }, async (t) => {
  const { dir, start, program } = installation(t)
  // A program of its own, as the real one is: a shell that reads a script named as the command.
  copyFileSync('/bin/sh', join(dir, 'b/bin/skerry'))
  writeFileSync(join(dir, 'agent'), 'while :; do read -r line; done\n')
  await (await program('a')).turn(offer, 2)
  const hangs = spawn(join(dir, 'start'), ['agent'], { cwd: dir, stdio: ['pipe', 'ignore', 'ignore'] })
  const [, signal] = (await once(hangs, 'exit')) as [number | null, string | null]
  assert.equal(signal, 'SIGKILL')
  assert.equal(start('agent'), 'a')
  assert.equal((await (await program('a')).failed())?.why, 'it did not prove itself within 4 s')
})

test('a checkout is no installation', async (t) => {
  const dir = directory(t)
  assert.equal(await Program.of(dir), undefined)
  mkdirSync(join(dir, 'a'))
  assert.equal(await Program.of(join(dir, 'a')), undefined)
})
