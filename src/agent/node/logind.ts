/**
 * Hears from logind that the machine goes down, and holds that up until pods have ended: a delay lock of `systemd-inhibit` and its
 * announcement through `busctl`, both of which are on every machine that systemd runs. One child does both; it ends, and its lock with
 * it, when its stdin does, so also when this process is killed. logind waits no longer than its InhibitDelayMaxSec, which is raised
 * as the kubelet does it.
 */
import { spawn } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Clock } from '../../base/clock.ts'
import { isAbort, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { waitAfter, type RetrySchedule } from '../../base/retry.ts'
import { findProgram, SYSTEM_PATH, tryCommand } from '../containerd/command.ts'

const log = logger('agent.logind')
const LOGIND = ['org.freedesktop.login1', '/org/freedesktop/login1', 'org.freedesktop.login1.Manager'] as const
const SYSTEMD = ['org.freedesktop.systemd1', '/org/freedesktop/systemd1', 'org.freedesktop.systemd1.Manager'] as const
/** While logind goes down with the machine it gives no new lock; one that was started anew does. */
const SCHEDULE: RetrySchedule = { firstMs: 1_000, factor: 2, maxMs: 60_000, jitter: 0.5 }
/** How long logind may take to read its changed settings, ms. */
const RELOAD_MS = 5_000
const RELOAD_LOOK_MS = 200
/** After pods have ended their statuses are told, which may take this much longer, ms. */
const TELL_MS = 5_000
/** What is kept of a child's complaint, characters. */
const COMPLAINT = 500
const SIGHUP = '1'

/** Runs with the lock held: says so, then every announcement as a line of JSON, until stdin ends. The monitor never outlives it. */
const SCRIPT = `exec 3<&0
echo held
busctl --system --json=short --match="type='signal',interface='${LOGIND[2]}',member='PrepareForShutdown'" monitor 3<&- &
m=$!
{ read -r _ <&3; kill $m; } 2>/dev/null &
r=$!
wait $m
kill $r 2>/dev/null`

export interface LogindOptions {
  readonly clock: Clock
  /** Time that pods may take to end, ms. */
  readonly graceMs: number
  /** The machine goes down; resolves when pods have ended. */
  readonly down: () => Promise<void>
  /** It stays up after all. */
  readonly up: () => void
  /** Something for the node's Events. */
  readonly say: (reason: string, message: string) => void
  /** Environment of the programs, e.g. another bus. @default the system's */
  readonly env?: Readonly<Record<string, string>> | undefined
  /** @default /etc/systemd/logind.conf.d */
  readonly configDirectory?: string | undefined
}

/** Works until the signal aborts. Where no logind answers it returns at once, and nothing is left running. */
export async function followLogind(o: LogindOptions, signal: AbortSignal): Promise<void> {
  if (!findProgram('systemd-inhibit') || !findProgram('busctl')) return
  const limit = await limitOf(o)
  if (limit === undefined) return log.info('no logind answers: a shutdown of the machine is heard by SIGPWR only')
  const wanted = o.graceMs + TELL_MS
  if (limit < wanted) await raise(o, limit, wanted, signal)
  const state = { failures: 0, wentDown: false }
  while (!signal.aborted) {
    const why = await hold(o, state, signal)
    if (signal.aborted) return
    if (why !== undefined) log.warn('no lock of logind: a shutdown of the machine would not wait for pods', { why })
    await o.clock.sleep(waitAfter(SCHEDULE, ++state.failures), signal).catch(() => undefined)
  }
}

/** Holds one lock until the machine went down, the child ended, or the signal aborts. Why it ended too early, else undefined. */
async function hold(o: LogindOptions, state: { failures: number; wentDown: boolean }, signal: AbortSignal): Promise<string | undefined> {
  const args = ['--what=shutdown', '--mode=delay', '--who=skerry', '--why=Pods are ended with their grace', 'sh', '-c', SCRIPT]
  const child = spawn(findProgram('systemd-inhibit') as string, args, { stdio: ['pipe', 'pipe', 'pipe'], cwd: '/', env: { PATH: SYSTEM_PATH.join(':'), LC_ALL: 'C', ...o.env } })
  const release = (): void => void child.stdin.end()
  child.stdin.on('error', () => {}) // it has ended
  signal.addEventListener('abort', release, { once: true })
  let complaint = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint = (complaint + text).slice(-COMPLAINT)))
  let released = false
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (line === 'held') {
      state.failures = 0
      log.info('logind waits for pods to end when the machine goes down')
      // A lock is given again: what was announced did not come.
      if (state.wentDown) o.up()
      state.wentDown = false
      return
    }
    const down = announced(line)
    if (down === undefined) return
    log.info(down ? 'logind announces that the machine goes down' : 'logind says that the machine stays up')
    state.wentDown = down
    if (!down) return o.up()
    void o.down().catch((error: unknown) => log.warn('pods not ended', { error: messageOf(error) })).finally(() => {
      released = true
      release()
    })
  })
  const ended = await new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('close', (code) => resolve(complaint.trim() || `exit code ${code}`))
  })
  signal.removeEventListener('abort', release)
  child.stdin.destroy()
  return released ? undefined : ended
}

/** What a line of the monitor says: true for a machine that goes down; undefined when it says something else. */
export function announced(line: string): boolean | undefined {
  try {
    const message = JSON.parse(line) as { readonly member?: unknown; readonly payload?: { readonly data?: unknown } }
    const data = message.member === 'PrepareForShutdown' ? message.payload?.data : undefined
    return Array.isArray(data) && typeof data[0] === 'boolean' ? data[0] : undefined
  } catch {
    return undefined // not ours
  }
}

/** How long logind lets itself be held up, ms; undefined when none answers. */
async function limitOf({ env }: LogindOptions): Promise<number | undefined> {
  const asked = await tryCommand('busctl', ['--system', 'get-property', ...LOGIND, 'InhibitDelayMaxUSec'], { timeoutMs: 30_000, ...(env && { env }) }).catch(() => undefined)
  const micros = /^t (\d+)$/.exec(asked?.stdout.trim() ?? '')?.[1]
  return micros === undefined ? undefined : Number(micros) / 1000
}

/** Gives logind a longer limit, and tells when it keeps the shorter one. */
async function raise(o: LogindOptions, former: number, wanted: number, signal: AbortSignal): Promise<void> {
  const directory = o.configDirectory ?? '/etc/systemd/logind.conf.d'
  let limit: number | undefined = former
  let why = 'it kept its setting'
  try {
    await mkdir(directory, { recursive: true })
    await writeFile(join(directory, '99-skerry.conf'), `# Written by skerry agent: as long as its pods may take to end (--shutdown-grace-period), and to be told.\n[Login]\nInhibitDelayMaxSec=${Math.ceil(wanted / 1000)}\n`)
    const told = await tryCommand('busctl', ['--system', 'call', ...SYSTEMD, 'KillUnit', 'ssi', 'systemd-logind.service', 'all', SIGHUP], { timeoutMs: 30_000, ...(o.env && { env: o.env }) })
    if (told.code !== 0) why = told.stderr.trim()
    const until = o.clock.monotonic() + RELOAD_MS
    while (told.code === 0 && ((limit = await limitOf(o)) ?? 0) < wanted && o.clock.monotonic() < until) await o.clock.sleep(RELOAD_LOOK_MS, signal)
  } catch (error) {
    if (isAbort(error)) return
    why = messageOf(error)
  }
  if ((limit ?? 0) >= wanted) return log.info('logind waits longer now', { seconds: Math.round((limit ?? 0) / 1000) })
  const message = `logind holds up a shutdown for ${Math.floor((limit ?? former) / 1000)} s, pods may take ${Math.ceil(wanted / 1000)} s (--shutdown-grace-period): those still ending then are cut short (${why}); set InhibitDelayMaxSec in logind.conf`
  log.warn(message)
  o.say('ShutdownGraceCut', message)
}
