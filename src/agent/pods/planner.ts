/**
 * Decides what to do for one pod now: desired pod and what the runtime shows in, actions out, plus when to look again.
 * Pure. The worker runs the actions in the background and plans again after each; steps under way are in `busy`, so no
 * action is planned twice. Nothing here knows whether the agent has just started: running containers are simply adopted.
 */
import type { Container as ContainerSpec, ContainerRestartRuleOnExitCodes, Pod } from '../../api/gen/types.ts'
import type { Container, Sandbox } from '../../cri/mod.ts'
import { FIRST_DELAY_MS, isWait, nextDelay, restartAt } from './backoff.ts'
import { ANNOTATION_HASH, containersOf, formerStatus, graceOf, hashOf, isTerminal, type ContainerKind, type NamedContainer } from './names.ts'

export interface Observed {
  /** Of this pod's uid, any order. */
  readonly sandboxes: readonly Sandbox[]
  readonly containers: readonly Container[]
}

export interface PlanInput {
  /** What should be; a terminating pod has `metadata.deletionTimestamp`. */
  readonly pod: Readonly<Pod>
  /** The object is gone from the API: stop everything, then forget. */
  readonly gone: boolean
  readonly observed: Observed
  /** Wall clock, ms. */
  readonly now: number
  /** Steps under way: `prepare`, `sandbox`, `finish`, `container:<name>`, `kill:<container id>`, `remove:<id>`. */
  readonly busy: ReadonlySet<string>
  /** Steps that failed and may not be tried before the time given, by the same names, ms. */
  readonly holds: ReadonlyMap<string, number>
  /** Directories, volumes and cgroup are in place. */
  readonly prepared: boolean
  /** Directories and cgroup are in place and the volumes will follow without fail: the sandbox need not wait for them. @default false */
  readonly placed?: boolean
  /** A pod network exists; pods on the host network do not wait for it. */
  readonly networkReady: boolean
  /** The sandbox has addresses of a pod network that the node no longer has: nobody reaches it. @default never */
  readonly moved?: (sandboxId: string) => boolean
  /** The container passed its startup probe and postStart hook (or has none). */
  readonly started: (containerId: string) => boolean
  /** The pod is to end though the API does not say so: its deadline passed, or it is evicted. `graceSeconds` replaces the pod's own. */
  readonly doomed?: { readonly graceSeconds?: number | undefined } | undefined
  /** For how long the pod has been ending, seconds: containers that are stopped later share the grace. @default 0 */
  readonly endingSeconds?: number
  /** Why a running container must be killed (failed probe or hook); undefined when it is fine. */
  readonly unhealthy: (containerId: string) => string | undefined
  /** It must start anew for other resources: while it runs, and after it was ended for that. @default never */
  readonly resized?: (c: Container) => boolean
}

export type Action =
  | { readonly type: 'prepare' }
  | { readonly type: 'sandbox'; readonly attempt: number; readonly replaces: boolean }
  | { readonly type: 'stop-sandbox'; readonly id: string }
  | { readonly type: 'remove-sandbox'; readonly id: string }
  | { readonly type: 'start'; readonly sandboxId: string; readonly name: string; readonly kind: ContainerKind; readonly attempt: number; readonly delayMs: number }
  | { readonly type: 'kill'; readonly id: string; readonly name: string; readonly graceSeconds: number; readonly why: string; readonly preStop: boolean }
  | { readonly type: 'remove'; readonly id: string }
  /** Nothing runs any more: clean up and, for a terminating pod, let the API forget it. */
  | { readonly type: 'finish' }

export interface Plan {
  readonly actions: readonly Action[]
  /** Plan again at this time even if nothing happens, ms wall clock. */
  readonly wakeAtMs: number | undefined
  /** Containers waiting in crash backoff, with the time it ends. */
  readonly crashing: ReadonlyMap<string, number>
}

/** The name under which a worker notes that an action runs or failed. */
export function stepOf(action: Action): string {
  switch (action.type) {
    case 'prepare':
    case 'sandbox':
    case 'finish':
      return action.type
    case 'start':
      return `container:${action.name}`
    case 'kill':
      return `kill:${action.id}`
    case 'stop-sandbox':
      return `stop:${action.id}`
    case 'remove-sandbox':
    case 'remove':
      return `remove:${action.id}`
    default:
      return action satisfies never
  }
}

/** Newest first. */
export function byAttempt<T extends { readonly attempt: number; readonly createdAtMs: number }>(list: readonly T[]): readonly T[] {
  return [...list].sort((a, b) => b.attempt - a.attempt || b.createdAtMs - a.createdAtMs)
}

/** The newest container of a name, or undefined. */
export function latest(observed: Observed, name: string): Container | undefined {
  return byAttempt(observed.containers.filter((c) => c.name === name))[0]
}

/** A sidecar that is stopped when the others have used up the grace still gets this long, seconds: the kubelet's figure. */
const LEAST_GRACE = 2
const alive = (c: Container): boolean => c.state === 'running'

/** The decision for one pod. May be asked any number of times; see the header. */
export function plan(input: PlanInput): Plan {
  const draft = new Draft(input)
  if (input.gone || input.pod.metadata?.deletionTimestamp !== undefined || isTerminal(input.pod) || input.doomed) planStop(input, draft)
  else planRun(input, draft)
  return draft.result()
}

/** Collects actions, leaving out what runs already or must wait. */
class Draft {
  readonly #input: PlanInput
  readonly #actions: Action[] = []
  readonly crashing = new Map<string, number>()
  /** A main container starts, or is to: those after it in the spec wait until it has, its postStart hook included, or has failed to. */
  starting = false
  #wake: number | undefined

  constructor(input: PlanInput) {
    this.#input = input
  }

  add(action: Action): void {
    const step = stepOf(action)
    const inTurn = action.type === 'start' && action.kind === 'main'
    if (inTurn && this.starting) return
    if (this.#input.busy.has(step)) return void (this.starting ||= inTurn)
    const hold = this.#input.holds.get(step)
    if (hold !== undefined && isWait(hold, this.#input.now)) return this.wake(hold)
    this.starting ||= inTurn
    this.#actions.push(action)
  }

  wake(atMs: number): void {
    this.#wake = Math.min(this.#wake ?? atMs, atMs)
  }

  result(): Plan {
    return { actions: this.#actions, wakeAtMs: this.#wake, crashing: this.crashing }
  }
}

/** Stops what runs: main containers first, then sidecars in reverse order, then the sandbox, then says it is finished. */
function planStop(input: PlanInput, draft: Draft): void {
  const { observed, pod } = input
  const running = observed.containers.filter(alive)
  if (running.length > 0) {
    const order = containersOf(pod)
    const sidecars = order.filter((c) => c.kind === 'sidecar').map((c) => c.spec.name)
    const main = running.filter((c) => !sidecars.includes(c.name))
    const last = running.filter((c) => sidecars.includes(c.name)).sort((a, b) => sidecars.indexOf(b.name) - sidecars.indexOf(a.name))
    const grace = input.doomed?.graceSeconds ?? graceOf(pod)
    const left = Math.min(grace, Math.max(LEAST_GRACE, grace - (input.endingSeconds ?? 0)))
    for (const c of main.length > 0 ? main : last.slice(0, 1)) {
      draft.add({ type: 'kill', id: c.id, name: c.name, graceSeconds: main.length > 0 ? grace : left, why: `Stopping container ${c.name}`, preStop: true })
    }
    return
  }
  // A start under way may yet bring a container to life, and a sandbox looks stopped before the runtime has let go of its
  // network: the worker aborts starts, waits for the rest, and plans again when they have ended.
  if ([...input.busy].some((step) => step !== 'volumes' && step !== 'finish')) return
  const ready = observed.sandboxes.filter((s) => s.state === 'ready')
  for (const s of ready) draft.add({ type: 'stop-sandbox', id: s.id })
  if (ready.length === 0) draft.add({ type: 'finish' })
}

function planRun(input: PlanInput, draft: Draft): void {
  const { pod, observed } = input
  const sandboxes = byAttempt(observed.sandboxes)
  const current = sandboxes.find((s) => s.state === 'ready')
  clean(input, current, draft)
  if (current && input.moved?.(current.id)) return replace(input, current, draft)
  if (!input.prepared) draft.add({ type: 'prepare' })
  if (!input.prepared && (current || !input.placed)) return
  if (!current) {
    if (finished(input)) return
    // Containers of a dead sandbox share nothing with the next one: they end before it begins.
    if (endLeftovers(input, draft)) return
    if (input.networkReady || pod.spec?.hostNetwork) {
      draft.add({ type: 'sandbox', attempt: sandboxes[0] ? sandboxes[0].attempt + 1 : 0, replaces: sandboxes.length > 0 })
    }
    return
  }
  planContainers(input, current, draft)
}

/** True when there are containers that run, which are ended. */
function endLeftovers({ pod, observed }: PlanInput, draft: Draft): boolean {
  const leftovers = observed.containers.filter(alive)
  for (const c of leftovers) draft.add({ type: 'kill', id: c.id, name: c.name, graceSeconds: graceOf(pod), why: 'Pod sandbox changed', preStop: false })
  return leftovers.length > 0
}

/** Ends a sandbox with all that runs in it; the next one follows when it is seen to have gone. */
function replace(input: PlanInput, sandbox: Sandbox, draft: Draft): void {
  const starting = [...input.busy].some((step) => step.startsWith('container:'))
  if (!endLeftovers(input, draft) && !starting) draft.add({ type: 'stop-sandbox', id: sandbox.id })
}

/** Whether every container has ended for good, so that a lost sandbox need not come back. */
export function finished(input: Pick<PlanInput, 'pod' | 'observed' | 'resized'>): boolean {
  const { pod, observed } = input
  const done = (kind: ContainerKind, spec: ContainerSpec, c: Container | undefined): boolean => c?.state === 'exited' && !restarts(pod, kind, spec, c) && input.resized?.(c) !== true
  const main = (pod.spec?.containers ?? []).map((spec) => done('main', spec, latest(observed, spec.name)))
  if (main.length > 0 && main.every(Boolean)) return true
  return containersOf(pod).some(({ kind, spec }) => {
    const c = kind === 'init' ? latest(observed, spec.name) : undefined
    return c !== undefined && c.exitCode !== 0 && done(kind, spec, c)
  })
}

function planContainers(input: PlanInput, sandbox: Sandbox, draft: Draft): void {
  const all = containersOf(input.pod)
  const mine: Observed = { sandboxes: [sandbox], containers: input.observed.containers.filter((c) => c.sandboxId === sandbox.id) }
  // Once a main container exists here, ordinary init containers are done, even when their remains were cleaned away.
  const begun = all.some(({ kind, spec }) => kind === 'main' && latest(mine, spec.name) !== undefined)
  let allowed = true
  for (const item of all) if (item.kind === 'ephemeral') startOnce(input, sandbox, item, draft)
  for (const item of all) {
    if (item.kind === 'ephemeral') continue
    if (item.kind === 'main' && !allowed) break
    const c = latest(mine, item.spec.name)
    if (item.kind === 'init') {
      if (begun) continue
      if (!allowed) break
      if (c?.state === 'exited' && c.exitCode === 0) continue
      keep(input, sandbox, item, c, draft)
      allowed = false
    } else if (item.kind === 'sidecar') {
      if (!allowed) break
      keep(input, sandbox, item, c, draft)
      if (!begun) allowed = c !== undefined && alive(c) && input.started(c.id)
    } else {
      // Its hook runs: seen as alive, though its start has not ended.
      draft.starting ||= input.busy.has(`container:${item.spec.name}`)
      keep(input, sandbox, item, c, draft)
    }
  }
  stopSidecarsAfterMain(input, mine, all, draft)
}

/** An ephemeral container runs once in a pod's life, whatever becomes of it. */
function startOnce(input: PlanInput, sandbox: Sandbox, { spec: { name } }: NamedContainer, draft: Draft): void {
  if (finished(input)) return
  const c = latest(input.observed, name)
  if (c?.state === 'created' && !input.busy.has(`container:${name}`)) return draft.add({ type: 'remove', id: c.id })
  if (c || formerStatus(input.pod, name)?.containerID) return
  draft.add({ type: 'start', sandboxId: sandbox.id, name, kind: 'ephemeral', attempt: 0, delayMs: FIRST_DELAY_MS })
}

/** A pod whose main containers have all ended for good needs its sidecars, and who looks into it, no longer. */
function stopSidecarsAfterMain(input: PlanInput, mine: Observed, all: readonly NamedContainer[], draft: Draft): void {
  if (!finished(input)) return
  for (const { kind, spec } of all) {
    const c = kind === 'sidecar' || kind === 'ephemeral' ? latest(mine, spec.name) : undefined
    if (c && alive(c)) draft.add({ type: 'kill', id: c.id, name: c.name, graceSeconds: graceOf(input.pod), why: `Stopping container ${c.name}`, preStop: true })
  }
  if (!mine.containers.some(alive)) for (const s of mine.sandboxes) draft.add({ type: 'stop-sandbox', id: s.id })
}

/** Brings one container to what it should be: start, restart by policy and backoff, or kill. */
function keep(input: PlanInput, sandbox: Sandbox, item: NamedContainer, c: Container | undefined, draft: Draft): void {
  const { pod, now } = input
  const name = item.spec.name
  const start = (attempt: number, delayMs: number): void =>
    draft.add({ type: 'start', sandboxId: sandbox.id, name, kind: item.kind, attempt, delayMs })
  if (!c) {
    if (item.kind !== 'init' && finished(input)) return
    const before = latest(input.observed, name)
    const counted = formerStatus(pod, name)
    const attempt = before ? before.attempt + 1 : counted?.containerID ? (counted.restartCount ?? 0) + 1 : 0
    return start(attempt, FIRST_DELAY_MS)
  }
  if (alive(c)) {
    const changed = c.annotations[ANNOTATION_HASH] !== hashOf(item.spec)
    const why = changed ? `Container ${name} definition changed, will be restarted` : input.resized?.(c) ? `Container ${name} resize requires restart` : input.unhealthy(c.id)
    if (why !== undefined) draft.add({ type: 'kill', id: c.id, name, graceSeconds: graceOf(pod), why, preStop: true })
    return
  }
  // A container that was made but never started is a start cut short: made again.
  if (c.state === 'created') {
    if (!input.busy.has(`container:${name}`)) draft.add({ type: 'remove', id: c.id })
    return
  }
  const changed = c.annotations[ANNOTATION_HASH] !== hashOf(item.spec) || input.resized?.(c) === true
  if (!changed && (item.kind === 'sidecar' ? finished(input) : !restarts(pod, item.kind, item.spec, c))) return
  const at = changed ? now : restartAt(c, now)
  if (at > now) {
    draft.crashing.set(name, at)
    return draft.wake(at)
  }
  start(c.attempt + 1, changed ? FIRST_DELAY_MS : nextDelay(c))
}

/** Whether an ended container of a pod that goes on is started again: by its own rules, else its own policy, else the pod's. */
export function restarts(pod: Readonly<Pod>, kind: ContainerKind, spec: ContainerSpec, ended: Container): boolean {
  if (kind === 'sidecar') return true
  if (spec.restartPolicyRules?.some((rule) => rule.action === 'Restart' && exitMatches(rule.exitCodes, ended.exitCode))) return true
  const policy = spec.restartPolicy ?? pod.spec?.restartPolicy ?? 'Always'
  if (kind === 'init') return ended.exitCode !== 0 && policy !== 'Never'
  return policy === 'Always' || (policy === 'OnFailure' && ended.exitCode !== 0)
}

function exitMatches(rule: ContainerRestartRuleOnExitCodes | undefined, code: number): boolean {
  return rule !== undefined && (rule.values ?? []).includes(code) === (rule.operator === 'In')
}

/** Removes dead containers but the newest two of each name, and dead sandboxes that hold none of those. */
function clean(input: PlanInput, current: Sandbox | undefined, draft: Draft): void {
  const kept = new Set<string>()
  for (const { spec } of containersOf(input.pod)) {
    const ofName = byAttempt(input.observed.containers.filter((c) => c.name === spec.name))
    for (const c of ofName.slice(0, 2)) kept.add(c.sandboxId)
    for (const c of ofName.slice(2)) if (c.state === 'exited') draft.add({ type: 'remove', id: c.id })
  }
  for (const s of input.observed.sandboxes) {
    if (s !== current && s.state === 'not-ready' && !kept.has(s.id) && current) draft.add({ type: 'remove-sandbox', id: s.id })
  }
}
