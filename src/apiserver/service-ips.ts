/** Cluster IPs: addresses of the Service CIDR as numbers, IPv4. Used by bootstrap and the Service rules. */
import { AppError } from '../base/errors.ts'

interface Range {
  /** Network address. */
  readonly base: number
  /** Addresses in it. */
  readonly size: number
}

/** @throws AppError `invalid` for what is not an IPv4 CIDR of /8 to /29 */
export function parseCidr(cidr: string): Range {
  const m = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/.exec(cidr)
  const bits = Number(m?.[5])
  const parts = m?.slice(1, 5).map(Number) ?? []
  if (!m || parts.some((p) => p > 255) || bits < 8 || bits > 29) throw new AppError('invalid', `read Service CIDR: "${cidr}" is not an IPv4 range such as 10.43.0.0/16`)
  const address = parts.reduce((n, p) => n * 256 + p, 0)
  const size = 2 ** (32 - bits)
  return { base: address - (address % size), size }
}

/** Dotted text of an address. */
export function addressText(n: number): string {
  return [n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255].join('.')
}

/** The API's own address: the first of the range. @throws AppError `invalid` */
export function firstAddress(cidr: string): string {
  return addressText(parseCidr(cidr).base + 1)
}

/** A free address, by chance: tried at random, then in order. @throws AppError `full` when none is left */
export function freeAddress(cidr: string, used: ReadonlySet<string>): string {
  const { base, size } = parseCidr(cidr)
  // The network, the first (the API's own) and the broadcast address are never given out.
  const usable = size - 3
  const start = Math.floor(Math.random() * usable)
  for (let i = 0; i < usable; i++) {
    const text = addressText(base + 2 + ((start + i) % usable))
    if (!used.has(text)) return text
  }
  throw new AppError('full', `give out a cluster IP: all ${usable} addresses of ${cidr} are taken`)
}

/** True when an IPv4 address lies in the range. */
export function inCidr(cidr: string, address: string): boolean {
  const { base, size } = parseCidr(cidr)
  const parts = address.split('.').map(Number)
  if (parts.length !== 4 || parts.some((p) => !(p >= 0 && p <= 255))) return false
  const n = parts.reduce((sum, p) => sum * 256 + p, 0)
  return n >= base && n < base + size
}
