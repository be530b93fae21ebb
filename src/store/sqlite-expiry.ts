/**
 * What the wall clock's jumps do to keys that end by themselves: their ends move with it, so that a board that learns the date
 * does not lose everything at once. Pure; `sqlite.ts` asks it before each look at what is due.
 */
import type { Revision } from './store.ts'

/** Smaller steps are a clock being set right, and move nothing, ms. */
const JUMP_MS = 30_000

/** Ends stamped after revision `since` move by `by` ms. */
export interface Moved {
  readonly by: number
  readonly since: Revision
}

/** One process's view of the wall clock. */
export class ExpiryClock {
  #last: { readonly wall: number; readonly mono: number } | undefined
  /** What was stamped after it, the clock as it is now stamped. */
  #since: Revision

  constructor(newest: Revision) {
    this.#since = newest
  }

  /** Notes the time; tells a jump since the last call. */
  tick(wall: number, mono: number, newest: Revision): Moved | undefined {
    const by = this.#last ? wall - this.#last.wall - (mono - this.#last.mono) : 0
    this.#last = { wall, mono }
    if (Math.abs(by) <= JUMP_MS) return undefined
    const moved = { by, since: this.#since }
    this.#since = newest
    return moved
  }
}
