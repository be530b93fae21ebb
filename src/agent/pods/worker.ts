/**
 * One pod on this node. `sync` looks at the world, plans, starts the planned steps in the background and publishes the
 * status; every end of a step, event, changed object or wake-up syncs again. It never blocks and may run any number of times.
 *
 * A step on the runtime stays `busy` until a list made after its end is in, so it cannot be planned twice from an old view.
 */
import type { Container as ContainerSpec, Pod, PodStatus } from '../../api/gen/types.ts'
import type { Timer } from '../../base/clock.ts'
import { isAbort, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { DEADLINE_EXCEEDED, deadlineOf, refusal } from './admit.ts'
import type { PodContext } from './context.ts'
import { containersOf, formerStatus, graceOf, isTerminal, keyOf, uidOf } from './names.ts'
import { byAttempt, plan, stepOf, type Action, type Plan } from './planner.ts'
import { Resizer } from './resizer.ts'
import { podStatus, type Verdict } from './status.ts'
import { Steps } from './steps.ts'
import { hasStorageLimits, overStorage, STORAGE_LOOK_MS } from './storage-limits.ts'
import { RETRY_FIRST_MS, Troubles, type WorkerPart } from './troubles.ts'
import { aboutPod, probeWords } from './words.ts'

const log = logger('agent.pods')
/** How often a pod that others make room for looks whether they have gone, ms. */
const ROOM_LOOK_MS = 500

/** Works on one uid until the pod is gone from the API and from this machine; then calls `onDone` once, with false when something of it stays for now. */
export class PodWorker {
  readonly uid: string
  readonly #c: PodContext
  readonly #steps: Steps
  readonly #onDone: (clean: boolean) => void
  readonly #busy = new Set<string>()
  readonly #troubles: Troubles
  readonly #resizer: Resizer
  readonly #probing = new Set<string>()
  readonly #named = new Set<string>()
  readonly #startedAtMs: number
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
    const part: WorkerPart = { context, pod: () => this.#pod, gone: () => this.#gone, busy: this.#busy, poke: () => this.poke(), say: (type, reason, message, container) => this.#say(type, reason, message, container) }
    this.#troubles = new Troubles(part)
    this.#resizer = new Resizer(part, () => this.#steps)
    this.#steps = new Steps({ context, pod: () => this.#resizer.allocated, named: (kind, name) => this.#named.add(`${kind}/${name}`), say: part.say })
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
    if (this.ending) this.#starts.abort()
    if (this.ending && graceOf(this.#pod) < before) this.#hurryKills(graceOf(this.#pod))
    if (this.#gone && this.#finished) return this.#done()
    this.poke()
  }

  /** A ConfigMap or Secret changed. */
  objectChanged(kind: string, name: string): void {
    if (!this.#named.has(`${kind}/${name}`)) return
    this.#troubles.holds.clear()
    this.#resizer.release()
    this.renewVolumes()
  }

  /** What waits to be tried again is tried now: images, configuration and tokens may have come within reach. */
  linkBack(): void {
    this.#troubles.holds.clear()
    this.#resizer.release()
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

  /** It goes, or has gone. */
  get ending(): boolean {
    return this.#gone || this.#pod.metadata?.deletionTimestamp !== undefined || isTerminal(this.#pod) || this.#verdict !== undefined
  }

  #sync(): void {
    const observed = this.#c.view.pod(this.uid)
    const now = this.#c.clock.now()
    if (!this.#judge(now)) return this.#wakeAt(now + ROOM_LOOK_MS, now)
    this.#followProbes()
    const { probes } = this.#c
    if (!this.ending) this.#resizer.look(now)
    if (this.ending) this.#endingSince ??= this.#c.clock.monotonic()
    const decided = plan({
      pod: this.#pod,
      gone: this.#gone,
      observed,
      now,
      busy: this.#busy,
      holds: this.#troubles.holds,
      prepared: this.#prepared,
      placed: this.#placed && this.#troubles.count('prepare') === 0 && this.#steps.ownVolumes(),
      networkReady: this.#c.node.networkReady(),
      moved: (id) => !this.#pod.spec?.hostNetwork && !this.#c.view.ips(id).every((ip) => this.#c.node.inNetwork(ip)),
      doomed: this.#verdict,
      endingSeconds: this.#endingSince === undefined ? 0 : Math.floor((this.#c.clock.monotonic() - this.#endingSince) / 1000),
      started: (id) => probes.started(id),
      unhealthy: (id) => probes.unhealthy(id),
      resized: this.#resizer.restarts,
    })
    for (const action of decided.actions) if (action.type !== 'finish' || !this.#settled) this.#launch(action)
    if (this.#stale && this.#prepared && !this.ending) this.#refreshVolumes()
    this.#publish(decided, now)
    const wakes = [decided.wakeAtMs, ...(this.ending ? [] : [deadlineOf(this.#pod), this.#resizer.wakeAt(now)])].filter((at) => at !== undefined)
    this.#wakeAt(wakes.length === 0 ? undefined : Math.min(...wakes), now)
  }

  /** The pod with what it was given. */
  get allocated(): Readonly<Pod> {
    return this.#resizer.allocated
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
    if (this.ending) return false
    this.#condemn(verdict)
    this.poke()
    return true
  }

  /** A pod that may not run here, or no longer, is ended by the node. One that runs already was let in once. False while others end to make room. */
  #judge(now: number): boolean {
    if (this.ending) return true
    const refused = this.#fresh ? (refusal(this.#pod, this.#c.node.abilities()) ?? this.#c.node.turnAway(this.#pod) ?? this.#withoutDevices()) : undefined
    if (refused === 'room-soon') return false
    if (!this.#judged && hasStorageLimits(this.#pod)) this.#weighLater()
    this.#judged = true
    const over = (deadlineOf(this.#pod) ?? Infinity) <= now
    if (refused || over) this.#condemn(refused ?? DEADLINE_EXCEEDED)
    return true
  }

  get #names(): { namespace: string; name: string; uid: string } {
    const { namespace = '', name = '' } = this.#pod.metadata ?? {}
    return { namespace, name, uid: this.uid }
  }

  #withoutDevices(): Verdict | undefined {
    const why = this.#c.devices.admit(this.#pod)
    return why === undefined ? undefined : { reason: 'UnexpectedAdmissionError', message: `Pod was rejected: ${why}`, refused: true }
  }

  #condemn(verdict: Verdict): void {
    this.#verdict = verdict
    this.#starts.abort()
    this.#say(verdict.reason === 'DeadlineExceeded' ? 'Normal' : 'Warning', verdict.reason, verdict.message.replace(/^Pod was rejected: /, ''))
  }

  #weighLater(): void {
    this.#weigher = this.#c.clock.timer('storage limits', STORAGE_LOOK_MS, () => {
      this.#c.scope.run('storage limits', async () => {
        const over = await overStorage(this.#pod, this.#steps.written()).catch(() => undefined) // The runtime is away: asked again.
        if (this.ending || this.#c.scope.signal.aborted) return
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
      if (this.ending) this.#c.probes.ending(c.id)
      if (!spec || this.#probing.has(c.id) || this.ending) continue
      this.#probing.add(c.id)
      this.#troubles.waiting.delete(c.name)
      this.#c.probes.begin({
        id: c.id,
        pod: this.#names,
        spec,
        startedAtMs: c.startedAtMs,
        target: this.#steps.target(c.id, spec, c.sandboxId),
        former: formerStatus(this.#pod, c.name),
        onChange: () => this.poke(),
        onFailure: (kind, result) => this.#say('Warning', ...probeWords(kind, result), spec),
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
    return podStatus({
      pod: this.#pod,
      observed,
      now,
      startedAtMs: this.#startedAtMs,
      hostIPs: node.hostIPs(),
      podIPs: current ? view.ips(current.id) : [],
      waiting: this.#troubles.waits(decided),
      started: (id) => probes.started(id),
      ready: (id) => probes.ready(id),
      verdict: this.#verdict,
      resized: this.#resizer.restarts,
      resources: this.#resizer.told,
      recursiveReadOnly: this.#steps.recursiveReadOnly,
      stopped: stopped || (this.#ended && this.#verdict !== undefined),
    })
  }

  #launch(action: Action): void {
    const step = stepOf(action)
    this.#busy.add(step)
    this.#c.scope.run(`${keyOf(this.#pod)} ${step}`, async (signal) => {
      try {
        await this.#perform(action)
        this.#troubles.over(step)
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
        return await this.#steps.start(action, this.#troubles.count(stepOf(action)), this.#starts.signal)
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
    this.#troubles.failed(action, step, error)
  }

  #say(type: 'Normal' | 'Warning', reason: string, message: string, container?: ContainerSpec): void {
    this.#c.events.event(aboutPod(this.#pod, container), type, reason, message)
  }
}

function shown(pod: Readonly<Pod>): string {
  return JSON.stringify([pod.metadata?.labels, pod.metadata?.annotations])
}
