/**
 * What went wrong with a pod's steps: when each is tried again, what a container that does not run shows meanwhile, and the Events
 * that say so, in the kubelet's words.
 */
import type { Container as ContainerSpec, Pod } from '../../api/gen/types.ts'
import { AppError, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { ImageFailure } from '../images.ts'
import { stepDelay } from './backoff.ts'
import type { PodContext } from './context.ts'
import { containersOf, keyOf, uidOf } from './names.ts'
import { byAttempt, type Action, type Plan } from './planner.ts'
import type { Waiting } from './status.ts'
import { StartFailure } from './steps.ts'
import { backoffMessage, fullName } from './words.ts'

const log = logger('agent.pods')
/** Failed steps other than starts: first wait and cap, ms. */
export const RETRY_FIRST_MS = 1_000
const RETRY_CAP_MS = 60_000
/** A container whose configuration is missing is tried again after this, or when the object appears, ms. */
const CONFIG_RETRY_MS = 10_000
/** How long `ErrImagePull` shows before it becomes `ImagePullBackOff`, ms. */
const PULL_ERROR_SHOWN_MS = 2_000

/** What the parts of a pod's worker share. */
export interface WorkerPart {
  readonly context: PodContext
  readonly pod: () => Readonly<Pod>
  /** The API has the pod no more. */
  readonly gone: () => boolean
  /** Steps that are being done. */
  readonly busy: Set<string>
  /** Soon looked at again. */
  readonly poke: () => void
  readonly say: (type: 'Normal' | 'Warning', reason: string, message: string, container?: ContainerSpec) => void
}

/** The failed steps of one pod; bounded by its containers. */
export class Troubles {
  readonly #w: WorkerPart
  readonly #failures = new Map<string, number>()
  readonly #said = new Map<string, number>()
  /** By step: not before this, ms wall clock. */
  readonly holds = new Map<string, number>()
  /** By container: why it does not run. */
  readonly waiting = new Map<string, Waiting>()

  constructor(worker: WorkerPart) {
    this.#w = worker
  }

  /** How often a step has failed since it was last done. */
  count(step: string): number {
    return this.#failures.get(step) ?? 0
  }

  /** A step was done. */
  over(step: string): void {
    this.#failures.delete(step)
    this.holds.delete(step)
  }

  /** A step failed: held for a while, and told. */
  failed(action: Action, step: string, error: unknown): void {
    const { say } = this.#w
    const failures = this.count(step) + 1
    this.#failures.set(step, failures)
    this.holds.set(step, this.#w.context.clock.now() + Math.min(RETRY_FIRST_MS * 2 ** (failures - 1), RETRY_CAP_MS))
    switch (action.type) {
      case 'start':
        return this.#startFailed(action.name, step, failures, error)
      case 'prepare':
        return say('Warning', error instanceof StartFailure ? error.reason : 'FailedMount', messageOf(error))
      case 'sandbox':
        return say('Warning', 'FailedCreatePodSandBox', `Failed to create pod sandbox: ${messageOf(error)}`)
      case 'kill':
        return say('Warning', 'FailedKillPod', `error killing pod: ${messageOf(error)}`)
      default:
        log.warn('step failed', { pod: keyOf(this.#w.pod()), step, error })
    }
  }

  #startFailed(name: string, step: string, failures: number, error: unknown): void {
    const { clock } = this.#w.context
    const spec = this.#spec(name)
    if (error instanceof ImageFailure) {
      this.holds.set(step, error.retryAtMs)
      this.waiting.set(name, { reason: error.reason, message: error.message })
      if (error.reason === 'ErrImagePull') clock.timer('pull error shown', PULL_ERROR_SHOWN_MS, () => this.#pullBackoff(name, error.message))
      else this.#w.say('Warning', 'Failed', `Error: ${error.reason}`, spec)
      return
    }
    if (error instanceof StartFailure) {
      const config = error.reason === 'CreateContainerConfigError'
      this.holds.set(step, clock.now() + (config ? CONFIG_RETRY_MS : stepDelay(failures)))
      this.waiting.set(name, { reason: error.reason, message: error.message })
      return this.#w.say('Warning', 'Failed', `Error: ${error.message}`, spec)
    }
    if (!(error instanceof AppError)) log.error('start failed', { pod: keyOf(this.#w.pod()), container: name, error })
    this.#w.say('Warning', 'Failed', `Error: ${messageOf(error)}`, spec)
  }

  #pullBackoff(name: string, message: string): void {
    if (this.waiting.get(name)?.reason !== 'ErrImagePull' || this.#w.busy.has(`container:${name}`) || this.#w.gone()) return
    const spec = this.#spec(name)
    this.waiting.set(name, { reason: 'ImagePullBackOff', message: `Back-off pulling image "${spec?.image}": ErrImagePull: ${message}` })
    this.#w.say('Normal', 'BackOff', `Back-off pulling image "${spec?.image}"`, spec)
    this.#w.say('Warning', 'Failed', 'Error: ImagePullBackOff', spec)
    this.#w.poke()
  }

  /** Why containers do not run, those between crashes included; their backoff is said as an Event once a wait. */
  waits(decided: Plan | undefined): ReadonlyMap<string, Waiting> {
    const waiting = new Map(this.waiting)
    for (const [name, until] of decided?.crashing ?? []) waiting.set(name, this.#crashing(name, until))
    return waiting
  }

  #crashing(name: string, until: number): Waiting {
    const pod = this.#w.pod()
    const ended = byAttempt(this.#w.context.view.pod(uidOf(pod)).containers.filter((c) => c.name === name))[0]
    const seconds = Math.round((until - (ended?.finishedAtMs ?? until)) / 1000)
    if (this.#said.get(name) !== until) {
      this.#said.set(name, until)
      this.#w.say('Warning', 'BackOff', `Back-off restarting failed container ${name} in pod ${fullName(pod)}`, this.#spec(name))
    }
    return { reason: 'CrashLoopBackOff', message: backoffMessage(pod, name, seconds) }
  }

  #spec(name: string): ContainerSpec | undefined {
    return containersOf(this.#w.pod()).find((c) => c.spec.name === name)?.spec
  }
}
