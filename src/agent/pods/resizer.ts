/**
 * The hands of a pod's in-place resize: takes up what fits, gives it to the containers that can have it while they run, and tells how
 * far it is. What is decided stands in `resize.ts`.
 */
import type { Pod } from '../../api/gen/types.ts'
import { messageOf } from '../../base/errors.ts'
import { isWait } from './backoff.ts'
import { containersOf, keyOf, uidOf } from './names.ts'
import { needsRestart, Resizes } from './resize.ts'
import type { StatusInput } from './status.ts'
import type { Steps } from './steps.ts'
import type { WorkerPart } from './troubles.ts'

/** A resize that has to wait, or failed, is tried again after this, ms. */
const AGAIN_MS = 10_000

/** The resize of one pod; see the header. */
export class Resizer {
  readonly #w: WorkerPart
  readonly #steps: () => Steps
  readonly #resizes = new Resizes()
  #resizing = false
  #heldUntil: number | undefined
  /** Generation of the pod whose larger limits its cgroup has. */
  #roomFor: number | undefined

  constructor(worker: WorkerPart, steps: () => Steps) {
    this.#w = worker
    this.#steps = steps
  }

  /** The pod with what it was given. */
  get allocated(): Readonly<Pod> {
    return this.#resizes.allocated(this.#w.pod())
  }

  /** A container must start anew to have its new resources. */
  readonly restarts: NonNullable<StatusInput['resized']> = (c) => this.#resizes.restarts(this.#w.pod(), c)

  /** A hold is over: what failed is tried with the next look. */
  release(): void {
    this.#heldUntil = undefined
  }

  /** When to look again, ms wall clock. */
  wakeAt(now: number): number | undefined {
    const times = [this.#resizes.pending && now + AGAIN_MS, this.#heldUntil].filter((at) => at !== undefined)
    return times.length === 0 ? undefined : Math.min(...times)
  }

  /** What the status says of it. */
  get told(): NonNullable<StatusInput['resources']> {
    return {
      applied: (c) => this.#resizes.applied(this.#w.pod(), c),
      allocated: (name) => containersOf(this.allocated).find((c) => c.spec.name === name)?.spec.resources,
      pending: this.#resizes.pending,
      inProgress: this.#resizing,
      failure: this.#resizes.failure,
    }
  }

  /** Takes up other resources when they fit, and gives them to the containers that can have them while they run. */
  look(now: number): void {
    const { context, busy, say } = this.#w
    const pod = this.#w.pod()
    const { containers } = context.view.pod(uidOf(pod))
    this.#resizes.forget(containers)
    const before = this.#resizes.pending
    this.#resizes.consider(pod, (wanted) => context.node.cannotGrow(wanted))
    const { pending } = this.#resizes
    if (pending && pending.message !== before?.message) say('Warning', `Resize${pending.reason}`, `Pod resize ${pending.reason}: ${pending.message}`)
    const open = this.#resizes.open(pod, containers)
    if (open.length === 0 && !this.#resizing) return
    this.#resizing = true
    const inPlace = open.filter((r) => !needsRestart(r.spec, r.changed))
    // With containers that start anew for it there is nothing left to do here once the pod's cgroup has room for them.
    const waits = open.length > 0 && inPlace.length === 0 && this.#roomFor === pod.metadata?.generation
    if (waits || busy.has('resize') || isWait(this.#heldUntil ?? 0, now)) return
    busy.add('resize')
    const generation = pod.metadata?.generation
    context.scope.run(`${keyOf(pod)} resize`, async (signal) => {
      try {
        await this.#steps().resize(this.#resizes.former(this.#w.pod(), containers), inPlace, inPlace.length === open.length, (id, resources) => this.#resizes.has(id, resources))
        this.#resizes.failure = undefined
        this.#heldUntil = undefined
        this.#roomFor = generation
        if (open.length === 0) {
          this.#resizing = false
          say('Normal', 'ResizeCompleted', 'Pod resize completed')
        }
      } catch (error) {
        if (!signal.aborted) this.#failed(messageOf(error))
      }
      busy.delete('resize')
      this.#w.poke()
    })
  }

  #failed(why: string): void {
    this.#heldUntil = this.#w.context.clock.now() + AGAIN_MS
    if (this.#resizes.failure !== why) this.#w.say('Warning', 'ResizeError', `Pod resize error: ${why}`)
    this.#resizes.failure = why
  }
}
