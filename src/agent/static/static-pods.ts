/**
 * Static pods: manifests in a directory of this machine, run with or without a server. Each is shown in the API by a mirror pod,
 * which this node makes again when somebody deletes it, and which goes with its file. Bounded by the files of the directory.
 */
import { mkdir, readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Node, Pod } from '../../api/gen/types.ts'
import type { Clock } from '../../base/clock.ts'
import { hasCode, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { watchDirectory } from '../../base/watch-directory.ts'
import { keyOf, type Cache, type Client, type EventRecorder } from '../../client/mod.ts'
import { ANNOTATION_CONFIG_HASH, ANNOTATION_MIRROR, uidOf } from '../pods/names.ts'
import { PODS } from '../refs.ts'

const log = logger('agent.static')
/** The directory is read again after this also when nothing was told, ms. */
const LOOK_MS = 60_000
/** Several writes to a file gather this long, ms. */
const GATHER_MS = 200
/** A mirror that could not be made is tried again after this, ms. */
const RETRY_MS = 10_000

export interface StaticPodsOptions {
  readonly directory: string
  readonly nodeName: string
  readonly client: Client
  readonly clock: Clock
  readonly events: EventRecorder
  readonly cache: Cache<Pod>
  readonly node: () => Readonly<Node> | undefined
  /** A static pod is there, changed its mirror, or is gone. */
  readonly onChange: (now: Readonly<Pod> | undefined, old: Readonly<Pod> | undefined) => void
}

/** Whether a pod of the API is only the mirror of a static one. */
export function isMirror(pod: Readonly<Pod>): boolean {
  return pod.metadata?.annotations?.[ANNOTATION_MIRROR] !== undefined
}

/** The static pods of one node; see the header. */
export class StaticPods {
  readonly #o: StaticPodsOptions
  /** By `namespace/name`. */
  #pods = new Map<string, Pod>()
  readonly #refused = new Map<string, string>()
  /** The pod that a file made, by its path. */
  #files = new Map<string, Pod>()
  #woken = false
  #wake: AbortController | undefined

  constructor(options: StaticPodsOptions) {
    this.#o = options
  }

  list(): readonly Readonly<Pod>[] {
    return [...this.#pods.values()].map((p) => this.#withStatus(p))
  }

  /** The mirror of a static pod, if the API has it. */
  mirrorOf(pod: Readonly<Pod>): Readonly<Pod> | undefined {
    const mirror = this.#o.cache.get(pod.metadata?.name ?? '', pod.metadata?.namespace)
    return mirror && mirror.metadata?.annotations?.[ANNOTATION_MIRROR] === pod.metadata?.annotations?.[ANNOTATION_CONFIG_HASH] ? mirror : undefined
  }

  /** A mirror changed in the API. */
  mirrorChanged(mirror: Readonly<Pod>): void {
    const pod = this.#pods.get(keyOf(mirror))
    if (pod) this.#o.onChange(this.#withStatus(pod), undefined)
    if (!pod || !this.mirrorOf(pod) || mirror.metadata?.deletionTimestamp !== undefined) this.kick()
  }

  /** Looks at directory and mirrors now. */
  kick(): void {
    this.#woken = true
    this.#wake?.abort()
  }

  /** Follows the directory until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { directory, clock } = this.#o
    await mkdir(directory, { recursive: true, mode: 0o700 }).catch((error: unknown) => log.warn('directory not made', { directory, error: messageOf(error) }))
    watchDirectory(directory, signal, () => this.kick(), (error) => log.warn('directory not watched, it is read every minute', { directory, error: messageOf(error) }))
    while (!signal.aborted) {
      this.#woken = false
      this.#wake = new AbortController()
      await this.load().catch((error: unknown) => log.warn('directory not read', { directory, error: messageOf(error) }))
      const right = await this.#mirror()
      if (!this.#woken) await clock.sleep(right ? LOOK_MS : RETRY_MS, AbortSignal.any([signal, this.#wake.signal])).catch(() => undefined)
      if (this.#woken) await clock.sleep(GATHER_MS, signal).catch(() => undefined)
    }
  }

  /**
   * Reads the directory; a file that cannot be read keeps the pod it made before from being replaced, and is told: it may be half written.
   * @throws the file system's error, when what is there cannot be told; all stays as it is then
   */
  async load(): Promise<void> {
    const next = new Map<string, Pod>()
    const entries = await readdir(this.#o.directory).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return []
      throw error
    })
    const paths = entries.filter((n) => /\.(ya?ml|json)$/.test(n) && !n.startsWith('.')).toSorted().map((n) => join(this.#o.directory, n))
    const files = new Map<string, Pod>()
    const left: [string, Pod][] = []
    for (const file of paths) {
      const pod = await this.#read(file)
      const former = this.#files.get(file)
      if (pod) files.set(file, pod)
      else if (former) left.push([file, former])
    }
    for (const pod of files.values()) next.set(keyOf(pod), pod)
    for (const [file, pod] of left) {
      if (next.has(keyOf(pod))) continue // another file says what it is
      files.set(file, pod)
      next.set(keyOf(pod), pod)
    }
    this.#files = files
    for (const file of this.#refused.keys()) if (!paths.includes(file)) this.#refused.delete(file)
    const before = this.#pods
    this.#pods = next
    for (const [key, pod] of before) if (uidOf(next.get(key) ?? {}) !== uidOf(pod)) this.#o.onChange(undefined, pod)
    for (const [key, pod] of next) if (uidOf(before.get(key) ?? {}) !== uidOf(pod)) this.#o.onChange(this.#withStatus(pod), undefined)
  }

  async #read(file: string): Promise<Pod | undefined> {
    try {
      const text = await readFile(file, 'utf8')
      // As a rule what comes next is its content.
      if (text.trim() === '') return undefined
      // Loaded only on a node that has static pods.
      const { staticPod } = await import('./manifest.ts')
      const pod = staticPod(text, file, { name: this.#o.nodeName, seen: new Date(this.#o.clock.now()).toISOString() })
      const known = this.#pods.get(keyOf(pod))
      this.#refused.delete(file)
      return known && uidOf(known) === uidOf(pod) ? known : pod
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code
      if (code === 'ENOENT' || code === 'EISDIR') {
        this.#files.delete(file)
        return undefined
      }
      const why = messageOf(error)
      if (this.#refused.get(file) !== why) {
        this.#refused.set(file, why)
        log.warn('static pod refused', { file, error: why })
        this.#o.events.event({ apiVersion: 'v1', kind: 'Node', name: this.#o.nodeName, uid: this.#o.nodeName }, 'Warning', 'FailedStaticPod', why)
      }
      return undefined
    }
  }

  #withStatus(pod: Pod): Pod {
    const status = this.mirrorOf(pod)?.status
    return status ? { ...pod, status } : pod
  }

  /** Makes the mirrors what they should be. False when one could not be. */
  async #mirror(): Promise<boolean> {
    const { cache } = this.#o
    if (!cache.isSynced) return this.#pods.size === 0
    let right = true
    const attempt = (work: Promise<unknown>): Promise<void> =>
      work.then(
        () => undefined,
        (error: unknown) => {
          if (hasCode(error, 'not-found') || hasCode(error, 'exists') || hasCode(error, 'conflict')) return
          right = false
          log.debug('mirror pod not written', { error: messageOf(error) })
        },
      )
    for (const mirror of cache.list().filter(isMirror)) {
      const pod = this.#pods.get(keyOf(mirror))
      const stale = !pod || !this.mirrorOf(pod) || mirror.metadata?.deletionTimestamp !== undefined
      if (stale) await attempt(this.#drop(mirror))
    }
    for (const pod of this.#pods.values()) if (!this.mirrorOf(pod)) await attempt(this.#make(pod))
    return right
  }

  async #drop(mirror: Readonly<Pod>): Promise<void> {
    const { name = '', namespace, uid = '' } = mirror.metadata ?? {}
    await this.#o.client.resource<Pod>(PODS).delete(name, namespace, { gracePeriodSeconds: 0, preconditions: { uid } })
  }

  async #make(pod: Readonly<Pod>): Promise<void> {
    const { uid: _uid, ...metadata } = pod.metadata ?? {}
    const node = this.#o.node()
    const owner = node?.metadata?.uid === undefined ? {} : { ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: this.#o.nodeName, uid: node.metadata.uid, controller: true }] }
    const annotations = { ...metadata.annotations, [ANNOTATION_MIRROR]: metadata.annotations?.[ANNOTATION_CONFIG_HASH] ?? '' }
    await this.#o.client.resource<Pod>(PODS).create({ apiVersion: 'v1', kind: 'Pod', metadata: { ...metadata, ...owner, annotations }, ...(pod.spec ? { spec: pod.spec } : {}) })
  }
}
