/**
 * An installed agent that follows its server's version: `kubectl annotate node NAME skerry.io/upgrade=server`. It fetches the server's own
 * program into the place that is not in use, checks every file, lets it say its version, turns the link and ends; the service manager starts
 * what the link names. On trial the new one must reach the server and see there its own node Ready by its own word; else it goes back, and says
 * why on the Node. Pods know nothing of it. What a crash or a hang needs is in `script/start.sh`, outside either program.
 */
import { spawn } from 'node:child_process'
import { mkdir, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Node } from '../../api/gen/types.ts'
import { PATHS } from '../../api/contract.ts'
import type { Clock } from '../../base/clock.ts'
import { AppError, isAbort, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { waitAfter, type RetrySchedule } from '../../base/retry.ts'
import type { Client, EventRecorder } from '../../client/mod.ts'
import { NODES } from '../refs.ts'
import type { Failed, Program, Trial } from './program.ts'
import { checkRelease, type Offer } from '../../base/release.ts'

const log = logger('agent.upgrade')

/** Asks for it: the value `server`. */
export const ANN_UPGRADE = 'skerry.io/upgrade'
/** Which program the node runs: version and the beginning of its release's id. Written by the agent. */
export const ANN_RELEASE = 'skerry.io/release'
/** Why the node does not run what it was asked to. Written by the agent. */
export const ANN_UPGRADE_FAILED = 'skerry.io/upgrade-failed'

/** One that had no link to the server may be tried again after this time, ms. */
const AGAIN_MS = 3_600_000
/** How often the server is asked by a node that follows it, beside each time they are connected anew, ms. */
const LOOK_MS = 1_800_000
const POLL_MS = 1_000
/** A fleet that is connected anew in one moment does not fetch in one moment. */
const FETCH: RetrySchedule = { firstMs: 5_000, factor: 2, maxMs: 600_000, jitter: 0.8 }
/** Beyond what the program takes: room for what the node writes meanwhile, bytes. */
const SPARE = 64 << 20
const START_MS = 30_000

export interface UpgraderOptions {
  readonly nodeName: string
  readonly program: Program
  /** What runs now. */
  readonly own: Offer
  /** The node as it is known here. */
  readonly node: () => Readonly<Node> | undefined
  readonly client: Client
  readonly events: EventRecorder
  readonly clock: Clock
  readonly online: () => boolean
  /** The server's answer to a GET; the body must be read. */
  readonly get: (path: string, signal: AbortSignal) => Promise<{ readonly status: number; readonly body: AsyncIterable<Buffer> }>
  /** Ends this process in order; the service manager starts it again. */
  readonly restart: () => void
  /** Who starts it again, like `systemd`; undefined: nobody. */
  readonly restartedBy: string | undefined
  /** Time that a new program has to prove itself, s. */
  readonly trialSeconds: number
}

export type Step = { readonly act: 'rest' | 'forgive' | 'fetch' } | { readonly act: 'tell'; readonly why: string }

/** What is to be done about an offer. */
export function nextStep(now: { readonly wanted: string | undefined; readonly own: Offer; readonly offer: Offer | undefined; readonly failed: Failed | undefined; readonly restartedBy: string | undefined; readonly nowMs: number }): Step {
  const { wanted, own, offer, failed } = now
  if (wanted === undefined) return { act: failed ? 'forgive' : 'rest' }
  if (wanted !== 'server') return { act: 'tell', why: `${ANN_UPGRADE} "${wanted}" is not "server", the only version a node can follow` }
  if (now.restartedBy === undefined) return { act: 'tell', why: 'nothing starts this agent again when it ends: install it as a service (install.sh where systemd or openrc runs)' }
  if (!offer || offer.id === own.id) return { act: 'rest' }
  if (failed?.id !== offer.id || (failed.again && now.nowMs - failed.atMs >= AGAIN_MS)) return { act: 'fetch' }
  return { act: 'tell', why: `${name(offer)} was given up: ${failed.why}${failed.again ? '; it is tried again an hour later' : `; take ${ANN_UPGRADE} away and set it again to try once more`}` }
}

const name = (o: { readonly version: string; readonly id: string }): string => `${o.version}+${o.id.slice(0, 12)}`

/** See the header. */
export class Upgrader {
  readonly #o: UpgraderOptions
  #wake = new AbortController()
  #wanted: string | undefined
  #failures = 0

  constructor(options: UpgraderOptions) {
    this.#o = options
  }

  /** The link is back. */
  kick(): void {
    this.#wake.abort()
  }

  /** The Node changed: its status does all the time. */
  nodeChanged(node: Readonly<Node> | undefined): void {
    const wanted = node?.metadata?.annotations?.[ANN_UPGRADE]
    if (node && wanted !== this.#wanted) this.kick()
    this.#wanted = wanted
  }

  async run(signal: AbortSignal): Promise<void> {
    const trial = await this.#o.program.trial()
    if (trial && !(await this.#prove(trial, signal))) return
    while (!signal.aborted) {
      let waitMs = LOOK_MS
      if (this.#o.online() && this.#o.node()) {
        try {
          if (await this.#look(signal)) return
          this.#failures = 0
        } catch (error) {
          if (signal.aborted) return
          waitMs = waitAfter(FETCH, ++this.#failures)
          log.warn('upgrade not done, trying again', { error: messageOf(error), nextTryMs: Math.round(waitMs) })
          await this.#tell(messageOf(error)).catch(() => undefined)
        }
      }
      this.#wake = new AbortController()
      await this.#o.clock.sleep(waitMs, AbortSignal.any([signal, this.#wake.signal])).catch(() => undefined)
      // What comes together is looked at once.
      if (!signal.aborted) await this.#o.clock.sleep(POLL_MS, signal).catch(() => undefined)
    }
  }

  /** True when the new program is in place and this one ends. */
  async #look(signal: AbortSignal): Promise<boolean> {
    const { program, own, restartedBy, clock } = this.#o
    const wanted = this.#o.node()?.metadata?.annotations?.[ANN_UPGRADE]
    const failed = await program.failed()
    const offer = wanted === 'server' ? await this.#offer(signal) : undefined
    const step = nextStep({ wanted, own, offer, failed, restartedBy, nowMs: clock.now() })
    switch (step.act) {
      case 'forgive':
        await program.forgive()
        break
      case 'tell':
        await this.#tell(step.why)
        return false
      case 'fetch':
        if (offer) return await this.#upgrade(offer, signal)
        break
      default:
    }
    await this.#tell(undefined)
    return false
  }

  async #offer(signal: AbortSignal): Promise<Offer & { readonly bytes: number }> {
    const { status, body } = await this.#o.get(`${PATHS.bundle}skerry-${this.#o.own.arch}.json`, signal)
    let text = ''
    for await (const chunk of body) if ((text += chunk.toString()).length > 65_536) break
    if (status !== 200) throw new AppError('unavailable', `ask the server for its release: it answered ${status} ${text.trim().slice(0, 200)}`)
    const { version, arch, id, bytes } = JSON.parse(text) as Partial<Offer & { bytes: number }>
    if (typeof version !== 'string' || arch !== this.#o.own.arch || !/^[0-9a-f]{64}$/.test(id ?? '') || typeof bytes !== 'number') throw new AppError('corrupt', `ask the server for its release: "${text.slice(0, 200)}" is not one for ${this.#o.own.arch}`)
    return { version, arch, id: id as string, bytes }
  }

  async #upgrade(offer: Offer & { readonly bytes?: number }, signal: AbortSignal): Promise<boolean> {
    const { program, own, clock } = this.#o
    const place = program.path(program.other)
    log.info('fetching another version', { from: name(own), to: name(offer) })
    await rm(place, { recursive: true, force: true })
    const { bavail, bsize } = await statfs(program.root)
    if (bavail * bsize < (offer.bytes ?? 0) + SPARE) throw new AppError('full', `fetch ${name(offer)}: ${program.root} has ${Math.round((bavail * bsize) / 1e6)} MB free, it needs ${Math.round(((offer.bytes ?? 0) + SPARE) / 1e6)}`)
    await this.#fetch(place, signal)
    try {
      await checkRelease(place, offer.id)
      await said(join(place, 'bin/skerry'), ['version'])
      await said('sync', ['-f', place])
    } catch (error) {
      // Not the line: it would be the same the next time.
      await program.refuse({ id: offer.id, version: offer.version, why: messageOf(error), atMs: clock.now(), again: false })
      await rm(place, { recursive: true, force: true })
      throw error
    }
    signal.throwIfAborted()
    this.#say('Normal', 'UpgradeStarted', `${name(own)} makes way for ${name(offer)}, on trial for ${this.#o.trialSeconds} s`)
    await program.turn(offer, this.#o.trialSeconds)
    this.#o.restart()
    return true
  }

  async #fetch(place: string, signal: AbortSignal): Promise<void> {
    const act = 'fetch the server’s program'
    const { status, body } = await this.#o.get(`${PATHS.bundle}skerry-${this.#o.own.arch}.tar.gz`, signal)
    if (status !== 200) {
      let text = ''
      for await (const chunk of body) if ((text += chunk.toString()).length > 1_000) break
      throw new AppError('unavailable', `${act}: it answered ${status} ${text.trim()}`)
    }
    await mkdir(place, { recursive: true, mode: 0o755 })
    const tar = spawn('tar', ['-xzf', '-', '--no-same-owner', '-C', place], { stdio: ['pipe', 'ignore', 'ignore'] })
    const code = new Promise<number | null>((resolve, reject) => tar.once('close', resolve).once('error', reject))
    try {
      await pipeline(Readable.from(body, { objectMode: false }), tar.stdin, { signal })
    } catch (cause) {
      tar.kill('SIGKILL')
      await code.catch(() => undefined)
      if (isAbort(cause)) throw cause
      throw new AppError('unavailable', `${act}: it was cut short`, { cause })
    }
    if ((await code) !== 0) throw new AppError('unavailable', `${act}: what came is not a whole archive`)
  }

  /** False when the program was given up. */
  async #prove(trial: Trial, signal: AbortSignal): Promise<boolean> {
    const { clock, program, own } = this.#o
    const since = clock.now()
    const end = clock.monotonic() + trial.seconds * 1000
    let linked = false
    let seen = 'it never had a link to its server'
    log.info('on trial', { release: name(own), seconds: trial.seconds })
    while (clock.monotonic() < end) {
      if (this.#o.online()) {
        linked = true
        try {
          const problem = await this.#problem(since)
          if (problem === undefined) {
            await program.confirm()
            log.info('this version has proved itself', { release: name(own) })
            this.#say('Normal', 'UpgradeConfirmed', `${name(own)} runs: linked to its server, node Ready`)
            await this.#tell(undefined).catch(() => undefined)
            return true
          }
          seen = problem
        } catch (error) {
          if (signal.aborted) return false
          seen = messageOf(error)
        }
      }
      await clock.sleep(POLL_MS, signal).catch(() => undefined)
      if (signal.aborted) return false
    }
    log.error('this version is given up', { release: name(own), why: seen })
    await program.goBack(trial, `it did not prove itself within ${trial.seconds} s: ${seen}`, clock.now(), !linked)
    this.#o.restart()
    return false
  }

  /** What the server says against this program; undefined when it has this node as Ready, by a status that this process wrote. */
  async #problem(since: number): Promise<string | undefined> {
    const nodes = this.#o.client.resource<Node>(NODES)
    const node = await nodes.get(this.#o.nodeName)
    const ready = node.status?.conditions?.find((c) => c.type === 'Ready')
    if (ready?.status !== 'True') return `the server has its node as ${ready ? `not Ready: ${ready.message}` : 'without a Ready condition'}`
    // Whole seconds in the status.
    if (Date.parse(ready.lastHeartbeatTime ?? '') < Math.floor(since / 1000) * 1000) return 'its node is Ready by the word of the version before'
    return undefined
  }

  /** The Node says what runs and what keeps it from what was asked; written when it changed. */
  async #tell(why: string | undefined): Promise<void> {
    const has = this.#o.node()?.metadata?.annotations ?? {}
    const release = name(this.#o.own)
    if (has[ANN_RELEASE] === release && has[ANN_UPGRADE_FAILED] === why) return
    if (why !== undefined && has[ANN_UPGRADE_FAILED] !== why) this.#say('Warning', 'UpgradeFailed', why)
    await this.#o.client.resource<Node>(NODES).patch(this.#o.nodeName, undefined, { metadata: { annotations: { [ANN_RELEASE]: release, [ANN_UPGRADE_FAILED]: why ?? null } } }, 'merge')
  }

  #say(type: 'Normal' | 'Warning', reason: string, message: string): void {
    const { nodeName } = this.#o
    this.#o.events.event({ apiVersion: 'v1', kind: 'Node', name: nodeName, uid: this.#o.node()?.metadata?.uid ?? nodeName }, type, reason, message)
  }
}

/** Runs a program to its end. @throws AppError with what it said when it fails or is not over in 30 s */
async function said(program: string, args: readonly string[]): Promise<void> {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: START_MS, killSignal: 'SIGKILL' })
  let text = ''
  child.stderr.on('data', (c: Buffer) => (text = (text + c.toString()).slice(-500)))
  const code = await new Promise<number | null>((resolve, reject) => child.once('close', resolve).once('error', reject)).catch((cause: unknown) => {
    throw new AppError('corrupt', `try the new version: ${program} does not start`, { cause })
  })
  if (code !== 0) throw new AppError('corrupt', `try the new version: "${program} ${args.join(' ')}" ended with ${code ?? 'no answer'}${text === '' ? '' : `: ${text.trim()}`}`)
}
