/** RuntimeClass: a pod that names a class gets the class's overhead, node selector and tolerations; one that contradicts them is refused. */
import type { RuntimeClass, Toleration } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import { equal } from '../../api/patch/json-patch.ts'
import { forbidden } from '../../api/status.ts'
import { keyOf, storageName } from '../resources.ts'
import type { AdmissionPlugin } from './chain.ts'

interface Spec {
  runtimeClassName?: string
  overhead?: Record<string, string>
  nodeSelector?: Record<string, string>
  tolerations?: Toleration[]
}

export const runtimeClass: AdmissionPlugin = {
  name: 'RuntimeClass',
  admit({ core, call, verb, object }) {
    if (verb !== 'create' || call.def !== KINDS.Pod || call.info.subresource !== undefined) return
    const spec = (object.spec ??= {}) as Spec
    const refuse = (why: string): Error => forbidden(call.def, object.metadata.name ?? '', why)
    const name = spec.runtimeClassName
    const found = name ? (core.cache.resource(storageName(KINDS.RuntimeClass)).get(keyOf(KINDS.RuntimeClass, undefined, name))?.parsed() as RuntimeClass | undefined) : undefined
    if (name && !found) throw refuse(`pod rejected: RuntimeClass "${name}" not found`)
    const overhead = found?.overhead?.podFixed
    if (overhead && !spec.overhead) spec.overhead = { ...overhead }
    else if (!equal(spec.overhead ?? {}, overhead ?? {})) throw refuse(overhead ? "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead" : 'pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead')
    const { nodeSelector = {}, tolerations = [] } = found?.scheduling ?? {}
    for (const [key, value] of Object.entries(nodeSelector)) {
      const own = spec.nodeSelector?.[key]
      if (own !== undefined && own !== value) throw refuse(`pod rejected: conflict: runtimeClass.scheduling.nodeSelector[${key}] = ${value}; pod.spec.nodeSelector[${key}] = ${own}`)
    }
    if (Object.keys(nodeSelector).length > 0) spec.nodeSelector = { ...spec.nodeSelector, ...nodeSelector }
    const missing = tolerations.filter((t) => !spec.tolerations?.some((own) => equal(own, t)))
    if (missing.length > 0) spec.tolerations = [...(spec.tolerations ?? []), ...missing]
  },
}
