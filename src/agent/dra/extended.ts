/** Extended resources of one node: which of its devices which container has. Pure but for what it remembers; a pod's go with it. */
import type { Pod } from '../../api/gen/types.ts'
import { containersOf, uidOf } from '../pods/names.ts'
import { limitOf } from '../pods/quantities.ts'

/** By container, by resource: what it was given; paths, or numbers for what has no device node. */
export type Given = Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>

/** What is given to whom; see the file's header. */
export class ExtendedResources {
  #offered: ReadonlyMap<string, readonly string[]> = new Map()
  readonly #given = new Map<string, Given>()

  /** What there is now, by resource. What was given stays given. */
  offer(offered: ReadonlyMap<string, readonly string[]>): void {
    this.#offered = offered
  }

  /** Takes note of what a pod was given before the agent started. */
  restore(uid: string, given: Given): void {
    this.#given.set(uid, given)
  }

  given(uid: string): Given {
    return this.#given.get(uid) ?? {}
  }

  forget(uid: string): void {
    this.#given.delete(uid)
  }

  /**
   * Gives a pod what its containers ask for of resources that this node has under these names; what init containers had serves again
   * for those after them. Returns why that cannot be, in the kubelet's words. Asking again changes nothing.
   */
  admit(pod: Readonly<Pod>, isLive: (uid: string) => boolean): string | undefined {
    const uid = uidOf(pod)
    if (this.#given.has(uid)) return undefined
    for (const other of this.#given.keys()) if (!isLive(other)) this.#given.delete(other)
    const given: Record<string, Record<string, string[]>> = {}
    for (const [resource, all] of this.#offered) {
      const taken = new Set([...this.#given.values()].flatMap((g) => Object.values(g).flatMap((c) => c[resource] ?? [])))
      const free = all.filter((d) => !taken.has(d))
      const reusable: string[] = []
      for (const { kind, spec } of containersOf(pod)) {
        const wanted = limitOf(spec, resource)
        if (wanted === 0 || kind === 'ephemeral') continue
        const mine = [...reusable.splice(0, wanted)]
        const available = mine.length + free.length
        mine.push(...free.splice(0, wanted - mine.length))
        if (mine.length < wanted) return `Allocate failed due to requested number of devices unavailable for ${resource}. Requested: ${wanted}, Available: ${available}, which is unexpected`
        if (kind === 'init') reusable.push(...mine)
        ;(given[spec.name] ??= {})[resource] = mine
      }
    }
    if (Object.keys(given).length > 0) this.#given.set(uid, given)
    return undefined
  }
}
