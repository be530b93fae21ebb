/** What every controller is given. */
import type { Clock } from '../base/clock.ts'
import { createEventRecorder, type CacheSet, type Client, type EventRecorder } from '../client/mod.ts'

export interface ControllerContext {
  readonly client: Client
  readonly caches: CacheSet
  readonly clock: Clock
  /** The event recorder of a component, run by whoever made the context. */
  readonly recorder: (component: string) => EventRecorder
}

/** A context, and the background work of its recorders. */
export function createContext(parts: Pick<ControllerContext, 'client' | 'caches' | 'clock'>): {
  context: ControllerContext
  background: ((signal: AbortSignal) => Promise<void>)[]
} {
  const background: ((signal: AbortSignal) => Promise<void>)[] = []
  const recorder = (component: string): EventRecorder => {
    const made = createEventRecorder({ client: parts.client, clock: parts.clock, component })
    background.push((signal) => made.run(signal))
    return made
  }
  return { context: { ...parts, recorder }, background }
}
