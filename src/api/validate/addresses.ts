/** Address and domain rules that several groups share: what one range holds of another, endpoints, wildcard hosts, domain paths. */
import { isIpv4, isIpv6 } from '../formats.ts'
import { dnsLabelErrors, dnsSubdomainErrors } from '../names.ts'
import type { Findings } from './field.ts'

/** An address as its bits; undefined when it is none. IPv4 has 32, IPv6 128. */
export function addressBits(text: string): string | undefined {
  if (isIpv4(text)) return text.split('.').map((n) => Number(n).toString(2).padStart(8, '0')).join('')
  if (!isIpv6(text)) return undefined
  const tail = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text)
  const plain = tail ? `${tail[1]}${hex(tail[2], tail[3])}:${hex(tail[4], tail[5])}` : text
  const [head = '', rest] = plain.split('::')
  const parts = (s: string | undefined): string[] => (s ? s.split(':') : [])
  const groups = rest === undefined ? parts(head) : [...parts(head), ...Array<string>(8 - parts(head).length - parts(rest).length).fill('0'), ...parts(rest)]
  return groups.map((g) => Number.parseInt(g, 16).toString(2).padStart(16, '0')).join('')
}

const hex = (a: string | undefined, b: string | undefined): string => (Number(a) * 256 + Number(b)).toString(16)

/** Whether a range holds another one that is smaller. Both must be ranges. */
export function contains(outer: string, inner: string): boolean {
  const [outerIp = '', outerLength] = outer.split('/')
  const [innerIp = '', innerLength] = inner.split('/')
  const [a, b] = [addressBits(outerIp), addressBits(innerIp)]
  const length = Number(outerLength)
  return a !== undefined && a.length === b?.length && length < Number(innerLength) && a.slice(0, length) === b.slice(0, length)
}

/** Ranges that no endpoint lies in, as bits and what is said of them. */
const SPECIAL: readonly (readonly [prefixes: readonly string[], text: string])[] = [
  [['127.0.0.0/8', '::1/128'], 'may not be in the loopback range (127.0.0.0/8, ::1/128)'],
  [['169.254.0.0/16', 'fe80::/10'], 'may not be in the link-local range (169.254.0.0/16, fe80::/10)'],
  [['224.0.0.0/24', 'ff02::/10'], 'may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)'],
]

/** An address that traffic can be sent to. */
export function endpointAddress(e: Findings, at: string, address: string): void {
  const bits = addressBits(address)
  if (bits === undefined) return
  if (!bits.includes('1')) return e.invalid(at, address, `may not be unspecified (${address})`)
  for (const [ranges, text] of SPECIAL) {
    const inside = ranges.some((range) => {
      const [ip = '', length] = range.split('/')
      const of = addressBits(ip)
      return of?.length === bits.length && of.slice(0, Number(length)) === bits.slice(0, Number(length))
    })
    if (inside) e.invalid(at, address, text)
  }
}

/** `*.` and a domain. */
export function wildcardErrors(host: string): string[] {
  const errors: string[] = []
  if (host.length > 253) errors.push('must be no more than 253 characters')
  if (!host.startsWith('*.') || dnsSubdomainErrors(host.slice(2)).length > 0) {
    errors.push(
      "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    )
  }
  return errors
}

/** `acme.io/foo`, which must be given. */
export function domainPath(e: Findings, at: string, text: string): void {
  if (text === '') return e.required(at)
  const slash = text.indexOf('/')
  if (slash <= 0 || slash === text.length - 1) return e.invalid(at, text, 'must be a domain-prefixed path (such as "acme.io/foo")')
  e.text(at, text.slice(0, slash), dnsSubdomainErrors)
  const path = text.slice(slash + 1)
  if (!/^[A-Za-z0-9/\-._~%!$&'()*+,;=:]+$/.test(path)) e.invalid(at, path, "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')")
}

/** A domain name of at least two labels; one dot may end it. */
export function domainName(e: Findings, at: string, name: string): void {
  if (name === '') return e.required(at)
  const clean = name.endsWith('.') ? name.slice(0, -1) : name
  const wrong = dnsSubdomainErrors(clean)
  if (wrong.length > 0) return e.invalid(at, clean, wrong.join(','))
  const labels = clean.split('.')
  if (labels.length < 2) return e.invalid(at, clean, 'should be a domain with at least two segments separated by dots')
  for (const label of labels) {
    const errors = dnsLabelErrors(label)
    if (errors.length > 0) e.invalid(at, label, errors.join(','))
  }
}
