/**
 * A wall clock that does not fall behind what was once known to be the time: a board without a battery boots in 1970, and yet knows that
 * yesterday was in 2026. Used where a node decides or stamps by itself; what is compared with times of others on the same machine
 * (the container runtime's, files') stays with the machine's clock.
 */
import type { Clock, Timer } from './clock.ts'

/** See the header. Above the floor it is the machine's clock; below, the floor and the time that has passed since. */
export class FloorClock implements Clock {
  readonly #inner: Clock
  #floorMs: number
  #at: number

  /** @param floorMs ms since 1970; 0: none is known */
  constructor(inner: Clock, floorMs: number) {
    this.#inner = inner
    this.#floorMs = floorMs
    this.#at = inner.monotonic()
  }

  /** The least that the time can be by now, ms since 1970. */
  get floorMs(): number {
    return this.#floorMs + (this.#inner.monotonic() - this.#at)
  }

  /** It is this late at least, says somebody whose clock is trusted: never by the machine's own, which may be ahead. */
  raise(timeMs: number): void {
    if (!(timeMs > this.floorMs)) return
    this.#floorMs = timeMs
    this.#at = this.#inner.monotonic()
  }

  /** The floor was wrong: whoever said so has set the clock right. */
  rebase(timeMs: number): void {
    this.#floorMs = timeMs
    this.#at = this.#inner.monotonic()
  }

  now(): number {
    return Math.max(this.#inner.now(), this.#floorMs === 0 ? 0 : this.floorMs)
  }

  monotonic(): number {
    return this.#inner.monotonic()
  }

  timer(name: string, ms: number, fn: () => void): Timer {
    return this.#inner.timer(name, ms, fn)
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return this.#inner.sleep(ms, signal)
  }
}
