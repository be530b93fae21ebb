/** From an allocated device claim to device nodes for containers: checks that it is this pod's and this node's. Pure. */
import type { Container as ContainerSpec, DeviceAllocationConfiguration, Pod, ResourceResourceClaim } from '../../api/gen/types.ts'
import { DEVICE_DRIVER, isReservedFor } from '../../api/claims.ts'
import { AppError } from '../../base/errors.ts'
import type { FoundDevice } from './found.ts'

/** A device node as a container gets it. */
export interface ClaimedDevice {
  /** Of the claim; with a subrequest `request/subrequest`. */
  readonly request: string
  readonly device: string
  readonly hostPath: string
  readonly containerPath: string
  readonly permissions: string
}

/** By the pod's name for the claim. */
export type ClaimedDevices = Readonly<Record<string, readonly ClaimedDevice[]>>

/** What a claim or class may say to the driver. */
interface Parameters {
  /** Where containers see the device. @default as on the node */
  readonly path?: string
  /** @default rw */
  readonly permissions?: string
}

/** The devices of one claim. @throws AppError `invalid` in the kubelet's words where it has some */
export function devicesOf(pod: Readonly<Pod>, claim: Readonly<ResourceResourceClaim>, here: { readonly nodeName: string; readonly found: readonly FoundDevice[] }): ClaimedDevice[] {
  const { name, namespace } = claim.metadata ?? {}
  if (!isReservedFor(claim, pod)) throw new AppError('invalid', `pod ${pod.metadata?.name}(${pod.metadata?.uid}) is not allowed to use resource claim ${name}(${claim.metadata?.uid})`)
  const allocation = claim.status?.allocation
  if (!allocation) throw new AppError('invalid', `resource claim ${namespace}/${name} is not allocated`)
  const results = allocation.devices?.results ?? []
  return results.map((result) => {
    if (result.driver !== DEVICE_DRIVER) throw new AppError('unsupported', `DRA driver ${result.driver} is not registered: this node serves ${DEVICE_DRIVER} only`)
    const found = result.pool === here.nodeName ? here.found.find((d) => d.name === result.device && d.resource === undefined) : undefined
    if (!found) throw new AppError('invalid', `device "${result.device}" of claim ${namespace}/${name} is not on this node now: plug it in, or look at the node's --device settings`)
    const set = parametersFor(result.request, allocation.devices?.config ?? [])
    const several = results.filter((r) => r.request === result.request)
    const at = several.length > 1 ? String(several.indexOf(result)) : ''
    return { request: result.request, device: result.device, hostPath: found.path, containerPath: set.path === undefined ? found.path : `${set.path}${at}`, permissions: set.permissions ?? 'rw' }
  })
}

/** What was set for a request, the claim's word over the class's. @throws AppError `invalid` for what the driver does not know */
function parametersFor(request: string, config: readonly DeviceAllocationConfiguration[]): Parameters {
  const main = request.split('/')[0] as string
  const all: Parameters = {}
  for (const { requests, opaque } of config) {
    if (opaque?.driver !== DEVICE_DRIVER || (requests?.length && !requests.includes(request) && !requests.includes(main))) continue
    const given = opaque.parameters as Readonly<Record<string, unknown>>
    for (const [key, value] of Object.entries(given)) {
      const fits = key === 'path' ? typeof value === 'string' && /^\/dev\/[\w./-]+$/.test(value) && !value.includes('/..') : key === 'permissions' ? typeof value === 'string' && /^[rwm]{1,3}$/.test(value) : false
      if (!fits) throw new AppError('invalid', `set up request "${request}": parameter ${key}=${JSON.stringify(value)} is none of path (under /dev) and permissions (of r, w, m)`)
    }
    Object.assign(all, given)
  }
  return all
}

/** Those of a pod's devices that one container claims. */
export function claimedBy(spec: Readonly<ContainerSpec>, claimed: ClaimedDevices): Readonly<Record<string, readonly ClaimedDevice[]>> {
  const mine: Record<string, readonly ClaimedDevice[]> = {}
  for (const { name, request } of spec.resources?.claims ?? []) {
    const some = (claimed[name] ?? []).filter((d) => request === undefined || request === '' || d.request === request || d.request.startsWith(`${request}/`))
    mine[name] = [...new Set([...(mine[name] ?? []), ...some])]
  }
  return mine
}
