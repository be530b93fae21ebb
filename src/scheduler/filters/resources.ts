/** What the node can allocate, less what its pods ask for, must do for the pod; so must the number of pods. */
import { podRequests } from '../requests.ts'
import type { Filter } from './filter.ts'

export const resources: Filter = (pod, node) => {
  const reasons: string[] = []
  const most = node.allocatable.get('pods')
  if (most !== undefined && node.pods.length + 1 > most) reasons.push('Too many pods')
  for (const [name, wanted] of podRequests(pod)) {
    if (wanted === 0) continue
    const free = (node.allocatable.get(name) ?? 0) - (node.requested.get(name) ?? 0)
    if (wanted > free) reasons.push(`Insufficient ${name}`)
  }
  return reasons
}
