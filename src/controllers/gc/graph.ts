/**
 * The graph of who owns whom, pure of I/O: objects by uid with their owners and dependents, and what is to be done with
 * one. Bounded by the objects of the API; holds names and references only.
 */
import type { KubeObject, OwnerReference } from '../../api/meta.ts'
import { FINALIZER_FOREGROUND, FINALIZER_ORPHAN } from '../../control/mod.ts'
import type { ResourceRef } from '../../client/mod.ts'

export interface GraphNode {
  readonly uid: string
  readonly ref: ResourceRef
  readonly name: string
  readonly namespace: string | undefined
  owners: readonly OwnerReference[]
  /** Deletion was asked for. */
  leaving: boolean
  finalizers: readonly string[]
}

export type GcStep =
  | { readonly do: 'nothing' }
  /** Owners that the graph does not know must be looked up: they may be gone, or not yet seen. */
  | { readonly do: 'verify'; readonly owners: readonly OwnerReference[] }
  /**
   * No owner is left: delete, in the foreground when an owner waits for it. `unblock`: what it owns waits in the foreground too, perhaps for it
   * (a circle), so nobody is to wait for this one: its references cease to block first.
   */
  | { readonly do: 'delete'; readonly policy: 'Background' | 'Foreground' | 'Orphan'; readonly unblock?: true }
  /** Some owners are gone: take their references off. */
  | { readonly do: 'unlink'; readonly uids: readonly string[] }
  /** It is leaving and its dependents are to stay: take its reference off them, then the finalizer. */
  | { readonly do: 'orphan'; readonly dependents: readonly GraphNode[] }
  /** It is leaving and waits for its dependents: these are to be deleted now; when none blocks, take the finalizer off. */
  | { readonly do: 'foreground'; readonly dependents: readonly GraphNode[]; readonly blocked: boolean }

/** See the file's header. Feed it with `put` and `remove`, ask it with `step`. */
export class OwnerGraph {
  readonly #nodes = new Map<string, GraphNode>()
  readonly #dependents = new Map<string, Set<string>>()
  readonly #absent = new Set<string>()
  readonly #isNamespaced: (owner: OwnerReference) => boolean

  /** @param isNamespaced true for a reference to a kind that is known to live in namespaces */
  constructor(isNamespaced: (owner: OwnerReference) => boolean = () => false) {
    this.#isNamespaced = isNamespaced
  }

  get(uid: string): GraphNode | undefined {
    return this.#nodes.get(uid)
  }

  /** All nodes of a resource, for a relist. */
  of(ref: ResourceRef): GraphNode[] {
    return [...this.#nodes.values()].filter((n) => n.ref.group === ref.group && n.ref.resource === ref.resource)
  }

  dependentsOf(uid: string): GraphNode[] {
    return [...(this.#dependents.get(uid) ?? [])].map((d) => this.#nodes.get(d)).filter((n) => n !== undefined)
  }

  put(ref: ResourceRef, object: Readonly<KubeObject>): GraphNode {
    const { uid = '', name = '', namespace, ownerReferences = [], deletionTimestamp, finalizers = [] } = object.metadata ?? {}
    this.#unlink(uid)
    const node: GraphNode = { uid, ref, name, namespace, owners: ownerReferences, leaving: deletionTimestamp !== undefined, finalizers }
    this.#nodes.set(uid, node)
    this.#absent.delete(uid)
    for (const owner of ownerReferences) {
      const set = this.#dependents.get(owner.uid) ?? new Set()
      this.#dependents.set(owner.uid, set.add(uid))
    }
    return node
  }

  /** The object is gone; returns whom that concerns. */
  remove(uid: string): { owners: string[]; dependents: string[] } {
    const owners = this.#nodes.get(uid)?.owners.map((o) => o.uid) ?? []
    const dependents = [...(this.#dependents.get(uid) ?? [])]
    this.#unlink(uid)
    this.#nodes.delete(uid)
    if (dependents.length > 0) this.markAbsent(uid)
    return { owners, dependents }
  }

  /** The API says that no object has this uid (any more). Uids are never used again, so this stays true. */
  markAbsent(uid: string): void {
    this.#absent.add(uid)
    // Only owners that something still refers to are worth remembering; others can be asked for again.
    if (this.#absent.size > 10_000) for (const old of this.#absent) if (!this.#dependents.has(old)) this.#absent.delete(old)
  }

  /** What is to be done with an object now. */
  step(uid: string): GcStep {
    const node = this.#nodes.get(uid)
    if (!node) return { do: 'nothing' }
    if (node.leaving) {
      if (node.finalizers.includes(FINALIZER_ORPHAN)) return { do: 'orphan', dependents: this.dependentsOf(uid) }
      if (!node.finalizers.includes(FINALIZER_FOREGROUND)) return { do: 'nothing' }
      const dependents = this.dependentsOf(uid)
      const blocked = dependents.some((d) => d.owners.some((o) => o.uid === uid && o.blockOwnerDeletion === true))
      return { do: 'foreground', dependents: dependents.filter((d) => !d.leaving), blocked }
    }
    if (node.owners.length === 0) return { do: 'nothing' }
    // Nothing in a namespace can own what is in none: such an object is left alone, as in Kubernetes.
    if (node.owners.some((o) => this.#isOutOfReach(node, o))) return { do: 'nothing' }
    const unknown = node.owners.filter((o) => !this.#nodes.has(o.uid) && !this.#absent.has(o.uid))
    if (unknown.length > 0) return { do: 'verify', owners: unknown }
    const absent = node.owners.filter((o) => this.misses(node, o))
    const waiting = node.owners.filter((o) => !absent.includes(o) && this.#waitsForDependents(o.uid))
    const solid = node.owners.length - absent.length - waiting.length
    if (solid > 0) {
      const uids = [...absent, ...waiting].map((o) => o.uid)
      return uids.length === 0 ? { do: 'nothing' } : { do: 'unlink', uids }
    }
    // An owner that waits in the foreground wants the whole tree below it gone before itself.
    if (waiting.length > 0) {
      const dependents = this.dependentsOf(uid)
      const circle = dependents.some((d) => this.#waitsForDependents(d.uid)) && node.owners.some((o) => o.blockOwnerDeletion === true)
      return { do: 'delete', policy: dependents.length > 0 ? 'Foreground' : 'Background', ...(circle && { unblock: true as const }) }
    }
    return { do: 'delete', policy: node.finalizers.includes(FINALIZER_ORPHAN) ? 'Orphan' : 'Background' }
  }

  /** True when a reference leads nowhere: its owner is gone, or is not what the reference names, in the object's namespace or in none. */
  misses(node: GraphNode, owner: OwnerReference): boolean {
    const known = this.#nodes.get(owner.uid)
    if (!known) return this.#absent.has(owner.uid)
    return known.name !== owner.name || (known.namespace !== undefined && known.namespace !== node.namespace)
  }

  #isOutOfReach(node: GraphNode, owner: OwnerReference): boolean {
    return node.namespace === undefined && (this.#nodes.get(owner.uid)?.namespace !== undefined || this.#isNamespaced(owner))
  }

  #waitsForDependents(uid: string): boolean {
    const owner = this.#nodes.get(uid)
    return owner?.leaving === true && owner.finalizers.includes(FINALIZER_FOREGROUND)
  }

  #unlink(uid: string): void {
    for (const owner of this.#nodes.get(uid)?.owners ?? []) {
      const set = this.#dependents.get(owner.uid)
      set?.delete(uid)
      if (set?.size === 0) this.#dependents.delete(owner.uid)
    }
  }
}
