/**
 * The agent that runs with a data directory, and how to start it again as it was: same program, arguments, environment,
 * directory, output and network. Read from /proc, so it does not matter who started it; a service manager is told to keep
 * its hands off meanwhile.
 */
import { execFile, spawn } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { AppError } from '../../base/errors.ts'
import type { InstancePaths } from '../paths.ts'

const run = promisify(execFile)

export interface RunningAgent {
  readonly pid: number
  readonly exe: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
  /** A path of its network namespace that stays good when it has ended, as long as this process lives. */
  readonly netns: string
  /** Its standard output, kept open. */
  readonly output: number
  /** How the machine's service manager stops and starts it; undefined when nobody manages it. */
  readonly service: { readonly stop: readonly string[]; readonly start: readonly string[] } | undefined
}

/** Pid of the process that holds a lock file of ours; undefined when it is gone. */
export function lockHolder(text: string, statOf: (pid: number) => string, boot: string): number | undefined {
  const [pid = '', started = ''] = text.trim().split(' ')
  if (!/^[1-9]\d*$/.test(pid)) return undefined
  const stat = statOf(Number(pid))
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields[0] !== 'Z' && `${fields[19]}@${boot}` === started ? Number(pid) : undefined
}

/** @throws AppError `unavailable` when no agent runs, `unsupported` when it is part of a server */
export function findAgent(paths: InstancePaths): RunningAgent {
  const pid = lockHolder(readOr(join(paths.data, 'agent/lock')), (p) => readOr(`/proc/${p}/stat`), readOr('/proc/sys/kernel/random/boot_id').trim())
  if (pid === undefined) throw new AppError('unavailable', `drill: no agent runs with the data directory "${paths.data}": start it first, or name its --data-dir`)
  const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(1, -1)
  if (!args.includes('agent')) throw new AppError('unsupported', `drill: the node is part of its server here (process ${pid}), so nothing would be left to time it by: drill a machine that runs \`skerry agent\``)
  return {
    pid,
    exe: readlinkSync(`/proc/${pid}/exe`),
    args,
    env: Object.fromEntries(readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').filter((e) => e.includes('=')).map((e) => [e.slice(0, e.indexOf('=')), e.slice(e.indexOf('=') + 1)])),
    cwd: readlinkSync(`/proc/${pid}/cwd`),
    netns: `/proc/${process.pid}/fd/${openSync(`/proc/${pid}/ns/net`, 'r')}`,
    output: openSync(outputOf(pid), 'a'),
    service: serviceOf(readOr(`/proc/${pid}/cgroup`), existsSync('/run/systemd/system'), existsSync('/run/openrc/started/skerry-agent')),
  }
}

/** The manager that would start the agent again by itself. */
export function serviceOf(cgroups: string, systemd: boolean, openrc: boolean): RunningAgent['service'] {
  const unit = systemd ? /\/([\w@:.\\-]+\.service)$/m.exec(cgroups)?.[1] : undefined
  if (unit !== undefined) return { stop: ['systemctl', 'stop', unit], start: ['systemctl', 'start', unit] }
  return openrc ? { stop: ['rc-service', 'skerry-agent', 'stop'], start: ['rc-service', 'skerry-agent', 'start'] } : undefined
}

/** Starts the agent as it was, apart from this process; `added` goes over its environment. */
export function startAgain(agent: RunningAgent, added: Readonly<Record<string, string>> = {}): number {
  const child = spawn('nsenter', [`--net=${agent.netns}`, agent.exe, ...agent.args], {
    cwd: agent.cwd,
    env: { ...agent.env, ...added },
    stdio: ['ignore', agent.output, agent.output],
    detached: true,
  })
  child.on('error', () => undefined) // told by nobody answering
  child.unref()
  return child.pid ?? 0
}

/** Tells the service manager, if there is one. @throws AppError with its words */
export async function tellManager(command: readonly string[] | undefined): Promise<void> {
  const [program, ...args] = command ?? []
  if (program === undefined) return
  await run(program, args, { timeout: 120_000 }).catch((error: { stderr?: string; message: string }) => {
    throw new AppError('internal', `drill: \`${[program, ...args].join(' ')}\` failed: ${error.stderr?.trim() || error.message}`)
  })
}

/** Ends the process and waits until it is gone. */
export async function end(pid: number, signal: NodeJS.Signals): Promise<void> {
  try {
    process.kill(pid, signal)
    for (let tries = 0; tries < 300 && !/^$|\) Z /.test(readOr(`/proc/${pid}/stat`)); tries++) await new Promise((resolve) => setTimeout(resolve, 100))
  } catch {
    // It has ended already.
  }
}

/** Where its output went, if that can be opened again; else its log in the data directory is nowhere. */
function outputOf(pid: number): string {
  try {
    closeSync(openSync(`/proc/${pid}/fd/1`, 'a'))
    return `/proc/${pid}/fd/1`
  } catch {
    return '/dev/null' // a socket of the journal, or a pipe whose reader has gone
  }
}

function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
