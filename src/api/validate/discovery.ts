/** Validation of EndpointSlices. */
import { isIpv4, isIpv6 } from '../formats.ts'
import type { Endpoint, EndpointSlice } from '../gen/types.ts'
import { dnsLabelErrors, dnsSubdomainErrors, labelKeyErrors, labelValueErrors } from '../names.ts'
import type { FieldError } from '../status.ts'
import { domainName, endpointAddress } from './addresses.ts'
import { findings } from './field.ts'
import type { Findings } from './field.ts'
import { immutable, labelErrors } from './meta.ts'

const MAX_ENDPOINTS = 1000
const MAX_ADDRESSES = 100
const MAX_PORTS = 20000
const MAX_HINTS = 8
const MAX_TOPOLOGY = 16
const TYPES = ['FQDN', 'IPv4', 'IPv6']

/** EndpointSlice: addresses of one kind, and ports. */
export function endpointSliceErrors(s: EndpointSlice): FieldError[] {
  return findings((e) => {
    e.choice('addressType', s.addressType, TYPES)
    const { endpoints = [], ports = [] } = s
    if (endpoints.length > MAX_ENDPOINTS) e.tooMany('endpoints', endpoints.length, MAX_ENDPOINTS)
    else for (const [i, x] of endpoints.entries()) endpoint(e, `endpoints[${i}]`, x, s.addressType)
    if (ports.length > MAX_PORTS) return e.tooMany('ports', ports.length, MAX_PORTS)
    const names = new Set<string>()
    for (const [i, p] of ports.entries()) {
      const at = `ports[${i}]`
      const name = p.name ?? ''
      e.optional(`${at}.name`, name, dnsLabelErrors)
      if (names.has(name)) e.duplicate(`${at}.name`, name)
      names.add(name)
      e.chosen(`${at}.protocol`, p.protocol, ['SCTP', 'TCP', 'UDP'])
      e.text(`${at}.appProtocol`, p.appProtocol, labelKeyErrors)
    }
  })
}

export const endpointSliceUpdateErrors = (next: EndpointSlice, old: EndpointSlice): FieldError[] => immutable('addressType', next.addressType, old.addressType)

function endpoint(e: Findings, at: string, x: Endpoint, type: string): void {
  const addresses = x.addresses ?? []
  if (addresses.length === 0) e.required(`${at}.addresses`, 'must contain at least 1 address')
  else if (addresses.length > MAX_ADDRESSES) e.tooMany(`${at}.addresses`, addresses.length, MAX_ADDRESSES)
  for (const [i, a] of addresses.entries()) {
    const path = `${at}.addresses[${i}]`
    if (type === 'FQDN') domainName(e, path, a)
    else if (type === 'IPv4' && !isIpv4(a)) e.invalid(path, a, 'must be a valid IPv4 address')
    else if (type === 'IPv6' && !isIpv6(a)) e.invalid(path, a, 'must be a valid IPv6 address')
    else if (type === 'IPv4' || type === 'IPv6') endpointAddress(e, path, a)
  }
  e.text(`${at}.nodeName`, x.nodeName, dnsSubdomainErrors)
  const topology = Object.keys(x.deprecatedTopology ?? {}).length
  if (topology > MAX_TOPOLOGY) e.tooMany(`${at}.deprecatedTopology`, topology, MAX_TOPOLOGY)
  e.add(labelErrors(x.deprecatedTopology, `${at}.deprecatedTopology`))
  e.text(`${at}.hostname`, x.hostname, dnsLabelErrors)
  hints(e, `${at}.hints.forZones`, x.hints?.forZones ?? [], labelValueErrors)
  hints(e, `${at}.hints.forNodes`, x.hints?.forNodes ?? [], dnsSubdomainErrors)
}

function hints(e: Findings, at: string, list: readonly { readonly name: string }[], rule: (text: string) => string[]): void {
  if (list.length > MAX_HINTS) return e.tooMany(at, list.length, MAX_HINTS)
  const seen = new Set<string>()
  for (const [i, { name }] of list.entries()) {
    if (seen.has(name)) e.duplicate(`${at}[${i}].name`, name)
    seen.add(name)
    e.text(`${at}[${i}].name`, name ?? '', rule)
  }
}
