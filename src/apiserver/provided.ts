/** get and list of resources that others make when they are asked for; whole objects or a Table. Used by the pipeline. */
import type { ApiResponse } from '../api/contract.ts'
import { methodNotAllowed } from '../api/status.ts'
import { tableOf } from '../api/table.ts'
import { metaVersion } from './negotiate.ts'
import { answer, type Call } from './core.ts'
import type { ProvidedResource } from './ports.ts'
import { apiVersionOf } from './resources.ts'

/** @throws ApiError 405 for what is not a get or a list, and whatever the provider throws */
export async function provide(provided: ProvidedResource, call: Call, now: number): Promise<ApiResponse> {
  const { def, info, query, accepted, signal } = call
  if ((info.verb !== 'get' && info.verb !== 'list') || info.subresource !== undefined) throw methodNotAllowed(def, info.verb)
  const one = info.verb === 'get' && info.name !== undefined ? await provided.get(info.name, info.namespace, signal) : undefined
  const items = one
    ? [one]
    : await provided.list({ namespace: info.namespace, labelSelector: query.get('labelSelector') ?? undefined, fieldSelector: query.get('fieldSelector') ?? undefined }, signal)
  if (accepted.shape === 'table') return answer(call, 200, JSON.stringify(tableOf(def, items, { now, version: metaVersion(accepted) })))
  if (one) return answer(call, 200, JSON.stringify(one))
  return answer(call, 200, JSON.stringify({ kind: def.listKind, apiVersion: apiVersionOf(def), metadata: {}, items }))
}
