/** Validation of what is told through the status of a ResourceClaim: what was allocated, for whom, and what drivers say of the devices. */
import type { AllocatedDeviceStatus, AllocationResult, NetworkDeviceData, ResourceResourceClaim } from '../gen/types.ts'
import { dnsLabelErrors } from '../names.ts'
import type { FieldError } from '../status.ts'
import { addressBits } from './addresses.ts'
import { conditions } from './conditions.ts'
import { bindingConditions } from './device-capacity.ts'
import { MAX, opaque, poolName, references, requestNames } from './devices.ts'
import { each, findings, type Findings } from './field.ts'
import { immutable } from './meta.ts'
import { nodeSelector } from './placement.ts'
import { csiName } from './storage.ts'

/** How many of each, or how long, what drivers say may be. */
const TOLD = { conditions: 8, data: 10 * 1024, interfaceName: 256, hardwareAddress: 128, addresses: 16 } as const

/** Through the status door. */
export function claimStatusErrors(next: ResourceResourceClaim, old: ResourceResourceClaim): FieldError[] {
  return findings((e) => {
    const { reservedFor, allocation, devices } = next.status ?? {}
    each(e, 'status.reservedFor', reservedFor, MAX.reservedFor, (r, at) => {
      for (const key of ['resource', 'name', 'uid'] as const) if (!r[key]) e.required(`${at}.${key}`)
    }, (r) => r.uid)
    const allocated = new Set((allocation?.devices?.results ?? []).map(deviceId))
    each(e, 'status.devices', devices, Infinity, (d, at) => device(e, at, d, allocated), deviceId)
    if (reservedFor?.length && !allocation) e.forbidden('status.reservedFor', 'may not be specified when `allocated` is not set')
    if (reservedFor?.length && next.metadata?.deletionTimestamp) {
      const before = new Set((old.status?.reservedFor ?? []).map((r) => r.uid))
      if (reservedFor.some((r) => !before.has(r.uid))) {
        e.forbidden('status.reservedFor', 'new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set')
      }
    }
    if (allocation && old.status?.allocation) e.add(immutable('status.allocation', allocation, old.status.allocation))
    else if (allocation) result(e, 'status.allocation', allocation, requestNames(next.spec?.devices))
  })
}

/** A device, and of one that several claims share which share, as Kubernetes writes it. */
const deviceId = ({ driver, pool, device, shareID }: { driver?: string; pool?: string; device?: string; shareID?: string }): string => [driver, pool, device, ...(shareID === undefined ? [] : [shareID])].join('/')

function result(e: Findings, path: string, allocation: AllocationResult, names: ReadonlySet<string>): void {
  each(e, `${path}.devices.results`, allocation.devices?.results, MAX.results, (r, at) => {
    references(e, `${at}.request`, r.request ?? '', names)
    csiName(e, `${at}.driver`, r.driver)
    poolName(e, `${at}.pool`, r.pool)
    e.text(`${at}.device`, r.device ?? '', dnsLabelErrors)
    bindingConditions(e, at, r)
    share(e, `${at}.shareID`, r.shareID)
  })
  each(e, `${path}.devices.config`, allocation.devices?.config, 2 * MAX.config, (c, at) => {
    e.choice(`${at}.source`, c.source, ['FromClaim', 'FromClass'])
    each(e, `${at}.requests`, c.requests, MAX.requests, (name, where) => references(e, where, name, names), (name) => name)
    opaque(e, at, c.opaque)
  })
  if (allocation.nodeSelector) nodeSelector(e, `${path}.nodeSelector`, allocation.nodeSelector)
}

function device(e: Findings, at: string, d: AllocatedDeviceStatus, allocated: ReadonlySet<string>): void {
  csiName(e, `${at}.driver`, d.driver)
  poolName(e, `${at}.pool`, d.pool)
  e.text(`${at}.device`, d.device ?? '', dnsLabelErrors)
  share(e, `${at}.shareID`, d.shareID)
  if (!allocated.has(deviceId(d))) e.wrong(at, `${deviceId(d)}: must be an allocated device in the claim`)
  if ((d.conditions?.length ?? 0) > TOLD.conditions) e.tooMany(`${at}.conditions`, d.conditions?.length ?? 0, TOLD.conditions)
  conditions(e, `${at}.conditions`, d.conditions)
  const { data } = d as { data?: unknown }
  if (data === null) e.required(`${at}.data`)
  else if (data !== undefined) {
    if (JSON.stringify(data).length > TOLD.data) e.tooLong(`${at}.data`, TOLD.data)
    else if (typeof data !== 'object' || Array.isArray(data)) e.invalid(`${at}.data`, '<value omitted>', 'must be a valid JSON object')
  }
  network(e, `${at}.networkData`, d.networkData)
}

function network(e: Findings, at: string, data: NetworkDeviceData | undefined): void {
  if ((data?.interfaceName?.length ?? 0) > TOLD.interfaceName) e.tooLong(`${at}.interfaceName`, TOLD.interfaceName)
  if ((data?.hardwareAddress?.length ?? 0) > TOLD.hardwareAddress) e.tooLong(`${at}.hardwareAddress`, TOLD.hardwareAddress)
  each(e, `${at}.ips`, data?.ips, TOLD.addresses, (ip, where) => {
    const [address = '', bits = ''] = ip.split('/')
    const all = addressBits(address)?.length
    if (ip.split('/').length !== 2 || all === undefined || !/^(0|[1-9]\d*)$/.test(bits) || Number(bits) > all) e.invalid(where, ip, 'must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)')
  }, (ip) => ip)
}

function share(e: Findings, at: string, id: string | undefined): void {
  if (id === undefined) return
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id)) e.invalid(at, id, 'uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters')
}
