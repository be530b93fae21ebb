/** Values of a pod that env variables and downwardAPI files may name: `fieldRef` and `resourceFieldRef`. Pure. */
import type { Container as ContainerSpec, ObjectFieldSelector, Pod, ResourceFieldSelector } from '../../api/gen/types.ts'
import { AppError } from '../../base/errors.ts'
import { amount, limitOf, requestOf } from './quantities.ts'

export interface FieldContext {
  readonly pod: Readonly<Pod>
  readonly hostIPs: readonly string[]
  readonly podIPs: readonly string[]
  /** What a container without a limit may use: the node's allocatable. */
  readonly allocatable: Readonly<Record<string, string>>
}

/** @throws AppError `invalid` for a field that cannot be named */
export function fieldValue(context: FieldContext, selector: ObjectFieldSelector): string {
  const { pod, hostIPs, podIPs } = context
  const path = selector.fieldPath
  const keyed = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(path)
  if (keyed) return pod.metadata?.[keyed[1] as 'labels' | 'annotations']?.[keyed[2] as string] ?? ''
  switch (path) {
    case 'metadata.name':
      return pod.metadata?.name ?? ''
    case 'metadata.namespace':
      return pod.metadata?.namespace ?? ''
    case 'metadata.uid':
      return pod.metadata?.uid ?? ''
    case 'metadata.labels':
      return lines(pod.metadata?.labels)
    case 'metadata.annotations':
      return lines(pod.metadata?.annotations)
    case 'spec.nodeName':
      return pod.spec?.nodeName ?? ''
    case 'spec.serviceAccountName':
      return pod.spec?.serviceAccountName ?? 'default'
    case 'spec.restartPolicy':
      return pod.spec?.restartPolicy ?? 'Always'
    case 'status.hostIP':
      return hostIPs[0] ?? ''
    case 'status.hostIPs':
      return hostIPs.join(',')
    case 'status.podIP':
      return podIPs[0] ?? ''
    case 'status.podIPs':
      return podIPs.join(',')
    default:
      throw new AppError('invalid', `read field of pod: "${path}" is not one that can be named`)
  }
}

/** A container's request or limit in units of the divisor, rounded up. @throws AppError `invalid` */
export function resourceValue(context: FieldContext, selector: ResourceFieldSelector, own: ContainerSpec): string {
  const all = [...(context.pod.spec?.containers ?? []), ...(context.pod.spec?.initContainers ?? [])]
  const spec = selector.containerName ? all.find((c) => c.name === selector.containerName) : own
  if (!spec) throw new AppError('invalid', `read resource of pod: it has no container "${selector.containerName}"`)
  const m = /^(requests|limits)\.(.+)$/.exec(selector.resource)
  if (!m) throw new AppError('invalid', `read resource of pod: "${selector.resource}" is not one, write e.g. limits.memory`)
  const name = m[2] as string
  const value = m[1] === 'requests' ? requestOf(spec, name) : limitOf(spec, name) || amount(context.allocatable[name])
  const divisor = amount(selector.divisor ?? '1') || 1
  return String(Math.ceil(Math.round((value / divisor) * 1e6) / 1e6))
}

function lines(map: Record<string, string> | undefined): string {
  return Object.keys(map ?? {})
    .sort()
    .map((k) => `${k}=${JSON.stringify(map?.[k])}`)
    .join('\n')
}
