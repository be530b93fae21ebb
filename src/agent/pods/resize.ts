/**
 * In-place resize of one pod: what it asks for (spec), what it was given (allocated), and what its containers have (applied). A pod
 * gets what fits, or waits with the reason as its condition PodResizePending; until all containers have it, PodResizeInProgress says so.
 * What a container was made with stands on it, so that nothing is forgotten by an agent that restarts. The decisions are pure.
 */
import type { Container as ContainerSpec, Pod, ResourceRequirements } from '../../api/gen/types.ts'
import type { Container } from '../../cri/mod.ts'
import { ANNOTATION_RESOURCES, containersOf, formerStatus, idOf } from './names.ts'
import { amount } from './quantities.ts'

const COMPUTE = ['cpu', 'memory'] as const
export type Compute = (typeof COMPUTE)[number]

/** Why a pod does not get what it asks for: not now, or never on this node. */
export interface Pending {
  readonly reason: 'Deferred' | 'Infeasible'
  readonly message: string
}

/** What of two resources differs, as amounts. */
export function changes(a: ResourceRequirements | undefined, b: ResourceRequirements | undefined): readonly Compute[] {
  return COMPUTE.filter((r) => (['requests', 'limits'] as const).some((w) => amount(a?.[w]?.[r]) !== amount(b?.[w]?.[r])))
}

/** The pod with other resources of its containers, by name; the pod itself when nothing differs. */
export function withResources(pod: Readonly<Pod>, of: (name: string) => ResourceRequirements | undefined): Readonly<Pod> {
  const { spec } = pod
  if (!spec) return pod
  let differs = false
  const swap = (c: ContainerSpec): ContainerSpec => {
    const given = of(c.name)
    if (given === undefined || changes(given, c.resources).length === 0) return c
    differs = true
    return { ...c, resources: given }
  }
  const [containers, initContainers] = [spec.containers.map(swap), spec.initContainers?.map(swap)]
  return differs ? { ...pod, spec: { ...spec, containers, ...(initContainers && { initContainers }) } } : pod
}

/** Whether a change of these resources needs the container to start anew, by its own policy. */
export function needsRestart(spec: ContainerSpec, changed: readonly Compute[]): boolean {
  return changed.some((r) => spec.resizePolicy?.some((p) => p.resourceName === r && p.restartPolicy === 'RestartContainer'))
}

/** What is to be done so that a container has what was given. */
export interface Resize {
  readonly container: Container
  readonly spec: ContainerSpec
  readonly changed: readonly Compute[]
}

/** The resources of one pod on this node; see the header. */
export class Resizes {
  /** By container name. */
  readonly #allocated = new Map<string, ResourceRequirements>()
  /** By container id; bounded by {@link forget}. */
  readonly #applied = new Map<string, ResourceRequirements>()
  readonly #restarting = new Set<string>()
  #pending: Pending | undefined
  /** Why the last try to change a container failed. */
  failure: string | undefined

  /** Asks `judge` for what the pod wants and has not got. True when something was given just now. */
  consider(pod: Readonly<Pod>, judge: (wanted: Readonly<Pod>) => Pending | undefined): boolean {
    let wanted = false
    for (const { kind, spec } of containersOf(pod)) {
      if (kind === 'init' || kind === 'ephemeral') continue
      const has = this.#allocated.get(spec.name) ?? this.#begin(pod, spec)
      wanted ||= changes(has, spec.resources).length > 0
    }
    this.#pending = wanted ? judge(pod) : undefined
    if (!wanted || this.#pending) return false
    for (const { spec } of containersOf(pod)) if (this.#allocated.has(spec.name)) this.#allocated.set(spec.name, spec.resources ?? {})
    return true
  }

  /** What a container was given when this agent first saw its pod: what the status says, else what it asks for. */
  #begin(pod: Readonly<Pod>, spec: ContainerSpec): ResourceRequirements {
    const former = formerStatus(pod, spec.name)
    const given = former?.containerID !== undefined && former.resources !== undefined ? { ...former.resources, ...(former.allocatedResources && { requests: { ...former.resources.requests, ...former.allocatedResources } }) } : (spec.resources ?? {})
    this.#allocated.set(spec.name, given)
    return given
  }

  /** The pod with what it was given. */
  allocated(pod: Readonly<Pod>): Readonly<Pod> {
    return withResources(pod, (name) => this.#allocated.get(name))
  }

  get pending(): Pending | undefined {
    return this.#pending
  }

  /** What a container has now. */
  applied(pod: Readonly<Pod>, c: Container): ResourceRequirements {
    const known = this.#applied.get(c.id)
    if (known) return known
    const former = formerStatus(pod, c.name)
    const given = former?.containerID === idOf(c) && former.resources !== undefined ? former.resources : (made(c) ?? this.#allocated.get(c.name) ?? {})
    this.#applied.set(c.id, given)
    return given
  }

  /** Running containers that have not got what the pod was given. */
  open(pod: Readonly<Pod>, containers: readonly Container[]): readonly Resize[] {
    return containersOf(this.allocated(pod)).flatMap(({ spec }) => {
      if (!this.#allocated.has(spec.name)) return []
      return containers
        .filter((c) => c.name === spec.name && c.state === 'running')
        .map((container) => ({ container, spec, changed: changes(this.applied(pod, container), spec.resources) }))
        .filter((r) => r.changed.length > 0)
    })
  }

  /** The pod with what its containers have now. */
  former(pod: Readonly<Pod>, containers: readonly Container[]): Readonly<Pod> {
    const running = new Map(containers.filter((c) => c.state === 'running').map((c) => [c.name, c]))
    return withResources(this.allocated(pod), (name) => {
      const c = running.get(name)
      return c && this.applied(pod, c)
    })
  }

  /** A container has its new resources. */
  has(id: string, resources: ResourceRequirements | undefined): void {
    this.#applied.set(id, resources ?? {})
  }

  /** A container must start anew to have its new resources: while it runs, and after it was ended for that. */
  restarts(pod: Readonly<Pod>, c: Container): boolean {
    if (c.state !== 'running') return this.#restarting.has(c.id)
    const open = this.open(pod, [c])[0]
    const must = open !== undefined && needsRestart(open.spec, open.changed)
    if (must) this.#restarting.add(c.id)
    return must
  }

  /** Containers that are no more are forgotten. */
  forget(containers: readonly Container[]): void {
    const ids = new Set(containers.map((c) => c.id))
    for (const id of this.#applied.keys()) if (!ids.has(id)) this.#applied.delete(id)
    for (const id of this.#restarting) if (!ids.has(id)) this.#restarting.delete(id)
  }
}

/** What a container was made with. */
function made(c: Container): ResourceRequirements | undefined {
  try {
    return JSON.parse(c.annotations[ANNOTATION_RESOURCES] ?? '') as ResourceRequirements
  } catch {
    return undefined // made by an agent that did not write it
  }
}
