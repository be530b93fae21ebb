/** Validation of Endpoints, and of addresses that others are sent to. */
import type { EndpointAddress, EndpointPort, Endpoints } from '../gen/types.ts'
import { dnsLabelErrors, dnsSubdomainErrors, labelKeyErrors } from '../names.ts'
import type { FieldError } from '../status.ts'
import { PROTOCOLS } from './container.ts'
import { findings, isIp } from './field.ts'
import type { Findings } from './field.ts'

/** Endpoints, on create and on update. */
export function endpointsErrors(o: Endpoints): FieldError[] {
  return findings((e) => {
    for (const [i, s] of (o.subsets ?? []).entries()) {
      const at = `subsets[${i}]`
      if (!s.addresses?.length && !s.notReadyAddresses?.length) e.required(at, 'must specify `addresses` or `notReadyAddresses`')
      for (const key of ['addresses', 'notReadyAddresses'] as const) for (const [j, a] of (s[key] ?? []).entries()) address(e, `${at}.${key}[${j}]`, a)
      for (const [j, p] of (s.ports ?? []).entries()) port(e, `${at}.ports[${j}]`, p, (s.ports?.length ?? 0) > 1)
    }
  })
}

function address(e: Findings, at: string, a: EndpointAddress): void {
  e.ip(`${at}.ip`, a.ip)
  e.optional(`${at}.hostname`, a.hostname, dnsLabelErrors)
  e.text(`${at}.nodeName`, a.nodeName, dnsSubdomainErrors)
  if (isIp(a.ip)) publicAddress(e, `${at}.ip`, a.ip)
  else e.invalid(`${at}.ip`, a.ip ?? '', 'must be a valid IP address')
}

function port(e: Findings, at: string, p: EndpointPort, several: boolean): void {
  if (p.name) e.text(`${at}.name`, p.name, dnsLabelErrors)
  else if (several) e.required(`${at}.name`)
  e.port(`${at}.port`, p.port)
  e.choice(`${at}.protocol`, p.protocol, PROTOCOLS)
  e.text(`${at}.appProtocol`, p.appProtocol, labelKeyErrors)
}

const RANGES: readonly (readonly [RegExp, string])[] = [
  [/^(127\.|::1$)/, 'may not be in the loopback range (127.0.0.0/8, ::1/128)'],
  [/^(169\.254\.|fe[89ab][0-9a-f]:)/i, 'may not be in the link-local range (169.254.0.0/16, fe80::/10)'],
  [/^(224\.0\.0\.|ff02:)/i, 'may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)'],
]

/** An address that means the same machine from everywhere. */
export function publicAddress(e: Findings, path: string, ip: string): void {
  if (ip === '0.0.0.0' || ip === '::') e.invalid(path, ip, `may not be unspecified (${ip})`)
  for (const [range, text] of RANGES) if (range.test(ip)) e.invalid(path, ip, text)
}
