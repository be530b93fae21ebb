/** The one cache of pods that all controllers share, with their indexes. */
import type { Pod } from '../api/gen/types.ts'
import { KINDS } from '../api/kinds.ts'
import { controllerOf } from '../control/mod.ts'
import type { Cache, CacheSet } from '../client/mod.ts'

export const BY_CONTROLLER = 'controller'
export const BY_NODE = 'node'

/** All pods, indexed by their controller's uid and by node. */
export function podCache(caches: CacheSet): Cache<Pod> {
  return caches.cache<Pod>(KINDS.Pod, {
    indexes: {
      [BY_CONTROLLER]: (pod) => [controllerOf(pod)?.uid ?? orphansOf(pod.metadata?.namespace)],
      [BY_NODE]: (pod) => (pod.spec?.nodeName === undefined ? [] : [pod.spec.nodeName]),
    },
  })
}

/** Where {@link BY_CONTROLLER} keeps objects of a namespace that have no controller. */
export function orphansOf(namespace: string | undefined): string {
  return `orphans in ${namespace ?? ''}`
}
