/**
 * Relieves a node that is short of something: looks with the node every ten seconds, removes dead containers and unused images
 * when the disk is short, and ends one pod at a time while that is not enough. What is decided stands in `eviction.ts`.
 */
import { join } from 'node:path'
import type { Pod } from '../../api/gen/types.ts'
import type { Clock } from '../../base/clock.ts'
import { isAbort, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import type { Runtime } from '../../cri/mod.ts'
import { keyOf, uidOf } from '../pods/names.ts'
import { entries, usage } from '../pods/storage-limits.ts'
import type { Verdict } from '../pods/status.ts'
import type { RuntimeView } from '../pods/view.ts'
import { evictionOf, judge, NO_PRESSURE, rank, reclaimOf, stillDue, type EvictionSettings, type EvictionState, type PodUse, type Pressure, type Resource, type Signals, type Threshold } from './eviction.ts'

const log = logger('agent.eviction')
/** How long the next look waits for an evicted pod to have ended, ms; the kubelet's figure. */
const CLEANUP_MS = 30_000
const CLEANUP_LOOK_MS = 500

export interface EvictorOptions {
  readonly settings: EvictionSettings
  readonly clock: Clock
  readonly runtime: Pick<Runtime, 'containers'>
  readonly view: RuntimeView
  /** Pods that this node works on and that have not ended. */
  readonly running: () => readonly Readonly<Pod>[]
  /** Ends a pod; false when it is ending already. */
  readonly end: (uid: string, verdict: Verdict) => boolean
  /** Whether anything of a pod still runs. */
  readonly gone: (uid: string) => boolean
  /** Removes dead containers of pods that have ended, and images nobody uses. */
  readonly reclaim: () => Promise<void>
  /** Looks again. */
  readonly signals: () => Promise<Signals>
  /** Directories of what a pod writes: its volumes on the node's disk, and its logs. */
  readonly written: (pod: Readonly<Pod>) => { readonly volumes: readonly string[]; readonly logs: string }
  /** Processes of a pod. */
  readonly processes: (pod: Readonly<Pod>) => Promise<number>
  readonly say: (reason: string, message: string) => void
}

/** One a node; see the header. */
export class Evictor {
  readonly #o: EvictorOptions
  #state: EvictionState = NO_PRESSURE
  #due: readonly Threshold[] = []
  #pressure: Readonly<Record<Pressure, boolean>> = { memory: false, disk: false, pid: false }

  constructor(options: EvictorOptions) {
    this.#o = options
  }

  get pressure(): Readonly<Record<Pressure, boolean>> {
    return this.#pressure
  }

  /** Takes in what a look saw; the conditions it makes. */
  observe(signals: Signals): Readonly<Record<Pressure, boolean>> {
    const judged = judge(this.#o.settings, this.#state, signals, this.#o.clock.monotonic())
    this.#state = judged.state
    this.#due = judged.due
    this.#pressure = judged.pressure
    return judged.pressure
  }

  /** Does what the last look demands: at most one pod goes. Resolves when that pod has ended, or after half a minute. */
  async act(signal: AbortSignal): Promise<void> {
    const [most] = this.#due
    if (!most) return
    try {
      const { resource, disk } = reclaimOf(most)
      log.warn('node is short', { signal: most.signal })
      this.#o.say('EvictionThresholdMet', `Attempting to reclaim ${resource}`)
      if (disk) {
        await this.#o.reclaim()
        if (!stillDue(most, await this.#o.signals())) return log.info('relieved without ending a pod', { signal: most.signal })
      }
      await this.#evict(most, resource, signal)
    } catch (error) {
      if (!isAbort(error)) log.warn('node not relieved', { signal: most.signal, why: messageOf(error) })
    }
  }

  async #evict(most: Threshold, resource: Resource, signal: AbortSignal): Promise<void> {
    const { clock, settings } = this.#o
    const now = await this.#o.signals()
    for (const use of rank(await this.#uses(resource), resource)) {
      const verdict = evictionOf(use, most, now, settings)
      const uid = uidOf(use.pod)
      if (!this.#o.end(uid, verdict)) continue
      log.warn('pod evicted', { pod: keyOf(use.pod), resource })
      for (let waited = 0; waited < CLEANUP_MS && !this.#o.gone(uid); waited += CLEANUP_LOOK_MS) await clock.sleep(CLEANUP_LOOK_MS, signal)
      return
    }
    log.error('no pod can be evicted', { resource })
  }

  async #uses(resource: Resource): Promise<PodUse[]> {
    const { runtime, view, running, written, processes } = this.#o
    const stats = resource === 'pids' ? [] : await runtime.containers.stats()
    const uses: PodUse[] = []
    for (const pod of running()) {
      const containers = new Map<string, number>()
      for (const c of view.pod(uidOf(pod)).containers) {
        const s = stats.find((x) => x.id === c.id)
        if (s && resource === 'memory') containers.set(c.name, s.memoryBytes)
        if (s && resource === 'ephemeral-storage') containers.set(c.name, s.writableBytes + (await usage(join(written(pod).logs, c.name))))
      }
      let total = [...containers.values()].reduce((a, b) => a + b, 0)
      if (resource === 'ephemeral-storage') for (const dir of written(pod).volumes) total += await usage(dir)
      if (resource === 'inodes') for (const dir of [...written(pod).volumes, written(pod).logs]) total += await entries(dir)
      if (resource === 'pids') total = await processes(pod)
      uses.push({ pod, total, containers })
    }
    return uses
  }
}
