/**
 * Directories of this machine that serve as volumes made on demand: made when the first pod mounts one, removed when its
 * PersistentVolume goes. Before a directory is made its node holds the volume by a finalizer, so that data never outlives the
 * object unnoticed, nor the other way round. One watch, of this node's volumes, from the first directory on.
 */
import { existsSync } from 'node:fs'
import { chmod, mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { PersistentVolume } from '../../api/gen/types.ts'
import { ANN_LOCAL_NODE, FINALIZER_LOCAL_PATH, FINALIZER_VOLUME, LABEL_NODE, nodeLabel } from '../../api/volumes.ts'
import type { Clock } from '../../base/clock.ts'
import { hasCode, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import type { Scope } from '../../base/scope.ts'
import type { CacheSet, Client } from '../../client/mod.ts'
import { PERSISTENT_VOLUMES } from '../refs.ts'

const log = logger('agent.volumes')
/** After a failed removal, ms. */
const RETRY_MS = 10_000

export interface LocalPathOptions {
  readonly directory: string
  readonly nodeName: string
  readonly client: Client
  readonly caches: CacheSet
  readonly clock: Clock
}

/** The volumes on demand of one node; see the header. Bounded by the volumes the API has of it. */
export class LocalPath {
  readonly #o: LocalPathOptions
  #watching = false
  readonly #busy = new Set<string>()
  #scope: Scope | undefined

  constructor(options: LocalPathOptions) {
    this.#o = options
  }

  /** Watches the volumes if there are directories already. */
  async start(scope: Scope): Promise<void> {
    this.#scope = scope
    this.#watching = false
    if ((await readdir(this.#o.directory).catch(() => [])).length > 0) this.#watch()
  }

  /** Whether a volume is a directory that this node makes and removes. */
  owns(volume: Readonly<PersistentVolume>): boolean {
    const path = pathOf(volume)
    return volume.metadata?.annotations?.[ANN_LOCAL_NODE] === this.#o.nodeName && path !== undefined && path.startsWith(`${this.#o.directory}/`) && !path.includes('/..')
  }

  /** Makes the directory of a volume that this node {@link owns}, held first. */
  async ensure(volume: Readonly<PersistentVolume>): Promise<void> {
    const path = pathOf(volume) as string
    if (await stat(path).catch(() => undefined)) return this.#watch()
    const held = await this.#hold(volume)
    await mkdir(path, { recursive: true })
    // Whoever the pod runs as may write, as into an emptyDir.
    await chmod(path, 0o777)
    if (!held) this.#holdLater(volume)
    this.#watch()
  }

  /** Puts our finalizer on it; false when the server is away. */
  async #hold(volume: Readonly<PersistentVolume>): Promise<boolean> {
    if (volume.metadata?.finalizers?.includes(FINALIZER_LOCAL_PATH)) return true
    const patch = { metadata: { uid: volume.metadata?.uid, finalizers: [FINALIZER_LOCAL_PATH] } }
    return await this.#o.client.resource(PERSISTENT_VOLUMES).patch(volume.metadata?.name ?? '', undefined, patch, 'strategic').then(
      () => true,
      (error: unknown) => {
        // Cut off: the pod is not kept waiting, and the volume is held when this node is back.
        if (!hasCode(error, 'unavailable')) throw error
        return false
      },
    )
  }

  /** A volume whose directory was made without the server is held as soon as that is in reach. */
  #holdLater(volume: Readonly<PersistentVolume>): void {
    const { name = '' } = volume.metadata ?? {}
    if (this.#busy.has(name)) return
    this.#busy.add(name)
    this.#scope?.run(`hold volume ${name}`, async (signal) => {
      while (!signal.aborted) {
        try {
          if (await this.#hold(volume)) break
        } catch (error) {
          if (!hasCode(error, 'not-found')) {
            // Another of its name, which may want the directory: a person has to look.
            log.warn('volume not held', { volume: name, path: pathOf(volume), error: messageOf(error) })
            break
          }
          if (await this.#removeUnheld(volume)) break
        }
        await this.#o.clock.sleep(RETRY_MS, signal).catch(() => undefined)
      }
      this.#busy.delete(name)
    })
  }

  /** The directory of a volume that was deleted while this node, cut off, could not hold it; false to try again. */
  async #removeUnheld(volume: Readonly<PersistentVolume>): Promise<boolean> {
    const facts = { volume: volume.metadata?.name, path: pathOf(volume) }
    if (volume.spec?.persistentVolumeReclaimPolicy === 'Retain') return true
    try {
      await rm(facts.path as string, { recursive: true, force: true })
      log.info('volume was deleted while this node was cut off, its directory is removed', facts)
      return true
    } catch (error) {
      log.warn('volume not removed yet', { ...facts, error: messageOf(error) })
      return false
    }
  }

  #watch(): void {
    const scope = this.#scope
    if (!scope || this.#watching) return
    this.#watching = true
    const cache = this.#o.caches.cache<PersistentVolume>(PERSISTENT_VOLUMES, { labelSelector: `${LABEL_NODE}=${nodeLabel(this.#o.nodeName)}` })
    scope.onClose(
      cache.onChange((now, old) => {
        if (now) return this.#look(now)
        // Gone before this node could hold it: holding it fails, and that says so again before anything is removed.
        const unheld = old && !old.metadata?.finalizers?.includes(FINALIZER_LOCAL_PATH) && this.owns(old) && existsSync(pathOf(old) as string)
        if (unheld) this.#holdLater(old)
      }),
    )
    for (const volume of cache.list()) this.#look(volume)
  }

  /** A volume on its way out that nothing protects any more is removed, then released. */
  #look(volume: Readonly<PersistentVolume>): void {
    const { name = '', deletionTimestamp, finalizers = [] } = volume.metadata ?? {}
    if (deletionTimestamp === undefined && !finalizers.includes(FINALIZER_LOCAL_PATH) && this.owns(volume) && existsSync(pathOf(volume) as string)) return this.#holdLater(volume)
    if (deletionTimestamp === undefined || !finalizers.includes(FINALIZER_LOCAL_PATH) || finalizers.includes(FINALIZER_VOLUME)) return
    if (!this.owns(volume) || this.#busy.has(name)) return
    this.#busy.add(name)
    this.#scope?.run(`remove volume ${name}`, async (signal) => {
      while (!signal.aborted) {
        try {
          if (volume.spec?.persistentVolumeReclaimPolicy !== 'Retain') await rm(pathOf(volume) as string, { recursive: true, force: true })
          await this.#release(name)
          break
        } catch (error) {
          log.warn('volume not removed yet', { volume: name, error: messageOf(error) })
          await this.#o.clock.sleep(RETRY_MS, signal).catch(() => undefined)
        }
      }
      this.#busy.delete(name)
    })
  }

  async #release(name: string): Promise<void> {
    const patch = { metadata: { '$deleteFromPrimitiveList/finalizers': [FINALIZER_LOCAL_PATH] } }
    await this.#o.client.resource(PERSISTENT_VOLUMES).patch(name, undefined, patch, 'strategic').catch((error: unknown) => {
      if (!hasCode(error, 'not-found')) throw error
    })
  }
}

/** Where a local or hostPath volume is on its node. */
export function pathOf(volume: Readonly<PersistentVolume>): string | undefined {
  return volume.spec?.local?.path ?? volume.spec?.hostPath?.path
}

/** The directory under an agent's own that volumes on demand are made in. */
export function storageDirectory(dataDir: string): string {
  return join(dataDir, 'storage')
}
