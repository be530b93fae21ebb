/**
 * Objects that pods of this node name (ConfigMaps, Secrets, runtime classes), each by a watch of its own: a node sees no others.
 * Behind a stash they are known at once on an offline boot. Bounded by what pods of this node have named since the agent started.
 */
import type { ConfigMap, Secret } from '../api/gen/types.ts'
import type { KubeObject } from '../api/meta.ts'
import { AppError } from '../base/errors.ts'
import type { Cache, CacheSet, ResourceRef } from '../client/mod.ts'
import { CONFIG_MAPS, RUNTIME_CLASSES, SECRETS } from './refs.ts'

export type ObjectKind = 'ConfigMap' | 'Secret' | 'RuntimeClass'

const REFS: Readonly<Record<ObjectKind, ResourceRef>> = {
  ConfigMap: CONFIG_MAPS,
  Secret: SECRETS,
  RuntimeClass: RUNTIME_CLASSES,
}

export type ConfigKind = 'ConfigMap' | 'Secret'

/** Read access to the configuration of one pod's namespace. */
export interface ConfigReader {
  /** The object's keys and bytes; undefined when it does not exist. @throws AppError `unavailable` when that is not known yet */
  read(kind: ConfigKind, name: string): Promise<ReadonlyMap<string, Buffer> | undefined>
}

/** Read access to all that one pod names. */
export interface ObjectReader extends ConfigReader {
  /** Any object of the pod's namespace, or of none; undefined when it does not exist. @throws AppError `unavailable` when that is not known yet */
  object<T extends KubeObject>(kind: ObjectKind, name: string): Promise<Readonly<T> | undefined>
}

/** How long one read waits for the first answer, ms; then the pod says it waits. */
const FIRST_ANSWER_MS = 2_000

export interface ObjectsOptions {
  readonly caches: CacheSet
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>
  /** Something a pod named has changed, or is known for the first time. */
  readonly onChange: (kind: ObjectKind, namespace: string | undefined, name: string) => void
}

/** Watches of the objects that pods named; asking twice shares one. */
export class Objects {
  readonly #options: ObjectsOptions
  readonly #caches = new Map<string, Cache<KubeObject>>()

  constructor(options: ObjectsOptions) {
    this.#options = options
  }

  /** A reader for the namespace; `seen` gets every object asked for, so that the pod can be found when it changes. */
  reader(namespace: string, seen: (kind: ObjectKind, name: string) => void): ObjectReader {
    const object = async <T extends KubeObject>(kind: ObjectKind, name: string): Promise<Readonly<T> | undefined> => {
      seen(kind, name)
      return await this.find<T>(kind, REFS[kind].namespaced ? namespace : undefined, name)
    }
    return {
      object,
      read: async (kind, name) => {
        const found = await object<ConfigMap | Secret>(kind, name)
        return found && contentOf(found)
      },
    }
  }

  /** The object of that name; undefined when it does not exist. @throws AppError `unavailable` when that is not known yet */
  async find<T extends KubeObject>(kind: ObjectKind, namespace: string | undefined, name: string): Promise<Readonly<T> | undefined> {
    const cache = this.#cache(kind, namespace, name)
    if (!cache.isSynced) await this.#firstAnswer(cache)
    if (!cache.isSynced) {
      const full = namespace === undefined ? name : `${namespace}/${name}`
      throw new AppError('unavailable', `read ${kind} "${full}": not known on this node yet and the server does not answer`)
    }
    return cache.get(name, namespace) as Readonly<T> | undefined
  }

  #cache(kind: ObjectKind, namespace: string | undefined, name: string): Cache<KubeObject> {
    const key = `${kind}/${namespace ?? ''}/${name}`
    let cache = this.#caches.get(key)
    if (!cache) {
      const options = { ...(namespace === undefined ? {} : { namespace }), fieldSelector: `metadata.name=${name}` }
      cache = this.#options.caches.cache<KubeObject>(REFS[kind], options)
      this.#caches.set(key, cache)
      cache.onChange(() => this.#options.onChange(kind, namespace, name))
    }
    return cache
  }

  async #firstAnswer(cache: Cache<KubeObject>): Promise<void> {
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
