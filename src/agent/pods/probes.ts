/**
 * Startup, readiness and liveness of running containers. One prober a container id, begun when it is seen running and
 * dropped when it ends. Until the startup probe has passed the others wait. A container adopted after an agent restart
 * keeps the readiness the API last had for this very container, so that nothing flaps. Bounded by running containers.
 */
import type { Container as ContainerSpec, ContainerStatus, Probe } from '../../api/gen/types.ts'
import type { Clock, Timer } from '../../base/clock.ts'
import { check, type CheckResult, type CheckTarget } from './checks.ts'

type Kind = 'startup' | 'readiness' | 'liveness'

export interface ProbeOptions {
  readonly clock: Clock
  /** Runs one check; replaced in tests. */
  readonly check?: typeof check
}

export interface ProbedContainer {
  readonly id: string
  readonly pod: ProbeCount['pod']
  readonly spec: ContainerSpec
  readonly startedAtMs: number
  readonly target: Omit<CheckTarget, 'timeoutSeconds'>
  /** As the API last had it, if for this container. */
  readonly former: ContainerStatus | undefined
  /** Readiness, startup or liveness changed. */
  readonly onChange: () => void
  /** A check failed, warns, or could not be made. */
  readonly onFailure: (kind: Kind, result: CheckResult) => void
}

interface Prober {
  started: boolean
  ready: boolean
  /** Why it must be killed. */
  failed: string | undefined
  failedGraceSeconds: number | undefined
  hookDone: boolean
  timers: Map<Kind, Timer>
  over: boolean
  /** Whose it is; undefined before it begins. */
  of: ProbedContainer | undefined
  counts: Map<Kind, { successful: number; failed: number; unknown: number }>
}

/** How often a probe of a container that runs ended how. */
export interface ProbeCount {
  readonly pod: { readonly namespace: string; readonly name: string; readonly uid: string }
  readonly container: string
  readonly kind: Kind
  readonly results: { readonly successful: number; readonly failed: number; readonly unknown: number }
}

/** The probers of one node's containers, by container id. */
export class Probes {
  readonly #clock: Clock
  readonly #check: typeof check
  readonly #probers = new Map<string, Prober>()

  constructor(options: ProbeOptions) {
    this.#clock = options.clock
    this.#check = options.check ?? check
  }

  started(id: string): boolean {
    const p = this.#probers.get(id)
    return p !== undefined && p.started && p.hookDone
  }

  ready(id: string): boolean {
    const p = this.#probers.get(id)
    return p !== undefined && p.ready && p.started && p.hookDone
  }

  unhealthy(id: string): string | undefined {
    return this.#probers.get(id)?.failed
  }

  /** Grace a failed probe gives its container, seconds; undefined: the pod's own. */
  graceOf(id: string): number | undefined {
    return this.#probers.get(id)?.failedGraceSeconds
  }

  counts(): ProbeCount[] {
    return [...this.#probers.values()].flatMap(({ of, counts }) => (of ? [...counts].map(([kind, results]) => ({ pod: of.pod, container: of.spec.name, kind, results })) : []))
  }

  /** A postStart hook is under way: the container is not started before {@link hookEnded}. */
  hookBegan(id: string): void {
    this.#of(id).hookDone = false
  }

  hookEnded(id: string, failure?: string): void {
    const p = this.#of(id)
    p.hookDone = failure === undefined
    p.failed ??= failure
  }

  /** Begins probing; a second call for the same id does nothing. */
  begin(c: ProbedContainer): void {
    const p = this.#of(c.id)
    if (p.timers.size > 0 || p.over) return
    p.of = c
    const adopted = c.former?.containerID?.endsWith(`/${c.id}`) ? c.former : undefined
    p.started = c.spec.startupProbe === undefined || adopted?.started === true
    p.ready = c.spec.readinessProbe === undefined || adopted?.ready === true
    if (!p.started) this.#schedule(c, p, 'startup', c.spec.startupProbe as Probe, 0, 0)
    else this.#beginOthers(c, p)
  }

  /** Its pod ends: whether it is alive is asked no more, whether it is ready still is. */
  ending(id: string): void {
    const timers = this.#probers.get(id)?.timers
    for (const kind of ['startup', 'liveness'] as const) {
      timers?.get(kind)?.cancel()
      timers?.delete(kind)
    }
  }

  end(id: string): void {
    const p = this.#probers.get(id)
    if (!p) return
    p.over = true
    for (const t of p.timers.values()) t.cancel()
    this.#probers.delete(id)
  }

  #of(id: string): Prober {
    let p = this.#probers.get(id)
    if (!p) {
      p = { started: false, ready: false, failed: undefined, failedGraceSeconds: undefined, hookDone: true, timers: new Map(), over: false, of: undefined, counts: new Map() }
      this.#probers.set(id, p)
    }
    return p
  }

  #beginOthers(c: ProbedContainer, p: Prober): void {
    if (c.spec.readinessProbe) this.#schedule(c, p, 'readiness', c.spec.readinessProbe, 0, 0)
    if (c.spec.livenessProbe) this.#schedule(c, p, 'liveness', c.spec.livenessProbe, 0, 0)
  }

  #schedule(c: ProbedContainer, p: Prober, kind: Kind, probe: Probe, successes: number, failures: number, again = false): void {
    const first = !again && successes === 0 && failures === 0
    const left = (probe.initialDelaySeconds ?? 0) * 1000 - (this.#clock.now() - c.startedAtMs)
    const wait = first ? Math.min(Math.max(0, left), (probe.initialDelaySeconds ?? 0) * 1000) : (probe.periodSeconds ?? 10) * 1000
    p.timers.set(kind, this.#clock.timer(`${kind} probe`, wait, () => void this.#probe(c, p, kind, probe, successes, failures)))
  }

  async #probe(c: ProbedContainer, p: Prober, kind: Kind, probe: Probe, successes: number, failures: number): Promise<void> {
    const result: CheckResult = await this.#check(probe, { ...c.target, timeoutSeconds: probe.timeoutSeconds ?? 1 })
    if (p.over || !p.timers.has(kind)) return
    const counts = p.counts.get(kind) ?? { successful: 0, failed: 0, unknown: 0 }
    p.counts.set(kind, counts)
    counts[result.unknown ? 'unknown' : result.ok ? 'successful' : 'failed']++
    if (!result.ok || result.warning) c.onFailure(kind, result)
    // Not made: it counts for nothing, and the next one comes in its time.
    if (result.unknown) return this.#schedule(c, p, kind, probe, successes, failures, true)
    const good = result.ok ? successes + 1 : 0
    const bad = result.ok ? 0 : failures + 1
    const passed = good >= (probe.successThreshold ?? 1)
    const failed = bad >= (probe.failureThreshold ?? 3)
    if (kind === 'readiness' && (passed || failed) && p.ready !== passed) {
      p.ready = passed
      c.onChange()
    } else if (kind === 'startup' && passed) {
      p.started = true
      p.timers.delete('startup')
      this.#beginOthers(c, p)
      return c.onChange()
    } else if (kind !== 'readiness' && failed) {
      p.failed = `Container ${c.spec.name} failed ${kind} probe, will be restarted`
      p.failedGraceSeconds = probe.terminationGracePeriodSeconds
      return c.onChange()
    }
    this.#schedule(c, p, kind, probe, good, bad)
  }
}
