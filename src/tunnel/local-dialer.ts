/**
 * An in-memory node connection with the hub's contract (`test/suites/dialer.ts` runs on both): for tests of other areas,
 * and for the agent that lives in the server's own process, whose streams need no socket.
 */
import { Duplex, PassThrough } from 'node:stream'
import { systemClock, type Clock } from '../base/clock.ts'
import { AppError, messageOf } from '../base/errors.ts'
import type { LinkState, NodeDialer, NodeHandler, NodeLinks, NodeRequest, NodeStream } from '../base/stream.ts'
import { statusOf } from './link.ts'

/** Nodes by name, in memory. A node's handler sees the same requests as over a link. */
export class LocalDialer implements NodeDialer, NodeLinks {
  readonly #clock: Clock
  readonly #nodes = new Map<string, { handler: NodeHandler; state: LinkState; streams: Set<Duplex> }>()
  readonly #listeners = new Set<(node: string, state: LinkState | undefined) => void>()

  constructor(clock: Clock = systemClock) {
    this.#clock = clock
  }

  /** Connects `node`, replacing an earlier one. */
  connect(node: string, handler: NodeHandler): void {
    this.#nodes.get(node)?.streams.forEach((s) => s.destroy())
    const now = this.#clock.now()
    const state = { node, connectedAtMs: now, lastSeenMs: now, remote: 'local' }
    this.#nodes.set(node, { handler, state, streams: new Set() })
    for (const fn of this.#listeners) fn(node, state)
  }

  /** Ends the node's connection and all its streams. */
  disconnect(node: string): void {
    const gone = this.#nodes.get(node)
    if (!gone) return
    this.#nodes.delete(node)
    for (const s of gone.streams) s.destroy(new AppError('unavailable', `stream of node '${node}': the connection was lost`))
    for (const fn of this.#listeners) fn(node, undefined)
  }

  async open(node: string, request: NodeRequest, signal?: AbortSignal): Promise<NodeStream> {
    signal?.throwIfAborted()
    const to = this.#nodes.get(node)
    if (!to) throw new AppError('unavailable', `open a stream to node '${node}': it is not connected; its agent must run and reach this server`)
    const up = new PassThrough()
    const down = new PassThrough()
    const near = Duplex.from({ readable: down, writable: up })
    const far = Duplex.from({ readable: up, writable: down })
    near.on('error', () => undefined)
    far.on('error', () => undefined)
    const both = (error?: Error): void => {
      to.streams.delete(near)
      far.destroy(error)
    }
    near.once('close', () => both())
    far.once('close', () => {
      // A side that closed early takes the other with it; one that ended in good order lets the rest be read.
      if (!down.writableFinished) near.destroy(far.errored ?? new AppError('unavailable', `stream of node '${node}': the node ended it`))
    })
    to.streams.add(near)
    if (request.method === 'GET' || request.method === 'DELETE') up.end()
    const answer = Promise.withResolvers<NodeStream>()
    let answered = false
    const respond = (status: number, headers: Record<string, string> = {}): Duplex => {
      if (answered) throw new AppError('internal', `answer ${request.path}: it was answered before`)
      answered = true
      answer.resolve({ status, headers, stream: near })
      return far
    }
    const onAbort = (): void => {
      answer.reject(signal?.reason)
      near.destroy()
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    const handle = async (): Promise<void> => {
      try {
        await to.handler({ headers: {}, ...request }, respond)
        if (!answered) respond(500).end(`answer ${request.path}: the handler ended without an answer`)
      } catch (error) {
        if (answered) return void near.destroy(new AppError('unavailable', `stream of node '${node}': it failed`, { cause: error }))
        const { status, headers } = statusOf(error)
        respond(status, headers).end(messageOf(error))
      }
    }
    void handle()
    try {
      return await answer.promise
    } finally {
      signal?.removeEventListener('abort', onAbort)
    }
  }

  links(): readonly LinkState[] {
    return [...this.#nodes.values()].map((n) => ({ ...n.state, lastSeenMs: this.#clock.now() }))
  }

  onChange(fn: (node: string, state: LinkState | undefined) => void): () => void {
    this.#listeners.add(fn)
    return () => void this.#listeners.delete(fn)
  }
}
