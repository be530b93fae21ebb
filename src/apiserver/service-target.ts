/** Where a connection for a pod or a Service goes: a ready pod that the Service selects, and the port of it. Used by proxies and webhooks. */
import { KINDS, type ResourceDef } from '../api/kinds.ts'
import { badRequest, notFound, unavailable } from '../api/status.ts'
import type { Core } from './core.ts'
import { objectOf } from './encode.ts'
import { keyOf } from './resources.ts'
import type { Obj } from './stored-text.ts'

interface Port {
  readonly name?: string
  readonly port?: number
  readonly targetPort?: number | string
  readonly containerPort?: number
}
/** What a connection needs to know of a pod. */
export interface PodSpec {
  readonly nodeName?: string
  readonly containers?: readonly { readonly ports?: readonly Port[] }[]
}

/** The stored object. @throws ApiError 404 */
export async function readStored(core: Core, def: ResourceDef, namespace: string | undefined, name: string): Promise<Obj> {
  const { entry } = await core.store.get(keyOf(def, namespace, name))
  if (!entry) throw notFound(def, name)
  return objectOf(def, { text: entry.value, revision: entry.revision })
}

/** A ready pod that the Service selects, and the port of it. @throws ApiError 404, 400 for a port it has not, 503 when nothing is ready */
export async function serviceTarget(core: Core, namespace: string, name: string, port: string): Promise<{ pod: Obj; to: number }> {
  const service = await readStored(core, KINDS.Service, namespace, name)
  const { ports = [], selector } = (service.spec ?? {}) as { ports?: Port[]; selector?: Record<string, string> }
  const chosen = port === '' && ports.length === 1 ? ports[0] : ports.find((p) => p.name === port || String(p.port) === port)
  if (!chosen) throw badRequest(`no service port "${port}" found for service "${name}"`)
  if (!selector || Object.keys(selector).length === 0) throw unavailable(`no endpoints available for service "${name}": it selects no pods`)
  for (const entry of core.cache.resource('pods').scan(keyOf(KINDS.Pod, namespace))) {
    const pod = entry.parsed() as Obj
    if (pod.metadata.deletionTimestamp || !Object.entries(selector).every(([k, v]) => pod.metadata.labels?.[k] === v)) continue
    const conditions = (pod.status as { conditions?: { type: string; status: string }[] } | undefined)?.conditions
    if (!conditions?.some((c) => c.type === 'Ready' && c.status === 'True')) continue
    const wanted = chosen.targetPort ?? chosen.port
    const to = typeof wanted === 'number' ? wanted : (pod.spec as PodSpec).containers?.flatMap((c) => c.ports ?? []).find((p) => p.name === wanted)?.containerPort
    if (to !== undefined) return { pod, to }
  }
  throw unavailable(`no endpoints available for service "${name}"`)
}
