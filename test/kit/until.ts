/** Waiting for a state of the world in tests: no fixed sleeps, a clear failure when it never comes. */
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Resolves with the first defined, non-false answer of `probe`, tried every few ms.
 * @throws Error naming `what` after `timeoutMs` (default 5000)
 */
export async function until<T>(what: string, probe: () => T | undefined | false | Promise<T | undefined | false>, timeoutMs = 5_000): Promise<T> {
  const end = performance.now() + timeoutMs
  for (;;) {
    const found = await probe()
    if (found !== undefined && found !== false) return found
    if (performance.now() > end) throw new Error(`wait for ${what}: not within ${timeoutMs} ms`)
    await sleep(4)
  }
}
