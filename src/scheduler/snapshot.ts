/**
 * What the scheduler knows of nodes and the pods on them, kept current change by change so that one decision costs no
 * recount. A decision is synchronous, so the view is frozen while it is made. Bounded by the cluster's nodes and pods.
 *
 * Invariant: a pod counts on exactly one node, the one it is bound to or assumed on; an assumed pod stays until the cache
 * shows the binding or the binding failed.
 */
import type { Node, Pod } from '../api/gen/types.ts'
import { keyOf } from '../client/mod.ts'
import { amountsOf, podHostPorts, podRequests, type Amounts, type HostPort } from './requests.ts'

export interface NodeView {
  readonly node: Readonly<Node>
  readonly name: string
  readonly allocatable: Amounts
  /** Sum of what its pods ask for. */
  readonly requested: Amounts
  readonly ports: readonly HostPort[]
  readonly pods: readonly Readonly<Pod>[]
  /** Those of them with required anti-affinity. */
  readonly objecting: readonly Readonly<Pod>[]
}

interface Placed {
  readonly pod: Readonly<Pod>
  readonly node: string
  readonly requests: Amounts
  readonly ports: readonly HostPort[]
}

/** See the file's header. Changes go in by `set…` and `assume`; `views` is what a decision reads. */
export class ClusterSnapshot {
  readonly #nodes = new Map<string, Readonly<Node>>()
  readonly #placed = new Map<string, Placed>()
  readonly #onNode = new Map<string, Set<string>>()
  readonly #views = new Map<string, NodeView>()

  setNode(name: string, node: Readonly<Node> | undefined): void {
    this.#views.delete(name)
    if (node) this.#nodes.set(name, node)
    else this.#nodes.delete(name)
  }

  /** Takes note of a pod as it is now; undefined, finished or unplaced ones take no room. */
  setPod(key: string, pod: Readonly<Pod> | undefined): void {
    const phase = pod?.status?.phase
    const node = phase === 'Succeeded' || phase === 'Failed' ? undefined : pod?.spec?.nodeName
    // The cache may still show the pod unbound after we bound it: the assumption holds until it shows otherwise.
    if (pod && pod.spec?.nodeName === undefined && this.#placed.get(key)?.pod.metadata?.uid === pod.metadata?.uid) return
    this.forget(key)
    if (pod && node !== undefined) this.#place(key, pod, node)
  }

  /** Counts a pod on a node before the API confirms it. */
  assume(pod: Readonly<Pod>, node: string): void {
    const key = keyOf(pod)
    this.forget(key)
    this.#place(key, pod, node)
  }

  forget(key: string): void {
    const placed = this.#placed.get(key)
    if (!placed) return
    this.#placed.delete(key)
    this.#onNode.get(placed.node)?.delete(key)
    this.#views.delete(placed.node)
  }

  /** All nodes, each view made anew only when something on it changed. */
  views(): NodeView[] {
    return [...this.#nodes.keys()].map((name) => this.#view(name)).filter((v) => v !== undefined)
  }

  #view(name: string): NodeView | undefined {
    const made = this.#views.get(name)
    const node = this.#nodes.get(name)
    if (made || !node) return made
    const placed = [...(this.#onNode.get(name) ?? [])].map((key) => this.#placed.get(key)).filter((p) => p !== undefined)
    const requested = new Map<string, number>()
    for (const { requests } of placed) for (const [r, n] of requests) requested.set(r, (requested.get(r) ?? 0) + n)
    const allocatable = amountsOf(node.status?.allocatable ?? node.status?.capacity)
    const pods = placed.map((p) => p.pod)
    const objecting = pods.filter((p) => p.spec?.affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution !== undefined)
    const view = { node, name, allocatable, requested, ports: placed.flatMap((p) => p.ports), pods, objecting }
    this.#views.set(name, view)
    return view
  }

  #place(key: string, pod: Readonly<Pod>, node: string): void {
    this.#placed.set(key, { pod, node, requests: podRequests(pod), ports: podHostPorts(pod) })
    const keys = this.#onNode.get(node) ?? new Set()
    this.#onNode.set(node, keys.add(key))
    this.#views.delete(node)
  }
}
