/** How an object is named in maps: caches, work queues and stashes use the same keys. */
import type { KubeObject } from '../api/meta.ts'

/** `namespace/name`, or `name` for a cluster-scoped object: the key used by caches, queues and stashes. */
export function keyOf(object: Readonly<KubeObject>): string {
  const { namespace, name } = object.metadata ?? {}
  return namespace === undefined || namespace === '' ? (name ?? '') : `${namespace}/${name ?? ''}`
}

/** The parts of a key made by {@link keyOf}. */
export function splitKey(key: string): { namespace: string | undefined; name: string } {
  const at = key.indexOf('/')
  return at < 0 ? { namespace: undefined, name: key } : { namespace: key.slice(0, at), name: key.slice(at + 1) }
}
