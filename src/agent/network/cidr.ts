/** IPv4 prefixes as the pod network needs them; pure. */
import { AppError } from '../../base/errors.ts'

export interface Cidr {
  /** In canonical form, host bits cleared: `10.42.1.0/24`. */
  readonly text: string
  readonly bits: number
  /** First usable address: the node's own on the bridge. */
  readonly gateway: string
}

/** @throws AppError `invalid` unless it is an IPv4 prefix of 8 to 30 bits */
export function parseCidr(text: string): Cidr {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/.exec(text)
  const octets = match?.slice(1, 5).map(Number) ?? []
  const bits = Number(match?.[5])
  if (!match || octets.some((o) => o > 255) || bits < 8 || bits > 30) {
    throw new AppError('invalid', `read the pod CIDR: "${text}" is not an IPv4 prefix such as 10.42.1.0/24 (8 to 30 bits)`)
  }
  const mask = (~0 << (32 - bits)) >>> 0
  const base = (octets.reduce((sum, o) => ((sum << 8) | o) >>> 0, 0) & mask) >>> 0
  return { text: `${dotted(base)}/${bits}`, bits, gateway: dotted(base + 1) }
}

/** Whether a plain IPv4 address is one of the prefix. */
export function contains(cidr: Cidr, address: string): boolean {
  return isIPv4(address) && parseCidr(`${address}/${cidr.bits}`).text === cidr.text
}

/** True for a plain IPv4 address. */
export function isIPv4(text: string): boolean {
  const octets = text.split('.')
  return octets.length === 4 && octets.every((o) => /^\d{1,3}$/.test(o) && Number(o) <= 255)
}

function dotted(value: number): string {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.')
}
