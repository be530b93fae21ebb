/**
 * A drill: the node loses power (and the line to its server, or its clock) for real, comes back from its disk, and every step
 * is timed. What it ends is this instance's alone. However it goes, the line is mended and an agent runs when it is over.
 *
 * - `offline-reboot`: the line is cut, power lost; timed until every pod and device is back without server, then the line.
 * - `power-loss`: the same with the server in reach.
 * - `clock`: `power-loss` twice, the node's clock in 1970 and 14 months ahead.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { AppError, hasCode } from '../../base/errors.ts'
import type { InstancePaths } from '../paths.ts'
import { installRoot } from '../wire/install.ts'
import { askAgent, type AgentStatus } from '../wire/node-status.ts'
import { cut, peersOf } from './line.ts'
import { end, findAgent, startAgain, tellManager, type RunningAgent } from './running.ts'

export const DRILLS = ['offline-reboot', 'power-loss', 'clock'] as const
export type DrillName = (typeof DRILLS)[number]

/** How often the agent is asked while it comes back, ms. */
const LOOK_MS = 50
/** Days that the clock is off in the drill `clock`: back to 1970 (from any date until 2100), and 14 months ahead. */
const CLOCKS: readonly (readonly [string, string])[] = [
  ['in 1970', '@1970-01-01 00:05:00'],
  ['14 months ahead', '+425d'],
]
const FAKETIME = ['x86_64', 'aarch64'].map((arch) => `/usr/lib/${arch}-linux-gnu/faketime/libfaketimeMT.so.1`)

export interface Step {
  readonly what: string
  /** Since the agent's start, or of the step itself when it is no part of the boot. */
  readonly ms: number
}

export interface DrillResult {
  readonly drill: DrillName
  readonly node: string
  readonly ok: boolean
  readonly pods: { readonly expected: number; readonly back: number }
  readonly devices: { readonly expected: number; readonly back: number }
  /** From the agent's start to everything back; the slowest boot of the drill. */
  readonly backMs: number
  readonly steps: readonly Step[]
  /** What did not come back in time. */
  readonly missing: readonly string[]
}

export interface DrillOptions {
  readonly paths: InstancePaths
  readonly drill: DrillName
  /** Longest wait for the node to be back. */
  readonly timeoutMs: number
  readonly signal: AbortSignal
  /** A step has been done. */
  tell(step: Step): void
}

/** What of the former state has to come back: Ready pods whose containers are started again, devices that were online. */
export function expected(before: AgentStatus): { pods: AgentStatus['pods']; devices: AgentStatus['devices'] } {
  return { pods: before.pods.filter((p) => p.ready && p.restarts), devices: before.devices.filter((d) => d.state === 'online' || d.state === 'ok') }
}

/** Names of what is back: the same pods, Ready in new containers. Those that ran before the power went are no proof. */
export function back(before: AgentStatus, now: AgentStatus): Set<string> {
  const want = expected(before)
  const names = new Set<string>()
  for (const was of want.pods) {
    const is = now.pods.find((p) => p.uid === was.uid)
    if (is?.ready && is.containers.length >= was.containers.length && !is.containers.some((c) => was.containers.includes(c))) names.add(`pod ${was.name}`)
  }
  for (const was of want.devices) if (now.devices.some((d) => d.name === was.name && d.state === was.state)) names.add(`device ${was.name}`)
  return names
}

/** Runs a drill on this machine. @throws AppError before anything was touched when it cannot be done here */
export async function runDrill(options: DrillOptions): Promise<DrillResult> {
  const { paths, drill, signal } = options
  const agent = findAgent(paths)
  const before = await askAgent(paths)
  const want = expected(before)
  if (want.pods.length === 0) throw new AppError('conflict', `drill ${drill}: no pod that restarts is Ready on node "${before.node}" (it has ${before.pods.length} pods), so nothing could come back: start some, or wait until they are Ready`)
  const faketime = FAKETIME.find((path) => existsSync(path))
  if (drill === 'clock' && faketime === undefined) throw new AppError('unsupported', `drill clock: libfaketime, which turns the agent's clock, is not installed: apt-get install -y faketime`)
  const peers = drill === 'offline-reboot' ? await peersOf(before.servers) : []

  const steps: Step[] = []
  const tell = (what: string, ms: number): void => {
    const step = { what, ms: Math.round(ms) }
    steps.push(step)
    options.tell(step)
  }
  let missing: string[] = []
  let count = 0
  let backMs = 0
  let mend = async (): Promise<void> => undefined
  await tellManager(agent.service?.stop)
  try {
    if (drill === 'offline-reboot') {
      const since = performance.now()
      mend = await cut(agent.netns, `skerry_drill_${createHash('sha256').update(paths.instance).digest('hex').slice(0, 8)}`, peers, Math.ceil(options.timeoutMs / 1000) + 120)
      tell(`the line to ${before.servers.join(', ')} is cut`, performance.now() - since)
    }
    const clocks = drill === 'clock' ? CLOCKS : [undefined]
    let from = before
    for (const clock of clocks) {
      if (clock) tell(`the clock is ${clock[0]}`, 0)
      const boot = await reboot(agent, from, options, tell, clock && { LD_PRELOAD: faketime as string, FAKETIME: clock[1], FAKETIME_DONT_FAKE_MONOTONIC: '1', FAKETIME_DONT_RESET: '1' })
      missing = [...missing, ...boot.missing]
      count = boot.back.size
      backMs = Math.max(backMs, boot.ms)
      from = boot.status
    }
    if (drill === 'offline-reboot') {
      await mend()
      mend = async () => undefined
      const ms = await connected(paths, options.timeoutMs, signal)
      if (ms === undefined) missing.push('connection to the server')
      else tell('connected to the server again', ms)
    }
  } finally {
    await mend()
    await leaveAsFound(agent, paths, drill === 'clock')
  }
  const total = want.pods.length + want.devices.length
  const devicesBack = Math.max(0, want.devices.length - missing.filter((m) => m.startsWith('device ')).length)
  const podsBack = Math.max(0, want.pods.length - new Set(missing.filter((m) => m.startsWith('pod '))).size)
  return {
    drill,
    node: before.node,
    ok: missing.length === 0 && count === total,
    pods: { expected: want.pods.length, back: podsBack },
    devices: { expected: want.devices.length, back: devicesBack },
    backMs: Math.round(backMs),
    steps,
    missing,
  }
}

interface Boot {
  readonly ms: number
  readonly back: Set<string>
  readonly missing: string[]
  readonly status: AgentStatus
}

async function reboot(agent: RunningAgent, before: AgentStatus, { paths, timeoutMs, signal }: DrillOptions, tell: (what: string, ms: number) => void, clock?: Readonly<Record<string, string>>): Promise<Boot> {
  const since = performance.now()
  await losePower(agent, paths)
  tell('power is gone: agent, containerd and all containers have ended, only the disk is left', performance.now() - since)
  const start = performance.now()
  startAgain(agent, clock)
  const want = expected(before)
  const names = [...want.pods.map((p) => `pod ${p.name}`), ...want.devices.map((d) => `device ${d.name}`)]
  let known = new Set<string>()
  let status = before
  for (let answered = false; known.size < names.length; await sleep(LOOK_MS)) {
    const ms = performance.now() - start
    if (ms > timeoutMs || signal.aborted) break
    const now = await askAgent(paths).catch((error: unknown) => {
      if (hasCode(error, 'unavailable')) return undefined // it has just begun
      throw error
    })
    if (!now) continue
    if (!answered) tell('the agent answers', performance.now() - start)
    answered = true
    const there = back(before, now)
    for (const name of there) if (!known.has(name)) tell(`${name} is back`, performance.now() - start)
    known = there
    status = now
  }
  const ms = performance.now() - start
  const missing = names.filter((n) => !known.has(n))
  tell(missing.length === 0 ? `all is back: pods ${want.pods.length}, devices ${want.devices.length}` : `not back: ${missing.join(', ')}`, ms)
  return { ms, back: known, missing, status }
}

/** Everything of this instance but its disk: what `killall.sh` ends, as a machine's loss of power would. */
async function losePower(agent: RunningAgent, paths: InstancePaths): Promise<void> {
  const script = join(installRoot(), 'script/killall.sh')
  if (!existsSync(script)) throw new AppError('not-found', `drill: "${script}" is missing: install Skerry again`)
  await promisify(execFile)(script, ['--data-dir', paths.data, '--netns', agent.netns], { timeout: 60_000 }).catch((error: { stderr?: string; message: string }) => {
    throw new AppError('internal', `drill: the node could not be ended: ${error.stderr?.trim() || error.message}`)
  })
}

/** Milliseconds until the agent has its server again. */
async function connected(paths: InstancePaths, timeoutMs: number, signal: AbortSignal): Promise<number | undefined> {
  const start = performance.now()
  while (performance.now() - start < timeoutMs && !signal.aborted) {
    if ((await askAgent(paths).catch(() => undefined))?.connected) return performance.now() - start
    await sleep(LOOK_MS)
  }
  return undefined
}

/** An agent runs, with the right clock, and under its service manager if it was. Pods go on meanwhile. */
async function leaveAsFound(agent: RunningAgent, paths: InstancePaths, wrongClock: boolean): Promise<void> {
  const now = await askAgent(paths).catch(() => undefined)
  const again = now === undefined || wrongClock || agent.service !== undefined
  if (!again) return
  if (now) await end(now.pid, 'SIGTERM')
  if (agent.service) await tellManager(agent.service.start)
  else startAgain(agent)
  for (let tries = 0; tries < 400 && !(await askAgent(paths).catch(() => undefined)); tries++) await sleep(LOOK_MS)
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
