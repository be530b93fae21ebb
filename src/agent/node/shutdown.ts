/**
 * The machine goes down: pods end first, those that are not critical, then the critical ones, each within its part of the time.
 * The node says that it is not ready, and lets no pod in. What ended so is Failed, for its controller to replace elsewhere; a pod
 * whose end could not be told (the server is away) starts again when the machine does.
 */
import type { Pod } from '../../api/gen/types.ts'
import type { Clock } from '../../base/clock.ts'
import { logger } from '../../base/log.ts'
import type { Scope } from '../../base/scope.ts'
import { uidOf } from '../pods/names.ts'
import type { Verdict } from '../pods/status.ts'
import { isCritical } from './eviction.ts'

const log = logger('agent.shutdown')
const LOOK_MS = 200
/** How long the last statuses may take to be written, ms. */
const TELL_MS = 5_000

/** What the node says of itself meanwhile, and of a pod that comes then: the kubelet's words. */
export const SHUTTING_DOWN = 'node is shutting down'
export const NODE_SHUTDOWN: Verdict = { reason: 'NodeShutdown', message: 'Pod was rejected as the node is shutting down.', refused: true }
const MESSAGE = 'Pod was terminated in response to imminent node shutdown.'

export interface ShutdownOptions {
  readonly clock: Clock
  /** Time of all, and the part of it that is kept for critical pods, ms. */
  readonly graceMs: number
  readonly criticalMs: number
  readonly running: () => readonly Readonly<Pod>[]
  readonly end: (uid: string, verdict: Verdict) => boolean
  readonly gone: (uid: string) => boolean
  /** Statuses that wait to be written. */
  readonly untold: () => number
}

/** Ends all pods; resolves when they have ended and the API knows, or when time is over. */
export async function shutDown(o: ShutdownOptions, signal: AbortSignal): Promise<void> {
  const until = async (deadline: number, done: () => boolean): Promise<void> => {
    while (!done() && o.clock.monotonic() < deadline) await o.clock.sleep(LOOK_MS, signal)
  }
  for (const [critical, ms] of [[false, o.graceMs - o.criticalMs], [true, o.criticalMs]] as const) {
    const pods = o.running().filter((p) => isCritical(p) === critical)
    const graceSeconds = (p: Readonly<Pod>): number => Math.min(p.spec?.terminationGracePeriodSeconds ?? 30, Math.floor(ms / 1000))
    for (const p of pods) o.end(uidOf(p), { reason: 'Terminated', message: MESSAGE, graceSeconds: graceSeconds(p), disrupts: true })
    log.info('pods end, as the machine goes down', { critical, pods: pods.length })
    await until(o.clock.monotonic() + ms, () => pods.every((p) => o.gone(uidOf(p))))
  }
  await until(o.clock.monotonic() + TELL_MS, () => o.untold() === 0)
  log.info('pods have ended, the machine may go down')
}

/** Whether the machine goes down; it may stay up after all. */
export class GoingDown {
  readonly #o: ShutdownOptions
  readonly #onChange: () => void
  #agent: Scope | undefined
  #work: { readonly stop: AbortController; readonly done: Promise<void> } | undefined

  constructor(options: ShutdownOptions & { readonly onChange: () => void }) {
    this.#o = options
    this.#onChange = options.onChange
  }

  /** From now on it can begin, as part of the agent's work. */
  attach(agent: Scope): void {
    this.#agent = agent
  }

  get now(): boolean {
    return this.#work !== undefined
  }

  /** Pods end; resolves when they have, or time is over. Without time for it nothing happens. */
  begin(): Promise<void> {
    if (!this.#agent || this.#o.graceMs === 0) return Promise.resolve()
    if (this.#work) return this.#work.done
    const stop = new AbortController()
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#work = { stop, done: promise }
    this.#onChange()
    this.#agent.run('shutdown', (signal) => {
      const either = AbortSignal.any([signal, stop.signal])
      return shutDown(this.#o, either).catch((error: unknown) => {
        if (!either.aborted) throw error
      }).finally(resolve)
    })
    return promise
  }

  /** It did not come to that: the node takes pods again. Those that were ended stay so. */
  cancel(): void {
    if (!this.#work) return
    this.#work.stop.abort()
    this.#work = undefined
    log.info('the machine stays up, pods are taken again')
    this.#onChange()
  }
}
