/**
 * Fairness between callers: each level of callers has its own seats, and within a level the flows (one a user) take turns. Who
 * floods the server waits for its own requests; nodes and the system never stand behind it. Full queues are answered 429.
 *
 * Bounds: {@link LEVELS} says how many seats and waiting requests a level has; nobody waits longer than {@link MAX_WAIT_MS}.
 * Exempt are `system:masters`, as in Kubernetes, and callers in process, which do not come through here.
 */
import { GROUP_MASTERS, GROUP_NODES, type UserInfo } from '../api/contract.ts'
import { tooManyRequests } from '../api/status.ts'
import type { Clock } from '../base/clock.ts'
import type { Metrics } from '../base/metrics.ts'

interface Level {
  readonly name: string
  /** Requests under way at once; a large list takes several. */
  readonly seats: number
  /** Requests that may wait, of all flows. */
  readonly queue: number
  /** Requests of one flow that may wait. */
  readonly flowQueue: number
}

/** One thread serves them all: more seats would only make each answer later. Names are those of Kubernetes' priority levels. */
const LEVELS = {
  nodes: { name: 'node-high', seats: 40, queue: 1_000, flowQueue: 100 },
  system: { name: 'system', seats: 30, queue: 500, flowQueue: 200 },
  workload: { name: 'workload-low', seats: 30, queue: 500, flowQueue: 100 },
  others: { name: 'catch-all', seats: 5, queue: 50, flowQueue: 50 },
} as const satisfies Record<string, Level>
/** A quarter of the usual request timeout, as in Kubernetes. */
export const MAX_WAIT_MS = 15_000
/** Most seats one request takes. */
const MAX_WIDTH = 10
/** Objects of a list to a seat. */
const OBJECTS_A_SEAT = 500

/** How many seats a list of so many objects takes. */
export function listWidth(objects: number): number {
  return Math.min(MAX_WIDTH, Math.max(1, Math.ceil(objects / OBJECTS_A_SEAT)))
}

/** The level of a caller; undefined: exempt. */
export function levelOf(user: UserInfo): Level | undefined {
  const { groups, name } = user
  if (groups.includes(GROUP_MASTERS)) return undefined
  if (groups.includes(GROUP_NODES)) return LEVELS.nodes
  if (name.startsWith('system:kube-') || name.startsWith('system:serviceaccount:kube-system:') || groups.includes('system:bootstrappers')) return LEVELS.system
  return groups.includes('system:authenticated') ? LEVELS.workload : LEVELS.others
}

/** Ends a request's turn; may be called more than once. */
export type Leave = () => void
const FREE: Leave = () => undefined

interface Waiter {
  readonly width: number
  readonly start: () => void
}

/** Seats and queues of one level. */
class Lane {
  readonly level: Level
  free: number
  waiting = 0
  /** Flows with waiting requests; the first one is next. */
  readonly flows = new Map<string, Waiter[]>()

  constructor(level: Level) {
    this.level = level
    this.free = level.seats
  }
}

/** The doors of the HTTP server. */
export class FlowControl {
  readonly #clock: Clock
  readonly #lanes = new Map<Level, Lane>()
  readonly #refused
  #pumping = false

  constructor(clock: Clock, metrics: Metrics) {
    this.#clock = clock
    this.#refused = metrics.counter('apiserver_flowcontrol_rejected_requests_total', 'Requests refused by fairness, by priority level and reason')
  }

  /** Waits for this caller's turn. @throws ApiError 429 when the queue is full or the wait too long; the signal's reason */
  async enter(user: UserInfo, width: number, life: { readonly signal: AbortSignal }): Promise<Leave> {
    const level = levelOf(user)
    if (!level) return FREE
    let lane = this.#lanes.get(level)
    if (!lane) this.#lanes.set(level, (lane = new Lane(level)))
    if (lane.waiting === 0 && lane.free > 0) return this.#take(lane, width)
    const flow = lane.flows.get(user.name) ?? []
    if (lane.waiting >= level.queue || flow.length >= level.flowQueue) throw this.#refuse(level, 'queue-full')
    return await this.#wait(lane, user.name, flow, width, life.signal)
  }

  #wait(lane: Lane, name: string, flow: Waiter[], width: number, signal: AbortSignal): Promise<Leave> {
    return new Promise<Leave>((resolve, reject) => {
      const settle = (): void => {
        timer.cancel()
        signal.removeEventListener('abort', onAbort)
      }
      const leave = (error: unknown): void => {
        settle()
        const at = flow.indexOf(waiter)
        if (at >= 0) {
          flow.splice(at, 1)
          lane.waiting--
        }
        if (flow.length === 0) lane.flows.delete(name)
        reject(error)
      }
      const onAbort = (): void => leave(signal.reason)
      const waiter: Waiter = { width, start: () => (settle(), resolve(this.#take(lane, width))) }
      const timer = this.#clock.timer('flow-wait', MAX_WAIT_MS, () => leave(this.#refuse(lane.level, 'time-out')))
      if (signal.aborted) return leave(signal.reason)
      signal.addEventListener('abort', onAbort, { once: true })
      flow.push(waiter)
      lane.waiting++
      lane.flows.set(name, flow)
    })
  }

  /** A wide request may take more seats than are free: it only waits for one, so that no flood of small ones keeps it out. */
  #take(lane: Lane, width: number): Leave {
    const seats = Math.min(width, lane.level.seats)
    lane.free -= seats
    let left = false
    return () => {
      if (left) return
      left = true
      lane.free += seats
      if (lane.waiting > 0) this.#pump()
    }
  }

  /** Lets the next ones in, after other events had their turn: a flood must not keep the loop to itself. */
  #pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    setImmediate(() => {
      this.#pumping = false
      for (const lane of this.#lanes.values()) {
        while (lane.free > 0 && lane.waiting > 0) {
          const [name, flow] = lane.flows.entries().next().value as [string, Waiter[]]
          const waiter = flow.shift() as Waiter
          lane.waiting--
          // To the end of the round, if it has more.
          lane.flows.delete(name)
          if (flow.length > 0) lane.flows.set(name, flow)
          waiter.start()
        }
      }
    })
  }

  #refuse(level: Level, reason: string): Error {
    this.#refused.add(1, { priority_level: level.name, reason })
    return tooManyRequests('Too many requests, please try again later.', 1)
  }
}
