/**
 * Node links that a test connects and cuts by hand; while connected they give proof of life every 20 s, as the hub's pings do.
 * A link that hangs (`hang`) stays in the list and says nothing, as on a dead line nobody has noticed yet.
 */
import type { Clock, Timer } from '../../src/base/clock.ts'
import type { LinkState, NodeLinks } from '../../src/base/stream.ts'

export class TestLinks implements NodeLinks {
  readonly #clock: Clock
  readonly #links = new Map<string, LinkState>()
  readonly #listeners = new Set<(node: string, state: LinkState | undefined) => void>()
  readonly #timers = new Map<string, Timer>()

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
    this.#heard({ node, connectedAtMs: now, lastSeenMs: now, remote: 'test' })
  }

  /** The line is dead, and nobody knows yet. */
  hang(node: string): void {
    this.#timers.get(node)?.cancel()
  }

  cut(node: string): void {
    this.#timers.get(node)?.cancel()
    this.#timers.delete(node)
    this.#links.delete(node)
    for (const fn of this.#listeners) fn(node, undefined)
  }

  /** Ends all timers; the owner of the cluster calls it. */
  close(): void {
    for (const node of [...this.#links.keys()]) this.#timers.get(node)?.cancel()
  }

  #heard(state: LinkState): void {
    this.#links.set(state.node, state)
    for (const fn of this.#listeners) fn(state.node, state)
    this.#timers.get(state.node)?.cancel()
    this.#timers.set(state.node, this.#clock.timer('test link ping', 20_000, () => this.#heard({ ...state, lastSeenMs: this.#clock.now() })))
  }
}
