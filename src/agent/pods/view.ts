/**
 * What the runtime shows, kept per pod: lists on events and on request (one list at a time, requests in between share the
 * next one) and, once a minute, in any case. Details of a container (exit code, times, termination message) are asked once
 * a state. Used by the pod manager; readers get plain values.
 */
import { isAbort, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import type { Clock } from '../../base/clock.ts'
import type { Container, Runtime, Sandbox } from '../../cri/mod.ts'
import { LABEL_POD_UID } from './names.ts'
import type { Observed } from './planner.ts'

const log = logger('agent.view')
/** Safety list when no event arrives, ms. */
const RELIST_MS = 60_000
/** Events that a list follows. What is made, started and removed here the agent does itself, and lists after each step. */
const NEWS: ReadonlySet<string> = new Set(['exited', 'oom'])

export interface ViewOptions {
  readonly runtime: Runtime
  readonly clock: Clock
  /** Called after a list with the uids whose sandboxes or containers changed. */
  readonly onChange: (uids: readonly string[]) => void
  /** The runtime began or ceased to answer. */
  readonly onHealth: () => void
  /** Final words of an ended container, from its file or its log; kept with it. */
  readonly endMessage: (container: Container, uid: string) => Promise<string>
}

interface PodView extends Observed {
  readonly fingerprint: string
}

/** The newest list of the runtime, by pod; see the header. */
export class RuntimeView {
  readonly #options: ViewOptions
  #pods = new Map<string, PodView>()
  #details = new Map<string, Container>()
  #ips = new Map<string, readonly string[]>()
  #running: Promise<void> | undefined
  #next: Promise<void> | undefined
  #listed = false
  #setListed: () => void = () => {}
  /** Resolves with the first list; stays pending while the runtime is away. */
  readonly firstList: Promise<void>
  #healthy = false

  constructor(options: ViewOptions) {
    this.#options = options
    this.firstList = new Promise((resolve) => (this.#setListed = resolve))
  }

  /** True once the runtime has been listed: before that nothing is known, and nothing may be decided. */
  get listed(): boolean {
    return this.#listed
  }

  /** Whether the last list succeeded. */
  get healthy(): boolean {
    return this.#healthy
  }

  pod(uid: string): Observed {
    return this.#pods.get(uid) ?? { sandboxes: [], containers: [] }
  }

  uids(): readonly string[] {
    return [...this.#pods.keys()]
  }

  /** Addresses of a ready sandbox; empty when it has none or is not known. */
  ips(sandboxId: string): readonly string[] {
    return this.#ips.get(sandboxId) ?? []
  }

  /** Resolves after a list that began after this call. @throws when the runtime refuses */
  refresh(): Promise<void> {
    if (!this.#running) {
      const run = this.#list().finally(() => {
        if (this.#running === run) this.#running = undefined
      })
      return (this.#running = run)
    }
    this.#next ??= this.#running
      .catch(() => undefined) // the caller of that list has its error; this one makes its own
      .then(() => {
        this.#next = undefined
        this.#running = undefined
        return this.refresh()
      })
    return this.#next
  }

  /** Follows events and lists until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#follow(signal), this.#relist(signal)])
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { runtime, clock } = this.#options
    while (!signal.aborted) {
      try {
        // Subscribed first, listed after: what happens between is either in the list or comes as an event.
        const events = runtime.events(signal)[Symbol.asyncIterator]()
        const first = events.next()
        first.catch(() => undefined)
        await this.#quietRefresh()
        for (let e = await first; !e.done; e = await events.next()) if (NEWS.has(e.value.type)) void this.#quietRefresh()
      } catch (error) {
        if (signal.aborted || isAbort(error)) return
        log.warn('runtime events broke off', { error })
      }
      await clock.sleep(1000, signal).catch(() => undefined)
    }
  }

  async #relist(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#options.clock.sleep(this.#healthy ? RELIST_MS : 2000, signal).catch(() => undefined)
      if (!signal.aborted) await this.#quietRefresh()
    }
  }

  async #quietRefresh(): Promise<void> {
    try {
      await this.refresh()
    } catch (error) {
      // The node's condition tells it; the next list tries again.
      log.debug('list failed', { error: messageOf(error) })
    }
  }

  async #list(): Promise<void> {
    const { runtime } = this.#options
    const [sandboxes, containers] = await Promise.all([runtime.sandboxes.list(), runtime.containers.list()]).catch((error: unknown) => {
      this.#setHealthy(false)
      throw error
    })
    const uidOfSandbox = new Map(sandboxes.map((s) => [s.id, s.uid]))
    const detailed = await Promise.all(containers.map((c) => this.#detail(c, uidOfSandbox.get(c.sandboxId) ?? c.labels[LABEL_POD_UID] ?? '')))
    this.#details = new Map(detailed.map((c) => [c.id, c]))
    await this.#addresses(sandboxes)
    const pods = new Map<string, { sandboxes: Sandbox[]; containers: Container[] }>()
    const of = (uid: string): { sandboxes: Sandbox[]; containers: Container[] } => {
      let p = pods.get(uid)
      if (!p) pods.set(uid, (p = { sandboxes: [], containers: [] }))
      return p
    }
    for (const s of sandboxes) of(s.uid).sandboxes.push(s)
    for (const c of detailed) of(uidOfSandbox.get(c.sandboxId) ?? c.labels[LABEL_POD_UID] ?? '').containers.push(c)
    const next = new Map<string, PodView>()
    for (const [uid, p] of pods) next.set(uid, { ...p, fingerprint: print(p, this.#ips) })
    const changed = new Set<string>()
    for (const [uid, p] of next) if (this.#pods.get(uid)?.fingerprint !== p.fingerprint) changed.add(uid)
    for (const uid of this.#pods.keys()) if (!next.has(uid)) changed.add(uid)
    this.#pods = next
    this.#listed = true
    this.#setHealthy(true)
    this.#setListed()
    if (changed.size > 0) this.#options.onChange([...changed])
  }

  #setHealthy(healthy: boolean): void {
    if (this.#healthy === healthy) return
    this.#healthy = healthy
    this.#options.onHealth()
  }

  /** Where a list says only the state, times, exit code and words come from an inspection, once a state. */
  async #detail(listed: Container, uid: string): Promise<Container> {
    const known = this.#details.get(listed.id)
    const state = listed.state === 'unknown' ? 'exited' : listed.state
    if (known && known.state === state) return known
    if (listed.state === 'created') return listed
    try {
      const told = listed.startedAtMs > 0 && (listed.state === 'running' || (listed.state === 'exited' && listed.finishedAtMs > 0))
      const seen = told ? listed : await this.#options.runtime.containers.inspect(listed.id)
      const full: Container = { ...seen, sandboxId: seen.sandboxId || listed.sandboxId, attempt: listed.attempt, name: listed.name }
      if (full.state === 'running' || full.state === 'created') return full
      const lost = full.state === 'unknown'
      const ended: Container = {
        ...full,
        state: 'exited',
        exitCode: lost ? 137 : full.exitCode,
        reason: lost ? 'ContainerStatusUnknown' : full.reason || (full.exitCode === 0 ? 'Completed' : 'Error'),
        finishedAtMs: full.finishedAtMs || full.startedAtMs || full.createdAtMs,
      }
      return { ...ended, message: (await this.#options.endMessage(ended, uid)) || ended.message }
    } catch (error) {
      log.debug('inspect failed', { container: listed.id, error: messageOf(error) })
      return listed.state === 'unknown' ? { ...listed, state: 'exited', exitCode: 137, reason: 'ContainerStatusUnknown' } : listed
    }
  }

  async #addresses(sandboxes: readonly Sandbox[]): Promise<void> {
    const next = new Map<string, readonly string[]>()
    await Promise.all(
      sandboxes.map(async (s) => {
        if (s.state !== 'ready') return
        const known = this.#ips.get(s.id)
        next.set(s.id, known?.length ? known : await this.#options.runtime.sandboxes.ips(s.id).catch(() => []))
      }),
    )
    this.#ips = next
  }
}

function print(p: Observed, ips: ReadonlyMap<string, readonly string[]>): string {
  const s = p.sandboxes.map((x) => `${x.id}${x.state}${ips.get(x.id)?.join() ?? ''}`).sort()
  const c = p.containers.map((x) => `${x.id}${x.state}`).sort()
  return s.join() + '|' + c.join()
}
