/**
 * One pod on this node. `sync` looks at the world, plans, starts the planned steps in the background and publishes the
 * status; every end of a step, event, changed object or wake-up syncs again. It never blocks and may run any number of times.
 *
 * A step on the runtime stays `busy` until a list made after its end is in, so it cannot be planned twice from an old view.
 * Long because: it is the one place where a pod's plan, steps, failures and status meet; each of them is a file of its own.
 */
import type { Container as ContainerSpec, Pod, PodStatus } from '../../api/gen/types.ts'
import type { Timer } from '../../base/clock.ts'
import { AppError, isAbort, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { ImageFailure } from '../images.ts'
import { DEADLINE_EXCEEDED, deadlineOf, refusal } from './admit.ts'
import { stepDelay } from './backoff.ts'
import type { PodContext } from './context.ts'
import { containersOf, formerStatus, graceOf, isTerminal, keyOf, uidOf } from './names.ts'
import { byAttempt, plan, stepOf, type Action, type Plan } from './planner.ts'
import { needsRestart, Resizes } from './resize.ts'
import { podStatus, type Verdict, type Waiting } from './status.ts'
import { StartFailure, Steps } from './steps.ts'
import { hasStorageLimits, overStorage, STORAGE_LOOK_MS } from './storage-limits.ts'
import { aboutPod, backoffMessage, fullName } from './words.ts'

const log = logger('agent.pods')
/** Failed steps other than starts: first wait and cap, ms. */
const RETRY_FIRST_MS = 1_000
const RETRY_CAP_MS = 60_000
/** A container whose configuration is missing is tried again after this, or when the object appears, ms. */
const CONFIG_RETRY_MS = 10_000
/** A resize that has to wait, or failed, is tried again after this, ms. */
const RESIZE_AGAIN_MS = 10_000
/** How long `ErrImagePull` shows before it becomes `ImagePullBackOff`, ms. */
const PULL_ERROR_SHOWN_MS = 2_000

/** Works on one uid until the pod is gone from the API and from this machine; then calls `onDone` once, with false when something of it stays for now. */
export class PodWorker {
  readonly uid: string
  readonly #c: PodContext
  readonly #steps: Steps
  readonly #onDone: (clean: boolean) => void
  readonly #busy = new Set<string>()
  readonly #holds = new Map<string, number>()
  readonly #failures = new Map<string, number>()
  readonly #waiting = new Map<string, Waiting>()
  readonly #said = new Map<string, number>()
  readonly #probing = new Set<string>()
  readonly #named = new Set<string>()
  readonly #startedAtMs: number
  readonly #resizes = new Resizes()
  #resizing = false
  /** Generation of the pod whose larger limits its cgroup has. */
  #roomFor: number | undefined
  #starts = new AbortController()
  #pod: Readonly<Pod>
  #gone = false
  #verdict: Verdict | undefined
  #judged = false
  #endingSince: number | undefined
  #weigher: Timer | undefined
  #prepared = false
  #placed = false
  #stale = false
  #finished = false
  #clean = true
  #ended = false
  #final: PodStatus | undefined
  #timer: Timer | undefined
  #queued = false

  constructor(context: PodContext, pod: Readonly<Pod>, onDone: (clean: boolean) => void) {
    this.uid = uidOf(pod)
    this.#c = context
    this.#pod = pod
    this.#onDone = onDone
    this.#startedAtMs = context.clock.now()
    this.#steps = new Steps({
      context,
      pod: () => this.#resizes.allocated(this.#pod),
      named: (kind, name) => this.#named.add(`${kind}/${name}`),
      say: (type, reason, message, container) => this.#say(type, reason, message, container),
    })
  }

  get pod(): Readonly<Pod> {
    return this.#pod
  }

  get gone(): boolean {
    return this.#gone
  }

  /** The API's newest word: the pod, or undefined when it is gone. */
  update(pod: Readonly<Pod> | undefined): void {
    const before = graceOf(this.#pod)
    // Labels and annotations are shown by downward API volumes.
    if (pod && shown(pod) !== shown(this.#pod)) this.#stale = true
    if (pod) this.#pod = pod
    else this.#gone = true
    if (this.#ending) this.#starts.abort()
    if (this.#ending && graceOf(this.#pod) < before) this.#hurryKills(graceOf(this.#pod))
    if (this.#gone && this.#finished) return this.#done()
    this.poke()
  }

  /** A ConfigMap or Secret changed. */
  objectChanged(kind: string, name: string): void {
    if (!this.#named.has(`${kind}/${name}`)) return
    this.#holds.clear()
    this.renewVolumes()
  }

  /** What waits to be tried again is tried now: images, configuration and tokens may have come within reach. */
  linkBack(): void {
    this.#holds.clear()
    this.renewVolumes()
  }

  /** Volumes written by the agent may be out of date. */
  renewVolumes(): void {
    this.#stale = true
    this.poke()
  }

  /** Syncs once, soon; many calls in one turn make one sync. */
  poke(): void {
    if (this.#queued) return
    this.#queued = true
    queueMicrotask(() => {
      this.#queued = false
      if (!this.#c.scope.signal.aborted && !(this.#gone && this.#finished)) this.#sync()
    })
  }

  /** Stops timers; containers stay as they are. */
  stop(): void {
    this.#timer?.cancel()
    this.#weigher?.cancel()
    for (const id of this.#probing) this.#c.probes.end(id)
  }

  /** A pod that ended but is still wanted for its logs has nothing more to do. */
  get #settled(): boolean {
    return this.#finished || (this.#ended && !this.#gone && this.#pod.metadata?.deletionTimestamp === undefined)
  }

  get #ending(): boolean {
    return this.#gone || this.#pod.metadata?.deletionTimestamp !== undefined || isTerminal(this.#pod) || this.#verdict !== undefined
  }

  #sync(): void {
    const observed = this.#c.view.pod(this.uid)
    const now = this.#c.clock.now()
    this.#judge(now)
    this.#followProbes()
    const { probes } = this.#c
    if (!this.#ending) this.#resize(now)
    if (this.#ending) this.#endingSince ??= this.#c.clock.monotonic()
    const decided = plan({
      pod: this.#pod,
      gone: this.#gone,
      observed,
      now,
      busy: this.#busy,
      holds: this.#holds,
      prepared: this.#prepared,
      placed: this.#placed && !this.#failures.has('prepare') && this.#steps.ownVolumes(),
      networkReady: this.#c.node.networkReady(),
      doomed: this.#verdict,
      endingSeconds: this.#endingSince === undefined ? 0 : Math.floor((this.#c.clock.monotonic() - this.#endingSince) / 1000),
      started: (id) => probes.started(id),
      unhealthy: (id) => probes.unhealthy(id),
      resized: (c) => this.#resizes.restarts(this.#pod, c),
    })
    for (const action of decided.actions) if (action.type !== 'finish' || !this.#settled) this.#launch(action)
    if (this.#stale && this.#prepared && !this.#ending) this.#refreshVolumes()
    this.#publish(decided, now)
    const wakes = [decided.wakeAtMs, ...(this.#ending ? [] : [deadlineOf(this.#pod), this.#resizes.pending && now + RESIZE_AGAIN_MS, this.#holds.get('resize')])].filter((at) => at !== undefined)
    this.#wakeAt(wakes.length === 0 ? undefined : Math.min(...wakes), now)
  }

  /** Takes up other resources when they fit, and gives them to the containers that can have them while they run. */
  #resize(now: number): void {
    const { view, node } = this.#c
    const { containers } = view.pod(this.uid)
    this.#resizes.forget(containers)
    const before = this.#resizes.pending
    this.#resizes.consider(this.#pod, (wanted) => node.cannotGrow(wanted))
    const { pending } = this.#resizes
    if (pending && pending.message !== before?.message) this.#say('Warning', `Resize${pending.reason}`, `Pod resize ${pending.reason}: ${pending.message}`)
    const open = this.#resizes.open(this.#pod, containers)
    if (open.length === 0 && !this.#resizing) return
    this.#resizing = true
    const inPlace = open.filter((r) => !needsRestart(r.spec, r.changed))
    // With containers that start anew for it there is nothing left to do here once the pod's cgroup has room for them.
    const waits = open.length > 0 && inPlace.length === 0 && this.#roomFor === this.#pod.metadata?.generation
    if (waits || this.#busy.has('resize') || (this.#holds.get('resize') ?? 0) > now) return
    this.#busy.add('resize')
    const generation = this.#pod.metadata?.generation
    this.#c.scope.run(`${keyOf(this.#pod)} resize`, async (signal) => {
      try {
        await this.#steps.resize(this.#resizes.former(this.#pod, containers), inPlace, inPlace.length === open.length, (id, resources) => this.#resizes.has(id, resources))
        this.#resizes.failure = undefined
        this.#holds.delete('resize')
        this.#roomFor = generation
        if (open.length === 0) {
          this.#resizing = false
          this.#say('Normal', 'ResizeCompleted', 'Pod resize completed')
        }
      } catch (error) {
        if (!signal.aborted) this.#resizeFailed(messageOf(error))
      }
      this.#busy.delete('resize')
      this.poke()
    })
  }

  #resizeFailed(why: string): void {
    this.#holds.set('resize', this.#c.clock.now() + RESIZE_AGAIN_MS)
    if (this.#resizes.failure !== why) this.#say('Warning', 'ResizeError', `Pod resize error: ${why}`)
    this.#resizes.failure = why
  }

  /** The pod with what it was given. */
  get allocated(): Readonly<Pod> {
    return this.#resizes.allocated(this.#pod)
  }

  /** Nothing of it was ever made here. */
  get #fresh(): boolean {
    return !this.#judged && this.#c.view.pod(this.uid).sandboxes.length === 0 && (this.#pod.status?.phase ?? 'Pending') === 'Pending'
  }

  /** It was let in, and what it asked for is not free again yet. */
  get occupies(): boolean {
    return !this.#fresh && !this.#gone && !isTerminal(this.#c.statuses.now(this.#pod)) && this.#verdict?.refused !== true && !this.#ended
  }

  /** The node ends the pod. False when it is ending already. */
  end(verdict: Verdict): boolean {
    if (this.#ending) return false
    this.#condemn(verdict)
    this.poke()
    return true
  }

  /** A pod that may not run here, or no longer, is ended by the node. One that runs already was let in once. */
  #judge(now: number): void {
    if (this.#ending) return
    const refused = this.#fresh ? (this.#c.node.turnAway(this.#pod) ?? refusal(this.#pod, this.#c.node.abilities()) ?? this.#withoutDevices()) : undefined
    if (!this.#judged && hasStorageLimits(this.#pod)) this.#weighLater()
    this.#judged = true
    const over = (deadlineOf(this.#pod) ?? Infinity) <= now
    if (refused || over) this.#condemn(refused ?? DEADLINE_EXCEEDED)
  }

  #withoutDevices(): Verdict | undefined {
    const why = this.#c.devices.admit(this.#pod)
    return why === undefined ? undefined : { reason: 'UnexpectedAdmissionError', message: `Pod was rejected: ${why}`, refused: true }
  }

  #condemn(verdict: Verdict): void {
    this.#verdict = verdict
    this.#starts.abort()
    this.#say(verdict.reason === 'DeadlineExceeded' ? 'Normal' : 'Warning', verdict.reason, verdict.message)
  }

  #weighLater(): void {
    this.#weigher = this.#c.clock.timer('storage limits', STORAGE_LOOK_MS, () => {
      this.#c.scope.run('storage limits', async () => {
        const over = await overStorage(this.#pod, this.#steps.written()).catch(() => undefined) // The runtime is away: asked again.
        if (this.#ending || this.#c.scope.signal.aborted) return
        if (!over) return this.#weighLater()
        this.#condemn(over)
        this.poke()
      })
    })
  }

  #wakeAt(atMs: number | undefined, now: number): void {
    this.#timer?.cancel()
    if (atMs !== undefined) this.#timer = this.#c.clock.timer(`pod ${keyOf(this.#pod)}`, Math.max(0, atMs - now), () => this.poke())
  }

  #followProbes(): void {
    const running = this.#c.view.pod(this.uid).containers.filter((c) => c.state === 'running')
    for (const id of [...this.#probing]) {
      if (running.some((c) => c.id === id)) continue
      this.#c.probes.end(id)
      this.#probing.delete(id)
    }
    for (const c of running) {
      const spec = containersOf(this.#pod).find((x) => x.spec.name === c.name)?.spec
      if (!spec || this.#probing.has(c.id) || this.#ending) continue
      this.#probing.add(c.id)
      this.#waiting.delete(c.name)
      this.#c.probes.begin({
        id: c.id,
        spec,
        startedAtMs: c.startedAtMs,
        target: this.#steps.target(c.id, spec, c.sandboxId),
        former: formerStatus(this.#pod, c.name),
        onChange: () => this.poke(),
        onFailure: (kind, output) => this.#say('Warning', 'Unhealthy', `${kind[0]?.toUpperCase()}${kind.slice(1)} probe failed: ${output}`, spec),
      })
    }
  }

  #publish(decided: Plan, now: number): void {
    if (this.#gone) return
    if (this.#final) return this.#c.statuses.set(this.#pod, this.#final, this.#finished && this.#pod.metadata?.deletionTimestamp !== undefined)
    this.#c.statuses.set(this.#pod, this.#status(decided, now, false))
  }

  #status(decided: Plan | undefined, now: number, stopped: boolean): PodStatus {
    const { view, probes, node } = this.#c
    const observed = view.pod(this.uid)
    const current = byAttempt(observed.sandboxes).find((s) => s.state === 'ready')
    const waiting = new Map(this.#waiting)
    for (const [name] of decided?.crashing ?? []) waiting.set(name, this.#crashing(name, decided as Plan))
    return podStatus({
      pod: this.#pod,
      observed,
      now,
      startedAtMs: this.#startedAtMs,
      hostIPs: node.hostIPs(),
      podIPs: current ? view.ips(current.id) : [],
      waiting,
      started: (id) => probes.started(id),
      ready: (id) => probes.ready(id),
      verdict: this.#verdict,
      resized: (c) => this.#resizes.restarts(this.#pod, c),
      resources: {
        applied: (c) => this.#resizes.applied(this.#pod, c),
        allocated: (name) => containersOf(this.allocated).find((c) => c.spec.name === name)?.spec.resources,
        pending: this.#resizes.pending,
        inProgress: this.#resizing,
        failure: this.#resizes.failure,
      },
      stopped: stopped || (this.#ended && this.#verdict !== undefined),
    })
  }

  /** The words of a crash backoff, said as an Event once a wait. */
  #crashing(name: string, decided: Plan): Waiting {
    const until = decided.crashing.get(name) ?? 0
    const ended = byAttempt(this.#c.view.pod(this.uid).containers.filter((c) => c.name === name))[0]
    const seconds = Math.round((until - (ended?.finishedAtMs ?? until)) / 1000)
    if (this.#said.get(name) !== until) {
      this.#said.set(name, until)
      const spec = containersOf(this.#pod).find((c) => c.spec.name === name)?.spec
      this.#say('Warning', 'BackOff', `Back-off restarting failed container ${name} in pod ${fullName(this.#pod)}`, spec)
    }
    return { reason: 'CrashLoopBackOff', message: backoffMessage(this.#pod, name, seconds) }
  }

  #launch(action: Action): void {
    const step = stepOf(action)
    this.#busy.add(step)
    this.#c.scope.run(`${keyOf(this.#pod)} ${step}`, async (signal) => {
      try {
        await this.#perform(action)
        this.#failures.delete(step)
        this.#holds.delete(step)
      } catch (error) {
        if (!signal.aborted) this.#failed(action, step, error)
      }
      if (step !== 'prepare') await this.#seen(signal)
      this.#busy.delete(step)
      if (action.type === 'finish' && this.#finished && this.#gone) return this.#done()
      this.poke()
    })
  }

  /** Waits for a list that shows what the step did. */
  async #seen(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        return await this.#c.view.refresh()
      } catch {
        // The runtime is away: whatever the step did is not known before it is back.
        await this.#c.clock.sleep(RETRY_FIRST_MS, signal).catch(() => undefined)
      }
    }
  }

  async #perform(action: Action): Promise<void> {
    const { runtime } = this.#c
    switch (action.type) {
      case 'prepare':
        await this.#steps.place()
        this.#placed = true
        this.poke()
        await this.#steps.volumes()
        this.#prepared = true
        return
      case 'sandbox':
        return await this.#steps.sandbox(action)
      case 'stop-sandbox':
        return await runtime.sandboxes.stop(action.id)
      case 'remove-sandbox':
        return await runtime.sandboxes.remove(action.id)
      case 'start':
        return await this.#steps.start(action, this.#failures.get(stepOf(action)) ?? 0, this.#starts.signal)
      case 'kill':
        return await this.#steps.kill(action)
      case 'remove':
        return await runtime.containers.remove(action.id)
      case 'finish':
        return await this.#finish()
      default:
        return action satisfies never
    }
  }

  /** A pod that ended stays for its logs; one that is deleted leaves nothing, and the API hears its last words. */
  async #finish(): Promise<void> {
    const deleted = this.#gone || this.#pod.metadata?.deletionTimestamp !== undefined
    if (!deleted) return void (this.#ended = true)
    this.#final ??= this.#status(undefined, this.#c.clock.now(), true)
    this.#clean = await this.#steps.erase()
    this.#finished = true
  }

  #done(): void {
    this.stop()
    this.#c.statuses.forget(this.uid)
    this.#onDone(this.#clean)
  }

  /** A shorter grace arrived while containers are stopping: the runtime is told again. */
  #hurryKills(graceSeconds: number): void {
    for (const step of this.#busy) {
      if (!step.startsWith('kill:')) continue
      this.#c.scope.run('hurry kill', async () => {
        await this.#c.runtime.containers.stop(step.slice(5), graceSeconds).catch((error: unknown) => log.debug('kill not hurried', { error: messageOf(error) }))
      })
    }
  }

  #refreshVolumes(): void {
    if (this.#busy.has('volumes')) return
    this.#stale = false
    this.#busy.add('volumes')
    this.#c.scope.run('volumes', async (signal) => {
      try {
        await this.#steps.refreshVolumes()
      } catch (error) {
        if (!signal.aborted) this.#say('Warning', 'FailedMount', messageOf(error))
      }
      this.#busy.delete('volumes')
      if (this.#stale) this.poke()
    })
  }

  #failed(action: Action, step: string, error: unknown): void {
    if (isAbort(error) || (action.type === 'start' && this.#starts.signal.aborted)) return
    const failures = (this.#failures.get(step) ?? 0) + 1
    this.#failures.set(step, failures)
    const now = this.#c.clock.now()
    this.#holds.set(step, now + Math.min(RETRY_FIRST_MS * 2 ** (failures - 1), RETRY_CAP_MS))
    switch (action.type) {
      case 'start':
        return this.#startFailed(action.name, step, failures, error)
      case 'prepare':
        return this.#say('Warning', error instanceof StartFailure ? error.reason : 'FailedMount', messageOf(error))
      case 'sandbox':
        return this.#say('Warning', 'FailedCreatePodSandBox', `Failed to create pod sandbox: ${messageOf(error)}`)
      case 'kill':
        return this.#say('Warning', 'FailedKillPod', `error killing pod: ${messageOf(error)}`)
      default:
        log.warn('step failed', { pod: keyOf(this.#pod), step, error })
    }
  }

  #startFailed(name: string, step: string, failures: number, error: unknown): void {
    const now = this.#c.clock.now()
    const spec = containersOf(this.#pod).find((c) => c.spec.name === name)?.spec
    if (error instanceof ImageFailure) {
      this.#holds.set(step, error.retryAtMs)
      this.#waiting.set(name, { reason: error.reason, message: error.message })
      if (error.reason === 'ErrImagePull') this.#c.clock.timer('pull error shown', PULL_ERROR_SHOWN_MS, () => this.#pullBackoff(name, error.message))
      else this.#say('Warning', 'Failed', `Error: ${error.reason}`, spec)
      return
    }
    if (error instanceof StartFailure) {
      const config = error.reason === 'CreateContainerConfigError'
      this.#holds.set(step, now + (config ? CONFIG_RETRY_MS : stepDelay(failures)))
      this.#waiting.set(name, { reason: error.reason, message: error.message })
      return this.#say('Warning', 'Failed', `Error: ${error.message}`, spec)
    }
    if (!(error instanceof AppError)) log.error('start failed', { pod: keyOf(this.#pod), container: name, error })
    this.#say('Warning', 'Failed', `Error: ${messageOf(error)}`, spec)
  }

  #pullBackoff(name: string, message: string): void {
    const spec = containersOf(this.#pod).find((c) => c.spec.name === name)?.spec
    if (this.#waiting.get(name)?.reason !== 'ErrImagePull' || this.#busy.has(`container:${name}`) || this.#gone) return
    this.#waiting.set(name, { reason: 'ImagePullBackOff', message: `Back-off pulling image "${spec?.image}": ErrImagePull: ${message}` })
    this.#say('Normal', 'BackOff', `Back-off pulling image "${spec?.image}"`, spec)
    this.#say('Warning', 'Failed', 'Error: ImagePullBackOff', spec)
    this.poke()
  }

  #say(type: 'Normal' | 'Warning', reason: string, message: string, container?: ContainerSpec): void {
    this.#c.events.event(aboutPod(this.#pod, container), type, reason, message)
  }
}

function shown(pod: Readonly<Pod>): string {
  return JSON.stringify([pod.metadata?.labels, pod.metadata?.annotations])
}
