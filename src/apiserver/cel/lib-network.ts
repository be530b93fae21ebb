/** Kubernetes' CEL functions on URLs, IP addresses and CIDRs. Used by the engine. */
import type { Environment } from '@marcbachmann/cel-js'
import { isCidr, isIpv4, isIpv6 } from '../../api/formats.ts'
import { registerNamespace } from './namespace.ts'

/** An address as its bits. */
class Ip {
  readonly bits: bigint
  readonly width: 32 | 128
  constructor(bits: bigint, width: 32 | 128) {
    this.bits = bits
    this.width = width
  }
  toString(): string {
    return textOf(this)
  }
}

class Cidr {
  readonly ip: Ip
  readonly length: number
  constructor(ip: Ip, length: number) {
    this.ip = ip
    this.length = length
  }
  toString(): string {
    return `${textOf(this.ip)}/${this.length}`
  }
}

/** Registers them. */
export function registerNetwork(env: Environment): void {
  urls(env)
  addresses(env)
  cidrs(env)
}

function urls(env: Environment): void {
  const read = (text: string): URL | undefined => {
    // Go's ParseRequestURI, which Kubernetes uses, also takes an absolute path.
    if (text.startsWith('/')) return URL.canParse(text, 'none://') ? new URL(text, 'none://') : undefined
    return URL.canParse(text) ? new URL(text) : undefined
  }
  env.registerType('kubernetes.URL', URL)
  env.registerFunction('isURL(string): bool', (t: string) => read(t) !== undefined)
  env.registerFunction('url(string): kubernetes.URL', (t: string) => {
    const url = read(t)
    if (!url) throw new Error(`URL parse error during conversion from string: parse "${t}": invalid URI for request`)
    return url
  })
  const bare = (u: URL): boolean => u.protocol === 'none:'
  const host = (u: URL): string => (bare(u) ? '' : u.host)
  env.registerFunction('kubernetes.URL.getScheme(): string', (u: URL) => (bare(u) ? '' : u.protocol.slice(0, -1)))
  env.registerFunction('kubernetes.URL.getHost(): string', host)
  env.registerFunction('kubernetes.URL.getHostname(): string', (u: URL) => host(u).replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1'))
  env.registerFunction('kubernetes.URL.getPort(): string', (u: URL) => u.port)
  env.registerFunction('kubernetes.URL.getEscapedPath(): string', (u: URL) => u.pathname)
  env.registerFunction('kubernetes.URL.getQuery(): map<string, list<string>>', (u: URL) => Object.fromEntries([...new Set(u.searchParams.keys())].map((k) => [k, u.searchParams.getAll(k)])))
  env.registerOperator('kubernetes.URL == kubernetes.URL', (a: URL, b: URL) => a.href === b.href)
}

function addresses(env: Environment): void {
  env.registerType('net.IP', Ip)
  env.registerFunction('isIP(string): bool', (t: string) => isIpv4(t) || isIpv6(t))
  env.registerFunction('ip(string): net.IP', parseIp)
  env.registerFunction('string(net.IP): string', textOf)
  registerNamespace(env, 'ip', 'net.IPNamespace')
  env.registerFunction('net.IPNamespace.isCanonical(string): bool', (_: unknown, t: string) => textOf(parseIp(t)) === t)
  env.registerFunction('net.IP.family(): int', (ip: Ip) => (ip.width === 32 ? 4n : 6n))
  env.registerFunction('net.IP.isUnspecified(): bool', (ip: Ip) => ip.bits === 0n)
  env.registerFunction('net.IP.isLoopback(): bool', (ip: Ip) => inside(ip, '127.0.0.0/8', '::1/128'))
  env.registerFunction('net.IP.isLinkLocalMulticast(): bool', (ip: Ip) => inside(ip, '224.0.0.0/24', 'ff02::/16'))
  env.registerFunction('net.IP.isLinkLocalUnicast(): bool', (ip: Ip) => inside(ip, '169.254.0.0/16', 'fe80::/10'))
  env.registerFunction('net.IP.isGlobalUnicast(): bool', (ip: Ip) =>
    ip.bits !== 0n && !(ip.width === 32 && ip.bits === 0xffffffffn) && !inside(ip, '127.0.0.0/8', '::1/128') && !inside(ip, '224.0.0.0/4', 'ff00::/8') && !inside(ip, '169.254.0.0/16', 'fe80::/10'))
  env.registerOperator('net.IP == net.IP', (a: Ip, b: Ip) => a.bits === b.bits && a.width === b.width)
}

function cidrs(env: Environment): void {
  const holds = (c: Cidr, ip: Ip): boolean => contains(c, new Cidr(ip, ip.width))
  env.registerType('net.CIDR', Cidr)
  env.registerFunction('isCIDR(string): bool', isCidr)
  env.registerFunction('cidr(string): net.CIDR', parseCidr)
  env.registerFunction('string(net.CIDR): string', (c: Cidr) => String(c))
  env.registerFunction('net.CIDR.ip(): net.IP', (c: Cidr) => c.ip)
  env.registerFunction('net.CIDR.prefixLength(): int', (c: Cidr) => BigInt(c.length))
  env.registerFunction('net.CIDR.masked(): net.CIDR', (c: Cidr) => new Cidr(new Ip(network(c.ip, c.length), c.ip.width), c.length))
  env.registerFunction('net.CIDR.containsIP(string): bool', (c: Cidr, t: string) => holds(c, parseIp(t)))
  env.registerFunction('net.CIDR.containsIP(net.IP): bool', holds)
  env.registerFunction('net.CIDR.containsCIDR(string): bool', (c: Cidr, t: string) => contains(c, parseCidr(t)))
  env.registerFunction('net.CIDR.containsCIDR(net.CIDR): bool', contains)
  env.registerOperator('net.CIDR == net.CIDR', (a: Cidr, b: Cidr) => String(a) === String(b))
}

function parseIp(text: string): Ip {
  if (isIpv4(text)) return new Ip(text.split('.').reduce((sum, part) => sum * 256n + BigInt(part), 0n), 32)
  if (!isIpv6(text)) throw new Error(`IP Address ${JSON.stringify(text)} parse error during conversion from string`)
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
  if (!isCidr(text)) throw new Error(`network address parse error during conversion from string: ${JSON.stringify(text)}`)
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
