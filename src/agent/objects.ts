/**
 * ConfigMaps and Secrets that pods of this node name, each by a watch of its own: a node sees no others. Behind a stash
 * they are known at once on an offline boot. Bounded by what pods of this node have named since the agent started.
 */
import type { ConfigMap, Secret } from '../api/gen/types.ts'
import { AppError } from '../base/errors.ts'
import type { Cache, CacheSet } from '../client/mod.ts'
import { CONFIG_MAPS, SECRETS } from './refs.ts'

export type ObjectKind = 'ConfigMap' | 'Secret'

/** Read access to the configuration of one pod's namespace. */
export interface ConfigReader {
  /** The object's keys and bytes; undefined when it does not exist. @throws AppError `unavailable` when that is not known yet */
  read(kind: ObjectKind, name: string): Promise<ReadonlyMap<string, Buffer> | undefined>
}

/** How long one read waits for the first answer, ms; then the pod says it waits. */
const FIRST_ANSWER_MS = 2_000

export interface ObjectsOptions {
  readonly caches: CacheSet
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>
  /** Something a pod named has changed, or is known for the first time. */
  readonly onChange: (kind: ObjectKind, namespace: string, name: string) => void
}

/** Watches of the ConfigMaps and Secrets that pods named; asking twice shares one. */
export class Objects {
  readonly #options: ObjectsOptions
  readonly #caches = new Map<string, Cache<ConfigMap> | Cache<Secret>>()

  constructor(options: ObjectsOptions) {
    this.#options = options
  }

  /** A reader for the namespace; `seen` gets every object asked for, so that the pod can be found when it changes. */
  reader(namespace: string, seen: (kind: ObjectKind, name: string) => void): ConfigReader {
    return {
      read: async (kind, name) => {
        seen(kind, name)
        return await this.#read(kind, namespace, name)
      },
    }
  }

  async #read(kind: ObjectKind, namespace: string, name: string): Promise<ReadonlyMap<string, Buffer> | undefined> {
    const cache = this.#cache(kind, namespace, name)
    if (!cache.isSynced) await this.#firstAnswer(cache)
    if (!cache.isSynced) {
      throw new AppError('unavailable', `read ${kind} "${namespace}/${name}": not known on this node yet and the server does not answer`)
    }
    const object = cache.get(name, namespace)
    if (!object) return undefined
    return contentOf(object)
  }

  #cache(kind: ObjectKind, namespace: string, name: string): Cache<ConfigMap> | Cache<Secret> {
    const key = `${kind}/${namespace}/${name}`
    let cache = this.#caches.get(key)
    if (!cache) {
      const options = { namespace, fieldSelector: `metadata.name=${name}` }
      cache = kind === 'Secret' ? this.#options.caches.cache<Secret>(SECRETS, options) : this.#options.caches.cache<ConfigMap>(CONFIG_MAPS, options)
      this.#caches.set(key, cache)
      cache.onChange(() => this.#options.onChange(kind, namespace, name))
    }
    return cache
  }

  async #firstAnswer(cache: Cache<ConfigMap> | Cache<Secret>): Promise<void> {
    const done = new AbortController()
    const quiet = (): undefined => undefined
    await Promise.race([cache.synced(done.signal).catch(quiet), this.#options.sleep(FIRST_ANSWER_MS, done.signal).catch(quiet)])
    done.abort()
  }
}

function contentOf(object: Readonly<ConfigMap> | Readonly<Secret>): ReadonlyMap<string, Buffer> {
  const content = new Map<string, Buffer>()
  const binary = 'binaryData' in object && object.binaryData ? object.binaryData : {}
  const isConfigMap = !('type' in object)
  for (const [k, v] of Object.entries(object.data ?? {})) content.set(k, Buffer.from(v, isConfigMap ? 'utf8' : 'base64'))
  for (const [k, v] of Object.entries(binary)) content.set(k, Buffer.from(v, 'base64'))
  return content
}
