/** Kubernetes' CEL functions on URLs, IP addresses and CIDRs. Used by the engine. */
import { isCidr, isIpv4, isIpv6 } from '../../api/formats.ts'
import { ONE, plus, reading, scaled, TRAVERSE, type Functions, type Size } from './functions.ts'
import { CelError, Opaque } from './values.ts'

/** An address as its bits. */
class Ip extends Opaque {
  readonly type = 'net.IP'
  readonly bits: bigint
  readonly width: 32 | 128
  constructor(bits: bigint, width: 32 | 128) {
    super()
    this.bits = bits
    this.width = width
  }
  equals(other: unknown): boolean {
    return other instanceof Ip && this.bits === other.bits && this.width === other.width
  }
  override toString(): string {
    return textOf(this)
  }
}

class Cidr extends Opaque {
  readonly type = 'net.CIDR'
  readonly ip: Ip
  readonly length: number
  constructor(ip: Ip, length: number) {
    super()
    this.ip = ip
    this.length = length
  }
  equals(other: unknown): boolean {
    return other instanceof Cidr && String(this) === String(other)
  }
  override toString(): string {
    return `${textOf(this.ip)}/${this.length}`
  }
}

class Url extends Opaque {
  readonly type = 'kubernetes.URL'
  readonly url: URL
  /** The host as written; URLs without one have an empty one. */
  readonly host: string
  constructor(url: URL, text: string) {
    super()
    this.url = url
    this.host = /^[a-z][a-z0-9+.-]*:\/\/(?:[^/?#@]*@)?([^/?#]*)/i.exec(text)?.[1] ?? ''
  }
  equals(other: unknown): boolean {
    return other instanceof Url && this.url.href === other.url.href
  }
}

/** Defines them. */
export function defineNetwork(f: Functions): void {
  urls(f)
  addresses(f)
  cidrs(f)
}

function urls(f: Functions): void {
  const read = (text: string): Url | undefined => {
    // Go's ParseRequestURI, which Kubernetes uses, takes absolute URLs and absolute paths.
    const url = text.startsWith('/') ? `none:${text.startsWith('//') ? '' : '//'}${text}` : text
    if (!URL.canParse(url) || !/^([a-z][a-z0-9+.-]*:|\/)/i.test(text) || /[\s\x7f]/.test(text)) return undefined
    return new Url(new URL(url), text)
  }
  f.define('isURL(string): bool', (t: string) => read(t) !== undefined, { cost: reading(0) })
  f.define('url(string): kubernetes.URL', (t: string) => {
    const url = read(t)
    if (!url) throw new CelError(`URL parse error during conversion from string: parse ${JSON.stringify(t)}: invalid URI for request`)
    return url
  }, { cost: reading(0) })
  f.define('kubernetes.URL!getScheme(): string', ({ url }: Url) => (url.protocol === 'none:' ? '' : url.protocol.slice(0, -1)))
  f.define('kubernetes.URL!getHost(): string', ({ host }: Url) => host)
  f.define('kubernetes.URL!getHostname(): string', ({ host }: Url) => host.replace(/:\d*$/, '').replace(/^\[(.*)\]$/, '$1'))
  f.define('kubernetes.URL!getPort(): string', ({ host }: Url) => /:(\d+)$/.exec(host)?.[1] ?? '')
  f.define('kubernetes.URL!getEscapedPath(): string', ({ url }: Url) => url.pathname)
  f.define('kubernetes.URL!getQuery(): map<string, list<string>>', ({ url }: Url) => new Map([...new Set(url.searchParams.keys())].map((k) => [k, url.searchParams.getAll(k)])))
}

function addresses(f: Functions): void {
  const parsed = { cost: reading(0) }
  f.define('isIP(string): bool', (t: string) => isIpv4(t) || isIpv6(t), parsed)
  f.define('ip(string): net.IP', parseIp, parsed)
  f.define('string(net.IP): string', textOf)
  f.define('ip.isCanonical(string): bool', (t: string) => textOf(parseIp(t)) === t, { cost: reading(0, 2) })
  f.define('net.IP!family(): int', (ip: Ip) => (ip.width === 32 ? 4n : 6n))
  f.define('net.IP!isUnspecified(): bool', (ip: Ip) => ip.bits === 0n)
  f.define('net.IP!isLoopback(): bool', (ip: Ip) => inside(ip, '127.0.0.0/8', '::1/128'))
  f.define('net.IP!isLinkLocalMulticast(): bool', (ip: Ip) => inside(ip, '224.0.0.0/24', 'ff02::/16'))
  f.define('net.IP!isLinkLocalUnicast(): bool', (ip: Ip) => inside(ip, '169.254.0.0/16', 'fe80::/10'))
  f.define('net.IP!isGlobalUnicast(): bool', (ip: Ip) =>
    ip.bits !== 0n && !(ip.width === 32 && ip.bits === 0xffffffffn) && !inside(ip, '127.0.0.0/8', '::1/128') && !inside(ip, '224.0.0.0/4', 'ff00::/8') && !inside(ip, '169.254.0.0/16', 'fe80::/10'))
}

function cidrs(f: Functions): void {
  const holds = (c: Cidr, ip: Ip): boolean => contains(c, new Cidr(ip, ip.width))
  // Two addresses of at most 16 bytes are compared; a text is read first.
  const bytes: Size = { min: 4, max: 16 }
  const compared = scaled(plus(bytes, bytes), TRAVERSE)
  const wider = plus(compared, plus(scaled(bytes, TRAVERSE), ONE))
  f.define('isCIDR(string): bool', isCidr, { cost: reading(0) })
  f.define('cidr(string): net.CIDR', parseCidr, { cost: reading(0) })
  f.define('string(net.CIDR): string', (c: Cidr) => String(c))
  f.define('net.CIDR!ip(): net.IP', (c: Cidr) => c.ip)
  f.define('net.CIDR!prefixLength(): int', (c: Cidr) => BigInt(c.length))
  f.define('net.CIDR!masked(): net.CIDR', (c: Cidr) => new Cidr(new Ip(network(c.ip, c.length), c.ip.width), c.length))
  f.define('net.CIDR!containsIP(string): bool', (c: Cidr, t: string) => holds(c, parseIp(t)), { cost: (z) => plus(compared, reading(1)(z)) })
  f.define('net.CIDR!containsIP(net.IP): bool', holds, { cost: () => compared })
  f.define('net.CIDR!containsCIDR(string): bool', (c: Cidr, t: string) => contains(c, parseCidr(t)), { cost: (z) => plus(wider, reading(1)(z)) })
  f.define('net.CIDR!containsCIDR(net.CIDR): bool', contains, { cost: () => wider })
}

function parseIp(text: string): Ip {
  if (isIpv4(text)) return new Ip(text.split('.').reduce((sum, part) => sum * 256n + BigInt(part), 0n), 32)
  if (!isIpv6(text)) throw new CelError(`IP Address ${JSON.stringify(text)} parse error during conversion from string`)
  const tail = /^(.*:)([\d.]+\.[\d.]+)$/.exec(text)
  const low = tail ? parseIp(tail[2] as string).bits : 0n
  const plain = tail ? `${tail[1]}${(low >> 16n).toString(16)}:${(low & 0xffffn).toString(16)}` : text
  const [head = '', rest] = plain.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = rest === undefined || rest === '' ? [] : rest.split(':')
  const groups = rest === undefined ? left : [...left, ...Array.from({ length: 8 - left.length - right.length }, () => '0'), ...right]
  return new Ip(groups.reduce((sum, g) => (sum << 16n) + BigInt(`0x${g}`), 0n), 128)
}

function parseCidr(text: string): Cidr {
  if (!isCidr(text)) throw new CelError(`network address parse error during conversion from string: ${JSON.stringify(text)}`)
  const slash = text.lastIndexOf('/')
  return new Cidr(parseIp(text.slice(0, slash)), Number(text.slice(slash + 1)))
}

function network(ip: Ip, length: number): bigint {
  const shift = BigInt(ip.width - length)
  return (ip.bits >> shift) << shift
}

function contains(outer: Cidr, inner: Cidr): boolean {
  return outer.ip.width === inner.ip.width && inner.length >= outer.length && network(inner.ip, outer.length) === network(outer.ip, outer.length)
}

function inside(ip: Ip, v4: string, v6: string): boolean {
  return contains(parseCidr(ip.width === 32 ? v4 : v6), new Cidr(ip, ip.width))
}

/** Canonical: the longest run of zero groups shortened. */
function textOf(ip: Ip): string {
  if (ip.width === 32) return [24n, 16n, 8n, 0n].map((s) => (ip.bits >> s) & 255n).join('.')
  const groups = Array.from({ length: 8 }, (_, i) => ((ip.bits >> BigInt(112 - 16 * i)) & 0xffffn).toString(16)).join(':')
  const run = [...groups.matchAll(/(?:^|:)0(?::0)+(?=:|$)/g)].map((m) => m[0]).sort((a, b) => b.length - a.length)[0]
  return run === undefined ? groups : groups.replace(run, ':').replace(/^:(?!:)/, '::').replace(/(?<!:):$/, '::')
}
