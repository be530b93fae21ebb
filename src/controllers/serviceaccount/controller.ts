/** Sees that each namespace has its `default` ServiceAccount and the ConfigMap `kube-root-ca.crt` by which pods trust the API. */
import type { ConfigMap, Namespace, ServiceAccount } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import { hasCode } from '../../base/errors.ts'
import { createController, watchMapped, watchObjects, type Controller } from '../../control/mod.ts'
import type { ControllerContext } from '../context.ts'

export const ROOT_CA = 'kube-root-ca.crt'

/** @param caPem what pods should trust when they call the API */
export function createServiceAccountController({ client, caches, clock }: ControllerContext, caPem: () => string): Controller {
  const namespaces = caches.cache<Namespace>(KINDS.Namespace)
  const accounts = caches.cache<ServiceAccount>(KINDS.ServiceAccount)
  const configs = caches.cache<ConfigMap>(KINDS.ConfigMap, { fieldSelector: `metadata.name=${ROOT_CA}` })

  const reconcile = async (name: string): Promise<void> => {
    const namespace = namespaces.get(name)
    if (!namespace || namespace.metadata?.deletionTimestamp !== undefined) return
    if (!accounts.get('default', name)) {
      await unlessThere(client.resource<ServiceAccount>(KINDS.ServiceAccount).create({ metadata: { name: 'default', namespace: name } }))
    }
    const config = configs.get(ROOT_CA, name)
    const data = { 'ca.crt': caPem() }
    const api = client.resource<ConfigMap>(KINDS.ConfigMap)
    if (!config) await unlessThere(api.create({ metadata: { name: ROOT_CA, namespace: name }, data }))
    else if (config.data?.['ca.crt'] !== data['ca.crt']) await api.patch(ROOT_CA, name, { data }, 'merge')
  }

  const itsNamespace = (object: Readonly<ServiceAccount | ConfigMap>): string[] => [object.metadata?.namespace ?? '']
  const sources = [watchObjects(namespaces), watchMapped(accounts, (a) => (a.metadata?.name === 'default' ? itsNamespace(a) : [])), watchMapped(configs, itsNamespace)]
  return createController({ name: 'serviceaccount', clock, sources, caches: [namespaces, accounts, configs], reconcile })
}

/** Someone else made it, or the namespace went away meanwhile: either way there is nothing to do. */
async function unlessThere(made: Promise<unknown>): Promise<void> {
  try {
    await made
  } catch (error) {
    if (!hasCode(error, 'exists') && !hasCode(error, 'not-found') && !hasCode(error, 'forbidden')) throw error
  }
}
