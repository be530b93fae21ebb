/** Which nodes have a link to this server, as a set that costs nothing to ask, however many there are. */
import type { NodeLinks } from '../../base/stream.ts'

export interface LinkedNodes {
  has(node: string): boolean
  /** Follows the links; returns how to stop. `onChange` is told after the set shows it, and once for each link at the start. */
  follow(onChange: (node: string, linked: boolean) => void): () => void
}

/** Empty until `follow` is called. */
export function linkedNodes(links: NodeLinks): LinkedNodes {
  const linked = new Set<string>()
  return {
    has: (node) => linked.has(node),
    follow(onChange) {
      const stop = links.onChange((node, state) => {
        if (state) linked.add(node)
        else linked.delete(node)
        onChange(node, state !== undefined)
      })
      for (const { node } of links.links()) {
        linked.add(node)
        onChange(node, true)
      }
      return () => {
        stop()
        linked.clear()
      }
    },
  }
}
