/** Runs controllers together: all start at once, each waits for its own caches; the first failure stops all and is thrown. */
import { Scope } from '../base/scope.ts'
import type { Controller } from './controller.ts'

export interface Manager {
  /** Ends when the signal aborts and all controllers have ended. @throws the first failure of a controller */
  run(signal: AbortSignal): Promise<void>
  /** Resolves when every controller reconciles. */
  readonly ready: Promise<void>
}

/** @param background other work with the same lifetime, e.g. an event recorder */
export function createManager(controllers: readonly Controller[], background: readonly ((signal: AbortSignal) => Promise<void>)[] = []): Manager {
  return {
    ready: allReady(controllers),
    async run(signal) {
      await using scope = new Scope('manager', signal)
      for (const work of background) scope.run('background', work)
      for (const controller of controllers) scope.run(controller.name, (s) => controller.run(s))
      await scope.done()
    },
  }
}

async function allReady(controllers: readonly Controller[]): Promise<void> {
  await Promise.all(controllers.map((c) => c.ready))
}
