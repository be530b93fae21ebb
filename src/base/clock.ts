/**
 * Time as a replaceable part. Everything that waits or stamps takes a {@link Clock}; only `systemClock` reads the machine.
 * Wall time may jump (a board without a battery boots in 1970); durations are therefore always taken from `monotonic()`.
 */
import { performance } from 'node:perf_hooks'

/** A pending named timer; `cancel` may be called twice. */
export interface Timer {
  readonly name: string
  cancel(): void
}

export interface Clock {
  /** Wall clock, milliseconds since 1970. May jump either way. */
  now(): number
  /** Milliseconds from an arbitrary start; never goes back. */
  monotonic(): number
  /** Calls `fn` once after `ms`. The name shows up in diagnostics. The machine's keep the process alive: cancel what is not wanted. */
  timer(name: string, ms: number, fn: () => void): Timer
  /** Resolves after `ms`, rejects with the signal's reason when it aborts first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

/** The machine's own clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  timer(name, ms, fn) {
    // Node clamps a delay over 2^31-1 ms to 1 ms; a longer wait is cut to that and is the caller's to repeat.
    const handle = setTimeout(fn, Math.min(ms, 2_147_483_647))
    return { name, cancel: () => clearTimeout(handle) }
  },
  sleep: (ms, signal) => sleepOn(systemClock, ms, signal),
}

/** A clock that moves only by `advance`; timers due on the way fire in order of time. */
export class FakeClock implements Clock {
  #now: number
  #mono = 0
  #next = 0
  #timers = new Map<number, { at: number; fn: () => void }>()

  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#now = startMs
  }

  now(): number {
    return this.#now
  }

  monotonic(): number {
    return this.#mono
  }

  timer(name: string, ms: number, fn: () => void): Timer {
    const id = this.#next++
    this.#timers.set(id, { at: this.#mono + Math.max(0, ms), fn })
    return { name, cancel: () => void this.#timers.delete(id) }
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return sleepOn(this, ms, signal)
  }

  /** Number of timers not yet fired or cancelled; a test asserts 0 to show that nothing leaks. */
  get pending(): number {
    return this.#timers.size
  }

  /** Moves time on by `ms`, firing what falls due; lets promises settle between timers. */
  async advance(ms: number): Promise<void> {
    const end = this.#mono + ms
    for (;;) {
      await settle()
      let due: [number, { at: number; fn: () => void }] | undefined
      for (const t of this.#timers) if (t[1].at <= end && (!due || t[1].at < due[1].at)) due = t
      if (!due) break
      this.#now += due[1].at - this.#mono
      this.#mono = due[1].at
      this.#timers.delete(due[0])
      due[1].fn()
    }
    this.#now += end - this.#mono
    this.#mono = end
    await settle()
  }

  /** Jumps the wall clock only, as a wrong or corrected machine clock does. */
  jump(ms: number): void {
    this.#now += ms
  }
}

function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

function sleepOn(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const onAbort = (): void => {
      timer.cancel()
      reject(signal?.reason)
    }
    const timer = clock.timer('sleep', ms, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}
