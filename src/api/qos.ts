/** Quality-of-service class of a pod, decided by its requests and limits. Used by the API server (status) and the agent (cgroups, eviction). */
import type { PodSpec } from './gen/types.ts'
import { tryParseQuantity } from './quantity.ts'

export type QosClass = 'Guaranteed' | 'Burstable' | 'BestEffort'

/** Guaranteed: each container has cpu and memory limits and requests equal to them. BestEffort: none has any. */
export function qosClass(spec: Readonly<PodSpec>): QosClass {
  let any = false
  let guaranteed = true
  for (const c of [...spec.containers, ...(spec.initContainers ?? [])]) {
    for (const name of ['cpu', 'memory']) {
      const limit = positive(c.resources?.limits?.[name])
      const request = positive(c.resources?.requests?.[name]) ?? limit
      if (limit !== undefined || request !== undefined) any = true
      if (limit === undefined || request !== limit) guaranteed = false
    }
  }
  return any ? (guaranteed ? 'Guaranteed' : 'Burstable') : 'BestEffort'
}

function positive(text: string | undefined): bigint | undefined {
  const nano = text === undefined ? undefined : tryParseQuantity(text)?.nano
  return nano === undefined || nano <= 0n ? undefined : nano
}
