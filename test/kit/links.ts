/** Node links that a test connects and cuts by hand. */
import type { Clock } from '../../src/base/clock.ts'
import type { LinkState, NodeLinks } from '../../src/base/stream.ts'

export class TestLinks implements NodeLinks {
  readonly #clock: Clock
  readonly #links = new Map<string, LinkState>()
  readonly #listeners = new Set<(node: string, state: LinkState | undefined) => void>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  links(): readonly LinkState[] {
    return [...this.#links.values()]
  }

  onChange(fn: (node: string, state: LinkState | undefined) => void): () => void {
    this.#listeners.add(fn)
    return () => void this.#listeners.delete(fn)
  }

  connect(node: string): void {
    const now = this.#clock.now()
    const state = { node, connectedAtMs: now, lastSeenMs: now, remote: 'test' }
    this.#links.set(node, state)
    for (const fn of this.#listeners) fn(node, state)
  }

  cut(node: string): void {
    this.#links.delete(node)
    for (const fn of this.#listeners) fn(node, undefined)
  }
}
