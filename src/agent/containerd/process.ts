/**
 * A daemon that outlives its starter: started in a session of its own, found again by a pid file that also holds the
 * process's start time (pids are reused) and a hash of its configuration. Used by the containerd supervisor.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { writeFileAtomic } from '../../base/atomic-file.ts'
import type { Clock } from '../../base/clock.ts'
import { AppError } from '../../base/errors.ts'
import type { InstancePaths } from './paths.ts'

export interface Daemon {
  readonly pid: number
  /** Start time in clock ticks since boot, from /proc; with the pid it names a process for good. */
  readonly startTime: string
  readonly configHash: string
  /** Set while we are its parent. */
  readonly child?: ChildProcess
}

/** How often an adopted daemon, whose exit nobody tells us, is looked at, ms. */
const WATCH_MS = 2000

/** Starts detached, output appended to `log`. */
export async function startDaemon(options: {
  program: string
  args: readonly string[]
  env: Readonly<Record<string, string>>
  log: string
  pidFile: string
  configHash: string
}): Promise<Daemon> {
  const log = openSync(options.log, 'a', 0o600)
  let child: ChildProcess
  try {
    child = spawn(options.program, options.args, { detached: true, stdio: ['ignore', log, log], env: options.env, cwd: '/' })
  } finally {
    closeSync(log)
  }
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', (error) => reject(new AppError('internal', `start ${options.program}: ${error.message}`, { cause: error })))
  })
  child.unref()
  const pid = child.pid as number
  const daemon = { pid, startTime: startTimeOf(pid) ?? '', configHash: options.configHash, child }
  // Not synced: after a power loss the process is gone and so is the tmpfs the file is on.
  await writeFileAtomic(options.pidFile, JSON.stringify({ ...daemon, child: undefined }), { sync: false })
  return daemon
}

/** The daemon a pid file names, if that very process still lives. */
export function findDaemon(pidFile: string): Daemon | undefined {
  try {
    const { pid, startTime, configHash } = JSON.parse(readFileSync(pidFile, 'utf8')) as Daemon
    return startTimeOf(pid) === startTime ? { pid, startTime, configHash } : undefined
  } catch {
    // No file, or not ours: there is no such daemon.
    return undefined
  }
}

/** Processes whose command line holds all of `words`, e.g. when the pid file is lost but the daemon is not. */
export function findByCommandLine(words: readonly string[]): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
        return words.every((w) => argv.includes(w))
      } catch {
        return false // ended while we looked
      }
    })
}

/**
 * Pids of an instance: its shims, what they hold, and all in its cgroups (containers whose shim is gone are known by
 * those alone); with `daemon` containerd itself too. No zombies: they hold nothing and are their parent's to bury.
 */
export function instancePids(paths: Pick<InstancePaths, 'socket' | 'config' | 'cgroupRoot'>, daemon: boolean): number[] {
  const processes = readdirSync('/proc').filter((n) => /^\d+$/.test(n)).flatMap((pid) => {
    try {
      const [state, parent] = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ')
      if (state === 'Z') return []
      const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
      const cgroups = readFileSync(`/proc/${pid}/cgroup`, 'utf8')
      return [{ pid: Number(pid), parent: Number(parent), own: argv.includes(paths.socket) || cgroups.includes(`:${paths.cgroupRoot}/`), daemon: argv.includes(paths.config) }]
    } catch {
      return [] // ended while we looked
    }
  })
  const own = new Set(processes.filter((p) => p.own || (daemon && p.daemon)).map((p) => p.pid))
  for (let size = 0; size !== own.size; ) {
    size = own.size
    for (const p of processes) if (own.has(p.parent)) own.add(p.pid)
  }
  return [...own]
}

/** Resolves when the daemon has ended. */
export async function daemonEnd(daemon: Daemon, clock: Clock, signal: AbortSignal): Promise<void> {
  const { child } = daemon
  if (child) {
    await new Promise<void>((resolve, reject) => {
      if (child.exitCode !== null || child.signalCode !== null) return resolve()
      const onExit = (): void => {
        signal.removeEventListener('abort', onAbort)
        resolve()
      }
      const onAbort = (): void => {
        child.off('exit', onExit)
        reject(signal.reason as Error)
      }
      if (signal.aborted) return reject(signal.reason as Error)
      child.once('exit', onExit)
      signal.addEventListener('abort', onAbort, { once: true })
    })
    return
  }
  while (startTimeOf(daemon.pid) === daemon.startTime) await clock.sleep(WATCH_MS, signal)
}

/** SIGTERM, then SIGKILL after `graceMs`; removes the pid file when it has ended. */
export async function stopDaemon(daemon: Pick<Daemon, 'pid' | 'startTime'>, pidFile: string, clock: Clock, graceMs = 5000): Promise<void> {
  const alive = (): boolean => startTimeOf(daemon.pid) === daemon.startTime
  for (const [name, wait] of [['SIGTERM', graceMs], ['SIGKILL', 5000]] as const) {
    const end = clock.monotonic() + wait
    try {
      if (alive()) process.kill(daemon.pid, name)
    } catch {
      break // ended between the look and the signal
    }
    while (alive() && clock.monotonic() < end) await clock.sleep(20)
  }
  if (alive()) throw new AppError('timeout', `stop process ${daemon.pid}: it survived SIGKILL for 5 s, it hangs in the kernel; see its stack in /proc/${daemon.pid}/stack`)
  await rm(pidFile, { force: true })
}

/** Start time of a live process in clock ticks since boot; undefined when it is gone or a zombie. */
export function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The command in brackets may hold spaces; fields count from behind it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19]
  } catch {
    return undefined
  }
}
