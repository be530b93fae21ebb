/** String formats that schemas name. An unknown format is no check at all, as in Kubernetes. */

const DATE_TIME = /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/
const UUID = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i
const DURATION = /^[+-]?(\d+(\.\d*)?|\.\d+)\s*(ns|us|µs|ms|s|sec|second|seconds|m|min|minute|minutes|h|hr|hour|hours|d|day|days|w|week|weeks)(\s*(\d+(\.\d*)?|\.\d+)\s*(ns|us|µs|ms|s|m|h|d))*$/
const EMAIL = /^[^\s@<>]+@[^\s@<>]+$/
const HOSTNAME = /^(?=.{1,255}$)[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?)*\.?$/
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

const CHECKS: Readonly<Record<string, (text: string) => boolean>> = {
  'date-time': isDateTime,
  date: (t) => /^\d{4}-\d\d-\d\d$/.test(t) && isDateTime(`${t}T00:00:00Z`),
  byte: isBase64,
  uuid: (t) => UUID.test(t),
  uuid3: (t) => UUID.test(t) && /^[0-9a-f]{8}-?[0-9a-f]{4}-?3/i.test(t),
  uuid4: (t) => UUID.test(t) && /^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab]/i.test(t),
  uuid5: (t) => UUID.test(t) && /^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab]/i.test(t),
  ipv4: isIpv4,
  ipv6: isIpv6,
  ip: (t) => isIpv4(t) || isIpv6(t),
  cidr: isCidr,
  mac: (t) => /^([0-9a-f]{2}([:-][0-9a-f]{2}){5,7}|[0-9a-f]{4}(\.[0-9a-f]{4}){2,3})$/i.test(t),
  email: (t) => EMAIL.test(t),
  hostname: (t) => HOSTNAME.test(t),
  uri: (t) => t.startsWith('/') || URL.canParse(t),
  duration: (t) => t === '0' || DURATION.test(t),
  hexcolor: (t) => /^#?([0-9a-f]{3}|[0-9a-f]{6})$/i.test(t),
  bsonobjectid: (t) => /^[0-9a-f]{24}$/i.test(t),
}

/** Whether a text has the format; true for formats not known here. */
export function hasFormat(format: string, text: string): boolean {
  return CHECKS[format]?.(text) ?? true
}

/** An RFC 3339 time of a day that exists. */
export function isDateTime(text: string): boolean {
  const m = DATE_TIME.exec(text)
  if (!m) return false
  const [, year, month, day, hour, minute, second] = m.map(Number) as [number, number, number, number, number, number, number]
  const days = new Date(Date.UTC(year, month, 0)).getUTCDate()
  return month >= 1 && month <= 12 && day >= 1 && day <= days && hour <= 23 && minute <= 59 && second <= 59
}

/** Padded base64; line breaks are allowed. */
export function isBase64(text: string): boolean {
  return BASE64.test(/[\r\n]/.test(text) ? text.replace(/[\r\n]/g, '') : text)
}

/** Four decimal numbers without leading zeros. */
export function isIpv4(text: string): boolean {
  return /^(0|[1-9]\d{0,2})(\.(0|[1-9]\d{0,2})){3}$/.test(text) && text.split('.').every((n) => Number(n) <= 255)
}

/** Any RFC 4291 text form, an embedded IPv4 tail included; no zone. */
export function isIpv6(text: string): boolean {
  if (!text.includes(':') || text.includes('%')) return false
  const tail = /^(.*:)([\d.]+\.[\d.]+)$/.exec(text)
  if (tail && !isIpv4(tail[2] as string)) return false
  const plain = tail ? `${tail[1]}0:0` : text
  const halves = plain.split('::')
  if (halves.length > 2) return false
  const groups = halves.flatMap((h) => (h === '' ? [] : h.split(':')))
  if (!groups.every((g) => /^[0-9a-f]{1,4}$/i.test(g))) return false
  return halves.length === 2 ? groups.length < 8 : groups.length === 8
}

/** An IPv4 or IPv6 address and a prefix length. */
export function isCidr(text: string): boolean {
  const m = /^(.+)\/(\d{1,3})$/.exec(text)
  if (!m) return false
  const bits = Number(m[2])
  return isIpv4(m[1] as string) ? bits <= 32 : isIpv6(m[1] as string) && bits <= 128
}
