/**
 * The status of a pod as the kubelet would write it, computed from what the runtime shows and what the worker remembers.
 * Pure; the order of `containerStatuses` follows the spec, and nothing changes when nothing happened, so that equal means equal.
 */
import type { Container as ContainerSpec, ContainerState, ContainerStatus, Pod, PodCondition, PodStatus, ResourceRequirements } from '../../api/gen/types.ts'
import type { Container } from '../../cri/mod.ts'
import { byAttempt, finished, latest, restarts, type Observed } from './planner.ts'
import { ANNOTATION_HASH, ANNOTATION_RESTARTS, containersOf, formerStatus, hashOf, idOf, isTerminal, type NamedContainer } from './names.ts'
import { qosOf } from './quantities.ts'

export interface Waiting {
  readonly reason: string
  readonly message: string
}

/** Why this node ends a pod, in the words of its status. */
export interface Verdict {
  readonly reason: string
  readonly message: string
  /** Grace of its containers, seconds. @default the pod's */
  readonly graceSeconds?: number
  /** The node takes the pod's place away: told as the condition DisruptionTarget, in these words. @default those of `message` when true */
  readonly disrupts?: boolean | string
  /** The pod was never let in: nothing of it ran. */
  readonly refused?: boolean
}

export interface StatusInput {
  readonly pod: Readonly<Pod>
  readonly observed: Observed
  readonly now: number
  readonly startedAtMs: number
  readonly hostIPs: readonly string[]
  readonly podIPs: readonly string[]
  /** Why a container does not run yet, by name; crash backoff included. */
  readonly waiting: ReadonlyMap<string, Waiting>
  readonly started: (containerId: string) => boolean
  readonly ready: (containerId: string) => boolean
  /** Why the pod ended or ends though its containers did not want to: refused, evicted, its time is over. */
  readonly verdict?: Verdict | undefined
  /** What a running container has, what its pod was given, and how far a change of that is. @default nothing is told of it */
  readonly resources?: {
    readonly applied: (c: Container) => ResourceRequirements
    readonly allocated: (name: string) => ResourceRequirements | undefined
    readonly pending: { readonly reason: string; readonly message: string } | undefined
    readonly inProgress: boolean
    readonly failure: string | undefined
  }
  /** Whether read-only mounts can be so all the way down. @default as the status had it */
  readonly recursiveReadOnly?: boolean | undefined
  /** An ended container that starts anew, whatever its policy says. @default none */
  readonly resized?: (c: Container) => boolean
  /** Everything has been stopped for good; what never ran is then terminated, not waiting. */
  readonly stopped: boolean
}

/** The whole status. Conditions and fields of others are taken over from `pod.status`. */
export function podStatus(input: StatusInput): PodStatus {
  const { pod } = input
  if (input.verdict?.refused) return refusedStatus(input, input.verdict)
  // Ended for good, and nothing is left here to say more than was said.
  if (pod.status && isTerminal(pod) && input.observed.containers.length === 0) return pod.status
  const all = containersOf(pod)
  const statuses = new Map(all.map((item) => [item.spec.name, containerStatus(input, item, all)]))
  const phase = phaseOf(input, all, statuses)
  const former = pod.status
  const podIPs = input.podIPs.length > 0 ? input.podIPs : pod.spec?.hostNetwork ? input.hostIPs : keptIPs(input, phase)
  const of = (...kinds: readonly string[]): ContainerStatus[] => all.filter((c) => kinds.includes(c.kind)).map((c) => statuses.get(c.spec.name) as ContainerStatus)
  const init = of('init', 'sidecar')
  const ephemeral = of('ephemeral')
  return {
    ...keep(former),
    ...(input.verdict && phase === 'Failed' ? { reason: input.verdict.reason, message: input.verdict.message } : {}),
    phase,
    conditions: conditions(input, all, statuses, phase),
    ...(pod.metadata?.generation === undefined ? {} : { observedGeneration: pod.metadata.generation }),
    ...(input.hostIPs[0] === undefined ? {} : { hostIP: input.hostIPs[0], hostIPs: input.hostIPs.map((ip) => ({ ip })) }),
    ...(podIPs[0] === undefined ? {} : { podIP: podIPs[0], podIPs: podIPs.map((ip) => ({ ip })) }),
    startTime: former?.startTime ?? iso(input.startedAtMs),
    ...(init.length === 0 ? {} : { initContainerStatuses: init }),
    containerStatuses: of('main'),
    ...(ephemeral.length === 0 ? {} : { ephemeralContainerStatuses: ephemeral }),
    qosClass: former?.qosClass ?? qosOf(pod.spec),
  }
}

/** A pod that this node did not let in. */
function refusedStatus(input: StatusInput, verdict: Verdict): PodStatus {
  const { status, metadata, spec } = input.pod
  return {
    ...keep(status),
    phase: 'Failed',
    reason: verdict.reason,
    message: verdict.message,
    ...(status?.conditions ? { conditions: status.conditions } : {}),
    ...(metadata?.generation === undefined ? {} : { observedGeneration: metadata.generation }),
    startTime: status?.startTime ?? iso(input.startedAtMs),
    qosClass: status?.qosClass ?? qosOf(spec),
  }
}

/** Fields of the status that others own or that stay as they were. */
function keep(former: PodStatus | undefined): Partial<PodStatus> {
  const out: Partial<PodStatus> = {}
  for (const field of ['nominatedNodeName', 'reason', 'message', 'resourceClaimStatuses'] as const) {
    if (former?.[field] !== undefined) Object.assign(out, { [field]: former[field] })
  }
  return out
}

/** A pod that ended keeps the address it had. */
function keptIPs(input: StatusInput, phase: string): readonly string[] {
  const ended = phase === 'Succeeded' || phase === 'Failed'
  return ended || input.stopped ? (input.pod.status?.podIPs ?? []).flatMap((p) => (p.ip === undefined ? [] : [p.ip])) : []
}

function containerStatus(input: StatusInput, item: NamedContainer, all: readonly NamedContainer[]): ContainerStatus {
  const { pod, observed } = input
  const { spec } = item
  const attempts = byAttempt(observed.containers.filter((c) => c.name === spec.name))
  const [now, before] = attempts
  const former = formerStatus(pod, spec.name)
  const base = { name: spec.name, image: spec.image ?? '', imageID: '', ready: false, restartCount: former?.restartCount ?? 0, started: false }
  const wait = input.waiting.get(spec.name)
  if (!now || now.state === 'created') {
    const last = now ? before : undefined
    const lost = item.kind === 'main' && initialized(observed, all) ? NEVER_SEEN : undefined
    const state = (input.stopped && (former?.state?.terminated ? former.state : lost)) || waiting(wait ?? notYet(pod, item, all))
    return {
      ...base,
      ...(former?.containerID === undefined || !input.stopped ? {} : { containerID: former.containerID, imageID: former.imageID }),
      restartCount: now?.attempt ?? base.restartCount,
      state,
      lastState: last ? terminated(last) : (former?.lastState ?? {}),
    }
  }
  const common = {
    ...base,
    image: now.image || base.image,
    imageID: now.imageRef,
    containerID: idOf(now),
    restartCount: restartsOf(now),
    ...mountsOf(spec, input.recursiveReadOnly, former),
    ...resourcesOf(input, item, now),
    lastState: before?.state === 'exited' ? terminated(before) : (lastOf(former, now) ?? {}),
  }
  if (now.state === 'running') {
    const started = input.started(now.id)
    const ready = item.kind === 'init' || item.kind === 'ephemeral' ? false : started && input.ready(now.id)
    return { ...common, state: { running: { startedAt: iso(now.startedAtMs) } }, started, ready }
  }
  // Ended: either for good, or waiting for its next start with the end moved to lastState.
  if (wait && !input.stopped && startsAgain(pod, item, now)) return { ...common, state: waiting(wait), lastState: terminated(now) }
  return { ...common, state: terminated(now), ready: item.kind === 'init' && now.exitCode === 0 }
}

/** What a kubelet says of a container that a pod which has ended should have had. */
const NEVER_SEEN: ContainerState = { terminated: { exitCode: 137, reason: 'ContainerStatusUnknown', message: 'The container could not be located when the pod was terminated' } }

/** Whether the main containers could have begun. */
function initialized(observed: Observed, all: readonly NamedContainer[]): boolean {
  return all.every(({ kind, spec }) => {
    const c = kind === 'init' || kind === 'sidecar' ? latest(observed, spec.name) : undefined
    return kind === 'init' ? c?.state === 'exited' && c.exitCode === 0 : kind !== 'sidecar' || c !== undefined
  })
}

/** Whether an ended container has another start before it: by policy, or as its definition changed. One that failed to start counts as ended. */
function startsAgain(pod: Readonly<Pod>, { kind, spec }: NamedContainer, ended: Container): boolean {
  return kind !== 'ephemeral' && (restarts(pod, kind, spec, ended) || ended.annotations[ANNOTATION_HASH] !== hashOf(spec))
}

/** What a container has, and what of its requests it was given. */
function resourcesOf(input: StatusInput, item: NamedContainer, c: Container): Pick<ContainerStatus, 'resources' | 'allocatedResources'> {
  if (!input.resources || item.kind === 'ephemeral') return {}
  const allocated = input.resources.allocated(item.spec.name) ?? item.spec.resources ?? {}
  const has = c.state === 'running' ? input.resources.applied(c) : allocated
  const { requests, limits } = has
  return { resources: { ...(requests && { requests }), ...(limits && { limits }) }, ...(allocated.requests && { allocatedResources: allocated.requests }) }
}

/** What of the pod's volumes a container sees. */
function mountsOf(spec: ContainerSpec, canRecurse: boolean | undefined, former: ContainerStatus | undefined): Pick<ContainerStatus, 'volumeMounts'> {
  const deep = (wanted: string | undefined, path: string): boolean =>
    wanted === 'Enabled' || (wanted === 'IfPossible' && (canRecurse ?? former?.volumeMounts?.find((m) => m.mountPath === path)?.recursiveReadOnly === 'Enabled'))
  const volumeMounts = (spec.volumeMounts ?? []).map(({ name, mountPath, readOnly, recursiveReadOnly }) => ({
    name,
    mountPath,
    ...(readOnly ? { readOnly, recursiveReadOnly: deep(recursiveReadOnly, mountPath) ? 'Enabled' : 'Disabled' } : {}),
  }))
  return volumeMounts.length === 0 ? {} : { volumeMounts }
}

/** lastState of a container whose predecessor the runtime has forgotten: as the API had it, unless that was this very one. */
function lastOf(former: ContainerStatus | undefined, now: Container): ContainerState | undefined {
  if (former?.state?.terminated && former.state.terminated.containerID !== idOf(now)) return { terminated: former.state.terminated }
  return former?.lastState
}

/** How often a container was started before this time, as written on it. */
export function restartsOf(c: Container): number {
  const n = Number(c.annotations[ANNOTATION_RESTARTS])
  return Number.isInteger(n) && n >= 0 ? n : c.attempt
}

function notYet(pod: Readonly<Pod>, item: NamedContainer, all: readonly NamedContainer[]): Waiting {
  const blocked = item.kind === 'main' && all.some((c) => c.kind === 'init' || c.kind === 'sidecar')
  return { reason: blocked || item.kind === 'init' ? 'PodInitializing' : 'ContainerCreating', message: '' }
}

const iso = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z')
const waiting = (w: Waiting): ContainerState => ({ waiting: { reason: w.reason, ...(w.message === '' ? {} : { message: w.message }) } })

function terminated(c: Container): ContainerState {
  return {
    terminated: {
      exitCode: c.exitCode,
      reason: c.reason || (c.exitCode === 0 ? 'Completed' : 'Error'),
      ...(c.message === '' ? {} : { message: c.message }),
      ...(c.startedAtMs > 0 ? { startedAt: iso(c.startedAtMs) } : {}),
      finishedAt: iso(c.finishedAtMs),
      containerID: idOf(c),
    },
  }
}

function phaseOf(input: StatusInput, all: readonly NamedContainer[], statuses: ReadonlyMap<string, ContainerStatus>): string {
  const { pod } = input
  const former = pod.status?.phase
  if (former === 'Succeeded' || former === 'Failed') return former
  const of = (kind: string): readonly ContainerStatus[] => all.filter((c) => c.kind === kind).map((c) => statuses.get(c.spec.name) as ContainerStatus)
  const main = of('main')
  const ended = main.filter((s) => s.state?.terminated)
  if (input.verdict && input.stopped) return 'Failed'
  const ran = (s: ContainerStatus): boolean => s.state?.running !== undefined || s.state?.terminated !== undefined || s.lastState?.terminated !== undefined
  if (input.stopped) return [...ended, ...of('init')].some((s) => (s.state?.terminated?.exitCode ?? 0) !== 0) || ended.length < main.length ? 'Failed' : 'Succeeded'
  const failedInit = all.some(({ kind, spec }) => {
    const c = kind === 'init' ? latest(input.observed, spec.name) : undefined
    return c?.state === 'exited' && c.exitCode !== 0 && !restarts(pod, kind, spec, c)
  })
  if (failedInit) return 'Failed'
  if (main.length > 0 && ended.length === main.length && finished(input)) {
    // The sidecars end before the pod does.
    if (of('sidecar').some((s) => s.state?.running)) return 'Running'
    return ended.every((s) => s.state?.terminated?.exitCode === 0) ? 'Succeeded' : 'Failed'
  }
  // One that waits and never ran: not all of them have been set up.
  return main.length > 0 && main.every(ran) ? 'Running' : 'Pending'
}

function conditions(input: StatusInput, all: readonly NamedContainer[], statuses: ReadonlyMap<string, ContainerStatus>, phase: string): PodCondition[] {
  const { pod } = input
  const spec = pod.spec
  const list: { type: string; ok: boolean; reason?: string; message?: string }[] = []
  const ended = phase === 'Succeeded' || phase === 'Failed'
  const sandboxReady = input.observed.sandboxes.some((s) => s.state === 'ready') && (spec?.hostNetwork === true || input.podIPs.length > 0)
  list.push({ type: 'PodReadyToStartContainers', ok: sandboxReady })
  const begun = all.some((c) => c.kind === 'main' && statuses.get(c.spec.name)?.containerID !== undefined)
  const uninit = begun || phase === 'Succeeded' ? [] : all.filter((c) => !initDone(c, statuses.get(c.spec.name))).map((c) => c.spec.name)
  list.push(
    uninit.length === 0
      ? { type: 'Initialized', ok: true, ...(phase === 'Succeeded' ? { reason: 'PodCompleted' } : {}) }
      : { type: 'Initialized', ok: false, reason: 'ContainersNotInitialized', message: `containers with incomplete status: [${uninit.join(' ')}]` },
  )
  const unready = all.filter((c) => (c.kind === 'main' || c.kind === 'sidecar') && !statuses.get(c.spec.name)?.ready).map((c) => c.spec.name)
  const why = ended
    ? { reason: phase === 'Succeeded' ? 'PodCompleted' : 'PodFailed' }
    : { reason: 'ContainersNotReady', message: `containers with unready status: [${unready.join(' ')}]` }
  const containersReady = !ended && unready.length === 0
  const gates = (spec?.readinessGates ?? []).filter((g) => pod.status?.conditions?.find((c) => c.type === g.conditionType)?.status !== 'True')
  const gated = { reason: 'ReadinessGatesNotReady', message: gates.map((g) => `corresponding condition of pod readiness gate "${g.conditionType}" does not exist or is not true.`).join(', ') }
  list.push({ type: 'Ready', ok: containersReady && gates.length === 0, ...(containersReady ? (gates.length > 0 ? gated : {}) : why) })
  list.push({ type: 'ContainersReady', ok: containersReady, ...(containersReady ? {} : why) })
  if (input.verdict?.disrupts) list.push({ type: 'DisruptionTarget', ok: true, reason: 'TerminationByKubelet', message: typeof input.verdict.disrupts === 'string' ? input.verdict.disrupts : input.verdict.message })
  const { pending, inProgress, failure } = (ended ? undefined : input.resources) ?? {}
  if (pending) list.push({ type: 'PodResizePending', ok: true, ...pending })
  if (inProgress) list.push({ type: 'PodResizeInProgress', ok: true, ...(failure === undefined ? {} : { reason: 'Error', message: failure }) })
  list.push({ type: 'PodScheduled', ok: true })
  return merge(input, list)
}

function initDone(item: NamedContainer, status: ContainerStatus | undefined): boolean {
  if (item.kind === 'main' || item.kind === 'ephemeral') return true
  if (item.kind === 'sidecar') return status?.started === true
  return status?.state?.terminated?.exitCode === 0
}

/** Conditions that are there only while they hold. */
const PASSING: ReadonlySet<string> = new Set(['PodResizePending', 'PodResizeInProgress'])

/** Ours in place, with the time of the last change kept; those of others untouched. */
function merge(input: StatusInput, ours: readonly { type: string; ok: boolean; reason?: string; message?: string }[]): PodCondition[] {
  const former = input.pod.status?.conditions ?? []
  const generation = input.pod.metadata?.generation
  const made = ours.map(({ type, ok, ...rest }): PodCondition => {
    const status = ok ? 'True' : 'False'
    const old = former.find((c) => c.type === type)
    return {
      type,
      status,
      ...rest,
      ...(generation === undefined ? {} : { observedGeneration: generation }),
      lastProbeTime: null as never, // the kubelet sends null; clients expect the key
      lastTransitionTime: old?.status === status && old.lastTransitionTime ? old.lastTransitionTime : iso(input.now),
    }
  })
  return [...made, ...former.filter((c) => !PASSING.has(c.type) && !ours.some((o) => o.type === c.type))]
}
