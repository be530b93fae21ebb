/** NamespaceLifecycle: nothing is created in a namespace that does not exist or is being deleted. */
import { ApiError, forbidden, notFound } from '../../api/status.ts'
import { KINDS } from '../../api/kinds.ts'
import { keyOf } from '../resources.ts'
import type { AdmissionPlugin } from './chain.ts'

export const namespaceLifecycle: AdmissionPlugin = {
  name: 'NamespaceLifecycle',
  async admit({ core, call, verb, object }) {
    const { namespace } = object.metadata
    if (verb !== 'create' || !call.def.namespaced || !namespace) return
    const key = keyOf(KINDS.Namespace, undefined, namespace)
    let entry = core.cache.resource('namespaces').get(key)
    if (!entry) {
      // Just made, perhaps: the cache may be a moment behind the store.
      await core.cache.refresh()
      entry = core.cache.resource('namespaces').get(key)
    }
    if (!entry) throw notFound(KINDS.Namespace, namespace)
    if (entry.parsed(true).metadata.deletionTimestamp === undefined) return
    const refused = forbidden(call.def, object.metadata.name ?? '', `unable to create new content in namespace ${namespace} because it is being terminated`)
    const causes = [{ reason: 'NamespaceTerminating', message: `namespace ${namespace} is being terminated`, field: 'metadata.namespace' }]
    throw new ApiError({ ...refused.status, details: { ...refused.status.details, causes } })
  },
}
