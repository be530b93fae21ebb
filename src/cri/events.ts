/**
 * Containers' events as containerd pushes them. containerd announces an exit before CRI has written it down, so an exit
 * is held back until CRI's status agrees (a few ms as a rule, {@link SETTLE_MS} at most): who reads the status on
 * it sees its effect. Other events come as they are. The queue is keyed by container and type: a reader that lags gets each once.
 * Events of the pod's sandbox carry the sandbox's id.
 */
import type { Clock } from '../base/clock.ts'
import { AppError, isAbort } from '../base/errors.ts'
import { stateOf } from './convert.ts'
import { decodeMessage, type GrpcChannel } from './grpc.ts'
import type { RuntimeEvent } from './runtime.ts'

/** Longest wait for CRI to catch up with an event, ms. */
const SETTLE_MS = 2000

interface Envelope {
  readonly topic: string
  readonly event: { readonly value: Buffer } | null
}

/** What a pushed envelope means for us; undefined when it is nobody's business (an exec's exit, an odd topic). */
export function toEvent(topic: string, value: Uint8Array): RuntimeEvent | undefined {
  if (topic === '/tasks/exit') {
    const e = decodeMessage<{ containerId: string; id: string }>('containerd.TaskEvent', value)
    return e.id === e.containerId ? { type: 'exited', containerId: e.containerId } : undefined
  }
  const type = TYPES[topic]
  return type && { type, containerId: decodeMessage<{ containerId: string }>('containerd.TaskStartEvent', value).containerId }
}

const TYPES: Readonly<Record<string, RuntimeEvent['type']>> = {
  '/tasks/start': 'started',
  '/tasks/oom': 'oom',
  '/containers/create': 'created',
  '/containers/delete': 'deleted',
}

/** Pushed events until abort. @throws AppError `unavailable` when containerd goes away; the reader subscribes again and relists */
export async function* runtimeEvents(channel: GrpcChannel, clock: Clock, signal: AbortSignal): AsyncGenerator<RuntimeEvent> {
  const ready = new Map<string, RuntimeEvent>()
  const inner = new AbortController()
  const both = AbortSignal.any([signal, inner.signal])
  let wake: () => void = () => {}
  let failure: unknown
  let ended = false
  const push = (event: RuntimeEvent): void => {
    ready.set(`${event.type} ${event.containerId}`, event)
    wake()
  }
  // Ends with the generator: `inner` aborts it, and the finally below awaits it.
  const reading = (async () => {
    const filters = ['/tasks/start', '/tasks/exit', '/tasks/oom', '/containers/create', '/containers/delete'].map((t) => `namespace==k8s.io,topic=="${t}"`)
    const settling = new Set<Promise<void>>()
    try {
      for await (const envelope of channel.stream<Envelope>('events', 'Subscribe', { filters }, both)) {
        const event = envelope.event && toEvent(envelope.topic, envelope.event.value)
        if (!event) continue
        if (event.type !== 'exited') push(event)
        else {
          const task = settled(channel, clock, event, both).then(() => push(event), () => push(event))
          settling.add(task)
          void task.finally(() => settling.delete(task))
        }
      }
      if (!signal.aborted) failure = new AppError('unavailable', 'read container events: containerd ended the stream')
    } catch (error) {
      failure = error
    }
    await Promise.all(settling)
    ended = true
    wake()
  })()
  try {
    for (;;) {
      const first = ready.entries().next().value
      if (first) {
        ready.delete(first[0])
        yield first[1]
      } else if (ended) break
      else await new Promise<void>((resolve) => (wake = resolve))
    }
    if (failure && !signal.aborted && !isAbort(failure)) throw failure
  } finally {
    inner.abort()
    await reading
  }
}

/** Resolves when CRI's status shows the exit, when the container is gone, or after {@link SETTLE_MS}. */
async function settled(channel: GrpcChannel, clock: Clock, event: RuntimeEvent, signal: AbortSignal): Promise<void> {
  const deadline = clock.monotonic() + SETTLE_MS
  for (let wait = 2; clock.monotonic() < deadline; wait = Math.min(wait * 2, 100)) {
    if (await agrees(channel, event, signal)) return
    await clock.sleep(wait, signal)
  }
}

async function agrees(channel: GrpcChannel, event: RuntimeEvent, signal: AbortSignal): Promise<boolean> {
  // Lists with a filter, because asking for the status of what does not exist writes an error into containerd's log.
  const filter = { filter: { id: event.containerId } }
  const { containers } = await channel.unary<{ containers: { state: number }[] }>('runtime', 'ListContainers', filter, { signal })
  if (containers[0]) {
    const state = stateOf(containers[0].state)
    return state === 'exited' || state === 'unknown'
  }
  const { items } = await channel.unary<{ items: { state: number }[] }>('runtime', 'ListPodSandbox', filter, { signal })
  return items[0]?.state !== 0
}
