/** Which nodes have a link to this server and when each was last heard, costing nothing to ask, however many there are. */
import type { Clock } from '../../base/clock.ts'
import type { NodeLinks } from '../../base/stream.ts'

export interface LinkedNodes {
  /** Monotonic ms of the last proof of life over the present link; undefined without one. */
  heardAt(node: string): number | undefined
  /** Follows the links; returns how to stop. `onChange` is told after the set shows it, and once for each link at the start. */
  follow(onChange: (node: string, linked: boolean) => void): () => void
}

/** Empty until `follow` is called. */
export function linkedNodes(links: NodeLinks, clock: Clock): LinkedNodes {
  const heard = new Map<string, number>()
  return {
    heardAt: (node) => heard.get(node),
    follow(onChange) {
      const stop = links.onChange((node, state) => {
        if (state) heard.set(node, clock.monotonic())
        else heard.delete(node)
        onChange(node, state !== undefined)
      })
      for (const { node, lastSeenMs } of links.links()) {
        heard.set(node, clock.monotonic() - Math.max(0, clock.now() - lastSeenMs))
        onChange(node, true)
      }
      return () => {
        stop()
        heard.clear()
      }
    },
  }
}
