/** The real systemd-inhibit and busctl against Debian's stand-in for logind (python3-dbusmock) on a bus of its own. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { systemClock } from '../../base/clock.ts'
import { setLogSink } from '../../base/log.ts'
import { command, findProgram } from '../containerd/command.ts'
import { announced, followLogind } from './logind.ts'

setLogSink(() => {})
const PYTHON = '/usr/bin/python3'
const peers = ['systemd-inhibit', 'busctl', 'dbus-daemon'].every((p) => findProgram(p)) && spawnSync(PYTHON, ['-c', 'import dbusmock'], { stdio: 'ignore' }).status === 0
const skip = peers ? false : 'needs systemd, dbus-daemon and python3-dbusmock (script/bootstrap --tests)'
const MOCK = ['org.freedesktop.login1', '/org/freedesktop/login1', 'org.freedesktop.DBus.Mock']
const MANAGER = 'org.freedesktop.login1.Manager'

/** Waits for a state of the world; the limit is for machines under load. */
async function until(what: string, seen: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = Date.now() + 60_000
  while (!(await seen())) {
    assert.ok(Date.now() < deadline, `not seen in a minute: ${what}`)
    await systemClock.sleep(50)
  }
}

/** A bus with logind on it, whose lock may last so long, and what asks it. */
async function bus(logind: boolean, limitMs: number) {
  const dir = await mkdtemp(join(tmpdir(), 'skerry-logind-'))
  const env = { DBUS_SYSTEM_BUS_ADDRESS: `unix:path=${dir}/bus` }
  const children: ReturnType<typeof spawn>[] = []
  const start = (program: string, args: readonly string[]) => {
    const child = spawn(program, args, { stdio: 'ignore', env: { ...process.env, ...env } })
    children.push(child)
  }
  const call = (...args: readonly string[]) => command('busctl', ['--system', ...args], { env })
  const answers = (...args: readonly string[]) => call(...args).then(() => true, () => false)
  await writeFile(
    join(dir, 'bus.conf'),
    `<busconfig><type>system</type><listen>unix:path=${dir}/bus</listen><auth>EXTERNAL</auth><policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`,
  )
  start(findProgram('dbus-daemon') as string, [`--config-file=${dir}/bus.conf`, '--nofork', '--nopidfile'])
  await until('a bus', () => answers('list'))
  if (logind) {
    start(PYTHON, ['-m', 'dbusmock', '--system', '--template', 'logind'])
    await until('logind', () => answers('introspect', ...MOCK.slice(0, 2)))
    await call('call', ...MOCK, 'AddProperty', 'ssv', MANAGER, 'InhibitDelayMaxUSec', 't', String(limitMs * 1000))
  }
  return {
    env,
    dir,
    start,
    call,
    answers,
    locks: async () => (await call('call', ...MOCK.slice(0, 2), MANAGER, 'ListInhibitors')).trim(),
    announce: (down: boolean) => call('call', ...MOCK, 'EmitSignal', 'sssav', MANAGER, 'PrepareForShutdown', 'b', '1', 'b', String(down)),
    async [Symbol.asyncDispose]() {
      for (const child of children.reverse()) {
        child.kill('SIGKILL')
        if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
      }
      await rm(dir, { recursive: true, force: true })
    },
  }
}

/** Follows the logind of a bus until disposed of; what it did is in `did`. */
function follow(b: { readonly env: Readonly<Record<string, string>>; readonly dir: string }, graceMs: number) {
  const stop = new AbortController()
  const did: string[] = []
  const pods = Promise.withResolvers<void>()
  const work = followLogind(
    {
      clock: systemClock,
      graceMs,
      env: b.env,
      configDirectory: join(b.dir, 'logind.conf.d'),
      down: () => {
        did.push('down')
        return pods.promise
      },
      up: () => void did.push('up'),
      say: (reason, message) => void did.push(`${reason}: ${message}`),
    },
    stop.signal,
  )
  return {
    did,
    pods,
    work,
    async [Symbol.asyncDispose]() {
      stop.abort()
      await work
    },
  }
}

test('lines of the monitor', () => {
  assert.equal(announced('{"type":"signal","member":"PrepareForShutdown","payload":{"type":"b","data":[true]}}'), true)
  assert.equal(announced('{"type":"signal","member":"PrepareForShutdown","payload":{"type":"b","data":[false]}}'), false)
  assert.equal(announced('{"type":"signal","member":"PrepareForSleep","payload":{"type":"b","data":[true]}}'), undefined)
  assert.equal(announced('Monitoring bus message stream.'), undefined)
})

test('a shutdown waits for pods by a lock of logind, which is let go when they have ended and taken again when the machine stays up', { skip }, async () => {
  await using b = await bus(true, 60_000)
  {
    await using f = follow(b, 30_000)
    const held = /^a\(ssssuu\) 1 "shutdown" "skerry" "Pods are ended with their grace" "delay"/
    await until('a lock', async () => held.test(await b.locks()))
    // The monitor comes a moment after the lock.
    await until('the announcement heard', async () => {
      if (f.did.length === 0) await b.announce(true)
      return f.did.length > 0
    })
    assert.match(await b.locks(), held)
    assert.equal(f.did[0], 'down')
    const before = f.did.length
    f.pods.resolve()
    await until('the lock let go, given again, and so the machine still up', () => f.did.slice(before).includes('up'))
    await until('a lock', async () => held.test(await b.locks()))
  }
  await until('no lock once nobody follows', async () => (await b.locks()) === 'a(ssssuu) 0')
})

test('a limit of logind that is too short is raised; one that stays is told', { skip }, async () => {
  await using b = await bus(true, 5_000)
  {
    await using f = follow(b, 30_000)
    await until('told', () => f.did.length > 0)
    assert.match(f.did[0] as string, /^ShutdownGraceCut: logind holds up a shutdown for 5 s, pods may take 35 s \(--shutdown-grace-period\): .*systemd1.*; set InhibitDelayMaxSec in logind.conf$/)
  }
  assert.match(await readFile(join(b.dir, 'logind.conf.d/99-skerry.conf'), 'utf8'), /^\[Login\]\nInhibitDelayMaxSec=35$/m)
  // systemd that has logind read its settings.
  b.start(PYTHON, ['-m', 'dbusmock', '--system', 'org.freedesktop.systemd1', '/org/freedesktop/systemd1', 'org.freedesktop.systemd1.Manager'])
  const systemd = ['org.freedesktop.systemd1', '/org/freedesktop/systemd1']
  await until('systemd', () => b.answers('introspect', ...systemd))
  const set = ['busctl', '--system', 'call', ...MOCK, 'UpdateProperties', 'sa{sv}', MANAGER, '1', 'InhibitDelayMaxUSec', 't', '35000000']
  await b.call('call', ...systemd, 'org.freedesktop.DBus.Mock', 'AddMethod', 'sssss', 'org.freedesktop.systemd1.Manager', 'KillUnit', 'ssi', '', `import subprocess; assert args[2] == 1; subprocess.Popen(${JSON.stringify(set)})`)
  await using f = follow(b, 30_000)
  await until('a lock', async () => (await b.locks()).startsWith('a(ssssuu) 1'))
  assert.deepEqual(f.did, [])
})

test('where no logind answers nothing is left running', { skip }, async () => {
  await using b = await bus(false, 0)
  await using f = follow(b, 30_000)
  await f.work
  assert.deepEqual(f.did, [])
})
