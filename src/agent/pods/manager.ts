/**
 * All pods of this node: one worker a uid, fed by the API's cache (from disk at boot), the runtime's view and changed
 * configuration. Nothing runs before the runtime has been listed once, so that what runs is adopted and not started again;
 * nothing unknown is removed before the list of pods is really known (from disk or from the server).
 */
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Pod } from '../../api/gen/types.ts'
import { aborted } from '../../base/abort.ts'
import { messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import type { Cache } from '../../client/mod.ts'
import type { HostPort, NodeNetwork } from '../ports.ts'
import { isMirror, type StaticPods } from '../static/static-pods.ts'
import type { PodContext } from './context.ts'
import { ANNOTATION_CONFIG_SOURCE, ANNOTATION_GRACE, keyOf, uidOf } from './names.ts'
import type { Verdict } from './status.ts'
import { PodWorker } from './worker.ts'

const log = logger('agent.pods')
/** How often remains of pods that are no more are looked for, ms. */
const SWEEP_MS = 60_000
/** The same while something is left that could not be removed, e.g. while the runtime starts, ms. */
const SWEEP_AGAIN_MS = 5_000
/** How long killed processes have to end before a sweep follows, ms. */
const SETTLE_MS = 500

export interface PodsOptions {
  readonly context: PodContext
  readonly cache: Cache<Pod>
  readonly network: NodeNetwork
  /** Pods from files of this machine. @default none */
  readonly fromFiles?: StaticPods | undefined
  /** Root of the pods' log directories. */
  readonly logRoot: string
}

/** The workers of one node; see the header. Bounded by the pods the API assigns. */
export class Pods {
  readonly #o: PodsOptions
  readonly #workers = new Map<string, PodWorker>()
  #open = false
  #ports = ''
  #settingPorts = false
  /** Aborted: the next sweep is due soon. */
  #nap = new AbortController()

  constructor(options: PodsOptions) {
    this.#o = options
  }

  /** Works until the signal aborts; containers stay as they are then. */
  async run(signal: AbortSignal): Promise<void> {
    const { cache, context } = this.#o
    await Promise.race([context.view.firstList, aborted(signal)])
    if (signal.aborted) return
    this.#open = true
    await this.#o.fromFiles?.load().catch((error: unknown) => log.warn('static pods not read, it is tried again', { error }))
    const stop = cache.onChange((now, old) => {
      const mirror = now ?? old
      if (mirror && isMirror(mirror)) return this.#o.fromFiles?.mirrorChanged(mirror)
      if (old && uidOf(old) !== (now && uidOf(now))) this.#workers.get(uidOf(old))?.update(undefined)
      if (now) this.#want(now)
    })
    for (const pod of cache.list()) if (!isMirror(pod)) this.#want(pod)
    for (const pod of this.#o.fromFiles?.list() ?? []) this.#want(pod)
    await cache.synced(signal).catch(() => undefined)
    while (!signal.aborted) {
      const clean = await this.#sweep().catch((error: unknown) => void log.warn('sweep failed', { error }))
      const wait = Math.min(clean ? SWEEP_MS : SWEEP_AGAIN_MS, context.tokens.renewInMs)
      await context.clock.sleep(wait, AbortSignal.any([signal, this.#nap.signal])).catch(() => undefined)
      if (this.#nap.signal.aborted) {
        this.#nap = new AbortController()
        await context.clock.sleep(SETTLE_MS, signal).catch(() => undefined)
      }
      for (const w of this.#workers.values()) if (!signal.aborted) w.renewVolumes()
    }
    stop()
    for (const w of this.#workers.values()) w.stop()
  }

  /** A pod from a file is there, was changed, or is gone. One that replaces another of its name waits until that has ended. */
  fileChanged(now: Readonly<Pod> | undefined, old: Readonly<Pod> | undefined): void {
    if (old) this.#workers.get(uidOf(old))?.update(undefined)
    if (now) this.#want(now)
  }

  #want(pod: Readonly<Pod>): void {
    const uid = uidOf(pod)
    if (!this.#open || uid === '') return
    const worker = this.#workers.get(uid)
    if (worker) return worker.update(pod)
    const former = pod.metadata?.annotations?.[ANNOTATION_CONFIG_SOURCE] === 'file' && [...this.#workers.values()].some((w) => keyOf(w.pod) === keyOf(pod))
    if (former) return
    const made = new PodWorker(this.#o.context, pod, (clean) => {
      this.#workers.delete(uid)
      if (!clean) this.#nap.abort()
      this.#hostPorts()
      const next = this.#o.fromFiles?.list().find((p) => keyOf(p) === keyOf(pod))
      if (next) this.#want(next)
    })
    this.#workers.set(uid, made)
    made.poke()
  }

  /** The runtime shows something new of these pods. */
  observed(uids: readonly string[]): void {
    for (const uid of uids) this.#workers.get(uid)?.poke()
    this.#hostPorts()
  }

  objectChanged(kind: string, namespace: string | undefined, name: string): void {
    for (const w of this.#workers.values()) if (namespace === undefined || w.pod.metadata?.namespace === namespace) w.objectChanged(kind, name)
  }

  /** Network, addresses or capacity of the node changed. */
  nodeChanged(): void {
    for (const w of this.#workers.values()) w.poke()
  }

  /** The pod of that name that runs here, for logs and exec. */
  find(namespace: string, name: string): Readonly<Pod> | undefined {
    const all = [...this.#workers.values()].filter((w) => w.pod.metadata?.namespace === namespace && w.pod.metadata.name === name)
    return (all.find((w) => !w.gone) ?? all[0])?.pod
  }

  /** The server can be reached again: what failed for want of it is tried at once. */
  linkBack(): void {
    for (const w of this.#workers.values()) w.linkBack()
  }

  /** The pods that this node works on now. */
  list(): readonly Readonly<Pod>[] {
    return [...this.#workers.values()].map((w) => w.pod)
  }

  /** Pods that were let in and have not ended: what they asked for is taken. */
  occupying(): readonly Readonly<Pod>[] {
    return [...this.#workers.values()].filter((w) => w.occupies).map((w) => w.allocated)
  }

  /** Those of them that end. */
  leaving(): ReadonlySet<string> {
    return new Set([...this.#workers.values()].filter((w) => w.ending).map((w) => w.uid))
  }

  /** The node ends a pod. False when it is not there, or is ending already. */
  end(uid: string, verdict: Verdict): boolean {
    return this.#workers.get(uid)?.end(verdict) === true
  }

  get count(): number {
    return this.#workers.size
  }

  /** Forwards the host ports of pods that have an address; one call at a time, the newest list last. */
  #hostPorts(): void {
    const { view } = this.#o.context
    const ports: HostPort[] = []
    for (const w of this.#workers.values()) {
      const sandbox = view.pod(w.uid).sandboxes.find((s) => s.state === 'ready')
      const podIP = sandbox && !w.pod.spec?.hostNetwork ? view.ips(sandbox.id)[0] : undefined
      if (podIP === undefined) continue
      for (const p of (w.pod.spec?.containers ?? []).flatMap((c) => c.ports ?? [])) {
        if (!p.hostPort) continue
        ports.push({ protocol: (p.protocol ?? 'TCP') as HostPort['protocol'], hostIP: p.hostIP ?? '', hostPort: p.hostPort, podIP, containerPort: p.containerPort })
      }
    }
    const text = JSON.stringify(ports)
    if (text === this.#ports || this.#settingPorts) return
    this.#settingPorts = true
    this.#o.context.scope.run('host ports', async () => {
      try {
        await this.#o.network.setHostPorts(ports)
        this.#ports = text
      } catch (error) {
        log.warn('host ports not set', { error: messageOf(error) })
        await this.#o.context.clock.sleep(2_000, this.#o.context.scope.signal).catch(() => undefined)
      }
      this.#settingPorts = false
      this.#hostPorts()
    })
  }

  /** Removes what belongs to no pod of this node: sandboxes, directories, logs, cgroups, tokens. False when something could not be yet. */
  async #sweep(): Promise<boolean> {
    const { cache, context } = this.#o
    if (!cache.isSynced || !context.view.healthy) return false
    let clean = true
    const { view, volumes, cgroups, tokens } = context
    /** Asked anew each time: pods come while others are being removed. */
    const kept = (uid: string): boolean => this.#workers.has(uid) || cache.list().some((p) => uidOf(p) === uid)
    /** What fails for one uid is tried again soon, and keeps no other from being removed. */
    const each = async (uids: readonly string[], remove: (uid: string) => Promise<void>): Promise<void> => {
      for (const uid of uids) {
        if (kept(uid)) continue
        await remove(uid).catch((error: unknown) => {
          clean = false
          log.debug('remains of a pod stay for now', { uid, error: messageOf(error) })
        })
      }
    }
    await each(view.uids(), (uid) => this.#removeOrphan(uid))
    const unseen = (uids: readonly string[]) => uids.filter((uid) => view.pod(uid).sandboxes.length === 0)
    await each(unseen(await volumes.uids()), (uid) => volumes.remove(uid))
    if (cgroups) await each(unseen(await cgroups.uids()), (uid) => cgroups.removePod(uid))
    for (const dir of await readdir(this.#o.logRoot).catch(() => [])) {
      if (!kept(dir.split('_')[2] ?? '')) await rm(join(this.#o.logRoot, dir), { recursive: true, force: true })
    }
    await tokens.keepOnly(new Set([...cache.list().map(uidOf), ...this.#workers.keys()]))
    return clean
  }

  async #removeOrphan(uid: string): Promise<void> {
    const { view, runtime } = this.#o.context
    const { sandboxes, containers } = view.pod(uid)
    log.info('removing a pod that is no more', { uid, name: sandboxes[0]?.name })
    const grace = Number(sandboxes[0]?.annotations[ANNOTATION_GRACE] ?? 30)
    await Promise.all(containers.filter((c) => c.state === 'running').map((c) => runtime.containers.stop(c.id, Number.isFinite(grace) ? grace : 30)))
    for (const s of sandboxes) {
      await runtime.sandboxes.stop(s.id)
      await runtime.sandboxes.remove(s.id)
    }
    for (const c of containers) if (sandboxes.length === 0) await runtime.containers.remove(c.id)
    await view.refresh()
  }
}
